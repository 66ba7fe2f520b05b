"""Losses of objectives, side by side, and what it means that they have diverged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.objectives.objective import Objective, Pair
from nesy_gedi.training.loop import Diverged

DIVERGED = 1e8
"""A loss beyond this has diverged (the limit of JEM, Grathwohl et al., ICLR 2020)."""


def objective_terms(objective: Objective, outputs: dict[str, Pair]) -> dict[str, Tensor]:
    """The terms of what networks return, as :meth:`~nesy_gedi.objectives.objective.Objective.terms`.

    Raises:
        Diverged: the outputs are not finite, as after a step that was too large.
        DataError: they cannot be used for another reason.
    """
    try:
        return objective.terms(**outputs)
    except DataError as error:
        if all(bool(view.isfinite().all()) for pair in outputs.values() for view in pair):
            raise
        raise Diverged(error.message, where=error.where, hint=error.hint) from error


def total_losses(terms: Sequence[dict[str, Tensor]], section: str) -> tuple[Tensor, list[float]]:
    """The sums of the terms of several objectives, (k,) with gradient, and as numbers.

    Args:
        section: of the recipe, for the hint what to change.

    Raises:
        Diverged: one of them is not finite or beyond all bounds.
    """
    losses = add_terms(terms)
    values = losses.detach().tolist()
    for value in values:
        if not abs(value) <= DIVERGED:
            raise Diverged(
                f"the loss became {value:.3g}",
                hint=f"lower {section}.learning_rate or the weight of the generative term",
            )
    return losses, values


def add_terms(terms: Sequence[dict[str, Tensor]]) -> Tensor:
    """The sums of the terms of several objectives, (k,) with gradient, which nobody has looked at."""
    return torch.stack([torch.stack(tuple(each.values())).sum() for each in terms])
