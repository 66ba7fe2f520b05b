"""Counts optimal maps exactly: propagation, independent components, and counts that are remembered.

As exact model counters do for clauses (Bayardo and Pehoushek, AAAI 2000; Sang et al., SAT 2004), here for variables of several
values and constraints that a program's own circuit decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nesy_gedi.concepts.map_constraints import READINGS_AT_ONCE, Constraint, Domains, MapProblem, OutOfTimeError


class Count(NamedTuple):
    """How many there are: at least, and at most. Integers of any size."""

    lower: int
    upper: int

    @property
    def exact(self) -> bool:
        return self.lower == self.upper

    @property
    def log10(self) -> float:
        """Of the lower bound; of none minus infinity."""
        return log10(self.lower)

    def __mul__(self, other: object) -> Count:
        assert isinstance(other, Count)
        return Count(self.lower * other.lower, self.upper * other.upper)

    def __add__(self, other: object) -> Count:
        assert isinstance(other, Count)
        return Count(self.lower + other.lower, self.upper + other.upper)


Related = list[tuple[Constraint, np.ndarray | None]]
"""Constraints with the readings that they leave; None where these are too many to look at."""

NONE, ONE = Count(0, 0), Count(1, 1)


def log10(count: int) -> float:
    """Of integers past what a float holds, too."""
    if count <= 0:
        return -math.inf
    shift = max(0, count.bit_length() - 1000)
    return math.log10(count >> shift) + shift * math.log10(2.0)


def count_in_words(count: Count) -> str:
    """A count, or the least that it can be."""
    return number_in_words(count.lower) if count.exact else f"at least {number_in_words(count.lower)}"


def number_in_words(count: int) -> str:
    """A count that can be very large."""
    return f"{count:,}" if count < 10**9 else f"10^{log10(count):.1f}"


def count_solutions(problem: MapProblem, fixed: dict[int, int] | None = None) -> Count:
    """How many solutions a problem has; bounds where its deadline comes first.

    Args:
        fixed: variables that are known.
    """
    counter = _Counter(problem)
    everything = [np.arange(size) for size in problem.sizes]
    try:
        domains = problem.start(fixed or {})
    except OutOfTimeError:
        return Count(0, counter.most(range(len(problem.sizes)), everything))
    return NONE if domains is None else counter.count(domains, range(len(domains)))


class _Counter:
    def __init__(self, problem: MapProblem) -> None:
        self._problem = problem
        self._group_of = {variable: number for number, own in enumerate(problem.different) for variable in own}
        self._remembered: dict[tuple[object, ...], Count] = {}

    def count(self, domains: Domains, variables: Sequence[int]) -> Count:
        """Solutions for ``variables`` within propagated ``domains``; the constraints on others hold already."""
        total = ONE
        try:
            components = self._components(domains, variables)
        except OutOfTimeError:
            return Count(0, self.most(variables, domains))
        for component, related in components:
            total *= self._component(domains, component, related)
            if total.upper == 0:
                break
        return total

    def most(self, variables: Sequence[int], domains: Domains) -> int:
        """No more solutions than readings; of values that must differ no more than ways to choose different ones."""
        bound = 1
        groups: dict[int | None, list[int]] = {}
        for variable in variables:
            groups.setdefault(self._group_of.get(variable), []).append(variable)
        for group, members in groups.items():
            ways = math.prod(len(domains[variable]) for variable in members)
            if group is not None:
                union = len(np.unique(np.concatenate([domains[variable] for variable in members])))
                ways = min(ways, math.perm(union, len(members)))
            bound *= ways
        return bound

    def _component(self, domains: Domains, component: list[int], related: Related) -> Count:
        if not related and len({domains[variable].tobytes() for variable in component}) == 1:
            ways = math.perm(len(domains[component[0]]), len(component))  # what is left may be in any order
            return Count(ways, ways)
        key = self._key(domains, component, related)
        if key in self._remembered:
            return self._remembered[key]
        if time.perf_counter() > self._problem.deadline:
            return Count(0, self.most(component, domains))
        variable = self._branch_on(domains, component, related)
        total = NONE
        values = domains[variable].tolist()
        for place, value in enumerate(values):
            try:
                narrowed = self._problem.with_value(domains, variable, value)
            except OutOfTimeError:
                rest = [v for v in component if v != variable]
                total += Count(0, (len(values) - place) * self.most(rest, domains))
                break
            if narrowed is not None:
                total += self.count(narrowed, component)
        if total.exact:
            self._remembered[key] = total
        return total

    def _components(self, domains: Domains, variables: Sequence[int]) -> list[tuple[list[int], Related]]:
        """Open variables that depend on each other, with the constraints that still say something."""
        problem = self._problem
        open_ones = [variable for variable in variables if len(domains[variable]) > 1]
        is_open, root = set(open_ones), {variable: variable for variable in open_ones}

        def find(variable: int) -> int:
            while root[variable] != variable:
                root[variable] = root[root[variable]]
                variable = root[variable]
            return variable

        def join(members: Sequence[int]) -> None:
            for other in members[1:]:
                root[find(other)] = find(members[0])

        active: list[tuple[list[int], tuple[Constraint, np.ndarray | None]]] = []
        for constraint in problem.touching(open_ones):
            own = [variable for variable in constraint.variables if variable in is_open]
            problem.check_time()
            wide = problem.readings(constraint, domains) > READINGS_AT_ONCE
            related = None if wide else problem.relation(constraint, domains)[1]
            if related is None or not related.all():
                active.append((own, (constraint, related)))
                join(own)
        for group in problem.different:
            alike: dict[bytes, list[int]] = {}
            for variable in group:
                if variable in is_open:
                    alike.setdefault(domains[variable].tobytes(), []).append(variable)
            for members in alike.values():
                join(members)
            for (one, *_), (other, *_) in combinations(alike.values(), 2):
                problem.check_time()
                if find(one) != find(other) and np.isin(domains[one], domains[other]).any():
                    join([one, other])
        found: dict[int, tuple[list[int], Related]] = {}
        for variable in open_ones:
            found.setdefault(find(variable), ([], []))[0].append(variable)
        for own, what in active:
            found[find(own[0])][1].append(what)
        return list(found.values())

    def _key(self, domains: Domains, component: list[int], related: Related) -> tuple[object, ...]:
        """The same for components with the same solutions: what is left of variables and of constraints."""
        values = tuple((variable, domains[variable].tobytes()) for variable in component)
        left: set[object] = set()
        for constraint, relation in related:
            if relation is None:
                left.add((constraint, tuple(domains[variable].tobytes() for variable in constraint.variables)))
            else:
                open_ones = tuple(variable for variable in constraint.variables if len(domains[variable]) > 1)
                left.add((open_ones, np.packbits(relation).tobytes()))
        return values, frozenset(left)

    def _branch_on(self, domains: Domains, component: list[int], related: Related) -> int:
        """The variable that most constraints meet for its size."""
        degree = dict.fromkeys(component, 0)
        for constraint, _ in related:
            for variable in constraint.variables:
                if variable in degree:
                    degree[variable] += 1
        return min(component, key=lambda variable: (len(domains[variable]) / (1 + degree[variable]), variable))
