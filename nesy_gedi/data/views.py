"""Views: randomly changed copies of images or points that still show the same thing, a whole batch at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nesy_gedi.data.image_sets import unit_range
from nesy_gedi.errors import DataError, UsageError

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue appear (ITU-R BT.601)."""

_LARGEST = {"shift": 1.0, "rotation": 180.0, "shear": math.inf, "noise": math.inf}  # both ends allowed, inf is not
_BELOW_ONE = ("scale", "colour")  # factors 1 - scale and 1 - colour must stay positive


@dataclass(frozen=True)
class Augmentation:
    """How strongly views differ from their originals; the defaults suit digits, :meth:`for_points` suits points.

    What is drawn for each image is uniform and independent of the other images.

    Args:
        shift: largest shift along each axis, as a share of the image's size.
        scale: the size is multiplied by a factor in ``1 - scale .. 1 + scale``.
        rotation: largest rotation about the centre either way, in degrees.
        shear: largest slant either way, as the horizontal shift per pixel of height.
        noise: standard deviation of Gaussian noise on each pixel in [0, 1], or on each coordinate of a point.
        flip: whether every other image, at random, is mirrored left to right.
        colour: brightness, contrast and (of RGB images) saturation are multiplied by factors in
            ``1 - colour .. 1 + colour``.

    Raises:
        UsageError: a strength that is no number or out of range.
    """

    shift: float = 0.2
    scale: float = 0.2
    rotation: float = 15.0
    shear: float = 0.3
    noise: float = 0.05
    flip: bool = False
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name in (*_LARGEST, *_BELOW_ONE):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"the augmentation's {name} must be a number, not {value!r}")
            if name in _BELOW_ONE:
                right, allowed = 0 <= value < 1, "from 0 to below 1"
            elif math.isinf(_LARGEST[name]):
                right, allowed = 0 <= value < math.inf, "of 0 or more"
            else:
                right, allowed = 0 <= value <= _LARGEST[name], f"from 0 to {_LARGEST[name]:g}"
            if not right:
                raise UsageError(f"the augmentation's {name} cannot be {value}", hint=f"choose a number {allowed}")
        if not isinstance(self.flip, bool):
            raise UsageError(f"the augmentation's flip must be true or false, not {self.flip!r}")

    @classmethod
    def for_points(cls, noise: float = 0.03) -> Augmentation:
        """Noise alone; its default is small beside the gap between the toy data's classes, whose radius is 1."""
        return cls(shift=0.0, scale=0.0, rotation=0.0, shear=0.0, noise=noise)

    @classmethod
    def none(cls) -> Augmentation:
        """Every view is the image itself."""
        return cls(shift=0.0, scale=0.0, rotation=0.0, shear=0.0, noise=0.0)

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        return bool(self.shift or self.scale or self.rotation or self.shear or self.flip)


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """One random view of each image or point.

    Each image gets its own colour jitter, then one affine map (bilinear, black beyond the border), then noise.
    Random numbers come from the global generator of the images' device; the same generator state gives the same views,
    whatever the images' type and memory layout.

    Args:
        images: (n, channels, height, width), uint8 in 0..255 or float in [0, 1]; or points (n, d) and sequences
            (n, length, d) float.
        augmentation: how strongly; for points nothing but ``noise``.

    Returns:
        float32 of the same shape on the same device; images within [0, 1].

    Raises:
        DataError: images of another shape or type.
        UsageError: an augmentation for images given points.
    """
    if images.ndim in (2, 3) and images.is_floating_point():
        return _augment_points(images, augmentation)
    if images.ndim != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise DataError(
            "augmentation takes images (n, channels, height, width), uint8 or float, or points (n, d) float, not "
            f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}",
            hint="put the channels second, and scale grey levels to 0..255 or [0, 1]",
        )
    pixels = unit_range(images).float()
    if augmentation.colour:
        pixels = _jitter_colours(pixels, augmentation.colour)
    if augmentation.moves:
        pixels = _warp(pixels, _random_maps(pixels, augmentation))
    if augmentation.noise:
        return _noise(pixels, augmentation.noise).add_(pixels).clamp_(0.0, 1.0)
    return pixels.clamp(0.0, 1.0)


def _augment_points(points: Tensor, augmentation: Augmentation) -> Tensor:
    if augmentation.moves or augmentation.colour:
        raise UsageError(
            "points can be augmented with noise alone", hint="use Augmentation.for_points(), or set the rest to 0"
        )
    return _noise(points, augmentation.noise).add_(points)


def _noise(like: Tensor, strength: float) -> Tensor:
    # not randn_like, whose values depend on the memory layout
    return torch.randn(like.shape, device=like.device).mul_(strength)


def _random_maps(images: Tensor, augmentation: Augmentation) -> Tensor:
    """(n, 2, 3): for each image a random affine map from places in the view to places in the image.

    The image is slanted and scaled, then rotated, then shifted. Places are those of :func:`_warp`: x to the right and
    y downwards, each from -1 to 1 across the image.
    """
    count, _, height, width = images.shape
    amount = torch.rand(6, count, device=images.device).mul_(2.0).sub_(1.0)
    across, down = 2.0 * augmentation.shift * amount[:2]  # the image is 2 wide and 2 high
    factor = 1.0 + augmentation.scale * amount[2]
    angle = math.radians(augmentation.rotation) * amount[3]  # clockwise
    slant = augmentation.shear * amount[4]
    mirror = torch.where(amount[5] < 0.0, -1.0, 1.0) if augmentation.flip else 1.0

    # The inverse of rotation @ slant * factor, in pixels; x is mirrored last on the way back.
    cosine, sine = angle.cos() / factor, angle.sin() / factor
    x_by_x, x_by_y = mirror * (cosine + slant * sine), mirror * (sine - slant * cosine)
    y_by_x, y_by_y = -sine, cosine
    x_by_y, y_by_x = x_by_y * (height / width), y_by_x * (width / height)
    x = torch.stack([x_by_x, x_by_y, -(x_by_x * across + x_by_y * down)], 1)
    y = torch.stack([y_by_x, y_by_y, -(y_by_x * across + y_by_y * down)], 1)
    return torch.stack([x, y], 1)


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    """The views whose pixel at ``p`` is the image's value at ``map @ (p, 1)``.

    Args:
        images: (n, channels, height, width) float32.
        maps: (n, 2, 3) float32, from and to places between the outer borders at -1 and 1.
    """
    height, width = images.shape[2:]
    # An affine map is a sum of a part for the column and a part for the row: four times faster than F.affine_grid.
    columns = maps[:, :, 0, None] * _centres(width, images.device)
    rows = maps[:, :, 1, None] * _centres(height, images.device) + maps[:, :, 2, None]
    places = (columns[:, :, None, :] + rows[:, :, :, None]).permute(0, 2, 3, 1)
    return F.grid_sample(images.contiguous(), places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _centres(size: int, device: torch.device) -> Tensor:
    return (2.0 * torch.arange(size, dtype=torch.float32, device=device) + 1.0) / size - 1.0


def _jitter_colours(images: Tensor, strength: float) -> Tensor:
    """Brightness, contrast about the mean grey level, and saturation, in that order, in a single pass."""
    brightness, contrast, saturation = 1.0 + strength * (
        torch.rand(3, len(images), 1, 1, 1, device=images.device) * 2.0 - 1.0
    )
    if images.shape[1] != len(LUMA):
        saturation = torch.ones_like(saturation)
        grey = images.mean(1, keepdim=True)
    else:
        grey = (images * images.new_tensor(LUMA).view(1, -1, 1, 1)).sum(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True)
    offset = brightness * ((1.0 - contrast) * level + contrast * (1.0 - saturation) * grey)
    return torch.addcmul(offset, images, brightness * contrast * saturation)
