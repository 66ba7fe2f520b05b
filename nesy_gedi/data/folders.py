"""Folders of images: one subfolder a class, or no classes at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from nesy_gedi.data.decoding import SUFFIXES, ReadOptions, decode_files, is_image, listed
from nesy_gedi.data.image_sets import ImageSet, ImageSplits, Labels, Reading, split_test
from nesy_gedi.data.label_files import LABEL_FILE, read_label_file
from nesy_gedi.data.names import hidden, natural
from nesy_gedi.errors import DataError

TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")

_LAYOUT = "put images into one subfolder a class, below train/ and test/ where they are split"


def read_folder(folder: Path, options: ReadOptions, name: str | None = None, *, fresh: bool = False) -> ImageSplits:
    """The images of a folder; the names of subfolders are the classes of the attribute ``class``.

    ``train/`` and ``test/`` may hold the splits; what is in ``val/`` is for training where there is a ``test/``, else for
    the test. Without them a fixed fifth is for the test, stratified. Images outside subfolders have no attribute, unless
    ``labels.csv`` names some.

    Raises:
        DataError: no images, a class without images, images beside classes, or as
            :func:`~nesy_gedi.data.decoding.decode_files`.
    """
    splits = _split_folders(folder)
    found = {split: _class_files(each) for split, each in splits.items()}
    named = {split: set(each) - {""} for split, each in found.items() if each}
    if not named:
        raise _no_images(folder)
    if any(named.values()) and not all(named.values()):
        plain = next(split for split, classes in named.items() if not classes)
        raise DataError(f"{plain} has images without class folders, others have them", where=str(folder), hint=_LAYOUT)
    files = [path for each in found.values() for paths in each.values() for path in paths]
    decoded = decode_files(files, folder, options, fresh=fresh)
    classes = tuple(sorted(set().union(*named.values()), key=natural))
    told = [name for each in found.values() for name, paths in each.items() for _ in paths]
    labels = {"class": Labels(classes, torch.tensor([classes.index(each) for each in told]))} if classes else {}
    if (folder / LABEL_FILE).is_file():
        labels |= _further(folder / LABEL_FILE, files, labels)
    kept = decoded.row >= 0
    kept_labels = {attribute: Labels(each.classes, each.index[kept]) for attribute, each in labels.items()}
    images = ImageSet(decoded.parts[0][decoded.row[kept]], kept_labels)
    reading = Reading("image folder", decoded.skipped, cache=decoded.cache)
    if len(found) == 1:
        train, test = split_test(images)
    else:
        counts = [sum(map(len, each.values())) for each in found.values()]
        split = torch.repeat_interleave(torch.tensor([k != "test" for k in found]), torch.tensor(counts))[kept]
        train, test = images.subset(split.nonzero()[:, 0]), images.subset((~split).nonzero()[:, 0])
        if not (len(train) and len(test)):
            raise DataError("a split has no image that can be read", where=str(folder), hint=_LAYOUT)
    return ImageSplits(name or str(folder), train, test, reading=reading)


def _further(path: Path, files: Sequence[Path], labels: dict[str, Labels]) -> dict[str, Labels]:
    further = read_label_file(path, {os.path.abspath(file): k for k, file in enumerate(files)}, len(files))
    if twice := sorted(further.keys() & labels.keys()):
        raise DataError(
            f"{twice[0]} is told twice, by the names of subfolders and by this file",
            where=str(path),
            hint="remove or rename this file, or its column",
        )
    return further


def _split_folders(folder: Path) -> dict[str, list[Path]]:
    """``train`` and ``test`` with their folders; the folder itself as ``all`` where it is not split."""
    below = {entry.name.lower(): entry for entry in _entries(folder) if entry.is_dir()}
    train = [below[name] for name in TRAIN if name in below]
    test = [below[name] for name in TEST if name in below]
    validation = [below[name] for name in VALIDATION if name in below]
    if not train or len(below) > len(train) + len(test) + len(validation):
        return {"all": [folder]}  # these may be names of classes
    if test:
        return {"train": [*train, *validation], "test": test}
    return {"train": train, "test": validation} if validation else {"all": train}


def _class_files(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Class -> its images, "" for images without one; classes and images in natural order."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        entries = _entries(folder)
        plain = [entry for entry in entries if entry.is_file() and is_image(entry.name)]
        subfolders = [entry for entry in entries if entry.is_dir()]
        inside = {entry: _images_below(entry) for entry in subfolders}
        if plain and any(inside.values()):
            raise DataError(
                f"{len(plain)} images lie beside class folders: {listed([entry.name for entry in plain])}",
                where=str(folder),
                hint="move them into the folder of their class, or out of this folder",
            )
        if empty := [entry for entry, files in inside.items() if not files and any(inside.values())]:
            kinds = sorted({path.suffix for path in empty[0].rglob("*") if path.is_file()})
            raise DataError(
                f"this class has no images ({'files of the kinds ' + ', '.join(kinds) if kinds else 'it is empty'})",
                where=str(empty[0]),
                hint=f"expected {', '.join(SUFFIXES)}; add some, or remove the folder",
            )
        if plain:
            found.setdefault("", []).extend(plain)
        for entry, files in inside.items():
            if files:
                found.setdefault(entry.name, []).extend(files)
    return found


def _images_below(folder: Path) -> list[Path]:
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not hidden(name)]
        found += [Path(where, name) for name in files if is_image(name) and not hidden(name)]
    return sorted(found, key=lambda path: natural(path.relative_to(folder).as_posix()))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(
            (entry for entry in folder.iterdir() if not hidden(entry.name)), key=lambda each: natural(each.name)
        )
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(folder), hint="check its permissions") from error


def _no_images(folder: Path) -> DataError:
    names = [entry.name for entry in _entries(folder)]
    there = f"it holds {listed(names)}" if names else "it is empty"
    return DataError(
        f"there are no images in this folder: {there}", where=str(folder), hint=f"{_LAYOUT}; {SUFFIXES_HINT}"
    )


SUFFIXES_HINT = f"images are {', '.join(SUFFIXES)}"
