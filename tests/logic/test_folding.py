"""Folding of constants: the same probabilities to the last digits, fewer nodes, still a circuit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import Built, built_formulas, false_sums, new_formula, to_circuit, truth_tables

from nesy_gedi.logic.compilation import Circuit, compile_form
from nesy_gedi.logic.folding import fold_constants
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.formula import Constant, Formula, Literal, Neural, Not, Truth, Variable, Weight, children_of
from nesy_gedi.logic.modules import count_models, covers_all_worlds
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

EXACT = 1e-12


def constant_log(weight: Weight) -> float:
    assert isinstance(weight, Constant)
    return weight.log()


def only_used(formula: Formula, roots: list[int]) -> tuple[Formula, list[int], list[int]]:
    """A copy over the variables that the roots mention, the roots in it, and these variables."""
    used = [k for k in range(len(formula.variables)) if any(formula.scopes[root] >> k & 1 for root in roots)]
    small = Formula([formula.variables[k] for k in used])
    copied: dict[int, int] = {}
    for number in formula.reachable(roots):
        what = formula.nodes[number]
        if isinstance(what, Literal):
            copied[number] = small.restore(Literal(used.index(what.variable), what.mask))
        elif isinstance(what, Truth):
            copied[number] = int(what.value)
        elif isinstance(what, Not):
            copied[number] = small.restore(Not(copied[what.child]))
        else:
            copied[number] = small.restore(type(what)(tuple(copied[child] for child in children_of(what))))
    return small, [copied[root] for root in roots], used


def probabilities(formula: Formula, roots: list[int], numbers: list[np.ndarray]) -> list[float]:
    """By enumeration of the worlds of the variables that the roots mention."""
    small, found, used = only_used(formula, roots)
    assert false_sums(small, found) == set()
    joint = np.ones(())
    for k in used:
        joint = np.multiply.outer(joint, numbers[k])
    tables = truth_tables(small, found)
    return [float((tables[root] * joint).sum()) for root in found]


@examples(200)
@given(built_formulas(max_variables=5), st.data())
def test_probabilities_are_those_of_the_worlds(built: Built, data: st.DataObject) -> None:
    formula, roots = to_circuit(built.formula, built.roots)
    numbers = []
    for k, size in enumerate(built.sizes):
        parts = np.array(data.draw(st.lists(st.integers(0, 9), min_size=size, max_size=size).filter(any)))
        numbers.append(parts / parts.sum())
        if data.draw(st.integers(0, 3)):
            weights: tuple[Constant | Neural, ...] = tuple(Constant(float(p)) for p in numbers[-1])
        else:
            weights = tuple(Neural("net", (f"X{k}",), entry) for entry in range(size))
        formula.variables[k] = Variable(f"v{k}", weights)
    expected = probabilities(formula, roots, numbers)
    before = len(formula.reachable(roots))
    folded, found = fold_constants(formula, roots)
    for variable in folded.variables[len(numbers) :]:
        numbers.append(np.exp([constant_log(weight) for weight in variable.weights]))
        assert numbers[-1].sum() == pytest.approx(1.0, abs=EXACT)
    assert probabilities(folded, found, numbers) == pytest.approx(expected, abs=EXACT, rel=EXACT)
    assert len(folded.reachable(found)) <= before


@examples(100)
@given(built_formulas())
def test_models_are_counted_exactly(built: Built) -> None:
    formula, roots = to_circuit(built.formula, built.roots)
    tables = truth_tables(formula, roots)
    counts = count_models(formula, roots)
    for node in roots:
        unused = math.prod(size for k, size in enumerate(built.sizes) if not formula.scopes[node] >> k & 1)
        assert counts[node] * unused == tables[node].sum()
        assert covers_all_worlds(formula, [node]) == tables[node].all()


PROGRAM = """
nn(net, [X], D, [a, b]) :: image(X, D).
0.2::s(1). 0.3::s(2). 0.4::s(3). 0.1::s(4).
noise :- s(1), s(2).
noise :- s(2), s(3).
noise :- s(3), s(4).
0.3::kind(x); 0.5::kind(y).
0.6::sub(u); 0.4::sub(v) :- kind(x).
q(X, yes) :- image(X, a), \\+ noise.
q(X, yes) :- image(X, b), noise.
q(X, no) :- image(X, a), noise.
q(X, no) :- image(X, b), \\+ noise, sub(u).
"""


def circuit(text: str, form: str, *, fold: bool = True) -> Circuit:
    program = Program(text)
    made = compile_form(program, read_form(program, form))
    if not fold:
        return made
    formula, roots = fold_constants(made.formula, made.roots)
    return replace(made, formula=formula, roots=tuple(roots))


class TestPrograms:
    def test_noise_is_one_number(self) -> None:
        whole, folded = circuit(PROGRAM, "q(X, R)", fold=False), circuit(PROGRAM, "q(X, R)")
        assert folded.size()[0] < whole.size()[0]
        used = folded.formula.scopes[folded.roots[0]] | folded.formula.scopes[folded.roots[1]]
        assert used.bit_count() == 3  # the image, the noise, and what the second answer needs beside it
        program = Program(PROGRAM)
        log_p = torch.tensor([[0.3, 0.7], [1.0, 0.0]]).log()
        made = [Reasoner.of_circuit(program, which) for which in (whole, folded)]
        for one in made:
            assert one.answers == ("no", "yes")
        values = [one({"X": log_p}) for one in made]
        torch.testing.assert_close(*values, atol=EXACT, rtol=EXACT)

    def test_by_hand(self) -> None:
        # P(noise) over four facts, by inclusion and exclusion of the three proofs.
        p12, p23, p34, p123, p234, p1234 = 0.06, 0.12, 0.04, 0.024, 0.012, 0.0024
        noise = p12 + p23 + p34 - p123 - p1234 - p234 + p1234
        folded = Reasoner(Program(PROGRAM), "q(X, R)")
        found = folded({"X": torch.tensor([[0.3, 0.7]]).log()})[0].exp()
        sub = 0.3 * 0.6
        torch.testing.assert_close(
            found,
            torch.tensor([0.3 * noise + 0.7 * (1 - noise) * sub, 0.3 * (1 - noise) + 0.7 * noise]),
            atol=EXACT,
            rtol=EXACT,
        )

    def test_the_complement_of_what_is_nearly_certain_keeps_its_digits(self) -> None:
        rules = "0.999999999::a. 0.999999999::b.\nboth :- a, b.\n"
        text = "nn(net, [X], D, [a, b]) :: image(X, D).\n" + rules + "q(X, D) :- image(X, D), \\+ both."
        made = Reasoner(Program(text), "q(X, D)")
        found = float(made({"X": torch.tensor([[0.5, 0.5]]).log()})[0, 0])
        e = 1 - 0.999999999
        assert found == pytest.approx(math.log(0.5) + math.log(2 * e - e * e), abs=EXACT)

    def test_learned_probabilities_and_networks_are_not_folded(self) -> None:
        text = "nn(net, [X]) :: lit(X). t(0.5)::a. t(0.5)::b.\nq(X, 1) :- lit(X), a, b."
        whole, folded = circuit(text, "q(X, R)", fold=False), circuit(text, "q(X, R)")
        assert folded.formula.nodes == whole.formula.nodes


def test_what_a_float_cannot_hold_is_not_folded() -> None:
    tiny = Variable("tiny", (Constant(1e-60), Constant(1e-60, complement=True)))
    formula = Formula([tiny] * 6)
    roots = [formula.plain_and([formula.literal(k, 1) for k in range(count)]) for count in (2, 6)]
    assert fold_constants(formula, roots[1:]) == (formula, roots[1:])
    folded, (root,) = fold_constants(formula, roots[:1])
    assert constant_log(folded.variables[-1].weights[0]) == pytest.approx(2 * math.log(1e-60), rel=EXACT)
    assert isinstance(folded.nodes[root], Literal)


def test_a_module_with_a_network_stays() -> None:
    formula = new_formula([2, 2, 2])
    formula.variables[0] = Variable("x", (Neural("net", ("X",), 0), Neural("net", ("X",), 1)))
    pair = formula.plain_and([formula.literal(0, 1), formula.literal(1, 1)])
    assert fold_constants(formula, [pair]) == (formula, [pair])
