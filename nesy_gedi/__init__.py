"""nesy-gedi: train DeepProbLog programs on images, exactly, batch-wide, and with the concepts that were meant."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nesy_gedi.errors import NesyGediError
    from nesy_gedi.logic.program import Program
    from nesy_gedi.logic.reasoner import Reasoner
    from nesy_gedi.networks.perception import Perception
    from nesy_gedi.training.recipe import Recipe, load_recipe
    from nesy_gedi.training.training import evaluate, train

# The public names and where they live. Imported on first use: torch alone takes over a second.
_PUBLIC = {
    "NesyGediError": "nesy_gedi.errors",
    "Perception": "nesy_gedi.networks.perception",
    "Program": "nesy_gedi.logic.program",
    "Reasoner": "nesy_gedi.logic.reasoner",
    "Recipe": "nesy_gedi.training.recipe",
    "evaluate": "nesy_gedi.training.training",
    "load_recipe": "nesy_gedi.training.recipe",
    "train": "nesy_gedi.training.training",
}

__all__ = [
    "NesyGediError",
    "Perception",
    "Program",
    "Reasoner",
    "Recipe",
    "evaluate",
    "load_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
