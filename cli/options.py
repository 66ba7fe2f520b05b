"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nesy_gedi.errors import UsageError

if TYPE_CHECKING:
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else on stdout.")
quiet = click.option("--quiet", is_flag=True, help="No progress.")
data = click.option(
    "--data", "source", metavar="NAME", help="Data set in place of the recipe's (see `nesy-gedi data`)."
)
data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where data sets are; else $NESY_GEDI_DATA, else the user's cache.",
)
download = click.option("--download", is_flag=True, help="Fetch the data set when it is missing.")
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
trust = click.option("--trust", is_flag=True, help="Let the program and its recipe load files and Python modules.")
query = click.option("--query", metavar="FORM", help='Query form, for example "addition(X, Y, Sum)".')
encoder = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NET=SPEC",
    help="conv, or package.module:factory for your own network.",
)
settings = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe.")


def data_options(function: F) -> F:
    """``--data``, ``--data-dir``, ``--download``."""
    return data(data_dir(download(function)))


def read_settings(settings: tuple[str, ...], encoders: tuple[str, ...], **named: Any) -> dict[str, Any]:
    """Recipe overrides from ``--set``, ``--encoder`` and options that stand for a key.

    Args:
        named: recipe key (with ``__`` for the dot) -> value, None where the option was not given.
    """
    from nesy_gedi.training.recipe import read_override

    overrides = dict(read_override(setting) for setting in settings)
    overrides.update({f"networks.{network}.encoder": what for network, what in read_encoders(encoders).items()})
    overrides.update({key.replace("__", "."): value for key, value in named.items() if value is not None})
    return overrides


def read_encoders(encoders: tuple[str, ...]) -> dict[str, str]:
    """Network -> encoder, from ``--encoder``."""
    found = {}
    for spec in encoders:
        network, equals, what = spec.partition("=")
        if not (network and equals and what):
            raise UsageError(
                f"expected NET=SPEC, found {spec!r}", where="--encoder", hint="for example --encoder digit_net=conv"
            )
        found[network] = what
    return found


def trusted_networks(encoders: tuple[str, ...], program: Program, trust: bool) -> tuple[str, ...]:
    """Networks whose encoder was named on the command line, or all of them under ``--trust``."""
    return tuple(program.networks) if trust else tuple(read_encoders(encoders))


def load(argument: str, source: str | None, overrides: dict[str, Any], trust: bool) -> tuple[Program, Recipe]:
    """The program that ``argument`` names, with its recipe as overridden."""
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.bundled import find_program
    from nesy_gedi.training.recipe import load_recipe

    found = find_program(argument)
    return Program.load(found.path, trusted=trust), load_recipe(found.recipe, source=source, overrides=overrides)
