"""Diagnostics of collapse against full decompositions in NumPy, analytic cases and invariances."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from nesy_gedi.errors import DataError, DistributionError
from nesy_gedi.metrics.assignments import mutual_information, neighbour_agreement, prior_divergence
from nesy_gedi.metrics.collapse import (
    diagnose,
    effective_rank,
    embedding_std,
    intracluster_variance,
    participation_ratio,
    stability,
    variance_shares,
)

KEYS = {
    "center",
    "residual",
    "noise",
    "embedding_std",
    "effective_rank",
    "participation_ratio",
    "marginal_entropy",
    "code_usage",
    "prior_divergence",
    "mutual_information",
    "confidence",
    "intracluster",
    "neighbour_agreement",
}
examples = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 2**20)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(d: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


def soft(n: int, c: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.log_softmax(scale * normal(n, c, seed=seed), 1)


def reference_rank(features: np.ndarray) -> float:
    singular = np.linalg.svd(features - features.mean(0), compute_uv=False)
    return float(np.exp(entropy(singular[singular > 1e-9 * singular[0]])))


# --- common stability mechanism


@examples
@given(seeds, st.integers(2, 12), st.integers(1, 4), st.integers(1, 6), st.floats(-150, 150))
def test_center_residual_and_noise_sum_to_one(seed: int, n: int, views: int, d: int, exponent: float) -> None:
    embeddings = (normal(n, views, d, seed=seed) + normal(d, seed=seed + 1)) * 10**exponent
    parts = stability(embeddings)
    assert sum(parts) == pytest.approx(1.0, abs=1e-12)
    assert min(parts) >= 0


def test_stability_agrees_with_its_formula() -> None:
    g = normal(40, 3, 7).numpy() + 0.5
    g = g / np.linalg.norm(g, axis=2, keepdims=True)
    mu = g.mean(1)
    s = g.reshape(-1, 7).mean(0)
    found = stability(normal(40, 3, 7) + 0.5)
    assert found.center == pytest.approx(np.linalg.norm(s) ** 2)
    assert found.residual == pytest.approx(np.mean([np.linalg.norm(m - s) ** 2 for m in mu]))
    assert found.noise == pytest.approx(
        np.mean([np.linalg.norm(g[i, a] - mu[i]) ** 2 for i in range(40) for a in (0, 1, 2)])
    )


def test_the_three_extremes_of_stability() -> None:
    same = torch.ones(10, 2, 3)
    assert stability(same) == pytest.approx((1.0, 0.0, 0.0), abs=1e-15)
    opposite_samples = torch.tensor([[[1.0, 0.0]] * 2, [[-1.0, 0.0]] * 2])
    assert stability(opposite_samples) == pytest.approx((0.0, 1.0, 0.0))
    opposite_views = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]] * 5)
    assert stability(opposite_views) == pytest.approx((0.0, 0.0, 1.0))


def test_embeddings_that_are_all_zero_have_collapsed() -> None:
    assert stability(torch.zeros(6, 2, 4)) == pytest.approx((1.0, 0.0, 0.0))
    assert embedding_std(torch.zeros(6, 2, 4)) == pytest.approx(0.0, abs=1e-15)


def test_embedding_std_agrees_with_numpy_and_is_at_most_its_isotropic_value() -> None:
    embeddings = normal(500, 2, 16)
    unit = embeddings.reshape(-1, 16).numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    assert embedding_std(embeddings) == pytest.approx(unit.std(0).mean())
    assert embedding_std(embeddings, relative=True) == pytest.approx(unit.std(0).mean() * 4)
    assert 0.99 < embedding_std(embeddings, relative=True) <= 1
    assert embedding_std(embeddings + 100, relative=True) < 0.02


# --- spectrum


@pytest.mark.parametrize(("n", "d"), [(50, 8), (8, 50), (20, 20), (2, 5), (300, 1)])
def test_rank_and_participation_agree_with_a_full_decomposition(n: int, d: int) -> None:
    features = normal(n, d) * torch.logspace(0, -3, d, dtype=torch.float64) + 5
    shares = variance_shares(features)
    variances = np.linalg.svd(features.numpy() - features.numpy().mean(0), compute_uv=False) ** 2
    np.testing.assert_allclose(shares.numpy(), variances / variances.sum(), atol=1e-12)
    assert effective_rank(shares) == pytest.approx(reference_rank(features.numpy()), rel=1e-6)
    assert participation_ratio(shares) == pytest.approx(variances.sum() ** 2 / (variances**2).sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("level", [0.0, 0.1, 3.0])
@pytest.mark.parametrize(("n", "d"), [(300, 20), (20, 300)])
def test_constant_features_have_no_direction(dtype: torch.dtype, level: float, n: int, d: int) -> None:
    shares = variance_shares((level * torch.arange(1, d + 1) / d).to(dtype).repeat(n, 1))
    assert (effective_rank(shares), participation_ratio(shares)) == (0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n", "d"), [(400, 30), (30, 400)])
def test_rounding_adds_no_direction(dtype: torch.dtype, n: int, d: int) -> None:
    line = (normal(n, 1) @ normal(1, d, seed=1) + 4).to(dtype)
    shares = variance_shares(line)
    assert int((shares > 0).sum()) == 1
    assert effective_rank(shares) == pytest.approx(1.0)
    far = (normal(n, 1) @ normal(1, d, seed=1) + 1000).to(dtype)
    assert int((variance_shares(far) > 0).sum()) == 1
    plane = (normal(n, 2) @ normal(2, d, seed=1) + 4).to(dtype)
    assert int((variance_shares(plane) > 0).sum()) == 2


def test_small_directions_beside_large_ones_count() -> None:
    features = normal(200, 3).float() * torch.tensor([1.0, 1e-2, 1e-4])
    assert int((variance_shares(features) > 0).sum()) == 3


def test_a_simplex_of_classes_has_one_dimension_less_than_classes() -> None:
    shares = variance_shares(torch.eye(7).repeat(5, 1))
    assert effective_rank(shares) == pytest.approx(6.0)
    assert participation_ratio(shares) == pytest.approx(6.0)


def test_isotropic_features_use_all_dimensions() -> None:
    assert 19.5 < effective_rank(variance_shares(normal(5000, 20))) <= 20


@examples
@given(seeds, st.integers(2, 30), st.integers(1, 10), st.floats(-100, 100))
def test_ranks_ignore_rotation_shift_scale_and_order(seed: int, n: int, d: int, exponent: float) -> None:
    features = normal(n, d, seed=seed)
    shares = variance_shares(features)
    other = variance_shares((features[torch.randperm(n)] @ rotation(d, seed) + normal(d, seed=seed + 1)) * 10**exponent)
    assert effective_rank(other) == pytest.approx(effective_rank(shares), rel=1e-6)
    assert participation_ratio(other) == pytest.approx(participation_ratio(shares), rel=1e-6)
    assert 1 - 1e-9 <= participation_ratio(shares) <= effective_rank(shares) + 1e-9 <= min(n - 1, d) + 2e-9


def test_intracluster_variance_agrees_with_numpy() -> None:
    features, clusters = normal(100, 5), torch.randint(4, (100,), generator=torch.Generator().manual_seed(1))
    x, which = features.numpy(), clusters.numpy()
    within = sum(((x[which == k] - x[which == k].mean(0)) ** 2).sum() for k in range(4))
    expected = (within / (100 - 4)) / (((x - x.mean(0)) ** 2).sum() / (100 - 1))
    assert intracluster_variance(features, clusters) == pytest.approx(expected)
    assert intracluster_variance(features @ rotation(5) * 3 + 7, 9 - 2 * clusters) == pytest.approx(expected)


def test_the_extremes_of_intracluster_variance() -> None:
    clusters = torch.arange(30) % 3
    assert intracluster_variance(torch.eye(3)[clusters], clusters) == pytest.approx(0.0, abs=1e-15)
    assert intracluster_variance(normal(30, 2), torch.zeros(30, dtype=torch.long)) == pytest.approx(1.0)
    assert intracluster_variance(torch.full((30, 2), 0.1), clusters) == 0.0
    assert math.isnan(intracluster_variance(normal(30, 2), torch.arange(30)))  # nothing is known of single samples


def test_many_clusters_without_structure_are_no_intracluster_collapse() -> None:
    which = torch.randint(300, (500,), generator=torch.Generator().manual_seed(1))
    assert intracluster_variance(normal(500, 8), which) == pytest.approx(1.0, abs=0.1)


# --- all together


def everything(n: int, d: int, c: int = 10, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {
        "features": normal(n, d).to(dtype),
        "views": normal(n, 2, d, seed=1).to(dtype),
        "log_probabilities": soft(n, c).to(dtype),
        "neighbours": torch.randint(n, (n, 10), generator=torch.Generator().manual_seed(2)),
    }


def test_diagnose_gathers_what_the_functions_give() -> None:
    given_ = everything(60, 12)
    prior = torch.softmax(normal(10, seed=3), 0)
    found = diagnose(**given_, prior=prior)
    assert set(found) == KEYS
    assert all(type(value) is float for value in found.values())
    clusters = given_["log_probabilities"].argmax(1)
    assert found["noise"] == stability(given_["views"]).noise
    assert found["embedding_std"] == embedding_std(given_["views"], relative=True)
    assert found["effective_rank"] == effective_rank(variance_shares(given_["features"]))
    assert found["prior_divergence"] == prior_divergence(given_["log_probabilities"], prior)
    assert found["mutual_information"] == mutual_information(given_["log_probabilities"])
    assert found["intracluster"] == intracluster_variance(given_["features"], clusters)
    assert found["neighbour_agreement"] == neighbour_agreement(given_["neighbours"], clusters)


def test_diagnose_leaves_out_what_it_cannot_know() -> None:
    features = normal(20, 4)
    assert set(diagnose(features)) == {"effective_rank", "participation_ratio"}
    assert set(diagnose(features, log_probabilities=soft(20, 3))) == KEYS - {
        "center",
        "residual",
        "noise",
        "embedding_std",
        "neighbour_agreement",
    }


def test_nothing_is_changed_and_gradients_are_no_obstacle() -> None:
    given_ = everything(30, 5)
    before = {name: tensor.clone() for name, tensor in given_.items()}
    given_["features"].requires_grad_()
    diagnose(**given_)
    assert all(torch.equal(before[name], given_[name]) for name in before)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"features": torch.full((20, 4), math.nan)}, "80 of 80 values of the features are NaN or infinite"),
        ({"features": torch.full((20, 4), math.inf)}, "NaN or infinite"),
        ({"features": torch.zeros(20)}, r"shape \(20,\), expected \(n, d\)"),
        ({"features": torch.zeros(20, 0)}, r"expected \(n, d\)"),
        ({"views": torch.full((20, 2, 4), math.nan)}, "values of the embeddings"),
        ({"views": torch.zeros(20, 4)}, r"expected \(n, views, d\)"),
        ({"views": torch.zeros(19, 2, 4)}, r"views have shape \(19, 2, 4\), expected one row for each of 20"),
        ({"log_probabilities": torch.zeros(21, 4)}, "expected one row for each of 20"),
        ({"neighbours": torch.zeros(20, dtype=torch.long)}, r"expected \(n, k\)"),
        ({"neighbours": torch.full((20, 3), 20)}, "expected between 0 and 19"),
        ({"neighbours": torch.full((20, 3), -1)}, "expected between 0 and 19"),
        ({"neighbours": torch.zeros(20, 3)}, "expected integers"),
        ({"neighbours": torch.arange(20)[:, None]}, "its only neighbour"),
        ({"prior": torch.ones(10)}, "sum to 1"),
        ({"prior": torch.full((4,), 0.25)}, "10 positive probabilities"),
        ({"prior": torch.eye(10)[0]}, "positive"),
    ],
)
def test_wrong_data_is_refused(change: dict[str, Tensor], expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        diagnose(**(everything(20, 4) | change))
    assert caught.value.hint


@pytest.mark.parametrize(
    "log_probabilities",
    [
        torch.zeros(20, 4),
        torch.full((20, 4), math.nan),
        torch.full((20, 4), -math.inf),
        torch.zeros(20, 1),
        torch.zeros(20),
        torch.zeros(20, 4, dtype=torch.long),
    ],
)
def test_what_is_no_distribution_is_refused(log_probabilities: Tensor) -> None:
    with pytest.raises(DistributionError) as caught:
        diagnose(normal(20, 4), log_probabilities=log_probabilities)
    assert caught.value.hint


def test_a_single_sample_is_too_few() -> None:
    with pytest.raises(DataError, match="n at least 2"):
        diagnose(normal(1, 4))


def test_ten_thousand_samples_take_seconds() -> None:
    given_ = everything(10_000, 512, dtype=torch.float32)
    start = time.perf_counter()
    found = diagnose(**given_)
    assert time.perf_counter() - start < 10
    assert found["effective_rank"] == pytest.approx(reference_rank(given_["features"].numpy()), rel=1e-4)
