"""The true values of learned probabilities: those with which a recipe has the answers of queries drawn."""

from __future__ import annotations

import math

from torch import Tensor

from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.program import ParameterGroup, Program
from nesy_gedi.training.recipe import Recipe

SLACK = 1e-6
"""By how much probabilities may miss one, as they are rounded when they are written."""


def read_truth(program: Program, recipe: Recipe, learned: LearnedProbabilities) -> tuple[Tensor, ...] | None:
    """The logits that stand for ``data.truth``, one tensor for each clause with learned probabilities.

    Returns:
        As :meth:`LearnedProbabilities.replaced` takes them; None where the recipe says nothing.

    Raises:
        RecipeError: too few or too many clauses or numbers, or numbers that are no probabilities.
    """
    texts = recipe.data.truth
    if not texts:
        return None
    if len(texts) != len(program.parameters):
        raise _error(
            f"{len(texts)} texts for the {len(program.parameters)} clauses of {program.source.name} "
            "with learned probabilities",
            "give one for each clause with t(_), in the program's order",
        )
    return tuple(
        learned.logits_of(number, _probabilities(text, group))
        for number, (text, group) in enumerate(zip(texts, program.parameters, strict=True))
    )


def _probabilities(text: str, group: ParameterGroup) -> list[float]:
    count = sum(group.learned)
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = [math.nan]
    if not all(0.0 <= p <= 1.0 for p in found):
        raise _error(f'"{text}" are no probabilities', 'write numbers from 0 to 1, for example "0.3 0.7"')
    if len(found) != count:
        raise _error(
            f'"{text}" has {len(found)} numbers for the {count} learned probabilities of {group.label}',
            "give one for each t(_), in the order of the clause",
        )
    room = 1.0 - sum(p for p, is_learned in zip(group.heads, group.learned, strict=False) if not is_learned)
    total = sum(found)
    if total > room + SLACK or (not group.heads[-1] and total < room - SLACK):
        least = "at most " if group.heads[-1] else ""
        raise _error(
            f'"{text}" sums to {total:.6g}, where {group.label} leaves {room:.6g}', f"sum to {least}{room:.6g}"
        )
    return found


def _error(message: str, hint: str) -> RecipeError:
    return RecipeError(message, where="data.truth", hint=hint)
