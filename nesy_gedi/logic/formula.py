"""A ground program as a propositional formula over categorical variables.

ProbLog grounds an annotated disjunction (AD) into Boolean choices under an exclusivity constraint. Here one ground
AD is one categorical variable, and a choice is the statement "variable v takes a value in this set". Sets are bit
masks, so negation, conjunction and disjunction of statements about one variable stay a single literal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import NamedTuple

FALSE = 0
TRUE = 1

CONDITIONING_LIMIT = 50_000
"""How many (node, literal) pairs are rewritten before the rest is left to knowledge compilation."""


class Constant(NamedTuple):
    """A probability written in the program, or what it leaves of one.

    The complement is kept as such: 1 - 1e-9 as a float has lost half of its digits.
    """

    probability: float
    complement: bool = False

    def log(self) -> float:
        """Its natural logarithm, -inf for an impossible value."""
        if self.complement:
            return math.log1p(-self.probability) if self.probability < 1.0 else -math.inf
        return math.log(self.probability) if self.probability > 0.0 else -math.inf


class Neural(NamedTuple):
    """Entry number ``entry`` of what ``network`` says about ``inputs`` (slot names)."""

    network: str
    inputs: tuple[str, ...]
    entry: int


class Learned(NamedTuple):
    """Entry number ``entry`` of the normalised learned parameters of the AD number ``group``."""

    group: int
    entry: int


Weight = Constant | Neural | Learned


@dataclass(frozen=True)
class Variable:
    """One ground annotated disjunction: exactly one of its values holds.

    Attributes:
        label: for messages, for example ``digit(X, _)``.
        weights: the probability of each value; they sum to one.
        heads: what each value makes true, as text, for people; empty where nobody has said.
    """

    label: str
    weights: tuple[Weight, ...]
    heads: tuple[str, ...] = ()

    @property
    def full(self) -> int:
        """The mask of all values."""
        return (1 << len(self.weights)) - 1


class Literal(NamedTuple):
    """``variable`` takes one of the values in ``mask``."""

    variable: int
    mask: int


class And(NamedTuple):
    children: tuple[int, ...]


class Or(NamedTuple):
    children: tuple[int, ...]


class Not(NamedTuple):
    child: int


class Truth(NamedTuple):
    value: bool


Node = Literal | And | Or | Not | Truth


def values_of(mask: int) -> Iterator[int]:
    """The indices of the set bits of ``mask``, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def children_of(node: Node) -> tuple[int, ...]:
    """The children of any node, empty for literals and constants."""
    if isinstance(node, (And, Or)):
        return node.children
    return (node.child,) if isinstance(node, Not) else ()


class Formula:
    """A growing directed acyclic graph of nodes, children before parents, equal nodes shared.

    Building simplifies: constants are folded, literals of one variable under one parent are merged, a literal is
    propagated into siblings that mention its variable, a disjunction loses the parts that a sibling rules out where
    each part decides it, and a disjunction of parts that share no variable is rewritten as not(and(not ...)), so that
    many programs become decomposable and deterministic as they are read.

    Attributes:
        variables: the categorical variables, indexed by ``Literal.variable``.
        nodes: node 0 is FALSE and node 1 is TRUE.
        scopes: for every node the set of its variables as a bit mask.
    """

    def __init__(self, variables: list[Variable] | None = None) -> None:
        self.variables: list[Variable] = variables if variables is not None else []
        self.nodes: list[Node] = []
        self.scopes: list[int] = []
        self._index: dict[tuple[type[Node], Node], int] = {}
        self._conditioned: dict[tuple[int, Literal], int] = {}
        for value in (False, True):
            self._add(Truth(value))

    def __len__(self) -> int:
        return len(self.nodes)

    def _add(self, node: Node) -> int:
        # The kind is part of the key: named tuples of two kinds are equal when their fields are, And((2, 3)) == Or((2, 3)).
        key = (type(node), node)
        found = self._index.get(key)
        if found is not None:
            return found
        if isinstance(node, Literal):
            scope = 1 << node.variable
        else:
            scope = 0
            for child in children_of(node):
                scope |= self.scopes[child]
        self.nodes.append(node)
        self.scopes.append(scope)
        self._index[key] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def restore(self, node: Node) -> int:
        """Add ``node`` as it is, for reading a stored formula back.

        Raises:
            ValueError: a child does not exist yet.
        """
        if any(not 0 <= child < len(self.nodes) for child in children_of(node)):
            raise ValueError("a node comes before its child")
        return self._add(node)

    def literal(self, variable: int, mask: int) -> int:
        """The node "``variable`` takes a value in ``mask``"."""
        full = self.variables[variable].full
        mask &= full
        if mask == 0:
            return FALSE
        return TRUE if mask == full else self._add(Literal(variable, mask))

    def negate(self, node: int) -> int:
        """The node "not ``node``"."""
        what = self.nodes[node]
        if isinstance(what, Truth):
            return FALSE if what.value else TRUE
        if isinstance(what, Literal):
            return self.literal(what.variable, ~what.mask)
        return what.child if isinstance(what, Not) else self._add(Not(node))

    def conjoin(self, children: Iterable[int]) -> int:
        """The conjunction of ``children``."""
        masks: dict[int, int] = {}
        others: dict[int, None] = {}
        pending = list(children)
        while pending:
            child = pending.pop(0)
            what = self.nodes[child]
            if isinstance(what, Literal):
                masks[what.variable] = masks.get(what.variable, -1) & what.mask
                if masks[what.variable] == 0:
                    return FALSE
            elif child == FALSE:
                return FALSE
            elif child != TRUE:
                others[child] = None
            if not pending:
                pending = self._untangle(masks, others)
        if self._contradicts(others):
            return FALSE
        kept = [self.literal(variable, mask) for variable, mask in masks.items()] + list(others)
        return self._compound(And, kept, unit=TRUE)

    def _contradicts(self, children: dict[int, None]) -> bool:
        """Whether ``children`` hold a node together with its negation."""
        return any(isinstance(what := self.nodes[child], Not) and what.child in children for child in children)

    def _untangle(self, masks: dict[int, int], others: dict[int, None]) -> list[int]:
        """Take out of ``others`` what shares a variable with a sibling and can be written without sharing it."""
        changed: list[int] = []
        for variable, mask in masks.items():
            for child in [c for c in others if self.scopes[c] >> variable & 1]:
                narrowed = self._condition(child, Literal(variable, mask))
                if narrowed != child:
                    del others[child]
                    changed.append(narrowed)
        if not changed:
            seen = overlap = 0
            for child in others:
                overlap |= seen & self.scopes[child]
                seen |= self.scopes[child]
            for child in [c for c in others if self.scopes[c] & overlap]:
                what = self.nodes[child]
                if isinstance(what, And):
                    del others[child]
                    changed.extend(what.children)
            if overlap and not changed:
                changed = self._select(others)
        return changed

    def _select(self, others: dict[int, None]) -> list[int]:
        """Take out of ``others`` a disjunction and a sibling that each of its parts decides; return the parts that agree."""
        for child in others:
            if not isinstance(what := self.nodes[child], Or):
                continue
            for other in others:
                if other == child or self.scopes[other] & ~self.scopes[child]:
                    continue
                agreeing = []
                for part in what.children:
                    decided = self._decide(other, part)
                    if decided not in (FALSE, TRUE):
                        break
                    if decided == TRUE:
                        agreeing.append(part)
                else:
                    del others[child], others[other]
                    return [self.disjoin(agreeing)]
        return []

    def _decide(self, node: int, given: int) -> int:
        """``node`` rewritten under the literals of ``given``, where these reach all of its variables."""
        if self.scopes[node] & ~self.scopes[given]:
            return node
        what = self.nodes[given]
        for literal in map(self.nodes.__getitem__, what.children if isinstance(what, And) else (given,)):
            if isinstance(literal, Literal):
                node = self._condition(node, literal)
        return node

    def _condition(self, node: int, given: Literal) -> int:
        """``node`` rewritten under the knowledge that ``given`` holds."""
        if not self.scopes[node] >> given.variable & 1:
            return node
        key = (node, given)
        if key not in self._conditioned:
            if len(self._conditioned) >= CONDITIONING_LIMIT:
                return node
            what = self.nodes[node]
            if isinstance(what, Literal):
                both = what.mask & given.mask
                result = TRUE if both == given.mask else self.literal(what.variable, both)
            elif isinstance(what, Not):
                result = self.negate(self._condition(what.child, given))
            else:
                parts = [self._condition(child, given) for child in children_of(what)]
                result = self.conjoin(parts) if isinstance(what, And) else self.disjoin(parts)
            self._conditioned[key] = result
        return self._conditioned[key]

    def disjoin(self, children: Iterable[int]) -> int:
        """The disjunction of ``children``."""
        masks: dict[int, int] = {}
        others: dict[int, None] = {}
        for child in children:
            what = self.nodes[child]
            if isinstance(what, Literal):
                masks[what.variable] = masks.get(what.variable, 0) | what.mask
            elif child == TRUE:
                return TRUE
            elif child != FALSE:
                others[child] = None
        if self._contradicts(others):
            return TRUE
        kept = [self.literal(variable, mask) for variable, mask in masks.items()]
        if TRUE in kept:
            return TRUE
        parts = group_overlapping([(self.scopes[child], child) for child in kept + list(others)])
        if len(parts) > 1:
            return self.negate(self.conjoin([self.negate(self.plain_or(part)) for part in parts]))
        return self.plain_or(kept + list(others))

    def plain_or(self, children: list[int]) -> int:
        """The disjunction of ``children`` as it stands, for children known to exclude each other."""
        return self._compound(Or, [c for c in children if c != FALSE], unit=FALSE)

    def plain_and(self, children: list[int]) -> int:
        """The conjunction of ``children`` as it stands, for children known to share no variable."""
        return FALSE if FALSE in children else self._compound(And, [c for c in children if c != TRUE], unit=TRUE)

    def _compound(self, kind: type[And] | type[Or], children: list[int], unit: int) -> int:
        distinct = tuple(sorted(set(children)))
        if not distinct:
            return unit
        return distinct[0] if len(distinct) == 1 else self._add(kind(distinct))

    def reachable(self, roots: Iterable[int]) -> list[int]:
        """All nodes below ``roots``, children before parents."""
        seen: set[int] = set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending.extend(children_of(self.nodes[node]))
        # Children are always created before their parents.
        return sorted(seen)

    def label(self, scope: int) -> str:
        """The labels of the variables in ``scope``, for messages."""
        return ", ".join(self.variables[variable].label for variable in values_of(scope))


def group_overlapping(masked: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Group (mask, node) pairs so that masks of different groups are disjoint; returns the nodes of each group."""
    alike: dict[int, list[int]] = {}
    for mask, node in masked:
        alike.setdefault(mask, []).append(node)
    if sum(alike) == reduce(or_, alike, 0):  # no bit is set twice
        return list(alike.values())
    groups: list[tuple[int, list[int]]] = []
    for mask, own in alike.items():
        members, apart = own, []
        for other_mask, other_members in groups:
            if other_mask & mask:
                mask |= other_mask
                members = other_members + members
            else:
                apart.append((other_mask, other_members))
        groups = [*apart, (mask, members)]
    return [members for _, members in groups]
