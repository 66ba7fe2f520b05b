"""Run folders are made whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from nesy_gedi.errors import RunError


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
    part = place.with_name(f".{place.name}.part")
    try:
        if place.exists():
            if not force:
                raise RunError(
                    "the folder exists", where=str(path), hint="choose another --out, or replace it with --force"
                )
            if any(place.iterdir()) if place.is_dir() else True:
                refuse(path)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        if place.exists():
            shutil.rmtree(place)
        os.replace(part, place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            f"cannot make the run folder: {error.strerror or error}",
            where=str(path),
            hint="choose a folder you can write: --out",
        ) from error
