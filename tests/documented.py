"""Pages of the documentation, block by block: what a block says is done, in the page's order and in one folder.

A block's language says what becomes of it:

- ``console``: lines that begin with ``$`` are commands, what follows one is what it prints. A line ``...`` stands for any
  lines, and ``...`` inside a line for anything. A command whose quotes are open goes on in the next line.
- ``sh``: each line is a command; nothing is said about what it prints.
- ``python``: runs; the blocks of a page share their names.
- ``toml``: a recipe, or part of one. ``prolog``: a program, which is saved where it begins with ``% NAME.pl``.
- ``text``, and a directive such as ``{toctree}``: nothing is done. Any other language, or none, is an error.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nesy_gedi.cli.main import main
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``line`` is that of its first line of text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A command, and what it is shown to print; empty where nothing is shown."""

    arguments: list[str]
    shown: str


def name_of(page: Path) -> str:
    """As pages are called in test ids and in messages."""
    return page.name if page.parent in (ROOT, ROOT / "docs") else page.relative_to(ROOT / "docs").as_posix()


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(name_of(page), text.count("\n", 0, found.start(3)) + 1, found[2].strip(), found[3])
        for found in FENCE.finditer(text)
    ]


def blocks(language: str) -> list[Block]:
    """The blocks of all pages in one language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a ``console`` or ``sh`` block, in order."""
    lines = block.text.splitlines()
    while lines:
        line = lines.pop(0)
        if block.language == "console":
            if not line.startswith("$ "):
                raise ValueError(f"{block.place}: nothing has printed {line!r}")
            line = line.removeprefix("$ ")
        while (arguments := split(line)) is None:
            line += "\n" + lines.pop(0)
        shown: list[str] = []
        while block.language == "console" and lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        if arguments:
            yield Command(arguments, "".join(f"{each}\n" for each in shown))


def split(line: str) -> list[str] | None:
    """As a shell does; None where a quote is open."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return None


def prints(shown: str, printed: str) -> bool:
    """Whether what was printed is what is shown, with ``...`` for anything."""
    lines = (
        r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", r"[^\n]*?") + r"\n"
        for line in shown.splitlines()
    )
    pattern = "".join(lines)
    return re.fullmatch(pattern, printed) is not None


Rewrite = Callable[[list[str]], list[str] | None]
"""What is run in place of a documented command; None for nothing."""


class Runner:
    """Does what pages say, in the folder that it is in.

    Args:
        capture: of what commands print.
        rewrite: of commands; as they are written where it is not given.
    """

    def __init__(self, capture: pytest.CaptureFixture[str], rewrite: Rewrite = lambda arguments: arguments) -> None:
        self.capture = capture
        self.rewrite = rewrite
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.done: list[str] = []

    def run(self, block: Block) -> None:
        """Do what a block says; raises AssertionError where it does not do it."""
        if block.language in ("console", "sh"):
            for command in commands_of(block):
                self.command(block.place, command)
        elif block.language == "python":
            # The block's own place stands in tracebacks.
            exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), self.names)
        elif block.language == "toml":
            read_any_recipe(block)
        elif block.language == "prolog":
            Program(block.text, name=block.place)
            if named := re.match(r"% (\w+\.pl)\b", block.text):
                Path(named[1]).write_text(block.text, encoding="utf-8")
        else:
            assert block.language == "text" or block.language.startswith("{"), (
                f"{block.place}: a block of language {block.language!r} cannot be tested; what is output alone is text"
            )

    def command(self, place: str, command: Command) -> None:
        name, *arguments = command.arguments
        self.done.append(" ".join(command.arguments))
        if name == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{re.escape(arguments[0])}:", makefile, re.MULTILINE), f"{place}: make {arguments[0]}"
            return
        if name == "torchrun":  # test_processes starts it; here what each process does
            name, *arguments = arguments[arguments.index("nesy-gedi") :]
        assert name == "nesy-gedi", f"{place}: {name} is no command that a test knows"
        changed = self.rewrite(arguments)
        if changed is None:
            return
        self.capture.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(changed)
        printed = self.capture.readouterr()
        assert caught.value.code == 0, f"{place}: nesy-gedi {shlex.join(changed)}\n{printed.out}{printed.err}"
        if command.shown and changed == arguments:
            assert prints(command.shown, printed.out), f"{place}: {shlex.join(changed)} prints\n{printed.out}"


def read_any_recipe(block: Block) -> None:
    """A block of TOML is a recipe of a program or of a pretraining."""
    path = Path("documented.toml")
    path.write_text(block.text, encoding="utf-8")
    try:
        load_recipe(path)
    except RecipeError as error:
        try:
            load_pretrain_recipe(path)
        except RecipeError:
            raise AssertionError(f"{block.place}: {error}") from error
    finally:
        os.unlink(path)
