"""Data that is handed over in memory, in place of what a recipe names: a run remembers what it was, not the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import RunError
from nesy_gedi.training.recipe import Recipe

IN_MEMORY = "in memory"
"""Stands in a run's recipe for the source of data that no file holds."""


def in_memory(recipe: Recipe, images: ImageSplits | None) -> Recipe:
    """The recipe of a run on ``images``; the same without them."""
    return recipe if images is None else replace(recipe, data=replace(recipe.data, source=IN_MEMORY))


def described(images: ImageSplits) -> dict[str, Any]:
    """What a run folder keeps of data in memory."""
    rows = None if images.given is None else len(images.given.train)
    return {"name": images.name, "train": len(images.train), "test": len(images.test), "rows": rows}


def name_of(recipe: Recipe, images: ImageSplits) -> str:
    """What the data is called."""
    return images.name if recipe.data.source == IN_MEMORY else recipe.data.source


def refuse_missing(source: str, where: str) -> None:
    """Raises RunError where the data of a run was in memory, and it is not at hand."""
    if source == IN_MEMORY:
        raise RunError(
            "the data of this run was in memory: it is in no file that could be read again",
            where=where,
            hint="from Python, give it once more: images=..., or name other data: --data",
        )


def refuse_other(images: ImageSplits, kept: object, where: str) -> None:
    """Raises RunError where a run is to be continued on other data in memory than it was begun with."""
    if kept != described(images):
        raise RunError(
            f"the run was begun with other data in memory: {kept}, not {described(images)}",
            where=where,
            hint="give the same data, or start a new run",
        )
