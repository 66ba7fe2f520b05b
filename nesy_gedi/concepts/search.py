"""Branch and bound over partial maps: the best ones, proven."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import PairTables

NODES_AT_ONCE = 128
"""Partial maps that are extended together."""

OBSERVATIONS_AT_ONCE = 64
"""After so many observations, partial maps whose bound has fallen too low are dropped."""

MAX_OPEN = 300_000
"""With more partial maps waiting, the deepest go first, so that memory is bounded."""

INDIFFERENCE = 0.01
"""Nats. Where the order of clusters that are hardly ever seen cannot matter more than this, one order stands for all."""

SLACK = 1e-9
"""Relative; sums of one set of terms in two orders differ by less."""


@dataclass(frozen=True)
class Found:
    """What a search leaves.

    Attributes:
        maps: the best maps, best first, as tuples over all clusters.
        log_likelihoods: of each.
        open_bound: the largest bound of what was not searched, None when everything was.
        unseen: of each map the clusters whose order was found not to matter in it.
        nodes: partial maps looked at.
    """

    maps: list[tuple[int, ...]]
    log_likelihoods: list[float]
    open_bound: float | None
    unseen: list[tuple[int, ...]]
    nodes: int


class BranchAndBound:
    """Keeps the ``keep`` best maps among those within ``tolerance`` of the best, and always the two best.

    Args:
        observations: what was observed.
        tables: quadratic bounds.
        order: the clusters in the order in which they are assigned; known ones first.
        known: how many of them are known.
        unseen: how many of the last ones are hardly ever seen.
        tolerance: nats.
        keep: at least 2.
        deadline: ``time.perf_counter()`` at which to stop.
    """

    def __init__(
        self,
        observations: Observations,
        tables: PairTables,
        order: list[int],
        *,
        known: int,
        unseen: int,
        tolerance: float,
        keep: int,
        deadline: float,
    ) -> None:
        self.observations = observations
        self.tables = tables
        self.order = torch.tensor(order, dtype=torch.long)
        self.known = known
        self.unseen = unseen
        self.tolerance = tolerance
        self.keep = max(2, keep)
        self.deadline = deadline
        self.nodes = 0
        self._found: dict[tuple[int, ...], float] = {}
        rank = torch.empty(len(order), dtype=torch.long)
        rank[self.order] = torch.arange(len(order))
        # The depth from which on both clusters of an observation have symbols.
        self._decided = 1 + torch.maximum(rank[tables.first], rank[tables.second])
        self._waiting: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(len(order) + 1)]

    def offer(self, maps: Tensor, log_likelihoods: Tensor) -> None:
        """Note whole maps (b, size) and their log-likelihoods."""
        for row, value in zip(maps.tolist(), log_likelihoods.tolist(), strict=True):
            self._found[tuple(row)] = value
        if len(self._found) > self.keep:
            best = sorted(self._found.items(), key=lambda item: (-item[1], item[0]))[: self.keep]
            self._found = dict(best)

    def _needed(self) -> float:
        """What a map must at least reach to be of interest."""
        values = sorted(self._found.values(), reverse=True)
        if len(values) < 2:
            return -torch.inf
        wanted = min(values[1], values[0] - self.tolerance)
        slack = SLACK * (1.0 + abs(values[0]))
        if len(values) == self.keep and values[-1] >= wanted:
            return values[-1] + slack  # one as good as the last would not be kept
        return wanted - slack

    def run(self) -> Found:
        """Search until everything is searched or time is up."""
        root = self.tables.base[None].clone()
        bound = self.tables.bound(root, self.order[: self.known], self.order[self.known :], -torch.inf)
        self._push(self.known, *self._close(self.known, root, bound))
        while (depth := self._next_depth()) is not None:
            if time.perf_counter() > self.deadline:
                break
            self._extend(depth, *self._pop(depth))
        return self._result()

    def _push(self, depth: int, maps: Tensor, bounds: Tensor) -> None:
        if len(maps):
            self._waiting[depth].append((maps, bounds))

    def _next_depth(self) -> int | None:
        """Where the largest bound waits that is still of interest."""
        needed = self._needed()
        sizes = [sum(len(bounds) for _, bounds in parts) for parts in self._waiting]
        best = [max((float(bounds.max()) for _, bounds in parts), default=-torch.inf) for parts in self._waiting]
        alive = [depth for depth, bound in enumerate(best) if sizes[depth] and bound >= needed]
        for depth in range(len(self._waiting)):
            if depth not in alive:
                self._waiting[depth].clear()
        if not alive:
            return None
        return alive[-1] if sum(sizes) > MAX_OPEN else max(alive, key=lambda depth: (best[depth], depth))

    def _pop(self, depth: int) -> tuple[Tensor, Tensor]:
        """The most promising maps of one depth; those of no more interest are dropped."""
        maps = torch.cat([maps for maps, _ in self._waiting[depth]])
        bounds = torch.cat([bounds for _, bounds in self._waiting[depth]])
        kept = torch.nonzero(bounds >= self._needed())[:, 0]
        kept = kept[bounds[kept].argsort(descending=True, stable=True)]
        taken, left = kept[:NODES_AT_ONCE], kept[NODES_AT_ONCE:]
        self._waiting[depth] = [(maps[left], bounds[left])] if len(left) else []
        return maps[taken], bounds[taken]

    def _extend(self, depth: int, maps: Tensor, bounds: Tensor) -> None:
        place = self.order[depth]
        parent, symbol = torch.nonzero(self.tables.allowed(maps)[:, place], as_tuple=True)
        children = maps[parent]
        children[:, place] = symbol
        self.nodes += len(children)
        bound = self.tables.bound(children, self.order[: depth + 1], self.order[depth + 1 :], self._needed())
        kept = torch.minimum(bound, bounds[parent]) >= self._needed()
        sharp = self._sharpen(depth + 1, children[kept], bound[kept], bounds[parent[kept]])
        self._push(depth + 1, *self._close(depth + 1, *sharp))

    def _sharpen(self, depth: int, maps: Tensor, total: Tensor, inherited: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the circuit for observations whose two clusters have symbols; drop maps as soon as possible.

        ``total`` is the tables' bound of each map, ``inherited`` that of the map that it was extended from.
        """
        decided = torch.nonzero(self._decided <= depth)[:, 0]
        for part in decided.split(OBSERVATIONS_AT_ONCE):
            if not len(maps) or time.perf_counter() > self.deadline:
                break  # a bound that is not as sharp is still one
            # What the circuit says of these replaces what their tables said.
            total = total + (self.observations.table(maps, part) - self.tables.values(maps, part)).clamp_max(0.0).sum(1)
            kept = total >= self._needed()
            maps, total, inherited = maps[kept], total[kept], inherited[kept]
        return maps, torch.minimum(total, inherited)

    def _close(self, depth: int, maps: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
        """Note the maps of which at most the order of unseen clusters is open; returns those that need more work."""
        if depth < len(self.order) - self.unseen or not len(maps):
            return maps, bounds
        whole = self.complete(maps)
        values = self.observations.log_likelihood(whole)
        if depth == len(self.order):
            self.offer(whole, values)
            return maps[:0], bounds[:0]
        matters = self._order_matters(maps)
        self.offer(whole[~matters], values[~matters])
        return maps[matters], bounds[matters]

    def _order_matters(self, maps: Tensor) -> Tensor:
        """Whether completions of each of ``maps`` can differ by more than ``INDIFFERENCE``, shape (b,)."""
        every = torch.arange(self.observations.count)
        largest, smallest = (self.observations.table(maps, every, largest=side).sum(1) for side in (True, False))
        return largest - smallest > INDIFFERENCE

    def _unseen(self, maps: tuple[int, ...]) -> tuple[int, ...]:
        """The last clusters whose order does not matter, given what the others stand for in ``maps``."""
        for depth in range(len(self.order) - self.unseen, len(self.order)):
            partial = torch.tensor([maps])
            partial[:, self.order[depth:]] = UNKNOWN
            if not bool(self._order_matters(partial)):
                return tuple(self.order[depth:].tolist())
        return ()

    def complete(self, maps: Tensor) -> Tensor:
        """``maps`` with the symbols that are left, in order, for the clusters that have none."""
        whole = maps.clone()
        for row in range(len(whole)):
            for unknown in self.observations.unknowns:
                own = whole[row, unknown.columns]
                used = set(own.tolist())
                left = [k for k in range(len(unknown.domain)) if k not in used] if unknown.one_to_one else []
                free = torch.nonzero(own == UNKNOWN)[:, 0]
                own[free] = torch.tensor(left[: len(free)] or [0] * len(free), dtype=torch.long)
        return whole

    def _result(self) -> Found:
        ranked = sorted(self._found.items(), key=lambda item: (-item[1], item[0]))
        needed = self._needed()
        waiting = [float(bounds.max()) for parts in self._waiting for _, bounds in parts]
        still = [bound for bound in waiting if bound >= needed]
        return Found(
            [maps for maps, _ in ranked],
            [value for _, value in ranked],
            max(still) if still else None,
            [self._unseen(maps) for maps, _ in ranked],
            self.nodes,
        )


def branching_order(observations: Observations, tables: PairTables, unseen: Tensor) -> list[int]:
    """Known clusters, then always the one whose symbol the observations with earlier ones constrain most.

    Args:
        observations: what was observed.
        tables: their bounds.
        unseen: which clusters come last, shape (size,) bool.
    """
    allowed = tables.domain
    single = _spread(tables.single, allowed)
    both = allowed[:, None, :, None] & allowed[None, :, None, :] & (tables.pair > -1e8)
    pair = _spread(tables.pair.flatten(2), both.flatten(2))
    order = torch.nonzero(tables.base != UNKNOWN)[:, 0].tolist()
    left = [place for place in range(observations.size) if place not in order]
    while left:
        # What it says together with clusters that come later counts little: only enough to find a beginning.
        gains = single + pair[:, order].sum(1) + 0.01 * pair[:, left].sum(1)
        chosen = max(left, key=lambda place: (not bool(unseen[place]), float(gains[place]), -place))
        order.append(chosen)
        left.remove(chosen)
    return order


def _spread(values: Tensor, allowed: Tensor) -> Tensor:
    """How far the mean of the allowed values lies below the largest, over the last dimension."""
    count = allowed.sum(-1).clamp_min(1)
    mean = values.masked_fill(~allowed, 0.0).sum(-1) / count
    return (values.masked_fill(~allowed, -torch.inf).amax(-1) - mean).clamp_min(0.0).nan_to_num(0.0)
