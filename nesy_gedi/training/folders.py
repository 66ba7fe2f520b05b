"""The folder of a run: which one may be replaced, and that it is made whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_folder


def make_folder(path: Path, fill: Callable[[Path], None], force: bool, refuse: Callable[[Path], None]) -> None:
    """Make a run folder, complete or not at all.

    Args:
        fill: writes what it holds into a folder.
        force: replace what is there.
        refuse: raises RunError where that may not be replaced.

    Raises:
        RunError: the folder exists and ``force`` is off or ``refuse`` does, or it cannot be written.
    """
    place = path.resolve()  # a link to a run, or ".", stands for the folder itself
    try:
        if place.exists():
            if not force:
                raise RunError(
                    "the folder exists", where=str(path), hint="choose another --out, or replace it with --force"
                )
            if any(place.iterdir()) if place.is_dir() else True:
                refuse(path)
        write_folder(place, fill)
    except OSError as error:
        raise RunError(
            f"cannot make the run folder: {error.strerror or error}",
            where=str(path),
            hint="choose a folder you can write: --out",
        ) from error
