"""``nesy-gedi shortcuts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_status, print_table
from nesy_gedi.cli.targets import refuse_target, writing
from nesy_gedi.errors import UsageError

if TYPE_CHECKING:
    from nesy_gedi.reports.shortcut_report import ShortcutReport
    from nesy_gedi.training.shown import Shown
    from nesy_gedi.training.task import Task


FORMULAS = (".cnf", ".dimacs")
"""Endings of files that a formula replaces."""


@click.command(short_help="Count, list and repair a program's reasoning shortcuts.")
@click.argument("program")
@options.query
@options.data_options
@options.seed
@options.limit
@click.option(
    "--support",
    metavar="full|train|FILE",
    help="What training shows: every tuple of symbols, those of the training queries, or those in a text file, one a line "
    "(0 1, or 0 1 = 1 to check the answer). Else the recipe's data.support, or every tuple where there is none.",
)
@click.option(
    "--family",
    metavar="shared|factored|joint",
    default="shared",
    show_default=True,
    help="Each network has one map, or one for each slot; or any map of whole tuples.",
)
@click.option("--bijective", is_flag=True, help="Only maps that are one to one: what pure clusters leave.")
@click.option("--list", "listed", type=int, metavar="N", help="Shortcuts that are listed; else 10.")
@click.option(
    "--max-seconds", type=float, metavar="S", help="Time for everything together; else 20. Then there are bounds."
)
@click.option(
    "--cnf", type=click.Path(path_type=Path), metavar="FILE", help="Write the count as DIMACS CNF for other tools."
)
@options.settings
@options.trust
@options.as_json
def shortcuts(
    program: str,
    query: str | None,
    source: str | None,
    data_dir: Path | None,
    download: bool,
    seed: int | None,
    limit: int | None,
    support: str | None,
    family: str,
    bijective: bool,
    listed: int | None,
    max_seconds: float | None,
    cnf: Path | None,
    settings: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    """Which ways of misreading symbols would answer everything right that training shows PROGRAM?

    Counts them exactly, lists them with what a perfect score would hide, and says which few labels or further answers would
    leave the right one alone. Nothing is trained.
    """
    overrides = options.read_settings(settings, (), query=query, seed=seed, data__train=limit)
    chosen, recipe = options.load(program, source, overrides, trust)

    from nesy_gedi.logic.cache import GroundingCache
    from nesy_gedi.reports.shortcut_report import LISTED, SECONDS, find_shortcuts
    from nesy_gedi.training.runs import VERSION
    from nesy_gedi.training.task import Task

    _refuse_idle(support, source=source, data_dir=data_dir, download=download or None, seed=seed, limit=limit)
    if cnf is not None:
        if family == "joint":
            raise UsageError("whole tuples are counted in closed form", where="--cnf", hint="leave --family joint out")
        refuse_target(cnf, "--cnf", FORMULAS)
    task = Task(chosen, recipe, cache=GroundingCache())
    report = find_shortcuts(
        task,
        _shown(task, support, data_dir, download),
        family=family,
        one_to_one=bijective,
        limit=LISTED if listed is None else listed,
        seconds=SECONDS if max_seconds is None else max_seconds,
    )
    if cnf is not None:
        _export(report, cnf)
    if as_json:
        print_json({"version": VERSION, **report.document()})
    else:
        _print(report)


def _refuse_idle(support: str | None, **given: object) -> None:
    """Refuse options of training queries where none are drawn."""
    if support != "train":
        for name, value in given.items():
            if value is not None:
                option = "--data" if name == "source" else f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} says which queries are drawn, and none are",
                    where=option,
                    hint="add --support train, or leave it out",
                )


def _shown(task: Task, support: str | None, data_dir: Path | None, download: bool) -> Shown:
    from nesy_gedi.data import load_images
    from nesy_gedi.training.shown import shown_by_queries, shown_by_recipe, shown_in_file, shown_in_full

    if support is None:
        return shown_by_recipe(task)
    if support == "full":
        return shown_in_full(task)
    if support == "train":
        what = task.recipe.data
        images = load_images(what.source, data_dir=data_dir, download=download, options=what.options())
        queries = task.queries(images).train
        return shown_by_queries(
            task, queries, f"those of the {len(queries)} training queries on {what.source}, seed {task.recipe.seed}"
        )
    if not Path(support).exists():
        raise UsageError(
            f"{support} is neither full nor train, and there is no such file",
            where="--support",
            hint="name a text file with a tuple of symbols a line",
        )
    return shown_in_file(task, Path(support))


def _export(report: ShortcutReport, path: Path) -> None:
    from nesy_gedi.concepts.dimacs import write_dimacs
    from nesy_gedi.files import write_text

    what = f"{report.task.program.source.name}, {report.task.recipe.query}"
    text = write_dimacs(report.shown, one_to_one=report.one_to_one, program=what)
    with writing(path, "--cnf"):
        write_text(path, text)
    print_status(f"The count as DIMACS CNF: {path}")


def _print(report: ShortcutReport) -> None:
    document = report.document()
    click.echo(f"{document['program']}, {document['query']}")
    for sentence in document["statements"]:
        click.echo(f"  {sentence}")
    rows = [_row(text, found) for text, found in zip(report.spelled(), document["shortcuts"], strict=True)]
    if rows:
        click.echo()
        header = ["shortcut", "type", "symbols right", "answers outside", "symbols outside", "never read"]
        print_table(rows, header)
        if not document["listed_all"]:
            click.echo("There are more: --list N.")


def _row(text: str, found: dict[str, Any]) -> list[str]:
    shares = ("concept_accuracy", "answer_accuracy_outside", "concept_accuracy_outside", "collapse")
    return [text, found["type"], *("-" if found[key] is None else f"{found[key]:.1%}" for key in shares)]
