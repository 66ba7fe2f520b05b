"""Coloured shapes: small generated images whose attributes are known exactly and independent of each other.

Shapes are drawn from signed distances: the distance of a pixel from the outline, negative inside. A pixel's
coverage is that distance clipped to one pixel around the edge, which antialiases the outline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from nesy_gedi.data.cards import load_card
from nesy_gedi.data.image_sets import ImageSet, Labels
from nesy_gedi.errors import UsageError

SIDES = {"circle": math.inf, "square": 4, "triangle": 3}
COLOURS = {"red": (225, 45, 45), "amber": (245, 175, 25), "green": (40, 190, 80)}  # RGB at full brightness

RADIUS = (0.24, 0.29)  # of the circle with the object's area, as a share of the image side
STROKE = 1.3  # pixels, of an object that is not filled
TILT = math.radians(12)  # the most that an object is turned either way
BRIGHTNESS = (0.65, 1.0)
BACKGROUND = (10.0, 45.0)  # grey level
NOISE = 10.0  # standard deviation of each channel of each pixel, in grey levels


def generate_shapes(count: int, seed: int) -> ImageSet:
    """``count`` images of one object each, with the attributes ``shape``, ``colour`` and ``filled``.

    All combinations of attribute values are equally frequent (up to one image) and in random order. Images are
    (count, 3, 16, 16) uint8; the same seed gives the same images.

    Raises:
        UsageError: ``count`` is negative.
    """
    if count < 0:
        raise UsageError(f"cannot generate {count} images", hint="choose a count of 0 or more")
    card = load_card("shapes")
    generator = torch.Generator().manual_seed(seed)
    labels = _balanced_labels(card.attributes, count, generator)

    _, size, _ = card.image_shape
    coverage = _coverage(labels["shape"], labels["filled"], size, generator)[:, None]
    palette = torch.tensor([COLOURS[name] for name in card.attributes["colour"]], dtype=torch.float32)
    colour = palette[labels["colour"].index] * _uniform(BRIGHTNESS, count, generator)[:, None]
    background = _uniform(BACKGROUND, count, generator).view(-1, 1, 1, 1)
    pixels = background + coverage * (colour[:, :, None, None] - background)
    pixels = pixels + NOISE * torch.randn(pixels.shape, generator=generator)
    return ImageSet(pixels.round().clamp(0, 255).to(torch.uint8), labels)


def _balanced_labels(
    attributes: Mapping[str, tuple[str, ...]], count: int, generator: torch.Generator
) -> dict[str, Labels]:
    combinations = math.prod(len(classes) for classes in attributes.values())
    remaining = torch.randperm(count, generator=generator) % combinations
    labels = {}
    for attribute, classes in attributes.items():
        labels[attribute] = Labels(classes, remaining % len(classes))
        remaining = remaining // len(classes)
    return labels


def _coverage(shape: Labels, filled: Labels, size: int, generator: torch.Generator) -> torch.Tensor:
    """(n, size, size) in 0..1: how much of each pixel the object covers."""
    count = len(shape)
    radius = size * _uniform(RADIUS, count, generator)
    tilt = _uniform((-TILT, TILT), count, generator)
    shift = _uniform((-1.0, 1.0), 2 * count, generator).view(2, count)

    distance = torch.empty(count, size, size)
    axis = torch.arange(size) + 0.5 - size / 2
    for kind, name in enumerate(shape.classes):
        chosen = (shape.index == kind).nonzero().flatten()
        inradius, reach = _extent(SIDES[name])
        # as far from the centre as the object's own reach allows
        room = (size / 2 - radius[chosen] * reach).clamp(min=0)
        across, down = (shift[:, chosen] * room)[:, :, None, None]
        x, y = axis[None, None, :] - across, axis[None, :, None] - down
        distance[chosen] = _distance(x, y, SIDES[name], tilt[chosen], radius[chosen] * inradius)
    outline = (distance + STROKE / 2).abs() - STROKE / 2  # a stroke just inside the edge
    is_filled = filled.index.bool()[:, None, None]
    return (0.5 - torch.where(is_filled, distance, outline)).clamp(0, 1)


def _distance(
    x: torch.Tensor, y: torch.Tensor, sides: float, tilt: torch.Tensor, inradius: torch.Tensor
) -> torch.Tensor:
    """(n, height, width): signed distance from a regular polygon, or a circle, around the origin."""
    if math.isinf(sides):
        reach = (x.square() + y.square()).sqrt()
    else:
        # the polygon is where every edge's outward normal reaches no further than the inradius;
        # at tilt 0 the first edge is the bottom one (image rows count downwards)
        angles = math.pi / 2 + tilt[:, None] + torch.arange(sides) * (2 * math.pi / sides)
        normals = angles[:, :, None, None]
        reach = (x[:, None] * normals.cos() + y[:, None] * normals.sin()).amax(1)
    return reach - inradius[:, None, None]


def _extent(sides: float) -> tuple[float, float]:
    """(inradius, circumradius) of the regular polygon whose area is the unit circle's."""
    if math.isinf(sides):
        return 1.0, 1.0
    inradius = math.sqrt(math.pi / (sides * math.tan(math.pi / sides)))
    return inradius, inradius / math.cos(math.pi / sides)


def _uniform(bounds: tuple[float, float], count: int, generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator)
