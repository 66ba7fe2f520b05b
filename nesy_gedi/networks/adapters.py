"""Images of one size, colour and normalisation for encoders that take another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nesy_gedi.errors import UsageError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey level: ITU-R BT.601."""


class Adapted(nn.Module):
    """An encoder behind a fixed linear map of images: grey from colour, another size, colour from grey, standardised.

    The size is changed bilinearly with antialiasing, as ``torch.nn.functional.interpolate`` does, but written as two
    products with matrices that are kept beside the weights: so that a checkpoint restores it, and ONNX and a definition
    in plain torch compute the same.

    Args:
        encoder: takes images (batch, *takes).
        given: (channels, height, width) of the images.
        takes: (channels, height, width) that the encoder takes; 1 or 3 channels where they differ.
        mean, std: of each of the encoder's channels, subtracted and divided by; nothing is where they are None.

    Raises:
        UsageError: shapes that are not those of images, or channels that cannot be adapted.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        given: Sequence[int],
        takes: Sequence[int],
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        given, takes = tuple(given), tuple(takes)
        if len(given) != 3 or len(takes) != 3:
            raise UsageError(
                f"data of shape {given} cannot be adapted to an encoder that takes {takes}",
                hint="only images can; give data of the shape that it takes, or another encoder",
            )
        if given[0] != takes[0] and {given[0], takes[0]} != {1, 3}:
            raise UsageError(
                f"images of {given[0]} channels cannot be adapted to an encoder that takes {takes[0]}",
                hint="grey becomes colour and colour grey: 1 and 3 channels",
            )
        self.encoder = encoder
        self.given, self.takes = given, takes
        for name, before, after in (("rows", given[1], takes[1]), ("columns", given[2], takes[2])):
            self.register_buffer(name, resizing_matrix(before, after) if before != after else None)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1) if (given[0], takes[0]) == (3, 1) else None)
        channels = takes[0]
        self.register_buffer("mean", torch.tensor([0.0] * channels if mean is None else list(mean)))
        self.register_buffer("std", torch.tensor([1.0] * channels if std is None else list(std)))

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Of the encoder, where it returns a feature map."""
        return cast("tuple[int, int, int] | None", getattr(self.encoder, "map_shape", None))

    def adapt(self, images: Tensor) -> Tensor:
        """What the encoder takes, (batch, *takes), of images (batch, *given) float."""
        if (luma := cast("Tensor | None", self.luma)) is not None:
            images = (images * luma.to(images.dtype)).sum(1, keepdim=True)
        if (rows := cast("Tensor | None", self.rows)) is not None:
            images = torch.matmul(rows.to(images.dtype), images)
        if (columns := cast("Tensor | None", self.columns)) is not None:
            images = torch.matmul(images, columns.to(images.dtype).transpose(0, 1))
        if images.shape[1] != self.takes[0]:
            images = images.expand(-1, self.takes[0], -1, -1)
        mean, std = (each.to(images.dtype).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images - mean) / std

    def forward(self, images: Tensor) -> Tensor:
        """The encoder's features (batch, d) of images (batch, *given) float."""
        features: Tensor = self.encoder(self.adapt(images))
        return features

    def sentence(self) -> str:
        """What is done to the images, in words."""
        done = []
        if self.given[1:] != self.takes[1:]:
            done.append("resized from {}x{} to {}x{}".format(*self.given[1:], *self.takes[1:]))
        if self.given[0] < self.takes[0]:
            done.append("repeated to colour")
        if self.given[0] > self.takes[0]:
            done.append("turned grey")
        if bool((self.mean != 0.0).any()) or bool((self.std != 1.0).any()):
            told = [", ".join(f"{value:.3g}" for value in each.tolist()) for each in (self.mean, self.std)]
            done.append(f"normalised by the encoder's mean {told[0]} and deviation {told[1]}")
        return ", ".join(done)


def resizing_matrix(before: int, after: int) -> Tensor:
    """The matrix (after, before) float32 of a bilinear resize with antialiasing along one axis; its rows sum to one. It has
    the rounding of ``interpolate`` in float32: images in float64 may differ by 1e-5 from what that makes of them."""
    one = torch.eye(before)[None, None]
    resized = functional.interpolate(one, size=(after, before), mode="bilinear", align_corners=False, antialias=True)
    return resized[0, 0].contiguous()
