"""Shared terms against NumPy, and at exact zeros."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import unit_rows
from torch import Tensor

from nesy_gedi.objectives import terms

INF = torch.inf


def random_log_p(n: int = 6, c: int = 4) -> Tensor:
    return torch.log_softmax(2 * torch.randn(n, c, dtype=torch.float64), 1)


def assert_close(found: Tensor, expected: object) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_cross_entropy() -> None:
    t, p = random_log_p(), random_log_p()
    assert_close(terms.cross_entropy(t, p), -np.mean((np.exp(t.numpy()) * p.numpy()).sum(1)))


def test_cross_entropies_of_two_views() -> None:
    t1, t2, p1, p2 = (random_log_p() for _ in range(4))
    swapped = -np.mean((np.exp(t1.numpy()) * p2.numpy() + np.exp(t2.numpy()) * p1.numpy()).sum(1)) / 2
    assert_close(terms.swapped_cross_entropy((t1, t2), (p1, p2)), swapped)
    symmetric = -np.mean((np.exp(p1.numpy()) * p2.numpy() + np.exp(p2.numpy()) * p1.numpy()).sum(1)) / 2
    assert_close(terms.symmetric_cross_entropy(p1, p2), symmetric)
    assert_close(terms.symmetric_cross_entropy(p2, p1), symmetric)


def test_log_marginal() -> None:
    log_p = random_log_p()
    assert_close(terms.log_marginal(log_p), np.log(np.exp(log_p.numpy()).mean(0)))


def test_the_marginal_of_a_probability_below_the_smallest_number_is_kept() -> None:
    log_p = torch.tensor([[-2000.0, 0.0], [-2000.0, 0.0]], dtype=torch.float64)
    assert_close(terms.log_marginal(log_p), [-2000.0, 0.0])


def test_entropy() -> None:
    log_p = random_log_p()
    p = np.exp(log_p.numpy())
    assert_close(terms.entropy(log_p), -(p * np.log(p)).sum(1))


def test_priors() -> None:
    log_p, prior = random_log_p(), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    marginal = np.exp(log_p.numpy()).mean(0)
    assert_close(terms.forward_prior(log_p, prior), -(prior.numpy() * np.log(marginal)).sum())
    assert_close(terms.reverse_prior(log_p), (marginal * np.log(4 * marginal)).sum())


def test_the_least_prior_terms() -> None:
    prior = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    log_p = prior.log().repeat(5, 1)
    assert_close(terms.forward_prior(log_p, prior), 1.75 * math.log(2))
    assert_close(terms.reverse_prior(torch.full((5, 4), math.log(0.25), dtype=torch.float64)), 0.0)


def test_a_dead_cluster_is_pulled_back_by_the_forward_prior_only() -> None:
    """One dead symbol of ten, logit -10: the gradient at its logits, summed over the batch."""
    gradients = []
    for term in (lambda p: terms.forward_prior(p, torch.full((10,), 0.1)), terms.reverse_prior):
        logits = torch.zeros(32, 10, dtype=torch.float64)
        logits[:, 0] = -10.0
        logits.requires_grad_(True)
        term(torch.log_softmax(logits, 1)).backward()
        gradients.append(float(logits.grad[:, 0].sum()))
    assert gradients[0] == pytest.approx(-0.1, rel=1e-3)
    assert gradients[1] == pytest.approx(-10 * math.exp(-10) / 9, rel=1e-3)


EXACT_ZEROS = {
    "cross entropy": (lambda p: terms.cross_entropy(p, p), 0.0),
    "entropy": (lambda p: terms.entropy(p).sum(), 0.0),
    "forward prior": (lambda p: terms.forward_prior(p, torch.tensor([0.0, 1.0]).double()), 0.0),
    "reverse prior": (terms.reverse_prior, math.log(2)),
}


@pytest.mark.parametrize("name", EXACT_ZEROS)
def test_exact_zeros_have_finite_values_and_gradients(name: str) -> None:
    term, expected = EXACT_ZEROS[name]
    log_p = torch.tensor([[-INF, 0.0], [-INF, 0.0]], dtype=torch.float64, requires_grad=True)
    value = term(log_p)
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert bool(log_p.grad.isfinite().all())


def test_cosines() -> None:
    a, b = torch.randn(2, 5, 3, dtype=torch.float64)
    ua, ub = unit_rows(a.numpy()), unit_rows(b.numpy())
    assert_close(terms.unit(a), ua)
    assert_close(terms.mean_cosine(a, b), (ua * ub).sum(1).mean())
    assert_close(terms.similarities(a, b, 0.5), ua @ ub.T / 0.5)


def test_a_row_of_zeros_stays_zero_with_a_bounded_gradient() -> None:
    rows = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    found = terms.unit(rows)
    found.sum().backward()
    assert not found.detach().any()
    assert float(rows.grad.abs().max()) <= 1 / terms.SMALLEST_NORM


@pytest.mark.parametrize("d", [1, 2, 5])
def test_off_diagonal(d: int) -> None:
    matrix = torch.arange(d * d, dtype=torch.float64).view(d, d)
    expected = [matrix[i, j].item() for i in range(d) for j in range(d) if i != j]
    assert terms.off_diagonal(matrix).tolist() == expected


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.9), (1 / 3, 0.925), (0.5, 0.95), (1.0, 1.0)])
def test_cosine_momentum(progress: float, expected: float) -> None:
    assert terms.cosine_momentum(0.9, progress) == pytest.approx(expected)
