"""The folder of an export: written whole or not at all, and replaced only where an export made all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_folder, write_json
from nesy_gedi.networks.cards import sha256_of

MANIFEST = "export.json"
"""What is in the folder, with checksums."""

KIND = "nesy-gedi export"
"""How the manifest says what it is of."""

IGNORED = "__pycache__"
"""Folders that importing a definition leaves behind."""


def refuse_folder(to: Path, run: Path, *, force: bool) -> None:
    """Refuse a folder that an export cannot be written to, before what takes long.

    Raises:
        RunError: it lies in the run or holds it; it is there and ``force`` is off, or holds something that no export made.
    """
    place, inside = to.resolve(), run.resolve()
    if place.is_relative_to(inside) or inside.is_relative_to(place):
        raise RunError(
            "an export and its run cannot lie in one another: replacing one would remove the other",
            where=str(to),
            hint="name a folder beside the run: --to DIR",
        )
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    foreign = _foreign(place)
    if foreign is not None:
        raise RunError(
            f"the folder exists, and {foreign}", where=str(to), hint="choose another --to, or remove it yourself"
        )
    if not force:
        raise RunError("the folder exists", where=str(to), hint="choose another --to, or replace it with --force")


def write_whole(to: Path, fill: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Let ``fill`` write into a folder beside ``to``, then put it there in place of what was.

    Args:
        to: as :func:`refuse_folder` has let pass.
        fill: returns what the manifest says beside the files.

    Returns:
        The manifest.

    Raises:
        RunError: it cannot be written. Whatever ``fill`` raises is passed on; nothing is left behind then.
    """
    place = to.resolve()

    def filled(part: Path) -> dict[str, Any]:
        manifest: dict[str, Any] = {**fill(part)}
        files = sorted(path for path in part.rglob("*") if path.is_file())
        manifest["files"] = {path.relative_to(part).as_posix(): sha256_of(path) for path in files}
        write_json(part / MANIFEST, {"kind": KIND, **manifest})
        return manifest

    try:
        return write_folder(place, filled)
    except OSError as error:
        raise RunError(
            f"cannot write the export: {error.strerror or error}",
            where=str(to),
            hint="choose a folder you can write: --to",
        ) from error


def _foreign(place: Path) -> str | None:
    """What in a folder no export has made, in words; None where all of it is an export's."""
    try:
        said = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if said["kind"] != KIND:
            raise ValueError
        known = {MANIFEST, *said["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return "it is no export"
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place)
        if path.is_file() and inside.as_posix() not in known and IGNORED not in inside.parts:
            return f"{inside.as_posix()} in it was not written by an export"
    return None
