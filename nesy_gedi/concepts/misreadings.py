"""What a program answers when symbols are misread, on the tuples of symbols that training has shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.reasoner import Reasoner

UNSEEN = -1
"""Stands in a map for a symbol that training has neither shown nor told: it may be read as anything."""

SAME_PROBABILITY = 1e-4
"""Answers whose probabilities differ by less are the same; single precision is off by far less."""

NODE_VALUES_AT_ONCE = 20_000_000
"""Bounds the memory of one evaluation of the circuit."""

Symbols = Mapping[tuple[str, ...], Tensor]
"""(network, slot, ...) -> index of the symbol in each tuple, (n,) int64."""

Told = Mapping[str, Collection[int]]
"""network -> indices of symbols of which labelled images are given: they are read as themselves."""


class ShownTuples:
    """The distinct tuples that training has shown, and what the program answers where symbols are misread.

    A map is here one row of integers: the symbols of all networks one after the other. Arguments and errors as for
    :func:`~nesy_gedi.concepts.optimal_maps.find_optimal_maps`.

    Attributes:
        domains: network -> its symbols, of the networks that see.
        identity: the map that misreads nothing, ``UNSEEN`` where a symbol is neither shown nor told, shape (size,).
        told: places of a map that labels settle.
        size_of: for each place of a map the number of symbols, shape (size,).
        codes: the tuples; columns are inputs, values places of a map, or symbols where they are given. (m, inputs).
    """

    def __init__(
        self, reasoner: Reasoner, symbols: Symbols, given: Symbols | None = None, told: Told | None = None
    ) -> None:
        self._reasoner = reasoner
        given = given or {}
        self.domains: dict[str, tuple[str, ...]] = {}
        self._offset: dict[str, int] = {}
        size = 0
        for item in reasoner.inputs:
            if (item.network, *item.slots) in symbols and item.network not in self.domains:
                self.domains[item.network] = item.domain
                self._offset[item.network] = size
                size += len(item.domain)
        columns: list[Tensor] = []
        self._seen: list[int | None] = []
        for item in reasoner.inputs:
            key = (item.network, *item.slots)
            name = f"{item.network}({', '.join(item.slots)})"
            if key not in symbols and key not in given:
                raise UsageError(
                    "neither its true symbols nor given ones are passed",
                    where=name,
                    hint="pass its true symbols where a network sees them, else those that are given",
                )
            is_seen = key in symbols
            own = (symbols if is_seen else given)[key].detach().cpu()
            if own.dim() != 1 or (columns and len(own) != len(columns[0])) or not len(own):
                raise DataError(
                    f"symbols of shape {tuple(own.shape)}", where=name, hint="pass one for each tuple, at least one"
                )
            if int(own.min()) < 0 or int(own.max()) >= len(item.domain):
                raise DataError(
                    f"symbols from {int(own.min())} to {int(own.max())}, of {len(item.domain)}",
                    where=name,
                    hint="pass indices into the domain",
                )
            columns.append(own + (self._offset[item.network] if is_seen else 0))
            self._seen.append(self._offset[item.network] if is_seen else None)
        if not self.domains:
            raise UsageError("no network sees anything, so nothing can be misread", hint="pass the true symbols")
        self.codes = torch.stack(columns, 1).unique(dim=0)
        places = torch.cat([torch.arange(len(domain)) for domain in self.domains.values()])
        self.told = {self._offset[name] + k for name, known in (told or {}).items() for k in known}
        shown = torch.zeros(size, dtype=torch.bool)
        shown[list(self.told)] = True
        for column, seen in enumerate(self._seen):
            if seen is not None:
                shown[self.codes[:, column]] = True
        self.identity = places.where(shown, UNSEEN)
        self.size_of = torch.tensor([len(domain) for domain in self.domains.values() for _ in domain])
        nodes = max(1, reasoner.circuit.size()[0])
        self._rows_at_once = max(64, NODE_VALUES_AT_ONCE // nodes)
        self._truth = self._answers(self._read(self.identity[None], self.codes)[0])

    def places(self) -> list[set[int]]:
        """Of each tuple, the places of a map that it depends on."""
        seen = [column for column, offset in enumerate(self._seen) if offset is not None]
        return [set(row) for row in self.codes[:, seen].tolist()]

    def by_network(self, row: tuple[int, ...]) -> Maps:
        """A map as networks have it."""
        return {name: row[self._offset[name] :][: len(domain)] for name, domain in self.domains.items()}

    def keeps(self, maps: Tensor, tuples: Tensor) -> Tensor:
        """Whether each map (b, size) leaves the answers of each of ``tuples`` (m,) as they are: (b, m) bool."""
        read = self._read(maps, self.codes[tuples])
        # Many maps read many tuples alike.
        distinct, which = read.flatten(0, 1).unique(dim=0, return_inverse=True)
        answers = self._answers(distinct)[which].view(len(maps), len(tuples), -1)
        return ((answers - self._truth[tuples]).abs() < SAME_PROBABILITY).all(2)

    def changed(self, maps: Maps) -> int:
        """How many tuples are answered differently when symbols are misread so; unknown readings count as right."""
        row = torch.cat([torch.tensor(maps[name]) for name in self.domains])
        row = row.where(row != UNSEEN, self.identity)
        return int((~self.keeps(row[None], torch.arange(len(self.codes)))).sum())

    def _read(self, maps: Tensor, codes: Tensor) -> Tensor:
        """What each map makes of each tuple: indices of symbols, (b, m, inputs)."""
        columns = [
            codes[:, k].expand(len(maps), -1) if offset is None else maps[:, codes[:, k]]
            for k, offset in enumerate(self._seen)
        ]
        return torch.stack(columns, 2)

    @torch.no_grad()
    def _answers(self, read: Tensor) -> Tensor:
        """Probabilities of all answers, (rows, answers), for symbols (rows, inputs)."""
        device = next(self._reasoner.buffers()).device
        parts = []
        for rows in read.split(self._rows_at_once):
            inputs: dict[object, Tensor] = {}
            for k, item in enumerate(self._reasoner.inputs):
                certain = torch.full((len(rows), len(item.domain)), -torch.inf)
                inputs[item.network, *item.slots] = certain.scatter_(1, rows[:, k, None], 0.0).to(device)
            parts.append(self._reasoner(inputs).exp().cpu())
        return torch.cat(parts)
