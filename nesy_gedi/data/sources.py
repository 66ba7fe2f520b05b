"""What a source of data may be, beside a known name: a folder, a ``.npz`` file, a table."""

from __future__ import annotations

import os
from pathlib import Path

from nesy_gedi.data.arrays import read_npz
from nesy_gedi.data.cards import card_names
from nesy_gedi.data.decoding import ReadOptions
from nesy_gedi.data.folders import read_folder
from nesy_gedi.data.image_sets import ImageSplits
from nesy_gedi.data.names import nearest
from nesy_gedi.data.tables import read_table, table_files
from nesy_gedi.errors import DataError, UsageError, did_you_mean

FILE_SUFFIXES = (".npz", ".csv")


def is_path(source: str | Path) -> bool:
    """Whether a source means a path: it is no known name, and exists, holds a separator or ends as files of data do."""
    text = str(source)
    if isinstance(source, Path):
        return True
    if text in card_names():
        return False
    separated = any(each in text for each in (os.sep, os.altsep) if each)
    return separated or text.lower().endswith(FILE_SUFFIXES) or (text != "" and Path(text).expanduser().exists())


def absolute_source(source: str) -> str:
    """A path so that it is found from any working directory; a known name as it is."""
    return os.path.abspath(Path(source).expanduser()) if is_path(source) else source


def source_name(source: str) -> str:
    """A short name that a file can have: of a path its last part without a suffix."""
    path = Path(source)
    if not is_path(source):
        return source
    return path.stem if path.suffix.lower() in FILE_SUFFIXES else path.resolve().name or "data"


def no_such_source(name: str) -> UsageError:
    """The error for what is neither a known data set nor a path."""
    return UsageError(
        f'no data set is named "{name}", and there is no such path', hint=did_you_mean(name, card_names())
    )


def read_path(source: str | Path, options: ReadOptions, *, fresh: bool = False) -> ImageSplits:
    """The data at a path.

    Args:
        fresh: decode image files again, whatever the user's cache has.

    Raises:
        DataError: there is nothing, or nothing that can be read.
    """
    path, name = Path(source).expanduser(), str(source)
    if path.is_dir():
        tables = table_files(path)
        found = (
            read_table(tables, options, name, fresh=fresh) if tables else read_folder(path, options, name, fresh=fresh)
        )
    elif not path.exists():
        raise DataError(
            f"there is no such path: {nearest(path.absolute())}",
            where=str(path),
            hint=f"expected a folder of images, a .npz file, a .csv table, or a name: {', '.join(card_names())}",
        )
    elif path.suffix.lower() == ".npz":
        found = read_npz(path, options, name)
    elif path.suffix.lower() == ".csv":
        found = read_table(path, options, name, fresh=fresh)
    else:
        raise DataError(
            "this file is no data", where=str(path), hint="expected a folder of images, a .npz file or a .csv table"
        )
    return found


def from_table(path: str | Path, *, image_shape: tuple[int, ...] = (), skip_unreadable: bool = False) -> ImageSplits:
    """Tuples of inputs with their answers: a ``.csv`` table, or a folder with ``train.csv`` and ``test.csv``.

    Raises:
        DataError: there is no table, or as :func:`~nesy_gedi.data.tables.read_table`.
    """
    where = Path(path).expanduser()
    tables = table_files(where) if where.is_dir() else where
    if not tables:
        raise DataError("there is no table in this folder", where=str(where), hint="name a .csv file")
    return read_table(tables, ReadOptions(image_shape, skip_unreadable), str(path))
