"""Optimal maps as a constraint problem: one variable for each symbol, one constraint for each tuple that training shows."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nesy_gedi.concepts.misreadings import AnswerClasses, ShownTuples

READINGS_AT_ONCE = 1 << 16
"""A constraint over more readings waits until its variables have fewer values."""

Domains = list[np.ndarray]
"""For each variable the values that are left, ascending."""


class OutOfTimeError(Exception):
    """The budget of a search has ended. Internal: searches say what they have found."""


@dataclass(frozen=True)
class Constraint:
    """The readings of one tuple that leave its answer as it is.

    Attributes:
        variables: distinct, ascending.
        strides: what each of them adds to the code of a reading, a value.
        base: what given symbols add.
        target: class of the answer.
    """

    variables: tuple[int, ...]
    strides: tuple[int, ...]
    base: int
    target: int


@dataclass(frozen=True, eq=False)
class MapProblem:
    """Every solution is an optimal map.

    Attributes:
        identity: the value of each variable that is right; variables are the places of a map.
        sizes: number of values of each.
        constraints: distinct.
        different: groups of variables no two of which have the same value.
        classes: what the program answers to a reading.
        deadline: of :func:`time.perf_counter`, after which a search ends.
    """

    identity: tuple[int, ...]
    sizes: tuple[int, ...]
    constraints: tuple[Constraint, ...]
    different: tuple[tuple[int, ...], ...]
    classes: AnswerClasses
    deadline: float
    _touching: list[list[int]] = field(init=False, repr=False)
    _group: list[tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        touching: list[list[int]] = [[] for _ in self.sizes]
        for number, constraint in enumerate(self.constraints):
            for variable in constraint.variables:
                touching[variable].append(number)
        group: list[tuple[int, ...]] = [() for _ in self.sizes]
        for members in self.different:
            for variable in members:
                group[variable] = members
        object.__setattr__(self, "_touching", touching)
        object.__setattr__(self, "_group", group)

    @classmethod
    def of(cls, shown: ShownTuples, one_to_one: bool, deadline: float) -> MapProblem:
        """The maps under which the program answers as before on all shown tuples.

        Args:
            one_to_one: no two symbols of a map are read as the same.
        """
        found: dict[Constraint, None] = {}
        for number, (places, target) in enumerate(zip(shown.places(), shown.truth.tolist(), strict=True)):
            strides: dict[int, int] = {}
            for place, stride in zip(places, shown.classes.strides, strict=True):
                if place is not None:
                    strides[place] = strides.get(place, 0) + stride
            variables = tuple(sorted(strides))
            own = tuple(strides[variable] for variable in variables)
            found[Constraint(variables, own, shown.given_code(number), target)] = None
        groups = tuple(tuple(shown.places_of(name)) for name in shown.domains) if one_to_one else ()
        sizes, identity = tuple(shown.size_of.tolist()), tuple(shown.symbol_of.tolist())
        return cls(identity, sizes, tuple(found), groups, shown.classes, deadline)

    def until(self, deadline: float) -> MapProblem:
        """The same with another deadline."""
        return replace(self, deadline=deadline)

    def start(self, fixed: dict[int, int]) -> Domains | None:
        """What is left of all values where some variables are known; None where nothing fits.

        Raises:
            OutOfTimeError: before that was clear.
        """
        domains = [np.arange(size) for size in self.sizes]
        for variable, value in fixed.items():
            domains[variable] = np.array([value])
        return domains if self.propagate(domains, range(len(self.constraints)), range(len(domains))) else None

    def with_value(self, domains: Domains, variable: int, value: int) -> Domains | None:
        """The same where one more variable is known; None where nothing fits."""
        narrowed = list(domains)
        narrowed[variable] = np.array([value])
        return narrowed if self.propagate(narrowed, self._touching[variable], [variable]) else None

    def without_identity(self, domains: Domains, variable: int) -> Domains | None:
        """The same where one variable has another value than the right one; None where nothing fits."""
        narrowed = list(domains)
        narrowed[variable] = domains[variable][domains[variable] != self.identity[variable]]
        fits = len(narrowed[variable]) and self.propagate(narrowed, self._touching[variable], [variable])
        return narrowed if fits else None

    def check_time(self) -> None:
        """Raises OutOfTimeError after the deadline."""
        if time.perf_counter() > self.deadline:
            raise OutOfTimeError

    def touching(self, variables: Sequence[int]) -> list[Constraint]:
        """The constraints on any of ``variables``, in order."""
        numbers = {number for variable in variables for number in self._touching[variable]}
        return [self.constraints[number] for number in sorted(numbers)]

    def relation(self, constraint: Constraint, domains: Domains) -> tuple[list[int], np.ndarray]:
        """Which of the values that are left satisfy a constraint.

        Returns:
            The variables with more than one value, and bool with an axis for each of them.
        """
        open_ones = []
        codes = np.array(constraint.base, dtype=self.classes.dtype)
        for variable, stride in zip(constraint.variables, constraint.strides, strict=True):
            steps = domains[variable].astype(self.classes.dtype) * stride
            if len(steps) == 1:  # no axis: there may be more variables than an array has axes
                codes = codes + steps[0]
            else:
                open_ones.append(variable)
                codes = np.add.outer(codes, steps)
        return open_ones, np.asarray(self.classes(np.asarray(codes)) == constraint.target)

    def readings(self, constraint: Constraint, domains: Domains) -> int:
        """How many readings are left of a constraint's variables."""
        return math.prod(len(domains[variable]) for variable in constraint.variables)

    def propagate(self, domains: Domains, constraints: Sequence[int], changed: Sequence[int]) -> bool:
        """Remove, in place, values that no reading supports; False where a variable has none left.

        Args:
            constraints: numbers of those that may have lost readings.
            changed: variables that may have lost values.

        Raises:
            OutOfTimeError: before that was clear.
        """
        # The smallest first: they are cheap, and make the others small.
        waiting = [(self.readings(self.constraints[number], domains), number) for number in constraints]
        heapq.heapify(waiting)
        queued = set(constraints)
        known = [variable for variable in changed if len(domains[variable]) == 1]
        while waiting or known:
            self.check_time()
            reduced: list[int] = []
            if known:
                variable = known.pop()
                for other in self._group[variable]:
                    if other != variable and (kept := domains[other] != domains[variable][0]).sum() < len(kept):
                        domains[other] = domains[other][kept]
                        reduced.append(other)
            else:
                _, number = heapq.heappop(waiting)
                if number not in queued:
                    continue
                queued.remove(number)
                constraint = self.constraints[number]
                if self.readings(constraint, domains) > READINGS_AT_ONCE:
                    continue
                open_ones, related = self.relation(constraint, domains)
                if not related.any():
                    return False
                for axis, variable in enumerate(open_ones):
                    kept = related.any(tuple(k for k in range(related.ndim) if k != axis))
                    if not kept.all():
                        domains[variable] = domains[variable][kept]
                        reduced.append(variable)
            for variable in reduced:
                if not len(domains[variable]):
                    return False
                if len(domains[variable]) == 1:
                    known.append(variable)
                for number in self._touching[variable]:
                    heapq.heappush(waiting, (self.readings(self.constraints[number], domains), number))
                    queued.add(number)
        return True

    def projected(self, domains: Domains | None, variables: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The values of ``variables`` in all solutions within ``domains``, which :meth:`start` has made; right ones first.

        The others are in no constraint, but that values of a group differ, which leaves values for all of them.

        Raises:
            OutOfTimeError: before all were found.
        """
        waiting = [] if domains is None else [domains]
        while waiting:
            current = waiting.pop()
            variable = min(
                (variable for variable in variables if len(current[variable]) > 1),
                key=lambda variable: (len(current[variable]), -len(self._touching[variable])),
                default=None,
            )
            if variable is None:
                yield tuple(int(current[variable][0]) for variable in variables)
                continue
            last = self.identity[variable]  # it is taken up first
            for value in sorted(current[variable].tolist(), key=lambda value: (value == last, -value)):
                if (narrowed := self.with_value(current, variable, value)) is not None:
                    waiting.append(narrowed)

    def solutions(self, domains: Domains | None) -> Iterator[tuple[int, ...]]:
        """All solutions, as :meth:`projected`."""
        return self.projected(domains, range(len(self.sizes)))
