"""Data cards: the one place that knows every data set's classes, sizes, checksums and licence."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resource_files

from nesy_gedi.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Card:
    """What is known about a data set before any file is opened.

    Args:
        name: what ``--data`` takes.
        title, source, licence, citation, note: for people.
        image_shape: (channels, height, width); (coordinates,) for points.
        train, test: numbers of images or points.
        attributes: attribute name -> class names.
        files: published file name -> md5; empty when no file is needed.
        unpacked: file name -> md5 of what a published archive holds, accepted in its place.
        torchvision: the torchvision class that knows where to download the files.
        torchvision_folder: where that class keeps them, below its root.
    """

    name: str
    title: str
    source: str
    licence: str
    citation: str
    note: str
    image_shape: tuple[int, ...]
    train: int
    test: int
    attributes: Mapping[str, tuple[str, ...]]
    files: Mapping[str, str] = field(default_factory=dict)
    unpacked: Mapping[str, str] = field(default_factory=dict)
    torchvision: str | None = None
    torchvision_folder: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether the images come with the installed packages, so that no file is needed."""
        return not self.files


@cache
def card_names() -> tuple[str, ...]:
    """The names of all known data sets, sorted."""
    entries = resource_files("nesy_gedi.datasets").iterdir()
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml")))


@cache
def load_card(name: str) -> Card:
    """The card of the data set ``name``.

    Raises:
        UsageError: there is no such data set.
    """
    if name not in card_names():
        raise UsageError(f'no data set is named "{name}"', hint=did_you_mean(name, card_names()))
    text = (resource_files("nesy_gedi.datasets") / f"{name}.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    image_shape = tuple(content.pop("image_shape"))
    attributes = {attribute: tuple(classes) for attribute, classes in content.pop("attributes").items()}
    return Card(**content.pop("splits"), **content, image_shape=image_shape, attributes=attributes)
