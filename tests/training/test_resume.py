"""A run that was stopped or killed and then resumed is, to the bit, the run that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import MOMENTS
from small_runs import (
    ADDITION,
    NOISY,
    SLIPPING,
    SMALL,
    STEPS,
    addition,
    checkpoint_folder,
    once,
    tensors,
    train_small,
    untimed,
    with_training,
)

from nesy_gedi.data import ReadOptions
from nesy_gedi.errors import Interrupted, RunError
from nesy_gedi.training import training
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.runs import RunFolder, open_run
from nesy_gedi.training.training import Trained, evaluate

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run that nothing happened to."""
    return train_small(tmp_path_factory.mktemp("through") / "run", NOISY, SLIPPING)


def resume(run: Path, **arguments: Any) -> Trained:
    return train_small(None, NOISY, SLIPPING, resume=run, **arguments)


def assert_same(resumed: Trained, through: Trained) -> None:
    for which in ("last", "best"):
        one, other = tensors(resumed.run, which), tensors(through.run, which)
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert untimed(resumed.run.read_metrics()) == untimed(through.run.read_metrics())
    assert untimed(resumed.document) == untimed(through.document)
    assert resumed.run.result() == resumed.document
    assert torch.equal(resumed.queries.index, through.queries.index)


def test_the_run_has_everything_that_is_hard_to_resume(through: Trained) -> None:
    names = tensors(through.run, "last").keys()
    assert "model.t.logits.0" in names
    assert "model.digit_net.encoder.2.running_mean" in names
    assert {"optimizer.rng", "optimizer.0.exp_avg_sq"} <= names
    assert [line["epoch"] for line in through.run.read_metrics()] == [1, 2, 3]
    assert not torch.equal(torch.get_rng_state(), tensors(through.run, "last")["optimizer.rng"])


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run for each of MOMENTS that was killed then."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {
        **os.environ,
        "NESY_GEDI_CACHE": str(folder / "circuits"),
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    }
    command = [sys.executable, str(HERE / "killed_runs.py"), str(folder), *MOMENTS]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(killed: Path, through: Trained, moment: str) -> None:
    run = open_run(killed / moment)
    assert run.result() is None
    resumed = resume(run.path)
    assert_same(resumed, through)
    left = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert left == {path.name for path in (through.run.path / "checkpoints").iterdir()}


# -- stopped -----------------------------------------------------------------------------------------------------------


def stopped(path: Path, number: int) -> RunFolder:
    with pytest.raises(Interrupted) as caught:
        train_small(path, NOISY, SLIPPING, stop=once(number))
    assert caught.value.where == str(path)
    assert caught.value.hint == f"nesy-gedi train --resume {path}"
    return open_run(path)


# After five steps comes the question after the epoch.
@pytest.mark.parametrize(
    ("number", "epoch", "step"),
    [
        (1, 0, 1),
        (STEPS - 1, 0, 4),
        (STEPS, 1, 0),
        (STEPS + 1, 1, 0),
        (STEPS + 3, 1, 2),
        (2 * STEPS + 1, 2, 0),
        (3 * STEPS + 1, 2, 4),
    ],
)
def test_stopped(tmp_path: Path, through: Trained, number: int, epoch: int, step: int) -> None:
    run = stopped(tmp_path / "run", number)
    state = run.checkpoints.load("last").state
    assert (state["epoch"], state["step"]) == (epoch, step)
    assert [line["epoch"] for line in run.read_metrics()] == list(range(1, epoch + 1))
    assert_same(resume(run.path), through)


@pytest.mark.parametrize("number", [3 * STEPS + 2, 3 * STEPS + 3])
def test_stopping_after_the_last_step_just_finishes(tmp_path: Path, through: Trained, number: int) -> None:
    assert_same(train_small(tmp_path / "run", NOISY, SLIPPING, stop=once(number)), through)


def test_stopped_after_every_step(tmp_path: Path, through: Trained) -> None:
    arguments: dict[str, Any] = {"out": tmp_path / "run"}
    for _ in range(3 * STEPS - 1):
        with pytest.raises(Interrupted):
            train_small(recipe=NOISY, text=SLIPPING, stop=lambda: True, **arguments)
        arguments = {"out": None, "resume": tmp_path / "run"}
    assert_same(train_small(recipe=NOISY, text=SLIPPING, stop=lambda: True, **arguments), through)


def test_a_run_without_a_finished_epoch_has_no_best_weights(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 2)
    with pytest.raises(RunError, match="the run has no best checkpoint"):
        evaluate(run.path, device="cpu", encoders={"digit_net": "small_runs:noisy_encoder"})


def test_time_adds_up_over_sessions(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", STEPS + 3)
    before = run.checkpoints.load("last").state["seconds"]
    assert before.keys() == {"network", "logic", "validation", "other"}
    spent = resume(run.path).document["time"]
    assert spent["network_s"] > before["network"] > 0
    assert spent["logic_s"] > before["logic"] > 0
    assert spent["total_s"] > sum(before.values())
    seconds = [line["seconds"] for line in run.read_metrics()]
    for part in before:
        booked = [line[part] for line in seconds]
        assert booked == sorted(booked)


# -- finished ----------------------------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_a_finished_run_returns_its_result(through: Trained) -> None:
    before = snapshot(through.run.path)

    class Silent(Listener):
        def started(self, facts: dict[str, Any]) -> None:
            pytest.fail("a finished run was started")

    again = resume(through.run.path, listener=Silent())
    assert again.document == through.document
    assert snapshot(through.run.path) == before
    assert not again.networks.training
    best = tensors(through.run, "best")
    for name, tensor in again.networks.state_dict().items():
        assert torch.equal(tensor, best[f"model.{name}"])
    assert torch.equal(again.task.reasoner.learned.logits[0], best["model.t.logits.0"])


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    return stopped(tmp_path / "run", STEPS + 1)


def test_another_recipe_or_program_is_refused(begun: RunFolder) -> None:
    for recipe in (replace(NOISY, seed=4), with_training(NOISY, epochs=4), SMALL):
        with pytest.raises(RunError, match="the recipe is not the one that this run was started with"):
            train_small(None, recipe, SLIPPING, resume=begun.path)
    with pytest.raises(RunError, match="the program is not the one that this run was started with"):
        train_small(None, NOISY, ADDITION, resume=begun.path)


def test_a_changed_program_file_is_refused(begun: RunFolder) -> None:
    begun.program_file.write_text(ADDITION, encoding="utf-8")
    for text in (SLIPPING, ADDITION):
        with pytest.raises(RunError, match=r"program\.pl is not the program that this run was trained with"):
            train_small(None, NOISY, text, resume=begun.path)


def test_no_run_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        resume(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused_and_left_as_it_is(begun: RunFolder, name: str) -> None:
    path = checkpoint_folder(begun, "last") / name
    os.truncate(path, path.stat().st_size // 2)
    before = snapshot(begun.path)
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        resume(begun.path)
    assert snapshot(begun.path) == before


def test_a_damaged_list_of_checkpoints_does_not_start_over(begun: RunFolder) -> None:
    (begun.path / "checkpoints" / "index.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        resume(begun.path)


@pytest.mark.parametrize("edit", [lambda s: s.pop("epoch"), lambda s: s.pop("scaling"), lambda s: s.update(epochs=1)])
def test_a_state_that_lacks_or_adds_something_is_refused(begun: RunFolder, edit: Callable[[Any], object]) -> None:
    path = checkpoint_folder(begun, "last") / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    edit(state)
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        resume(begun.path)


def test_data_is_looked_for_where_it_was(tmp_path: Path, digits: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, *, data_dir: Path | None, download: bool, options: ReadOptions) -> object:
        asked.append(data_dir)
        return digits

    monkeypatch.setattr(training, "load_images", load)
    (tmp_path / "data").mkdir()
    with pytest.raises(Interrupted):
        train_small(tmp_path / "run", data_dir=tmp_path / "data", stop=once(2))
    train_small(None, resume=tmp_path / "run")
    evaluate(tmp_path / "run", device="cpu")
    train_small(None, resume=tmp_path / "run", data_dir=tmp_path / "elsewhere")
    assert asked == [tmp_path / "data"] * 3 + [tmp_path / "elsewhere"]


def test_a_resumed_run_keeps_the_name_of_its_program(begun: RunFolder) -> None:
    program = begun.program()  # named after its copy in the run folder
    trained = training.train(program, NOISY, resume=begun.path, device="cpu", trusted_encoders=("digit_net",))
    assert trained.document["program"] == addition().source.name
