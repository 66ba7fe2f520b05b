"""Co-training of a second: sums of two digits below four, beside an objective."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from small_runs import addition, tensors, untimed
from small_symbols import FOUR
from torch import Tensor, nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.data.views import Augmentation
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.cotraining import CotrainingWork
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.planning import plan
from nesy_gedi.training.recipe import CotrainingRecipe, DataRecipe, NetworkRecipe, Recipe
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, train

STILL = Augmentation(shift=0.0, scale=0.0, rotation=0.0, shear=0.0, noise=0.0)
"""Views that are the images themselves."""

STEPS = 3
"""Of each epoch."""

SMALL = Recipe(
    query="addition(X, Y, Sum)",
    seed=3,
    method="cotraining",
    data=DataRecipe(train=12, validation=16, test=16),
    networks={"digit_net": NetworkRecipe(features=16, width=4)},
    cotraining=CotrainingRecipe(epochs=2, steps=STEPS, batch_size=16, queries=8, hidden=16, output=12, neighbours=4),
)

CONSTANTS: dict[str, dict[str, Any]] = {"falcon": {"epsilon": 1e-3}, "dino": {"ema": 0.9}, "byol": {"ema": 0.9}}
"""Of objectives whose defaults are for more clusters or longer training."""


def cotrained(recipe: Recipe = SMALL, **changes: Any) -> Recipe:
    return replace(recipe, cotraining=replace(recipe.cotraining, **changes))


def of(objective: str) -> Recipe:
    return cotrained(objective=objective, constants=CONSTANTS.get(objective, {}))


def unnormalised(**changes: Any) -> Recipe:
    """Without batch statistics or random views, images can be looked at one by one."""
    recipe = cotrained(augmentation=STILL, queries=64, **changes)  # all of them, in whatever order
    return replace(
        recipe,
        networks={"digit_net": NetworkRecipe(features=16, width=4, normalisation="none")},
    )


def make_work(
    recipe: Recipe,
    images: ImageSplits,
    fabric: Fabric,
    *,
    program: Program | None = None,
) -> CotrainingWork:
    task = Task(program or addition(FOUR), recipe)
    splits = task.queries(images)
    task = task.with_recipe(plan(task, splits))
    labelled = read_labels(task, splits.pool)
    networks = make_perceptions(task, images.train.shape, images.train.images)
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    return CotrainingWork(task, wrapped, splits, fabric, labelled)


def perception_of(work: CotrainingWork, name: str = "digit_net") -> Perception:
    return work.cotrained[name].perception


class Still:
    """An optimiser that changes nothing."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        pass


def one_step(work: CotrainingWork, fabric: Fabric, rows: Tensor, progress: float = 0.0) -> dict[str, float]:
    """A step that leaves its gradients behind and changes nothing."""
    work.train()
    found = work.step(rows, Still(list(work.parameters())), fabric, Clock(), progress)
    return {name: float(value) for name, value in found.items()}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def run(out: Path | None, recipe: Recipe, **arguments: Any) -> Trained:
    return train(addition(FOUR), recipe, out=out, **({"device": "cpu"} | arguments))


def assert_same(one: Trained, other: Trained) -> None:
    found, expected = tensors(one.run, "last"), tensors(other.run, "last")
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert untimed(one.run.read_metrics()) == untimed(other.run.read_metrics())
    assert untimed(one.document) == untimed(other.document)
