"""A run of two seconds that begins with clusters: sums of two digits below four, whose images are pretrained on first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from small_runs import addition

from nesy_gedi.training.loop import Listener
from nesy_gedi.training.recipe import CotrainingRecipe, DataRecipe, NetworkRecipe, PretrainingRecipe, Recipe
from nesy_gedi.training.training import Trained, train

FOUR = """
nn(digit_net, [X], Y, [0..3]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
"""Six of ten classes lie outside the domain."""

OVERRIDES: dict[str, Any] = {
    "network.width": 8,
    "stages.features.epochs": 1,
    "stages.features.passes": 4,
    "stages.features.batch_size": 96,
    "stages.features.clusters": 32,
    "stages.features.output": 32,
    "stages.clusters.epochs": 1,
    "stages.clusters.passes": 20,
    "stages.clusters.restarts": 6,
    "stages.refine.epochs": 0,
    "stages.settle.epochs": 0,
}
"""Of the default pretraining: half a second of features and one of clusters, nine tenths of which are right."""

PRETRAINING_STEPS = 4 * 6 + 20 * 5
"""Of both stages with these: passes over 575 images, in as many batches of at most 96 and 128."""

COTRAINING = CotrainingRecipe(epochs=2, steps=3, batch_size=64, neighbours=5)

CLUSTERED = Recipe(
    query="addition(X, Y, Sum)",
    seed=3,
    method="clusters",
    data=DataRecipe(train=40, validation=16, test=60),
    networks={"digit_net": NetworkRecipe()},
    pretraining=PretrainingRecipe(overrides=OVERRIDES, attempts=1),
    cotraining=COTRAINING,
)


def with_network(recipe: Recipe = CLUSTERED, **changes: Any) -> Recipe:
    network = replace(recipe.networks.get("digit_net", NetworkRecipe()), **changes)
    return replace(recipe, networks={"digit_net": network})


def with_overrides(recipe: Recipe = CLUSTERED, **changes: Any) -> Recipe:
    """Keys with ``__`` for the dot."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    overrides = {**recipe.pretraining.overrides, **given}
    return replace(recipe, pretraining=replace(recipe.pretraining, overrides=overrides))


def with_cotraining(recipe: Recipe = CLUSTERED, **changes: Any) -> Recipe:
    return replace(recipe, cotraining=replace(recipe.cotraining, **changes))


def train_symbols(out: Path | None, recipe: Recipe = CLUSTERED, text: str = FOUR, **arguments: Any) -> Trained:
    return train(addition(text), recipe, out=out, **({"device": "cpu"} | arguments))


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.lines: list[dict[str, Any]] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def epoch(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
