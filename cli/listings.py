"""``nesy-gedi programs``."""

from __future__ import annotations

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json


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
