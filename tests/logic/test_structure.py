"""The exclusion prover: what it calls a circuit is one, and the usual shapes are recognised."""

from __future__ import annotations

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import Built, built_formulas, false_sums, new_formula, truth_tables

from nesy_gedi.logic import structure
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.formula import Formula
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.structure import ExclusionProver, Violation, find_violations


@examples(300)
@given(built_formulas())
def test_a_node_without_violation_may_add_or_multiply(built: Built) -> None:
    found = {violation.node for violation in find_violations(built.formula, built.roots)}
    assert false_sums(built.formula, built.roots) <= found


@examples(100)
@given(built_formulas(max_steps=14))
def test_every_proof_of_exclusion_and_every_implication_is_true(built: Built) -> None:
    formula = built.formula
    nodes = formula.reachable([node for node, _ in built.nodes])
    tables = truth_tables(formula, nodes)
    prover = ExclusionProver(formula)
    for node in nodes:
        prover.learn(node)
        for implied, holds in ((prover.if_true[node], tables[node]), (prover.if_false[node], ~tables[node])):
            for variable, mask in implied.items():
                for value in range(built.sizes[variable]):
                    if not mask >> value & 1:
                        assert not holds.take(value, axis=variable).any()
    for k, a in enumerate(nodes):
        for b in nodes[:k]:
            if prover.excludes(a, b):
                assert not (tables[a] & tables[b]).any(), (formula.nodes[a], formula.nodes[b])


@examples(50)
@given(built_formulas(), st.integers(0, 3))
def test_running_out_of_comparisons_only_adds_violations(built: Built, limit: int) -> None:
    usually = find_violations(built.formula, built.roots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "EXCLUSION_LIMIT", limit)
        assert set(usually) <= set(find_violations(built.formula, built.roots))


def by_hand() -> tuple[Formula, list[int]]:
    formula = new_formula([3, 2, 2])
    return formula, [formula.literal(0, 1), formula.literal(0, 2), formula.literal(1, 1), formula.literal(2, 1)]


class TestByHand:
    def test_branches_on_one_variable_exclude_each_other(self) -> None:
        formula, (first, second, x, y) = by_hand()
        root = formula.plain_or([formula.plain_and([first, x]), formula.plain_and([second, y])])
        assert find_violations(formula, [root]) == []

    def test_alternatives_that_can_hold_together(self) -> None:
        formula, (_, _, x, y) = by_hand()
        root = formula.plain_or([x, y])
        assert find_violations(formula, [root]) == [Violation(root, "deterministic")]

    def test_a_conjunction_that_reads_a_variable_twice(self) -> None:
        formula, (first, second, x, y) = by_hand()
        left = formula.plain_or([formula.plain_and([first, x]), formula.plain_and([second, y])])
        right = formula.plain_or([formula.plain_and([first, y]), formula.plain_and([second, x])])
        root = formula.plain_and([left, right])
        assert find_violations(formula, [root]) == [Violation(root, "decomposable")]

    def test_a_negated_sibling_excludes(self) -> None:
        formula, (first, _, x, y) = by_hand()
        both = formula.plain_and([x, y])
        root = formula.plain_or([both, formula.plain_and([formula.negate(both), first])])
        assert find_violations(formula, [root]) == []

    def test_nodes_that_no_root_reaches_do_not_count(self) -> None:
        formula, (_, _, x, y) = by_hand()
        formula.plain_or([x, y])
        assert find_violations(formula, [formula.plain_and([x, y])]) == []


DIGITS = "nn(net, [X], D, [0..9]) :: digit(X, D).\n"


@pytest.mark.parametrize(
    ("rules", "goal"),
    [
        (DIGITS + "sum(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.", "sum(X, Y, S)"),
        (DIGITS + "sum(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.", "sum(X, X, S)"),
        (DIGITS + "less(X, Y, yes) :- digit(X, A), digit(Y, B), A < B.", "less(X, Y, R)"),
        (
            DIGITS + "parity([], 0).\nparity([X|Xs], P) :- digit(X, D), parity(Xs, Q), P is (D + Q) mod 2.",
            "parity([A, B, C, D, E, F], P)",
        ),
    ],
    ids=["sum", "double", "less", "parity"],
)
def test_programs_that_branch_on_one_image_at_a_time_are_circuits(rules: str, goal: str) -> None:
    program = Program(rules)
    grounded = ground(program, [read_form(program, goal).goal()])
    assert find_violations(grounded.formula, [node for _, node in grounded.answers]) == []


def test_a_program_whose_proofs_overlap_is_not() -> None:
    program = Program("0.4::a. 0.5::b. 0.6::c.\np :- a, b.\np :- b, c.\np :- a, c.\nquery(p).")
    grounded = ground(program)
    assert find_violations(grounded.formula, [node for _, node in grounded.answers])
