"""Encoders of installed libraries: ``torchvision:NAME`` and ``timm:NAME``, without a classifier, never downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.cards import InputCard

LIBRARIES = ("torchvision", "timm")

NEAREST = 5
"""Names that an error suggests; there are hundreds."""

_CLASSES = 1000


@dataclass(frozen=True)
class LibraryEncoder:
    """A model of a library that returns features.

    Attributes:
        module: images (batch, *takes.shape) float to features (batch, d).
        takes: the images that it was made for.
        left_out: beginnings of the keys in files of its weights that belong to what was taken off.
    """

    module: nn.Module
    takes: InputCard
    left_out: tuple[str, ...]


def is_library(spec: str) -> bool:
    """Whether an encoder's name means a model of an installed library, which may be imported without more ado."""
    return spec.partition(":")[0] in LIBRARIES and ":" in spec


def make_library_encoder(spec: str, input_shape: Sequence[int] = ()) -> LibraryEncoder:
    """A new model with random weights.

    Args:
        spec: ``torchvision:NAME``, a classifier of :mod:`torchvision.models`, or ``timm:NAME``.
        input_shape: (channels, height, width) that it is to take; its own where empty.

    Raises:
        UsageError: an unknown name, a package that is missing, or a shape that the model cannot have.
    """
    library, _, name = spec.partition(":")
    if input_shape and len(input_shape) != 3:
        raise UsageError(
            f"{spec} takes images, not data of shape {tuple(input_shape)}", hint="for example input_shape = [3, 64, 64]"
        )
    make = _from_torchvision if library == "torchvision" else _from_timm
    try:
        return make(name, tuple(input_shape))
    except UsageError:
        raise
    except Exception as error:  # whatever a library raises
        raise UsageError(f"cannot make {spec}: {type(error).__name__}: {error}", hint="choose another model") from error


def _from_torchvision(name: str, shape: tuple[int, ...]) -> LibraryEncoder:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    if shape and shape[0] != 3:
        raise UsageError(
            f"the models of torchvision take 3 channels, not {shape[0]}",
            hint=f"set input_shape = {[3, *shape[1:]]}; grey images are repeated to colour",
        )
    usual = models.get_model_weights(name).DEFAULT.transforms()
    size = shape[1:] or (usual.crop_size[0], usual.crop_size[0])
    arguments: dict[str, Any] = {}
    left_out: tuple[str, ...] = ()
    if name in ("googlenet", "inception_v3"):  # else they return several tensors while they learn
        arguments = {"aux_logits": False, "init_weights": False}
        left_out = ("aux1.", "aux2.", "AuxLogits.")
    if name.startswith("vit_") and shape:
        if size[0] != size[1]:
            raise UsageError(f"{name} takes square images", hint=f"set input_shape = [3, {size[0]}, {size[0]}]")
        arguments = {"image_size": size[0]}
    model = models.get_model(name, weights=None, **arguments)
    takes = InputCard((3, *size), tuple(usual.mean), tuple(usual.std))
    return LibraryEncoder(model, takes, (*left_out, f"{_take_off_classifier(model)}."))


def _take_off_classifier(model: nn.Module) -> str:
    """Put an identity in the place of the last layer that returns a value a class; returns its name."""
    for name, layer in reversed(list(model.named_modules())):
        width = layer.out_features if isinstance(layer, nn.Linear) else getattr(layer, "out_channels", 0)
        if width == _CLASSES:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, nn.Identity())
            return str(name)
    raise UsageError("the model has no classifier to take off", hint="choose another model")


def _from_timm(name: str, shape: tuple[int, ...]) -> LibraryEncoder:
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"timm:{name} needs the package timm: {error}", hint='install it: pip install "nesy-gedi[timm]"'
        ) from error
    if not timm.is_model(name):  # so that no name stands for a place to download from
        raise _unknown("timm", name, timm.list_models())
    arguments: dict[str, Any] = {}
    if shape:
        usual = timm.get_pretrained_cfg(name) or timm.get_pretrained_cfg(name, allow_unregistered=True)
        usual_shape = tuple(usual.input_size) if usual is not None else (3, 224, 224)
        if shape[0] != usual_shape[0]:
            arguments["in_chans"] = shape[0]
        if usual is not None and usual.fixed_input_size:
            arguments["img_size"] = shape[1:]
    made = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    about: Any = made.pretrained_cfg
    takes = shape or tuple(about["input_size"])
    mean, std = (_channels(about[key], takes[0]) for key in ("mean", "std"))
    classifier = about.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return LibraryEncoder(made, InputCard(takes, mean, std), tuple(f"{each}." for each in names))


def _channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Of each channel; the mean of them where there are others."""
    values = tuple(float(value) for value in values)
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def _unknown(library: str, name: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=NEAREST, cutoff=0.4) or sorted(known)[:NEAREST]
    where = "torchvision.models.list_models()" if library == "torchvision" else "timm.list_models()"
    return UsageError(
        f"{library} has no model {name or 'without a name'}",
        hint=f"did you mean {library}:{near[0]}? near: {', '.join(near)}; {where} lists all",
    )
