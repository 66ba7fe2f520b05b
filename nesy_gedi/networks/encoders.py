"""Encoders: images of shape (batch, channels, height, width) to features of shape (batch, features)."""

from __future__ import annotations

import importlib
import math

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError

BUNDLED = ("conv",)

SMALLEST_MAP = 3
"""Pooling stops before a feature map would be smaller than this on its shorter side."""


class ConvEncoder(nn.Module):
    """A small convolutional network whose depth follows the image size: 2 stages for 8x8, 3 for 28x28 and 32x32.

    Each stage is convolution 3x3, max-pooling by 2, batch normalisation and ReLU; the width doubles from stage to
    stage. Pooling first leaves a quarter of the values to normalise, and channels last suit the CPU's convolutions.

    Args:
        image_shape: (channels, height, width).
        features: width of the output.
        width: channels of the first stage; 0 chooses it from the image size.
    """

    def __init__(self, image_shape: tuple[int, int, int], features: int = 128, width: int = 0) -> None:
        super().__init__()
        channels, height, wide = image_shape
        stages = max(2, int(math.log2(max(1.0, min(height, wide) / SMALLEST_MAP))))
        # Measured on digits: a small image has few pixels and needs the more channels.
        width = width or (8 if stages > 2 else 32)
        layers: list[nn.Module] = []
        for stage in range(stages):
            out = width * 2**stage
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
            channels, height, wide = out, math.ceil(height / 2), math.ceil(wide / 2)
        self.stages: nn.Module = nn.Sequential(*layers)
        self.stages.to(memory_format=torch.channels_last)
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * wide, features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Features of ``images`` (batch, channels, height, width) float."""
        features: Tensor = self.project(self.stages(images.contiguous(memory_format=torch.channels_last)))
        return features


def make_encoder(
    spec: str, image_shape: tuple[int, int, int], features: int, *, width: int = 0, trusted: bool
) -> nn.Module:
    """The encoder that a recipe or ``--encoder`` names.

    Args:
        spec: ``conv``, or ``package.module:factory`` where ``factory()`` returns an ``nn.Module``.
        image_shape, features, width: of the bundled encoder, see :class:`ConvEncoder`.
        trusted: whether ``spec`` may import Python; typing it on the command line says so, a recipe file does not.

    Raises:
        UsageError: an unknown name, a module that does not import, or a factory that fails or returns something else.
    """
    if spec == "conv":
        return ConvEncoder(image_shape, features, width)
    module_name, _, factory_name = spec.partition(":")
    if not factory_name:
        raise UsageError(
            f"there is no encoder {spec}", hint=f"valid: {', '.join(BUNDLED)}, or package.module:factory for your own"
        )
    if not trusted:
        raise UsageError(
            f"the recipe names Python code as an encoder: {spec}",
            hint="importing it runs its code; allow it with --trust, or name it yourself with --encoder NET=SPEC",
        )
    try:
        encoder = getattr(importlib.import_module(module_name), factory_name)()
    except Exception as error:  # whatever the user's module raises
        raise UsageError(
            f"cannot get the encoder {spec}: {type(error).__name__}: {error}",
            hint="the module must be importable from where you run the command",
        ) from error
    if not isinstance(encoder, nn.Module):
        raise UsageError(f"{spec} returned {type(encoder).__name__}, not a torch.nn.Module")
    return encoder
