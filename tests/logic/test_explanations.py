"""The most probable world of an answer, against all worlds."""

from __future__ import annotations

import pytest
import torch
from enumeration import Case, cases, enumerate_reasoner
from fuzzing import examples
from hypothesis import given, note
from hypothesis import strategies as st
from reasoning import COLOURS, log_probabilities, random_logits, reasoner, rows
from test_random_programs import neural_programs
from tolerances import EXACT, SINGLE

from nesy_gedi.errors import BudgetError, UsageError
from nesy_gedi.logic import choices as choices_module
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.explanations import explain
from nesy_gedi.logic.formula import Not
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

DIGITS = "nn(net, [X], Y, [0..3]) :: digit(X, Y).\nadd(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"

NOISY_OR = "nn(net, [X]) :: b(X). 0.4::w. 0.3::v.\nany(X) :- b(X), w.\nany(X) :- v, w.\nq(X, no) :- \\+ any(X).\n"


def agrees(case: Case, answer: int | None) -> None:
    """An explanation is a world in which the answer holds, and no such world is more probable."""
    column = case.circuit.answers if answer is None else answer
    found = explain(case.circuit, case.rows, answer)
    best, batch = case.every.best(column), torch.arange(case.rows.shape[1])
    assert not found.log_probability.isnan().any()
    assert not found.log_posterior.isnan().any()
    torch.testing.assert_close(found.log_probability, best, atol=EXACT, rtol=EXACT)
    possible = best > -torch.inf
    assert (found.values[~possible] == -1).all()
    number = case.every.number(found.values.clamp_min(0))
    torch.testing.assert_close(
        case.every.log_joint(column)[number, batch][possible], best[possible], atol=EXACT, rtol=EXACT
    )
    share = case.every.conditional(column)[number, batch]
    torch.testing.assert_close(found.log_posterior.exp()[possible], share[possible], atol=EXACT, rtol=EXACT)
    assert (found.log_posterior[~possible] == -torch.inf).all()


@examples(150)
@given(cases())
def test_no_world_is_more_probable(case: Case) -> None:
    for answer in (*range(case.circuit.answers), None):
        agrees(case, answer)


@examples(40)
@given(neural_programs(), st.integers(0, 2**20), st.sampled_from(["", "evidence(w).", "evidence(v, false)."]))
def test_programs_with_networks(text: str, seed: int, evidence: str) -> None:
    note(text)
    made = Reasoner(Program(f"{text}\n{evidence}"), "q(X, Y, Answer)", slots=("X", "Y"))
    log_p = log_probabilities(random_logits(made.inputs, 2, seed))
    every = enumerate_reasoner(made, log_p)
    for answer in range(len(made.answers)):
        found = made.explain(log_p, answer, batch=2)
        best = every.best(answer).expand(2)
        torch.testing.assert_close(found.log_probability, best, atol=EXACT, rtol=EXACT)
        possible = best > -torch.inf
        assert made.holds(found.values)[possible, answer].all()
        posterior = (best - every.total(answer).log().expand(2)).exp()
        torch.testing.assert_close(found.log_posterior.exp()[possible], posterior[possible], atol=EXACT, rtol=EXACT)


@pytest.mark.parametrize("batch", [1, 100])
def test_a_target_for_every_row(batch: int) -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    x, y = rows(batch, 4), rows(batch, 4, seed=1)
    target = torch.arange(batch) % len(made.answers)
    found = made.explain({"X": x, "Y": y}, target)
    assert found.values.shape == (batch, 2)
    assert found.log_probability.shape == (batch,)
    for row in range(batch):
        pairs = {(a, b): float(x[row, a] + y[row, b]) for a in range(4) for b in range(4) if a + b == target[row]}
        best = max(pairs, key=lambda pair: pairs[pair])
        assert tuple(found.values[row].tolist()) == best
        assert float(found.log_probability[row]) == pytest.approx(pairs[best], abs=EXACT)


def test_branches_that_leave_choices_open_are_compared_with_the_best_of_these() -> None:
    """Alone, red (0.25) beats blue with w (0.7 * 0.3 = 0.21); together with the best of w, it is 0.25 * 0.7 = 0.175."""
    made = reasoner(COLOURS + "0.3::w. q(X, yes) :- colour(X, red).\nq(X, yes) :- \\+ colour(X, red), w.", "q(X, A)")
    found = made.explain({"X": torch.tensor([[0.4, 0.05, 0.55], [0.25, 0.05, 0.7]]).log()}, 0)
    chosen = [dict(zip([c.label for c in made.choices], row, strict=True)) for row in found.values.tolist()]
    assert found.log_probability.exp().tolist() == pytest.approx([0.4 * 0.7, 0.7 * 0.3], abs=EXACT)
    assert chosen == [{"colour(X, _)": 0, "w": 1}, {"colour(X, _)": 2, "w": 0}]


def test_what_an_answer_does_not_mention_has_its_most_probable_value() -> None:
    made = reasoner(
        COLOURS + "q(X, Y, same) :- colour(X, C), colour(Y, C).\nq(X, Y, red) :- colour(X, red).", "q(X, Y, A)"
    )
    given = {"X": rows(4, 3), "Y": rows(4, 3, seed=1)}
    found = made.explain(given, made.index("red"))
    assert found.values[:, 0].tolist() == [0] * 4
    assert found.values[:, 1].tolist() == given["Y"].argmax(1).tolist()


def test_a_negation_that_no_branch_denies_is_compiled_away() -> None:
    made = reasoner(NOISY_OR, "q(X, A)")
    log_p = {"X": torch.tensor([[0.1, 0.9], [0.9, 0.1]]).log()}
    every = enumerate_reasoner(made, {("net", "X"): log_p["X"]})
    torch.testing.assert_close(made.explain(log_p, 0).log_probability, every.best(0), atol=EXACT, rtol=0.0)
    rewritten, roots = choices_module.without_negation(made.circuit.formula, [*made.circuit.roots], Budget())
    assert not any(isinstance(rewritten.nodes[n], Not) for n in rewritten.reachable(roots))


def test_ties_go_to_the_first_value() -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    even = torch.full((2, 4), 0.25).log()
    assert made.explain({"X": even, "Y": even}).values.tolist() == [[0, 0], [0, 0]]
    found = made.explain({"X": even, "Y": even}, made.index(3))
    assert torch.equal(found.values, made.explain({"X": even, "Y": even}, made.index(3)).values)
    assert found.values.sum(1).tolist() == [3, 3]


def test_an_impossible_answer_has_no_explanation_and_no_nan() -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    x = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf], [-torch.inf, 0.0, -torch.inf, -torch.inf]])
    x.requires_grad_()
    found = made.explain({"X": x, "Y": x}, made.index(2))
    assert found.values.tolist() == [[-1, -1], [1, 1]]
    assert found.log_probability.tolist() == [-torch.inf, 0.0]
    assert found.log_posterior.tolist() == [-torch.inf, 0.0]
    (found.log_probability.exp().sum() + found.log_posterior.exp().sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_probability_of_the_world_is_differentiable() -> None:
    made = reasoner(DIGITS + "evidence(lamp). t(0.3)::lamp.", "add(X, Y, S)")
    logits = rows(3, 8).clone().requires_grad_()

    def values(raw: torch.Tensor) -> torch.Tensor:
        found = made.explain({"X": raw[:, :4].log_softmax(1), "Y": raw[:, 4:].log_softmax(1)}, 2)
        return torch.stack([found.log_probability, found.log_posterior])

    assert torch.autograd.gradcheck(values, logits, eps=1e-6, atol=1e-7)
    values(logits)[0].sum().backward()
    assert made.learned.logits[0].grad is not None
    # The derivative of log p by the logit of p, three times; the parameter itself is kept in single precision.
    assert made.learned.logits[0].grad.tolist() == pytest.approx([3 * 0.7, -3 * 0.7], abs=SINGLE)


def test_two_predicates_that_ask_one_network_are_two_draws() -> None:
    text = "nn(net, [X], Y, [a, b]) :: p(X, Y).\nnn(net, [X], Y, [a, b]) :: r(X, Y).\nq(X, Y, Z) :- p(X, Y), r(X, Z)."
    made = reasoner(text, "q(X, Y, Z)")
    assert [(each.label, each.input) for each in made.choices] == [("p(X, _)", 0), ("r(X, _)", 0)]
    given = torch.tensor([[0.7, 0.3]]).log()
    assert made({"X": given})[0, made.index("a,b")].exp().item() == pytest.approx(0.21, abs=EXACT)
    found = made.explain({"X": given}, made.index("a,b"))
    assert found.values.tolist() == [[0, 1]]
    assert found.log_probability.exp().item() == pytest.approx(0.21, abs=EXACT)
    for k, expected in enumerate(([1.0, 0.0], [0.0, 1.0])):
        assert made.posterior({"X": given}, made.index("a,b"))[k][0].tolist() == pytest.approx(expected, abs=EXACT)


def test_choices_of_the_program_are_named() -> None:
    text = "0.3::rain. 0.3::rain. 0.2::u(1); 0.5::u(2). t(0.4)::v.\nq(a) :- rain, u(1). q(b) :- \\+ u(2), v."
    made = reasoner(text, "q(A)")
    named = {each.label: each.values for each in made.choices}
    assert named == {
        "rain": ("rain", "\\+rain"),
        "rain (2)": ("rain", "\\+rain"),
        "u(1)": ("u(1)", "u(2)", "none of u(1), u(2)"),
        "v": ("v", "\\+v"),
    }
    assert all(each.input is None for each in made.choices)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (7, "there is no answer in column 7: columns are 0 to 6"),
        (torch.tensor([0, -1]), "there is no answer in column -1"),
        (torch.tensor([0, 1, 2]), "whole numbers of shape (2,), found torch.int64 of shape (3,)"),
        (torch.tensor([0.0, 1.0]), "found torch.float"),
        (torch.tensor([True, False]), "found torch.bool"),
    ],
    ids=["too-large", "negative", "wrong-batch", "float", "bool"],
)
def test_a_target_that_is_none_is_refused(target: torch.Tensor | int, said: str) -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    given = {"X": rows(2, 4), "Y": rows(2, 4)}
    for ask in (made.explain, made.sample, made.posterior):
        with pytest.raises(UsageError, match="target") as caught:
            ask(given, target)
        assert said in caught.value.message
        assert caught.value.hint


def test_a_negation_past_the_budget_is_said() -> None:
    formula = reasoner(NOISY_OR, "q(X, A)").circuit.formula
    a, b = (formula.literal(0, 1), formula.literal(1, 1))
    denied = formula._add(Not(formula.plain_or([formula.plain_and([a, b]), formula.plain_and([formula.negate(a), b])])))
    with pytest.raises(BudgetError, match="need the circuit without negations") as caught:
        choices_module.without_negation(formula, [denied], Budget(nodes=0))
    assert caught.value.where
    assert caught.value.hint


def test_pieces_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    given = {"X": rows(20, 4), "Y": rows(20, 4, seed=1)}
    whole = made.explain(given, 3)
    monkeypatch.setattr(choices_module, "CELLS_AT_ONCE", 100)
    cut = made.explain(given, 3)
    assert torch.equal(whole.values, cut.values)
    assert torch.equal(whole.log_probability, cut.log_probability)


def test_single_precision_and_half() -> None:
    made = reasoner(DIGITS, "add(X, Y, S)")
    x, y = rows(5, 4), rows(5, 4, seed=1)
    double = made.explain({"X": x, "Y": y}, 2)
    for dtype, tolerance in ((torch.float32, SINGLE), (torch.bfloat16, 0.05)):
        found = made.explain({"X": x.to(dtype), "Y": y.to(dtype)}, 2)
        assert found.log_probability.dtype == torch.float32
        torch.testing.assert_close(
            found.log_probability.double(), double.log_probability, atol=tolerance, rtol=tolerance
        )


def test_certain_programs_have_one_empty_world() -> None:
    made = reasoner("q(1).", "q(A)")
    found = made.explain({}, 0, batch=3)
    assert found.values.shape == (3, 0)
    assert found.log_probability.tolist() == [0.0] * 3


NOISY = """
nn(net, [I], V, [0..2]) :: c(I, V).
t(0.5) :: noisy.
0.25 :: told(0); 0.25 :: told(1); 0.25 :: told(2); 0.25 :: told(3).
sum(X, Y, S) :- noisy, told(S).
sum(X, Y, S) :- \\+ noisy, c(X, A), c(Y, B), S is A + B.
"""


@torch.no_grad()
def test_symbols_are_explained_whatever_else_the_program_draws() -> None:
    """Right sums are spread over four worlds each, since told(S) says something even where nobody listens."""
    reasoner = Reasoner(Program(NOISY), "sum(X, Y, S)")
    x, y = (torch.tensor([each], dtype=torch.float64) for each in ([0.5, 0.3, 0.2], [0.2, 0.35, 0.45]))
    given = {"X": x.log(), "Y": y.log()}
    for column, answer in enumerate(map(int, reasoner.answers)):
        told = 0.25 * 0.5 if answer < 4 else 0.0
        joint = {
            (a, b): float(x[0, a] * y[0, b]) * (told + 0.5 * (a + b == answer)) for a in range(3) for b in range(3)
        }
        total, best = sum(joint.values()), max(joint, key=joint.__getitem__)
        found = reasoner.explain_inputs(given, column)
        assert tuple(found.values[0].tolist()) == best
        assert float(found.log_probability.exp()) == pytest.approx(joint[best], rel=1e-6)
        assert float(found.log_posterior.exp()) == pytest.approx(joint[best] / total, rel=1e-6)
    # The most probable world for 3 is one in which it was merely told, and its symbols add up to something else.
    world = reasoner.explain(given, reasoner.answers.index("3"))
    assert world.values[0, :2].tolist() == [0, 2]
    impossible = {
        "X": torch.tensor([[0.0, -torch.inf, -torch.inf]]),
        "Y": torch.tensor([[0.0, -torch.inf, -torch.inf]]),
    }
    nothing = reasoner.explain_inputs(impossible, reasoner.answers.index("4"))
    assert nothing.values.tolist() == [[-1, -1]]
    assert nothing.log_posterior.tolist() == [-torch.inf]
