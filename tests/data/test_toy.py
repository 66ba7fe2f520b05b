from __future__ import annotations

import numpy as np
import pytest
import torch

from nesy_gedi.data import ImageSet, load_card, load_images, split_validation
from nesy_gedi.data.toy import generate_circles, generate_moons

GENERATORS = {"moons": generate_moons, "circles": generate_circles}


def rows(points: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(point) for point in points.tolist()}


@pytest.mark.parametrize("name", GENERATORS)
def test_points_are_two_dimensional_and_balanced(name: str) -> None:
    splits = load_images(name)
    for part, size in ((splits.train, 4000), (splits.test, 1000)):
        assert part.images.shape == (size, 2)
        assert part.images.dtype == torch.float32
        assert part.shape == (2,)
        assert part.labels["class"].index.bincount().tolist() == [size // 2, size // 2]


@pytest.mark.parametrize("name", GENERATORS)
def test_splits_share_no_point(name: str) -> None:
    splits = load_images(name)
    train, test = rows(splits.train.images), rows(splits.test.images)
    assert len(train | test) == 5000
    part, validation = split_validation(splits.train, 500, seed=1)
    assert (len(part), len(validation)) == (3500, 500)
    assert rows(part.images) | rows(validation.images) == train


@pytest.mark.parametrize("name", GENERATORS)
def test_same_seed_same_points(name: str) -> None:
    card, generate = load_card(name), GENERATORS[name]
    first, again, other = (generate(card, seed) for seed in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels["class"].index, again.labels["class"].index)
    assert not torch.equal(first.images, other.images)


def distances_from_the_curve(points: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
    return np.abs(np.linalg.norm(points - np.array(centre), axis=1) - radius)


def of_class(images: ImageSet, index: int) -> np.ndarray:
    return images.images[images.labels["class"].index == index].double().numpy()


def test_moons_lie_on_two_half_circles() -> None:
    moons = load_images("moons").train
    upper, lower = of_class(moons, 0), of_class(moons, 1)
    for points, centre in ((upper, (0.0, 0.0)), (lower, (1.0, 0.5))):
        # radial noise of standard deviation 0.05 lies 0.04 from the curve on average
        assert distances_from_the_curve(points, centre, 1.0).mean() == pytest.approx(0.04, abs=0.004)
    assert upper[:, 1].min() > -0.25
    assert lower[:, 1].max() < 0.75


def test_circles_are_concentric() -> None:
    circles = load_images("circles").train
    for index, radius in ((0, 1.0), (1, 0.5)):
        distances = distances_from_the_curve(of_class(circles, index), (0.0, 0.0), radius)
        assert distances.mean() == pytest.approx(0.04, abs=0.004)
