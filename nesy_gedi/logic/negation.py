"""Negation without subtraction.

1 - p has lost the digits of a p close to one; in single precision nothing is left from 1 - 6e-8 on, neither of the
value nor of its gradient. So "not" is written as sums and products down to the literals wherever the circuit allows:
the other values of a variable have rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from nesy_gedi.logic.formula import And, Formula, Literal, Or


class Negation:
    """Negates nodes of a decomposable, deterministic ``formula`` by nodes that are so, too.

    A conjunction fails at one of its children: "the first one fails, or it holds and the second fails". A disjunction
    that branches on the values of one variable is denied branch by branch. Any other keeps its "not".
    """

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._done: dict[int, int] = {}

    def __call__(self, node: int) -> int:
        """The negation of ``node``."""
        for number in sorted(self._needed(node)):  # children before parents
            what = self.formula.nodes[number]
            if isinstance(what, And):
                self._done[number] = self._some_fail(what.children)
            elif isinstance(what, Or):
                self._done[number] = self._none_hold(self._parts(number, Or))
            else:
                self._done[number] = self.formula.negate(number)
        return self._done[node]

    def _needed(self, node: int) -> set[int]:
        """The nodes whose negations that of ``node`` is made of, itself included, and which are not there yet."""
        needed: set[int] = set()
        pending = [node]
        while pending:
            number = pending.pop()
            if number not in self._done and number not in needed:
                needed.add(number)
                what = self.formula.nodes[number]
                if isinstance(what, And):
                    pending.extend(what.children)
                elif isinstance(what, Or):
                    pending.extend(part for child in self._parts(number, Or) for part in self._parts(child, And))
        return needed

    def _parts(self, node: int, kind: type[And] | type[Or]) -> list[int]:
        """The children of a node of this kind, children of the same kind taken apart as well; else the node alone."""
        found: list[int] = []
        pending = [node]
        while pending:
            number = pending.pop()
            what = self.formula.nodes[number]
            if isinstance(what, kind):
                pending.extend(reversed(what.children))
            else:
                found.append(number)
        return found

    def _some_fail(self, children: Sequence[int]) -> int:
        """The negation of a conjunction, as a balanced tree so that the circuit stays shallow."""
        if len(children) == 1:
            return self._done[children[0]]
        half = len(children) // 2
        left, right = children[:half], children[half:]
        late = self.formula.plain_and([*left, self._some_fail(right)])
        return self.formula.plain_or([self._some_fail(left), late])

    def _none_hold(self, children: Sequence[int]) -> int:
        """The negation of a disjunction of children that exclude each other."""
        found = self._branches(children)
        if found is None:
            return self.formula.negate(self.formula.plain_or(list(children)))
        variable, branches = found
        left_over = -1
        parts: list[int] = []
        for mask, rests in branches.items():
            left_over &= ~mask
            if all(rests):  # an empty rest is certain: nothing to deny in this branch
                # Disjunctions among the rests stay whole: merging them can grow like a product of circuits.
                joined = [self.formula.plain_and(list(rest)) for rest in rests]
                denied = self._some_fail(rests[0]) if len(rests) == 1 else self._none_hold(joined)
                parts.append(self.formula.plain_and([self.formula.literal(variable, mask), denied]))
        return self.formula.plain_or([self.formula.literal(variable, left_over), *parts])

    def _branches(self, children: Sequence[int]) -> tuple[int, dict[int, list[tuple[int, ...]]]] | None:
        """A variable that each child restricts to a set of values, different sets disjoint: set -> what else is said."""
        nodes = self.formula.nodes
        parts = [self._parts(child, And) for child in children]
        for variable in [what.variable for part in parts[0] if isinstance(what := nodes[part], Literal)]:
            branches: dict[int, list[tuple[int, ...]]] = {}
            for conjuncts in parts:
                masks = {c: w.mask for c in conjuncts if isinstance(w := nodes[c], Literal) and w.variable == variable}
                if not masks:
                    break
                (mask,) = masks.values()  # children of a conjunction share no variable
                branches.setdefault(mask, []).append(tuple(c for c in conjuncts if c not in masks))
            else:
                if sum(branches) == reduce(or_, branches):  # no bit is set twice
                    return variable, branches
        return None
