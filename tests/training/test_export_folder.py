"""An export is written whole or not at all, and replaces nothing but an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nesy_gedi.errors import RunError
from nesy_gedi.training.export_folder import refuse_folder, write_whole


def fill(text: str) -> Callable[[Path], dict[str, Any]]:
    def write(part: Path) -> dict[str, Any]:
        (part / "net").mkdir()
        (part / "net" / "encoder.py").write_text(text, encoding="utf-8")
        return {"version": 1}

    return write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_folder_is_made_with_those_above_it(tmp_path: Path, run: Path) -> None:
    to = tmp_path / "deep" / "export"
    refuse_folder(to, run, force=False)
    manifest = write_whole(to, fill("a"))
    assert list(manifest["files"]) == ["net/encoder.py"]
    assert [path.name for path in to.parent.iterdir()] == ["export"]


def test_an_empty_folder_is_filled(tmp_path: Path, run: Path) -> None:
    (tmp_path / "export").mkdir()
    refuse_folder(tmp_path / "export", run, force=False)
    write_whole(tmp_path / "export", fill("a"))
    assert (tmp_path / "export" / "net" / "encoder.py").exists()


def test_an_export_is_replaced_when_asked(tmp_path: Path, run: Path) -> None:
    to = tmp_path / "export"
    write_whole(to, fill("a"))
    (to / "net" / "__pycache__").mkdir()
    (to / "net" / "__pycache__" / "encoder.cpython-311.pyc").write_bytes(b"made by an import")
    with pytest.raises(RunError, match=r"the folder exists\nhint: .*--force"):
        refuse_folder(to, run, force=False)
    refuse_folder(to, run, force=True)
    write_whole(to, fill("b"))
    assert (to / "net" / "encoder.py").read_text(encoding="utf-8") == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "run"]


def test_what_an_export_has_not_made_is_never_replaced(tmp_path: Path, run: Path) -> None:
    to = tmp_path / "export"
    write_whole(to, fill("a"))
    (to / "net" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match=r"net/notes.txt in it was not written by an export"):
        refuse_folder(to, run, force=True)
    (to / "export.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="it is no export"):
        refuse_folder(to, run, force=True)
    with pytest.raises(RunError, match="the folder exists, and it is no export"):
        refuse_folder(to / "net" / "notes.txt", run, force=True)


@pytest.mark.parametrize("name", ["run", "run/export", ".", "run/../run"])
def test_run_and_export_do_not_lie_in_one_another(tmp_path: Path, run: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot lie in one another"):
        refuse_folder(tmp_path / name, run, force=True)


def test_what_fails_leaves_the_old_export(tmp_path: Path) -> None:
    to = tmp_path / "export"
    write_whole(to, fill("a"))

    def fail(part: Path) -> dict[str, Any]:
        fill("b")(part)
        raise RunError("something is wrong")

    with pytest.raises(RunError, match="something is wrong"):
        write_whole(to, fail)
    assert (to / "net" / "encoder.py").read_text(encoding="utf-8") == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write the export"):
        write_whole(tmp_path / "file" / "export", fill("a"))
