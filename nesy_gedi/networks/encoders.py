"""Encoders: images of shape (batch, channels, height, width) to features of shape (batch, features)."""

from __future__ import annotations

import importlib
import math

from torch import Tensor, nn

from nesy_gedi.errors import UsageError

BUNDLED = ("conv",)

SMALLEST_MAP = 3
"""Pooling stops before a feature map would be smaller than this on its shorter side."""


class ConvEncoder(nn.Module):
    """A small convolutional network whose depth follows the image size: 2 stages for 8x8, 3 for 28x28 and 32x32.

    Each stage is convolution 3x3, batch normalisation, ReLU and max-pooling by 2; the width doubles from stage to
    stage.

    Args:
        image_shape: (channels, height, width).
        features: width of the output.
        width: channels of the first stage; chosen from the image size when not given.
    """

    def __init__(self, image_shape: tuple[int, int, int], features: int = 128, width: int | None = None) -> None:
        super().__init__()
        channels, height, wide = image_shape
        stages = max(2, int(math.log2(max(1.0, min(height, wide) / SMALLEST_MAP))))
        # A small image has few pixels and needs the more channels.
        width = width or (16 if stages > 2 else 32)
        layers: list[nn.Module] = []
        for stage in range(stages):
            out = width * 2**stage
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            channels, height, wide = out, math.ceil(height / 2), math.ceil(wide / 2)
        self.stages = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * wide, features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Features of ``images`` (batch, channels, height, width) float."""
        features: Tensor = self.project(self.stages(images))
        return features


def make_encoder(spec: str, image_shape: tuple[int, int, int], features: int, *, trusted: bool) -> nn.Module:
    """The encoder that a recipe or ``--encoder`` names.

    Args:
        spec: ``conv``, or ``package.module:factory`` where ``factory()`` returns an ``nn.Module``.
        trusted: whether ``spec`` may import Python; typing it on the command line says so, a recipe file does not.

    Raises:
        UsageError: an unknown name, a module that does not import, or a factory that returns something else.
    """
    if spec == "conv":
        return ConvEncoder(image_shape, features)
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
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"cannot get the encoder {spec}: {error}",
            hint="the module must be importable from where you run the command",
        ) from error
    if not isinstance(encoder, nn.Module):
        raise UsageError(f"{spec} returned {type(encoder).__name__}, not a torch.nn.Module")
    return encoder
