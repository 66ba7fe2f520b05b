"""Run folders: never overwritten by mistake, complete or absent, and true to what was trained."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_runs import ADDITION, SMALL, addition

from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import runs
from nesy_gedi.training.runs import ProgramRun, RunFolder, choose_path, create_run, is_pretraining, open_run


def create(path: Path, program: Program | None = None, **arguments: Any) -> ProgramRun:
    given = {"data_dir": None, "device": "cpu", "shape": (1, 8, 8)} | arguments
    return create_run(path, program or addition(), SMALL, **given)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_run_reads_back(tmp_path: Path) -> None:
    run = create(tmp_path / "new" / "run", data_dir=tmp_path / "x" / "..")
    assert listing(run.path) == ["environment.json", "program.pl", "recipe.toml"]
    assert listing(run.path.parent) == ["run"]
    again = open_run(run.path)
    assert again.recipe() == SMALL
    assert again.program().source.text == ADDITION
    assert again.image_shape() == (1, 8, 8)
    assert again.data_dir() == tmp_path.resolve()
    assert (again.result(), again.read_metrics(), again.checkpoints.has("last")) == (None, [], False)
    environment = again.environment()
    assert (environment["program"], environment["device"], environment["trusted"]) == (
        "somewhere/addition.pl",
        "cpu",
        False,
    )
    assert environment["packages"].keys() >= {"nesy-gedi", "torch", "problog"}
    assert environment["program_sha256"] == addition().fingerprint


def test_no_data_folder_was_named(tmp_path: Path) -> None:
    assert create(tmp_path / "run").data_dir() is None


def test_trust_is_not_taken_from_the_folder(tmp_path: Path) -> None:
    run = create(tmp_path / "run", Program(ADDITION, trusted=True))
    assert not run.program().trusted
    assert run.program(trusted=True).trusted


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_a_program_of_any_line_ends_reads_back(tmp_path: Path, end: str) -> None:
    program = Program(ADDITION.replace("\n", end), name="windows.pl")
    assert create(tmp_path / "run", program).program().networks == program.networks


def test_paths() -> None:
    assert choose_path("addition", Path("here")) == Path("here")
    one, other = choose_path("addition", None), choose_path("addition", None)
    assert one != other
    assert one.parent == Path("runs")
    assert one.name.startswith("addition-20")


# -- never overwritten -------------------------------------------------------------------------------------------------


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.result_file.write_text("{}", encoding="utf-8")
    for existing in (run.path, tmp_path):
        with pytest.raises(RunError, match="the folder exists") as caught:
            create(existing)
        assert caught.value.where == str(existing)
        assert "--force" in str(caught.value.hint)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="the folder exists"):
        create(tmp_path / "file")
    assert run.result() == {}


def test_force_replaces_a_run_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.append_metrics({"epoch": 1})
    (run.path / "checkpoints").mkdir()
    create(run.path, force=True)
    assert listing(run.path) == ["environment.json", "program.pl", "recipe.toml"]


def test_force_fills_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert create(tmp_path / "run", force=True).recipe() == SMALL


@pytest.mark.parametrize("content", ["recipe.toml", "program.pl", "thesis.tex"])
def test_force_replaces_nothing_but_a_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / content).write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="not a run folder"):
        create(tmp_path / "mine", force=True)
    with pytest.raises(RunError, match="not a run folder"):
        create(tmp_path / "mine" / content, force=True)
    assert listing(tmp_path / "mine") == [content]


def test_force_through_a_link_or_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path / "run")
    run.append_metrics({"epoch": 1})
    (tmp_path / "link").symlink_to(run.path)
    create(tmp_path / "link", force=True)
    assert listing(tmp_path) == ["link", "run"]
    assert listing(run.path) == ["environment.json", "program.pl", "recipe.toml"]
    run.append_metrics({"epoch": 1})
    monkeypatch.chdir(run.path)
    create(Path("."), force=True)
    assert listing(run.path) == ["environment.json", "program.pl", "recipe.toml"]


# -- complete or absent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file/run", "file/deep/run", "x" * 300])
def test_a_folder_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot make the run folder") as caught:
        create(tmp_path / name)
    assert "None" not in caught.value.message
    assert "--out" in str(caught.value.hint)
    assert listing(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable for root")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        create(tmp_path / "run")


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    old = create(tmp_path / "old")
    monkeypatch.setattr(runs, "write_json", fail)
    with pytest.raises(RunError, match="cannot make the run folder: No space left on device"):
        create(tmp_path / "run")
    with pytest.raises(RunError, match="No space left"):
        create(old.path, force=True)
    assert listing(tmp_path) == ["old"]
    assert old.environment()["device"] == "cpu"


def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".run.part").mkdir()
    (tmp_path / ".run.part" / "recipe.toml").write_text("seed = ", encoding="utf-8")
    create(tmp_path / "run")
    assert listing(tmp_path) == ["run"]
    assert listing(tmp_path / "run") == ["environment.json", "program.pl", "recipe.toml"]


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_rewind(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    lines = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    for line in lines:
        run.append_metrics(line)
    assert run.read_metrics() == lines
    run.rewind_metrics(2)
    assert run.read_metrics() == lines[:2]
    run.append_metrics(lines[2])
    assert run.read_metrics() == lines
    run.rewind_metrics(0)
    assert run.metrics_file.read_text(encoding="utf-8") == ""


def test_a_line_cut_short_is_left_out_and_rewound(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.append_metrics({"epoch": 1})
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 2, "train_')
    assert run.read_metrics() == [{"epoch": 1}]
    run.rewind_metrics(1)
    run.append_metrics({"epoch": 2})
    assert run.read_metrics() == [{"epoch": 1}, {"epoch": 2}]


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "absent")
    for write in (
        lambda: run.append_metrics({"epoch": 1}),
        lambda: run.rewind_metrics(0),
        lambda: run.write_result({}),
    ):
        with pytest.raises(RunError, match=r"cannot write (metrics|result)\.jsonl?: No such file"):
            write()


def test_the_result_is_written_whole(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.write_result({"version": 1})
    assert run.result() == {"version": 1}
    run.result_file.write_text('{"version": 1', encoding="utf-8")
    assert run.result() is None


# -- opening -----------------------------------------------------------------------------------------------------------


def test_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="not a run folder") as caught:
            open_run(path)
        assert caught.value.where == str(path)


def test_a_changed_program_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.program_file.write_text(ADDITION.replace("A + B", "A * B"), encoding="utf-8")
    with pytest.raises(RunError, match=r"program\.pl is not the program that this run was trained with") as caught:
        run.program()
    assert caught.value.where == str(run.path)


def test_a_damaged_recipe_is_an_error(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.recipe_file.write_text("seed = ", encoding="utf-8")
    with pytest.raises(RecipeError, match="not valid TOML"):
        run.recipe()


@pytest.mark.parametrize("content", ["", "seed = 3\n"])
def test_a_recipe_that_was_cut_short_is_an_error(tmp_path: Path, content: str) -> None:
    run = create(tmp_path / "run")
    run.recipe_file.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"recipe\.toml is damaged: it has no query") as caught:
        run.recipe()
    assert (caught.value.where, caught.value.hint) == (str(run.path), "restore the file, or train again")


@pytest.mark.parametrize("stated", [7, ["data"], {}, True])
def test_a_data_folder_is_a_path(tmp_path: Path, stated: object) -> None:
    run = create(tmp_path / "run")
    about = {**run.environment(), "data_dir": stated}
    run.environment_file.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(RunError, match=r"environment\.json is damaged: data_dir is .*, expected the path of a folder"):
        run.data_dir()


def test_a_run_that_lost_its_program_is_no_pretraining(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.program_file.unlink()
    assert not is_pretraining(run.path)
    with pytest.raises(RunError, match=r"recipe\.toml and program\.pl are not both there"):
        open_run(run.path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"image_shape": [1, 8, 8, 3]}', '{"image_shape": 3}'])
def test_a_damaged_environment_is_an_error(tmp_path: Path, content: str) -> None:
    run = create(tmp_path / "run")
    run.environment_file.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"environment\.json") as caught:
        run.image_shape()
    assert caught.value.where == str(run.path)
    with pytest.raises(RunError):
        run.program()


def test_environment_is_json(tmp_path: Path) -> None:
    json.loads(create(tmp_path / "run").environment_file.read_text(encoding="utf-8"))
