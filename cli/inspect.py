"""``nesy-gedi inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table
from nesy_gedi.cli.results import print_learned
from nesy_gedi.cli.targets import refuse_target, writing

if TYPE_CHECKING:
    from nesy_gedi.reports.inspection import Inspection

PAGES = (".html", ".htm")
"""Endings of files that a report replaces."""


@click.command(short_help="What do a run's symbols mean? Writes a report.")
@click.argument("run", type=click.Path(path_type=Path))
@options.data_dir
@options.download
@options.device
@options.trust
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The report; else RUN/inspect.html. A page that is there is replaced.",
)
@options.as_json
@options.quiet
def inspect(
    run: Path,
    data_dir: Path | None,
    download: bool,
    device: str,
    trust: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find out what the symbols of RUN mean: right, renamed, or merged, and which reasoning shortcut was learned.

    Writes one page with pictures of every symbol, the confusion table, the learned map and the maps that would fit the
    answers as well, the assignment of clusters and what would settle it, calibration and learning curves.
    """
    from nesy_gedi.training.runs import ProgramRun

    del quiet  # there is no progress to leave out
    target = out if out is not None else ProgramRun(run).inspection_file
    if out is not None or target.parent.is_dir():  # else there is no run: it is said which
        refuse_target(target, "--out", PAGES)
    from nesy_gedi.files import write_text
    from nesy_gedi.reports.html import render
    from nesy_gedi.reports.inspection import document_of, inspect_run

    inspection = inspect_run(run, data_dir=data_dir, download=download, device=device, trusted=trust)
    page = render(inspection)
    with writing(target, "--out"):
        write_text(target, page)
    document = document_of(inspection, target)
    if as_json:
        print_json(document)
    else:
        _print(inspection, document)


def _print(inspection: Inspection, document: dict[str, Any]) -> None:
    """The verdict, a row a symbol, what an assignment leaves open, and - last - the run folder."""
    metrics = document["metrics"]
    click.echo(f"{document['program']} on {document['data']}, seed {document['seed']}")
    click.echo(f"  answers right     {metrics['answer_accuracy']:.4f} of {metrics['queries']} test queries")
    print_learned(document)
    click.echo(f"{document['headline']}:")
    for sentence in document["statements"]:
        click.echo(f"  {sentence}")
    click.echo()
    several, assigned = len(inspection.readings) > 1, document["assignment"] is not None
    labelled = any(concept["true_share"] is not None for concept in document["concepts"])
    rows = []
    for concept in document["concepts"]:
        row = [concept["network"]] * several + [concept["symbol"]]
        if assigned:
            row.append(", ".join(map(str, concept["clusters"] or ())) or "-")
        row += [_share(concept["share"]), *([_share(concept["true_share"])] * labelled)]
        row.append("-" if concept["confidence"] is None else f"{concept['confidence']:.3f}")
        rows.append([*row, *([concept["read_as"] or "-", _share(concept["read_as_share"])] * labelled)])
    header = ["network"] * several + ["symbol"] + ["clusters"] * assigned + ["share"] + ["truly"] * labelled
    print_table(rows, [*header, "confidence", *(["read as", "of its images"] * labelled)])
    click.echo()
    if assigned:
        click.echo("assignment of clusters:")
        for sentence in document["assignment"]["sentences"]:
            click.echo(f"  {sentence}")
        if document["assignment"]["labels_to_ask"]:
            click.echo("  The images to ask about are in the report; tell what one is with --label of nesy-gedi train.")
    for name, calibration in document["calibration"].items():
        if calibration is not None:
            click.echo(f"calibration of {name}: ECE {calibration['ece']:.4f}")
    click.echo(f"report: {document['report']}")
    click.echo(document["run"])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
