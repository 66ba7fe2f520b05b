"""Measures of ideal representations against sums over pairs and full matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.idealised import dimension_ratio, invariance_ratio, linear_predictability, nc1


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(n: int, k: int) -> Tensor:
    return torch.cat([torch.arange(k), torch.randint(k, (n - k,), generator=torch.Generator().manual_seed(7))])


@pytest.mark.parametrize(("n", "views", "d"), [(6, 2, 3), (2, 2, 1), (5, 4, 7)])
def test_invariance_ratio_is_that_of_mean_distances_over_pairs(n: int, views: int, d: int) -> None:
    embeddings = normal(n, 1, d) + 0.3 * normal(n, views, d, seed=1) + 10
    g = embeddings.numpy()
    index = [(i, a) for i in range(n) for a in range(views)]
    same = [((g[i, a] - g[j, b]) ** 2).sum() for i, a in index for j, b in index if i == j and a != b]
    other = [((g[i, a] - g[j, b]) ** 2).sum() for i, a in index for j, b in index if i != j]
    assert invariance_ratio(embeddings) == pytest.approx(np.mean(same) / np.mean(other))
    assert invariance_ratio(embeddings.float() * 1e15) == pytest.approx(np.mean(same) / np.mean(other), rel=1e-3)


def test_the_extremes_of_invariance() -> None:
    assert invariance_ratio(normal(20, 1, 4).expand(20, 3, 4)) == pytest.approx(0.0, abs=1e-15)
    assert invariance_ratio(normal(2000, 2, 8)) == pytest.approx(1.0, abs=0.05)
    assert invariance_ratio((torch.arange(1, 8, dtype=torch.float64) / 7).expand(37, 3, 7)) == 1.0


def test_one_view_says_nothing_of_invariance() -> None:
    with pytest.raises(DataError, match="views at least 2") as caught:
        invariance_ratio(normal(5, 1, 3))
    assert caught.value.hint


def reference_nc1(h: np.ndarray, y: np.ndarray) -> float:
    present = np.unique(y)
    means = np.stack([h[y == k].mean(0) for k in present])
    within = sum((h[y == k] - m).T @ (h[y == k] - m) for k, m in zip(present, means, strict=True)) / len(h)
    centred = means - means.mean(0)
    return float(np.trace(within @ np.linalg.pinv(centred.T @ centred / len(present), rcond=1e-10)) / len(present))


@pytest.mark.parametrize(("n", "k", "d"), [(60, 4, 10), (60, 4, 2), (200, 10, 9), (12, 2, 30), (80, 5, 4)])
def test_nc1_agrees_with_the_trace_of_full_matrices(n: int, k: int, d: int) -> None:
    labels = classes(n, k)
    features = normal(k, d)[labels] + 0.5 * normal(n, d, seed=1)
    expected = reference_nc1(features.numpy(), labels.numpy())
    assert nc1(features, labels) == pytest.approx(expected, rel=1e-6)
    turned = torch.linalg.qr(normal(d, d, seed=2))[0]
    assert nc1(1e6 * (features @ turned + 3), 3 * labels) == pytest.approx(expected, rel=1e-6)


def test_nc1_of_two_classes_on_a_line() -> None:
    # Means -1 and 1, so that Σ_B = 1; deviations of 0.5, so that Σ_W = 0.25.
    features = torch.tensor([[-1.5], [-0.5], [0.5], [1.5]])
    assert nc1(features, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25 / 2)


def test_the_extremes_of_nc1() -> None:
    labels = torch.arange(30) % 3
    assert nc1(torch.eye(3)[labels], labels) == pytest.approx(0.0, abs=1e-15)
    assert nc1(torch.full((30, 4), 0.1), labels) == math.inf
    assert nc1(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), torch.tensor([0, 0, 1, 1])) == math.inf


def test_dimension_ratio_of_a_simplex_is_one() -> None:
    assert dimension_ratio(torch.eye(5).repeat(4, 1), 5) == pytest.approx(1.0)
    assert dimension_ratio(torch.eye(3, 5).repeat(4, 1), 5) == pytest.approx(0.5)
    with pytest.raises(DataError, match="two classes or more, found 1"):
        dimension_ratio(torch.eye(5), 1)


def test_separated_symbols_are_linearly_predictable_and_noise_is_not() -> None:
    labels = classes(400, 4).sort().values  # the split does not depend on order
    assert linear_predictability(torch.eye(4)[labels] + 0.05 * normal(400, 4), labels) == 1.0
    assert linear_predictability(normal(400, 4), labels) < 0.45


def test_ring_and_centre_are_not_linearly_predictable() -> None:
    angle = torch.linspace(0, 2 * math.pi, 201)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    features = torch.cat([ring, 0.1 * ring])
    assert linear_predictability(features, (torch.arange(400) >= 200).long()) < 0.7


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.zeros(6, dtype=torch.long), "all labels are 0"),
        (torch.zeros(6), "expected integers"),
        (torch.zeros(5, dtype=torch.long), r"shape \(5,\), expected \(6,\)"),
        (torch.tensor([0, 0, 0, 0, 0, 1]), "a single sample"),
    ],
)
def test_wrong_labels_are_refused(labels: Tensor, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        linear_predictability(normal(6, 3), labels)
    assert caught.value.hint
