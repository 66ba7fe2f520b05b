"""``labels.csv``: the classes of some images, ``file,class``, for measuring."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from nesy_gedi.data.csv_files import Row, at, header, read_rows
from nesy_gedi.data.image_sets import UNKNOWN, Labels
from nesy_gedi.data.names import natural, nearest
from nesy_gedi.errors import DataError

LABEL_FILE = "labels.csv"
"""Name of the file that tells classes, beside a table or in a folder of images."""


def read_label_file(path: Path, position: Mapping[str, int], count: int) -> dict[str, Labels]:
    """The attributes that a file tells: its columns but the first, which names images relative to the file. Without a header
    there is one, ``class``. An image that no row names, or whose cell is empty, is unknown.

    Args:
        position: absolute path of an image -> its number. Rows of other images are left out.
        count: of images.

    Raises:
        DataError: a row names a file that does not exist, or an image has two classes.
    """
    rows = read_rows(path)
    names, rows = _header(path, rows)
    attributes = names[1:]
    told: list[dict[int, str]] = [{} for _ in attributes]
    for row in rows:
        file = Path(os.path.abspath(path.parent / row.cells[0].replace("\\", "/")))
        if (number := position.get(str(file))) is None:
            if not file.is_file():
                raise DataError(
                    f"there is no file {row.cells[0]!r}: looked for {file}; {nearest(file)}",
                    where=at(path, row, names, 0),
                    hint="name files relative to this table's folder",
                )
            continue
        for column, name in enumerate(row.cells[1:]):
            before = told[column].setdefault(number, name)
            if before != name:
                raise DataError(
                    f"{row.cells[0]} is {name} here and {before} before",
                    where=at(path, row, names, column + 1),
                    hint="leave one of the rows out",
                )
    found = {}
    for attribute, each in zip(attributes, told, strict=True):
        classes = tuple(sorted({name for name in each.values() if name}, key=natural))
        index = torch.full((count,), UNKNOWN)
        for number, name in each.items():
            if name:
                index[number] = classes.index(name)
        found[attribute] = Labels(classes, index)
    return found


def _header(path: Path, rows: list[Row]) -> tuple[tuple[str, ...], list[Row]]:
    """Names of columns, and the rows below them. The first row is no header where its first cell names a file."""
    first = rows[0]
    if len(first.cells) < 2:
        raise DataError("expected two columns, a file and its class", where=f"{path}:{first.line}", hint="a.png,3")
    if not (path.parent / first.cells[0]).is_file() and "." not in first.cells[0]:
        return header(path, first), rows[1:]
    if len(first.cells) > 2:
        raise DataError(
            "several attributes need their names", where=f"{path}:{first.line}", hint="begin with: file,shape,colour"
        )
    return ("file", "class"), rows
