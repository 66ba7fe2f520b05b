"""Queries whose images are files: a single one, a folder, a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nesy_gedi.data.csv_files import Row, read_rows
from nesy_gedi.data.decoding import SUFFIXES, is_image
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError
from nesy_gedi.training.predictor import Predictor


@dataclass(frozen=True)
class FileQueries:
    """Queries whose images are files.

    Attributes:
        files: for each query the files of its slots.
        given: observed slot -> a value for each query.
        where: for messages, where each query is stated: a line of a table; empty where nowhere.
    """

    files: tuple[tuple[Path, ...], ...]
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)


def single_query(predictor: Predictor, files: Sequence[Path]) -> FileQueries:
    """One query.

    Raises:
        UsageError: another number of files than of slots.
    """
    if len(files) != len(predictor.slots):
        one = len(predictor.slots) == 1
        raise UsageError(
            f"{predictor.reasoner.form.text} takes {len(predictor.slots)} image{'' if one else 's'}, "
            f"{'for' if one else 'one each for'} {', '.join(predictor.slots)}; {len(files)} given",
            where="images",
            hint="name a file for each of these, in this order; for many queries use --table FILE.csv"
            + (" or --folder DIR" if one else ""),
        )
    return FileQueries((tuple(files),))


def folder_queries(predictor: Predictor, folder: Path) -> FileQueries:
    """A query for each image file in a folder and the folders below it, by name; of programs that look at one image.

    Raises:
        UsageError: the program looks at several images, or there is no such folder.
        DataError: there is no image in it.
    """
    if len(predictor.slots) > 1:
        raise UsageError(
            f"{predictor.reasoner.form.text} takes {len(predictor.slots)} images a query: a folder does not say which "
            "belong together",
            where="--folder",
            hint=f"list them in a table with the columns {','.join(predictor.slots)}, and name it with --table",
        )
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise UsageError(what, where=f"--folder {folder}", hint="name a folder of image files")
    files = sorted(path for path in folder.rglob("*") if is_image(path.name) and _is_shown(path, folder))
    if not files:
        raise DataError(
            "there is no image in this folder", where=str(folder), hint=f"images end in {', '.join(SUFFIXES)}"
        )
    return FileQueries(tuple((path,) for path in files))


def _is_shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def table_queries(predictor: Predictor, table: Path) -> FileQueries:
    """A query for each row of a CSV file, as training reads them, whose columns are the slots; files are named relative to it.

    A first line that names the columns may put them in any order, and may name observed slots, whose values are given then.
    Without it, the first columns are the slots in the form's order, and the observed ones may follow.

    Raises:
        UsageError: there is no such file.
        DataError: it is no table, a column or a cell is missing, or there are no rows.
    """
    if not table.is_file():
        what = "this is a folder" if table.is_dir() else "there is no such file"
        raise UsageError(what, where=f"--table {table}", hint="name a .csv file")
    slots, observed = predictor.slots, tuple(item.slots[0] for item in predictor.observed)
    rows = read_rows(table, f"write a row of {', '.join(slots)}")
    columns, body, unused = _columns(rows, slots, observed, table)
    if not body:
        raise DataError("there is no row below the header", where=str(table), hint=f"write a row of {', '.join(slots)}")
    for row in body:
        if missing := [name for name, k in columns.items() if not row.cells[k]]:
            raise DataError(
                f"there is nothing for {missing[0]}",
                where=f"{table}:{row.line}",
                hint=f"columns are {', '.join(columns)}",
            )
    if unused:
        warnings.warn(f"{table}: columns that are not used: {', '.join(unused)}", NesyGediWarning, stacklevel=2)
    return FileQueries(
        tuple(tuple(table.parent / row.cells[columns[slot]] for slot in slots) for row in body),
        {slot: tuple(row.cells[columns[slot]] for row in body) for slot in observed if slot in columns},
        tuple(f"{table}:{row.line}" for row in body),
    )


def _columns(
    rows: list[Row], slots: Sequence[str], observed: Sequence[str], table: Path
) -> tuple[dict[str, int], list[Row], list[str]]:
    """Which column holds which slot, the rows below the header, and columns that nothing asks for."""
    known = (*slots, *observed)
    first, begin = rows[0].cells, f"{table}:{rows[0].line}"
    if any(cell in known for cell in first):
        if missing := [slot for slot in slots if slot not in first]:
            raise DataError(
                f"there is no column {missing[0]}",
                where=begin,
                hint=f"begin the table with a line that names {','.join(slots)}; found {','.join(first)}",
            )
        if twice := [cell for cell in known if first.count(cell) > 1]:
            raise DataError(f"there are two columns {twice[0]}", where=begin, hint="leave one out")
        columns = {name: first.index(name) for name in known if name in first}
        return columns, rows[1:], [cell or "(no name)" for cell in first if cell not in known]
    if len(first) < len(slots) or not all(is_image(cell) for cell in first[: len(slots)]):
        raise DataError(
            f"expected a line that names the columns {', '.join(slots)}, or {len(slots)} image file"
            f"{'' if len(slots) == 1 else 's'} a row, found {','.join(first)}",
            where=begin,
            hint=f"begin it with the line {','.join(slots)}",
        )
    names = known if observed and len(first) == len(known) else tuple(slots)
    unused = [f"number {k + 1}" for k in range(len(names), len(first))]
    return {name: k for k, name in enumerate(names)}, rows, unused
