"""Run commands: in this process, where that is quick, and as a process of its own for signals and streams."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import COMMAND, TINY, TINY_PRETRAIN, Outcome, Run

from nesy_gedi.cli.main import main


@pytest.fixture(autouse=True)
def _workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.delenv("NESY_GEDI_DATA", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> Run:
    """Run one command in this process."""

    def command(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        code = caught.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return command


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start one command as a process of its own."""

    def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, **options.pop("env", {})}
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment,
            text=True,
            encoding="utf-8",
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    return command


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run to copy from; read only."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with pytest.raises(SystemExit) as caught:
        main(["train", "addition", *TINY, "--quiet", "--out", str(path)])
    assert caught.value.code == 0
    return path


@pytest.fixture(scope="session")
def finished_pretraining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pretraining to copy from; read only."""
    path = tmp_path_factory.mktemp("finished") / "pretraining"
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", *TINY_PRETRAIN, "--quiet", "--out", str(path)])
    assert caught.value.code == 0
    return path


@pytest.fixture
def write() -> Callable[[str, str], Path]:
    """Write a file into the folder that the commands run in."""

    def file(name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return file
