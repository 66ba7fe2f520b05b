"""``nesy-gedi query``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table
from nesy_gedi.errors import UsageError

if TYPE_CHECKING:
    from nesy_gedi.logic.queries import Frequency, PlainQueries, ProbableWorld

SEED = 0
"""Of the sampled worlds, where none is given."""

MOST_SAMPLES = 100_000_000

LARGEST_SEED = 2**63 - 1


@click.command(short_help="Answer the query/1 lines of a plain ProbLog program.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="The most probable world of each answer: what has to be so.")
@click.option(
    "--samples",
    type=click.IntRange(1, MOST_SAMPLES),
    metavar="N",
    help="Draw N worlds given the evidence, and count in how many each answer holds.",
)
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), metavar="N", help=f"Of the drawn worlds; else {SEED}.")
@click.option(
    "--atom",
    "atoms",
    multiple=True,
    metavar="GOAL",
    help='Ask for GOAL, too, such as "wet" or "path(a, X)"; repeatable. Then the program needs no query/1.',
)
@options.budget_options
@options.trust
@options.as_json
def query(
    file: Path,
    explain: bool,
    samples: int | None,
    seed: int | None,
    atoms: tuple[str, ...],
    max_seconds: float | None,
    max_nodes: int | None,
    max_gigabytes: float | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Print the probability of every answer to the query/1 lines of FILE, given its evidence/1 lines."""
    if not file.is_file():
        raise UsageError("there is no such program file", where=str(file), hint="give the path of a .pl file")
    if seed is not None and samples is None:
        raise UsageError("no worlds are drawn that it could be for", where="--seed", hint="say how many: --samples N")
    from nesy_gedi.logic.budget import Budget
    from nesy_gedi.logic.program import Program
    from nesy_gedi.logic.queries import PlainQueries
    from nesy_gedi.training.runs import VERSION

    program = Program.load(file, trusted=trust)
    limits: dict[str, Any] = {"seconds": max_seconds, "nodes": max_nodes, "gigabytes": max_gigabytes}
    budget = Budget(**{name: limit for name, limit in limits.items() if limit is not None})
    asked: dict[str, PlainQueries] = {}
    if not atoms or "query/1" in program.signatures:
        asked["answers"] = PlainQueries(program, budget=budget)
    if atoms:
        asked["atoms"] = PlainQueries(program, atoms, budget=budget)
    seed = SEED if seed is None else seed
    document: dict[str, Any] = {"version": VERSION, "program": str(file), "answers": {}}
    worlds: dict[str, ProbableWorld | None] = {}
    drawn: dict[str, Frequency] = {}
    for kind, goals in asked.items():
        document[kind] = goals.answers()
        if explain:
            worlds |= goals.explanations()
        if samples is not None:
            drawn |= goals.frequencies(samples, seed)
    if explain:
        document["explanations"] = {term: _explanation(world) for term, world in worlds.items()}
    if samples is not None:
        frequencies = {t: {"frequency": f.frequency, "standard_error": f.standard_error} for t, f in drawn.items()}
        document["samples"] = {"worlds": samples, "seed": seed, "frequencies": frequencies}
    if as_json:
        print_json(document)
        return
    header = ["answer", "probability", *(["sampled", "standard error"] if drawn else [])]
    shown = {**document["answers"], **document.get("atoms", {})}
    print_table([[term, f"{p:.6g}", *_sampled(drawn.get(term))] for term, p in shown.items()], header)
    if explain:
        click.echo("\nmost probable world in which it holds:")
        rows = [[term, *_told(world)] for term, world in worlds.items()]
        print_table(rows, ["answer", "probability", "given the answer", "world"])


def _explanation(world: ProbableWorld | None) -> dict[str, Any] | None:
    if world is None:
        return None
    return {
        "probability": math.exp(world.log_probability),
        "log_probability": world.log_probability,
        "share": world.share,
        "choices": world.choices,
    }


def _sampled(found: Frequency | None) -> list[str]:
    return [] if found is None else [f"{found.frequency:.6g}", f"{found.standard_error:.2g}"]


def _told(world: ProbableWorld | None) -> list[str]:
    if world is None:
        return ["0", "-", "impossible"]
    said = "; ".join(world.choices.values()) or "nothing is left to chance"
    return [f"{math.exp(world.log_probability):.6g}", f"{world.share:.1%}", said]
