"""The counting of optimal maps as DIMACS CNF, for model counters and SAT solvers elsewhere.

A boolean says that a place of a map has a value, so that every model is one optimal map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nesy_gedi.concepts.map_constraints import Domains, MapProblem
from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples
from nesy_gedi.errors import UsageError

MAX_CLAUSES = 5_000_000
"""Problems of more clauses are refused - their text has some hundred megabytes - and tuples that can be misread in more ways."""

Wrong = dict[tuple[int, ...], np.ndarray]
"""Variables -> their values in the readings that change some answer, (n, variables); no reading twice."""


def write_dimacs(shown: ShownTuples, *, one_to_one: bool, program: str | None = None) -> str:
    """The problem whose models are the optimal maps, with every reading of symbols that were not shown.

    Args:
        one_to_one: no two symbols of a map are read as the same.
        program: what the comments call the program and its form, in one line or several.

    Returns:
        The whole file; comments that say what each boolean means come first.

    Raises:
        UsageError: there would be too many clauses.
    """
    problem = MapProblem.of(shown, one_to_one, math.inf)
    told = sorted(shown.told)
    first = np.cumsum([1, *problem.sizes])
    # Counted before any is made: a large domain alone may have too many pairs of values.
    total = sum(1 + math.comb(size, 2) for size in problem.sizes) + len(told)
    total += sum(problem.sizes[group[0]] * math.comb(len(group), 2) for group in problem.different)
    if total > MAX_CLAUSES:
        raise _too_many("the problem has more clauses")
    domains = [np.arange(size) for size in problem.sizes]
    for place in told:  # no clause is needed for readings with other values of it
        domains[place] = np.array([problem.identity[place]])
    wrong = _wrong_readings(problem, domains, MAX_CLAUSES - total)

    clauses = [first[[place]][None] + problem.identity[place] for place in told]
    for place, size in enumerate(problem.sizes):
        values = first[place] + np.arange(size)
        clauses += [values[None], -_pairs(values)]
    clauses += [-(first[list(variables)] + values) for variables, values in wrong.items()]
    for group in problem.different:
        clauses += [-_pairs(first[list(group)] + value) for value in range(problem.sizes[group[0]])]
    lines = [f"c {line}" for line in _comments(shown, one_to_one, program)]
    lines.append(f"p cnf {first[-1] - 1} {sum(map(len, clauses))}")
    for rows in clauses:
        lines.extend(" ".join(map(str, row)) + " 0" for row in rows.tolist())
    return "\n".join(lines) + "\n"


def _wrong_readings(problem: MapProblem, domains: Domains, most: int) -> Wrong:
    """What constraints refuse.

    Args:
        most: how many readings may be found.

    Raises:
        UsageError: there are more.
    """
    numbers: dict[tuple[int, ...], np.ndarray] = {}
    found = 0
    for constraint in problem.constraints:
        if problem.readings(constraint, domains) > MAX_CLAUSES:
            raise _too_many("a tuple of symbols can be misread in more ways than there may be clauses")
        # Tuples of the same symbols in another order often refuse the same readings.
        before = numbers.get(constraint.variables, np.zeros(0, dtype=np.int64))
        both = np.union1d(before, np.flatnonzero(~problem.relation(constraint, domains)[1]))
        found += len(both) - len(before)
        if found > most:
            raise _too_many("the problem has more clauses")
        numbers[constraint.variables] = both
    wrong: Wrong = {}
    for variables, own in numbers.items():
        values = []
        for variable in reversed(variables):  # numpy unravels no more than 64 axes
            own, k = np.divmod(own, len(domains[variable]))
            values.append(domains[variable][k])
        wrong[variables] = np.stack(values[::-1], 1)
    return wrong


def _pairs(booleans: np.ndarray) -> np.ndarray:
    """All pairs, (n, 2)."""
    one, other = np.triu_indices(len(booleans), 1)
    return np.stack([booleans[one], booleans[other]], 1)


def _too_many(what: str) -> UsageError:
    return UsageError(
        f"{what}: no more than {MAX_CLAUSES:,} are written",
        hint="count without a file, or export fewer observed tuples",
    )


def _comments(shown: ShownTuples, one_to_one: bool, program: str | None) -> Iterator[str]:
    for line in (program or "").splitlines():
        yield f"Program: {line}"
    yield f"Symbols may be misread as long as no answer changes of the {len(shown.codes)} distinct tuples that are shown."
    if one_to_one:
        yield "No two symbols of a map are read as the same."
    yield "Each model is one such map; one of them is the identity, every other a reasoning shortcut."
    yield "What each boolean says:"
    number = 0
    for name, symbols in shown.domains.items():
        for place, symbol in zip(shown.places_of(name), symbols, strict=True):
            remark = " (told)" if place in shown.told else " (not shown)" if shown.identity[place] == UNSEEN else ""
            for read in symbols:
                number += 1
                # A name may hold what ends a line.
                yield " ".join(f"{number} {name}: {symbol} is read as {read}{remark}".splitlines())
