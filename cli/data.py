"""``nesy-gedi data``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_status, print_table
from nesy_gedi.errors import UsageError

SHOWN = 20
"""Classes and values that are listed, at most; ``--json`` has all of them."""


@click.command(short_help="Show what data there is, and what is in it.")
@click.argument("source", required=False, metavar="[NAME_OR_PATH]")
@options.data_dir
@options.download
@click.option(
    "--check", is_flag=True, help="Read every file anew and compare it with what was published; exit 3 if wrong."
)
@options.settings
@options.as_json
def data(
    source: str | None, data_dir: Path | None, download: bool, check: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """List the data sets: embedded, found in the data folder, or missing. With a name, an image folder, a .npz file or a
    table, show what is in it: inputs, shapes, classes, answers.
    """
    if download and source is None:
        raise UsageError("no data set is named", where="--download", hint="for example nesy-gedi data mnist --download")
    if check:
        _check(source, data_dir, download, as_json)
        return
    if source is None:
        _list(data_dir, as_json)
        return
    about = _describe(source, data_dir, download, settings)
    if as_json:
        print_json([about])
    else:
        _print(about)


def _list(data_dir: Path | None, as_json: bool) -> None:
    from nesy_gedi.data import available, describe

    found = [dataclasses.asdict(describe(name, data_dir)) for name in available()]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            item["name"],
            item["status"],
            _shape(item["image_shape"]),
            ", ".join(f"{attribute} ({count})" for attribute, count in item["classes"].items()),
            item["train"],
            item["test"],
            item["path"] or "",
        ]
        for item in found
    ]
    print_table(rows, ["name", "status", "shape", "attributes", "train", "test", "path"])


def _describe(source: str, data_dir: Path | None, download: bool, settings: tuple[str, ...]) -> dict[str, Any]:
    from nesy_gedi.data import available, describe, load_images, summarise
    from nesy_gedi.training.recipe import load_recipe

    overrides = options.read_settings(settings, (), example="data.image_shape=[28,28]")
    for key in overrides:
        if key not in ("data.image_shape", "data.skip_unreadable"):
            hint = "valid: data.image_shape, data.skip_unreadable"
            raise UsageError(f"{key} says nothing about data", where="--set", hint=hint)
    read = load_recipe(None, overrides=overrides).data.options()
    known = source in available()
    if download and not known:
        raise UsageError(
            f"{source} is no known data set", where="--download", hint=f"known are {', '.join(available())}"
        )
    about = summarise(load_images(source, data_dir=data_dir, download=download, options=read))
    if known:
        return dataclasses.asdict(describe(source, data_dir)) | about
    return {"status": "found", "path": str(Path(source).expanduser().absolute())} | about


def _print(about: Mapping[str, Any]) -> None:
    title = f", {about['title']}" if "title" in about else ""
    click.echo(f"{about['name']}: {about['kind']}{title}{', ' + about['path'] if about.get('path') else ''}")
    rows = []
    for part in about["inputs"]:
        moments = [" ".join(f"{value:.3f}" for value in part[key] or ()) for key in ("mean", "std")]
        rows.append([_shape(part["shape"]), part["train"], part["test"], *moments])
    print_table(rows, ["inputs", "train", "test", "mean", "std"])
    for attribute, counts in about["counts"].items():
        click.echo()
        unknown = about["unlabelled"][attribute]
        further = {"(unknown)": unknown} if any(unknown.values()) else {}
        _print_counts(attribute, counts | further, ["train", "test"])
    if not about["counts"]:
        click.echo("\nno labels")
    if about["rows"] is not None:
        splits = list(about["rows"])
        click.echo()
        print_table([["rows", *about["rows"].values()]], ["", *splits])
        for column, counts in about["answers"].items():
            click.echo()
            _print_counts(f"answer {column}", counts, splits)
    notes = []
    if about["shared"]:
        notes.append(f"{about['shared']} inputs of the test are training inputs, too")
    if about["skipped"]:
        along = f", with {about['dropped']} rows" if about["dropped"] else ""
        notes.append(f"{len(about['skipped'])} files cannot be read and are left out{along}")
    if about["cache"]:
        notes.append(f"decoded images are kept in {about['cache']}")
    if notes:
        click.echo("\n" + "\n".join(notes))


def _print_counts(title: str, counts: Mapping[str, Mapping[str, int]], splits: list[str]) -> None:
    rows: list[list[Any]] = [[name, *(each[split] for split in splits)] for name, each in list(counts.items())[:SHOWN]]
    if len(counts) > SHOWN:
        rest = [sum(each[split] for each in list(counts.values())[SHOWN:]) for split in splits]
        rows.append([f"... {len(counts) - SHOWN} more", *rest])
    print_table(rows, [title, *splits])


def _check(source: str | None, data_dir: Path | None, download: bool, as_json: bool) -> None:
    from nesy_gedi.data.checking import check_files

    found = check_files(source, data_dir=data_dir, download=download)
    if as_json:
        print_json([dataclasses.asdict(each) for each in found])
    else:
        print_table([[each.name, each.status, each.path or ""] for each in found], ["name", "status", "path"])
        for each in found:
            for problem in each.problems:
                print_status(f"{each.name}: {problem}")
    if any(each.problems for each in found):
        sys.exit(3)


def _shape(shape: tuple[int, ...] | list[int]) -> str:
    return "x".join(str(size) for size in shape)
