"""``--tensorboard`` of train and pretrain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_runs import TINY, TINY_PRETRAIN, Run, nothing_but


@pytest.mark.parametrize(
    "command", [("train", "addition", *TINY), ("pretrain", *TINY_PRETRAIN)], ids=["train", "pretrain"]
)
def test_curves_are_written_where_they_are_asked_for(run: Run, command: tuple[str, ...]) -> None:
    assert run(*command, "--quiet", "--out", "watched", "--tensorboard").code == 0
    assert len(list(Path("watched/tensorboard").glob("events.out.tfevents.*"))) == 1


def test_nothing_is_written_elsewhere(finished_run: Path, finished_pretraining: Path) -> None:
    assert not (finished_run / "tensorboard").exists()
    assert not (finished_pretraining / "tensorboard").exists()


@pytest.mark.parametrize(
    "command", [("train", "addition", *TINY), ("pretrain", *TINY_PRETRAIN)], ids=["train", "pretrain"]
)
def test_a_missing_package_ends_the_command_before_it_begins(
    run: Run, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(*command, "--out", "run", "--tensorboard").failed(2, "tensorboard", "pip install 'nesy-gedi[tensorboard]'")
    nothing_but()


def test_a_dry_run_writes_nothing(run: Run) -> None:
    assert run("train", "addition", *TINY, "--dry-run", "--tensorboard").code == 0
    nothing_but()
