"""Files: where the user's cache is, and writing that leaves the old file or the whole new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
