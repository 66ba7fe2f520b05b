"""What was observed - answers and labelled images - and how likely it is under maps, whole or partial.

A map is a row of integers: for each cluster of each network, one after the other, the index of its symbol, or
``UNKNOWN``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nesy_gedi.concepts.bounds import AnswerBounds
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR

UNKNOWN = -1
"""Stands in a map for a symbol not yet chosen."""

ROWS_AT_ONCE = 16_384
"""How many (map, observation) pairs are evaluated together at most."""

VALUES_AT_ONCE = 20_000_000
"""Of all nodes of the circuit together: of a large one, fewer pairs. Bounds memory."""


@dataclass(frozen=True)
class Unknown:
    """One network's map.

    Attributes:
        network: its name.
        domain: the symbols.
        clusters: how many clusters it has.
        offset: where its clusters begin in a map.
        one_to_one: whether they have different symbols.
    """

    network: str
    domain: tuple[str, ...]
    clusters: int
    offset: int
    one_to_one: bool

    @property
    def columns(self) -> slice:
        """Its part of a map."""
        return slice(self.offset, self.offset + self.clusters)


class Input(NamedTuple):
    """One distribution that the circuit asks for: ``rows`` (n, clusters) of ``unknown``, or (n, symbols) if None."""

    unknown: Unknown | None
    rows: Tensor


class Labels(NamedTuple):
    """Labelled images: log-probabilities of clusters (m, clusters), and the index of each image's symbol (m,)."""

    unknown: Unknown
    rows: Tensor
    symbols: Tensor


class Observations:
    """All observations; those of answers come first, then labels, network by network.

    Args:
        unknowns: the maps that are sought.
        bounds: the circuit.
        inputs: in the order of the reasoner's, float64.
        answers: columns of the reasoner, shape (n,).
        labels: labelled images.

    Attributes:
        size: clusters of all networks together, the length of a map.
        count: observations.
        network_of: for each place of a map the index of its network, shape (size,).
        symbols_of: for each place of a map how many symbols there are, shape (size,).
    """

    def __init__(
        self,
        unknowns: list[Unknown],
        bounds: AnswerBounds,
        inputs: list[Input],
        answers: Tensor,
        labels: list[Labels],
    ) -> None:
        self.unknowns = unknowns
        self.bounds = bounds
        self.inputs = inputs
        self.labels = labels
        self.answers = answers
        self.size = sum(unknown.clusters for unknown in unknowns)
        each = torch.tensor([unknown.clusters for unknown in unknowns])
        self.network_of = torch.arange(len(unknowns)).repeat_interleave(each)
        self.symbols_of = torch.tensor([len(unknown.domain) for unknown in unknowns]).repeat_interleave(each)
        # What each observation is: an answer, or a label of the network number -1 - kind.
        kinds = [answers, *(torch.full((len(item.rows),), -1 - k) for k, item in enumerate(labels))]
        self._kind = torch.cat(kinds)
        starts = [0, len(answers)]
        for item in labels:
            starts.append(starts[-1] + len(item.rows))
        self._starts = starts
        self.count = starts[-1]

    def mapped_rows(self) -> Iterator[tuple[Unknown, Tensor]]:
        """All distributions over clusters: those of inputs, (n, clusters) each, then those of labelled images."""
        yield from ((item.unknown, item.rows) for item in self.inputs if item.unknown is not None)
        yield from ((item.unknown, item.rows) for item in self.labels)

    def mass(self) -> Tensor:
        """How often each cluster is seen, in expectation: shape (size,)."""
        total = torch.zeros(self.size, dtype=torch.float64)
        for unknown, rows in self.mapped_rows():
            total[unknown.columns] += rows.exp().sum(0)
        return total

    def log_likelihood(self, maps: Tensor) -> Tensor:
        """Of whole ``maps`` (b, size), in nats, each observation floored at ``LOG_PROBABILITY_FLOOR``: shape (b,)."""
        return self.table(maps, torch.arange(self.count)).sum(1)

    def table(self, maps: Tensor, observed: Tensor, *, largest: bool = True) -> Tensor:
        """:meth:`bound` of every map (b, size) and every one of ``observed`` (m,): shape (b, m)."""
        which = torch.arange(len(maps)).repeat_interleave(len(observed))
        found = self.bound(maps, which, observed.repeat(len(maps)), largest=largest)
        return found.view(len(maps), len(observed))

    def bound(self, maps: Tensor, which: Tensor, observed: Tensor, *, largest: bool = True) -> Tensor:
        """The most (or least) that log-probabilities can be, whatever the unknown symbols are; exact for a whole map.

        Args:
            maps: shape (b, size).
            which: rows of ``maps``, shape (r,).
            observed: for each of them an observation, shape (r,).
            largest: whether upper bounds are wanted, or lower ones.

        Returns:
            Shape (r,), between ``LOG_PROBABILITY_FLOOR`` and zero.
        """
        result = torch.empty(len(which), dtype=torch.float64)
        chosen = [self._inverse(unknown, maps) for unknown in self.unknowns]
        sorted_kind, order = self._kind[observed].sort(stable=True)
        kinds, counts = sorted_kind.unique_consecutive(return_counts=True)
        rows = min(ROWS_AT_ONCE, max(1, VALUES_AT_ONCE // self.bounds.nodes))
        start = 0
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            for part in order[start : start + count].split(rows):
                result[part] = self._one_kind(kind, maps, chosen, which[part], observed[part], largest)
            start += count
        return result

    def _one_kind(
        self, kind: int, maps: Tensor, chosen: list[Tensor], which: Tensor, observed: Tensor, largest: bool
    ) -> Tensor:
        if kind < 0:
            what = self.labels[-1 - kind]
            own = observed - self._starts[-kind]
            weights = self._weights(what.unknown, maps, chosen, which, what.rows[own], largest=largest)
            return weights.gather(1, what.symbols[own, None])[:, 0].clamp(LOG_PROBABILITY_FLOOR, 0.0)

        def side(largest: bool) -> Tensor:
            blocks = [
                item.rows[observed]
                if item.unknown is None
                else self._weights(item.unknown, maps, chosen, which, item.rows[observed], largest=largest)
                for item in self.inputs
            ]
            return torch.cat(blocks, 1) if blocks else torch.empty(len(observed), 0, dtype=torch.float64)

        # Exchanged, the two sides give the other bound.
        return self.bounds(kind, side(largest), side(not largest) if self.bounds.needs_other else None)

    def _inverse(self, unknown: Unknown, maps: Tensor) -> Tensor:
        """For a one-to-one map the cluster of each symbol or ``UNKNOWN``, shape (b, symbols)."""
        own = maps[:, unknown.columns]
        symbols = len(unknown.domain)
        found = torch.full((len(maps), symbols + 1), UNKNOWN)
        # What has no symbol yet is written into a column that is cut off.
        found.scatter_(1, own.where(own != UNKNOWN, symbols), torch.arange(unknown.clusters).expand_as(own))
        return found[:, :symbols]

    def _weights(
        self, unknown: Unknown, maps: Tensor, chosen: list[Tensor], which: Tensor, rows: Tensor, *, largest: bool
    ) -> Tensor:
        """Logs of the largest (or smallest) weights that the symbols can have, shape (r, symbols)."""
        own = maps[:, unknown.columns]
        is_free = own == UNKNOWN
        if unknown.one_to_one:
            cluster = chosen[self.unknowns.index(unknown)][which]
            known = rows.gather(1, cluster.clamp_min(0))
            if not bool(is_free.any()):
                return known
            worst = -torch.inf if largest else torch.inf
            free = rows.masked_fill(~is_free[which], worst)
            return torch.where(cluster == UNKNOWN, free.amax(1, True) if largest else free.amin(1, True), known)
        # Every cluster left may go to any symbol, all of them to the same one.
        p = rows.exp()
        free_here = is_free[which]
        left = (p * free_here).sum(1, True)
        total = (left if largest else torch.zeros_like(left)).repeat(1, len(unknown.domain))
        return total.scatter_add(1, own.clamp_min(0)[which], p.masked_fill(free_here, 0.0)).log()
