"""Goals that are asked together: against sums over worlds, problog and deepproblog."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from itertools import product

import pytest
import torch
from bridge import compare_with_deepproblog
from fuzzing import examples
from hypothesis import given, note, reject
from hypothesis import strategies as st
from problog import get_evaluatable
from problog.errors import ProbLogError
from problog.program import PrologString
from reasoning import reasoner, rows
from test_random_programs import neural_programs, plain_programs
from tolerances import DEEPPROBLOG, EXACT, PROBLOG

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

DIGITS = """
nn(net, [X], D, [0..4]) :: digit(X, D).
nn(flag, [X]) :: lit(X).
addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.
product(X, Y, P) :- digit(X, A), digit(Y, B), P is A * B.
total([], 0).
total([X|T], S) :- digit(X, A), total(T, R), S is A + R.
larger(N, K) :- between(1, 2, J), K is N + J.
:- use_module(library(lists)).
0.3::noise(0); 0.7::noise(1).
slipped(X, S) :- digit(X, A), noise(N), S is A + N.
"""

World = dict[str, int]
"""The digit of each image, for example ``{"X": 3}``, and what the random choice says under ``noise``."""


def brute_force(form: str, slots: str, answer: Callable[[World], list[str]]) -> None:
    """The form's answers are those that hold in some world, with the sums of these worlds' probabilities."""
    made = reasoner(DIGITS, form)
    log_p = {slot: rows(3, 5, seed=k) for k, slot in enumerate(slots)}
    expected: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(3))
    for noise, share in ((0, 0.3), (1, 0.7)):
        for values in product(range(5), repeat=len(slots)):
            world = dict(zip(slots, values, strict=True))
            weight = torch.stack([log_p[slot][:, value] for slot, value in world.items()]).sum(0).exp() * share
            for text in answer(world | {"noise": noise}):
                expected[text] = expected[text] + weight
    assert set(made.answers) == set(expected)
    found = made({("net", slot): block for slot, block in log_p.items()}).exp()
    for text, weight in expected.items():
        torch.testing.assert_close(found[:, made.index(text)], weight, atol=EXACT, rtol=0.0)


@pytest.mark.parametrize(
    ("form", "slots", "answer"),
    [
        pytest.param(
            "addition(X, Y, S), product(X, Y, P)",
            "XY",
            lambda w: [f"{w['X'] + w['Y']},{w['X'] * w['Y']}"],
            id="sum and product",
        ),
        pytest.param(
            "addition(X, Y, S), product(Y, Z, P)",
            "XYZ",
            lambda w: [f"{w['X'] + w['Y']},{w['Y'] * w['Z']}"],
            id="one image shared",
        ),
        pytest.param(
            "addition(X, Y, N), product(X, Y, N)",
            "XY",
            lambda w: [str(w["X"] + w["Y"])] if w["X"] + w["Y"] == w["X"] * w["Y"] else [],
            id="a join",
        ),
        pytest.param(
            "digit(X, N), digit(Y, N), digit(Z, N)",
            "XYZ",
            lambda w: [str(w["X"])] if w["X"] == w["Y"] == w["Z"] else [],
            id="a join of three",
        ),
        pytest.param(
            "digit(X, N), larger(N, K)", "X", lambda w: [f"{w['X']},{w['X'] + j}" for j in (1, 2)], id="read on"
        ),
        pytest.param(
            "total([X, Y], S), total([Y, Z], T), digit(X, 2)",
            "XYZ",
            lambda w: [f"{w['X'] + w['Y']},{w['Y'] + w['Z']}"] if w["X"] == 2 else [],
            id="lists and a constant",
        ),
        pytest.param(
            "slipped(X, S), slipped(Y, T)",
            "XY",
            lambda w: [f"{w['X'] + w['noise']},{w['Y'] + w['noise']}"],
            id="one random choice for both",
        ),
    ],
)
def test_sums_over_worlds(form: str, slots: str, answer: Callable[[World], list[str]]) -> None:
    brute_force(form, slots, answer)


def test_several_networks_on_one_image() -> None:
    made = reasoner(DIGITS, "digit(X, D), lit(X)")
    digit, lit = rows(2, 5), rows(2, 2, seed=1)
    torch.testing.assert_close(made({("net", "X"): digit, ("flag", "X"): lit}), digit + lit[:, 1:], atol=EXACT, rtol=0)


def test_answers_are_in_the_order_of_their_numbers() -> None:
    answers = reasoner(DIGITS, "product(X, Y, P), addition(X, Y, S)").answers
    assert list(answers) == sorted(answers, key=lambda text: [int(part) for part in text.split(",")])
    assert (answers[0], answers[-1]) == ("0,0", "16,8")


def test_only_what_some_world_yields_is_an_answer() -> None:
    assert reasoner(DIGITS, "digit(X, A), digit(X, B)").answers == ("0,0", "1,1", "2,2", "3,3", "4,4")
    # Only the compilation finds that a,b never holds: no proof of one goal decides the other.
    rules = (
        "q(X, Y, Z, a) :- digit(X, 0), digit(Y, 0).\nq(X, Y, Z, a) :- digit(Y, 1), digit(Z, 0).\n"
        "r(X, Y, Z, b) :- digit(X, 1), digit(Y, 0).\nr(X, Y, Z, b) :- digit(Y, 1), digit(Z, 1).\n"
        "r(X, Y, Z, c) :- digit(X, 0).\n"
    )
    made = reasoner(DIGITS + rules, "q(X, Y, Z, A), r(X, Y, Z, B)")
    assert made.answers == ("a,c",)
    assert made.circuit.method == "branched"


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(ProgramError, match=r"no answer to digit\(X, 1\), digit\(X, 2\), digit\(Y, D\) can be derived"):
        reasoner(DIGITS, "digit(X, 1), digit(X, 2), digit(Y, D)")


def test_an_answer_that_only_evidence_rules_out_remains_one() -> None:
    made = reasoner(DIGITS + "evidence(noise(0)).\n", "slipped(X, S), noise(N)")
    assert set(made.answers) == {f"{d + n},{n}" for d in range(5) for n in (0, 1)}
    x = rows(2, 5)
    found = made({"X": x})
    for digit in range(5):
        torch.testing.assert_close(found[:, made.index(f"{digit},0")], x[:, digit], atol=EXACT, rtol=0.0)
        assert bool((found[:, made.index(f"{digit + 1},1")] == -torch.inf).all())


def test_an_output_that_stays_open_is_named_by_no_inner_goal() -> None:
    with pytest.raises(ProgramError, match="still contains variables") as raised:
        reasoner(DIGITS + "free(X, Z) :- lit(X).", "digit(X, D), free(X, Z)")
    assert "$" not in str(raised.value)


def test_a_trusted_program() -> None:
    made = Reasoner(Program(DIGITS, trusted=True), "digit(X, A), lit(Y)")
    assert made.answers == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    "form",
    [
        "addition(X, Y, S), product(X, Y, P)",
        "addition(X, Y, N), product(X, Y, N)",
        "digit(X, D), lit(X)",
        "slipped(X, S), slipped(Y, T)",
        "total([X, Y], S), digit(Z, S)",
    ],
)
def test_parity_with_deepproblog(form: str) -> None:
    value_gap, gradient_gap = compare_with_deepproblog(Program(DIGITS.replace("0..4", "0..2")), form)
    assert value_gap < DEEPPROBLOG
    assert gradient_gap < DEEPPROBLOG


@examples(20)
@given(neural_programs(), st.sampled_from(["q(Y, X, Other)", "c(Y, Value)", "q(Y, Z, Answer)", "helper(X)"]))
def test_random_programs_with_networks(text: str, second: str) -> None:
    note(text)
    slots = ("X", "Y", "Z") if "Z" in second else ("X", "Y")
    gaps = compare_with_deepproblog(Program(text), f"q(X, Y, Answer), {second}", slots=slots)
    assert max(gaps) < DEEPPROBLOG


def possible_answers(text: str, form: str) -> dict[str, float]:
    """The answers that are not impossible; evidence that is impossible raises, as with problog."""
    try:
        made = Reasoner(Program(text), form)
    except ProgramError as error:
        if "can be derived" not in error.message:
            raise
        return {}
    if float(made.log_evidence({})) == -torch.inf:
        raise ProgramError("the evidence is impossible")
    return {text: p for text, p in zip(made.answers, made({})[0].exp().tolist(), strict=True) if p}


@examples(60)
@given(plain_programs(), st.data())
def test_random_programs_with_a_rule_of_their_own(text: str, data: st.DataObject) -> None:
    lines = [line for line in text.splitlines() if not line.startswith("query(")]
    heads = {line.removeprefix("0.4::").split(" ")[0] for line in lines if line.startswith(("r", "0.4::r"))}
    goals = data.draw(st.lists(st.sampled_from(sorted(heads)), min_size=2, max_size=3))
    goals += data.draw(st.sampled_from([[], ["d(V)"], ["d(V)", "d(W)"]]))
    outputs = [name for name in "VW" if f"d({name})" in goals]
    form, head = ", ".join(goals), f"both({', '.join(outputs)})" if outputs else "both"
    plain = "\n".join(lines)
    own = f"{plain}\n{head} :- {form}.\nquery({head})."
    note(own)
    try:
        expected = get_evaluatable("sdd").create_from(PrologString(own)).evaluate()
    except ProbLogError as error:
        note(f"problog: {error}")
        with contextlib.suppress(ProgramError):
            assert possible_answers(plain, form) == {}  # nothing can be derived, whatever is observed
        return
    except AssertionError:
        reject()  # ProbLog's cycle breaking gives up when what is observed is certain anyway
    wanted = {",".join(map(str, term.args)) or "true": float(p) for term, p in expected.items() if float(p)}
    assert possible_answers(plain, form) == pytest.approx(wanted, rel=PROBLOG, abs=PROBLOG)
