"""Good maps quickly: hill climbing on the quadratic bound from many starts, then on the likelihood itself."""

from __future__ import annotations

import time
from itertools import combinations

import torch
from torch import Tensor

from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import PairTables

STARTS = 24
"""Random maps from which the quadratic bound is climbed; one climb costs next to nothing."""

REFINED = 4
"""How many of the maps reached are climbed on by the likelihood."""

BATCH = 16
"""Neighbours whose likelihood is evaluated together."""

SMALLEST_GAIN = 1e-9
"""Relative; less is rounding."""

ELEMENTS_AT_ONCE = 4_000_000
"""Bounds the memory of one step."""


class LocalSearch:
    """Changes one cluster's symbol, or swaps two, while that helps.

    Args:
        observations: what was observed.
        tables: their quadratic bound.
        seed: of the starts.
        deadline: ``time.perf_counter()`` at which to stop.

    Attributes:
        evaluated: the log-likelihood of every map that was evaluated.
    """

    def __init__(self, observations: Observations, tables: PairTables, *, seed: int, deadline: float) -> None:
        self.observations = observations
        self.tables = tables
        self.deadline = deadline
        self.evaluated: dict[tuple[int, ...], float] = {}
        self._generator = torch.Generator().manual_seed(seed)
        free = tables.base == UNKNOWN
        network = observations.network_of
        self._swaps = [
            (v, w)
            for v, w in combinations(range(observations.size), 2)
            if network[v] == network[w] and free[v] and free[w]
        ]
        self._changes = [
            (v, s)
            for v in torch.nonzero(free)[:, 0].tolist()
            if not observations.unknowns[int(network[v])].one_to_one
            for s in range(int(observations.symbols_of[v]))
        ]

    def starts(self, count: int) -> Tensor:
        """Random whole maps, shape (count, size)."""
        maps = self.tables.base.repeat(count, 1)
        for unknown in self.observations.unknowns:
            for row in range(count):
                own = maps[row, unknown.columns]
                free = own == UNKNOWN
                symbols = torch.arange(len(unknown.domain))
                if unknown.one_to_one:
                    left = symbols[~torch.isin(symbols, own)]
                    own[free] = left[torch.randperm(len(left), generator=self._generator)]
                else:
                    own[free] = torch.randint(len(symbols), (int(free.sum()),), generator=self._generator)
        return maps

    def neighbours(self, maps: Tensor) -> Tensor:
        """All maps one step away, shape (b, steps, size)."""
        swaps = torch.tensor(self._swaps, dtype=torch.long).reshape(-1, 2)
        changes = torch.tensor(self._changes, dtype=torch.long).reshape(-1, 2)
        swapped = maps[:, None].repeat(1, len(swaps), 1)
        step = torch.arange(len(swaps))
        swapped[:, step, swaps[:, 0]], swapped[:, step, swaps[:, 1]] = maps[:, swaps[:, 1]], maps[:, swaps[:, 0]]
        changed = maps[:, None].repeat(1, len(changes), 1)
        changed[:, torch.arange(len(changes)), changes[:, 0]] = changes[:, 1]
        return torch.cat([swapped, changed], 1)

    def climb_bound(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Steepest ascent of the quadratic bound from each of ``maps``; returns the maps reached and their bounds."""
        values = self.tables.score(maps)
        moving = torch.arange(len(maps))
        while len(moving) and time.perf_counter() < self.deadline:
            around = self.neighbours(maps[moving])
            if not around.shape[1]:
                break
            best, step = self._score(around).max(1)
            better = best > values[moving] + SMALLEST_GAIN * (1.0 + values[moving].abs())
            moving, step, around = moving[better], step[better], around[better]
            maps[moving] = around[torch.arange(len(moving)), step]
            values[moving] = best[better]
        return maps, values

    def climb_likelihood(self, start: Tensor, value: float) -> None:
        """Ascent of the likelihood from one map (size,); notes all maps that are evaluated."""
        climbing = bool(self._swaps or self._changes)
        while climbing and time.perf_counter() < self.deadline:
            around = self.neighbours(start[None])[0]
            bounds, order = self._score(around[None])[0].sort(descending=True, stable=True)
            climbing = False
            for number, (bound, part) in enumerate(zip(bounds.split(BATCH), order.split(BATCH), strict=True)):
                # The first ones are evaluated anyway: the runner-up is likely to be among them.
                if time.perf_counter() > self.deadline or (number and float(bound[0]) <= value):
                    break
                values = self._evaluate(around[part])
                if float(values.max()) > value + SMALLEST_GAIN * (1.0 + abs(value)):
                    start, value = around[part[values.argmax()]], float(values.max())
                    climbing = True
                    break

    def _score(self, around: Tensor) -> Tensor:
        """Quadratic bounds of maps (b, steps, size), shape (b, steps)."""
        at_once = max(1, ELEMENTS_AT_ONCE // self.observations.size**2)
        scores = [self.tables.score(part) for part in around.flatten(0, 1).split(at_once)]
        return torch.cat(scores).view(around.shape[:2]) if scores else around.new_empty(around.shape[:2]).double()

    def _evaluate(self, maps: Tensor) -> Tensor:
        """Log-likelihoods of ``maps``, noted."""
        values = self.observations.log_likelihood(maps)
        for row, value in zip(maps.tolist(), values.tolist(), strict=True):
            self.evaluated[tuple(row)] = value
        return values

    def run(self) -> None:
        """Fill ``evaluated``."""
        maps, scores = self.climb_bound(self.starts(STARTS))
        ranked = dict.fromkeys(tuple(row) for row in maps[scores.argsort(descending=True, stable=True)].tolist())
        good = torch.tensor(list(ranked)[:REFINED])
        values = self._evaluate(good)
        for row in values.argsort(descending=True, stable=True).tolist():
            self.climb_likelihood(good[row], float(values[row]))
