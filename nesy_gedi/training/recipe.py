"""Recipes: what to train, on which data and how. TOML in, frozen dataclasses out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nesy_gedi.errors import RecipeError
from nesy_gedi.training.recipe_files import SEEDS, Fault, read_recipe


@dataclass(frozen=True)
class DataRecipe:
    """Images and queries.

    Attributes:
        source: name of a data set.
        train: labelled queries; 0 for as many as use no training image twice.
        validation: queries held out of the training images; 0 for a tenth of those images.
        test: queries over the test images; 0 for as many as use no test image twice.
    """

    source: str = "digits"
    train: int = 0
    validation: int = 0
    test: int = 0


@dataclass(frozen=True)
class NetworkRecipe:
    """One network of the program.

    Attributes:
        attribute: which attribute of the data it perceives.
        classes: for every class of the attribute the symbol it stands for; empty where names and symbols agree.
        encoder: ``conv``, ``mlp``, ``package.module:factory``, or the folder of a pretraining, which stands for that
            run's encoder with its weights.
        head: ``linear``; ``clusters`` for that of the pretraining, where cluster k is the domain's symbol k; ``none``
            where the encoder's output is as wide as the domain.
        features: size of the bundled encoders' output; 0 for the feature map of ``conv`` as it is.
        width: channels of the first stage of ``conv``, units of ``mlp``; 0 chooses.
        normalisation: inside ``conv``: ``batch`` or ``none``.
        weights: folder of the pretraining that the first weights come from.
        output: what the network returns: ``logits``, ``log_probabilities`` or ``probabilities``.
        observed: there is no network and no image: the value is given with each query (target digits, say).
    """

    attribute: str = "class"
    classes: tuple[str, ...] = ()
    encoder: str = "conv"
    head: str = "linear"
    features: int = 128
    width: int = 0
    normalisation: str = "batch"
    weights: str = ""
    output: str = "logits"
    observed: bool = False


@dataclass(frozen=True)
class TrainingRecipe:
    """Optimisation: Adam with a cosine schedule from ``learning_rate`` to zero.

    Attributes:
        epochs: passes over the training queries.
        batch_size: queries a step.
        learning_rate: at the first step.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        precision: Lightning Fabric's name: ``32-true``, ``bf16-mixed``, ``16-mixed`` ... for the networks; the logic
            computes in float32 or better.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.002
    weight_decay: float = 0.0
    precision: str = "32-true"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, apart from the program's text and the machine.

    Attributes:
        query: the query form.
        slots: which of its variables are network inputs; found from the program when empty.
        seed: initial weights, validation split, training queries and their order. Test queries never depend on it.
    """

    query: str = ""
    slots: tuple[str, ...] = ()
    seed: int = 0
    data: DataRecipe = field(default_factory=DataRecipe)
    networks: Mapping[str, NetworkRecipe] = field(default_factory=dict)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)


POSITIVE = {"training.epochs", "training.batch_size", "training.learning_rate"}
NOT_NEGATIVE = {"seed", "data.train", "data.validation", "data.test", "training.weight_decay"}


def load_recipe(
    path: str | Path | None, *, source: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe file, take its ``[when.SOURCE]`` tables for the data in use, then apply ``overrides``.

    Args:
        path: the TOML file; None for a recipe of defaults.
        source: replaces ``data.source``.
        overrides: dotted keys and values, ``{"training.epochs": 5}``; they win over everything.

    Raises:
        RecipeError: as :func:`~nesy_gedi.training.recipe_files.read_recipe`.
    """
    overrides = dict(overrides or {})
    if source is not None:
        overrides["data.source"] = source
    return read_recipe(
        Recipe,
        path,
        faults=_impossible,
        conditions=lambda recipe: {recipe.data.source},
        overrides=overrides,
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse values that cannot be, in a recipe made by hand; :func:`load_recipe` does so itself.

    Raises:
        RecipeError: an impossible value.
    """
    for path, message in _impossible(recipe):
        raise RecipeError(message, where=".".join(path))


def _impossible(recipe: Recipe) -> Iterator[Fault]:
    """The keys whose value cannot be, each with what is wrong."""
    for keys, above_zero, expected in ((POSITIVE, True, "positive"), (NOT_NEGATIVE, False, "zero or more")):
        for key in sorted(keys):
            path = tuple(key.split("."))
            value: Any = recipe
            for part in path:
                value = getattr(value, part)
            if not 0 <= value < float("inf") or (above_zero and value == 0):
                yield path, f"{key} must be {expected}, not {value}"
    if recipe.seed >= SEEDS:
        yield ("seed",), f"seed must be less than {SEEDS}, not {recipe.seed}"
    for name, network in recipe.networks.items():
        for key in ("features", "width"):
            if (value := getattr(network, key)) < 0:
                path = ("networks", name, key)
                yield path, f"{'.'.join(path)} must be zero or more, not {value}"
