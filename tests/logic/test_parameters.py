"""Learned probabilities: normalised in their disjunction, shared by its groundings, trainable."""

from __future__ import annotations

import copy

import pytest
import torch
from reasoning import column, reasoner
from tolerances import EXACT, SINGLE

from nesy_gedi.logic.likelihood import nll


class TestLearned:
    TEXT = "t(0.2)::a; t(0.3)::b; 0.1::c.\nq(1) :- a.\nq(2) :- b.\nq(3) :- c.\nq(4) :- \\+ a, \\+ b, \\+ c."

    def test_starts_where_the_program_says(self) -> None:
        made = reasoner(self.TEXT, "q(R)")
        assert made({}).exp()[0].tolist() == pytest.approx([0.2, 0.3, 0.1, 0.4], abs=SINGLE)
        assert made.learned.probabilities() == {
            "t(0.2)::a; t(0.3)::b; 0.1::c": pytest.approx([0.2, 0.3, 0.1, 0.4], abs=SINGLE)
        }

    def test_clauses_with_the_same_head_are_told_apart(self) -> None:
        made = reasoner("t(0.2)::a :- b. t(0.3)::a :- c. t(0.4)::d. t(0.4)::d. b. c. q(yes) :- a, d.", "q(R)")
        found = made.learned.probabilities()
        assert [values[0] for values in found.values()] == pytest.approx([0.2, 0.3, 0.4, 0.4], abs=SINGLE)

    def test_an_improbable_answer_keeps_its_gradient(self) -> None:
        log_answers = torch.tensor([[-250.0, -torch.inf, 0.0]], dtype=torch.float64, requires_grad=True)
        nll(log_answers, torch.tensor([0])).backward()
        assert log_answers.grad is not None
        assert log_answers.grad.tolist() == [[-1.0, 0.0, 0.0]]

    def test_stays_normalised_and_keeps_what_is_written_out(self) -> None:
        made = reasoner(self.TEXT, "q(R)")
        with torch.no_grad():
            made.learned.logits[0].copy_(torch.tensor([3.0, -1.0, 0.5]))
        found = made({}).exp()[0]
        shares = torch.tensor([3.0, -1.0, 0.5]).softmax(0) * 0.9
        assert found.tolist() == pytest.approx([*shares[:2].tolist(), 0.1, shares[2].item()], abs=SINGLE)
        assert found.sum().item() == pytest.approx(1.0, abs=EXACT)

    def test_gradient(self) -> None:
        made = reasoner(self.TEXT, "q(R)")
        made({})[0, made.index(1)].backward()
        shares = torch.tensor([0.2, 0.3, 0.4]) / 0.9
        expected = torch.tensor([1.0, 0.0, 0.0]) - shares
        torch.testing.assert_close(made.learned.logits[0].grad.double(), expected, atol=SINGLE, rtol=0.0)

    def test_one_parameter_serves_all_ground_facts(self) -> None:
        made = reasoner("d(1). d(2).\nt(0.3)::a(X) :- d(X).\nq(both) :- a(1), a(2).\nq(one) :- a(1), \\+ a(2).", "q(R)")
        assert len(list(made.learned.parameters())) == 1
        found = made({}).exp()[0].tolist()
        assert found == pytest.approx([0.09, 0.21], abs=SINGLE)
        made({})[0, 0].backward()
        assert made.learned.logits[0].grad.tolist() == pytest.approx([2 * 0.7, -2 * 0.7], abs=SINGLE)

    def test_can_be_learned(self) -> None:
        made = reasoner("t(_)::a.\nq(yes) :- a.\nq(no) :- \\+ a.", "q(R)")
        optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
        target = torch.tensor([made.index("yes")] * 3 + [made.index("no")])
        for _ in range(200):
            optimizer.zero_grad()
            nll(made({}, batch=4), target).backward()
            optimizer.step()
        assert column(made({}), made, "yes").item() == pytest.approx(0.75, abs=1e-4)

    def test_belongs_to_the_state(self) -> None:
        made = reasoner(self.TEXT, "q(R)")
        assert list(made.state_dict()) == ["learned.logits.0"]
        other = copy.deepcopy(made)
        with torch.no_grad():
            other.learned.logits[0].zero_()
        assert made({}).exp()[0, 0].item() == pytest.approx(0.2, abs=SINGLE)
        assert other({}).exp()[0, 0].item() == pytest.approx(0.3, abs=SINGLE)

    @pytest.mark.parametrize("text", ["t(0.0)::a.\nq(yes) :- a.", "t(1.0)::a.\nq(yes) :- a."])
    def test_an_initial_zero_or_one_can_still_be_learned(self, text: str) -> None:
        made = reasoner(text, "q(R)")
        start = float(text[2:5])
        found = made({})
        assert found.exp().item() == pytest.approx(start, abs=SINGLE)
        found.sum().backward()
        assert made.learned.logits[0].grad.abs().max() > 0.0
        assert made.learned.logits[0].grad.isfinite().all()
