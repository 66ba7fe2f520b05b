"""A pretraining that was stopped or killed and then resumed is, to the bit, the one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_pretraining import (
    CLUSTERS,
    DIGITS,
    FEATURES,
    POINTS,
    REFINE,
    STEPS,
    pretrain_small,
    with_objective,
    with_stage,
)
from small_runs import once, tensors, untimed

from nesy_gedi.errors import Interrupted, RunError
from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.training.encoder_stage import EncoderStage
from nesy_gedi.training.loop import Diverged, Listener, cosine
from nesy_gedi.training.pretrain_recipe import PretrainRecipe
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.runs import PretrainingRun, open_pretraining

HERE = Path(__file__).parent

CASES: dict[str, PretrainRecipe] = {
    **{name: with_objective(name) for name in OBJECTIVES},
    "neighbours, and a head that goes on": replace(
        DIGITS,
        stages={
            "features": FEATURES,
            "clusters": CLUSTERS,
            "refine": REFINE,
            "settle": replace(CLUSTERS, initial="previous", restarts=1),
        },
    ),
    "clusters of several numbers": replace(
        DIGITS,
        stages={
            "features": FEATURES,
            "clusters": replace(CLUSTERS, clusters=14),
            "refine": replace(REFINE, clusters=14),
            "settle": CLUSTERS,
        },
    ),
    "encoders side by side": with_stage(with_objective("swav"), "features", restarts=2),
    "augmentation and k-means": with_stage(DIGITS, "clusters", views="augmentation", initial="kmeans"),
    "several passes an epoch": with_stage(with_stage(DIGITS, "features", passes=2, epochs=1), "clusters", passes=2),
    "samples": POINTS,
    "samples, then clusters": replace(
        POINTS,
        sequence=("density", "features"),
        stages={
            "features": POINTS.stages["features"],
            "density": replace(
                POINTS.stages["features"],
                restarts=1,
                epochs=1,
                constants={"generative": 1.0, "invariance": 0.0, "prior_weight": 0.0},
            ),
        },
    ),
    "mixed precision": replace(DIGITS, precision="bf16-mixed"),
    "double precision": replace(DIGITS, precision="64-true"),
}


def assert_same(one: Pretrained, other: Pretrained) -> None:
    last, expected = tensors(one.run, "last"), tensors(other.run, "last")
    assert last.keys() == expected.keys()
    assert [name for name in last if not torch.equal(last[name], expected[name])] == []
    found, expected = load_file(one.run.perception_file), load_file(other.run.perception_file)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert untimed(one.run.read_metrics()) == untimed(other.run.read_metrics())
    assert untimed(one.document) == untimed(other.document)
    assert one.run.result() == one.document
    assert list(one.document["stages"]) == list(other.document["stages"])


def stopped(out: Path, recipe: PretrainRecipe, stop: Callable[[], bool]) -> PretrainingRun:
    with pytest.raises(Interrupted) as caught:
        pretrain_small(out, recipe, stop=stop)
    assert caught.value.where == str(out)
    assert caught.value.hint == f"nesy-gedi pretrain --resume {out}"
    return open_pretraining(out)


@pytest.mark.parametrize("case", CASES)
def test_stopped_after_every_step(tmp_path: Path, case: str) -> None:
    recipe = CASES[case]
    through = pretrain_small(tmp_path / "through", recipe)
    run = stopped(tmp_path / "run", recipe, lambda: True)
    steps = sum(stage.epochs * stage.passes for stage in recipe.active_stages().values()) * STEPS
    for _ in range(steps - 2):
        with pytest.raises(Interrupted):
            pretrain_small(None, recipe, resume=run.path, stop=lambda: True)
    assert run.result() is None
    assert_same(pretrain_small(None, recipe, resume=run.path, stop=lambda: True), through)


# After the three steps of an epoch comes the question after it.
@pytest.mark.parametrize(
    ("number", "stage", "epoch", "step"),
    [(1, 0, 0, 1), (STEPS, 0, 1, 0), (STEPS + 3, 0, 1, 2), (2 * STEPS + 2, 0, 2, 0), (2 * STEPS + 4, 1, 2, 2)],
)
def test_stopped_once(tmp_path: Path, number: int, stage: int, epoch: int, step: int) -> None:
    through = pretrain_small(tmp_path / "through")
    run = stopped(tmp_path / "run", DIGITS, once(number))
    state = run.checkpoints.load("last").state
    assert (state["stage"], state["epoch"], state["step"]) == (stage, epoch, step)
    assert [line["epoch"] for line in run.read_metrics()] == list(range(1, epoch + 1))
    assert not run.perception_file.exists()
    assert_same(pretrain_small(None, DIGITS, resume=run.path), through)


def test_time_adds_up_over_stages_and_sessions(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", DIGITS, once(2 * STEPS + 4))
    before = run.checkpoints.load("last").state["seconds"]
    spent = pretrain_small(None, DIGITS, resume=run.path).document["time"]
    assert spent["network_s"] > before["network"] > 0
    booked = [line["seconds"]["network"] for line in run.read_metrics()]
    assert booked == sorted(booked)


KILLED = """
import os, signal, sys
from pathlib import Path
from small_pretraining import pretrain_small, with_objective
from nesy_gedi.training.loop import Listener

class Killer(Listener):
    def step(self, epoch, step, steps, loss):
        if (epoch, step) == (4, 2):
            os.kill(os.getpid(), signal.SIGKILL)

pretrain_small(Path(sys.argv[1]), with_objective("byol"), listener=Killer())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_killed_in_the_second_stage(tmp_path: Path) -> None:
    recipe = with_objective("byol")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run")]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run = open_pretraining(tmp_path / "run")
    assert run.result() is None
    assert [line["epoch"] for line in run.read_metrics()] == [1, 2, 3]
    resumed = pretrain_small(None, recipe, resume=run.path)
    assert_same(resumed, pretrain_small(tmp_path / "through", recipe))


# -- finished and refused ----------------------------------------------------------------------------------------------


def test_a_finished_run_returns_its_result(tmp_path: Path) -> None:
    through = pretrain_small(tmp_path / "run")

    class Silent(Listener):
        def started(self, facts: dict[str, Any]) -> None:
            pytest.fail("a finished run was started")

    (tmp_path / "run").rename(tmp_path / "moved")
    again = pretrain_small(None, resume=tmp_path / "moved", listener=Silent())
    assert again.document == {**through.document, "run": str(tmp_path / "moved")}
    expected = through.perception.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.perception.state_dict().items())


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", DIGITS, once(2))
    for recipe in (replace(DIGITS, seed=4), with_stage(DIGITS, "clusters", axes=5)):
        with pytest.raises(RunError, match="the recipe is not the one that this run was started with"):
            pretrain_small(None, recipe, resume=run.path)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", DIGITS, once(2))
    text = run.recipe_file.read_text(encoding="utf-8")
    run.recipe_file.write_text(text.replace("output = 16", "output = 17", 1), encoding="utf-8")
    with pytest.raises(RunError, match="does not fit the stage features"):
        pretrain_small(None, run.recipe(), resume=run.path)


def test_a_rollback_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = with_objective("byol")
    stage = recipe.stages["features"]
    whole = EncoderStage.step

    def failing(self: EncoderStage, rows: Any, optimizer: Any, fabric: Any, clock: Any, progress: float) -> Any:
        """Diverges at the last step but one, unless the learning rate was halved."""
        share = (2 * STEPS - 2) / (2 * STEPS)
        if progress == share and optimizer.param_groups[0]["lr"] == cosine(stage.learning_rate, share):
            raise Diverged("broken")
        return whole(self, rows, optimizer, fabric, clock, progress)

    monkeypatch.setattr(EncoderStage, "step", failing)
    with pytest.warns(UserWarning, match="broken: back to the last good state"):
        through = pretrain_small(tmp_path / "through", recipe)
    with pytest.warns(UserWarning, match="broken: back to the last good state"):
        # Four steps of the first epoch's questions, one good step, the broken one, one step again.
        run = stopped(tmp_path / "run", recipe, once(STEPS + 3))
    state = run.checkpoints.load("last").state
    assert (state["epoch"], state["step"], state["rollbacks"]) == (1, 1, 1)
    assert_same(pretrain_small(None, recipe, resume=run.path), through)
