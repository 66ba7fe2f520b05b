"""Which columns of a table are inputs, and inputs that are no images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.data.decoding import is_image
from nesy_gedi.errors import DataError

ARRAY_SUFFIX = ".npy"
"""Of files that hold one point or one sequence."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
VECTOR = re.compile(rf"{_NUMBER}(?:\s+{_NUMBER})+")
"""A point within a cell: two numbers or more with blanks between them."""

_LOOKED_AT = 10  # rows that decide


def is_file(cell: str) -> bool:
    """Whether a cell names a file that can be an input."""
    return is_image(cell) or cell.lower().endswith(ARRAY_SUFFIX)


def kinds_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """What each column holds, by the first rows: ``image``, ``array``, ``vector``, or "" for a value."""
    kinds = []
    for cells in zip(*rows[:_LOOKED_AT], strict=True):
        if any(map(is_image, cells)):
            kinds.append("image")
        elif any(map(is_file, cells)):
            kinds.append("array")
        elif all(map(VECTOR.fullmatch, cells)):
            kinds.append("vector")
        else:
            kinds.append("")
    return kinds


def read_vector(cell: str, where: str) -> Tensor:
    """(d,) float32 of numbers with blanks between them.

    Raises:
        DataError: something else.
    """
    if not VECTOR.fullmatch(cell):
        raise DataError(
            f"{cell!r} is no vector, as others in this column are",
            where=where,
            hint="write numbers with blanks between them: 0.5 1.25 -3",
        )
    return torch.tensor([float(number) for number in cell.split()])


def read_array_file(path: Path, where: str) -> Tensor:
    """(d,) or (length, d) float32 of a ``.npy`` file.

    Raises:
        DataError: no such array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read: {error or 'it ends early'}",
            where=where,
            hint="save numbers with numpy.save(FILE, array)",
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "fiub":
        what = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(
            f"{path} holds {what}, expected numbers of shape (d,) or (length, d)",
            where=where,
            hint="save images as PNG files, points and sequences as .npy",
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
