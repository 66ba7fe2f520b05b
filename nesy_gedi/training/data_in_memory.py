"""Data of one's own - in files, or handed over in memory in place of what a recipe names: a run remembers what it was."""

from __future__ import annotations

import hashlib
import json
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
    """What a run folder keeps of data of one's own: its name, its sizes, and a digest of all that training looks at."""
    rows = None if images.given is None else len(images.given.train)
    sizes = {"name": images.name, "train": len(images.train), "test": len(images.test), "rows": rows}
    return {**sizes, "sha256": _digest(images)}


def _digest(images: ImageSplits) -> str:
    """SHA-256 of the training inputs, their labels, and the rows for training and validation."""
    found = hashlib.sha256()
    for part in (images.train.images, *images.train.others):
        found.update(repr((part.dtype, tuple(part.shape))).encode())
        found.update(part.contiguous().numpy().tobytes())
    for name, labels in sorted(images.train.labels.items()):
        found.update(json.dumps([name, labels.classes, labels.index.tolist()]).encode())
    for rows in () if images.given is None else (images.given.train, images.given.validation):
        if rows is not None:
            found.update(json.dumps([rows.index.tolist(), rows.values]).encode())
    return found.hexdigest()


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
    """Raises RunError where a run is to be continued on other data of one's own than it was begun with."""
    found = described(images)
    was = kept if isinstance(kept, dict) else {}
    if was == found:
        return
    other = [
        f"{key} {was.get(key)}, not {found[key]}" for key in found if key != "sha256" and was.get(key) != found[key]
    ]
    raise RunError(
        "the run was begun with other data"
        + (f": {'; '.join(other)}" if other else ": images or answers have changed"),
        where=where,
        hint="give it the data as it was, or start a new run",
    )
