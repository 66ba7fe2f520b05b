from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nesy_gedi.data import ImageSet, Labels, split_validation
from nesy_gedi.data.image_sets import unit_range
from nesy_gedi.errors import DataError, UsageError


def numbered(*attributes: list[int]) -> ImageSet:
    """Single-pixel images whose pixel is their own position, with the given label values."""
    count = len(attributes[0])
    classes = tuple("abcdefgh")
    labels = {f"attribute{i}": Labels(classes, torch.tensor(values)) for i, values in enumerate(attributes)}
    return ImageSet(torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1), labels)


def positions(images: ImageSet) -> list[int]:
    return images.images.flatten().tolist()


def test_grey_levels_are_scaled_once() -> None:
    scaled = unit_range(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    assert scaled.dtype == torch.float32
    assert scaled.tolist() == [[0.0, pytest.approx(0.2), 1.0]]
    assert unit_range(scaled) is scaled


def test_shape_and_length() -> None:
    images = ImageSet(torch.zeros(5, 3, 4, 6, dtype=torch.uint8), {})
    assert len(images) == 5
    assert images.shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (torch.tensor([0, 1, 2]), "labels lie in 0..2, but 2 classes allow 0..1"),
        (torch.tensor([-2, 0]), "labels lie in -2..0"),
        (torch.tensor([0.0, 1.0]), "not float32 of shape (2,)"),
        (torch.tensor([[0, 1]]), "not int64 of shape (1, 2)"),
    ],
)
def test_impossible_labels(index: torch.Tensor, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        Labels(("no", "yes"), index)
    assert expected in str(caught.value)


def test_images_must_be_bytes_of_four_dimensions() -> None:
    with pytest.raises(DataError, match=r"not float32 of shape \(2, 1, 4, 4\)"):
        ImageSet(torch.zeros(2, 1, 4, 4), {})
    with pytest.raises(DataError, match=r"not uint8 of shape \(2, 4, 4\)"):
        ImageSet(torch.zeros(2, 4, 4, dtype=torch.uint8), {})


def test_points_are_an_image_set_too() -> None:
    points = torch.tensor([[0.0, 1.0, 2.0], [3.0, -4.0, 5.0], [6.0, 7.0, 8.5]])
    images = ImageSet(points, {"class": Labels(("a", "b"), torch.tensor([0, 1, 0]))})
    assert len(images) == 3
    assert images.shape == (3,)
    chosen = images.subset([2, 1])
    assert chosen.images.tolist() == [[6.0, 7.0, 8.5], [3.0, -4.0, 5.0]]
    assert chosen.labels["class"].index.tolist() == [0, 1]
    assert images.subset([]).shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8, torch.int64])
def test_points_must_be_float32(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=rf"not {str(dtype).split('.')[1]} of shape \(2, 3\)") as caught:
        ImageSet(torch.zeros(2, 3, dtype=dtype), {})
    assert caught.value.hint == "convert points with points.float()"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_points_must_be_finite(value: float) -> None:
    points = torch.zeros(5, 2)
    points[3, 1] = points[4, 0] = value
    with pytest.raises(DataError, match="2 of 5 points are not finite, the first is number 3"):
        ImageSet(points, {})


def test_labels_and_images_of_different_length() -> None:
    labels = Labels(("a",), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match='attribute "class" has 3 labels for 2 images'):
        ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), {"class": labels})


def test_subset_keeps_order_and_labels_together() -> None:
    images = numbered([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])
    chosen = images.subset([3, 0, 3])
    assert positions(chosen) == [3, 0, 3]
    assert chosen.labels["attribute0"].index.tolist() == [3, 0, 3]
    assert chosen.labels["attribute1"].index.tolist() == [1, 4, 1]
    assert len(images.subset([])) == 0


@pytest.mark.parametrize("indices", [[5], [-1], [0.5], [True, False, True, False, True], [[0, 1]]])
def test_subset_rejects_what_are_not_positions(indices: list) -> None:
    with pytest.raises(DataError, match="indices"):
        numbered([0, 0, 0, 0, 0]).subset(indices)


labelled = st.integers(1, 60).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, 3), min_size=count, max_size=count), min_size=1, max_size=2)
)


@given(labelled, st.data(), st.integers(0, 2**32))
def test_split_is_a_stratified_partition(attributes: list[list[int]], data: st.DataObject, seed: int) -> None:
    images = numbered(*attributes)
    count = data.draw(st.integers(0, len(images) - 1))
    train, validation = split_validation(images, count, seed)

    assert len(validation) == count
    assert sorted(positions(train) + positions(validation)) == list(range(len(images)))
    assert positions(train) == sorted(positions(train))
    combinations = list(zip(*attributes, strict=True))
    for combination in set(combinations):
        size = combinations.count(combination)
        share = sum(combinations[position] == combination for position in positions(validation))
        assert abs(share - size * count / len(images)) < 1
    assert positions(split_validation(images, count, seed)[1]) == positions(validation)


def test_another_seed_splits_differently() -> None:
    images = numbered([0, 1] * 50)
    splits = {tuple(positions(split_validation(images, 20, seed)[1])) for seed in range(5)}
    assert len(splits) == 5


def test_every_image_is_equally_likely_to_be_chosen() -> None:
    images = numbered([0, 0, 0, 1, 1, 1, 2, 2, 2])
    drawn = [position for seed in range(300) for position in positions(split_validation(images, 2, seed)[1])]
    # 600 draws over 9 images: 67 expected, standard deviation about 7
    assert all(35 < drawn.count(position) < 100 for position in range(9))


@pytest.mark.parametrize("count", [-1, 4, 5])
def test_split_of_too_many(count: int) -> None:
    with pytest.raises(UsageError, match=f"cannot set {count} of 4 images aside") as caught:
        split_validation(numbered([0, 0, 1, 1]), count, seed=0)
    assert caught.value.hint == "choose a count from 0 to 3"


def test_a_sample_is_of_different_images_and_the_same_for_a_seed() -> None:
    images = numbered([0] * 20)
    drawn = positions(images.sample(8, seed=1))
    assert len(set(drawn)) == 8
    assert drawn == positions(images.sample(8, seed=1)) != positions(images.sample(8, seed=2))
    assert images.sample(20, seed=1) is images
