"""Files: where the user's cache is, and writing that leaves the old file or folder, or the whole new one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def user_cache() -> Path:
    """The user's cache folder of this package: below ``$XDG_CACHE_HOME``, else below ``~/.cache``."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "nesy-gedi"


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file so that a reader sees the old file or the whole new one, also when two write at once."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as :func:`write_text` does."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_folder(place: Path, fill: Callable[[Path], T]) -> T:
    """Let ``fill`` write into an empty folder beside ``place``, then put that in its place, whole or not at all.

    What was there before is removed last: where anything fails it stays, and nothing else is left behind. What a crash has left
    is cleared away by the next call.

    Returns:
        What ``fill`` does.

    Raises:
        OSError: it cannot be written. Whatever ``fill`` raises is passed on.
    """
    part, old = (place.with_name(f".{place.name}.{end}") for end in ("part", "old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        filled = fill(part)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(place, old)
        os.replace(part, place)
    finally:
        if old.exists() and not place.exists():
            os.replace(old, place)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return filled
