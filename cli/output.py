"""What the user sees: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click

from nesy_gedi.errors import Interrupted, NesyGediError, NesyGediWarning, UsageError


def print_json(document: Any) -> None:
    """The one document of ``--json``."""
    click.echo(json.dumps(document, indent=2))


def print_table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Columns as wide as their content; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in [list(header), *cells]) for k in range(len(header))]
    numeric = [all(_is_number(row[k]) for row in cells) for k in range(len(header))]
    titles = [list(header), ["-" * width for width in widths]] if any(header) else []
    for row in [*titles, *cells]:
        fields = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        click.echo("  ".join(fields).rstrip())


def print_status(text: str) -> None:
    """A line of progress or advice."""
    click.echo(text, err=True)


def render_error(error: NesyGediError) -> None:
    """One paragraph: what, where, what was expected, one next step."""
    label = click.style("error: ", fg="red") if use_colour(sys.stderr) else "error: "
    click.echo(label + str(error), err=True)


def exit_code(error: NesyGediError) -> int:
    """The exit code of an error that the library raised."""
    if isinstance(error, Interrupted):
        return 130
    return 2 if isinstance(error, UsageError) else 1


def show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own warnings as one line; those of libraries stay out of sight."""
    if issubclass(category, NesyGediWarning):
        click.echo(f"warning: {message}", err=True)


def use_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, and never when NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%"))
    except ValueError:
        return False
    return True
