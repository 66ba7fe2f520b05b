"""Is a formula already a circuit? Decomposability and determinism over categorical variables.

Where conjunctions join parts that share no variable and disjunctions join parts that exclude each other, probabilities
multiply and add (Darwiche and Marquis, "A Knowledge Compilation Map", 2002). The proof of exclusion uses, for every
node, what its truth and its falsity each imply about single variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from nesy_gedi.logic.formula import And, Formula, Literal, Not, Or, children_of, group_overlapping

EXCLUSION_LIMIT = 2_000_000
"""How many pairs of nodes are compared before exclusion counts as unproven."""

Implied = dict[int, int]
"""Variable -> mask of the values that remain possible; an absent variable is unrestricted."""


@dataclass(frozen=True)
class Violation:
    """A node whose probability is not the product or sum of its children's."""

    node: int
    missing: OneOf["decomposable", "deterministic"]


def find_violations(formula: Formula, roots: Iterable[int]) -> list[Violation]:
    """The conjunctions below ``roots`` that are not decomposable, the disjunctions not provably deterministic."""
    found: list[Violation] = []
    prover = ExclusionProver(formula)
    for number in formula.reachable(roots):
        node = formula.nodes[number]
        if isinstance(node, And):
            seen = 0
            for child in node.children:
                if seen & formula.scopes[child]:
                    found.append(Violation(number, "decomposable"))
                    break
                seen |= formula.scopes[child]
        prover.learn(number)
        if isinstance(node, Or) and not prover.all_exclude(node.children):
            found.append(Violation(number, "deterministic"))
    return found


class ExclusionProver:
    """Proves that nodes cannot be true together. Sound, not complete."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.if_true: dict[int, Implied] = {}
        self.if_false: dict[int, Implied] = {}
        self._proved: dict[tuple[int, int], bool] = {}

    def learn(self, number: int) -> None:
        """Derive what the node implies, from its children's (already learned) implications."""
        node = self.formula.nodes[number]
        true, false = self.if_true, self.if_false
        if isinstance(node, Literal):
            full = self.formula.variables[node.variable].full
            true[number] = {node.variable: node.mask}
            false[number] = {node.variable: full & ~node.mask}
        elif isinstance(node, Not):
            true[number], false[number] = false[node.child], true[node.child]
        elif isinstance(node, And):
            true[number] = _both([true[child] for child in node.children])
            false[number] = self._either([false[child] for child in node.children])
        elif isinstance(node, Or):
            true[number] = self._either([true[child] for child in node.children])
            false[number] = _both([false[child] for child in node.children])
        else:
            true[number] = false[number] = {}

    def prepare(self, nodes: Iterable[int]) -> None:
        """Learn about ``nodes`` and all below them that is not known yet."""
        pending = list(nodes)
        while pending:
            number = pending[-1]
            missing = [c for c in children_of(self.formula.nodes[number]) if c not in self.if_true]
            if number in self.if_true:
                pending.pop()
            elif missing:
                pending.extend(missing)
            else:
                self.learn(pending.pop())

    def partition(self, nodes: Sequence[int]) -> list[list[int]]:
        """Group ``nodes`` so that members of different groups provably exclude each other."""
        implied = [self.if_true[node] for node in nodes]
        for variable in sorted(set.intersection(*(set(i) for i in implied))):
            groups = group_overlapping([(i[variable], node) for i, node in zip(implied, nodes, strict=True)])
            if len(groups) > 1:
                return [part for group in groups for part in self.partition(group)]
        apart: list[list[int]] = []
        for node in nodes:
            joined, left = [node], []
            for group in apart:
                if all(self.excludes(node, other) for other in group):
                    left.append(group)
                else:
                    joined = group + joined
            apart = [*left, joined]
        return apart

    def _either(self, implied: Sequence[Implied]) -> Implied:
        first, *rest = sorted(implied, key=len)
        result: Implied = {}
        for variable, mask in first.items():
            for other in rest:
                mask |= other.get(variable, -1)
            if mask & (full := self.formula.variables[variable].full) != full:
                result[variable] = mask
        return result

    def all_exclude(self, nodes: Sequence[int]) -> bool:
        """Whether no two of ``nodes`` can hold together."""
        if len(nodes) < 2:
            return True
        implied = [self.if_true[node] for node in nodes]
        for variable in set.intersection(*(set(i) for i in implied)):
            groups = group_overlapping([(i[variable], node) for i, node in zip(implied, nodes, strict=True)])
            if len(groups) > 1:
                return all(self.all_exclude(group) for group in groups)
        return all(self.excludes(a, b) for k, a in enumerate(nodes) for b in nodes[:k])

    def excludes(self, a: int, b: int) -> bool:
        """Whether ``a`` and ``b`` cannot hold together."""
        key = (a, b) if a < b else (b, a)
        if key not in self._proved:
            if len(self._proved) >= EXCLUSION_LIMIT:
                return False
            self._proved[key] = False  # while it is open
            self._proved[key] = self._excludes(*key)
        return self._proved[key]

    def _excludes(self, a: int, b: int) -> bool:
        if a == b:
            return False
        if not self.formula.scopes[a] & self.formula.scopes[b]:
            return False
        if _disjoint(self.if_true[a], self.if_true[b]):
            return True
        nodes = self.formula.nodes
        what_a, what_b = nodes[a], nodes[b]
        if isinstance(what_a, And) and isinstance(what_b, And):  # mostly two of their parts exclude each other
            if any(self.excludes(x, y) for x in what_a.children for y in what_b.children):
                return True
        elif (
            isinstance(what_a, Or) and isinstance(what_b, Or) and self._none_together(what_a.children, what_b.children)
        ):
            return True
        for x, y in ((a, b), (b, a)):
            what = nodes[x]
            if isinstance(what, Not) and (what.child == y or self._implies(y, what.child)):
                return True
            if isinstance(what, And) and any(self.excludes(child, y) for child in what.children):
                return True
            if isinstance(what, Or) and all(self.excludes(child, y) for child in what.children):
                return True
        return False

    def _none_together(self, some: Sequence[int], others: Sequence[int]) -> bool:
        """Whether each of ``some`` excludes each of ``others``; where all restrict one variable, few pairs are compared."""
        implied = {node: self.if_true[node] for node in (*some, *others)}
        for variable in set.intersection(*(set(i) for i in implied.values())):
            groups = group_overlapping([(i[variable], node) for node, i in implied.items()])
            if len(groups) > 1:
                parts = [
                    ([n for n in some if n in group], [n for n in others if n in group]) for group in map(set, groups)
                ]
                return all(self._none_together(*part) for part in parts if all(part))
        return all(self.excludes(x, y) for x in some for y in others)

    def _implies(self, a: int, b: int) -> bool:
        """Whether ``a`` plainly contains ``b``: as a conjunct, or ``b`` as a disjunction holds ``a``."""
        what_a, what_b = self.formula.nodes[a], self.formula.nodes[b]
        return (isinstance(what_a, And) and b in children_of(what_a)) or (
            isinstance(what_b, Or) and a in children_of(what_b)
        )


def _both(implied: Sequence[Implied]) -> Implied:
    result: Implied = {}
    for one in implied:
        for variable, mask in one.items():
            result[variable] = result.get(variable, -1) & mask
    return result


def _disjoint(a: Implied, b: Implied) -> bool:
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    return any(variable in large and not mask & large[variable] for variable, mask in small.items())
