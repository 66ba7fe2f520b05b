"""The check of one engine by another: what agrees, what does not, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reasoning import COLOURS
from test_parity_deepproblog import BUNDLED, recipe_of
from torch import Tensor

from nesy_gedi.errors import BudgetError, EngineError
from nesy_gedi.logic import checking, engines
from nesy_gedi.logic.checking import PEERS, TOLERANCE, check, log_probabilities, random_logits, spread
from nesy_gedi.logic.engines import ENGINES, Request
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

DIGITS = """
nn(net, [X], D, [0..2]) :: digit(X, D).
t(0.3)::slip.
addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B, \\+ slip.
addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B + 1, slip.
"""


def digits(engine: str = "exact") -> Reasoner:
    return Reasoner(Program(DIGITS), "addition(X, Y, S)", engine=engine)


class Wrong:
    """Our own plan, spoilt."""

    depth = 1

    def __init__(self, request: Request, spoil: Callable[[Tensor], Tensor]) -> None:
        self.plan = ENGINES["exact"](request)
        self.spoil = spoil

    def __call__(self, log_p: Tensor) -> Tensor:
        return self.spoil(self.plan(log_p))

    def to(self, device: torch.device) -> Wrong:
        return self


def spoilt(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Tensor], Tensor]) -> None:
    monkeypatch.setitem(engines.ENGINES, "klay", lambda request: Wrong(request, spoil))


def one_row_wrong(result: Tensor) -> Tensor:
    wrong = torch.zeros_like(result)
    wrong[2, 1] = 1e-4
    return result + wrong


def gradient_wrong(result: Tensor) -> Tensor:
    right = result.clone()
    right.register_hook(lambda gradient: torch.cat([gradient[:4], 0.5 * gradient[4:5], gradient[5:]]))
    return right


def nan_gradient(result: Tensor) -> Tensor:
    return torch.cat([result[:1] + (0.0 * (result[:1] - result[:1].detach())).sqrt(), result[1:]])


class TestVerdict:
    @pytest.mark.parametrize("peer", ["deepproblog", "klay"])
    def test_agreement(self, peer: str) -> None:
        found = check(digits(), peer)
        assert found.agrees
        assert (found.engine, found.peer, found.answers, found.of, found.rows) == ("exact", peer, 6, 6, 4)
        assert max(found.value.size, found.gradient.size) < 1e-7
        assert found.sentences()[0] == (
            f"exact and {peer} agree within 1e-06: 6 of 6 answers on 4 random distributions"
        )
        assert len(found.sentences()) == 3

    def test_any_two_engines(self) -> None:
        assert check(digits("klay"), "exact").agrees
        assert check(digits("deepproblog"), "klay").agrees

    def test_a_wrong_value_is_found_with_its_answer_and_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spoilt(monkeypatch, one_row_wrong)
        found = check(digits(), "klay")
        assert not found.agrees
        assert found.value.size > 1e-5
        assert (found.value.answer, found.value.row) == ("2", 1)
        said = "\n".join(found.sentences())
        assert "exact and klay disagree by more than 1e-06" in said
        assert "answer 2, distribution 2" in said

    def test_a_wrong_gradient_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spoilt(monkeypatch, gradient_wrong)
        found = check(digits(), "klay")
        assert found.value.size == 0.0
        assert found.gradient.size == pytest.approx(0.5)
        assert found.gradient.answer == "4"
        assert not found.agrees

    @pytest.mark.filterwarnings("error")
    def test_nan_is_no_agreement_and_no_number_in_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spoilt(monkeypatch, nan_gradient)
        found = check(digits(), "klay")
        assert not found.agrees
        assert found.gradient.size == float("inf")
        document = found.document()
        assert document["largest_gradient_difference"] is None
        assert "NaN" not in json.dumps(document)
        assert "Infinity" not in json.dumps(document)

    def test_a_difference_counts_beside_the_answers_own_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # An answer of probability 1e-9 that is wrong by a tenth is wrong, though by 1e-10 only.
        spoilt(monkeypatch, lambda result: result + 0.1)
        rare = Reasoner(Program(COLOURS + "1e-9::w.\nq(X, yes) :- w, colour(X, red)."), "q(X, A)")
        assert check(rare, "klay").value.size == pytest.approx(0.095, abs=0.01)

    def test_an_answer_that_only_the_peer_derives(self) -> None:
        cut = digits()
        cut.circuit = replace(cut.circuit, answers=cut.circuit.answers[:-1], roots=cut.circuit.roots[:-1])
        cut._set_up(cut.circuit)
        found = check(cut, "deepproblog")
        assert not found.agrees
        assert found.value.answer == "5"
        assert "the circuit has no such answer" in found.sentences()[0]


class TestLimits:
    def test_answers_beyond_the_number_are_left_out_aloud(self) -> None:
        found = check(digits(), "klay", max_answers=3)
        assert (found.answers, found.of, found.stopped) == (3, 6, False)
        assert found.document()["complete"] is False
        assert found.sentences()[-1] == "not all answers were compared: at most 3 are, evenly spread"

    def test_time_that_runs_out_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(checking.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(checking, "_value_gap", lambda *_: now.__setitem__(0, now[0] + 4.0) or checking.Gap())
        found = check(digits(), "klay", seconds=10.0)
        assert (found.answers, found.stopped) == (3, True)
        assert found.sentences()[-1] == "not all answers were compared: time ran out"

    def test_no_time_at_all(self) -> None:
        with pytest.raises(BudgetError, match="before an answer could be compared"):
            check(digits(), "klay", seconds=-1.0)

    def test_a_timer_from_outside_leaves_what_was_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        whole = checking._Columns.__call__

        def late(self: checking._Columns, column: int) -> Tensor:
            calls.append(column)
            if len(calls) == 3:
                raise BudgetError("late")
            return whole(self, column)

        monkeypatch.setattr(checking._Columns, "__call__", late)
        found = check(digits(), "klay")
        assert (found.answers, found.stopped, found.agrees) == (2, True, True)
        calls[:] = [0, 0]
        with pytest.raises(BudgetError, match="late"):
            check(digits(), "klay")

    def test_an_unknown_peer(self) -> None:
        with pytest.raises(EngineError, match="no exact engine 'kley'") as caught:
            check(digits(), "kley")
        assert "did you mean klay?" in str(caught.value)
        assert set(PEERS) <= set(ENGINES)

    @pytest.mark.parametrize(("count", "limit", "numbers"), [(3, 5, [0, 1, 2]), (9, 3, [0, 4, 8]), (9, 1, [0])])
    def test_an_even_spread(self, count: int, limit: int, numbers: list[int]) -> None:
        assert spread(count, limit) == numbers


def test_the_last_distributions_hold_zeros_and_ones() -> None:
    made = digits()
    blocks = list(log_probabilities(random_logits(made.inputs, 4, 0)).values())
    for block in blocks:
        assert bool((block[:2] > -torch.inf).all())
        assert int((block[2] > -torch.inf).sum()) < block.shape[1]
        assert sorted(block[3].exp().tolist()) == [0.0, 0.0, 1.0]
    again = log_probabilities(random_logits(made.inputs, 4, 0))
    torch.testing.assert_close(list(again.values()), blocks, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("path", BUNDLED.values(), ids=BUNDLED.keys())
def test_klay_on_every_bundled_program(path: Path) -> None:
    recipe = recipe_of(path)
    made = Reasoner(Program.load(path), str(recipe["query"]), slots=recipe.get("slots"))  # type: ignore[arg-type]
    result = check(made, "klay", max_answers=40)
    assert result.agrees, result.sentences()
    assert max(result.value.size, result.gradient.size) < TOLERANCE / 1000
