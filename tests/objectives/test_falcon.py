"""FALCON: both forms, the code book, and probabilities that do not depend on the evaluation batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, random_pair, softmax, unit_rows
from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.objectives import Falcon
from nesy_gedi.objectives.falcon import code_book


def reference_probabilities(z: np.ndarray, codes: np.ndarray, n: int, epsilon: float, form: str) -> np.ndarray:
    f, c = codes.shape
    tau = f / (math.sqrt(n) * math.log((1 - epsilon * (c - 1)) / epsilon))
    h = math.sqrt(f / n) * unit_rows(z) if form == "l2" else np.tanh(z)
    return softmax(h @ codes / tau)


def reference(p1: np.ndarray, p2: np.ndarray, beta: float, form: str) -> float:
    c = p1.shape[1]
    total = 0.0
    for target, other in ((p1, p2), (p2, p1)):
        mean = target.mean(0)
        prior = (mean * np.log(c * mean)).sum() if form == "tanh" else -np.log(mean).sum() / c
        total += prior - beta * (target * np.log(other)).sum(1).mean()
    return total / 2


@pytest.mark.parametrize("form", ["l2", "tanh"])
@pytest.mark.parametrize(("f", "c"), [(8, 5), (6, 12), (8, 8)])
def test_agrees_with_the_reference(form: str, f: int, c: int) -> None:
    objective = Falcon(f, c, batch_size=16, form=form, epsilon=1e-3, beta=0.7)
    pair = random_pair(10, f)
    codes = objective.codes.double().numpy()
    p1, p2 = (reference_probabilities(z, codes, 16, 1e-3, form) for z in arrays(pair))
    np.testing.assert_allclose(objective.log_probabilities(pair[0]).exp().numpy(), p1, rtol=1e-9)
    assert objective(projection=pair).item() == pytest.approx(reference(p1, p2, 0.7, form), rel=1e-9)


@pytest.mark.parametrize("form", ["l2", "tanh"])
def test_probabilities_are_the_same_at_any_evaluation_batch_size(form: str) -> None:
    objective = Falcon(8, 12, batch_size=64, form=form, epsilon=1e-3)
    z = torch.randn(100, 8, dtype=torch.float64)
    whole = objective.log_probabilities(z)
    for size in (1, 7, 64):
        torch.testing.assert_close(objective.log_probabilities(z[:size]), whole[:size], rtol=1e-12, atol=1e-12)


def test_the_training_batch_size_is_saved() -> None:
    trained, fresh = Falcon(8, 12, batch_size=64, form="tanh"), Falcon(8, 12, batch_size=4, form="tanh", seed=1)
    z = torch.randn(5, 8)
    assert not torch.allclose(fresh.log_probabilities(z), trained.log_probabilities(z))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.log_probabilities(z), trained.log_probabilities(z))


@pytest.mark.parametrize("c", [4, 8])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_the_optimum_of_the_l2_form_leaves_epsilon_to_each_other_code(c: int, epsilon: float) -> None:
    objective = Falcon(8, c, batch_size=32, epsilon=epsilon)
    z = objective.codes.double().T
    p = objective.log_probabilities(z).exp()
    matched = 1 - epsilon * (c - 1)
    expected = torch.full((c, c), epsilon, dtype=torch.float64).fill_diagonal_(matched)
    torch.testing.assert_close(p, expected, rtol=1e-9, atol=0)
    terms = objective.terms(projection=(z, z))
    entropy = -matched * math.log(matched) - (c - 1) * epsilon * math.log(epsilon)
    assert terms["invariance"].item() == pytest.approx(entropy)
    assert terms["prior"].item() == pytest.approx(math.log(c))


def test_the_optimum_of_the_l2_form_is_below_what_descent_starts_from_and_stationary() -> None:
    objective = Falcon(8, 8, batch_size=8)
    z = objective.codes.double().T.clone().requires_grad_(True)
    loss = objective(projection=(z, z))
    loss.backward()
    assert float(z.grad.abs().max()) < 1e-6
    assert all(objective(projection=random_pair(8, 8)).item() > loss.item() for _ in range(20))


def test_a_constant_output_costs_more_than_the_optimum() -> None:
    c, epsilon = 8, 1e-3
    l2, tanh = (Falcon(8, c, batch_size=8, form=form, epsilon=epsilon) for form in ("l2", "tanh"))
    row = 100.0 * l2.codes.double().T[:1].repeat(6, 1)
    # All in the first code: the forward prior is the mean of -log p, the reverse one log c - H(p).
    matched = 1 - epsilon * (c - 1)
    found = l2.terms(projection=(row, row))["prior"].item()
    assert found == pytest.approx(-(math.log(matched) + (c - 1) * math.log(epsilon)) / c)
    assert found > 2 * math.log(c)
    assert tanh.terms(projection=(row, row))["prior"].item() == pytest.approx(math.log(c))


def test_renaming_codes_renames_probabilities_and_leaves_the_loss() -> None:
    objective = Falcon(6, 12, batch_size=16)
    pair = random_pair(10, 6)
    loss, p = objective(projection=pair), objective.log_probabilities(pair[0])
    order = torch.randperm(12)
    objective.codes.copy_(objective.codes[:, order])
    torch.testing.assert_close(objective(projection=pair), loss)
    torch.testing.assert_close(objective.log_probabilities(pair[0]), p[:, order])


def gram(codes: Tensor) -> Tensor:
    return codes.T @ codes


@pytest.mark.parametrize(("f", "c"), [(8, 3), (16, 16), (128, 100)])
def test_few_codes_in_a_power_of_two_dimensions_are_orthogonal(f: int, c: int) -> None:
    codes = code_book(f, c, seed=3)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(gram(codes), f * torch.eye(c))


def test_orthogonal_codes_have_random_row_signs_and_columns() -> None:
    books = [code_book(8, 3, seed) for seed in range(20)]
    assert {float(codes[0, 0]) for codes in books} == {-1.0, 1.0}  # this row of the plain matrix holds ones alone
    assert len({tuple(codes.flatten().tolist()) for codes in books}) == 20


@pytest.mark.parametrize(("f", "c"), [(12, 5), (64, 100)])
def test_other_codes_are_fair_independent_signs(f: int, c: int) -> None:
    codes = torch.stack([code_book(f, c, seed) for seed in range(200)])
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert float(codes.mean().abs()) < 4 / math.sqrt(codes.numel())
    overlap = torch.einsum("sfa,sfb->sab", codes, codes)[:, 0, 1] / math.sqrt(f)
    assert float(overlap.square().mean()) == pytest.approx(1.0, abs=0.5)


def test_the_code_book_is_frozen_and_drawn_by_its_seed_alone() -> None:
    before = torch.get_rng_state()
    objective = Falcon(6, 12, batch_size=8, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(objective.parameters()) == []
    torch.rand(3)
    assert torch.equal(Falcon(6, 12, batch_size=8, seed=5).codes, objective.codes)
    assert not torch.equal(Falcon(6, 12, batch_size=8, seed=6).codes, objective.codes)


@pytest.mark.parametrize("epsilon", [1 / 12, 0.5, 1.0])
def test_epsilon_must_leave_most_to_the_matched_code(epsilon: float) -> None:
    with pytest.raises(UsageError, match=r"epsilon cannot be .* below 0\.0833333"):
        Falcon(6, 12, batch_size=8, epsilon=epsilon)
