"""``nesy-gedi predict``."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_status, print_table
from nesy_gedi.cli.targets import refuse_target
from nesy_gedi.errors import DataError, UsageError

if TYPE_CHECKING:
    from nesy_gedi.training.image_files import FilePredictions
    from nesy_gedi.training.predictions import Predictions
    from nesy_gedi.training.predictor import Predictor
    from nesy_gedi.training.query_files import FileQueries

SHOWN = 3
"""Answers to one query that are shown, where --top says nothing."""


@click.command(short_help="Answer questions about images with a trained run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Each image in it is a query; for programs of one image."
)
@click.option("--table", type=click.Path(path_type=Path), help="CSV file with a query a row, a column for each image.")
@click.option("--given", multiple=True, metavar="SLOT=VALUE", help="Value of an observed input; repeatable.")
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path), help="Write a row a query to this file; - for stdout."
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the N most probable answers and symbols.")
@click.option(
    "--sure",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Less probable answers are unsure; else 0.9.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out queries with an image that cannot be read.")
@options.encoder
@options.engine
@options.device
@options.trust
@options.as_json
def predict(
    run: Path,
    images: tuple[Path, ...],
    folder: Path | None,
    table: Path | None,
    given: tuple[str, ...],
    csv_file: Path | None,
    top: int | None,
    sure: float | None,
    skip_unreadable: bool,
    encoders: tuple[str, ...],
    engine: str | None,
    device: str,
    trust: bool,
    as_json: bool,
) -> None:
    """Answer the query form of RUN - a run's, an export's or a predictor's folder - about IMAGES, one for each of its slots.

    Says how probable the answer is, which symbols explain it, and whether it is unsure.
    """
    if as_json and csv_file is not None:
        raise UsageError("two formats at once", where="--json, --csv", hint="leave one out")
    ways = [name for name, way in (("IMAGES", images), ("--folder", folder), ("--table", table)) if way]
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} at once", where="predict", hint="give one of them")
    if csv_file is not None and str(csv_file) != "-":
        refuse_target(csv_file, "--csv", (".csv",))
        if table is not None and table.exists() and csv_file.exists() and csv_file.samefile(table):
            raise UsageError(
                f"{csv_file} is the table of queries", where="--csv", hint="name another file: it would be replaced"
            )
    stated = _read_given(given)
    from nesy_gedi.training.image_files import predict_files
    from nesy_gedi.training.predictions import SURE
    from nesy_gedi.training.predictor import Predictor
    from nesy_gedi.training.query_files import folder_queries, single_query, table_queries

    predictor = Predictor.load(
        run, trusted=trust, device=device, encoders=options.read_encoders(encoders), engine=engine
    )
    if folder is not None:
        queries = folder_queries(predictor, folder)
    elif table is not None:
        queries = table_queries(predictor, table)
    else:
        queries = single_query(predictor, images)
        if skip_unreadable:
            raise UsageError("there is one query alone", where="--skip-unreadable", hint="leave it out")
    found = predict_files(
        predictor,
        queries,
        given=stated,
        skip_unreadable=skip_unreadable,
        sure=SURE if sure is None else sure,
    )
    if csv_file is not None:
        _write_csv(predictor, queries, found, csv_file)
    elif as_json:
        _print_document(predictor, run, found, top, single=table is None and folder is None)
    elif table is None and folder is None:
        for part in found:
            assert part.predictions is not None  # what cannot be read is an error
            _print_one(part.predictions, [str(path) for path in part.files[0]], top or SHOWN)
    else:
        _print_lines(queries, found)


def _read_given(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for spec in given:
        slot, equals, value = (part.strip() for part in spec.partition("="))
        if not (slot and equals and value):
            raise UsageError(f"expected SLOT=VALUE, found {spec!r}", where="--given", hint="for example --given Z0=7")
        if slot in found:
            raise UsageError(f"{slot} is given twice", where="--given", hint="leave one out")
        found[slot] = value
    return found


def _print_one(predictions: Predictions, images: list[str], top: int) -> None:
    """The answer to one query, as a person reads it."""
    stated = [
        f"{item.slots[0]} = {item.domain[value]}"
        for item, given, value in zip(
            predictions.observed, predictions.stated, predictions.values[0].tolist(), strict=True
        )
        if given
    ]
    answer, unsure = predictions.answer(0), bool(predictions.unsure[0])
    click.echo(f"{predictions.query}" + (f", given {', '.join(stated)}" if stated else ""))
    click.echo(f"answer: {answer} ({predictions.probability[0]:.4f})" + (" - unsure" if unsure else ""))
    others = [(text, p) for text, p in predictions.ranked(0, top) if text != predictions.answers[predictions.best[0]]]
    if others:
        click.echo("then: " + ", ".join(f"{text} ({p:.2g})" for text, p in others))
    share = float(predictions.share[0])
    title = f"most probable explanation ({share:.1%} of the answer's probability)" if share else "no explanation"
    click.echo(f"\n{title}:")
    rows = []
    for k, item in enumerate(predictions.inputs):
        p = predictions.concepts[item.network, *item.slots][0]
        symbol, read = predictions.symbol(0, k), item.domain[int(p.argmax())]
        shown = "-" if symbol is None else symbol
        own = "" if symbol is None else f"{p[item.domain.index(symbol)]:.4f}"
        by_itself = "" if symbol in (read, None) else f"by itself: {read} ({p.max():.2f})"
        files = ", ".join(images[predictions.slots.index(slot)] for slot in item.slots)
        rows.append([", ".join(item.slots), files, item.network, shown, own, by_itself])
    header = ["slot", "image", "network", "symbol", "probability", ""]
    print_table(
        [row if _read_otherwise(rows) else row[:5] for row in rows], header if _read_otherwise(rows) else header[:5]
    )
    for doubt in predictions.doubts(0, images):
        click.echo(f"unsure: {doubt}")


def _read_otherwise(rows: list[list[str]]) -> bool:
    """Whether any symbol is another one than its image by itself would be read as."""
    return any(row[5] for row in rows)


def _print_lines(queries: FileQueries, found: Iterable[FilePredictions]) -> None:
    """A line a query."""
    unsure = skipped = answered = 0
    for part in found:
        skipped += _tell_skipped(part)
        if part.predictions is None:
            continue
        for row, files in enumerate(part.files):
            names = [str(path) for path in files]
            doubts = part.predictions.doubts(row, names)
            said = f"{part.predictions.answer(row)} ({part.predictions.probability[row]:.4f})"
            click.echo(f"{' '.join(names)}: {said}" + (f"  unsure: {'; '.join(doubts)}" if doubts else ""))
            unsure += bool(doubts)
        answered += len(part.files)
    _tell_counts(queries, answered, unsure, skipped)


def _tell_skipped(part: FilePredictions) -> int:
    for each in part.skipped:
        print_status(f"left out: {each.reason}")
    return len(part.skipped)


def _tell_counts(queries: FileQueries, answered: int, unsure: int, skipped: int) -> None:
    if not answered:
        raise DataError(f"none of the {len(queries)} queries has images that can be read", hint="use PNG or JPEG files")
    left = f", {skipped} left out" if skipped else ""
    print_status(f"{answered} {'query' if answered == 1 else 'queries'} answered, {unsure} of them unsure{left}")


def _print_document(
    predictor: Predictor, run: Path, found: Iterable[FilePredictions], top: int | None, *, single: bool
) -> None:
    """One JSON document; of a single query, its keys stand at the top."""
    from nesy_gedi.training.runs import VERSION

    head: dict[str, Any] = {
        "version": VERSION,
        "run": str(run),
        "program": predictor.trained.get("program", predictor.program.source.name),
        "query": predictor.reasoner.form.text,
        "slots": list(predictor.slots),
    }
    if single:
        (part,) = found
        assert part.predictions is not None
        print_json(head | part.predictions.document(0, [str(path) for path in part.files[0]], top=top))
        return
    # As text: a document of many queries would take ten times the memory as objects.
    texts: list[str] = []
    skipped: list[dict[str, Any]] = []
    for part in found:
        skipped += [{"images": [str(path) for path in each.files], "reason": each.reason} for each in part.skipped]
        for row, files in enumerate(part.files):
            assert part.predictions is not None
            texts.append(json.dumps(part.predictions.document(row, [str(path) for path in files], top=top)))
    opening = json.dumps(head | {"skipped": skipped}, indent=2).removesuffix("\n}")
    click.echo(f'{opening},\n  "predictions": [\n    ' + ",\n    ".join(texts) + "\n  ]\n}")


def _write_csv(predictor: Predictor, queries: FileQueries, found: Iterable[FilePredictions], csv_file: Path) -> None:
    """A row a query; a file is written whole or not at all."""
    counts = [0, 0, 0]

    def rows() -> Iterator[list[object]]:
        observed = [item.slots[0] for item in predictor.observed]
        several = len({item.network for item in predictor.inputs}) > 1
        names = [f"{item.network if several else 'symbol'}({', '.join(item.slots)})" for item in predictor.inputs]
        answer = ["answer", "probability", "runner_up", "runner_up_probability", "unsure", "doubts"]
        yield [*predictor.slots, *observed, *answer, *names]
        for part in found:
            counts[2] += _tell_skipped(part)
            if part.predictions is None:
                continue
            for row, files in enumerate(part.files):
                yield _csv_row(part.predictions, row, [str(path) for path in files])
                counts[0] += 1
                counts[1] += bool(part.predictions.unsure[row])

    if str(csv_file) == "-":
        for row in rows():
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(row)
            click.echo(line.getvalue(), nl=False)
        _tell_counts(queries, *counts)
        return
    part = csv_file.with_name(f".{csv_file.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows())
        _tell_counts(queries, *counts)
        os.replace(part, csv_file)
    except OSError as error:
        raise UsageError(
            f"cannot write this file: {error.strerror}", where=f"--csv {csv_file}", hint="choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    click.echo(str(csv_file))
    sys.stdout.flush()


def _csv_row(predictions: Predictions, row: int, files: list[str]) -> list[object]:
    values = [item.domain[k] for item, k in zip(predictions.observed, predictions.values[row].tolist(), strict=True)]
    runner = [each for each in predictions.ranked(row, 2) if each[0] != predictions.answers[predictions.best[row]]]
    symbols = [predictions.symbol(row, k) or "" for k in range(len(predictions.inputs))]
    return [
        *files,
        *values,
        predictions.answers[predictions.best[row]],
        f"{predictions.probability[row]:.6g}",
        runner[0][0] if runner else "",
        f"{runner[0][1]:.6g}" if runner else "",
        "yes" if predictions.unsure[row] else "no",
        "; ".join(predictions.doubts(row, files)),
        *symbols,
    ]
