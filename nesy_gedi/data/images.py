"""The front door to images: load a data set by name, or tell what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nesy_gedi.data.cards import Card, card_names, load_card
from nesy_gedi.data.decoding import ReadOptions
from nesy_gedi.data.files import (
    FoundFiles,
    data_root,
    download_files,
    find_files,
    unusable_files_error,
    verified_files,
)
from nesy_gedi.data.image_sets import TEST_SEED, ImageSet, ImageSplits, Labels, split_validation
from nesy_gedi.data.patients import generate_patients
from nesy_gedi.data.playing_cards import print_cards
from nesy_gedi.data.readers import read_cifar, read_digits, read_mnist, read_svhn
from nesy_gedi.data.resizing import resize
from nesy_gedi.data.shapes import generate_shapes
from nesy_gedi.data.sources import is_path, no_such_source, read_path
from nesy_gedi.data.toy import generate_circles, generate_moons
from nesy_gedi.data.traffic import generate_traffic
from nesy_gedi.errors import DataError, NesyGediError

__all__ = [
    "DataDescription",
    "ImageSet",
    "ImageSplits",
    "Labels",
    "available",
    "describe",
    "load_images",
    "split_validation",
]

EMBEDDED_SEED = TEST_SEED
"""Part of what the embedded sets are: another value would be another data set."""

_EMBEDDED: dict[str, Callable[[Card], ImageSet]] = {
    "digits": read_digits,
    "shapes": lambda card: generate_shapes(card.train + card.test, EMBEDDED_SEED),
    "patients": lambda card: generate_patients(card.train + card.test, EMBEDDED_SEED),
    "playing-cards": lambda card: print_cards(read_digits(load_card("digits")), card, EMBEDDED_SEED),
    "moons": lambda card: generate_moons(card, EMBEDDED_SEED),
    "circles": lambda card: generate_circles(card, EMBEDDED_SEED),
    "traffic": lambda card: generate_traffic(card.train + card.test, EMBEDDED_SEED),
    # another seed, so that no scene has the noise of an ordinary one
    "traffic-emergency": lambda card: generate_traffic(card.train + card.test, EMBEDDED_SEED + 1, emergency=True),
}
_FROM_FILES: dict[str, Callable[[Card, FoundFiles], tuple[ImageSet, ImageSet]]] = {
    "mnist": read_mnist,
    "fashion-mnist": read_mnist,
    "kmnist": read_mnist,
    "svhn": read_svhn,
    "cifar10": read_cifar,
    "cifar100": read_cifar,
}


def load_images(
    source: str | Path,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    options: ReadOptions | None = None,
) -> ImageSplits:
    """The training and test images of a known data set, or of a path, in memory.

    A path is what exists, holds a separator or ends in ``.npz`` or ``.csv``, and is no known name: a folder of images, with
    a subfolder for each class; a ``.npz`` file of arrays; a table of tuples with answers, or a folder that holds one.

    Files of known data sets are looked for in ``data_dir``, else in ``$NESY_GEDI_DATA``, else in the user's cache folder -
    there in a folder named after the data set, directly, and where torchvision keeps them. Each is compared with its
    published md5 before it is read. With ``download``, absent and wrong files are fetched into that same place.

    Raises:
        UsageError: neither a data set nor a path.
        DataError: files are missing, incomplete or corrupt, the download failed, or what is read does not fit together.
    """
    options = options or ReadOptions()
    name = str(source)
    if is_path(source):
        return read_path(source, options)
    if name not in card_names():
        raise no_such_source(name)
    card = load_card(name)
    if card.embedded:
        train, test = split_validation(_EMBEDDED[name](card), card.test, EMBEDDED_SEED)
    else:
        train, test = _read_files(card, data_root(data_dir), download)
    for split, images, size in (("training", train, card.train), ("test", test, card.test)):
        if len(images) != size or images.shape != card.image_shape:
            raise DataError(
                f"{card.title}: {len(images)} {split} images of shape {images.shape}, "
                f"expected {size} of shape {card.image_shape}",
                hint="upgrade the package that provides this data set",
            )
    if options.image_shape:
        train, test = (replace(each, images=resize(each.images, options.image_shape)) for each in (train, test))
    return ImageSplits(name, train, test)


def _read_files(card: Card, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    found = verified_files(card, root)
    if found is None and download:
        download_files(card, root)
        found = verified_files(card, root)
    if found is None:
        raise unusable_files_error(card, root)
    try:
        return _FROM_FILES[card.name](card, found)
    except NesyGediError:
        raise
    except Exception as error:  # whatever a third-party parser raises
        raise DataError(
            f"{card.title} cannot be read: {error}",
            where=str(found.folder),
            hint="check the installed versions with nesy-gedi doctor",
        ) from error


@dataclass(frozen=True)
class DataDescription:
    """What is known about a data set without opening it.

    Args:
        classes: attribute name -> number of classes.
        image_shape: (channels, height, width); (coordinates,) for points.
        train, test: numbers of images or points.
        status: ``embedded`` (no file needed), ``found`` or ``missing``.
        path: the folder with the files when ``found``.
    """

    name: str
    title: str
    licence: str
    classes: dict[str, int]
    image_shape: tuple[int, ...]
    train: int
    test: int
    status: str
    path: str | None


def available() -> list[str]:
    """The names that :func:`load_images` knows."""
    return list(card_names())


def describe(name: str, data_dir: Path | None = None) -> DataDescription:
    """The card of ``name`` in short, and whether its files are at hand; their content is not verified.

    Raises:
        UsageError: no data set has this name.
    """
    card = load_card(name)
    found = None if card.embedded else find_files(card, data_root(data_dir))
    return DataDescription(
        name=card.name,
        title=card.title,
        licence=card.licence,
        classes={attribute: len(classes) for attribute, classes in card.attributes.items()},
        image_shape=card.image_shape,
        train=card.train,
        test=card.test,
        status="embedded" if card.embedded else "found" if found else "missing",
        path=str(found.folder) if found else None,
    )
