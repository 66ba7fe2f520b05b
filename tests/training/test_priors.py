"""How frequent symbols are, judged by the answers: against every combination of symbols, counted one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from nesy_gedi.data import ImageSet, ImageSplits, Queries
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.priors import symbol_priors
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe
from nesy_gedi.training.task import Task

SUM = (
    "nn(digit_net, [X], D, [0..2]) :: digit(X, D).\nsum(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n",
    "sum(X, Y, S)",
)
CROSSING = (
    "nn(light_net, [L], C, [0..2]) :: light(L, C).\nnn(sign_net, [S], W, [0, 1]) :: sign(S, W).\n"
    "act(L, _, stop) :- light(L, 0).\nact(L, S, slow) :- light(L, 1), sign(S, 0).\n"
    "act(L, S, stop) :- light(L, 1), sign(S, 1).\nact(L, S, go) :- light(L, 2), sign(S, 0).\n"
    "act(L, S, slow) :- light(L, 2), sign(S, 1).\n",
    "act(L, S, A)",
)
"""Where the light is 0, the sign does not matter, and the circuit does not mention it."""
OBSERVED = (
    "nn(digit_net, [X], D, [0..2]) :: digit(X, D).\nnn(target_net, [T], D, [0..4]) :: target(T, D).\n"
    "right(X, Y, T) :- digit(X, A), digit(Y, B), target(T, S), S is A + B.\n",
    "right(X, Y, T)",
)
PROGRAMS = {"sum": SUM, "crossing": CROSSING, "observed": OBSERVED}


def task_of(program: tuple[str, str]) -> Task:
    text, query = program
    networks = {"target_net": NetworkRecipe(observed=True)} if "target_net" in text else {}
    return Task(Program(text), Recipe(query=query, networks=networks, method="answers", data=DataRecipe()))


def queries_of(answers: list[int], images: ImageSet, observed: list[int] | None = None) -> Queries:
    """Answers of which no image is known: priors look at nothing else."""
    count = len(answers)
    given = torch.zeros(count, 0, dtype=torch.long) if observed is None else torch.tensor(observed)[:, None]
    return Queries(images, torch.zeros(count, 2, dtype=torch.long), torch.tensor(answers), given)


def answer_of(name: str, symbols: tuple[int, ...]) -> str:
    """What each program derives, written out once more."""
    a, b = symbols
    if name == "crossing":
        return "stop" if a == 0 or (a, b) == (1, 1) else "go" if (a, b) == (2, 0) else "slow"
    return str(a + b)


def expected_step(
    name: str, networks: list[str], priors: dict[str, np.ndarray], observed: list[str]
) -> tuple[dict[str, np.ndarray], float]:
    """One step of expectation maximisation over all combinations of two symbols, and the log-likelihood before it.

    Args:
        networks: that of each slot.
        observed: answers.
    """
    counts = {network: np.zeros_like(prior) for network, prior in priors.items()}
    log_likelihood = 0.0
    for answer in observed:
        sizes = [range(len(priors[network])) for network in networks]
        joint = {
            symbols: np.prod([priors[network][symbol] for network, symbol in zip(networks, symbols, strict=True)])
            for symbols in product(*sizes)
            if answer_of(name, symbols) == answer
        }
        total = sum(joint.values())
        log_likelihood += np.log(total)
        for symbols, p in joint.items():
            for network, symbol in zip(networks, symbols, strict=True):
                counts[network][symbol] += p / total
    return {network: found / found.sum() for network, found in counts.items()}, log_likelihood


def slots_of(task: Task) -> list[str]:
    return [task.networks_of(slot)[0] for slot in task.slots]


def random_answers(name: str, task: Task, count: int, images: ImageSet) -> tuple[Queries, list[str]]:
    """Answers of symbols that are not equally frequent."""
    generator = np.random.default_rng(3)
    sizes = [len(task.program.networks[network]) for network in slots_of(task)]
    drawn = np.stack([(generator.random(count) ** 2 * size).astype(int) for size in sizes], 1)
    said = [answer_of(name, tuple(row)) for row in drawn.tolist()]
    if name == "observed":
        return queries_of([0] * count, images, [int(answer) for answer in said]), said
    return queries_of([task.reasoner.index(answer) for answer in said], images), said


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_step_and_the_limit_are_those_of_counting(name: str, digits: ImageSplits) -> None:
    task = task_of(PROGRAMS[name])
    queries, said = random_answers(name, task, 40, digits.train)
    uniform = {
        network: np.full(len(task.program.networks[network]), 1 / len(task.program.networks[network]))
        for network in task.networks
    }
    once, before = expected_step(name, slots_of(task), uniform, said)
    found = symbol_priors(task, queries, "program")
    assert found.keys() == set(task.networks)
    for network, prior in found.items():
        assert prior.dtype == torch.float64
        np.testing.assert_allclose(prior.numpy(), once[network], atol=1e-12)
    limit = uniform
    for _ in range(500):
        limit, after = expected_step(name, slots_of(task), limit, said)
        assert after >= before - 1e-9  # each step climbs
        before = after
    for network, prior in symbol_priors(task, queries, "estimated").items():
        np.testing.assert_allclose(prior.numpy(), limit[network], atol=1e-3)
        assert abs(float(prior.sum()) - 1.0) < 1e-12


def test_uniform_looks_at_nothing(digits: ImageSplits) -> None:
    found = symbol_priors(task_of(CROSSING), queries_of([0, 0], digits.train), "uniform")
    assert {name: prior.tolist() for name, prior in found.items()} == {
        "light_net": [1 / 3] * 3,
        "sign_net": [0.5, 0.5],
    }


def test_identifiable_frequencies_are_found(digits: ImageSplits) -> None:
    task = task_of(SUM)
    truth = np.array([0.6, 0.3, 0.1])
    answers = [
        task.reasoner.index(a + b)
        for a, b in product(range(3), repeat=2)
        for _ in range(round(100 * truth[a] * truth[b]))
    ]
    found = symbol_priors(task, queries_of(answers, digits.train), "estimated")["digit_net"]
    np.testing.assert_allclose(found.numpy(), truth, atol=1e-3)


def test_what_answers_cannot_tell_stays_as_it_was(digits: ImageSplits) -> None:
    """Of 0 and 2 the answers are the same, of 1 they are not."""
    text = "nn(net, [X], D, [0..2]) :: digit(X, D).\nodd(X, Y, R) :- digit(X, A), digit(Y, B), R is (A + B) mod 2.\n"
    task = task_of((text, "odd(X, Y, R)"))
    answers = [task.reasoner.index(0)] * 82 + [task.reasoner.index(1)] * 18  # p(1) = 0.1 or 0.9
    found = symbol_priors(task, queries_of(answers, digits.train), "estimated")["net"].tolist()
    assert found[0] == pytest.approx(found[2], abs=1e-9)
    assert found[1] == pytest.approx(0.1, abs=1e-3)


def test_a_symbol_that_cannot_be_vanishes_and_nothing_becomes_nan(digits: ImageSplits) -> None:
    task = task_of(SUM)
    for kind in ("program", "estimated"):
        found = symbol_priors(task, queries_of([task.reasoner.index(0)] * 5, digits.train), kind)["digit_net"]
        assert found.tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    # Impossible from the second step on, and yet observed ones stay possible.
    mixed = [task.reasoner.index(0)] * 50 + [task.reasoner.index(4)]
    found = symbol_priors(task, queries_of(mixed, digits.train), "estimated")["digit_net"]
    assert bool(found.isfinite().all())
    assert float(found[2]) == pytest.approx(1 / 51, abs=1e-3)


def test_how_often_an_answer_comes_counts_not_where(digits: ImageSplits) -> None:
    task = task_of(SUM)
    answers = [0, 1, 1, 2, 3, 3, 3]
    one = symbol_priors(task, queries_of(answers, digits.train), "estimated")["digit_net"]
    other = symbol_priors(task, queries_of(answers[::-1] * 3, digits.train), "estimated")["digit_net"]
    assert torch.allclose(one, other, atol=1e-9)


def test_evidence_is_refused(digits: ImageSplits) -> None:
    text = "nn(net, [X], D, [0..2]) :: digit(X, D).\nsum(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"
    task = task_of((text + "0.3 :: rain.\nwet :- rain.\nevidence(wet).\nsum(X, Y, 9) :- digit(X, 2), rain.\n", SUM[1]))
    with pytest.raises(RecipeError, match="states evidence") as caught:
        symbol_priors(task, queries_of([0], digits.train), "estimated")
    assert caught.value.where == "cotraining.prior"
    assert "uniform" in str(caught.value.hint)
    assert symbol_priors(task, queries_of([0], digits.train), "uniform")["net"].tolist() == [1 / 3] * 3
