"""What to ask for so that only the right reading of symbols remains: the fewest labels, or the fewest further answers.

Both are smallest hitting sets: every shortcut must be refused by something that is asked for. Shortcuts are too many to list, so
they are found one after the other - choose the fewest that refuse all shortcuts known so far, look for a shortcut that survives,
and add it - until none does (implicit hitting sets; Chandrasekaran et al., SODA 2011). Then fewer do not do: that is proven.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.map_constraints import MapProblem, OutOfTimeError
from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.errors import UsageError

CANDIDATES = 20_000
"""Of more tuples whose answers could be asked for, so many are drawn."""

SECONDS = 5.0
"""Default budget of each repair."""

PROVING = 0.7
"""Share of the budget for the smallest set; in what is left, any that does is sought."""


@dataclass(frozen=True)
class LabelRepair:
    """Labelled images after which only the identity remains.

    Attributes:
        labels: (name of the map, index of the symbol); None where the time was up before any set was found that does.
        proven: that fewer do not do; else they were chosen greedily.
    """

    labels: tuple[tuple[str, int], ...] | None
    proven: bool


@dataclass(frozen=True)
class AnswerRepair:
    """Further observed answers after which only the identity remains.

    Attributes:
        tuples: the tuples of symbols to ask about, an index for each of the reasoner's inputs; None where there are none that
            do, or the time was up before any set was found.
        proven: that fewer do not do, or that no answers do.
        survivor: a shortcut that no answer refuses; None where there is none, or none was found.
        all_tuples: whether all tuples could be chosen from; else some were drawn, and fewer of the others might do.
    """

    tuples: tuple[tuple[int, ...], ...] | None
    proven: bool
    survivor: Maps | None
    all_tuples: bool


def fewest_labels(shown: ShownTuples, *, one_to_one: bool, seconds: float = SECONDS) -> LabelRepair:
    """The fewest labelled images, of different symbols, that leave only the identity.

    Args:
        one_to_one: shortcuts that read two symbols of a map as the same are ruled out already, as pure clusters do.

    Raises:
        UsageError: a budget of nothing.
    """
    identity = tuple(shown.symbol_of.tolist())

    def survivors(chosen: Sequence[int], deadline: float) -> list[tuple[int, ...]]:
        told = {place: identity[place] for place in (*shown.told, *chosen)}
        return _shortcuts(MapProblem.of(shown, one_to_one, deadline), told)

    def refused_by(rows: list[tuple[int, ...]]) -> np.ndarray:
        return np.asarray(np.array(rows) != np.array(identity))

    chosen, proven = _implicit_hitting_set(survivors, refused_by, seconds)
    if chosen is None:
        return LabelRepair(None, False)
    names = [(name, place - shown.places_of(name).start) for name in shown.domains for place in shown.places_of(name)]
    return LabelRepair(tuple(names[place] for place in chosen), proven)


def fewest_answers(shown: ShownTuples, *, one_to_one: bool, seconds: float = SECONDS) -> AnswerRepair:
    """The fewest further answers that leave only the identity. As :func:`fewest_labels`."""
    told = {place: int(shown.symbol_of[place]) for place in shown.told}
    candidates, every = shown.other_tuples(CANDIDATES)
    unrefused: list[tuple[int, ...]] = []

    def survivors(chosen: Sequence[int], deadline: float) -> list[tuple[int, ...]]:
        extended = shown.with_tuples(candidates[list(chosen)]) if len(chosen) else shown
        return _shortcuts(MapProblem.of(extended, one_to_one, deadline), told)

    def refused_by(rows: list[tuple[int, ...]]) -> np.ndarray:
        found = [~shown.keeps(torch.tensor(row)[None], candidates)[0].numpy() for row in rows]
        unrefused.extend(row for row, refusing in zip(rows, found, strict=True) if not refusing.any())
        return np.array(found)

    chosen, proven = _implicit_hitting_set(survivors, refused_by, seconds)
    if unrefused:
        return AnswerRepair(None, every, shown.by_name(unrefused[0]), every)
    if chosen is None:
        return AnswerRepair(None, False, None, every)
    return AnswerRepair(_tuples(shown, candidates[list(chosen)]), proven and every, None, every)


def _tuples(shown: ShownTuples, codes: Tensor) -> tuple[tuple[int, ...], ...]:
    """Symbols of tuples that are coded as those of ``shown``."""
    seen = torch.tensor([place is not None for place in shown.places()[0]])
    return tuple(tuple(row) for row in codes.where(~seen, shown.symbol_of[codes.where(seen, 0)]).tolist())


def _shortcuts(problem: MapProblem, told: dict[int, int]) -> list[tuple[int, ...]]:
    """Shortcuts that misread few symbols, for each symbol one that misreads it; none only where there is none at all.

    Raises:
        OutOfTimeError: before one was found.
    """
    found: dict[tuple[int, ...], None] = {}
    try:
        if (domains := problem.start(told)) is None:
            return []
        for variable in range(len(domains)):
            if len(domains[variable]) > 1:
                found.update(dict.fromkeys(islice(problem.solutions(problem.without_identity(domains, variable)), 1)))
    except OutOfTimeError:
        if not found:
            raise
    return list(found)


def _implicit_hitting_set(
    survivors: Callable[[Sequence[int], float], list[tuple[int, ...]]],
    refused_by: Callable[[list[tuple[int, ...]]], np.ndarray],
    seconds: float,
) -> tuple[list[int] | None, bool]:
    """The smallest set of choices that no shortcut survives, and whether it is proven to be.

    Args:
        survivors: choices, deadline -> some shortcuts that survive them, none where there are none.
        refused_by: shortcuts -> which choices refuse each, bool (shortcuts, choices).

    Returns:
        None where some shortcut is refused by nothing, proven, or where the time was up, which proves nothing.
    """
    if not seconds > 0.0:
        raise UsageError(f"nothing can be found in {seconds} seconds", hint="allow more")
    begun = time.perf_counter()
    known: np.ndarray | None = None
    chosen: list[int] = []
    proving = True
    deadline = begun + PROVING * seconds
    while True:
        try:
            found = survivors(chosen, deadline)
            if not found:
                return chosen, proving or not chosen
            refusing = refused_by(found)
            if not refusing.any(1).all():
                return None, True
            known = refusing if known is None else np.concatenate([known, refusing])
            if proving:
                chosen = _smallest_hitting_set(known, deadline - time.perf_counter())
            else:
                chosen = [*chosen, int(refusing.sum(0).argmax())]
        except OutOfTimeError:
            if not proving:
                return None, False
            proving, deadline = False, begun + seconds


def _smallest_hitting_set(refusing: np.ndarray, seconds: float) -> list[int]:
    """Columns, ascending, as few as possible, one of which at least is true in each row.

    Raises:
        OutOfTimeError: before that was proven.
    """
    if seconds <= 0.0:
        raise OutOfTimeError
    rows = np.unique(refusing, axis=0).astype(float)
    columns, first = np.unique(rows, axis=1, return_index=True)  # of columns that refuse the same, the first
    order = np.argsort(first)
    columns, first = columns[:, order], first[order]
    found = milp(
        np.ones(columns.shape[1]),
        constraints=LinearConstraint(csr_array(columns), lb=1.0),
        integrality=np.ones(columns.shape[1]),
        bounds=Bounds(0.0, 1.0),
        options={"time_limit": seconds},
    )
    if found.status != 0:
        raise OutOfTimeError
    return sorted(first[np.round(found.x) > 0.5].tolist())
