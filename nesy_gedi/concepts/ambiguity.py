"""Maps that the observations cannot tell apart: what they leave open, and which labels would settle it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import torch
from torch import Tensor

SETS_TRIED = 50_000
"""Smallest separating sets are searched exhaustively up to so many candidates, then greedily."""


def separating_places(maps: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], bool]:
    """Places of maps whose symbols, if told, leave only one of ``maps``, whichever it is.

    Returns:
        The places, ascending, as few as possible, and whether it is proven that fewer do not do.
    """
    # Places that agree everywhere tell nothing, and of places that tell the same one is enough.
    telling: dict[tuple[int, ...], int] = {}
    for place in range(len(maps[0]) if maps else 0):
        groups: dict[int, int] = {}
        pattern = tuple(groups.setdefault(row[place], len(groups)) for row in maps)
        if len(groups) > 1:
            telling.setdefault(pattern, place)
    patterns = list(telling)
    tried = 0
    for size in range(len(patterns) + 1):
        tried += comb(len(patterns), size)
        if tried > SETS_TRIED:
            return _greedy(telling, len(maps)), False
        for chosen in combinations(patterns, size):
            if len(set(zip(*chosen, strict=True))) == len(maps) if chosen else len(maps) <= 1:
                return tuple(sorted(telling[pattern] for pattern in chosen)), True
    return tuple(sorted(telling.values())), True  # maps that are equal cannot be told apart


def _greedy(telling: dict[tuple[int, ...], int], count: int) -> tuple[int, ...]:
    """Always the place that splits what is still together into most parts."""
    parts: list[tuple[int, ...]] = [() for _ in range(count)]
    chosen: list[int] = []
    while len(set(parts)) < count:
        split = {p: [(*old, new) for old, new in zip(parts, p, strict=True)] for p in telling}
        best = max(telling, key=lambda p: (len(set(split[p])), -telling[p]))
        if len(set(split[best])) == len(set(parts)):
            break
        parts = split[best]
        chosen.append(telling[best])
    return tuple(sorted(chosen))


def symbol_posterior(
    maps: Sequence[tuple[int, ...]],
    log_likelihoods: Sequence[float],
    symbols: int,
    spread: Sequence[Sequence[int]] | None = None,
    one_to_one: bool = True,
) -> Tensor:
    """P(symbol | cluster) over ``maps`` of one network, under a uniform prior over them.

    Args:
        maps: one symbol index a cluster.
        log_likelihoods: of each map, in nats.
        symbols: size of the domain.
        spread: for each map the clusters whose symbols may be in any order; each gets its share of all of them.
        one_to_one: else such a cluster may be any symbol.

    Returns:
        Shape (clusters, symbols), float64, rows sum to one.
    """
    weights = torch.tensor(log_likelihoods, dtype=torch.float64).softmax(0)
    result = torch.zeros(len(maps[0]), symbols, dtype=torch.float64)
    for row, weight, free in zip(maps, weights, spread or [()] * len(maps), strict=True):
        for cluster, symbol in enumerate(row):
            if cluster in free and not one_to_one:
                result[cluster] += weight / symbols
            elif cluster in free:
                for other in free:
                    result[cluster, row[other]] += weight / len(free)
            else:
                result[cluster, symbol] += weight
    return result
