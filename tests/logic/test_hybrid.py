"""Hybrid circuits: never a violation, the meaning kept, and an SDD only for what needs one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import Built, Table, built_formulas, false_sums, literal_table, new_formula, to_circuit, truth_tables

from nesy_gedi.logic import hybrid
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.compilation import compile_form
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.formula import FALSE, TRUE, Formula, Literal, Or
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.hybrid import Extract, extract_circuit
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.structure import find_violations


@pytest.fixture(params=["branching", "sdd", "both"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How parts are compiled: by branching, by SDDs, or the smaller ones by branching."""
    base, factor = {"branching": (10**6, 30), "sdd": (-(10**9), 0), "both": (25, 0)}[request.param]
    monkeypatch.setattr(hybrid, "BRANCHING_BASE", base)
    monkeypatch.setattr(hybrid, "BRANCHING_FACTOR", factor)
    monkeypatch.setattr(hybrid, "BRANCHING_LIMIT", 10**7)
    return str(request.param)


def extracted(formula: Formula, roots: list[int]) -> Extract:
    violating = {violation.node for violation in find_violations(formula, roots)}
    return extract_circuit(formula, roots, violating, Budget())


def assert_same(formula: Formula, roots: list[int], meant: list[Table]) -> Extract:
    sizes = [len(variable.weights) for variable in formula.variables]
    made = extracted(formula, roots)
    assert false_sums(made.formula, made.roots) == set()
    assert made.formula.variables == formula.variables
    assert [len(variable.weights) for variable in formula.variables] == sizes
    tables = truth_tables(made.formula, made.roots)
    for root, table in zip(made.roots, meant, strict=True):
        assert np.array_equal(tables[root], table)
    return made


@examples(150)
@given(built_formulas())
def test_any_formula_becomes_an_equivalent_circuit(way: str, built: Built) -> None:
    made = assert_same(built.formula, built.roots, built.meant)
    if way != "both":
        assert not (made.compiled if way == "branching" else made.branched)


@st.composite
def overlapping_modules(draw: st.DrawFn) -> tuple[Formula, list[int], list[Table]]:
    """Proofs that overlap over blocks of two variables, which they see through a few nodes each."""
    blocks = draw(st.integers(2, 4))
    sizes = [draw(st.sampled_from([2, 2, 3])) for _ in range(2 * blocks)]
    formula = new_formula(sizes)
    seen: list[list[tuple[int, Table]]] = []
    for block in range(blocks):
        x, y = 2 * block, 2 * block + 1
        # The sum of two variables: nodes that exclude each other and cover all worlds.
        sums: list[tuple[int, Table]] = []
        for total in range(sizes[x] + sizes[y] - 1):
            pairs = [(a, total - a) for a in range(sizes[x]) if 0 <= total - a < sizes[y]]
            node = formula.plain_or(
                [formula.plain_and([formula.literal(x, 1 << a), formula.literal(y, 1 << b)]) for a, b in pairs]
            )
            tables = [literal_table(sizes, x, 1 << a) & literal_table(sizes, y, 1 << b) for a, b in pairs]
            sums.append((node, np.logical_or.reduce(tables)))
        kept = draw(st.lists(st.sampled_from(sums), min_size=1, max_size=3, unique_by=lambda pair: pair[0]))
        seen.append(kept + [(formula.negate(node), ~table) for node, table in kept])
    proofs: list[tuple[int, Table]] = []
    for _ in range(draw(st.integers(2, 4))):
        chosen = [draw(st.sampled_from(seen[k])) for k in range(blocks) if draw(st.integers(0, 3))]
        if chosen:
            table = np.logical_and.reduce([table for _, table in chosen])
            proofs.append((formula.conjoin([node for node, _ in chosen]), table))
    if not proofs:
        return formula, [FALSE], [np.zeros(sizes, dtype=bool)]
    root = formula.disjoin([node for node, _ in proofs])
    table = np.logical_or.reduce([table for _, table in proofs])
    return formula, [root, formula.negate(root)], [table, ~table]


@examples(100)
@given(overlapping_modules())
def test_modules_stand_as_variables(way: str, built: tuple[Formula, list[int], list[Table]]) -> None:
    assert_same(*built)


def two_of_three(formula: Formula, first: int) -> int:
    a, b, c = (formula.literal(first + k, 1) for k in range(3))
    return formula.disjoin([formula.conjoin(pair) for pair in ((a, b), (b, c), (a, c))])


class TestByHand:
    def test_parts_that_share_no_variable_are_compiled_apart(self, way: str) -> None:
        formula = new_formula([2] * 6)
        parts = [two_of_three(formula, 0), two_of_three(formula, 3)]
        for root in (formula.conjoin(parts), formula.disjoin(parts), formula.negate(formula.conjoin(parts))):
            made = assert_same(formula, [root], [truth_tables(formula, [root])[root]])
            assert made.compiled | made.branched == set(parts)

    def test_what_excludes_is_compiled_apart(self, way: str) -> None:
        formula = new_formula([3, 2, 2, 2])
        one = [formula.plain_and([formula.literal(0, 1), formula.literal(k, 1)]) for k in (1, 2)]
        other = formula.plain_and([formula.literal(0, 2), formula.literal(3, 1)])
        root = formula.plain_or([*one, other])
        made = assert_same(formula, [root], [truth_tables(formula, [root])[root]])
        assert made.compiled | made.branched == {root}
        assert isinstance(made.formula.nodes[made.roots[0]], Or)

    def test_a_certain_answer_is_found_to_be_certain(self) -> None:
        # Of four images and three colours two are alike.
        formula = new_formula([3] * 4)

        def alike(x: int, y: int) -> int:
            values = [formula.plain_and([formula.literal(x, 1 << v), formula.literal(y, 1 << v)]) for v in range(3)]
            return formula.plain_or(values)

        root = formula.disjoin([alike(x, y) for x in range(4) for y in range(x)])
        assert to_circuit(formula, [root, formula.negate(root)])[1] == [TRUE, FALSE]

    def test_nothing_is_left_of_what_was_given_up(self, way: str) -> None:
        formula = new_formula([2] * 3)
        made = extracted(formula, [two_of_three(formula, 0)])
        assert len(made.formula.reachable([FALSE, TRUE, *made.roots])) == len(made.formula)

    def test_modules_of_modules(self) -> None:
        # What is found while modules stand as variables is made of these.
        text = (
            "1.0::f0.\n0.05::a0(0); 0.25::a0(1).\nr00 :- r01, \\+ a0(0).\n0.4::r01 :- r00.\n"
            "r01 :- (\\+ f0, f0), r01.\n0.4::r01 :- (a0(1) ; \\+ a0(1)), a0(1).\nr10 :- r10.\n0.4::r10 :- \\+ r01.\n"
            "r10 :- \\+ a0(1), a0(0), \\+ f0.\nevidence(r01, false).\nevidence(r10, false).\nquery(a0(1)).\nquery(r01).\n"
        )
        # Only the last fact and the choice of 1 tell the worlds apart: r01 is (a0(1) and a fact of 0.4).
        assert answer_queries(Program(text)) == pytest.approx({"a0(1)": 0.25 * 0.6 / (1 - 0.25 * 0.4), "r01": 0.0})


LONG_SUMS = """
nn(net, [X], D, [0..9]) :: digit(X, D).
sum([], 0).
sum([X|Xs], S) :- digit(X, D), sum(Xs, Q), S is (D + Q) mod 10.
q(A, B, C, yes) :- sum(A, S), sum(B, S).
q(A, B, C, yes) :- sum(B, S), sum(C, S).
q(A, B, C, yes) :- sum(A, S), sum(C, S).
"""


def row(name: str, count: int) -> str:
    return "[" + ",".join(f"{name}{k}" for k in range(count)) + "]"


class TestLongSumsThatOverlap:
    """Do two of three sums of six digits agree? The sums are modules of ten values; the SDD sees three variables."""

    @pytest.fixture
    def form(self) -> str:
        return f"q({row('A', 6)}, {row('B', 6)}, {row('C', 6)}, R)"

    def test_the_sdd_sees_three_variables(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hybrid, "BRANCHING_BASE", -(10**9))
        monkeypatch.setattr(hybrid, "BRANCHING_FACTOR", 0)
        seen: list[int] = []
        compile_part = hybrid.SddCompiler.compile

        def spy(self: hybrid.SddCompiler, node: int) -> int:
            order = self.source.reachable([node])
            seen.append(len({w.variable for k in order if isinstance(w := self.source.nodes[k], Literal)}))
            return compile_part(self, node)

        monkeypatch.setattr(hybrid.SddCompiler, "compile", spy)
        program = Program(LONG_SUMS)
        circuit = compile_form(program, read_form(program, form))
        assert circuit.method == "sdd"
        # Proofs about different sums exclude each other, so each of the ten sums is a part of its own.
        assert seen == [3] * 10

    def test_the_answer_is_exact(self, form: str) -> None:
        made = Reasoner(Program(LONG_SUMS), form)
        assert made.circuit.method == "branched"
        generator = torch.Generator().manual_seed(0)
        log_p = torch.randn(4, 18, 10, generator=generator).log_softmax(2)
        sums = []
        slots = [item.slots[0] for item in made.inputs]
        for name in "ABC":
            total = torch.zeros(4, 10)
            total[:, 0] = 1.0
            for k in [j for j, slot in enumerate(slots) if slot.startswith(name)]:
                p = log_p[:, k].exp()
                total = torch.stack([(total * p[:, [(s - d) % 10 for d in range(10)]]).sum(1) for s in range(10)], 1)
            sums.append(total)
        one, two, three = sums
        joint = torch.einsum("za,zb,zc->zabc", one, two, three)
        index = torch.arange(10)
        a, b, c = index[:, None, None], index[None, :, None], index[None, None, :]
        expected = joint[:, (a == b) | (b == c) | (a == c)].sum(1)
        torch.testing.assert_close(made(log_p)[:, 0].exp(), expected, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(
    ("rules", "goal"),
    [
        ("0.3::a. 0.6::b.\np :- a.\np :- \\+ a, b.\nq :- \\+ p.", "q"),
        ("0.3::a. 0.2::x; 0.5::y :- a.\np :- x.\np :- y.\np :- \\+ a.", "p"),
        ("0.3::a. 0.2::x; 0.5::y :- a. 0.4::u; 0.6::v :- x.\np(1) :- u.\np(2) :- v.\np(3) :- y.", "p(N)"),
        ("nn(f, [X]) :: lit(X).\np(X, Y, 0) :- \\+ lit(X).\np(X, Y, 1) :- lit(X), lit(Y).", "p(X, Y, N)"),
        ("0.2::a(1); 0.3::a(2). p(N) :- a(N). p(0) :- \\+ a(1), \\+ a(2).", "p(N)"),
    ],
    ids=["negation", "body of a disjunction", "nested disjunctions", "Bernoulli networks", "none of the heads"],
)
def test_what_is_proven_a_circuit_as_it_is_grounded(rules: str, goal: str) -> None:
    program = Program(rules)
    grounded = ground(program, [read_form(program, goal).goal()])
    assert find_violations(grounded.formula, [node for _, node in grounded.answers]) == []
