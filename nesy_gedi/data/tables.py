"""Tables of tuples with answers: ``left.png,right.png,7``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nesy_gedi.data.column_kinds import VECTOR, is_file, kinds_of, read_array_file, read_vector
from nesy_gedi.data.csv_files import Row, at, header, read_rows
from nesy_gedi.data.decoding import SUFFIXES, ReadOptions, is_image
from nesy_gedi.data.image_sets import (
    TEST_SEED,
    GivenQueries,
    ImageSplits,
    Observations,
    Reading,
    test_count,
)
from nesy_gedi.data.input_pool import InputPool
from nesy_gedi.data.label_files import LABEL_FILE
from nesy_gedi.data.names import nearest
from nesy_gedi.errors import DataError, NesyGediWarning, did_you_mean

SPLIT = "split"
"""Name of the column that tells which split a row belongs to."""

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Table:
    """Rows of one file or several, each with the file it is from and its split ("" where nobody has said)."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[Path, Row, str]]


def table_files(folder: Path) -> dict[str, Path]:
    """The tables in a folder by the split that each holds: ``train`` and ``test`` (and ``validation``), or one for ``""``.
    None where there is no table.

    Raises:
        DataError: several tables, and it is not plain which one is meant.
    """
    tables = sorted(each for each in folder.glob("*.csv") if each.name != LABEL_FILE and not each.name.startswith("."))
    named = {_SPLITS[each.stem.lower()]: each for each in tables if each.stem.lower() in _SPLITS}
    if named.keys() >= {"train", "test"}:
        return {split: named[split] for split in _PARTS if split in named}
    if len(tables) > 1:
        raise DataError(
            f"there are several tables: {', '.join(each.name for each in tables)}",
            where=str(folder),
            hint=f"name one, such as {folder / tables[0].name}, or call them train.csv and test.csv",
        )
    return {"": tables[0]} if tables else {}


def read_table(
    path: Path | Mapping[str, Path], options: ReadOptions, name: str | None = None, *, fresh: bool = False
) -> ImageSplits:
    """Tuples of inputs with what was observed of each: :attr:`ImageSplits.given`.

    A column of image files, of ``.npy`` files or of vectors (numbers with blanks between them) is an input, every other
    column a value. A header names variables of a query form; its column ``split`` says train, validation or test. Without
    that column, and without ``train.csv`` and ``test.csv``, a fixed fifth of the rows is for the test. ``labels.csv``
    beside the table tells classes of images, for measuring.

    Args:
        path: a file, or one for each split as :func:`table_files` finds them.

    Raises:
        DataError: a row that does not fit, a missing file, or images that cannot be read.
    """
    table = _read(path if isinstance(path, Mapping) else {"": path})
    kinds = kinds_of([row.cells for _, row, _ in table.rows])
    inputs = [k for k, kind in enumerate(kinds) if kind]
    values = [k for k, kind in enumerate(kinds) if not kind]
    _refuse_incomplete(table, inputs, values)
    pool = InputPool(table.path.parent, options, fresh)
    cells: list[list[int]] = []
    for origin, row, _ in table.rows:
        cells.append([_add(pool, kinds[k], k, table.columns, origin, row) for k in inputs])
        for k in values:
            if not row.cells[k]:
                raise DataError(
                    "this cell is empty, expected a value",
                    where=at(origin, row, table.columns, k),
                    hint="give every row its answer, or leave the row out",
                )
    pool.decode()
    numbers = torch.tensor(cells).view(len(cells), len(inputs))
    whole = (pool.row[numbers] >= 0).all(1)
    if dropped := int((~whole).sum()):
        warnings.warn(
            f"{dropped} of {len(whole)} rows name images that cannot be read, and are left out",
            NesyGediWarning,
            stacklevel=2,
        )
    split = _splits(table, whole, measured=options.measured)
    learned, tested = split != _PARTS.index("test"), split == _PARTS.index("test")
    shown = learned if not options.measured or bool((learned & whole).any()) else tested  # some, to tell their shape
    train, train_position = pool.images(numbers[shown & whole])
    test, test_position = pool.images(numbers[tested & whole])

    def observed(part: str, position: Tensor) -> Observations:
        chosen = ((split == _PARTS.index(part)) & whole).nonzero()[:, 0]
        rows = [table.rows[k][1] for k in chosen.tolist()]
        told = tuple(tuple(row.cells[k] for k in values) for row in rows)
        own = str(path[part]) if isinstance(path, Mapping) and part in path else ""
        return Observations(position[numbers[chosen]], told, tuple(row.line for row in rows), own)

    parts = {part: observed(part, test_position if part == "test" else train_position) for part in _PARTS}
    for part in ("train", "test"):
        if not len(parts[part]) and not (part == "train" and options.measured):
            raise DataError(
                f"no row is for {'training' if part == 'train' else 'the test'}",
                where=str(table.path),
                hint=f"add rows, or leave the column {SPLIT} out",
            )
    named = table.columns
    given = GivenQueries(
        tuple(named[k] for k in inputs) if named else (),
        tuple(named[k] for k in values) if named else (),
        str(table.path),
        parts["train"],
        parts["validation"] if len(parts["validation"]) else None,
        parts["test"],
    )
    reading = Reading("table", pool.skipped, dropped, pool.cache)
    return ImageSplits(name or str(table.path), train, test, given, reading)


def _read(files: Mapping[str, Path]) -> _Table:
    """All rows, without the column that tells their split."""
    tables = []
    for split, path in files.items():
        rows = read_rows(path)
        names: tuple[str, ...] = ()
        if not any(is_file(cell) or VECTOR.fullmatch(cell) for cell in rows[0].cells):
            names, rows = header(path, rows[0]), rows[1:]
            if not rows:
                raise DataError(
                    "there is no row below the header", where=str(path), hint="add some: left.png,right.png,7"
                )
        column = next((k for k, name in enumerate(names) if name.lower() == SPLIT), None)
        if column is None:
            tables.append(_Table(path, names, [(path, row, split) for row in rows]))
            continue
        if split:
            raise DataError(
                f"this file is for {split}, and has a column {SPLIT}",
                where=f"{path}:1",
                hint="leave the column out, or put all rows into one file",
            )
        told = [(path, _without(row, column), _split_of(path, row, names, column)) for row in rows]
        tables.append(_Table(path, (*names[:column], *names[column + 1 :]), told))
    first = tables[0]
    for table in tables[1:]:
        width, expected = len(table.rows[0][1].cells), len(first.rows[0][1].cells)
        if table.columns != first.columns or width != expected:
            what = f"columns {', '.join(table.columns)}" if table.columns else f"{width} columns and no header"
            like = f"{', '.join(first.columns)}" if first.columns else f"{expected} and no header"
            raise DataError(
                f"it has {what}, expected {like} as in {first.path.name}",
                where=str(table.path),
                hint="give the tables of all splits the same columns in the same order",
            )
    return _Table(first.path, first.columns, [row for table in tables for row in table.rows])


def _without(row: Row, column: int) -> Row:
    return Row(row.line, (*row.cells[:column], *row.cells[column + 1 :]))


def _split_of(path: Path, row: Row, names: Sequence[str], column: int) -> str:
    told = _SPLITS.get(row.cells[column].lower())
    if told is None:
        raise DataError(
            f"there is no split {row.cells[column]!r}",
            where=at(path, row, names, column),
            hint=did_you_mean(row.cells[column], _PARTS),
        )
    return told


def _refuse_incomplete(table: _Table, inputs: Sequence[int], values: Sequence[int]) -> None:
    origin, row, _ = table.rows[0]
    where = f"{origin}:{row.line}"
    if not inputs:
        raise DataError(
            f"no column names images or holds vectors: {', '.join(row.cells)}",
            where=where,
            hint=f"name image files ({', '.join(SUFFIXES)}) relative to the table's folder, as in left.png,right.png,7",
        )
    if not values:
        raise DataError("no column holds an answer", where=where, hint="add one, as in left.png,right.png,7")


def _splits(table: _Table, whole: Tensor, *, measured: bool) -> Tensor:
    """(rows,) int64: the split of each row as its position in ``_PARTS``; where none is told a fixed fifth is for the test, or
    all are, to be ``measured``."""
    if table.rows[0][2]:
        return torch.tensor([_PARTS.index(split) for _, _, split in table.rows])
    if measured:
        return torch.full((len(whole),), _PARTS.index("test"))
    there = whole.nonzero()[:, 0]
    if len(there) < 2:
        raise DataError(
            "one row is too few for training and test",
            where=str(table.path),
            hint="add rows, one tuple with its answer each",
        )
    drawn = torch.randperm(len(there), generator=torch.Generator().manual_seed(TEST_SEED))
    split = torch.zeros(len(whole), dtype=torch.int64)
    split[there[drawn[: test_count(len(there))]]] = _PARTS.index("test")
    return split


def _add(pool: InputPool, kind: str, column: int, names: Sequence[str], origin: Path, row: Row) -> int:
    """The number of the input in a cell."""
    cell = row.cells[column]
    where = at(origin, row, names, column)
    if kind == "vector":
        return pool.add_array(cell, lambda: read_vector(cell, where))
    path = Path(os.path.abspath(origin.parent / cell)) if cell else origin.parent
    if (number := pool.find(path, column)) is not None:
        return number
    if not path.is_file():
        other = Path(os.path.abspath(origin.parent / cell.replace("\\", "/")))  # written on Windows
        if not (cell and other.is_file()):
            raise _missing(cell, path, where)
        path = other
    if kind == "array":
        return pool.add_array(str(path), lambda: read_array_file(path, where))
    if not is_image(path.name):
        raise DataError(
            f"{cell!r} is no image file, as others in this column are",
            where=where,
            hint=f"expected {', '.join(SUFFIXES)}",
        )
    return pool.add_image(path, column)


def _missing(cell: str, path: Path, where: str) -> DataError:
    if not cell:
        return DataError("this cell is empty, expected a file", where=where, hint="name a file, or leave the row out")
    found = "it is a folder" if path.is_dir() else nearest(path)
    return DataError(
        f"there is no file {cell!r}: looked for {path}; {found}",
        where=where,
        hint="name files relative to the table's folder",
    )
