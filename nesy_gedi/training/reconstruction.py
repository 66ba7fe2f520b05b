"""Reconstruction beside the answers: the images of the pool from the symbols that all networks see in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nesy_gedi.data.image_sets import unit_range
from nesy_gedi.errors import RecipeError, UsageError
from nesy_gedi.networks.decoders import SymbolDecoder

if TYPE_CHECKING:
    from nesy_gedi.training.task import Task

TERM = "reconstruction"
"""What its loss is called beside the objective's terms."""


def make_decoder(task: Task, images: Tensor) -> SymbolDecoder | None:
    """A new decoder of the symbols of all networks, on the images' device, from the global generator.

    Args:
        images: of the pool, (n, ...), as networks take them.

    Returns:
        None where the recipe asks for none.

    Raises:
        RecipeError: too many combinations of symbols.
    """
    if not task.recipe.cotraining.reconstruction:
        return None
    try:
        return SymbolDecoder([len(task.program.networks[name]) for name in task.networks], unit_range(images))
    except UsageError as error:
        raise RecipeError(
            error.message, where="cotraining.reconstruction", hint="set it to 0, or learn from a program with fewer"
        ) from error
