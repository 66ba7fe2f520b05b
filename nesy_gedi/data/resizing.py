"""Images in memory brought to another size, or from grey to colour and back."""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.errors import DataError

_LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are, after ITU-R BT.601."""

_AT_ONCE = 1024  # images


def resize(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(n, channels, height, width) uint8 stretched to ``shape`` with antialiasing.

    Args:
        shape: (height, width), or (channels, height, width) with 1 or 3 channels.

    Raises:
        DataError: points or sequences.
    """
    if images.ndim != 4:
        raise DataError(
            f"these are no images: inputs of shape {tuple(images.shape[1:])} have no image_shape",
            where="data.image_shape",
            hint="leave data.image_shape out",
        )
    channels = shape[0] if len(shape) == 3 else images.shape[1]
    if tuple(images.shape[1:]) == (channels, *shape[-2:]):
        return images
    chunks = [_resize(chunk, channels, (shape[-2], shape[-1])) for chunk in images.split(_AT_ONCE)]
    return torch.cat(chunks) if chunks else images.new_empty((0, channels, *shape[-2:]))


def _resize(images: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    levels = images.float()
    if channels == 1 and levels.shape[1] == 3:
        levels = (levels * levels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if levels.shape[-2:] != size:
        levels = torch.nn.functional.interpolate(levels, size, mode="bilinear", antialias=True)
    return levels.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
