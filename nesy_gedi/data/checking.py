"""``nesy-gedi data --check``: are the files what they should be?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nesy_gedi.data.cards import Card, card_names, load_card
from nesy_gedi.data.decoding import ReadOptions
from nesy_gedi.data.files import data_root, download_files, find_files, missing_files_error, verified_files, wrong_files
from nesy_gedi.data.sources import is_path, no_such_source, read_path
from nesy_gedi.errors import DataError


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        status: ``embedded`` (no file needed), ``right``, ``wrong`` or ``missing``.
        path: where the files are.
        problems: what is wrong; a data set that is missing has none unless it was named.
    """

    name: str
    status: str
    path: str | None
    problems: tuple[str, ...]


def check_files(source: str | None, *, data_dir: Path | None = None, download: bool = False) -> list[Checked]:
    """Compare the files of a data set - of all where none is named - with their published checksums, or read every file at
    a path anew.

    Args:
        download: fetch what is missing or wrong of the named data set first.

    Raises:
        UsageError: neither a data set nor a path.
        DataError: the download failed.
    """
    root = data_root(data_dir)
    if source is None:
        return [_check_card(load_card(name), root, named=False) for name in card_names()]
    if is_path(source):
        return [_check_path(source)]
    if source not in card_names():
        raise no_such_source(source)
    card = load_card(source)
    if download and not card.embedded and verified_files(card, root) is None:
        download_files(card, root)
    return [_check_card(card, root, named=True)]


def _check_card(card: Card, root: Path, *, named: bool) -> Checked:
    if card.embedded:
        return Checked(card.name, "embedded", None, ())
    if (right := verified_files(card, root)) is not None:
        return Checked(card.name, "right", str(right.folder), ())
    found = find_files(card, root)
    if found is None:
        missing = missing_files_error(card, root)
        incomplete = missing.where is not None
        told = (str(missing),) if named or incomplete else ()
        return Checked(card.name, "wrong" if incomplete else "missing", missing.where, told)
    problems = tuple(str(error) for error in wrong_files(found).values())
    return Checked(card.name, "wrong", str(found.folder), problems)


def _check_path(source: str) -> Checked:
    try:
        read_path(source, ReadOptions(), fresh=True)
    except DataError as error:
        return Checked(source, "wrong", source, (str(error),))
    return Checked(source, "right", source, ())
