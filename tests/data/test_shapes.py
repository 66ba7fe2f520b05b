from __future__ import annotations

import math

import pytest
import torch

from nesy_gedi.data import ImageSet, generate_shapes, load_card
from nesy_gedi.data.shapes import COLOURS, SIDES
from nesy_gedi.errors import UsageError


@pytest.fixture(scope="module")
def shapes() -> ImageSet:
    return generate_shapes(1800, seed=3)


def test_same_seed_same_images(shapes: ImageSet) -> None:
    again, other = generate_shapes(1800, seed=3), generate_shapes(1800, seed=4)
    assert torch.equal(again.images, shapes.images)
    assert not torch.equal(other.images, shapes.images)
    for attribute, labels in shapes.labels.items():
        assert torch.equal(again.labels[attribute].index, labels.index)
        assert not torch.equal(other.labels[attribute].index, labels.index)


def test_attributes_are_the_cards(shapes: ImageSet) -> None:
    attributes = load_card("shapes").attributes
    assert {name: labels.classes for name, labels in shapes.labels.items()} == attributes
    assert set(attributes["shape"]) == set(SIDES)
    assert set(attributes["colour"]) == set(COLOURS)
    assert shapes.shape == (3, 16, 16)


def test_every_combination_is_equally_frequent(shapes: ImageSet) -> None:
    combinations = torch.stack([labels.index for labels in shapes.labels.values()], dim=1)
    unique, counts = combinations.unique(dim=0, return_counts=True)
    assert len(unique) == 18
    assert (counts == 100).all()
    assert not torch.equal(combinations, combinations.sort(dim=0).values)


def test_few_images_and_none() -> None:
    assert len(generate_shapes(1, seed=0)) == 1
    assert generate_shapes(0, seed=0).images.shape == (0, 3, 16, 16)
    with pytest.raises(UsageError, match="cannot generate -1 images"):
        generate_shapes(-1, seed=0)


def lit(images: ImageSet) -> torch.Tensor:
    """(n, 16, 16) bool: pixels that are clearly of the object, by saturation."""
    pixels = images.images.float()
    return pixels.amax(1) - pixels.amin(1) > 70


def test_colour_shows_in_the_object(shapes: ImageSet) -> None:
    pixels, object_ = shapes.images.float(), lit(shapes)[:, None]
    red, green, _ = ((pixels * object_).sum((2, 3)) / object_.sum((2, 3))).unbind(1)
    seen = torch.where(green > red, 2, torch.where(green > 0.5 * red, 1, 0))
    assert torch.equal(seen, shapes.labels["colour"].index)


def test_outlined_objects_are_hollow(shapes: ImageSet) -> None:
    """The pixel at the centre of the object's own bounding box is coloured only where the object is filled."""
    object_ = lit(shapes)
    axis = torch.arange(16)
    rows, columns = object_.any(2), object_.any(1)
    centres = []
    for touched in (rows, columns):
        low = torch.where(touched, axis, 16).amin(1)
        high = torch.where(touched, axis, -1).amax(1)
        centres.append((low + high + 1) // 2)
    at_centre = object_[torch.arange(len(shapes)), centres[0], centres[1]]
    agreement = (at_centre == shapes.labels["filled"].index.bool()).float().mean()
    assert agreement > 0.98


def test_no_attribute_but_filled_shows_in_the_area(shapes: ImageSet) -> None:
    """All shapes have the same area, so that counting pixels does not tell them apart."""
    area = lit(shapes).sum((1, 2)).float()
    filled, shape = shapes.labels["filled"].index.bool(), shapes.labels["shape"].index
    means = torch.stack([area[filled & (shape == kind)].mean() for kind in range(3)])
    assert (means.max() - means.min()) / means.mean() < 0.1


def test_objects_stay_inside_the_image(shapes: ImageSet) -> None:
    """The mean number of coloured pixels of filled circles is close to the circle's area."""
    circles = shapes.labels["filled"].index.bool() & (shapes.labels["shape"].index == 0)
    area = lit(shapes)[circles].sum((1, 2)).float().mean().item()
    assert area == pytest.approx(math.pi * (0.265 * 16) ** 2, rel=0.15)
