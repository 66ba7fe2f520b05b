"""Find a program and its recipe: a file, or a bundled name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nesy_gedi.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class ProgramFile:
    """A program on disk.

    Attributes:
        path: the ``.pl`` file.
        recipe: the ``.toml`` file of the same name beside it, None when there is none.
    """

    path: Path
    recipe: Path | None

    @property
    def name(self) -> str:
        return self.path.stem

    def summary(self) -> str:
        """The comment that the program begins with."""
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("%"):
                break
            lines.append(line.lstrip("% ").strip())
        return " ".join(lines)


def bundled_programs() -> Iterator[ProgramFile]:
    """The programs that come with the package, by name."""
    folder = Path(str(files("nesy_gedi.programs")))
    for path in sorted(folder.glob("*.pl")):
        yield _with_recipe(path)


def find_program(argument: str) -> ProgramFile:
    """What ``argument`` names: a path or something ending in ``.pl`` is a file, anything else a bundled program.

    Raises:
        UsageError: there is no such file or name; the message has the nearest match.
    """
    path = Path(argument)
    if path.suffix == ".pl" or any(separator in argument for separator in (os.sep, os.altsep) if separator):
        if not path.is_file():
            beside = [other.name for other in path.parent.glob("*.pl") if other.is_file()]
            what = ": it is a folder" if path.is_dir() else ""
            inside = path / "program.pl"
            hint = f"the program of this run is {inside}" if inside.is_file() else did_you_mean(path.name, beside)
            raise UsageError(f"there is no such program file{what}", where=argument, hint=hint)
        return _with_recipe(path)
    bundled = {program.name: program for program in bundled_programs()}
    if argument not in bundled:
        raise UsageError(f"there is no bundled program {argument}", hint=did_you_mean(argument, bundled))
    return bundled[argument]


def _with_recipe(path: Path) -> ProgramFile:
    recipe = path.with_suffix(".toml")
    return ProgramFile(path, recipe if recipe.is_file() else None)
