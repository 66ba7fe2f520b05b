"""Knowledge compilation for the parts of a formula that cannot be evaluated as they stand.

A node is compiled into a sentential decision diagram (SDD; Darwiche, "SDD: A New Canonical Representation of
Propositional Knowledge Bases", 2011) by PySDD, together with "every variable takes exactly one value", and read back
as nodes that are decomposable and deterministic by construction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from pysdd.sdd import SddManager, SddNode, Vtree

from nesy_gedi.errors import BudgetError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.formula import FALSE, TRUE, And, Formula, Literal, Not, Truth


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
        # PySDD crashes on a vtree without variables, which is what a constant would need.
        manager = SddManager.from_vtree(Vtree(var_count=max(len(booleans), 1), vtree_type="balanced"))
        self._manager = manager

        def check() -> None:
            if manager.count() > self.budget.nodes or time.monotonic() > deadline:
                raise BudgetError(
                    f"compiling over {len(blocks)} variables went past the budget of {self.budget.nodes} nodes or "
                    f"{self.budget.seconds:g} s",
                    where=self.source.label(self.source.scopes[node])[:200],
                    hint="let the proofs of one answer exclude each other (branch on the value of one image at a time)",
                )

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
        result = diagrams[node]
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
        return self._read_back(result, blocks, {number: key for key, number in booleans.items()})

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

    def _read_back(self, root: SddNode, blocks: dict[int, list[int]], meaning: dict[int, tuple[int, int]]) -> int:
        target = self.target
        done: dict[int, int] = {}
        pending = [root]
        while pending:
            node = pending[-1]
            if node.id in done:
                pending.pop()
            elif node.is_true() or node.is_false():
                done[node.id] = TRUE if node.is_true() else FALSE
            elif node.is_literal():
                variable, mask = meaning[abs(node.literal)]
                if len(blocks[variable]) == 2:
                    done[node.id] = target.literal(variable, mask if node.literal > 0 else ~mask)
                else:
                    # "Not this value" weighs one: under the exactly-one constraint another value is stated elsewhere.
                    done[node.id] = target.literal(variable, mask) if node.literal > 0 else TRUE
            else:
                elements = [(p, s) for p, s in node.elements() if not s.is_false()]
                open_parts = [part for pair in elements for part in pair if part.id not in done]
                if open_parts:
                    pending.extend(open_parts)
                else:
                    done[node.id] = target.plain_or(
                        [target.plain_and([done[prime.id], done[sub.id]]) for prime, sub in elements]
                    )
        return done[root.id]
