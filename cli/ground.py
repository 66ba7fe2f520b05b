"""``nesy-gedi ground``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.interruption import stop_after
from nesy_gedi.cli.output import print_json, print_table
from nesy_gedi.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from nesy_gedi.logic.checking import Check
    from nesy_gedi.logic.program import Program
    from nesy_gedi.logic.reasoner import Reasoner
    from nesy_gedi.training.recipe import Recipe

DISAGREEMENT = 3
"""Exit code of a check whose engines disagree."""


@click.command(short_help="Ground a query form and show its circuit.")
@click.argument("program")
@options.query
@options.engine
@click.option(
    "--check", "peer", metavar="NAME", help=f"Compare with another engine: {', '.join(options.ENGINES)}; exit 3 if not."
)
@click.option(
    "--check-seconds", type=click.FloatRange(min=0, min_open=True), help="That a check may take; 60 where not given."
)
@options.budget_options
@options.settings
@options.trust
@click.option("--no-cache", is_flag=True, help="Ground anew even when the circuit is known.")
@options.as_json
def ground(
    program: str,
    query: str | None,
    engine: str | None,
    peer: str | None,
    check_seconds: float | None,
    max_seconds: float | None,
    max_nodes: int | None,
    max_gigabytes: float | None,
    settings: tuple[str, ...],
    trust: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Ground the query form of PROGRAM and show the circuit: answers, size, and how it is evaluated.

    With --check its answers and their gradients on random distributions are compared with those of another engine; the
    exit code is 3 where they disagree.

    A form that is too large to be ground can be asked for bounds, --engine topk:3, or for estimates, --engine sample:1000:
    then it is shown what they are worth where nothing is known of any image.
    """
    approximation = engine if engine is not None and engine.partition(":")[0] in options.APPROXIMATIONS else None
    overrides = options.read_settings(
        settings,
        (),
        query=query,
        engine=engine if approximation is None else None,
        limits__seconds=max_seconds,
        limits__nodes=max_nodes,
        limits__gigabytes=max_gigabytes,
    )
    chosen, recipe = options.load(program, None, overrides, trust)
    if not recipe.query:
        raise UsageError("no query form", where=program, hint='say what is asked: --query "addition(X, Y, Sum)"')
    if check_seconds is not None and peer is None:
        raise UsageError("there is no check", where="--check-seconds", hint="name the other engine: --check klay")

    from nesy_gedi.logic.cache import GroundingCache
    from nesy_gedi.logic.checking import SECONDS, find_peer
    from nesy_gedi.logic.reasoner import Reasoner
    from nesy_gedi.training.runs import VERSION

    if approximation is not None:
        if peer is not None:
            raise UsageError(
                f"{approximation} gives no exact answers to compare", where="--check", hint="leave one out"
            )
        _show_approximation(chosen, recipe, approximation, as_json)
        return
    if peer is not None:
        _refuse_itself(find_peer(peer), recipe.engine)
    reasoner = Reasoner(
        chosen,
        recipe.query,
        slots=recipe.slots or None,
        cache=None if no_cache else GroundingCache(),
        budget=recipe.limits,
        engine=recipe.engine,
    )
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
        "engine": reasoner.engine,
        "ground_s": circuit.ground_s,
        "compile_s": circuit.compile_s,
        "cached": circuit.cached,
    }
    found = None if peer is None else _check(reasoner, peer, SECONDS if check_seconds is None else check_seconds)
    if as_json:
        form["obstacles"] = [asdict(obstacle) for obstacle in circuit.obstacles]
        document = {"version": VERSION, "program": chosen.source.name, "forms": [form]}
        print_json(document if found is None else {**document, "check": found.document()})
    else:
        print_table([[key, _shown(value)] for key, value in form.items()], ["", ""])
        first = [*circuit.answers[:20], *(["..."] if len(circuit.answers) > 20 else [])]
        # The values of an answer are joined by commas.
        click.echo(f"answers: {('; ' if len(reasoner.form.outputs) > 1 else ', ').join(first)}")
        if circuit.obstacles:
            click.echo("what keeps the ground program from being a circuit:")
        for obstacle in circuit.obstacles:
            click.echo(f"  {obstacle}\n    rewrite: {obstacle.rewrite}")
        if found is not None:
            click.echo("\n".join(found.sentences()))
    if found is not None and not found.agrees:
        sys.exit(DISAGREEMENT)


def _show_approximation(program: Program, recipe: Recipe, engine: str, as_json: bool) -> None:
    from nesy_gedi.logic.approximation import approximate, describe
    from nesy_gedi.training.runs import VERSION

    found = describe(approximate(program, recipe.query, engine, budget=recipe.limits))
    if as_json:
        print_json({"version": VERSION, "program": program.source.name, "forms": [found.document()]})
    else:
        click.echo("\n".join(found.lines()))


def _refuse_itself(peer: str, engine: str) -> None:
    if peer == engine:
        raise UsageError(
            f"{peer} would be compared with itself", where="--check", hint="name another engine, or another --engine"
        )


def _check(reasoner: Reasoner, peer: str, seconds: float) -> Check:
    """The comparison, cut short where one engine alone takes too long."""
    from nesy_gedi.logic.checking import check

    late = BudgetError(
        f"the check with {peer} was not done with one answer in {seconds:g} s",
        where=reasoner.form.text,
        hint="allow more with --check-seconds, ask a smaller --query, or check with the other peer",
    )
    with stop_after(seconds, late):
        return check(reasoner, peer, seconds=seconds)


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:.4f}" if isinstance(value, float) else value
