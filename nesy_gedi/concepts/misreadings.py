"""What a program answers when symbols are misread, on the tuples of symbols that training has shown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.reasoner import Reasoner

UNSEEN = -1
"""Stands in a map for a symbol that training has neither shown nor told: it may be read as anything."""

SAME_PROBABILITY = 1e-9
"""Answers whose probabilities differ by no more are the same; the circuit is evaluated in double precision."""

NODE_VALUES_AT_ONCE = 20_000_000
"""Bounds the memory of one evaluation of the circuit."""

DENSE_ENTRIES = 20_000_000
"""Tables of at most so many readings are kept as arrays, larger ones as far as they are asked for."""

FAMILIES = ("shared", "factored")
"""A network has one map for all its slots, or one for each of them."""

Symbols = Mapping[tuple[str, ...], Tensor]
"""(network, slot, ...) -> index of the symbol in each tuple, (n,) int64."""

Told = Mapping[str, Collection[int]]
"""Network, or name of a map -> indices of symbols of which labelled images are given: they are read as themselves."""


class AnswerClasses:
    """Numbers the answers that the program gives to tuples of symbols: equal numbers are equal distributions of answers.

    Attributes:
        inputs: the reasoner's, in order; a reading has a symbol for each.
        sizes: numbers of symbols of the inputs.
        strides: of each input in a reading's code, which is the sum of symbols times strides.
        dtype: of codes.
        random: whether some reading that was evaluated has several possible answers.
    """

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner
        self.inputs: tuple[NeuralInput, ...] = reasoner.inputs
        self.sizes = [len(item.domain) for item in self.inputs]
        self.strides = [math.prod(self.sizes[k + 1 :]) for k in range(len(self.sizes))]
        self.random = False
        self._numbers: dict[bytes, int] = {}
        self._distinct: list[np.ndarray] = []
        self._no_answer: set[int] = set()
        self._entries = math.prod(self.sizes)
        # Of very many inputs, codes are Python's integers.
        self.dtype = np.dtype(np.int64 if self._entries <= np.iinfo(np.int64).max else object)
        self._dense = np.full(self._entries, -1, np.int32) if self._entries <= DENSE_ENTRIES else None
        self._sparse: dict[int, int] = {}
        nodes = max(1, reasoner.circuit.size()[0])
        self._rows_at_once = max(64, NODE_VALUES_AT_ONCE // nodes)
        if self._entries <= self._rows_at_once:  # one evaluation rather than many small ones
            self(np.arange(self._entries))

    def codes(self, symbols: np.ndarray) -> np.ndarray:
        """Codes of readings (..., inputs)."""
        found: np.ndarray = symbols.astype(self.dtype) @ np.array(self.strides, dtype=self.dtype)
        return found

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """The class of each reading, of any shape, int32."""
        if self._dense is not None:
            missing = np.unique(codes[self._dense[codes] < 0])
            if len(missing):
                self._dense[missing] = self._evaluate(missing)
            return np.asarray(self._dense[codes])
        distinct, which = np.unique(codes, return_inverse=True)
        missing = np.array([code for code in distinct.tolist() if code not in self._sparse], dtype=self.dtype)
        if len(missing):
            self._sparse.update(zip(missing.tolist(), self._evaluate(missing).tolist(), strict=True))
        classes = np.array([self._sparse[code] for code in distinct.tolist()], dtype=np.int32)
        return classes[which].reshape(codes.shape)

    def has_answer(self, codes: np.ndarray) -> np.ndarray:
        """Whether the program derives anything from each reading, bool."""
        return ~np.isin(self(codes), list(self._no_answer))

    @torch.no_grad()
    def _evaluate(self, codes: np.ndarray) -> np.ndarray:
        device = next(self._reasoner.buffers()).device
        classes = []
        for part in np.split(codes, range(self._rows_at_once, len(codes), self._rows_at_once)):
            inputs: dict[object, Tensor] = {}
            for item, stride, size in zip(self.inputs, self.strides, self.sizes, strict=True):
                symbol = torch.from_numpy((part // stride % size).astype(np.int64))
                certain = torch.full((len(part), size), -torch.inf, dtype=torch.float64)
                inputs[item.network, *item.slots] = certain.scatter_(1, symbol[:, None], 0.0).to(device)
            probabilities = self._reasoner(inputs, batch=len(part)).exp().cpu().numpy()
            classes += [self._class_of(row) for row in probabilities]
        return np.array(classes, dtype=np.int32)

    def _class_of(self, probabilities: np.ndarray) -> int:
        """The number of answers that are the same as these."""
        key = probabilities.tobytes()
        if key not in self._numbers:
            number = len(self._distinct)
            if number:
                apart = np.abs(np.stack(self._distinct) - probabilities).max(1, initial=0.0)
                number = int(apart.argmin()) if apart.min() <= SAME_PROBABILITY else number
            self._numbers[key] = number
            if number == len(self._distinct):
                self._distinct.append(probabilities)
                if probabilities.max(initial=0.0) <= SAME_PROBABILITY:
                    self._no_answer.add(number)
                elif probabilities.max() < 1.0 - SAME_PROBABILITY:
                    self.random = True
        return self._numbers[key]


class ShownTuples:
    """The distinct tuples that training has shown, and what the program answers where symbols are misread.

    A map is here one row of integers, its *places*: the symbols of all networks - of all inputs where each slot has a map of
    its own - one after the other. Arguments and errors as for
    :func:`~nesy_gedi.concepts.shortcuts.find_optimal_maps`.

    Attributes:
        family: one of ``FAMILIES``.
        domains: name of a map -> its symbols: the network's name, or ``network(slot)`` where each slot has its own.
        identity: the map that misreads nothing, ``UNSEEN`` where a symbol is neither shown nor told, shape (size,).
        symbol_of: for each place of a map the index of its symbol, shape (size,).
        told: places of a map that labels settle.
        size_of: for each place of a map the number of symbols, shape (size,).
        codes: the tuples; columns are inputs, values places of a map, or symbols where they are given. (m, inputs).
        classes: what the program answers.
        truth: the class of each tuple's answer, (m,).
    """

    def __init__(
        self,
        reasoner: Reasoner,
        symbols: Symbols,
        given: Symbols | None = None,
        told: Told | None = None,
        *,
        family: str = "shared",
    ) -> None:
        if family not in FAMILIES:
            raise UsageError(f"there is no family {family} of such maps", hint=f"one of: {', '.join(FAMILIES)}")
        given = given or {}
        self.family = family
        self.domains: dict[str, tuple[str, ...]] = {}
        self._offset: dict[str, int] = {}
        networks: dict[str, str] = {}
        size = 0
        self._seen: list[int | None] = []
        for item in reasoner.inputs:
            if (item.network, *item.slots) not in symbols:
                self._seen.append(None)
                continue
            name = item.network if family == "shared" else f"{item.network}({', '.join(item.slots)})"
            if name not in self.domains:
                self.domains[name], self._offset[name] = item.domain, size
                networks[name] = item.network
                size += len(item.domain)
            self._seen.append(self._offset[name])
        columns = _columns(reasoner, symbols, given)
        if not self.domains:
            raise UsageError("no network sees anything, so nothing can be misread", hint="pass the true symbols")
        offsets = [offset or 0 for offset in self._seen]
        self.codes = (torch.stack(columns, 1) + torch.tensor(offsets)).unique(dim=0)
        places = torch.cat([torch.arange(len(domain)) for domain in self.domains.values()])
        known = {name: (told or {}).get(name, (told or {}).get(network, ())) for name, network in networks.items()}
        self.told = {self._offset[name] + k for name, own in known.items() for k in own}
        shown = torch.zeros(size, dtype=torch.bool)
        shown[list(self.told)] = True
        for column, seen in enumerate(self._seen):
            if seen is not None:
                shown[self.codes[:, column]] = True
        self.symbol_of = places
        self.identity = places.where(shown, UNSEEN)
        self.size_of = torch.tensor([len(domain) for domain in self.domains.values() for _ in domain])
        self.classes = AnswerClasses(reasoner)
        self.truth = self._answers(places[None], self.codes)[0]

    def places(self) -> list[list[int | None]]:
        """Of each tuple, the place of a map that each input reads; None where the symbol is given."""
        seen = [offset is not None for offset in self._seen]
        return [[k if own else None for k, own in zip(row, seen, strict=True)] for row in self.codes.tolist()]

    def given_code(self, number: int) -> int:
        """What the given symbols of a tuple add to the codes of its readings."""
        row = self.codes[number].tolist()
        parts = zip(row, self._seen, self.classes.strides, strict=True)
        return sum(symbol * stride for symbol, seen, stride in parts if seen is None)

    def places_of(self, name: str) -> range:
        """The places of one map."""
        return range(self._offset[name], self._offset[name] + len(self.domains[name]))

    def by_name(self, row: tuple[int, ...]) -> Maps:
        """A map as networks have it."""
        return {name: row[self._offset[name] :][: len(domain)] for name, domain in self.domains.items()}

    def with_tuples(self, codes: Tensor) -> ShownTuples:
        """The same with further tuples, coded as ``codes``."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.codes = torch.cat([self.codes, codes]).unique(dim=0)
        other.truth = self._answers(self.symbol_of[None], other.codes)[0]
        return other

    def keeps(self, maps: Tensor, codes: Tensor) -> Tensor:
        """Whether each map (b, size), known everywhere, leaves the answers of tuples as they are.

        Args:
            codes: (m, inputs), as ``codes``.

        Returns:
            (b, m) bool.
        """
        return torch.from_numpy(self._answers(maps, codes) == self._answers(self.symbol_of[None], codes))

    def changed(self, maps: Maps) -> int:
        """How many tuples are answered differently when symbols are misread so; unknown readings count as right."""
        row = torch.cat([torch.tensor(maps[name]) for name in self.domains])
        row = row.where(row != UNSEEN, self.symbol_of)
        return int((~self.keeps(row[None], self.codes)).sum())

    def other_tuples(self, most: int, seed: int = 0) -> tuple[Tensor, bool]:
        """Tuples from which the program derives an answer and that are not among these, coded as ``codes``.

        Args:
            most: of more tuples so many are drawn.

        Returns:
            The tuples (m, inputs), and whether these are all.
        """
        rows, every = tuples_over(self.classes.sizes, most, seed)
        rows = rows[torch.from_numpy(self.classes.has_answer(self.classes.codes(rows.numpy())))]
        codes = rows + torch.tensor([offset or 0 for offset in self._seen])
        shown = set(map(tuple, self.codes.tolist()))
        return codes[torch.tensor([tuple(row) not in shown for row in codes.tolist()], dtype=torch.bool)], every

    def _answers(self, maps: Tensor, codes: Tensor) -> np.ndarray:
        """Classes of what is answered to each tuple under each map, (b, m)."""
        return self.classes(self.classes.codes(self._read(maps, codes).numpy()))

    def _read(self, maps: Tensor, codes: Tensor) -> Tensor:
        """What each map makes of each tuple: indices of symbols, (b, m, inputs)."""
        columns = [
            codes[:, k].expand(len(maps), -1) if offset is None else maps[:, codes[:, k]]
            for k, offset in enumerate(self._seen)
        ]
        return torch.stack(columns, 2)


def tuples_over(sizes: Sequence[int], most: int, seed: int) -> tuple[Tensor, bool]:
    """All tuples of symbols of domains with these sizes, (n, len(sizes)) int64, in order; of more than ``most`` a random
    sample of no more. And whether these are all."""
    if math.prod(sizes) <= most:
        return torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes)), True
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (most,), generator=generator) for size in sizes], 1).unique(dim=0), False


def _columns(reasoner: Reasoner, symbols: Symbols, given: Symbols) -> list[Tensor]:
    """The symbols of each input, checked."""
    columns: list[Tensor] = []
    for item in reasoner.inputs:
        key = (item.network, *item.slots)
        name = f"{item.network}({', '.join(item.slots)})"
        if key not in symbols and key not in given:
            raise UsageError(
                "neither its true symbols nor given ones are passed",
                where=name,
                hint="pass its true symbols where a network sees them, else those that are given",
            )
        own = (symbols if key in symbols else given)[key].detach().cpu()
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
        columns.append(own)
    return columns
