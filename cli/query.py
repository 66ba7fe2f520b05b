"""``nesy-gedi query``."""

from __future__ import annotations

from pathlib import Path

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table
from nesy_gedi.errors import UsageError


@click.command(short_help="Answer the query/1 lines of a plain ProbLog program.")
@click.argument("file", type=click.Path(path_type=Path))
@options.trust
@options.as_json
def query(file: Path, trust: bool, as_json: bool) -> None:
    """Print the probability of every answer to the query/1 lines of FILE, given its evidence/1 lines."""
    if not file.is_file():
        raise UsageError("there is no such program file", where=str(file), hint="give the path of a .pl file")
    from nesy_gedi.logic.program import Program
    from nesy_gedi.logic.queries import answer_queries
    from nesy_gedi.training.runs import VERSION

    answers = answer_queries(Program.load(file, trusted=trust))
    if as_json:
        print_json({"version": VERSION, "program": str(file), "answers": answers})
    else:
        print_table([[term, f"{p:.6g}"] for term, p in answers.items()], ["answer", "probability"])
