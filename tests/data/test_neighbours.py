"""Neighbours against scikit-learn, and against a full sort by (distance, index) where points are equally near."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from nesy_gedi.data import nearest_neighbours
from nesy_gedi.errors import DataError, UsageError


def fully_sorted(points: np.ndarray, k: int) -> list[list[int]]:
    """Euclidean neighbours by (squared distance, index); exact for integer coordinates."""
    found = []
    for i, point in enumerate(points.tolist()):
        others = [(sum((a - b) ** 2 for a, b in zip(point, other, strict=True)), j) for j, other in enumerate(points)]
        found.append([j for _, j in sorted(pair for pair in others if pair[1] != i)[:k]])
    return found


def random_features(count: int, width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count + width)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).add(0.5).to(dtype)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("count", "width", "k"), [(300, 5, 10), (300, 40, 299), (65, 3, 64), (64, 20, 1), (2, 1, 1)])
def test_same_as_scikit_learn(metric: str, count: int, width: int, k: int) -> None:
    features = random_features(count, width)
    reference = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(features.numpy())
    distances, expected = reference.kneighbors()  # without arguments it leaves each point itself out
    assert np.unique(distances, axis=1).shape == distances.shape  # so that the order is decided
    found = nearest_neighbours(features, k, metric=metric)
    assert found.dtype == torch.int64
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_lower_precision_finds_points_as_near(metric: str, dtype: torch.dtype) -> None:
    features = random_features(500, 64, dtype)
    exact = features.double().numpy()
    expected, _ = NearestNeighbors(n_neighbors=8, metric=metric, algorithm="brute").fit(exact).kneighbors()
    found = nearest_neighbours(features, 8, metric=metric).numpy()
    if metric == "cosine":
        exact = exact / np.linalg.norm(exact, axis=1, keepdims=True)
        distances = 1 - (exact[:, None] * exact[found]).sum(2)
    else:
        distances = np.linalg.norm(exact[:, None] - exact[found], axis=2)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("width", [4, 48])
def test_the_block_makes_no_difference(metric: str, width: int) -> None:
    features = random_features(333, width, torch.float32)
    expected = nearest_neighbours(features, 7, metric=metric)
    for block in (1, 2, 10, 111, 332, 333, 1000):
        assert torch.equal(nearest_neighbours(features, 7, metric=metric, block=block), expected)


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(st.integers(-2, 2), min_size=width, max_size=width), min_size=2, max_size=150)
    ),
    st.data(),
)
def test_ties_go_to_the_lower_index(points: list[list[int]], data: st.DataObject) -> None:
    lattice = np.array(points)
    k = data.draw(st.integers(1, min(len(lattice) - 1, 12)))
    block = data.draw(st.integers(1, 150))
    features = torch.tensor(points, dtype=torch.float32)
    found = nearest_neighbours(features, k, metric="euclidean", block=block)
    assert found.tolist() == fully_sorted(lattice, k)


def test_ties_across_many_groups_of_columns() -> None:
    points = np.random.default_rng(0).integers(0, 3, (700, 2))  # nine places, about 78 points on each
    features = torch.tensor(points, dtype=torch.float64)
    assert nearest_neighbours(features, 100, metric="euclidean").tolist() == fully_sorted(points, 100)


def test_cosine_ties_go_to_the_lower_index() -> None:
    directions = torch.eye(20)[torch.arange(200) % 20]
    found = nearest_neighbours(directions * torch.arange(1, 201)[:, None], 12)
    for i in range(200):
        same = [j for j in range(i % 20, 200, 20) if j != i]
        others = [j for j in range(200) if j % 20 != i % 20]
        assert found[i].tolist() == [*same, *others][:12]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("width", [3, 32])
def test_duplicates_are_neighbours_and_the_point_itself_is_not(metric: str, width: int) -> None:
    single = random_features(90, width, torch.float32)
    features = torch.cat([single, single, single])
    found = nearest_neighbours(features, 2, metric=metric, block=37)
    for i, row in enumerate(found.tolist()):
        # The same product may round differently in blocks of different sizes: the order of the two is not promised.
        assert sorted(row) == [j for j in (i % 90, i % 90 + 90, i % 90 + 180) if j != i]


def test_all_points_in_one_place() -> None:
    found = nearest_neighbours(torch.full((130, 3), 0.7), 4, metric="euclidean")
    assert found[:6].tolist() == [[1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert torch.equal(found, nearest_neighbours(torch.zeros(130, 20), 4))


@pytest.mark.parametrize("width", [2, 30])
@pytest.mark.parametrize(("offset", "size"), [(1e4, 1.0), (0.0, 1e-30), (0.0, 1e30)])
def test_neither_offset_nor_size_of_the_features_matters(width: int, offset: float, size: float) -> None:
    # whole numbers, which float32 holds exactly after the shift
    points = np.random.default_rng(width).integers(-500, 500, (200, width))
    features = (torch.tensor(points, dtype=torch.float64) + offset) * size
    expected = fully_sorted(points, 5)
    assert nearest_neighbours(features, 5, metric="euclidean").tolist() == expected
    if size == 1.0:
        assert nearest_neighbours(features.float(), 5, metric="euclidean").tolist() == expected


def test_points_closer_than_the_rounding_of_the_product() -> None:
    # Two far clusters whose inner distances vanish beside their squared norms in float32.
    line = torch.arange(50) * 2.0**-12
    features = torch.cat([torch.stack([line, line], 1) + 1.0, torch.stack([line, -line], 1) - 1.0])
    found = nearest_neighbours(features, 2, metric="euclidean")
    assert found[1:49].tolist() == [[i - 1, i + 1] for i in range(1, 49)]
    assert found[51:99].tolist() == [[i - 1, i + 1] for i in range(51, 99)]


def test_a_point_without_direction_is_equally_near_to_all() -> None:
    features = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.5], [2.0, 2.0]])
    found = nearest_neighbours(features, 3)
    assert found[0].tolist() == [1, 2, 3]
    assert found[1].tolist() == [3, 0, 2]


def test_features_and_gradients_are_left_alone() -> None:
    features = random_features(40, 4).requires_grad_()
    before = features.detach().clone()
    found = nearest_neighbours(features, 3, metric="euclidean")
    assert not found.requires_grad
    assert torch.equal(features.detach(), before)


@pytest.mark.parametrize("k", [0, -1, 5, 6])
def test_impossible_numbers_of_neighbours(k: int) -> None:
    with pytest.raises(UsageError, match=f"cannot find {k} neighbours of each of 5 points") as caught:
        nearest_neighbours(torch.randn(5, 2), k)
    assert caught.value.hint == "choose a number from 1 to 4"


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_points(count: int) -> None:
    with pytest.raises(UsageError, match="cannot find 1 neighbours") as caught:
        nearest_neighbours(torch.randn(count, 2), 1)
    assert caught.value.hint == "give at least two points"


def test_other_wrong_requests() -> None:
    with pytest.raises(UsageError, match="there is no metric euclid") as caught:
        nearest_neighbours(torch.randn(5, 2), 1, metric="euclid")
    assert "did you mean euclidean?" in str(caught.value.hint)
    with pytest.raises(UsageError, match="cannot compare blocks of 0 rows"):
        nearest_neighbours(torch.randn(5, 2), 1, block=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite(value: float) -> None:
    features = torch.randn(5, 2)
    features[3, 1] = value
    with pytest.raises(DataError, match="not finite"):
        nearest_neighbours(features, 1)


@pytest.mark.parametrize("features", [torch.zeros(5), torch.zeros(5, 1, 2), torch.zeros(5, 2, dtype=torch.uint8)])
def test_features_of_another_kind(features: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"float features of shape \(n, d\), not") as caught:
        nearest_neighbours(features, 1)
    assert "flatten(1)" in str(caught.value.hint)
