"""Marginals of atoms against all worlds, alone and given an answer, with gradients."""

from __future__ import annotations

import pytest
import torch
from fuzzing import examples
from hypothesis import given, note
from hypothesis import strategies as st
from reasoning import COLOURS, log_probabilities, random_logits, rows
from test_random_programs import neural_programs
from tolerances import EXACT, GRADIENT
from torch import Tensor
from worlds import probability, truth_tables

from nesy_gedi.errors import AnswerError, BudgetError, DistributionError, NesyGediError, ProgramError, UsageError
from nesy_gedi.logic import marginals as marginals_module
from nesy_gedi.logic.formula import Constant, Learned, Neural
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.marginals import Marginals
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

SIGNAL = """
nn(light, [L], C, [red, green]) :: light(L, C).
nn(sign, [S]) :: stop_sign(S).
t(0.2) :: asleep.
halted(L, S) :- light(L, red).
halted(L, S) :- stop_sign(S).
action(L, S, brake) :- halted(L, S), \\+ asleep.
action(L, S, drive) :- \\+ halted(L, S).
action(L, S, drive) :- asleep.
"""


def signal(evidence: str = "") -> Reasoner:
    return Reasoner(Program(SIGNAL + evidence), "action(L, S, A)")


def signal_rows(batch: int) -> dict[object, Tensor]:
    return {"L": rows(batch, 2), "S": rows(batch, 2, seed=1)}


def by_hand(given: dict[object, Tensor], asleep: float) -> tuple[Tensor, Tensor, Tensor]:
    """P(halted), P(halted, brake), P(brake)."""
    halted = 1 - given["L"][:, 1].exp() * given["S"][:, 0].exp()
    return halted, halted * (1 - asleep), halted * (1 - asleep)


@pytest.mark.parametrize("batch", [1, 100])
def test_an_atom_beside_an_answer(batch: int) -> None:
    made = signal()
    asked = Marginals(made, ["halted(L, S)", "light(L, C)", "asleep"])
    assert set(asked.atoms) == {"halted(L,S)", "light(L,green)", "light(L,red)", "asleep"}
    given = signal_rows(batch)
    sleep = made.learned(0, torch.float64)[0].exp().item()
    halted, _, brake = by_hand(given, sleep)
    alone = asked(given).exp()
    torch.testing.assert_close(alone[:, asked.index("halted(L, S)")], halted, atol=EXACT, rtol=0.0)
    torch.testing.assert_close(alone[:, asked.index("light(L, red)")], given["L"][:, 0].exp(), atol=EXACT, rtol=0.0)
    given_drive = asked(given, made.index("drive")).exp()
    expected = (halted - brake) / (1 - brake)
    torch.testing.assert_close(given_drive[:, asked.index("halted(L, S)")], expected, atol=EXACT, rtol=0.0)
    torch.testing.assert_close(given_drive[:, asked.index("asleep")], sleep / (1 - brake), atol=EXACT, rtol=0.0)
    target = torch.arange(batch) % 2
    mixed = asked(given, target)
    for row in range(batch):
        alone = asked({slot: each[row : row + 1] for slot, each in given.items()}, int(target[row]))
        torch.testing.assert_close(mixed[row], alone[0], atol=EXACT, rtol=0.0)


def test_evidence_conditions_too() -> None:
    made = signal("evidence(asleep).")
    asked = Marginals(made, ["halted(L, S)", "asleep"])
    given = signal_rows(3)
    halted, _, _ = by_hand(given, 1.0)
    for target in (None, made.index("drive")):
        found = asked(given, target).exp()
        torch.testing.assert_close(found, torch.stack([halted, torch.ones(3)], 1), atol=EXACT, rtol=0.0)


ATOMS = ["helper(X)", "c(Y, V)", "b(X)", "v", "w", "helper(X), b(Y)"]


@examples(30)
@given(neural_programs(), st.integers(0, 2**20), st.sampled_from(["", "evidence(\\+ v).", "evidence(w)."]))
def test_marginals_are_shares_of_worlds(text: str, seed: int, evidence: str) -> None:
    note(text)
    made = Reasoner(Program(f"{text}\n{evidence}"), "q(X, Y, Answer)", slots=("X", "Y"))
    asked = Marginals(made, ATOMS)
    log_p = log_probabilities(random_logits(asked.inputs, 2, seed))
    # Each atom and answer is a query form of its own here; worlds are counted on ProbLog's own formula.
    atoms = set()
    for atom in ATOMS:
        single = marginals_module._read(made, atom)
        grounded = ground(made.program, [made.form.goal(), single.goal()], single.rules())
        assert grounded.has_evidence == bool(evidence)
        formula = grounded.formula
        answers: dict[str, int] = {}
        for term, node in grounded.answers:
            if term.functor == "q" and str(term.args[-1]) in made.answers:
                answers[str(term.args[-1])] = node
        goal = single.goal()
        own = [(t, n) for t, n in grounded.answers if t.functor == goal.functor and t.arity == goal.arity]
        assert own
        for term, node in own:
            name = f"c(Y,{term.args[1]})" if single.outputs else atom.replace(" ", "")
            atoms.add(name)
            for answer in (None, *made.answers):
                condition = (
                    grounded.evidence if answer is None else formula.conjoin([answers[answer], grounded.evidence])
                )
                roots = [formula.conjoin([node, condition]), condition]
                tables = truth_tables(formula, roots)
                weights = []
                for variable in formula.variables:
                    what = [_weight(made, log_p, weight) for weight in variable.weights]
                    weights.append(torch.stack(what).exp())
                joint, total = (probability(tables[root], weights) for root in roots)
                expected = torch.where(total > 0, joint / torch.where(total > 0, total, 1.0), 0.0)
                column = None if answer is None else made.index(answer)
                found = asked(log_p, column, batch=2)[:, asked.index(name)].exp()
                torch.testing.assert_close(found.detach(), expected.detach(), atol=EXACT, rtol=0.0)
    assert {text.replace(" ", "") for text in asked.atoms} == atoms


def _weight(made: Reasoner, log_p: dict[object, Tensor], what: object) -> Tensor:
    if isinstance(what, Neural):
        return log_p[(what.network, *what.inputs)][:, what.entry]
    if isinstance(what, Learned):
        return made.learned(what.group, torch.float64)[what.entry].expand(2)
    assert isinstance(what, Constant)
    return torch.tensor(what.log()).expand(2)


def test_gradients() -> None:
    made = signal()
    asked = Marginals(made, ["halted(L, S)", "light(L, C)"])
    logits = rows(3, 4).clone().requires_grad_()

    def marginals(raw: Tensor) -> Tensor:
        given = {"L": raw[:, :2].log_softmax(1), "S": raw[:, 2:].log_softmax(1)}
        return torch.stack([asked(given).exp(), asked(given, made.index("drive")).exp()])

    assert torch.autograd.gradcheck(marginals, logits, eps=1e-6, atol=1e-7)


def test_they_are_the_posteriors_with_a_gradient() -> None:
    made = signal()
    asked = Marginals(made, ["light(L, red)", "light(L, green)"])
    given = signal_rows(5)
    (k,) = [k for k, choice in enumerate(made.choices) if choice.label == "light(L, _)"]
    for target in range(2):
        found = asked(given, target).exp()
        torch.testing.assert_close(made.posterior(given, target)[k], found, atol=GRADIENT, rtol=0.0)


def test_learned_probabilities_are_shared() -> None:
    made = signal()
    asked = Marginals(made, ["asleep"])
    assert [id(each) for each in asked.parameters()] == [id(each) for each in made.parameters()]
    with torch.no_grad():
        made.learned.logits[0].copy_(torch.tensor([0.0, 0.0]))
    assert asked(signal_rows(1)).exp().item() == pytest.approx(0.5)


def test_what_is_impossible_has_no_nan() -> None:
    made = signal()
    asked = Marginals(made, ["halted(L, S)", "asleep"])
    red = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]]).requires_grad_()
    quiet = torch.tensor([[0.0, -torch.inf]] * 2)
    found = asked({"L": red, "S": quiet}, made.index("brake"))
    assert found[:, 0].tolist() == [0.0, -torch.inf]
    assert found.isnan().logical_not().all()
    found.exp().sum().backward()
    assert red.grad is not None
    assert red.grad.isfinite().all()


def test_atoms_that_never_hold_and_atoms_that_always_do() -> None:
    text = COLOURS + "q(X, yes) :- colour(X, red).\nq(X, no) :- \\+ colour(X, red)."
    text += "\nsure.\nnever :- fail.\nodd(X) :- colour(X, red), colour(X, blue)."
    made = Reasoner(Program(text), "q(X, A)")
    asked = Marginals(made, ["sure", "never", "odd(X)"])
    for target in (None, 0):
        assert asked({"X": rows(2, 3)}, target).exp().tolist() == [[1.0, 0.0, 0.0]] * 2


def test_an_atom_may_ask_for_more_than_the_answer() -> None:
    text = COLOURS + "nn(size, [X], S, [small, large]) :: size(X, S).\nq(X, A) :- colour(X, red), A = yes."
    made = Reasoner(Program(text), "q(X, A)")
    asked = Marginals(made, ["size(X, S)"])
    assert {item.network for item in made.inputs} == {"net"}
    assert {item.network for item in asked.inputs} == {"net", "size"}
    given = {("net", "X"): rows(2, 3), ("size", "X"): rows(2, 2)}
    found = asked(given, 0).exp()[:, [asked.index("size(X,small)"), asked.index("size(X,large)")]]
    torch.testing.assert_close(found, given["size", "X"].exp(), atol=EXACT, rtol=0.0)
    with pytest.raises(DistributionError, match="no distribution of size"):
        asked({("net", "X"): rows(2, 3)})


def test_only_the_answers_that_are_given_can_be_conditioned_on() -> None:
    made = signal()
    asked = Marginals(made, ["asleep"], given=["drive"])
    every = Marginals(made, ["asleep"])
    given = signal_rows(2)
    torch.testing.assert_close(asked(given, made.index("drive")), every(given, made.index("drive")))
    with pytest.raises(UsageError, match="given the answer in column") as caught:
        asked(given, made.index("brake"))
    assert "given=" in str(caught.value.hint)
    torch.testing.assert_close(Marginals(made, ["asleep"], given=[])(given), every(given))


@pytest.mark.parametrize(
    ("atoms", "given", "kind", "said"),
    [
        ([], None, UsageError, "no atoms"),
        ("halted(L, S)", None, UsageError, "no atoms"),
        (["halt(L, S)"], None, UsageError, "no predicate halt/2"),
        (["halted(L, Z)"], None, UsageError, "Z is an image, but none of action(L, S, A)"),
        (["light(L, _)"], None, UsageError, "a variable without a name"),
        (["halted(L"], None, UsageError, "not a query form"),
        (["\\+ halted(L, S)"], None, UsageError, "a negation"),
        (["light(L, blue)", "sees(L, C)"], None, ProgramError, "no instance of sees(L, C)"),
        (["asleep"], ["fly"], AnswerError, "cannot derive the answer fly"),
    ],
)
def test_what_cannot_be_asked(atoms: list[str], given: list[str] | None, kind: type[NesyGediError], said: str) -> None:
    made = signal("sees(L, C) :- light(L, C), fail.")
    with pytest.raises(kind) as caught:
        Marginals(made, atoms, given=given)
    assert said in str(caught.value)
    assert caught.value.where
    assert caught.value.hint


def test_too_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marginals_module, "MOST_PAIRS", 3)
    made = signal()
    with pytest.raises(BudgetError, match="2 atoms beside 2 answers") as caught:
        Marginals(made, ["light(L, C)"])
    assert "given=[]" in str(caught.value.hint)
    assert Marginals(made, ["light(L, C)"], given=["drive"]).atoms


def test_an_unknown_atom_names_the_known_ones() -> None:
    asked = Marginals(signal(), ["light(L, C)"])
    with pytest.raises(AnswerError, match="light\\(L,blue\\) is none of the atoms") as caught:
        asked.index("light(L,blue)")
    assert "light(L,red)" in str(caught.value.hint)
