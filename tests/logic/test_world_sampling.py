"""Estimates from drawn worlds: unbiased, within their intervals as often as they say, with gradients of the posterior."""

from __future__ import annotations

import math

import pytest
import torch
from approximate import FORM, FOUR_DIGITS, NAIVE, distributions, exact_answers, programs
from fuzzing import examples
from hypothesis import assume, given, note
from hypothesis import strategies as st
from reasoning import rows
from scipy.stats import binom

from nesy_gedi.errors import DistributionError, ProgramError, UsageError
from nesy_gedi.logic import worlds
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.world_sampling import CONFIDENCE, Sampler, estimate_share

ADDITION = "nn(net, [X], D, [0..4]) :: digit(X, D).\naddition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"

SURELY = 1e-9
"""How unlikely an event is that a test takes for impossible."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@examples(100)
@given(programs(), st.integers(0, 2**20), st.booleans())
def test_estimates_are_near_what_problog_says(text: str, seed: int, hard: bool) -> None:
    """Each count is a binomial draw with ProbLog's probability: not one that only a miracle explains."""
    note(text)
    log_p = distributions(1, seed, hard=hard)
    exact = exact_answers(text, log_p, 0)
    assume(exact is not None)
    (found,) = Sampler(Program(text), FORM, 400, slots=("X", "Y")).answers(log_p, seeded(seed))
    assert found.drawn == 400
    for answer, p in exact.items() if found.accepted else ():
        hits = round(found.answers[answer].probability * found.accepted) if answer in found.answers else 0
        tail = min(binom.cdf(hits, found.accepted, min(p, 1.0)), binom.sf(hits - 1, found.accepted, min(p, 1.0)))
        assert tail > SURELY
    assert set(found.answers) <= set(exact)


@pytest.mark.parametrize(
    "evidence", ["", "e(X) :- digit(img, X), c. e(X) :- digit(img, X), X > 2. s :- e(_). evidence(s)."]
)
def test_intervals_hold_as_often_as_they_say(evidence: str) -> None:
    text = ADDITION + "0.3::c. addition(X, Y, odd) :- digit(img, A), digit(X, A), c. " + evidence
    sampler, reasoner = Sampler(Program(text), "addition(X, Y, S)", 60), Reasoner(Program(text), "addition(X, Y, S)")
    log_p = {name: rows(1, 5, seed=k) for k, name in enumerate(("X", "Y", "img"))}
    exact = dict(zip(reasoner.answers, reasoner(log_p)[0].exp().tolist(), strict=True))
    inside = total = 0
    errors = []
    for seed in range(150):
        (found,) = sampler.answers(log_p, seeded(seed))
        for answer, p in exact.items():
            lower, upper = found.answers[answer][2:] if answer in found.answers else (0.0, found.unseen)
            inside += lower <= p <= upper
            total += 1
        share = found.answers["4"].probability if "4" in found.answers else 0.0
        errors.append((share - exact["4"]) / math.sqrt(exact["4"] * (1 - exact["4"]) / found.accepted))
    # Answers of one row depend on each other, so the rate is told per answer: 150 independent draws each.
    assert inside / total >= CONFIDENCE - 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / 150)
    assert abs(sum(errors) / len(errors)) < 5 / math.sqrt(len(errors))
    assert sum(e * e for e in errors) / len(errors) == pytest.approx(1.0, abs=0.6)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    for hits, draws in [(0, 10), (3, 10), (10, 10), (1, 1000)]:
        share, error, lower, upper = estimate_share(hits, draws)
        assert share == hits / draws
        assert error == pytest.approx(math.sqrt(share * (1 - share) / draws))
        tail = (1 - CONFIDENCE) / 2
        assert lower == 0.0 if hits == 0 else binom.sf(hits - 1, draws, lower) == pytest.approx(tail)
        assert upper == 1.0 if hits == draws else binom.cdf(hits, draws, upper) == pytest.approx(tail)


@pytest.mark.parametrize("evidence", ["", "e :- w, u. e :- digit(img, 0). evidence(e)."])
def test_gradients_are_estimates_of_the_exact_ones(evidence: str) -> None:
    text = ADDITION + "t(0.3)::w. 0.5::u. addition(X, Y, 3) :- w, digit(img, 1). " + evidence
    sampler, reasoner = (
        Sampler(Program(text), "addition(X, Y, S)", 20_000),
        Reasoner(Program(text), "addition(X, Y, S)"),
    )
    logits = {name: rows(2, 5, seed=k).requires_grad_() for k, name in enumerate(("X", "Y", "img"))}
    log_p = {name: x.log_softmax(1) for name, x in logits.items()}
    estimated = sampler.estimate(log_p, [3, "4"], seeded())
    exact = reasoner(log_p)[torch.arange(2), torch.tensor([reasoner.index(3), reasoner.index(4)])]
    margin = 6 * estimated.standard_error / estimated.log_p.detach().exp()
    assert bool(((estimated.log_p - exact).abs() < margin).all())
    pairs = [
        torch.autograd.grad(
            value.sum(),
            [*logits.values(), model.learned.logits[0]],
            allow_unused=True,
            materialize_grads=True,
            retain_graph=True,
        )
        for value, model in ((estimated.log_p, sampler), (exact, reasoner))
    ]
    fewest = float((estimated.log_p.detach().exp() * estimated.accepted).min())
    for found, wanted in zip(*pairs, strict=True):
        assert float((found - wanted).abs().max()) < 6 * 0.5 * (2 if evidence else 1) * 2 / math.sqrt(fewest)


def test_seeds_repeat_and_differ() -> None:
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 50)
    log_p = {"X": rows(3, 5), "Y": rows(3, 5, seed=1)}
    first = sampler.answers(log_p, seeded(1))
    assert sampler.answers(log_p, seeded(1)) == first
    assert Sampler(Program(ADDITION), "addition(X, Y, S)", 50).answers(log_p, seeded(1)) == first
    assert sampler.answers(log_p, seeded(2)) != first


def test_each_world_is_evaluated_once() -> None:
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 2_000)
    log_p = {"X": rows(4, 5, scale=0.1), "Y": rows(4, 5, seed=1, scale=0.1)}
    sampler.answers(log_p, seeded())
    assert sampler._tree.evaluated == 25


def test_the_tree_starts_anew_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "WORLDS_KEPT", 5)
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 200)
    log_p = {"X": rows(3, 5), "Y": rows(3, 5, seed=1)}
    few = sampler.answers(log_p, seeded())
    assert sampler._tree.evaluated > 25
    monkeypatch.undo()
    assert Sampler(Program(ADDITION), "addition(X, Y, S)", 200).answers(log_p, seeded()) == few


def test_what_a_world_does_not_ask_is_not_drawn() -> None:
    text = "nn(net, [X], D, [a, b]) :: p(X, D). q(X, Y, yes) :- p(X, a). q(X, Y, D) :- p(X, b), p(Y, D)."
    sampler = Sampler(Program(text), "q(X, Y, A)", 100, slots=("X", "Y"))
    log_p = {"X": torch.tensor([[1.0, 0.0]]).log(), "Y": torch.tensor([[0.5, 0.5]]).log()}
    (found,) = sampler.answers(log_p, seeded())
    assert found.answers == {"yes": estimate_share(100, 100)}
    assert sampler._tree.evaluated == 1


def test_naive_four_digit_sums() -> None:
    digits = torch.randint(10, (3, 8), generator=seeded())
    log_p = (9.0 * torch.nn.functional.one_hot(digits, 10)).log_softmax(-1).requires_grad_()
    numbers = (digits.view(-1, 2, 4) * torch.tensor([1000, 100, 10, 1])).sum((1, 2))
    sampler = Sampler(Program(NAIVE), FOUR_DIGITS, 100)
    found = sampler.answers(log_p, seeded())
    assert [int(next(iter(row.answers))) for row in found] == numbers.tolist()
    assert "estimated from 100 worlds of 100" in str(found[0])
    estimates = sampler.estimate(log_p, numbers.tolist(), seeded())
    assert "estimates, not exact: 100 worlds a row" in str(estimates)
    estimates.nll().backward()
    assert bool(log_p.grad.isfinite().all())


def test_an_answer_in_no_world_teaches_nothing_and_says_so() -> None:
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 10)
    log_p = torch.nn.functional.one_hot(torch.tensor([[1, 2], [1, 2]]), 5).double().log().requires_grad_()
    estimates = sampler.estimate(log_p, [3, 99], seeded())
    assert estimates.missed.tolist() == [False, True]
    assert "1 of 2 answers in no world" in str(estimates)
    assert float(estimates.upper[1].exp()) == pytest.approx(1 - 0.005**0.1)
    loss = estimates.nll()
    assert float(loss) == -LOG_PROBABILITY_FLOOR / 2
    loss.backward()
    assert bool(log_p.grad.isfinite().all())
    assert not bool(log_p.grad[1].any())


def test_evidence_that_no_world_agrees_with() -> None:
    text = "nn(net, [X], D, [a, b]) :: d(X, D). e :- d(img, a). evidence(e). q(A) :- d(img, A)."
    sampler = Sampler(Program(text), "q(A)", 10)
    log_p = {"img": torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log()}
    seen, unseen = sampler.answers(log_p, seeded())
    assert (seen.accepted, unseen.accepted) == (10, 0)
    assert (unseen.answers, unseen.unseen) == ({}, 1.0)
    assert str(unseen) == "nothing is known: none of 10 worlds agrees with the evidence"
    with pytest.raises(ProgramError, match="none of 10 worlds of row 1 agrees with the evidence") as caught:
        sampler.estimate(log_p, ["a", "a"], seeded())
    assert "larger n" in str(caught.value.hint)


def test_no_rows_and_no_networks() -> None:
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 10)
    assert sampler.answers(torch.zeros(0, 2, 5)) == []
    none = sampler.estimate(torch.zeros(0, 2, 5), [])
    assert none.log_p.shape == none.accepted.shape == (0,)
    assert str(none) == "no rows"
    plain = Sampler(Program("0.3::a(1); 0.2::a(2). q(X) :- a(X)."), "q(X)", 5_000)
    one, two = plain.answers({}, seeded(), batch=2)
    for row in (one, two):
        assert row.answers["1"].lower < 0.3 < row.answers["1"].upper
        assert row.answers["2"].lower < 0.2 < row.answers["2"].upper
    assert one != two


@pytest.mark.parametrize("n", [0, -5, True, 2.0])
def test_an_n_that_draws_nothing_is_refused(n: object) -> None:
    with pytest.raises(UsageError, match="how many worlds"):
        Sampler(Program(ADDITION), "addition(X, Y, S)", n)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    sampler = Sampler(Program(ADDITION), "addition(X, Y, S)", 5)
    with pytest.raises(UsageError, match="1 answers for a batch of 2"):
        sampler.estimate({"X": rows(2, 5), "Y": rows(2, 5)}, [1])
    with pytest.raises(DistributionError, match="no distribution of net for Y"):
        sampler.answers({"X": rows(2, 5)})
    with pytest.raises(DistributionError, match="sums to"):
        sampler.answers({"X": rows(2, 5), "Y": torch.zeros(2, 5)})
    with pytest.raises(ProgramError, match="more than 1"):
        Sampler(Program("p(0.7). P::a(1); P::a(2) :- p(P). q(X) :- a(X)."), "q(X)", 5)
