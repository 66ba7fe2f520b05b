"""One query form answered by deepproblog as well, on the same random distributions."""

from __future__ import annotations

from collections.abc import Collection

from nesy_gedi.logic.checking import MAX_ANSWERS, check
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

SECONDS = 240.0
"""No comparison of these tests needs as long."""


def compare_with_deepproblog(
    program: Program,
    form: str,
    *,
    slots: Collection[str] | None = None,
    batch: int = 3,
    seed: int = 0,
    max_answers: int = MAX_ANSWERS,
) -> tuple[float, float]:
    """The largest differences between values and between gradients by logits."""
    reasoner = Reasoner(program, form, slots=slots)
    found = check(reasoner, "deepproblog", rows=batch, seed=seed, seconds=SECONDS, max_answers=max_answers)
    assert not found.unknown
    assert not found.stopped
    return found.value.size, found.gradient.size
