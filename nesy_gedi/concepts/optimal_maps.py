"""Which ways of misreading symbols would give every training answer right?

A map sends each true symbol of a network to the symbol that is read in its place. It is *optimal* when the program
answers as before on every tuple of symbols that training has shown. The identity is; every other optimal map is a
reasoning shortcut, which answers alone cannot tell from the truth (Marconato et al., NeurIPS 2023).

The maps are those of one family: each network has one map, whichever slot it looks at, and what it reads depends on its own
symbol alone ("shared"). Where several networks look at one image, what one reads may depend on what another should read;
such shortcuts ("joint") are not searched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples, Symbols, Told
from nesy_gedi.errors import UsageError
from nesy_gedi.logic.reasoner import Reasoner

FAMILY = "shared"
"""Of the maps that are searched: one for each network, the same in all its slots, of its own symbol alone."""

MAX_MAPS = 1000
"""So many maps are listed; of more, it is said that there are more."""

SECONDS = 5.0
"""Default budget of a search."""

MAPS_AT_ONCE = 1024
"""Partial maps that are extended together."""

TUPLES_AT_ONCE = 16
"""After so many tuples, partial maps that have changed an answer are dropped."""

SAMPLE = 256
"""Of more tuples, so many are searched first; the few maps that they leave are then tried on all."""


@dataclass(frozen=True)
class OptimalMaps:
    """What a search has found.

    Attributes:
        maps: the optimal maps, the identity first: network -> for each true symbol the index of the one that is read
            in its place, ``UNSEEN`` where training has neither shown nor told it.
        exact: whether these are all.
        tuples: distinct tuples of symbols that training has shown.
        domains: network -> its symbols.
    """

    maps: tuple[Maps, ...]
    exact: bool
    tuples: int
    domains: Mapping[str, tuple[str, ...]]

    @property
    def unseen(self) -> tuple[tuple[str, int], ...]:
        """(network, symbol) that training has neither shown nor told."""
        return tuple((name, k) for name, row in self.maps[0].items() for k, read in enumerate(row) if read == UNSEEN)

    @property
    def count(self) -> int:
        """Optimal maps, the identity among them, with every reading of what was not shown; at least so many where the
        list is not exact."""
        free = 1
        for name, _ in self.unseen:
            free *= len(self.domains[name])
        return len(self.maps) * free

    @property
    def one_to_one(self) -> int:
        """How many of them read no two symbols of a network as the same: what pure clusters leave. Counted as ``count``."""
        orders = 1
        for row in self.maps[0].values():
            orders *= math.factorial(row.count(UNSEEN))  # of what is left, for what was not shown
        return orders * sum(all(is_one_to_one(row) for row in maps.values()) for maps in self.maps)


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
    seconds: float = SECONDS,
    limit: int = MAX_MAPS,
) -> OptimalMaps:
    """All maps under which the program answers as it does now on every observed tuple.

    Where rules are random, the answers' probabilities must be the same, within ``SAME_PROBABILITY``.

    Args:
        reasoner: the program's circuit; learned probabilities are taken as they are.
        symbols: the true symbols of what networks see.
        given: inputs whose symbols come with the query: they are never misread.
        told: symbols that labels settle.
        seconds: when to stop.
        limit: how many maps are listed at most.

    Raises:
        UsageError: an input of the reasoner that is neither seen nor given, or a limit or budget of nothing.
        DataError: no tuple at all, numbers of tuples that differ, or symbols outside the domain.
    """
    if limit < 1 or not seconds > 0.0:
        raise UsageError(f"{limit} maps in {seconds} seconds: nothing can be found", hint="allow at least one of each")
    deadline = time.perf_counter() + seconds
    shown = ShownTuples(reasoner, symbols, given, told)
    found, exact = _find(shown, limit, deadline)
    identity = tuple(shown.identity.tolist())
    ordered = [identity, *sorted(set(found) - {identity})][:limit]
    return OptimalMaps(tuple(shown.by_network(row) for row in ordered), exact, len(shown.codes), dict(shown.domains))


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


def _find(shown: ShownTuples, limit: int, deadline: float) -> tuple[list[tuple[int, ...]], bool]:
    """Optimal maps, and whether these are all."""
    every = torch.arange(len(shown.codes))
    if len(every) > SAMPLE:
        found, exact = _search(shown, _sample(shown), limit, deadline)
        if exact:
            maps = torch.tensor(found)
            for part in every.split(SAMPLE):
                maps = maps[shown.keeps(maps, part).all(1)]
            return [tuple(row) for row in maps.tolist()], True
    return _search(shown, every, limit, deadline)


def _sample(shown: ShownTuples) -> Tensor:
    """Tuples that show every symbol that all of them show."""
    first: dict[int, int] = {}
    for number, places in enumerate(shown.places()):
        for place in places:
            first.setdefault(place, number)
    drawn = torch.randperm(len(shown.codes), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    chosen: Tensor = torch.cat([torch.tensor(list(first.values())), drawn]).unique()
    return chosen


def _search(shown: ShownTuples, tuples: Tensor, limit: int, deadline: float) -> tuple[list[tuple[int, ...]], bool]:
    """Maps that are optimal for ``tuples``, and whether these are all: depth first, many partial maps at a time."""
    order, decided = _order(shown, tuples)
    found: list[tuple[int, ...]] = []
    waiting = [(0, torch.full((1, len(shown.identity)), UNSEEN))]
    while waiting:
        depth, maps = waiting.pop()
        if depth == len(order):
            found += [tuple(row) for row in maps.tolist()]
            if len(found) > limit:
                return found, False
            continue
        if len(maps) > MAPS_AT_ONCE:
            waiting.append((depth, maps[MAPS_AT_ONCE:]))
            maps = maps[:MAPS_AT_ONCE]
        place = order[depth]
        read = shown.identity[[place]] if place in shown.told else torch.arange(int(shown.size_of[place]))
        children = maps.repeat_interleave(len(read), 0)
        children[:, place] = read.repeat(len(maps))
        for part in decided[depth].split(TUPLES_AT_ONCE):
            if time.perf_counter() > deadline:
                return found, False
            if len(children) and len(part):
                children = children[shown.keeps(children, part).all(1)]
        if len(children):
            waiting.append((depth + 1, children))
    return found, True


def _order(shown: ShownTuples, tuples: Tensor) -> tuple[list[int], list[Tensor]]:
    """The shown symbols in the order in which they are decided, and the ``tuples`` that each one decides."""
    of_all = shown.places()
    of_tuples = [of_all[number] for number in tuples.tolist()]
    left = [set(places) for places in of_tuples]
    free = set(torch.nonzero(shown.identity != UNSEEN)[:, 0].tolist())
    order: list[int] = []
    while free:
        # Tuples that are nearly decided count most: they refuse maps soonest.
        gain = dict.fromkeys(sorted(free), 0.0)
        for places in left:
            for place in places:
                gain[place] += 100.0 ** -len(places)
        chosen = max(gain, key=lambda place: (gain[place], -place))
        order.append(chosen)
        free.remove(chosen)
        for places in left:
            places.discard(chosen)
    rank = {place: depth for depth, place in enumerate(order)}
    last = torch.tensor([max(rank[place] for place in places) for places in of_tuples])
    return order, [tuples[last == depth] for depth in range(len(order))]
