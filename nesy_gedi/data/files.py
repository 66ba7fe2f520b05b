"""Where data files are looked for, how they are verified, and how they are downloaded.

Nothing is ever written except by :func:`download_files`.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nesy_gedi.data.cards import Card, card_names, load_card
from nesy_gedi.errors import DataError
from nesy_gedi.files import user_cache

DATA_VARIABLE = "NESY_GEDI_DATA"


@dataclass(frozen=True)
class FoundFiles:
    """A folder that holds all files of a data set; their content is not yet verified.

    Args:
        folder: what the file names are relative to.
        checksums: file name -> expected md5.
    """

    folder: Path
    checksums: Mapping[str, str]


def data_root(data_dir: Path | None = None) -> Path:
    """``data_dir``, else ``$NESY_GEDI_DATA``, else the user's cache folder."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    if chosen := os.environ.get(DATA_VARIABLE):
        return Path(chosen).expanduser()
    return user_cache() / "data"


def candidate_folders(card: Card, root: Path) -> list[Path]:
    """The folders that may hold the files: one named after the data set, ``root`` itself, torchvision's own."""
    folders = [root / card.name, root]
    if card.torchvision_folder:
        folders.append(root / card.torchvision_folder)
    return folders


def find_files(card: Card, root: Path) -> FoundFiles | None:
    """The first candidate folder with every file of ``card``; only existence is checked. None when there is none."""
    return next(_complete(card, root), None)


def verified_files(card: Card, root: Path) -> FoundFiles | None:
    """The first candidate folder with every file of ``card`` as it was published; None when there is none."""
    for found in _complete(card, root):
        if not wrong_files(found):
            return found
    return None


def _complete(card: Card, root: Path) -> Iterator[FoundFiles]:
    for folder in candidate_folders(card, root):
        for checksums in (card.unpacked, card.files):
            names = list(checksums)
            if names and len(_present(folder, names)) == len(names) and not _belongs_to_another(card, folder, names):
                yield FoundFiles(folder, checksums)


def wrong_files(found: FoundFiles) -> dict[str, DataError]:
    """The files that are unreadable, truncated, corrupt or others altogether, each with what is wrong."""
    wrong = {}
    for name, expected in found.checksums.items():
        if error := _fault(found.folder / name, expected):
            wrong[name] = error
    return wrong


def verify_files(found: FoundFiles) -> None:
    """Compare every file with its published md5.

    Raises:
        DataError: a file is unreadable, truncated, corrupt or another file altogether.
    """
    for error in wrong_files(found).values():
        raise error


def _fault(path: Path, expected: str) -> DataError | None:
    try:
        actual, size = _md5(path), path.stat().st_size
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return DataError(reason, where=str(path), hint="check the file's permissions")
    if actual == expected:
        return None
    return DataError(
        f"corrupt or truncated ({size} bytes): expected md5 {expected}, found {actual}",
        where=str(path),
        hint="rerun with --download to fetch it anew",
    )


def unusable_files_error(card: Card, root: Path) -> DataError:
    """The error for a data set of which ``root`` holds no whole copy: what is wrong with the first, or what is missing."""
    found = find_files(card, root)
    faults = wrong_files(found) if found else {}
    return next(iter(faults.values()), None) or missing_files_error(card, root)


def missing_files_error(card: Card, root: Path) -> DataError:
    """The error for a data set whose files are not, or not all, below ``root``."""
    folders = candidate_folders(card, root)
    hint = "rerun with --download, or name the folder that has the files with --data-dir"
    for folder in folders:
        names = list(card.files)
        present = _present(folder, names)
        if present and len(present) < len(names):
            absent = ", ".join(name for name in names if name not in present)
            return DataError(f"incomplete copy of {card.title}: lacks {absent}", where=str(folder), hint=hint)
    looked_in = ", ".join(str(folder) for folder in folders)
    return DataError(f"{card.title} not found; looked for {', '.join(card.files)} in {looked_in}", hint=hint)


def download_files(card: Card, root: Path) -> None:
    """Fetch the published files that are absent or wrong into ``root / card.name``, or into the candidate folder where
    others of them are; torchvision shows its progress bar on stderr.

    Files are staged in a temporary folder and moved once all are complete and verified, so that an
    interrupted download leaves nothing that looks whole.

    Raises:
        DataError: no mirror could be reached, a checksum differs, or the folder cannot be written.
    """
    target, wanted = _to_fetch(card, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{card.name}-download-", dir=root) as staging:
            mirrors = _mirrors(card)
            for name in wanted:
                _download_file(name, mirrors[name], card.files[name], Path(staging))
            target.mkdir(exist_ok=True)
            for name in wanted:
                os.replace(Path(staging) / name, target / name)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise DataError(
            f"{card.title} could not be downloaded: {error}",
            where=str(target),
            hint=f"check the network, or copy {', '.join(wanted)} into that folder by hand",
        ) from error


def _to_fetch(card: Card, root: Path) -> tuple[Path, list[str]]:
    """The folder that a download completes - that with most of the published files - and what it lacks."""
    names = list(card.files)
    whole: dict[Path, list[str]] = {}
    for folder in candidate_folders(card, root):
        there = _present(folder, names)
        if there and not _belongs_to_another(card, folder, there):
            whole[folder] = [name for name in there if _fault(folder / name, card.files[name]) is None]
    # one without a single right file is somebody else's, unless it is the data set's own
    target = max(whole, key=lambda folder: len(whole[folder]), default=root / card.name)
    if not whole.get(target):
        target = root / card.name
    return target, [name for name in names if name not in whole.get(target, ())]


def _download_file(name: str, mirrors: list[str], md5: str, folder: Path) -> None:
    from torchvision.datasets.utils import download_url  # heavy, and only downloads need it

    failures = []
    for url in mirrors:
        try:
            download_url(url, folder, name, md5)
            return
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
    raise RuntimeError("; ".join(failures))


def _mirrors(card: Card) -> dict[str, list[str]]:
    """File name -> addresses to try in turn, from the torchvision class of the data set."""
    import torchvision.datasets

    publisher = getattr(torchvision.datasets, str(card.torchvision))
    if hasattr(publisher, "mirrors"):
        return {name: [f"{mirror}{name}" for mirror in publisher.mirrors] for name in card.files}
    if hasattr(publisher, "split_list"):
        addresses = {name: url for url, name, _ in publisher.split_list.values()}
        return {name: [addresses[name]] for name in card.files}
    return {publisher.filename: [publisher.url]}


def _present(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if os.path.isfile(folder / name)]


def _belongs_to_another(card: Card, folder: Path, names: list[str]) -> bool:
    """Whether the files are another data set's: MNIST and its relatives share their file names.

    Only the smallest file is read. A corrupt one belongs to nobody, so it stays with ``card`` and is reported.
    """
    others = [load_card(name) for name in card_names() if name != card.name]
    shared = [name for name in names if any(name in other.files for other in others)]
    if not shared:
        return False
    try:
        smallest = min(shared, key=lambda name: (folder / name).stat().st_size)
        return _md5(folder / smallest) in {other.files.get(smallest) for other in others}
    except OSError:
        return False


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # a checksum against damage, not a signature; the flag keeps it usable on FIPS systems
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
