"""Answers about image files, which several threads read while networks look at others."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from nesy_gedi.data.decoding import READERS, is_grey, to_pixels, why_unreadable
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError
from nesy_gedi.training.predictions import SURE, Predictions
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.query_files import FileQueries
from nesy_gedi.training.unusual import warning_about

QUERIES_AT_ONCE = 1024
"""Read and answered together; fewer of large images."""

BYTES_AT_ONCE = 1 << 27
"""Pixels that are kept at once, before as many again are read."""

FILES_AT_ONCE = 32
"""Files that a thread reads in one go: handing over one at a time would take as long as reading it."""

_CHANGES_PIXELS = {"transparency", "exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_SKIP = "mend or delete it, or leave out what cannot be read: --skip-unreadable"


class Unreadable(NamedTuple):
    """A query that was left out: its number, its files, and why."""

    number: int
    files: tuple[Path, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class FilePredictions:
    """Answers to some of the queries of files.

    Attributes:
        numbers: of the queries, in the order of the rows of ``predictions``.
        files: those of each.
        predictions: None where all of them were left out.
        skipped: queries whose images cannot be read.
    """

    numbers: tuple[int, ...]
    files: tuple[tuple[Path, ...], ...]
    predictions: Predictions | None
    skipped: tuple[Unreadable, ...]


@dataclass
class _Seen:
    """What was done to images so that networks take them, counted."""

    files: int = 0
    resized: int = 0
    grey: int = 0
    coloured: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    codes: list[torch.Tensor] = field(default_factory=list)

    def warn(self) -> None:
        """One sentence for each kind."""
        said = []
        if self.resized:
            height, width = min(self.sizes)
            others = f"of {len(self.sizes)} other sizes, such as" if len(self.sizes) > 1 else "of another size,"
            said.append(
                f"{self.resized} of {self.files} images are {others} {width}x{height}: they are stretched to what the "
                "network takes"
            )
        if self.grey:
            said.append(f"{self.grey} of {self.files} images are coloured, and made grey for the network")
        if self.coloured:
            said.append(f"{self.coloured} of {self.files} images are grey, and shown to a network of colours")
        if (unusual := warning_about(self.codes)) is not None:
            said.append(unusual)
        for sentence in said:
            warnings.warn(sentence, NesyGediWarning, stacklevel=3)


class _Pixels(NamedTuple):
    """An image as the network takes it, the (height, width) that it had, and whether it was grey."""

    pixels: np.ndarray
    size: tuple[int, int]
    grey: bool


def predict_files(
    predictor: Predictor,
    queries: FileQueries,
    *,
    given: Mapping[str, str] | None = None,
    skip_unreadable: bool = False,
    explain: bool = True,
    sure: float = SURE,
) -> Iterator[FilePredictions]:
    """Answers to queries of files, some at a time: memory does not grow with their number.

    Args:
        given: values of observed slots, the same for all queries.
        skip_unreadable: leave out queries with an image that cannot be read.

    Raises:
        UsageError: a value is given twice, or as :meth:`~nesy_gedi.training.predictor.Predictor.__call__`.
        DataError: an image that cannot be read; a network that takes no images.
    """
    for slot, shape in predictor.shapes.items():
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise DataError(
                f"slot {slot} takes inputs of shape {shape}, which no image file has",
                where=predictor.source or None,
                hint="use Python: nesy_gedi.load_predictor(RUN)({SLOT: tensor})",
            )
    if twice := sorted(queries.given.keys() & (given or {})):
        raise UsageError(
            f"{twice[0]} is given for all queries and in the table", where="--given", hint="leave one of them out"
        )
    shapes = [predictor.shapes[slot] for slot in predictor.slots]
    weight = sum(channels * height * width for channels, height, width in shapes)
    size = max(1, min(QUERIES_AT_ONCE, BYTES_AT_ONCE // weight))
    seen = _Seen()
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        waiting: deque[tuple[range, _Reading]] = deque()
        try:
            for start in range(0, len(queries), size):  # the next ones are read while networks look at these
                numbers = range(start, min(start + size, len(queries)))
                waiting.append((numbers, _Reading(pool, queries, numbers, shapes)))
                if len(waiting) > 1:
                    yield _answer(
                        predictor, queries, *waiting.popleft(), given or {}, skip_unreadable, explain, sure, seen
                    )
            while waiting:
                yield _answer(predictor, queries, *waiting.popleft(), given or {}, skip_unreadable, explain, sure, seen)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    seen.warn()


class _Reading:
    """Files of some queries that are being read; a file that several name for one slot is read once."""

    def __init__(
        self, pool: ThreadPoolExecutor, queries: FileQueries, numbers: range, shapes: Sequence[tuple[int, ...]]
    ) -> None:
        # Paths are compared as text, which is quicker than as paths.
        wanted = dict.fromkeys((str(path), k) for number in numbers for k, path in enumerate(queries.files[number]))
        self._keys = list(wanted)
        self._parts = [
            pool.submit(_read_all, self._keys[start : start + FILES_AT_ONCE], shapes)
            for start in range(0, len(self._keys), FILES_AT_ONCE)
        ]

    def results(self) -> dict[tuple[str, int], _Pixels | str]:
        """(file, number of its slot) -> its pixels, or why it cannot be read."""
        read = [each for part in self._parts for each in part.result()]
        return dict(zip(self._keys, read, strict=True))


def _answer(
    predictor: Predictor,
    queries: FileQueries,
    numbers: range,
    reading: _Reading,
    given: Mapping[str, str],
    skip_unreadable: bool,
    explain: bool,
    sure: float,
    seen: _Seen,
) -> FilePredictions:
    found = reading.results()
    kept: list[int] = []
    skipped: list[Unreadable] = []
    images: list[list[np.ndarray]] = [[] for _ in predictor.slots]
    for number in numbers:
        files = queries.files[number]
        read = [found[str(path), k] for k, path in enumerate(files)]
        wrong = next((k for k, each in enumerate(read) if isinstance(each, str)), None)
        if wrong is not None:
            reason = str(read[wrong])
            if not skip_unreadable:
                where = f"{files[wrong]} ({queries.where[number]})" if queries.where else str(files[wrong])
                raise DataError(reason, where=where, hint=_SKIP if len(queries) > 1 else "name a PNG or JPEG file")
            skipped.append(Unreadable(number, files, f"{files[wrong]}: {reason}"))
            continue
        kept.append(number)
        for column, each in zip(images, read, strict=True):
            assert not isinstance(each, str)
            column.append(each.pixels)
            _count(each, seen)
    kept_files = tuple(queries.files[number] for number in kept)
    if not kept:
        return FilePredictions((), (), None, tuple(skipped))
    tensors = [torch.from_numpy(np.stack(column)) for column in images]
    values: dict[str, str | list[str]] = {
        slot: [texts[number] for number in kept] for slot, texts in queries.given.items()
    }
    predictions = predictor.answer(tensors, given={**values, **given}, explain=explain, sure=sure)
    seen.codes += predictions.unusual.values()
    return FilePredictions(tuple(kept), kept_files, predictions, tuple(skipped))


def _count(image: _Pixels, seen: _Seen) -> None:
    channels, height, width = image.pixels.shape
    seen.files += 1
    if image.size != (height, width):
        seen.resized += 1
        seen.sizes.add(image.size)
    seen.grey += channels == 1 and not image.grey
    seen.coloured += channels == 3 and image.grey


def _read_all(files: Sequence[tuple[str, int]], shapes: Sequence[tuple[int, ...]]) -> list[_Pixels | str]:
    return [_read(path, shapes[k]) for path, k in files]


def _read(path: str, shape: tuple[int, ...]) -> _Pixels | str:
    """The image of a file, upright and of ``shape``, or why it cannot be read."""
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            size = (image.height, image.width)
            grey = is_grey(image)
            if image.format == "PNG" and size == (height, width) and image.mode == ("L" if channels == 1 else "RGB"):
                image.load()  # what stands behind the pixels belongs to the information, too
                if image.info.keys().isdisjoint(_CHANGES_PIXELS):  # the quick way to the same pixels
                    pixels = np.array(image).reshape(height, width, channels).transpose(2, 0, 1)
                    return _Pixels(pixels, size, grey)
            return _Pixels(to_pixels(image, (channels, height, width)), size, grey)
    except Exception as error:  # a damaged file makes a decoder raise anything
        return why_unreadable(path, error)
