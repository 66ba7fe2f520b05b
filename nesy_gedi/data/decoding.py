"""Image files of any kind and size to images of one shape, or of few."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nesy_gedi.data import decoded_cache
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of files that are taken for images, in any case."""

LONGEST_SIDE = 64
"""In pixels: larger images are shrunk to it, unless the shape is stated."""

READERS = 8
"""Threads that read files, at most; as many as there are cores where these are fewer. Decoding lets others run."""

_LISTED = 3  # files that a message names
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, rows and columns are exchanged

T = TypeVar("T")


@dataclass(frozen=True)
class ReadOptions:
    """How files become images.

    Attributes:
        image_shape: (height, width), or (channels, height, width) with 1 channel for grey and 3 for colour: every image is
            stretched or shrunk to it. Empty: images of one size are kept, but for those with a side of over
            ``LONGEST_SIDE`` pixels, which are shrunk with their aspect; images of several sizes are stretched to the median
            height and width, shrunk likewise. Grey where all are, else colour.
        skip_unreadable: leave out files that cannot be read, with a warning, in place of an error.
        measured: the rows of a table are there to be measured: all of them are for the test where nobody has told their
            split, and none needs to be for training.

    Raises:
        UsageError: an impossible shape.
    """

    image_shape: tuple[int, ...] = ()
    skip_unreadable: bool = False
    measured: bool = False

    def __post_init__(self) -> None:
        if fault := shape_fault(self.image_shape):
            raise UsageError(f"image_shape {fault}", hint="for example (28, 28), or (3, 28, 28) for colour")


def shape_fault(shape: Sequence[int]) -> str | None:
    """What is wrong with an ``image_shape``, if anything."""
    if not shape:
        return None
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[0] not in (1, 3)):
        return f"must be [height, width] or [channels, height, width] with 1 or 3 channels, not {list(shape)}"
    return None


@dataclass(frozen=True, eq=False)
class DecodedFiles:
    """Images of files, in parts of one shape each.

    Attributes:
        parts: (m, channels, height, width) uint8 each.
        kind: which part each file is in, (n,) int64.
        row: which image of its part, (n,) int64; -1 where it could not be read.
        skipped: files that could not be read, as told.
        cache: where the pixels are kept for the next time.
    """

    parts: tuple[Tensor, ...]
    kind: Tensor
    row: Tensor
    skipped: tuple[str, ...]
    cache: Path


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return name.lower().endswith(SUFFIXES)


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """One file as (channels, height, width) uint8, stretched to that ``shape``; 1 or 3 channels.

    Raises:
        DataError: no image can be read from it.
    """
    pixels = _try(lambda each: _decode(each, shape), path)
    if isinstance(pixels, str):
        raise DataError(pixels, where=str(path), hint="name a PNG or JPEG file")
    return torch.from_numpy(pixels)


def decode_files(
    files: Sequence[Path],
    root: Path,
    options: ReadOptions,
    *,
    columns: Sequence[Iterable[int]] = (),
    fresh: bool = False,
) -> DecodedFiles:
    """The images of ``files``, from the user's cache where they have been decoded before.

    Args:
        files: each once.
        root: messages and the cache name files relative to it.
        columns: positions of files that must have one shape, and may differ in it from others; all together where empty.
            Columns that share a file are one, as are those whose images have several sizes.
        fresh: read every file again, whatever the cache has.

    Raises:
        DataError: a file cannot be read, unless these are skipped, or none can.
    """
    shown = [os.path.relpath(path, root) for path in files]
    key = decoded_cache.key_of(files, root, repr(options.image_shape), repr([sorted(column) for column in columns]))
    stored = None if fresh else decoded_cache.load(key)
    if stored is None:
        tensors, unreadable = _decode_all(files, options, columns or [range(len(files))])
        if not unreadable or options.skip_unreadable:
            decoded_cache.store(key, tensors, unreadable)
    else:
        tensors, unreadable = stored
    if unreadable:
        _tell_unreadable(unreadable, files, shown, options)
    parts = tuple(tensors[f"part{k}"] for k in range(len(tensors) - 2))
    skipped = tuple(shown[number] for number in unreadable)
    return DecodedFiles(parts, tensors["kind"], tensors["row"], skipped, decoded_cache.path_of(key))


def _tell_unreadable(
    unreadable: dict[int, str], files: Sequence[Path], shown: Sequence[str], options: ReadOptions
) -> None:
    first = min(unreadable)
    if not options.skip_unreadable or len(unreadable) == len(files):
        others = len(unreadable) - 1
        further = f"; nor can {others} more of the {len(files)} files be read" if others else ""
        hint = "mend or delete it, or leave out what cannot be read with --set data.skip_unreadable=true"
        if options.skip_unreadable:
            hint = "save images as PNG or JPEG files"
        raise DataError(unreadable[first] + further, where=str(files[first]), hint=hint)
    warnings.warn(
        f"{len(unreadable)} of {len(files)} images cannot be read and are left out: "
        + listed([shown[number] for number in sorted(unreadable)]),
        NesyGediWarning,
        stacklevel=2,
    )


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _decode_all(
    files: Sequence[Path], options: ReadOptions, columns: Sequence[Iterable[int]]
) -> tuple[dict[str, Tensor], dict[int, str]]:
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        headers = list(pool.map(lambda path: _try(_probe, path), files))
        targets = _targets(headers, columns, options.image_shape)
        sizes = list(dict.fromkeys(targets))
        kind = torch.tensor([sizes.index(target) for target in targets], dtype=torch.int64)
        shapes = [(_channels(headers, kind == k, options.image_shape), *size) for k, size in enumerate(sizes)]
        wanted = [shapes[k] for k in kind.tolist()]
        row = torch.full((len(files),), -1)
        parts = [torch.empty((int((kind == k).sum()), *shape), dtype=torch.uint8) for k, shape in enumerate(shapes)]
        filled = [0] * len(shapes)
        unreadable: dict[int, str] = {}

        def decode(number: int) -> np.ndarray | str:
            header = headers[number]
            return (
                header if isinstance(header, str) else _try(lambda path: _decode(path, wanted[number]), files[number])
            )

        for number, pixels in enumerate(pool.map(decode, range(len(files)))):
            if isinstance(pixels, str):
                unreadable[number] = pixels
                continue
            k = int(kind[number])
            parts[k][filled[k]] = torch.from_numpy(pixels)
            row[number] = filled[k]
            filled[k] += 1
    named = {f"part{k}": part[: filled[k]].contiguous() for k, part in enumerate(parts)}
    return {**named, "kind": kind, "row": row}, unreadable


Header = tuple[int, int, bool]
"""Height, width, whether it is grey."""


def _targets(
    headers: Sequence[Header | str], columns: Sequence[Iterable[int]], shape: tuple[int, ...]
) -> list[tuple[int, int]]:
    """The height and width that each file's image is brought to."""
    if shape:
        return [(shape[-2], shape[-1])] * len(headers)
    targets = [(1, 1)] * len(headers)
    varied: set[int] = set()
    for group in _connected(columns):
        sizes = {header[:2] for number in group if not isinstance(header := headers[number], str)}
        if len(sizes) > 1:
            varied |= group
        elif sizes:
            for number in group:
                targets[number] = _shrunk(*next(iter(sizes)))
    known = [header for number in sorted(varied) if not isinstance(header := headers[number], str)]
    if known:
        heights, widths = (sorted(header[axis] for header in known)[len(known) // 2] for axis in (0, 1))
        for number in varied:
            targets[number] = _shrunk(heights, widths)
    return targets


def common_shape(headers: Sequence[Header], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) that pictures of these sizes are brought to, which are all of one kind."""
    everything = torch.ones(len(headers), dtype=torch.bool)
    return (_channels(headers, everything, shape), *_targets(headers, [range(len(headers))], shape)[0])


def _connected(columns: Sequence[Iterable[int]]) -> list[set[int]]:
    """Columns, those that share a file as one."""
    groups: list[set[int]] = []
    for column in columns:
        joined = set(column)
        apart = []
        for group in groups:
            if group.isdisjoint(joined):
                apart.append(group)
            else:
                joined |= group
        groups = [*apart, joined]
    return groups


def _shrunk(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _channels(headers: Sequence[Header | str], chosen: Tensor, shape: tuple[int, ...]) -> int:
    if len(shape) == 3:
        return shape[0]
    known = [header for number in chosen.nonzero()[:, 0].tolist() if not isinstance(header := headers[number], str)]
    return 1 if all(grey for _, _, grey in known) else 3


def _try(read: Callable[[Path], T], path: Path) -> T | str:
    """What ``read`` makes of a file, or why it cannot be read."""
    try:
        return read(path)
    except Exception as error:  # a damaged file makes a decoder raise anything
        return why_unreadable(path, error)


def why_unreadable(path: str | Path, error: Exception) -> str:
    """Why no image can be read from a file, of what reading it has raised."""
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case IsADirectoryError():
            return "this is a folder"
        case UnidentifiedImageError():
            return "this is no image that can be read" if Path(path).stat().st_size else "the file is empty"
    return f"this image cannot be read: {error}"


def _probe(path: Path) -> Header:
    with Image.open(path) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION, 1) >= 5:
            height, width = width, height
        return height, width, is_grey(image)


def is_grey(image: Image.Image) -> bool:
    """Whether a picture has no colour, by its mode and palette."""
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


def _decode(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    with Image.open(path) as opened:
        return to_pixels(opened, shape)


def to_pixels(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """(channels, height, width) uint8 of a picture: upright, transparency over white, 16 bits scaled to 8, then stretched
    to ``shape`` with antialiasing.

    Raises:
        ValueError: pixels that are no grey levels of 8 or 16 bits.
    """
    channels, height, width = shape
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError(f"its grey levels lie in {levels.min()}..{levels.max()}, expected 8 or 16 bits")
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image).reshape(height, width, channels).transpose(2, 0, 1)
