"""Building a formula simplifies it; every simplification must keep the truth in every world."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import Built, built_formulas, literal_table, new_formula, truth_tables

from nesy_gedi.logic import formula as module
from nesy_gedi.logic.formula import FALSE, TRUE, And, Constant, Formula, Literal, Not, Or, values_of

A, B, C, D = 1, 2, 4, 8


def assert_kept(built: Built) -> None:
    tables = truth_tables(built.formula, [node for node, _ in built.nodes])
    for node, meant in built.nodes:
        assert np.array_equal(tables[node], meant), built.formula.nodes[node]


@examples(300)
@given(built_formulas())
def test_what_is_built_means_what_was_said(built: Built) -> None:
    assert_kept(built)


@examples(100)
@given(st.integers(0, 8), st.data())
def test_giving_up_on_conditioning_keeps_the_meaning(limit: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CONDITIONING_LIMIT", limit)
        assert_kept(data.draw(built_formulas()))


@examples(100)
@given(built_formulas())
def test_scopes_cover_what_a_node_depends_on(built: Built) -> None:
    tables = truth_tables(built.formula, [node for node, _ in built.nodes])
    for node, table in tables.items():
        for axis in range(len(built.sizes)):
            depends = bool((table != np.take(table, [0], axis)).any())
            assert built.formula.scopes[node] >> axis & 1 or not depends


@examples(100)
@given(built_formulas())
def test_conditioning_agrees_where_the_literal_holds(built: Built) -> None:
    formula, sizes = built.formula, built.sizes
    for variable, size in enumerate(sizes):
        for given_mask in {1, (1 << size) - 2}:
            world = literal_table(sizes, variable, given_mask)
            pairs = [(node, formula._condition(node, Literal(variable, given_mask))) for node in built.roots]
            tables = truth_tables(formula, [node for pair in pairs for node in pair])
            for node, narrowed in pairs:
                assert np.array_equal(tables[node] & world, tables[narrowed] & world)


@examples(100)
@given(built_formulas())
def test_children_come_first_and_nothing_trivial_is_kept(built: Built) -> None:
    formula = built.formula
    for number, node in enumerate(formula.nodes):
        if isinstance(node, (And, Or)):
            assert len(node.children) >= 2
            assert list(node.children) == sorted(set(node.children))
            assert node.children[0] > TRUE
            assert node.children[-1] < number
        elif isinstance(node, Not):
            assert not isinstance(formula.nodes[node.child], (Not, Literal))
            assert TRUE < node.child < number
        elif isinstance(node, Literal):
            assert 0 < node.mask < formula.variables[node.variable].full


def test_a_conjunction_and_a_disjunction_of_the_same_nodes_are_two_nodes() -> None:
    formula = new_formula([2, 2, 2, 2])
    a, b, c, d = (formula.literal(k, 1) for k in range(4))
    first = formula.plain_or([formula.conjoin([a, b]), formula.conjoin([c, d])])
    second = formula.plain_or([formula.conjoin([a, c]), formula.conjoin([b, d])])
    assert And((first, second)) == Or((first, second))  # named tuples compare by their fields
    both, either = formula.conjoin([first, second]), formula.disjoin([first, second])
    assert both != either
    assert isinstance(formula.nodes[both], And)
    assert isinstance(formula.nodes[either], Or)


class TestLiterals:
    def test_values_of_one_variable_are_one_literal(self) -> None:
        formula = new_formula([4])
        two = formula.disjoin([formula.literal(0, A), formula.literal(0, C)])
        assert formula.nodes[two] == Literal(0, A | C)
        assert formula.conjoin([two, formula.literal(0, B | C)]) == formula.literal(0, C)
        assert formula.negate(two) == formula.literal(0, B | D)

    def test_all_values_are_certain_and_none_impossible(self) -> None:
        formula = new_formula([4])
        assert formula.literal(0, A | B | C | D) == TRUE
        assert formula.literal(0, 0) == FALSE
        assert formula.disjoin([formula.literal(0, A), formula.literal(0, B | C | D)]) == TRUE
        assert formula.conjoin([formula.literal(0, A), formula.literal(0, B)]) == FALSE

    def test_values_of_lists_bits_in_order(self) -> None:
        assert list(values_of(0)) == []
        assert list(values_of(1 << 200 | 0b1010)) == [1, 3, 200]


class TestConnectives:
    def test_constants_fold(self) -> None:
        formula = new_formula([2, 2])
        a = formula.literal(0, 1)
        assert formula.conjoin([]) == TRUE
        assert formula.disjoin([]) == FALSE
        assert formula.conjoin([a, TRUE]) == formula.disjoin([a, FALSE]) == a
        assert formula.conjoin([a, FALSE]) == FALSE
        assert formula.disjoin([a, TRUE]) == TRUE

    def test_a_node_and_its_negation(self) -> None:
        formula = new_formula([2, 2])
        both = formula.conjoin([formula.literal(0, 1), formula.literal(1, 1)])
        assert formula.negate(formula.negate(both)) == both
        assert formula.conjoin([both, formula.negate(both)]) == FALSE
        assert formula.disjoin([both, formula.negate(both)]) == TRUE

    def test_a_literal_is_propagated_into_its_siblings(self) -> None:
        formula = new_formula([3, 2, 2])
        a, x, y = formula.literal(0, A), formula.literal(1, 1), formula.literal(2, 1)
        chosen = formula.disjoin([formula.conjoin([a, x]), formula.conjoin([formula.literal(0, B), y])])
        assert formula.conjoin([chosen, a]) == formula.conjoin([a, x])
        assert formula.conjoin([chosen, formula.literal(0, C)]) == FALSE

    def test_independent_alternatives_become_a_negated_conjunction(self) -> None:
        formula = new_formula([2, 2])
        either = formula.nodes[formula.disjoin([formula.literal(0, 1), formula.literal(1, 1)])]
        assert isinstance(either, Not)
        none = formula.nodes[either.child]
        assert none == And((formula.literal(0, 2), formula.literal(1, 2)))

    def test_equal_nodes_are_shared(self) -> None:
        formula = new_formula([2, 2])
        a, b = formula.literal(0, 1), formula.literal(1, 1)
        assert formula.conjoin([a, b]) == formula.conjoin([b, a, b])

    def test_restore_refuses_a_node_before_its_child(self) -> None:
        with pytest.raises(ValueError, match="before its child"):
            Formula().restore(And((5, 6)))


class TestDecidedSiblings:
    """``x + y = 2 and x * y = 1``: each part of the sum says whether the product holds."""

    def formula(self) -> tuple[Formula, list[int], int]:
        formula = new_formula([3, 3])
        cells = [formula.conjoin([formula.literal(0, 1 << a), formula.literal(1, 1 << 2 - a)]) for a in range(3)]
        return formula, cells, formula.disjoin(cells)

    def test_keep_the_parts_that_agree(self) -> None:
        formula, cells, total = self.formula()
        others = [formula.conjoin([formula.literal(0, mask), formula.literal(1, mask)]) for mask in (A, B, C)]
        assert formula.conjoin([total, formula.disjoin(others)]) == cells[1]
        some = formula.disjoin([cells[0], cells[1], others[0]])
        assert formula.nodes[formula.conjoin([total, some])] == Or((cells[0], cells[1]))

    def test_a_sibling_that_agrees_with_no_part_makes_it_false(self) -> None:
        formula, _, total = self.formula()
        one = [formula.conjoin([formula.literal(0, a), formula.literal(1, b)]) for a, b in ((A, B), (B, A))]
        assert formula.conjoin([total, formula.disjoin(one)]) == FALSE

    def test_a_negation_is_decided_too(self) -> None:
        formula, cells, total = self.formula()
        either = formula.disjoin([formula.literal(0, A), formula.literal(1, A)])  # x = 0 or y = 0
        assert formula.nodes[formula.conjoin([total, either])] == Or((cells[0], cells[2]))

    def test_a_sibling_that_a_part_leaves_open_stays(self) -> None:
        formula = new_formula([3, 3, 3])

        def either(x: int, y: int, other_y: int, z: int) -> int:
            first = formula.conjoin([formula.literal(0, x), formula.literal(1, y)])
            return formula.disjoin([first, formula.conjoin([formula.literal(1, other_y), formula.literal(2, z)])])

        one, other = either(A, B, C, C), either(B, C, B, A)
        assert formula.nodes[formula.conjoin([one, other])] == And(tuple(sorted((one, other))))


class TestConstant:
    def test_the_complement_of_a_tiny_probability_keeps_its_digits(self) -> None:
        assert Constant(1e-20, complement=True).log() == -1e-20
        assert Constant(0.25, complement=True).log() == pytest.approx(np.log(0.75), rel=1e-15)

    def test_zero_and_one(self) -> None:
        assert Constant(0.0).log() == Constant(1.0, complement=True).log() == -np.inf
        assert Constant(1.0).log() == Constant(0.0, complement=True).log() == 0.0
