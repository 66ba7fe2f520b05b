"""What is fitted, as a recipe's method says: the same in every process that takes part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from lightning_fabric import Fabric
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.training.answers import AnswerWork
from nesy_gedi.training.checkpoints import Checkpoint
from nesy_gedi.training.cotraining import CotrainingWork
from nesy_gedi.training.ensembles import EnsembleWork
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.loop import Listener, fit
from nesy_gedi.training.processes import Together
from nesy_gedi.training.recipe import COTRAINED
from nesy_gedi.training.runs import ProgramRun
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task


def place_on(fabric: Fabric, task: Task, networks: nn.ModuleDict) -> nn.ModuleDict:
    """Networks and circuit on the device; the networks wrapped, so that they compute in the chosen precision."""
    task.reasoner.to(fabric.device)
    return nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})


def fit_task(
    task: Task,
    networks: nn.ModuleDict,
    splits: Splits,
    labelled: Mapping[str, Labelled],
    fabric: Fabric,
    run: ProgramRun,
    listener: Listener,
    stop: Callable[[], bool],
) -> tuple[dict[str, float], int]:
    """Train as the recipe's method says; seconds by part of the work, and the epoch that is kept."""
    work = answer_work(task, networks, splits, labelled, fabric)
    if task.recipe.method == "assignment":
        if not run.checkpoints.has("last"):
            run.checkpoints.save("assigned", Checkpoint(work.tensors(), {}, {}), best=True)
        return {}, 0
    prepared = 0.0
    if task.recipe.method in COTRAINED:
        work = CotrainingWork(task, networks, splits, fabric, labelled)
        if not run.checkpoints.has("last"):
            began = time.perf_counter()
            work.begin()
            prepared = time.perf_counter() - began
    try:
        progress = fit(work, run, fabric, listener, stop, prepared=prepared)
    finally:
        if isinstance(fabric.strategy, Together):
            fabric.strategy.let_go()
    return progress.seconds, progress.best_epoch or progress.epoch


def check_shared(method: str, count: int) -> None:
    """Refuse several processes where they could not share the steps.

    Raises:
        UsageError: another method than answers; objectives look at a batch as a whole.
    """
    if count > 1 and method != "answers":
        raise UsageError(
            f'method = "{method}" trains in one process: several can share the steps of learning from answers alone',
            where="--devices",
            hint="leave --devices out, or choose --method answers",
        )


def answer_work(
    task: Task, networks: nn.ModuleDict, splits: Splits, labelled: Mapping[str, Labelled], fabric: Fabric
) -> AnswerWork:
    """What learns from the answers alone."""
    if task.recipe.ensemble.members > 1:
        return EnsembleWork(task, networks, splits, fabric, labelled)
    return AnswerWork(task, networks, splits, fabric.device, labelled)
