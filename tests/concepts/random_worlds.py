"""Small random programs, and all their optimal maps by plain enumeration, without the project's own search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from every_map import reasoner
from hypothesis import assume
from hypothesis import strategies as st

from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples

SYMBOLS = (2, 3, 4, 2)
"""Of the networks n0, n1, ...; the last is Bernoulli: its symbols are false and true."""

BERNOULLI = len(SYMBOLS) - 1

OUTCOMES = ((), ("r0",), ("r1",), ("r2",), ("r0", "r1"), ("r0, u",), ("r1", "r0, u"))
"""What a tuple of symbols is answered; ``u`` is a random fact. Each has other probabilities of answers."""

Row = tuple[int, ...]


@dataclass(frozen=True)
class World:
    """A random program, what training shows of it, and what it says of every tuple.

    Attributes:
        networks: of each input, by number.
        outcome: tuple of symbols -> number of its outcome.
        shown: tuples that training shows.
        given: inputs whose symbols come with the query.
        told: name of a network, or of a map -> symbols.
    """

    networks: Row
    outcome: Mapping[Row, int]
    shown: tuple[Row, ...]
    given: frozenset[int]
    told: Mapping[str, tuple[int, ...]]

    @property
    def sizes(self) -> Row:
        return tuple(SYMBOLS[network] for network in self.networks)

    def program(self) -> str:
        lines = ["0.3 :: u."]
        for number in sorted(set(self.networks)):
            symbols = f"V, [0..{SYMBOLS[number] - 1}]"
            bernoulli = number == BERNOULLI
            lines.append(
                f"nn(n{number}, [X]{'' if bernoulli else ', ' + symbols}) :: p{number}(X{'' if bernoulli else ', V'})."
            )
        for row, outcome in self.outcome.items():
            body = []
            for slot, (network, symbol) in enumerate(zip(self.networks, row, strict=True)):
                if network == BERNOULLI:
                    body.append(("" if symbol == 1 else "\\+ ") + f"p{network}(S{slot})")
                else:
                    body.append(f"p{network}(S{slot}, {symbol})")
            for answer in OUTCOMES[outcome]:
                head, *chance = answer.split(", ")
                lines.append(f"query({self._slots()}, {head}) :- {', '.join([*body, *chance])}.")
        return "\n".join(lines)

    def _slots(self) -> str:
        return ", ".join(f"S{slot}" for slot in range(len(self.networks)))

    def observed(self, family: str) -> Observed:
        """The program's circuit with what is shown; asks for other draws where nothing can be misread."""
        made = reasoner(self.program(), f"query({self._slots()}, R)")
        inputs = [int(item.slots[0][1:]) for item in made.inputs]
        assume(any(slot not in self.given for slot in inputs))
        symbols, given = {}, {}
        for slot in inputs:
            column = torch.tensor([row[slot] for row in self.shown])
            (given if slot in self.given else symbols)[f"n{self.networks[slot]}", f"S{slot}"] = column
        return Observed(self, ShownTuples(made, symbols, given, self.told, family=family), tuple(inputs), family)


@dataclass(frozen=True)
class Observed:
    """A world as a program sees it: an image that cannot change the answer is not asked for.

    Attributes:
        inputs: slots that are asked for, in the reasoner's order.
    """

    world: World
    shown: ShownTuples
    inputs: Row
    family: str

    def name(self, slot: int) -> str | None:
        """Of the map that reads a slot; None where the symbol is given."""
        network = f"n{self.world.networks[slot]}"
        if slot in self.world.given:
            return None
        return network if self.family == "shared" else f"{network}(S{slot})"

    def sizes(self) -> dict[str, int]:
        """Of maps, in order."""
        found = {}
        for slot in self.inputs:
            if (name := self.name(slot)) is not None:
                found[name] = self.world.sizes[slot]
        return found

    def told(self) -> set[tuple[str, int]]:
        names = {self.name(slot): f"n{self.world.networks[slot]}" for slot in self.inputs if self.name(slot)}
        told = self.world.told
        return {(str(name), k) for name, network in names.items() for k in told.get(str(name), told.get(network, ()))}

    def seen(self) -> set[tuple[str, int]]:
        """(map, symbol) that training shows or labels tell."""
        found = {(name, row[slot]) for row in self.world.shown for slot in self.inputs if (name := self.name(slot))}
        return found | self.told()

    def answer(self, row: Mapping[int, int]) -> int:
        """The outcome of symbols of ``inputs``; the others change nothing."""
        return self.world.outcome[tuple(row.get(slot, 0) for slot in range(len(self.world.networks)))]

    def tuples(self) -> list[dict[int, int]]:
        """All tuples of the inputs."""
        sizes = [range(self.world.sizes[slot]) for slot in self.inputs]
        return [dict(zip(self.inputs, row, strict=True)) for row in product(*sizes)]

    def shown_tuples(self) -> list[dict[int, int]]:
        """Distinct."""
        rows = dict.fromkeys(tuple(row[slot] for slot in self.inputs) for row in self.world.shown)
        return [dict(zip(self.inputs, row, strict=True)) for row in rows]

    def read(self, maps: Mapping[str, Row], row: Mapping[int, int]) -> dict[int, int]:
        return {
            slot: symbol if (name := self.name(slot)) is None else maps[name][symbol] for slot, symbol in row.items()
        }

    def keeps(self, maps: Mapping[str, Row], row: Mapping[int, int]) -> bool:
        return self.answer(self.read(maps, row)) == self.answer(row)

    def optimal(self) -> list[dict[str, Row]]:
        """All optimal maps, with every reading of what is not seen."""
        sizes, rows, told = self.sizes(), self.shown_tuples(), self.told()
        choices = [
            [row for row in product(range(size), repeat=size) if all(row[k] == k for n, k in told if n == name)]
            for name, size in sizes.items()
        ]
        every = (dict(zip(sizes, chosen, strict=True)) for chosen in product(*choices))
        return [maps for maps in every if all(self.keeps(maps, row) for row in rows)]

    def seen_part(self, maps: Mapping[str, Row]) -> tuple[tuple[str, Row], ...]:
        """With what is not seen left open."""
        seen = self.seen()
        return tuple(
            (name, tuple(v if (name, k) in seen else UNSEEN for k, v in enumerate(row))) for name, row in maps.items()
        )


def one_to_one(maps: Mapping[str, Row]) -> bool:
    return all(len(set(row)) == len(row) for row in maps.values())


def is_identity(maps: Mapping[str, Row]) -> bool:
    return all(row == tuple(range(len(row))) for row in maps.values())


@st.composite
def worlds(draw: st.DrawFn, most_maps: int = 20_000) -> World:
    """Worlds of at most so many maps, a map for each slot."""
    networks = draw(st.lists(st.integers(0, len(SYMBOLS) - 1), min_size=1, max_size=3).map(tuple))
    slots = range(len(networks))
    given = frozenset(draw(st.sets(st.sampled_from(slots), max_size=len(networks) - 1)) if len(networks) > 1 else ())
    sizes = [SYMBOLS[network] for network in networks]
    assume(prod(size**size for slot, size in enumerate(sizes) if slot not in given) <= most_maps)
    every = list(product(*map(range, sizes)))
    # Few outcomes, so that many tuples have the same one.
    some = draw(st.lists(st.sampled_from(range(len(OUTCOMES))), min_size=2, max_size=4, unique=True))
    outcomes = draw(st.lists(st.sampled_from(some), min_size=len(every), max_size=len(every)))
    outcome = dict(zip(every, outcomes, strict=True))
    answered = [row for row in every if OUTCOMES[outcome[row]]]
    assume(answered)
    shown = draw(st.lists(st.sampled_from(answered), min_size=1, max_size=6).map(tuple))
    told = {}
    if draw(st.booleans()):
        slot = draw(st.sampled_from(slots))
        name = f"n{networks[slot]}" if draw(st.booleans()) else f"n{networks[slot]}(S{slot})"
        told[name] = tuple(draw(st.sets(st.integers(0, sizes[slot] - 1), min_size=1, max_size=2)))
    return World(networks, outcome, shown, given, told)
