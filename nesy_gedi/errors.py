"""Every error a user can meet: what failed, where, what was expected, and one next step.

The library raises these; only the command line prints them and turns them into exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NesyGediError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what failed and what was expected, one sentence or two.
        where: the place - a file, ``file:line:column``, a network's or a recipe key's name.
        excerpt: the offending source line with a caret below it, for programs and recipes.
        hint: one next step.
    """

    def __init__(
        self, message: str, *, where: str | None = None, excerpt: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.excerpt = excerpt
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.excerpt:
            text += f"\n{self.excerpt}"
        if self.hint:
            text += f"\nhint: {self.hint}"
        return text


class UsageError(NesyGediError):
    """The request itself is wrong: a name, an option, a value that cannot be."""


class RecipeError(UsageError):
    """A recipe (TOML) has an unknown key, a wrong type or an impossible value."""


class EngineError(UsageError):
    """An engine that does not exist, whose package is missing, or that cannot answer what is asked of it."""


class ProgramError(NesyGediError):
    """A logic program cannot be parsed or grounded."""


class AnswerError(NesyGediError):
    """An observed answer that the program cannot derive."""


class DistributionError(NesyGediError):
    """Log-probabilities of the wrong shape, or rows that do not sum to one."""


class BudgetError(NesyGediError):
    """Grounding or compilation went past its node or time budget."""


class DataError(NesyGediError):
    """Data that is missing, corrupt or of the wrong shape."""


class RunError(NesyGediError):
    """A run folder or checkpoint that cannot be written, read or continued."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A hint sentence: the nearest match when there is one, then all valid names."""
    valid = sorted(names)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    choices = ", ".join(valid) if valid else "none"
    return (f"did you mean {close[0]}? " if close else "") + f"valid: {choices}"


def caret(line: str, column: int) -> str:
    """``line`` with a caret under its 1-based ``column``, indented for an error message."""
    padding = "".join("\t" if c == "\t" else " " for c in line[: max(column - 1, 0)])
    return f"    {line}\n    {padding}^"


class Interrupted(NesyGediError):
    """Work was asked to stop; everything is saved."""


class NesyGediWarning(UserWarning):
    """Something that went on, but that the user should know."""
