"""Knowledge compilation for the parts of a formula that cannot be evaluated as they stand.

A node is compiled into a sentential decision diagram (SDD; Darwiche, "SDD: A New Canonical Representation of
Propositional Knowledge Bases", 2011) by PySDD, together with "every variable takes exactly one value", and read back
as nodes that are decomposable and deterministic by construction. Where there is more than a little to compile, a child
process does it (:mod:`nesy_gedi.logic.limited`), since a single operation of PySDD may last longer than the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from pysdd.sdd import SddManager, SddNode, Vtree

from nesy_gedi.errors import BudgetError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.formula import FALSE, TRUE, And, Formula, Literal, Not, Truth
from nesy_gedi.logic.limited import run_limited

SMALL = 20
"""Booleans up to which a diagram is compiled in this process: no operation on so few takes long."""

Diagram = Sequence[int | Sequence[int]]
"""An SDD as plain data, children before parents and the root last.

``TRUE`` and ``FALSE`` aside, which are the references 1 and 0, entry number k is the reference k + 2. An entry is the
number of a literal, negative where it is denied, or references in pairs: a prime, its sub, the next prime, its sub.
A root that is constant is an entry of that one reference.
"""


class SddCompiler:
    """Compiles nodes of ``source`` and writes the result into ``target``, which shares its variables."""

    def __init__(self, source: Formula, target: Formula, budget: Budget) -> None:
        self.source = source
        self.target = target
        self.budget = budget

    def compile(self, node: int) -> int:
        """The node of ``target`` equivalent to ``node`` of ``source``.

        Raises:
            BudgetError: the diagram grew past the budget.
        """
        deadline = time.monotonic() + self.budget.seconds
        order = self.source.reachable([node])
        blocks = self._value_blocks(order)
        booleans: dict[tuple[int, int], int] = {}
        for variable, masks in blocks.items():
            # Two blocks are one Boolean and its negation; more need a Boolean each and a constraint.
            for mask in masks[:1] if len(masks) == 2 else masks:
                booleans[variable, mask] = len(booleans) + 1

        def past(limit: str) -> BudgetError:
            return BudgetError(
                f"compiling over {len(blocks)} variables went past the budget of {limit}",
                where=self.source.label(self.source.scopes[node])[:200],
                hint="let the proofs of one answer exclude each other (branch on the value of one image at a time)",
            )

        def work() -> Diagram:
            return _read_back(self._diagram(order, blocks, booleans, deadline, past))

        diagram = work() if len(booleans) <= SMALL else run_limited(work, self.budget, past)
        return self._write(diagram, blocks, {number: key for key, number in booleans.items()})

    def _diagram(
        self,
        order: Sequence[int],
        blocks: dict[int, list[int]],
        booleans: dict[tuple[int, int], int],
        deadline: float,
        past: Callable[[str], BudgetError],
    ) -> SddNode:
        """The SDD of the last node in ``order``, joined with the constraint that each variable has one value."""
        # PySDD crashes on a vtree without variables, which is what a constant would need.
        manager = SddManager.from_vtree(Vtree(var_count=max(len(booleans), 1), vtree_type="balanced"))
        self._manager = manager

        def check() -> None:
            if manager.count() > self.budget.nodes:
                raise past(f"{self.budget.nodes} nodes")
            if time.monotonic() > deadline:
                raise past(f"{self.budget.seconds:g} s")

        def block(variable: int, mask: int) -> SddNode:
            masks = blocks[variable]
            if len(masks) == 2:
                literal = manager.literal(booleans[variable, masks[0]])
                return literal if mask == masks[0] else manager.negate(literal)
            return manager.literal(booleans[variable, mask])

        def statement(variable: int, mask: int) -> SddNode:
            result = manager.false()
            for part in blocks[variable]:
                if part & mask:
                    result = manager.disjoin(result, block(variable, part))
            return result

        diagrams: dict[int, SddNode] = {}
        for number in order:
            what = self.source.nodes[number]
            if isinstance(what, Literal):
                diagram = statement(what.variable, what.mask)
            elif isinstance(what, Not):
                diagram = manager.negate(diagrams[what.child])
            elif isinstance(what, Truth):
                diagram = manager.true() if what.value else manager.false()
            else:
                conjunction = isinstance(what, And)
                diagram = manager.true() if conjunction else manager.false()
                for child in what.children:
                    other = diagrams[child]
                    diagram = manager.conjoin(diagram, other) if conjunction else manager.disjoin(diagram, other)
                    check()
            diagrams[number] = diagram
        result = diagrams[order[-1]]
        for variable, masks in blocks.items():
            if len(masks) > 2:
                exactly_one = manager.false()
                for chosen in masks:
                    term = manager.true()
                    for mask in masks:
                        literal = block(variable, mask)
                        term = manager.conjoin(term, literal if mask == chosen else manager.negate(literal))
                    exactly_one = manager.disjoin(exactly_one, term)
                result = manager.conjoin(result, exactly_one)
                check()
        return result

    def _value_blocks(self, order: Iterable[int]) -> dict[int, list[int]]:
        """For every variable the coarsest partition of its values that all literals respect."""
        blocks: dict[int, list[int]] = {}
        for number in order:
            what = self.source.nodes[number]
            if isinstance(what, Literal):
                parts = blocks.setdefault(what.variable, [self.source.variables[what.variable].full])
                blocks[what.variable] = [
                    piece for part in parts for piece in (part & what.mask, part & ~what.mask) if piece
                ]
        return blocks

    def _write(self, diagram: Diagram, blocks: dict[int, list[int]], meaning: dict[int, tuple[int, int]]) -> int:
        """The root of ``diagram`` as a node of the target."""
        target = self.target
        done = [FALSE, TRUE]
        for entry in diagram:
            if isinstance(entry, int):
                variable, mask = meaning[abs(entry)]
                if len(blocks[variable]) == 2:
                    done.append(target.literal(variable, mask if entry > 0 else ~mask))
                else:
                    # "Not this value" weighs one: under the exactly-one constraint another value is stated elsewhere.
                    done.append(target.literal(variable, mask) if entry > 0 else TRUE)
            elif len(entry) == 1:
                done.append(done[entry[0]])
            else:
                pairs = zip(entry[::2], entry[1::2], strict=True)
                done.append(target.plain_or([target.plain_and([done[prime], done[sub]]) for prime, sub in pairs]))
        return done[-1]


def _read_back(root: SddNode) -> Diagram:
    diagram: list[int | list[int]] = []
    done: dict[int, int] = {}
    pending = [root]
    while pending:
        node = pending[-1]
        if node.id in done:
            pending.pop()
        elif node.is_true() or node.is_false():
            done[node.id] = TRUE if node.is_true() else FALSE
        else:
            entry: int | list[int]
            if node.is_literal():
                entry = int(node.literal)
            else:
                elements = [(p, s) for p, s in node.elements() if not s.is_false()]
                open_parts = [part for pair in elements for part in pair if part.id not in done]
                if open_parts:
                    pending.extend(open_parts)
                    continue
                entry = [done[part.id] for pair in elements for part in pair]
            diagram.append(entry)
            done[node.id] = len(diagram) + 1
    return diagram or [[done[root.id]]]
