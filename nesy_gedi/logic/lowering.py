"""A circuit in the form in which it is evaluated: inputs, sums of products, and their levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nesy_gedi.logic.formula import And, Formula, Literal, Not, Truth, children_of, values_of

FALSE_ROW = 0
TRUE_ROW = 1
FIRST_INPUT_ROW = 2

MOST_FACTORS = 3
"""Products of more parts are computed by themselves, not within the sums that they belong to."""

MOST_USES = 2
"""Products within more sums are computed once, by themselves: from here on, that is fewer operations."""

Product = tuple[int, ...]
"""Nodes whose log-probabilities are added."""


class Lowering:
    """The nodes below ``roots``, each a sum of products, a product or a negation, with its level.

    A set of values is a sum of inputs, and a product that belongs to few sums is computed within them.

    Args:
        formula: decomposable and deterministic below ``roots``.
        row_of: for a variable and one of its values the index of its log-probability among the inputs.
        within: whether products may be computed within sums.

    Attributes:
        given: constants and inputs -> row.
        kind: node -> ``and``, ``or`` or ``not``.
        children: node -> its children, each a product; of an ``and`` or ``not`` a single node.
        level: node -> length of the longest path to an input.
        node: formula node -> lowered node; an input is minus its row.
    """

    def __init__(
        self, formula: Formula, roots: Sequence[int], row_of: Callable[[int, int], int], *, within: bool = True
    ) -> None:
        self.given: dict[int, int] = {}
        self.kind: dict[int, str] = {}
        self.children: dict[int, tuple[Product, ...]] = {}
        self.level: dict[int, int] = {}
        self.node: dict[int, int] = {}
        plain = self._spell_out(formula, roots, row_of)
        if within:
            self._put_products_into_sums(plain, {self.node[root] for root in roots})
        for number in plain:  # children before parents
            if number in self.kind:
                below = (self.level.get(node, 0) for product in self.children[number] for node in product)
                self.level[number] = 1 + max(below)
        self.parents = Counter(n for children in self.children.values() for product in children for n in product)

    def _spell_out(self, formula: Formula, roots: Sequence[int], row_of: Callable[[int, int], int]) -> list[int]:
        """Fill everything but the levels; the nodes, children before parents."""
        for number in formula.reachable(roots):
            what = formula.nodes[number]
            self.node[number] = number
            if isinstance(what, Truth):
                self.given[number] = TRUE_ROW if what.value else FALSE_ROW
            elif isinstance(what, Literal):
                rows = [FIRST_INPUT_ROW + row_of(what.variable, value) for value in values_of(what.mask)]
                self.given.update({-row: row for row in rows})
                if len(rows) == 1:
                    self.node[number] = -rows[0]
                else:
                    self.kind[number], self.children[number] = "or", tuple((-row,) for row in rows)
            else:
                self.kind[number] = "and" if isinstance(what, And) else "not" if isinstance(what, Not) else "or"
                self.children[number] = tuple((self.node[child],) for child in children_of(what))
        return list(self.kind)

    def _put_products_into_sums(self, plain: Sequence[int], roots: set[int]) -> None:
        users: dict[int, list[int]] = {}
        for number in plain:
            for (child,) in self.children[number]:
                users.setdefault(child, []).append(number)
        small = {
            number
            for number in plain
            if self.kind[number] == "and"
            and number not in roots
            and len(self.children[number]) <= MOST_FACTORS
            and len(users[number]) <= MOST_USES
            and all(self.kind[user] == "or" for user in users[number])
        }
        for number in plain:
            if self.kind[number] == "or":
                self.children[number] = tuple(
                    tuple(factor for (factor,) in self.children[child]) if child in small else (child,)
                    for (child,) in self.children[number]
                )
        for number in small:
            del self.kind[number], self.children[number]
        for number in roots & self.kind.keys():
            factors = self.children[number]
            if self.kind[number] == "and" and len(factors) <= MOST_FACTORS:  # a sum of one product, among other sums
                self.kind[number] = "or"
                self.children[number] = (tuple(factor for (factor,) in factors),)

    def factors(self, number: int) -> int:
        """The most factors of a child."""
        return max(map(len, self.children[number]))

    def alike(self, number: int) -> tuple[int, str, int]:
        """Nodes that agree in this may be evaluated together."""
        return self.level[number], self.kind[number], self.factors(number)

    def sort_key(self, number: int) -> tuple[int, str, int, int, int, int]:
        return *self.alike(number), len(self.children[number]), self.parents[number], number


def runs(
    members: list[int], size: Callable[[int], int], *, factor: float, spare: int, most: int
) -> Iterator[list[int]]:
    """Cut ``members``, ascending in size, into runs that are padded to the size of their last.

    Args:
        factor: padding may multiply the sizes of a run by this,
        spare: or add this much.
        most: the padded sizes of a run, unless it is a single member.
    """
    run: list[int] = []
    total = 0
    for member in members:
        padded, own = size(member) * (len(run) + 1), total + size(member)
        if run and (padded > max(factor * own, own + spare) or padded > most):
            yield run
            run, total = [], 0
        run.append(member)
        total += size(member)
    if run:
        yield run
