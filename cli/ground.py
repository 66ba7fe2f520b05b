"""``nesy-gedi ground``."""

from __future__ import annotations

from dataclasses import asdict

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table
from nesy_gedi.errors import UsageError


@click.command(short_help="Ground a query form and show its circuit.")
@click.argument("program")
@options.query
@options.settings
@options.trust
@click.option("--no-cache", is_flag=True, help="Ground anew even when the circuit is known.")
@options.as_json
def ground(
    program: str, query: str | None, settings: tuple[str, ...], trust: bool, no_cache: bool, as_json: bool
) -> None:
    """Ground the query form of PROGRAM and show the circuit: answers, size, and how it is evaluated."""
    overrides = options.read_settings(settings, (), query=query)
    chosen, recipe = options.load(program, None, overrides, trust)
    if not recipe.query:
        raise UsageError("no query form", where=program, hint='say what is asked: --query "addition(X, Y, Sum)"')

    from nesy_gedi.logic.cache import GroundingCache
    from nesy_gedi.logic.reasoner import Reasoner
    from nesy_gedi.training.runs import VERSION

    reasoner = Reasoner(chosen, recipe.query, slots=recipe.slots or None, cache=None if no_cache else GroundingCache())
    circuit = reasoner.circuit
    nodes, edges = circuit.size()
    form = {
        "query": recipe.query,
        "answers": len(circuit.answers),
        "inputs": [f"{item.network}({', '.join(item.slots)})" for item in reasoner.inputs],
        "nodes": nodes,
        "edges": edges,
        "depth": reasoner.depth,
        "method": circuit.method,
        "ground_s": circuit.ground_s,
        "compile_s": circuit.compile_s,
        "cached": circuit.cached,
    }
    if as_json:
        form["obstacles"] = [asdict(obstacle) for obstacle in circuit.obstacles]
        print_json({"version": VERSION, "program": chosen.source.name, "forms": [form]})
        return
    print_table([[key, _shown(value)] for key, value in form.items()], ["", ""])
    first = [*circuit.answers[:20], *(["..."] if len(circuit.answers) > 20 else [])]
    # The values of an answer are joined by commas.
    click.echo(f"answers: {('; ' if len(reasoner.form.outputs) > 1 else ', ').join(first)}")
    if circuit.obstacles:
        click.echo("what keeps the ground program from being a circuit:")
    for obstacle in circuit.obstacles:
        click.echo(f"  {obstacle}\n    rewrite: {obstacle.rewrite}")


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:.4f}" if isinstance(value, float) else value
