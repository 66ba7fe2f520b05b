"""A training run of a second: a program, its recipe, ways to stop it, and what it left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from nesy_gedi.data import Augmentation, load_images
from nesy_gedi.logic.program import Program
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.runs import RunFolder
from nesy_gedi.training.training import Trained, train

read_once = cache(load_images)
"""Each embedded data set is read once."""

ADDITION = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""

SLIPPING = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
t(_) :: slip.
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), \\+ slip, Sum is A + B.
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), slip, Sum is A + B + 1.
"""
"""Has a learned probability, and answers that are drawn at random."""

STEPS = 5
"""Of each epoch of SMALL."""

SMALL = Recipe(
    query="addition(X, Y, Sum)",
    seed=3,
    method="answers",
    data=DataRecipe(train=8 * STEPS, validation=16, test=16),
    networks={"digit_net": NetworkRecipe(features=16)},
    training=TrainingRecipe(epochs=3, batch_size=8, learning_rate=0.003),
)


def noisy_encoder() -> nn.Module:
    """An encoder that draws random numbers at every step, and whose batch statistics move."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3))


NOISY = replace(
    SMALL,
    networks={"digit_net": NetworkRecipe(encoder="small_runs:noisy_encoder")},
    training=replace(SMALL.training, weight_decay=0.1, augmentation=Augmentation()),
)


def addition(text: str = ADDITION) -> Program:
    return Program(text, name="somewhere/addition.pl")


def with_training(recipe: Recipe = SMALL, **changes: Any) -> Recipe:
    return replace(recipe, training=replace(recipe.training, **changes))


def train_small(out: Path | None, recipe: Recipe = SMALL, text: str = ADDITION, **arguments: Any) -> Trained:
    given = {"device": "cpu", "trusted_encoders": ("digit_net",)} | arguments
    return train(addition(text), recipe, out=out, **given)


def once(number: int) -> Callable[[], bool]:
    """A ``stop`` that says yes the ``number``-th time it is asked, and never again.

    It is asked after each step, and after each epoch once more.
    """
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == number

    return stop


def checkpoint_folder(run: RunFolder, which: str) -> Path:
    folder = run.path / "checkpoints"
    return folder / json.loads((folder / "index.json").read_text(encoding="utf-8"))[which]


def tensors(run: RunFolder, which: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint: weights, buffers, learned probabilities, optimiser, random numbers."""
    return {
        f"{part}.{name}": tensor
        for part in ("model", "optimizer")
        for name, tensor in load_file(checkpoint_folder(run, which) / f"{part}.safetensors").items()
    }


def untimed(document: Any) -> Any:
    """A document without what depends on the clock or the folder."""
    if isinstance(document, dict):
        varying = ("seconds", "measuring_s", "time", "run")
        return {key: untimed(value) for key, value in document.items() if key not in varying}
    return [untimed(item) for item in document] if isinstance(document, list) else document
