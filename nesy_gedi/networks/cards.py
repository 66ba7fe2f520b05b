"""Encoder cards: ``card.json`` beside an encoder's weights says how to build it again, and what it has learned from."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nesy_gedi.errors import RunError, UsageError, did_you_mean
from nesy_gedi.files import write_json

CARD = "card.json"
"""Name of the file beside the weights."""

VERSION = 1
"""Of the card's format; a reader refuses later ones."""

KINDS = ("conv", "mlp", "torchvision", "timm", "python")
"""Architectures that a card can name; ``python`` is code of one's own."""

RANGE = "uint8 0..255 or float 0..1"
"""Values of images before they are standardised; bytes are divided by 255."""


@dataclass(frozen=True)
class InputCard:
    """What one input of an encoder is.

    Attributes:
        shape: (channels, height, width) of an image, (d,) of a point, (length, d) of a sequence.
        mean: subtracted, of each channel or coordinate, after images have been brought to [0, 1].
        std: divides what is left; positive.
        range: of the values that are given.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: str = RANGE


@dataclass(frozen=True)
class Architecture:
    """How an encoder without its weights is made again.

    Attributes:
        kind: one of :data:`KINDS`.
        name: of the model in torchvision or timm, ``package.module:factory`` of ``python``; empty for bundled ones.
        arguments: keyword arguments of the bundled encoder's class, such as ``{"features": 128, "width": 8}``.
        adapted: what the architecture itself takes, where images of another size, colour or normalisation are adapted to
            it (see :mod:`nesy_gedi.networks.adapters`); keys of its own weights then begin with ``encoder.``.
    """

    kind: str
    name: str = ""
    arguments: Mapping[str, int | float | bool | str] = field(default_factory=dict)
    adapted: InputCard | None = None


@dataclass(frozen=True)
class EncoderCard:
    """What is known of an encoder whose weights are in a safetensors file beside the card.

    Attributes:
        architecture: how it is made again.
        input: what it takes; its mean and std come before the encoder, whose weights do not hold them.
        features: width of what it returns, (batch, features).
        further_inputs: what it takes beside the first input.
        domain: symbols of the network that it belongs to.
        clusters: for each cluster of the network's head the symbol that it stands for; None where it has symbols alone.
        objective: what it has learned from, such as ``answers`` or ``gedi``.
        data: the data set that it has learned from.
        program: the program that it was trained with; empty for a pretraining.
        seed: of the run.
        metrics: what the run has measured, by name; None where a number could not be told.
        created_by: name and version of what has written the card.
        sha256: of the weights file, hexadecimal.
        version: of the card's format.
    """

    architecture: Architecture
    input: InputCard
    features: int
    further_inputs: tuple[InputCard, ...] = ()
    domain: tuple[str, ...] = ()
    clusters: tuple[str, ...] | None = None
    objective: str = ""
    data: str = ""
    program: str = ""
    seed: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    created_by: str = ""
    sha256: str = ""
    version: int = VERSION

    @property
    def inputs(self) -> tuple[InputCard, ...]:
        """All inputs, in the order of ``forward``."""
        return (self.input, *self.further_inputs)


def sha256_of(file: Path) -> str:
    """Checksum of a file, hexadecimal; read in pieces."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def card_of(weights: Path) -> Path:
    """Where the card of a weights file is."""
    return weights.parent / CARD


def write_card(card: EncoderCard, weights: Path) -> EncoderCard:
    """Write ``card`` beside its weights, with their checksum; returns what was written.

    Raises:
        UsageError: a card that could not be read again.
        RunError: there are no such weights, or the folder cannot be written.
    """
    try:
        card = replace(card, sha256=sha256_of(weights))
        content = asdict(card)
        _read(content)
        write_json(card_of(weights), {"version": content.pop("version"), **content})
    except _Fault as fault:
        raise UsageError(f"an encoder's card cannot say {fault.where}: {fault}", where=str(card_of(weights))) from fault
    except OSError as error:
        raise RunError(f"cannot write the card: {error}", where=str(card_of(weights))) from error
    return card


def read_card(weights: Path, *, verify: bool = True) -> EncoderCard:
    """The card of the weights in ``weights``, a safetensors file.

    Args:
        verify: compare the file with the card's checksum.

    Raises:
        UsageError: there are no such weights, or no card beside them.
        RunError: a card that is damaged or newer than this version, or weights that are not those of the card.
    """
    file = card_of(weights)
    if not weights.is_file():
        raise UsageError("there is no such file of weights", where=str(weights), hint="check the path")
    if not file.is_file():
        raise UsageError(
            f"there is no {CARD} beside the weights, so that what they belong to is not known",
            where=str(weights),
            hint="export the encoder again with nesy-gedi export, or name the architecture and its weights: "
            "--encoder NET=torchvision:resnet18 --set networks.NET.weights_file=FILE",
        )
    try:
        card = _read(json.loads(file.read_text(encoding="utf-8")))
    except _Fault as fault:
        raise RunError(
            f"the encoder's card is damaged at {fault.where}: {fault}",
            where=str(file),
            hint=fault.hint or "restore the file, or export the encoder again",
        ) from fault
    except (OSError, ValueError) as error:
        raise RunError(
            f"the encoder's card cannot be read: {error}", where=str(file), hint="restore it, or export again"
        ) from error
    if verify and (found := sha256_of(weights)) != card.sha256:
        raise RunError(
            f"the weights are not those of their card: its sha256 is {card.sha256[:12]}..., theirs {found[:12]}...",
            where=str(weights),
            hint="restore both files, or export the encoder again",
        )
    return card


class _Fault(Exception):
    """What is wrong with a card, and where in it."""

    def __init__(self, where: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.hint = hint


def _read(content: Any) -> EncoderCard:
    """A card of its JSON value, checked."""
    said = _object(content, "the card")
    version = _of(said.get("version"), int, "version")
    if version > VERSION:
        raise _Fault("version", f"{version}, this version of nesy-gedi reads {VERSION}", "upgrade nesy-gedi")
    said = _keys(said, EncoderCard, "")
    made = {
        **said,
        "architecture": _architecture(said["architecture"]),
        "input": _input(said["input"], "input"),
        "further_inputs": tuple(
            _input(each, f"further_inputs[{k}]") for k, each in enumerate(_list(said, "further_inputs"))
        ),
        "domain": _strings(said, "domain"),
        "clusters": None if said.get("clusters") is None else _strings(said, "clusters"),
        "seed": None if said.get("seed") is None else _of(said["seed"], int, "seed"),
        "metrics": _object(said.get("metrics", {}), "metrics"),
    }
    if _of(made["features"], int, "features") < 1:
        raise _Fault("features", f"must be positive, not {made['features']}")
    for key in ("objective", "data", "program", "created_by", "sha256"):
        _of(made.get(key, ""), str, key)
    if not re.fullmatch("[0-9a-f]{64}", made.get("sha256", "")):
        raise _Fault("sha256", "must be 64 hexadecimal digits")
    if unknown := set(made["clusters"] or ()) - set(made["domain"]):
        raise _Fault("clusters", f"{min(unknown)} is not in the domain")
    for name, value in made["metrics"].items():
        if value is not None:
            _of(value, float, f"metrics.{name}")
    return EncoderCard(**made)


def _architecture(content: Any) -> Architecture:
    said = _keys(_object(content, "architecture"), Architecture, "architecture.")
    kind, name = _of(said["kind"], str, "architecture.kind"), _of(said.get("name", ""), str, "architecture.name")
    if kind not in KINDS:
        raise _Fault("architecture.kind", f"there is no {kind}; {did_you_mean(kind, KINDS)}")
    if bool(name) == (kind in ("conv", "mlp")):
        raise _Fault("architecture.name", f"{kind} has no name" if name else f"{kind} needs a name")
    arguments = _object(said.get("arguments", {}), "architecture.arguments")
    for key, value in arguments.items():
        if not isinstance(value, (int, float, str)):
            raise _Fault(f"architecture.arguments.{key}", "must be a number, a string or a truth value")
    adapted = said.get("adapted")
    return Architecture(kind, name, arguments, None if adapted is None else _input(adapted, "architecture.adapted"))


def _input(content: Any, where: str) -> InputCard:
    said = _keys(_object(content, where), InputCard, f"{where}.")
    shape = tuple(_of(each, int, f"{where}.shape") for each in _list(said, "shape", where))
    mean, std = (
        tuple(float(_of(each, float, f"{where}.{key}")) for each in _list(said, key, where)) for key in ("mean", "std")
    )
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise _Fault(f"{where}.shape", f"must be one to three positive numbers, not {list(shape)}")
    channels = shape[-1] if len(shape) == 2 else shape[0]
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise _Fault(f"{where}.{key}", f"has {len(values)} values for {channels} channels")
    if min(std) <= 0.0:
        raise _Fault(f"{where}.std", "must be positive")
    return InputCard(shape, mean, std, _of(said.get("range", RANGE), str, f"{where}.range"))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Fault(where, "must be a JSON object")
    return dict(value)


def _keys(said: dict[str, Any], kind: type, prefix: str) -> dict[str, Any]:
    """What is known of ``said``: keys of later cards of the same version are left out, missing ones refused."""
    known = {each.name: each for each in fields(kind)}
    required = {"architecture", "input", "features", "sha256", "kind", "shape", "mean", "std"}
    for name in known.keys() & required - said.keys():
        raise _Fault(f"{prefix}{name}", "is missing")
    return {name: value for name, value in said.items() if name in known}


def _list(said: Mapping[str, Any], key: str, prefix: str = "") -> list[Any]:
    value = said.get(key, [])
    if not isinstance(value, (list, tuple)):
        raise _Fault(f"{prefix}.{key}" if prefix else key, "must be a list")
    return list(value)


def _strings(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_of(each, str, key) for each in _list(said, key))


def _of(value: Any, kind: type, where: str) -> Any:
    """``value``, which is of ``kind``; an integer is a float, a truth value is neither, and a float is finite."""
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool):
        named = {int: "an integer", float: "a number", str: "a string"}[kind]
        raise _Fault(where, f"must be {named}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise _Fault(where, f"must be finite, not {value}")
    return value
