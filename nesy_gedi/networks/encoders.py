"""Encoders: images (batch, channels, height, width) or points (batch, d), or several of them, to features (batch, d)."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.networks.handed_over import PREFIX, make_given

BUNDLED = ("conv", "mlp")

NORMALISATIONS = ("batch", "none")

SMALLEST_MAP = 3
"""Pooling stops before a feature map would be smaller than this on its shorter side."""

MLP_WIDTH = 256
"""Units of an :class:`MlpEncoder`'s hidden layer."""


class ConvEncoder(nn.Module):
    """A small convolutional network whose depth follows the image size: 2 stages for 8x8, 3 for 28x28 and 32x32.

    Each stage is convolution 3x3, max-pooling by 2, batch normalisation and ReLU; the width doubles from stage to
    stage. Pooling first leaves a quarter of the values to normalise, and channels last suit the CPU's convolutions.

    Args:
        image_shape: (channels, height, width).
        features: width of the output; 0 for the last feature map as it is, whose shape is then ``map_shape``.
        width: channels of the first stage; 0 chooses it from the image size.
        normalisation: ``batch``, or ``none`` (biases instead) where an image's features may not depend on the others
            in its batch, as for the energy of an image.

    Raises:
        UsageError: points, or an unknown normalisation.
    """

    def __init__(
        self, image_shape: tuple[int, ...], features: int = 128, width: int = 0, *, normalisation: str = "batch"
    ) -> None:
        super().__init__()
        if len(image_shape) != 3:
            raise UsageError(
                f"the encoder conv takes images (channels, height, width), not data of shape {image_shape}",
                hint='points need encoder = "mlp", and so do sequences: --encoder NET=mlp',
            )
        if normalisation not in NORMALISATIONS:
            raise UsageError(
                f"there is no normalisation {normalisation}", hint=did_you_mean(normalisation, NORMALISATIONS)
            )
        channels, height, wide = image_shape
        stages = max(2, int(math.log2(max(1.0, min(height, wide) / SMALLEST_MAP))))
        # Measured on digits: a small image has few pixels and needs the more channels.
        width = width or (8 if stages > 2 else 32)
        layers: list[nn.Module] = []
        for stage in range(stages):
            out = width * 2**stage
            normalised = normalisation == "batch"
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=not normalised), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()] if normalised else [nn.ReLU()]
            channels, height, wide = out, math.ceil(height / 2), math.ceil(wide / 2)
        self.stages: nn.Module = nn.Sequential(*layers)
        self.stages.to(memory_format=torch.channels_last)
        self.map_shape: tuple[int, int, int] | None = None if features else (channels, height, wide)
        narrow = (nn.Linear(channels * height * wide, features), nn.ReLU()) if features else ()
        self.project = nn.Sequential(nn.Flatten(), *narrow)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features of images (batch, channels, height, width) float; the channels of several follow one another."""
        images = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
        features: Tensor = self.project(self.stages(images.contiguous(memory_format=torch.channels_last)))
        return features


class MlpEncoder(nn.Module):
    """Two fully connected layers with ReLU, for points or flattened images; no normalisation, so rows are independent.

    Args:
        image_shape: of one image or point, (d,) or (channels, height, width).
        features: width of the output.
        width: of the hidden layer; 0 chooses :data:`MLP_WIDTH`.
    """

    def __init__(self, image_shape: tuple[int, ...], features: int = 128, width: int = 0) -> None:
        super().__init__()
        if features < 1:
            raise UsageError(f"the encoder mlp cannot have {features} features", hint="choose at least 1")
        width = width or MLP_WIDTH
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(image_shape), width),
            nn.ReLU(),
            nn.Linear(width, features),
            nn.ReLU(),
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features of images or points (batch, *image_shape) float; several are flattened and follow one another."""
        images = inputs[0] if len(inputs) == 1 else torch.cat([each.flatten(1) for each in inputs], 1)
        features: Tensor = self.layers(images)
        return features


def make_encoder(
    spec: str,
    image_shape: tuple[int, ...],
    features: int,
    *,
    further: Sequence[tuple[int, ...]] = (),
    width: int = 0,
    normalisation: str = "batch",
    trusted: bool,
    permission: str = "allow it with --trust, or name it yourself with --encoder NET=SPEC",
) -> nn.Module:
    """A bundled encoder, or one's own.

    Args:
        spec: ``conv``, ``mlp``, or ``package.module:factory`` where ``factory()`` returns an ``nn.Module``, or is one.
        image_shape, features, width: of the bundled encoders, see :class:`ConvEncoder` and :class:`MlpEncoder`.
        further: shapes of the inputs beside the first. ``conv`` puts the channels of images of one size together, ``mlp``
            all values; your own encoder is called with all inputs.
        normalisation: of ``conv``, ``batch`` or ``none``; ``mlp`` has none, and your own encoder decides for itself.
        trusted: whether ``spec`` may import Python; typing it on the command line says so, a recipe file does not.
        permission: for the hint, how the user can say so.

    Raises:
        UsageError: an unknown name or normalisation, ``conv`` asked for points, a module that does not import, or a
            factory that fails or returns something else.
    """
    if spec == "conv":
        return ConvEncoder(_together(image_shape, further), features, width, normalisation=normalisation)
    if spec == "mlp":
        values = sum(math.prod(shape) for shape in (image_shape, *further))
        return MlpEncoder((values,) if further else image_shape, features, width)
    if spec.startswith(PREFIX):
        return make_given(spec)
    module_name, _, factory_name = spec.partition(":")
    if not factory_name:
        raise unknown_encoder(spec)
    if not trusted:
        raise UsageError(
            f"the recipe names Python code as an encoder: {spec}",
            hint=f"importing it runs its code; {permission}",
        )
    hint = first = _hint_of_import(module_name, factory_name)
    try:
        module = _import(module_name)
        hint = did_you_mean(factory_name, [name for name in vars(module) if not name.startswith("_")])
        found = getattr(module, factory_name)
        hint = "it is called without arguments and returns a torch.nn.Module: name a function or class that does"
        encoder = found if isinstance(found, nn.Module) else found()
    except Exception as error:  # whatever the user's module raises
        if isinstance(error, ModuleNotFoundError) and not f"{module_name}.".startswith(f"{error.name}."):
            hint = f"install or repair what {module_name} imports"
        elif hint == first and not isinstance(error, (ModuleNotFoundError, ValueError, TypeError)):
            hint = "repair it: it fails as it is imported"
        raise UsageError(f"cannot get the encoder {spec}: {type(error).__name__}: {error}", hint=hint) from error
    if not isinstance(encoder, nn.Module):
        raise UsageError(f"{spec} returned {type(encoder).__name__}, not a torch.nn.Module", hint=hint)
    return encoder


def unknown_encoder(spec: str, where: str | None = None) -> UsageError:
    """An error that says what would be an encoder, and which one is near."""
    from torchvision import models

    near = difflib.get_close_matches(spec, BUNDLED, n=1, cutoff=0.5)
    if not near and spec in models.list_models(module=models):
        near = [f"torchvision:{spec}"]
    return UsageError(
        f"there is no encoder {spec}",
        where=where,
        hint=(f"did you mean {near[0]}? " if near else "")
        + f"valid: {', '.join(BUNDLED)}, torchvision:NAME, timm:NAME, FILE.safetensors, package.module:factory for your own, "
        "or the folder of a pretraining or an export",
    )


def _hint_of_import(module: str, factory: str) -> str:
    if module.endswith(".py") or "/" in module:
        return f"write it as in an import, without .py: {'.'.join(Path(module).with_suffix('').parts)}:{factory}"
    return "the module must be importable from where you run the command"


def _import(name: str) -> ModuleType:
    """A module; also one in the working directory, which Python looks into, but an installed command does not."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        top, here = name.partition(".")[0], Path.cwd()
        if str(here) in sys.path or not ((here / top).is_dir() or (here / f"{top}.py").is_file()):
            raise
        sys.path.append(str(here))
        return importlib.import_module(name)


def _together(image_shape: tuple[int, ...], further: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of images whose channels follow one another."""
    if any(len(shape) != 3 or shape[1:] != image_shape[1:] for shape in further):
        shapes = ", ".join(map(str, (image_shape, *further)))
        raise UsageError(
            f"the encoder conv takes several images of one size, not inputs of shapes {shapes}",
            hint='set encoder = "mlp" (--encoder NET=mlp), or name your own, whose forward() takes all inputs',
        )
    return (image_shape[0] + sum(shape[0] for shape in further), *image_shape[1:])


def features_fault(returned: object, images: int) -> tuple[str, str] | None:
    """What is wrong with the features (images, d) float that an encoder returns, and a hint; None where nothing is."""
    if not isinstance(returned, Tensor):
        return (
            f"the encoder returns {_describe(returned)}, expected a tensor of features (batch, d)",
            "let its forward() return that tensor alone",
        )
    if returned.dim() != 2:
        return (
            f"the encoder returns features of shape {tuple(returned.shape)}, expected (batch, d)",
            "end it with torch.nn.Flatten()" if returned.dim() > 2 else "keep a row of features for each image",
        )
    if len(returned) != images:
        return rows_fault(returned, images)
    if not returned.is_floating_point():
        return (
            f"the encoder returns features of type {type_of(returned)}, expected float",
            "leave out what rounds or counts: integers have no gradient",
        )
    return None


def rows_fault(returned: Tensor, images: int) -> tuple[str, str]:
    """Message and hint about a tensor with another number of rows than there are images."""
    return (
        f"the encoder returns {len(returned)} rows for {images} images, expected one row an image",
        "keep the first dimension in all layers",
    )


def _describe(returned: object) -> str:
    if not isinstance(returned, (tuple, list)):
        return f"{type(returned).__name__}"
    return f"a {type(returned).__name__} of {len(returned)} ({', '.join(type(each).__name__ for each in returned[:3])})"


def type_of(tensor: Tensor) -> str:
    """``float32``, ``int64`` and so on."""
    return str(tensor.dtype).removeprefix("torch.")
