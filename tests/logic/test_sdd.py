"""Knowledge compilation: equivalent, a circuit by construction, within its budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from worlds import Built, built_formulas, false_sums, new_formula, to_circuit, truth_tables

from nesy_gedi.errors import BudgetError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.formula import FALSE, TRUE, Formula, Not
from nesy_gedi.logic.hybrid import extract_circuit
from nesy_gedi.logic.negation import Negation
from nesy_gedi.logic.sdd import SddCompiler
from nesy_gedi.logic.structure import find_violations


def assert_circuit(built: Built, target: Formula, roots: list[int]) -> None:
    assert false_sums(target, roots) == set()
    tables = truth_tables(target, roots)
    for root, meant in zip(roots, built.meant, strict=True):
        assert np.array_equal(tables[root], meant)


@examples(150)
@given(built_formulas())
def test_compiling_everything_keeps_the_meaning(built: Built) -> None:
    target = Formula(built.formula.variables)
    compiler = SddCompiler(built.formula, target, Budget())
    assert_circuit(built, target, [compiler.compile(root) for root in built.roots])


@examples(200)
@given(built_formulas())
def test_compiling_what_violates_keeps_the_meaning(built: Built) -> None:
    target, roots = to_circuit(built.formula, built.roots)
    assert_circuit(built, target, roots)


@examples(100)
@given(built_formulas())
def test_negations_are_circuits_too(built: Built) -> None:
    target, roots = to_circuit(built.formula, built.roots)
    negation = Negation(target)
    denied = [negation(root) for root in roots]
    assert false_sums(target, denied) == set()
    tables = truth_tables(target, denied)
    for root, meant in zip(denied, built.meant, strict=True):
        assert np.array_equal(tables[root], ~meant)


def two_of_three(formula: Formula) -> int:
    """At least two of the first three variables take their value 0: not deterministic as written."""
    a, b, c = (formula.literal(k, 1) for k in range(3))
    return formula.disjoin([formula.conjoin(pair) for pair in ((a, b), (b, c), (a, c))])


class TestExtraction:
    def test_a_circuit_is_copied_without_what_no_root_needs(self) -> None:
        formula = new_formula([3, 2, 2])
        kept = formula.conjoin([formula.literal(0, 1), formula.literal(1, 1)])
        formula.conjoin([formula.literal(0, 2), formula.literal(2, 1)])
        target, (root,), *_ = extract_circuit(formula, [kept], set(), Budget())
        assert target.nodes[root] == formula.nodes[kept]
        assert len(target) == 5  # two constants, two literals, the conjunction

    def test_only_what_violates_is_compiled(self) -> None:
        formula = new_formula([2, 2, 2, 3])
        inner = two_of_three(formula)
        top = formula.conjoin([inner, formula.literal(3, 1)])
        violating = {violation.node for violation in find_violations(formula, [top])}
        assert violating == {inner}
        target, (root,), *_ = extract_circuit(formula, [top], violating, Budget())
        assert false_sums(target, [root]) == set()
        assert np.array_equal(truth_tables(target, [root])[root], truth_tables(formula, [top])[top])

    def test_the_negation_of_what_violates_needs_no_subtraction(self) -> None:
        formula = new_formula([2] * 6)
        three_of_six = itertools.combinations([formula.literal(k, 1) for k in range(6)], 3)
        root = formula.negate(formula.disjoin([formula.conjoin(three) for three in three_of_six]))
        target, (compiled,) = to_circuit(formula, [root])
        assert not any(isinstance(target.nodes[node], Not) for node in target.reachable([compiled]))
        assert np.array_equal(truth_tables(target, [compiled])[compiled], truth_tables(formula, [root])[root])

    def test_constants_and_equivalences_that_only_compiling_reveals(self) -> None:
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        x = formula.disjoin([formula.conjoin([a, b]), formula.conjoin([b, c])])
        y = formula.conjoin([b, formula.disjoin([a, c])])
        same = formula.conjoin([formula.disjoin([x, formula.negate(y)]), formula.disjoin([y, formula.negate(x)])])
        target = Formula(formula.variables)
        compiler = SddCompiler(formula, target, Budget())
        assert compiler.compile(same) == TRUE
        assert compiler.compile(formula.negate(same)) == FALSE


@pytest.mark.parametrize("size", [2, 3, 5, 12])
def test_values_that_no_literal_tells_apart_share_a_boolean(size: int) -> None:
    formula = new_formula([size, size, 2])
    high = (1 << size) - 2
    low_x, low_y, high_x = formula.literal(0, 1), formula.literal(1, 1), formula.literal(0, high)
    root = formula.plain_or([formula.conjoin([low_x, low_y]), formula.conjoin([high_x, formula.literal(2, 1)]), low_y])
    target, (compiled,) = to_circuit(formula, [root])
    assert np.array_equal(truth_tables(target, [compiled])[compiled], truth_tables(formula, [root])[root])


class TestNegation:
    def assert_denied(self, formula: Formula, node: int, *, subtractions: bool = False) -> None:
        denied = Negation(formula)(node)
        assert false_sums(formula, [denied]) == set()
        tables = truth_tables(formula, [node, denied])
        assert np.array_equal(tables[denied], ~tables[node])
        assert any(isinstance(formula.nodes[below], Not) for below in formula.reachable([denied])) == subtractions

    def test_a_conjunction(self) -> None:
        formula = new_formula([2, 3, 2, 4, 2])
        self.assert_denied(formula, formula.plain_and([formula.literal(k, 1) for k in range(5)]))

    def test_a_disjunction_that_branches(self) -> None:
        formula = new_formula([4, 2, 2])
        x, y = formula.literal(1, 1), formula.literal(2, 1)
        branches = [(0b0001, [x]), (0b0010, [x, y]), (0b0100, [])]
        parts = [formula.plain_and([formula.literal(0, mask), *rest]) for mask, rest in branches]
        self.assert_denied(formula, formula.plain_or(parts))

    def test_several_parts_of_one_branch(self) -> None:
        formula = new_formula([3, 3, 2, 2])
        v, x, y = formula.literal(0, 1), formula.literal(2, 1), formula.literal(3, 1)
        parts = [formula.plain_and([v, formula.literal(1, 1), x]), formula.plain_and([v, formula.literal(1, 2), y])]
        self.assert_denied(formula, formula.plain_or([*parts, formula.plain_and([formula.literal(0, 2), y])]))

    def test_one_part_of_a_branch_without_literals(self) -> None:
        formula = new_formula([3, 2, 2, 2, 2])
        a, b, c, d = (formula.literal(k, 1) for k in range(1, 5))
        either = [formula.plain_or([x, formula.plain_and([formula.negate(x), y])]) for x, y in ((a, b), (c, d))]
        part = formula.plain_and([formula.literal(0, 1), *either])
        self.assert_denied(formula, formula.plain_or([part, formula.plain_and([formula.literal(0, 2), a])]))

    def test_nested_disjunctions_and_conjunctions(self) -> None:
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        inner = formula.plain_or([formula.negate(a), formula.plain_and([a, formula.negate(b)])])
        self.assert_denied(formula, formula.plain_or([inner, formula.plain_and([formula.plain_and([a, b]), c])]))

    def test_values_that_overlap_are_no_branches(self) -> None:
        formula = new_formula([3, 2, 2])
        b, c = formula.literal(1, 1), formula.literal(2, 1)
        either = formula.plain_or([b, formula.plain_and([formula.negate(b), c])])
        neither = formula.plain_and([formula.negate(b), formula.negate(c)])
        parts = [
            formula.plain_and([formula.literal(0, 0b011), either]),
            formula.plain_and([formula.literal(0, 0b110), neither]),
        ]
        self.assert_denied(formula, formula.plain_or(parts), subtractions=True)

    def test_alternatives_without_a_common_variable_keep_their_not(self) -> None:
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        na, nb, nc = (formula.negate(x) for x in (a, b, c))
        parts = [formula.plain_and(pair) for pair in ([a, nb], [b, nc], [c, na])]
        self.assert_denied(formula, formula.plain_or(parts), subtractions=True)


class TestBudget:
    def test_nodes(self) -> None:
        formula = new_formula([2, 2, 2])
        root = two_of_three(formula)
        with pytest.raises(BudgetError, match="3 variables went past the budget of 2 nodes") as raised:
            SddCompiler(formula, formula, Budget(nodes=2)).compile(root)
        assert "v0, v1, v2" in str(raised.value)
        assert raised.value.hint

    def test_seconds(self) -> None:
        formula = new_formula([2, 2, 2])
        with pytest.raises(BudgetError, match="0 s"):
            SddCompiler(formula, formula, Budget(seconds=0.0)).compile(two_of_three(formula))

    def test_a_circuit_costs_no_budget(self) -> None:
        formula = new_formula([2, 2])
        root = formula.conjoin([formula.literal(0, 1), formula.literal(1, 1)])
        to_circuit(formula, [root], Budget(nodes=0, seconds=0.0))
