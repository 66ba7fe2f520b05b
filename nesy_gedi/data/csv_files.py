"""Rows of text files with separated values, whatever wrote them; every mistake is told with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nesy_gedi.errors import DataError

DELIMITERS = (",", ";", "\t")

_LOOKED_AT = 20  # lines that tell the delimiter


@dataclass(frozen=True)
class Row:
    """Cells without blanks around them, and the line that they begin in."""

    line: int
    cells: tuple[str, ...]


def read_rows(path: Path, hint: str = "write one tuple a line: left.png,right.png,7") -> list[Row]:
    """The rows of a file, all of one length. Blank lines, and lines that begin with ``#``, are left out.

    Args:
        hint: what to do where there is no row.

    Raises:
        DataError: no text in UTF-8, an unclosed quote, a row of another length, or no row.
    """
    text = _read(path)
    delimiter = _delimiter(text)
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    begin = 1
    try:
        for cells in reader:
            stripped = tuple(cell.strip() for cell in cells)
            if any(stripped) and not stripped[0].startswith("#"):
                rows.append(Row(begin, stripped))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"this row cannot be read: {error}",
            where=f"{path}:{begin}",
            hint="close every quote, and write a quote inside quotes twice",
        ) from error
    if not rows:
        raise DataError("the table has no rows", where=str(path), hint=hint)
    width = len(rows[0].cells)
    for row in rows:
        if len(row.cells) != width:
            shown = {"\t": "tabs"}.get(delimiter, f'"{delimiter}"')
            raise DataError(
                f"{len(row.cells)} columns (separated by {shown}), expected {width} as in line {rows[0].line}",
                where=f"{path}:{row.line}",
                hint="give every row the same columns, and put quotes around text that holds the separator",
            )
    return rows


def header(path: Path, row: Row) -> tuple[str, ...]:
    """Names of columns.

    Raises:
        DataError: an empty or repeated name.
    """
    for number, name in enumerate(row.cells, start=1):
        if not name or row.cells.count(name) > 1:
            what = f"two columns are named {name}" if name else f"column {number} has no name"
            raise DataError(what, where=f"{path}:{row.line}", hint="name each column once")
    return row.cells


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), hint="check its path") from error
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}", where=str(path), hint="check the file's permissions"
        ) from error
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"this is no text in UTF-8: byte {content[error.start]:#04x}",
            where=f"{path}:{line}",
            hint="save the table as CSV in UTF-8",
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            "this is no text: it holds zero bytes", where=f"{path}:{line}", hint="save the table as CSV in UTF-8"
        )
    return text


def _delimiter(text: str) -> str:
    """The first of ``DELIMITERS`` that takes the first lines apart alike; else the most frequent."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][:_LOOKED_AT]
    counts = {each: [_outside_quotes(line, each) for line in lines] for each in DELIMITERS}
    alike = [each for each in DELIMITERS if counts[each] and min(counts[each]) == max(counts[each]) > 0]
    return alike[0] if alike else max(DELIMITERS, key=lambda each: sum(counts[each]))


def _outside_quotes(line: str, delimiter: str) -> int:
    return sum(part.count(delimiter) for part in line.split('"')[::2])


def at(path: Path, row: Row, columns: Sequence[str], number: int) -> str:
    """Where a cell is, for messages."""
    return f"{path}:{row.line}, column {columns[number] if columns else number + 1}"
