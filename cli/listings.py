"""``nesy-gedi programs`` and ``nesy-gedi data``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table


@click.command(short_help="List the bundled programs.")
@options.as_json
def programs(as_json: bool) -> None:
    """List the programs that come with nesy-gedi, with their query forms and data."""
    from nesy_gedi.training.bundled import bundled_programs
    from nesy_gedi.training.recipe import load_recipe

    found = []
    for program in bundled_programs():
        recipe = load_recipe(program.recipe)
        found.append(
            {
                "name": program.name,
                "query": recipe.query,
                "data": recipe.data.source,
                "summary": program.summary(),
                "path": str(program.path),
            }
        )
    if as_json:
        print_json(found)
        return
    for item in found:
        click.echo(f"{item['name']}: {item['summary']}\n    {item['query']}, on {item['data']}")


@click.command(short_help="List the data sets and where they are.")
@options.data_dir
@options.as_json
def data(data_dir: Path | None, as_json: bool) -> None:
    """List the data sets: embedded, found in the data folder, or missing."""
    from nesy_gedi.data import available, describe

    found = [dataclasses.asdict(describe(name, data_dir)) for name in available()]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            item["name"],
            item["status"],
            "x".join(str(size) for size in item["image_shape"]),
            ", ".join(f"{attribute} ({count})" for attribute, count in item["classes"].items()),
            item["train"],
            item["test"],
            item["path"] or "",
        ]
        for item in found
    ]
    print_table(rows, ["name", "status", "shape", "attributes", "train", "test", "path"])
