"""Names of files and classes: their natural order, and the nearest one to a name that is not there."""

from __future__ import annotations

import difflib
import re
from pathlib import Path


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts numbers within names by their value, so that 10 follows 9."""
    parts = (part for part in re.split(r"([0-9]+)", name) if part)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts), name


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the data's: of the system, or of a person who hid it."""
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def nearest(path: Path) -> str:
    """What stands in place of a file that is not there: the nearest name in its folder, or the folder that is missing."""
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    names = [entry.name for entry in missing.parent.iterdir()]
    alike = [name for name in names if name.lower() == missing.name.lower() or Path(name).stem == missing.stem]
    close = alike or difflib.get_close_matches(missing.name, names, n=1, cutoff=0.6)
    found = f"the nearest name is {close[0]}" if close else f"none of the {len(names)} names there is like it"
    return found if missing == path else f"there is no folder {missing}; {found}"
