"""Diagnostics of soft assignments against SciPy, analytic cases and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from nesy_gedi.metrics.assignments import (
    code_usage,
    confidence,
    marginal_entropy,
    mutual_information,
    neighbour_agreement,
    prior_divergence,
)

examples = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 2**20)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def one_hot(clusters: Tensor, c: int) -> Tensor:
    """Log-probabilities with exact zeros."""
    return torch.nn.functional.one_hot(clusters, c).double().log()


def soft(n: int, c: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.log_softmax(scale * normal(n, c, seed=seed), 1)


def test_confident_and_balanced_clusters() -> None:
    log_probabilities = one_hot(torch.arange(40) % 8, 8)
    assert marginal_entropy(log_probabilities) == pytest.approx(1.0)
    assert mutual_information(log_probabilities) == pytest.approx(math.log(8))
    assert prior_divergence(log_probabilities) == pytest.approx(0.0, abs=1e-12)
    assert (code_usage(log_probabilities), confidence(log_probabilities)) == (1.0, 1.0)


def test_one_cluster_for_all() -> None:
    log_probabilities = one_hot(torch.zeros(40, dtype=torch.long), 8)
    assert marginal_entropy(log_probabilities) == 0.0
    assert mutual_information(log_probabilities) == 0.0
    assert prior_divergence(log_probabilities) == pytest.approx(math.log(8))
    assert (code_usage(log_probabilities), confidence(log_probabilities)) == (1 / 8, 1.0)


def test_the_same_uniform_distribution_for_all() -> None:
    log_probabilities = torch.full((40, 8), -math.log(8), dtype=torch.float64)
    assert marginal_entropy(log_probabilities) == pytest.approx(1.0)
    assert mutual_information(log_probabilities) == pytest.approx(0.0, abs=1e-12)
    assert confidence(log_probabilities) == pytest.approx(1 / 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cluster_diagnostics_agree_with_scipy(dtype: torch.dtype) -> None:
    log_probabilities = soft(200, 6).to(dtype)
    p = np.exp(log_probabilities.double().numpy())
    prior = np.array([0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    close = {"rel": 1e-5 if dtype == torch.float32 else 1e-12}
    assert marginal_entropy(log_probabilities) == pytest.approx(entropy(p.mean(0), base=6), **close)
    assert prior_divergence(log_probabilities, torch.tensor(prior)) == pytest.approx(entropy(p.mean(0), prior), **close)
    expected = entropy(p.mean(0)) - entropy(p, axis=1).mean()
    assert mutual_information(log_probabilities) == pytest.approx(expected, **close)
    assert confidence(log_probabilities) == pytest.approx(p.max(1).mean(), **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logarithms_in_half_precision_are_distributions(dtype: torch.dtype) -> None:
    uniform = torch.full((5, 2048), -math.log(2048)).to(dtype)
    assert marginal_entropy(uniform) == pytest.approx(1.0, abs=1e-6)
    assert mutual_information(uniform) == pytest.approx(0.0, abs=1e-5)
    sharp = torch.log_softmax(5 * normal(200, 6), 1)
    assert mutual_information(sharp.to(dtype)) == pytest.approx(mutual_information(sharp), rel=0.02)


def test_a_prior_that_is_right_is_no_divergence() -> None:
    log_probabilities = one_hot(torch.tensor([0, 0, 0, 1]), 2)
    assert prior_divergence(log_probabilities, torch.tensor([0.75, 0.25])) == pytest.approx(0.0, abs=1e-12)
    assert prior_divergence(log_probabilities) > 0.1


def test_more_codes_than_samples_can_all_be_used() -> None:
    assert code_usage(one_hot(torch.arange(5), 100)) == 1.0
    assert code_usage(one_hot(torch.tensor([3, 3, 3, 9, 9]), 100)) == 2 / 5


@examples
@given(seeds, st.integers(2, 30), st.integers(2, 8))
def test_cluster_diagnostics_ignore_order_and_names(seed: int, n: int, c: int) -> None:
    log_probabilities = soft(n, c, seed)
    other = log_probabilities[torch.randperm(n)][:, torch.randperm(c)]
    for measure in (marginal_entropy, mutual_information, prior_divergence, code_usage, confidence):
        assert measure(other) == pytest.approx(measure(log_probabilities), abs=1e-12)
    assert 0 <= mutual_information(log_probabilities) <= math.log(c) * marginal_entropy(log_probabilities) + 1e-12


def test_neighbour_agreement_counts_pairs_other_than_the_sample_itself() -> None:
    neighbours = torch.tensor([[0, 1], [0, 2], [2, 3], [0, 1]])
    clusters = torch.tensor([5, 5, 7, 5])
    # Pairs: 0-1 same; 1-0 same, 1-2 not; 2-3 not; 3-0 and 3-1 same. 0-0 and 2-2 do not count.
    assert neighbour_agreement(neighbours, clusters) == pytest.approx(4 / 6)


def test_neighbour_agreement_of_random_clusters_is_one_over_their_number() -> None:
    generator = torch.Generator().manual_seed(0)
    neighbours = torch.randint(5000, (5000, 10), generator=generator)
    found = neighbour_agreement(neighbours, torch.randint(4, (5000,), generator=generator))
    assert found == pytest.approx(0.25, abs=0.01)
