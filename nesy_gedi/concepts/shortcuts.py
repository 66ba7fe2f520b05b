"""Which ways of misreading symbols would give every training answer right? Counted exactly, and listed.

A map sends each true symbol of a network to the symbol that is read in its place. It is *optimal* when the program
answers as before on every tuple of symbols that training has shown. The identity is; every other optimal map is a
reasoning shortcut, which answers alone cannot tell from the truth (Marconato et al., NeurIPS 2023).

Which maps there are to begin with is a matter of the networks' architecture, the *family*: one map for each network
("shared"), one for each slot that a network looks at ("factored"), or any map of whole tuples ("joint").
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.map_constraints import MapProblem, OutOfTimeError
from nesy_gedi.concepts.map_counting import Count, count_solutions
from nesy_gedi.concepts.misreadings import DENSE_ENTRIES, UNSEEN, ShownTuples, Symbols, Told
from nesy_gedi.errors import UsageError
from nesy_gedi.logic.reasoner import Reasoner

FAMILY = "shared"
"""Of the maps that are counted unless another is asked for."""

JOINT = "joint"
"""The family of maps of whole tuples."""

MAX_MAPS = 1000
"""So many maps are listed; of more, it is said that there are more."""

SECONDS = 5.0
"""Default budget of a search."""

COUNTING, COUNTING_ONE_TO_ONE = 0.5, 0.8
"""Shares of the budget after which counting ends; what is left lists."""


@dataclass(frozen=True)
class OptimalMaps:
    """What a search has found.

    Attributes:
        maps: optimal maps, the identity first, then those that misread fewest symbols: name -> for each true symbol the index
            of the one that is read in its place, ``UNSEEN`` where training has neither shown nor told it.
        complete: whether these are all.
        count: how many optimal maps there are, the identity among them, with every reading of what was not shown.
        one_to_one: how many of them read no two symbols of a map as the same: what pure clusters leave.
        tuples: distinct tuples of symbols that training has shown.
        domains: name of a map -> its symbols.
        family: ``shared | factored | joint``.
        random: whether rules are random, so that a map is optimal where answers are as probable as before.
    """

    maps: tuple[Maps, ...]
    complete: bool
    count: Count
    one_to_one: Count
    tuples: int
    domains: Mapping[str, tuple[str, ...]]
    family: str = FAMILY
    random: bool = False

    @property
    def unseen(self) -> tuple[tuple[str, int], ...]:
        """(name, symbol) that training has neither shown nor told."""
        return tuple((name, k) for name, row in self.maps[0].items() for k, read in enumerate(row) if read == UNSEEN)

    @property
    def exact(self) -> bool:
        """Whether the counts are."""
        return self.count.exact and self.one_to_one.exact


@dataclass(frozen=True)
class Nearest:
    """The optimal map that is most like a learned one.

    Attributes:
        maps: that map.
        distance: share of the images whose symbol the two read differently; 0 where they agree.
        differing: (network, symbol) on which they differ.
        identity: whether it reads every shown symbol as itself.
    """

    maps: Maps
    distance: float
    differing: tuple[tuple[str, int], ...]
    identity: bool


def find_optimal_maps(
    reasoner: Reasoner,
    symbols: Symbols,
    given: Symbols | None = None,
    told: Told | None = None,
    *,
    family: str = FAMILY,
    seconds: float = SECONDS,
    limit: int = MAX_MAPS,
) -> OptimalMaps:
    """Count and list the maps under which the program answers as it does now on every observed tuple.

    Where rules are random, the answers must be as probable as before.

    Args:
        reasoner: the program's circuit; learned probabilities are taken as they are.
        symbols: the true symbols of what networks see.
        given: inputs whose symbols come with the query: they are never misread.
        told: symbols that labels settle, by the name of the map.
        family: ``shared | factored``.
        seconds: when to stop; counts are bounds then.
        limit: how many maps are listed at most.

    Raises:
        UsageError: an input of the reasoner that is neither seen nor given, another family, or a limit or budget of nothing.
        DataError: no tuple at all, numbers of tuples that differ, or symbols outside the domain.
    """
    return list_optimal_maps(ShownTuples(reasoner, symbols, given, told, family=family), seconds=seconds, limit=limit)


def list_optimal_maps(
    shown: ShownTuples,
    *,
    one_to_one: bool = False,
    seconds: float = SECONDS,
    limit: int = MAX_MAPS,
) -> OptimalMaps:
    """As :func:`find_optimal_maps`.

    Args:
        one_to_one: list those that are one to one alone.
    """
    if limit < 1 or not seconds > 0.0:
        raise UsageError(f"{limit} maps in {seconds} seconds: nothing can be found", hint="allow at least one of each")
    begun = time.perf_counter()
    fixed = {place: int(shown.symbol_of[place]) for place in shown.told}
    problem = MapProblem.of(shown, False, begun + COUNTING * seconds)
    count = at_least_one(count_solutions(problem, fixed))
    straight = MapProblem.of(shown, True, begun + COUNTING_ONE_TO_ONE * seconds)
    straight_count = at_least_one(count_solutions(straight, fixed))
    chosen = (straight if one_to_one else problem).until(begun + seconds)
    found, complete = _listed(shown, chosen, fixed, limit)
    return OptimalMaps(
        tuple(shown.by_name(row) for row in found),
        complete,
        count,
        straight_count,
        len(shown.codes),
        dict(shown.domains),
        shown.family,
        shown.classes.random,
    )


def at_least_one(count: Count) -> Count:
    """The identity is always optimal."""
    return Count(max(1, count.lower), max(1, count.upper))


def _listed(
    shown: ShownTuples, problem: MapProblem, fixed: dict[int, int], limit: int
) -> tuple[list[tuple[int, ...]], bool]:
    """Optimal maps of what was shown, the identity first, and whether these are all."""
    identity = tuple(shown.identity.tolist())
    # What was not shown is not searched: every reading of it would be another map.
    seen = [place for place, symbol in enumerate(identity) if symbol != UNSEEN]
    found: dict[tuple[int, ...], None] = {identity: None}
    complete = True
    try:
        for row in problem.projected(problem.start(fixed), seen):
            values = iter(row)
            found[tuple(UNSEEN if symbol == UNSEEN else next(values) for symbol in identity)] = None
            if len(found) > limit:
                complete = False
                break
    except OutOfTimeError:
        complete = False

    def misread(row: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        return sum(read != own for read, own in zip(row, identity, strict=True)), row

    return sorted(found, key=misread)[:limit], complete


def count_joint(shown: ShownTuples) -> OptimalMaps:
    """How many maps of whole tuples are optimal, of those that are shown, to any tuples; exact, in closed form.

    The count is the product, over shown tuples, of how many tuples have the same answer. One to one are maps that read no two
    shown tuples as the same: what perfect reconstruction leaves. The identity alone is listed. What labels tell of single symbols
    says nothing here.

    Raises:
        UsageError: there are too many tuples to look at each.
    """
    total = math.prod(shown.classes.sizes)
    if total > DENSE_ENTRIES:
        raise UsageError(
            f"10^{math.log10(total):.0f} tuples are too many to count their answers",
            hint="count maps of single symbols: --family shared",
        )
    every = np.zeros(1, dtype=shown.classes.dtype)
    for place, stride, size in zip(shown.places()[0], shown.classes.strides, shown.classes.sizes, strict=True):
        if place is not None:
            every = np.add.outer(every, np.arange(size) * stride).ravel()
    kinds = Counter((shown.given_code(k), target) for k, target in enumerate(shown.truth.tolist()))
    ways, straight = 1, 1
    same: dict[int, dict[int, int]] = {}
    for (base, target), times in kinds.items():
        if base not in same:
            numbers, counts = np.unique(shown.classes(every + base), return_counts=True)
            same[base] = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        ways *= same[base][target] ** times
        straight *= math.perm(same[base][target], times)
    return OptimalMaps(
        (shown.by_name(tuple(shown.identity.tolist())),),
        ways == 1,
        Count(ways, ways),
        Count(straight, straight),
        len(shown.codes),
        dict(shown.domains),
        JOINT,
        shown.classes.random,
    )


def nearest_map(learned: Maps, counts: Mapping[str, Tensor], found: OptimalMaps) -> Nearest:
    """The optimal map that reads most images as ``learned`` does; of equal ones the first.

    Args:
        learned: network -> for each true symbol the one that is read in its place; ``UNSEEN`` where that is not known.
        counts: network -> images of each true symbol, shape (K,).
        found: the optimal maps of the same networks.
    """
    total = max(1, sum(int(of.sum()) for of in counts.values()))
    weighed = []
    for number, maps in enumerate(found.maps):
        apart = differing(learned, maps)
        weighed.append((sum(int(counts[name][k]) for name, k in apart), len(apart), number, apart))
    weight, _, number, apart = min(weighed)
    return Nearest(found.maps[number], weight / total, apart, is_identity(found.maps[number]))


def is_identity(maps: Maps) -> bool:
    """Whether every symbol is read as itself, as far as it is known."""
    return all(read in (k, UNSEEN) for row in maps.values() for k, read in enumerate(row))


def is_one_to_one(row: tuple[int, ...]) -> bool:
    """Whether no two symbols are read as the same, as far as it is known."""
    known = [read for read in row if read != UNSEEN]
    return len(set(known)) == len(known)


def differing(one: Maps, other: Maps) -> tuple[tuple[str, int], ...]:
    """(network, symbol) that two maps read differently, as far as both are known."""
    return tuple(
        (name, k)
        for name, row in one.items()
        for k, (mine, theirs) in enumerate(zip(row, other[name], strict=True))
        if mine != theirs and UNSEEN not in (mine, theirs)
    )


def kind_of(maps: Maps) -> str:
    """What a map does: ``identity | negation | shift by N | one to one | merging``, as far as it is known."""
    changed = [row for row in maps.values() if any(read not in (k, UNSEEN) for k, read in enumerate(row))]
    if not changed:
        return "identity"
    if not all(is_one_to_one(row) for row in maps.values()):
        return "merging"
    kinds = {_one_to_one_kind(row) for row in changed}
    return kinds.pop() if len(kinds) == 1 else "one to one"


def _one_to_one_kind(row: tuple[int, ...]) -> str:
    if len(row) == 2:
        return "negation"
    steps = {(read - k) % len(row) for k, read in enumerate(row) if read != UNSEEN}
    return f"shift by {steps.pop()}" if len(steps) == 1 else "one to one"


@dataclass(frozen=True)
class Prediction:
    """What a perfect score on training's answers hides where symbols are read as a map says.

    Attributes:
        symbols_right: share of the symbols in the tuples that training shows that are read as they are.
        answers_outside: share of the other tuples whose answer is right; None where there are none of shown symbols alone.
        symbols_outside: share of the symbols in these that are read as they are.
        collapse: share of the symbols that nothing is read as, over all networks (``Cls``).
    """

    symbols_right: float
    answers_outside: float | None
    symbols_outside: float | None
    collapse: float


def predict_accuracy(shown: ShownTuples, maps: Maps, outside: Tensor) -> Prediction:
    """What accuracies a map would have, every tuple counted once.

    Args:
        outside: further tuples, coded as ``shown.codes``; those of symbols whose reading is not known are left out.
    """
    row = torch.cat([torch.tensor(maps[name]) for name in shown.domains])
    seen = [column for column, place in enumerate(shown.places()[0]) if place is not None]
    outside = outside[(row[outside[:, seen]] != UNSEEN).all(1)]

    def right(codes: Tensor) -> float:
        return float((row == shown.symbol_of)[codes[:, seen]].double().mean())

    used = sum(len({read for read in reads if read != UNSEEN}) for reads in maps.values())
    possible = sum(min(len(reads), sum(read != UNSEEN for read in reads)) for reads in maps.values())
    known = row.where(row != UNSEEN, shown.symbol_of)
    return Prediction(
        right(shown.codes),
        float(shown.keeps(known[None], outside).double().mean()) if len(outside) else None,
        right(outside) if len(outside) else None,
        1.0 - used / possible,
    )
