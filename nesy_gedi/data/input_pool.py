"""The inputs that a table names, each read once however many rows name it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nesy_gedi.data.decoding import ReadOptions, decode_files
from nesy_gedi.data.image_sets import ImageSet, Labels
from nesy_gedi.data.label_files import LABEL_FILE, read_label_file


class InputPool:
    """Inputs, numbered in the order in which they are added; after :meth:`decode` they can be taken.

    Attributes:
        row: where each input is within its part, (n,) int64; -1 where it could not be read.
        skipped: files that could not be read.
        cache: where decoded images are kept.
    """

    def __init__(self, folder: Path, options: ReadOptions, fresh: bool) -> None:
        self.row = torch.empty(0, dtype=torch.int64)
        self.skipped: tuple[str, ...] = ()
        self.cache: Path | None = None
        self._folder, self._options, self._fresh = folder, options, fresh
        self._known: dict[str, int] = {}
        self._files: dict[int, Path] = {}
        self._arrays: dict[int, Tensor] = {}
        self._columns: dict[int, set[int]] = {}
        self._parts: list[Tensor] = []
        self._kind = self.row
        self._labels: dict[str, Labels] = {}

    def find(self, path: Path, column: int) -> int | None:
        """The number of a file that has been added, which this column names too."""
        number = self._known.get(str(path))
        if number in self._files:
            self._columns.setdefault(column, set()).add(number)
        return number

    def add_array(self, key: str, read: Callable[[], Tensor]) -> int:
        """A point (d,) or a sequence (length, d), which is read unless there is one of this key."""
        number = self._known.setdefault(key, len(self._known))
        if number not in self._arrays:
            self._arrays[number] = read()
        return number

    def add_image(self, path: Path, column: int) -> int:
        """An image file, to be decoded with others."""
        number = self._known.setdefault(str(path), len(self._known))
        self._files[number] = path
        self._columns.setdefault(column, set()).add(number)
        return number

    def decode(self) -> None:
        """Read all image files, and the classes of inputs in ``labels.csv``.

        Raises:
            DataError: a file cannot be read.
        """
        total = len(self._known)
        kind, row = torch.full((total,), -1), torch.full((total,), -1)
        parts: list[Tensor] = []
        if self._files:
            numbers = list(self._files)
            place = {number: k for k, number in enumerate(numbers)}
            columns = [[place[number] for number in column] for column in self._columns.values()]
            files = list(self._files.values())
            decoded = decode_files(files, self._folder, self._options, columns=columns, fresh=self._fresh)
            kind[numbers], row[numbers] = decoded.kind, decoded.row
            parts += decoded.parts
            self.skipped, self.cache = decoded.skipped, decoded.cache
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, array in self._arrays.items():
            by_shape.setdefault(tuple(array.shape), []).append(number)
        for numbers in by_shape.values():
            kind[numbers], row[numbers] = len(parts), torch.arange(len(numbers))
            parts.append(torch.stack([self._arrays[number] for number in numbers]))
        # the first input's kind is the first
        order = list(dict.fromkeys(kind.tolist()))
        self._parts = [parts[k] for k in order]
        self._kind, self.row = torch.tensor([order.index(k) for k in range(len(parts))])[kind], row
        labels = self._folder / LABEL_FILE
        if labels.is_file():
            position = {os.path.abspath(path): number for number, path in self._files.items()}
            self._labels = read_label_file(labels, position, total)

    def images(self, numbers: Tensor) -> tuple[ImageSet, Tensor]:
        """The inputs of these ``numbers`` (any shape, int64), each once, and which of them has which number, (n,) int64."""
        used = numbers.unique()
        by_kind = [used[self._kind[used] == k] for k in range(len(self._parts))]
        chosen = torch.cat(by_kind)
        position = torch.full((len(self._known),), -1)
        position[chosen] = torch.arange(len(chosen))
        first, *others = (part[self.row[each]] for part, each in zip(self._parts, by_kind, strict=True))
        labels = {name: Labels(each.classes, each.index[chosen]) for name, each in self._labels.items()}
        return ImageSet(first, labels, tuple(others)), position
