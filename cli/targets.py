"""Files that a command writes where it is told to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from nesy_gedi.errors import RunError, UsageError


def refuse_target(target: Path, option: str, endings: Sequence[str]) -> None:
    """Refuse what cannot be written before what takes long, and what is no such file before it is overwritten.

    Args:
        option: that names it.
        endings: of files that may be replaced.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder", where=option, hint="name a file in a folder that exists")
    if not target.parent.is_dir():
        raise UsageError(
            f"{target} cannot be written: there is no such folder",
            where=option,
            hint="name a file in a folder that exists",
        )
    if target.exists() and not (target.is_file() and target.suffix.lower() in endings):
        raise UsageError(
            f"{target} is there already and is no {endings[0]} file",
            where=option,
            hint=f"name a file that ends in {endings[0]}",
        )
    with writing(target, option), TemporaryFile(dir=target.parent):
        pass


@contextmanager
def writing(target: Path, option: str) -> Iterator[None]:
    """Say which file could not be written."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot be written: {error.strerror}", where=str(target), hint=f"name another file with {option}"
        ) from error
