"""Heads that are fitted: principal axes, k-means, and the imitation of another distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.training.cluster_heads import distil, fit_kmeans, principal_axes, scaled


def blobs(per_cluster: int = 40, spread: float = 0.5) -> tuple[Tensor, np.ndarray]:
    """Points around three centres in four dimensions, and the centre of each."""
    centres = np.array([[4.0, 0.0, 0.0, 1.0], [0.0, 4.0, 0.0, 1.0], [0.0, 0.0, 4.0, 1.0]])
    index = np.repeat(np.arange(3), per_cluster)
    noise = np.random.default_rng(0).normal(size=(len(index), 4)) * spread
    return torch.from_numpy(centres[index] + noise), index


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


# -- principal axes ----------------------------------------------------------------------------------------------------


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_all_axes_keep_cosines() -> None:
    features = torch.randn(30, 6, dtype=torch.float64) * torch.arange(1.0, 7.0, dtype=torch.float64) + 2.0
    seen = features @ principal_axes(features, 6)
    np.testing.assert_allclose(cosines(seen.numpy()), cosines(features.numpy()), atol=1e-10)


def test_as_many_axes_as_the_features_have_directions_keep_cosines() -> None:
    features = torch.randn(30, 3, dtype=torch.float64) @ torch.randn(3, 8, dtype=torch.float64)
    seen = features @ principal_axes(features, 3)
    np.testing.assert_allclose(cosines(seen.numpy()), cosines(features.numpy()), atol=1e-10)


def test_axes_are_the_right_singular_vectors_with_mean_square_one() -> None:
    features = torch.randn(50, 5, dtype=torch.float64) + 1.0
    seen = (features @ principal_axes(features, 2)).numpy()
    _, values, directions = np.linalg.svd(features.numpy(), full_matrices=False)
    expected = features.numpy() @ directions[:2].T
    expected /= np.sqrt((values[:2] ** 2 / 50).mean())
    np.testing.assert_allclose(np.abs(seen), np.abs(expected), rtol=1e-9, atol=1e-9)
    assert (seen**2).mean() == pytest.approx(1.0)


def test_axes_of_features_that_are_all_zero_are_finite() -> None:
    axes = principal_axes(torch.zeros(10, 4), 2)
    assert bool((torch.zeros(10, 4) @ axes == 0).all())


# -- k-means -----------------------------------------------------------------------------------------------------------


def test_the_head_of_kmeans_is_the_posterior_of_equal_gaussians_at_the_centres() -> None:
    features, index = blobs()
    x = features.numpy()
    head = nn.Linear(4, 3).double()
    fit_kmeans(head, features, seed=0)
    # Blobs so far apart are the clusters: their means are the centres.
    centres = np.stack([x[index == k].mean(0) for k in range(3)])
    squares = ((x[:, None] - centres) ** 2).sum(2)
    variance = squares.min(1).sum() / x.size
    posterior = softmax(-squares / (2.0 * variance))
    found = torch.softmax(head(features), 1).detach().numpy()
    order = [int(found[index == k].mean(0).argmax()) for k in range(3)]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found[:, order], posterior, atol=1e-8)


def test_the_likeliest_cluster_is_that_of_the_nearest_centre_anywhere() -> None:
    features, index = blobs(spread=0.3)
    head = nn.Linear(4, 3).double()
    fit_kmeans(head, features, seed=1)
    x = features.numpy()
    centres = np.stack([x[index == k].mean(0) for k in range(3)])
    order = head(torch.from_numpy(centres)).argmax(1).numpy()
    elsewhere = 5.0 * torch.randn(200, 4, dtype=torch.float64)
    nearest = ((elsewhere.numpy()[:, None] - centres) ** 2).sum(2).argmin(1)
    assert head(elsewhere).argmax(1).tolist() == order[nearest].tolist()


def test_kmeans_depends_on_its_seed_alone() -> None:
    features = torch.randn(60, 4)  # without clusters every start ends elsewhere
    heads = [nn.Linear(4, 8) for _ in range(3)]
    fit_kmeans(heads[0], features, seed=5)
    torch.rand(7)
    fit_kmeans(heads[1], features, seed=5)
    fit_kmeans(heads[2], features, seed=6)
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)


def test_clusters_without_extent_give_a_finite_head() -> None:
    features = torch.eye(3).repeat(5, 1)
    head = nn.Linear(3, 3)
    fit_kmeans(head, features, seed=0)
    found = torch.softmax(head(features), 1)
    assert bool(head.weight.isfinite().all())
    assert found.max(1).values.tolist() == pytest.approx([1.0] * 15)


# -- another distribution ----------------------------------------------------------------------------------------------


def test_a_linear_softmax_teacher_is_reproduced() -> None:
    features = torch.randn(400, 5, dtype=torch.float64)
    teacher = torch.log_softmax(features @ torch.randn(5, 4, dtype=torch.float64) + torch.randn(4).double(), 1)
    head = nn.Linear(5, 4).double()
    distil(head, features, teacher)
    found = torch.log_softmax(head(features), 1).detach()
    np.testing.assert_allclose(found.exp().numpy(), teacher.exp().numpy(), atol=2e-3)


def test_imitation_has_the_teachers_cluster_sizes() -> None:
    """The gradient of a bias is the difference of the mean probabilities, whatever the teacher."""
    features = torch.randn(300, 3, dtype=torch.float64)
    teacher = torch.log_softmax(torch.sin(3.0 * features) @ torch.randn(3, 4, dtype=torch.float64), 1)
    head = nn.Linear(3, 4).double()
    distil(head, features, teacher)
    sizes = torch.softmax(head(features), 1).mean(0)
    np.testing.assert_allclose(sizes.detach().numpy(), teacher.exp().mean(0).numpy(), atol=1e-3)


def test_a_certain_teacher_with_an_empty_cluster_gives_a_finite_head() -> None:
    features, index = blobs()
    target = torch.full((len(index), 4), -torch.inf, dtype=torch.float64)
    target[torch.arange(len(index)), torch.from_numpy(index)] = 0.0  # nothing is ever in cluster 3
    head = nn.Linear(4, 4).double()
    distil(head, features, target)
    assert all(bool(parameter.isfinite().all()) for parameter in head.parameters())
    assert head(features).argmax(1).tolist() == index.tolist()


def test_scaled_logits() -> None:
    head = nn.Linear(4, 3).double()
    before = head.weight.clone()
    x = torch.randn(5, 4, dtype=torch.float64)
    np.testing.assert_allclose(scaled(head, 2.5)(x).detach().numpy(), 2.5 * head(x).detach().numpy(), rtol=1e-12)
    assert torch.equal(head.weight, before)
