"""Modules: parts of a formula that the rest sees as one categorical variable.

Some variables form a module where everything that mentions them reaches the rest through a few nodes that exclude each
other. These nodes then are the values of one variable ("none of them" is one more), and the rest can be compiled, or
computed, without looking inside. A single node is the special case of two values (compare the modules of fault trees:
Dutuit and Rauzy, "A Linear-Time Algorithm to Find Modules of Fault Trees", 1996).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from nesy_gedi.logic.formula import And, Formula, Literal, Not, Truth, children_of, values_of
from nesy_gedi.logic.structure import ExclusionProver

MODULE_VALUES = 256
"""The most nodes through which the variables of a module may reach the rest."""

MODULE_SEARCH = 4_000_000
"""How many edges are looked at while modules are sought; what is not found is compiled with the rest."""


@dataclass(frozen=True)
class Module:
    """Variables that the rest of a formula sees only through ``nodes``.

    Attributes:
        scope: the variables, as a bit mask.
        nodes: nodes that exclude each other; none is a negation.
    """

    scope: int
    nodes: tuple[int, ...]


def find_modules(
    formula: Formula,
    roots: Iterable[int],
    prover: ExclusionProver,
    *,
    allowed: int = -1,
    strict: bool = True,
) -> list[Module]:
    """The largest modules below ``roots`` that share no variable with each other; each has two variables or more.

    Args:
        allowed: mask of the variables that modules may have.
        strict: leave out modules that hold a root themselves.
    """
    tops = list(roots)
    order = formula.reachable(tops)
    scopes = formula.scopes
    edges = [(scopes[number], child) for number in order for child in children_of(formula.nodes[number])]
    if not strict:
        edges += [(-1, root) for root in tops]
    forbidden = {scopes[root] for root in tops} if strict else set()
    candidates = {
        scopes[number] for number in order if scopes[number] & (scopes[number] - 1) and not scopes[number] & ~allowed
    }
    found: list[Module] = []
    taken = looked_at = 0
    for scope in sorted(candidates - forbidden, key=lambda s: (-s.bit_count(), s)):
        if scope & taken:
            continue
        looked_at += len(edges)
        if looked_at > MODULE_SEARCH:
            break
        frontier = {
            _positive(formula, child)
            for above, child in edges
            if scopes[child] and above & ~scope and not scopes[child] & ~scope
        }
        if len(frontier) > MODULE_VALUES:
            continue
        nodes = sorted(frontier)
        prover.prepare(nodes)
        if prover.all_exclude(nodes):
            found.append(Module(scope, tuple(nodes)))
            taken |= scope
    return found


def _positive(formula: Formula, node: int) -> int:
    what = formula.nodes[node]
    return what.child if isinstance(what, Not) else node


def covers_all_worlds(circuit: Formula, nodes: Sequence[int]) -> bool:
    """Whether one of ``nodes``, which exclude each other, holds in every world, found by exact counting."""
    counts = count_models(circuit, nodes)
    scope = reduce(or_, (circuit.scopes[node] for node in nodes), 0)
    held = sum(counts[node] * worlds(circuit, scope & ~circuit.scopes[node]) for node in nodes)
    return held == worlds(circuit, scope)


def worlds(formula: Formula, scope: int) -> int:
    """How many joint assignments the variables in ``scope`` have."""
    return math.prod(len(formula.variables[variable].weights) for variable in values_of(scope))


def count_models(formula: Formula, roots: Iterable[int]) -> dict[int, int]:
    """Numbers of assignments to its own scope under which each node of a circuit holds, exact."""
    counts: dict[int, int] = {}
    for number in formula.reachable(roots):
        what = formula.nodes[number]
        scope = formula.scopes[number]
        if isinstance(what, Truth):
            counts[number] = int(what.value)
        elif isinstance(what, Literal):
            counts[number] = what.mask.bit_count()
        elif isinstance(what, Not):
            counts[number] = worlds(formula, scope) - counts[what.child]
        elif isinstance(what, And):
            counts[number] = math.prod(counts[child] for child in what.children)
        else:
            counts[number] = sum(counts[c] * worlds(formula, scope & ~formula.scopes[c]) for c in what.children)
    return counts
