"""Posteriors of choices against all worlds: random circuits, programs with networks, the bundled programs."""

from __future__ import annotations

import math

import pytest
import torch
from enumeration import Case, cases, enumerate_reasoner
from fuzzing import examples
from hypothesis import given, note
from hypothesis import strategies as st
from reasoning import COLOURS, log_probabilities, random_logits, reasoner, rows
from test_random_programs import neural_programs
from tolerances import EXACT, GRADIENT

from nesy_gedi.logic.posteriors import posterior
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.recipe import load_recipe

MOST_WORLDS = 5_000


@examples(150)
@given(cases())
def test_posteriors_are_shares_of_worlds(case: Case) -> None:
    for answer in (*range(case.circuit.answers), None):
        found = posterior(case.circuit, case.rows, answer)
        column = case.circuit.answers if answer is None else answer
        for k, (own, size) in enumerate(zip(found, case.circuit.sizes, strict=True)):
            assert not own.isnan().any()
            torch.testing.assert_close(own, case.every.marginal(column, k, size), atol=GRADIENT, rtol=0.0)


@examples(30)
@given(neural_programs(), st.integers(0, 2**20))
def test_programs_with_networks(text: str, seed: int) -> None:
    note(text)
    made = Reasoner(Program(f"{text}\nevidence(\\+ v)."), "q(X, Y, Answer)", slots=("X", "Y"))
    log_p = log_probabilities(random_logits(made.inputs, 2, seed))
    every = enumerate_reasoner(made, log_p)
    for answer in range(len(made.answers)):
        for k, own in enumerate(made.posterior(log_p, answer, batch=2)):
            expected = every.marginal(answer, k, own.shape[1]).expand(2, -1)
            torch.testing.assert_close(own, expected, atol=GRADIENT, rtol=0.0)


@pytest.mark.parametrize("name", [found.name for found in bundled_programs()])
def test_bundled_programs(name: str) -> None:
    """Explanation, posterior and samples of every answer, where the worlds can be counted."""
    found = find_program(name)
    recipe = load_recipe(found.recipe)
    made = Reasoner(Program.load(found.path), recipe.query, slots=recipe.slots or None)
    if math.prod(len(choice.values) for choice in made.choices) > MOST_WORLDS:
        pytest.skip("too many worlds to count; long sums have a test of their own")
    log_p = {(item.network, *item.slots): rows(2, len(item.domain), seed=k) for k, item in enumerate(made.inputs)}
    every = enumerate_reasoner(made, log_p)
    generator = torch.Generator().manual_seed(0)
    for answer in range(len(made.answers)):
        explained = made.explain(log_p, answer)
        torch.testing.assert_close(explained.log_probability, every.best(answer), atol=EXACT, rtol=EXACT)
        assert made.holds(explained.values)[:, answer].all()
        for k, own in enumerate(made.posterior(log_p, answer)):
            torch.testing.assert_close(own, every.marginal(answer, k, own.shape[1]), atol=GRADIENT, rtol=0.0)
        worlds = made.sample(log_p, answer, n=20, generator=generator)
        assert made.holds(worlds)[..., answer].all()
        assert torch.equal(every.truth[answer][every.number(worlds)], torch.ones(2, 20, dtype=torch.bool))


def test_a_sum_of_two_digit_numbers() -> None:
    """All pairs of numbers, with the digits of the sum observed: what explains 105?"""
    found = find_program("multi_addition")
    recipe = load_recipe(found.recipe)
    made = Reasoner(Program.load(found.path), recipe.query, slots=recipe.slots or None)
    log_p = {(item.network, *item.slots): rows(1, len(item.domain), seed=k) for k, item in enumerate(made.inputs)}
    digit = {slot: each for (_, slot), each in log_p.items()}
    for slot, value in zip(("Z0", "Z1", "Z2"), (5, 0, 1), strict=True):
        (key,) = [key for key in log_p if key[1] == slot]
        log_p[key] = torch.full_like(log_p[key], -torch.inf)
        log_p[key][0, value] = 0.0
    number = [(digit[f"{name}1"][0, :, None] + digit[f"{name}0"][0]).flatten() for name in "XY"]  # units are first
    pairs = {(a, 105 - a): number[0][a] + number[1][105 - a] for a in range(6, 100)}
    best = max(pairs, key=lambda pair: float(pairs[pair]))
    explained = made.explain(log_p, 0)
    taken = dict(zip([made.inputs[c.input].slots[0] for c in made.choices], explained.values[0].tolist(), strict=True))
    assert (10 * taken["X1"] + taken["X0"], 10 * taken["Y1"] + taken["Y0"]) == best
    assert float(explained.log_probability) == pytest.approx(float(pairs[best]), abs=EXACT)
    total = torch.stack(list(pairs.values())).logsumexp(0)
    for k, choice in enumerate(made.choices):
        if made.inputs[choice.input].slots == ("X0",):
            shares = [sum((p - total).exp() for (a, _), p in pairs.items() if a % 10 == v) for v in range(10)]
            assert made.posterior(log_p, 0)[k][0].tolist() == pytest.approx(list(map(float, shares)), abs=GRADIENT)


@pytest.mark.parametrize("batch", [1, 100])
def test_a_posterior_is_a_distribution(batch: int) -> None:
    made = reasoner(
        COLOURS + "0.3::w. q(X, Y, yes) :- colour(X, red), w. q(X, Y, no) :- colour(Y, C), \\+ w.", "q(X, Y, A)"
    )
    given = {slot: rows(batch, 3, seed=k) for k, slot in enumerate(slot for item in made.inputs for slot in item.slots)}
    found = made.posterior(given, torch.arange(batch) % 2)
    assert [each.shape for each in found] == [(batch, len(choice.values)) for choice in made.choices]
    for each in found:
        assert not each.requires_grad
        torch.testing.assert_close(each.sum(1), torch.ones(batch), atol=EXACT, rtol=0.0)


def test_impossible_answers_have_rows_of_zeros() -> None:
    made = reasoner(COLOURS + "q(X, yes) :- colour(X, red).", "q(X, A)")
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf], [-torch.inf, 0.0, -torch.inf]])
    (found,) = made.posterior({"X": certain}, 0)
    assert found.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_it_can_be_asked_anywhere() -> None:
    made = reasoner(COLOURS + "q(X, yes) :- colour(X, red).", "q(X, A)")
    given = {"X": rows(2, 3)}
    expected = made.posterior(given, 0)[0]
    with torch.no_grad():
        assert torch.equal(made.posterior(given, 0)[0], expected)
    with torch.inference_mode():
        assert torch.equal(made.posterior(given, 0)[0], expected)
        assert torch.equal(made.posterior({"X": rows(2, 3)}, 0)[0], expected)
        assert made.explain({"X": rows(2, 3)}, 0).values.tolist() == [[0], [0]]
