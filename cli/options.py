"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nesy_gedi.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

OBJECTIVES = (
    *("barlow_twins", "byol", "cissl", "dino", "dissl", "falcon", "gedi", "simclr", "simsiam", "swav", "vicreg"),
)
"""Names for the help, which must come without the second that importing the objectives takes; a test compares them."""

ENGINES = ("deepproblog", "exact", "klay")
"""The same for engines."""

APPROXIMATIONS = ("topk", "sample")
"""The same for engines that bound or estimate answers."""

OVERRIDES = "pretraining.overrides"
"""The table of a recipe whose keys are those of a pretraining's recipe."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else on stdout.")
quiet = click.option("--quiet", is_flag=True, help="No progress.")
data = click.option(
    "--data",
    "source",
    metavar="NAME_OR_PATH",
    help="Data set, folder, .npz or .csv in place of the recipe's data (see `nesy-gedi data`).",
)
data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where data sets are; else $NESY_GEDI_DATA, else the user's cache.",
)
download = click.option("--download", is_flag=True, help="Fetch what is missing or damaged of the data set.")
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
devices = click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share each step, on as many GPUs where --device is one.",
)
trust = click.option("--trust", is_flag=True, help="Let a program or a recipe load files and Python modules.")
query = click.option("--query", metavar="FORM", help='Query form, for example "addition(X, Y, Sum)".')
engine = click.option(
    "--engine", metavar="NAME", help=f"What evaluates the circuit: {', '.join(ENGINES)} (see docs/engine.md)."
)
seed = click.option(
    "--seed", type=click.IntRange(min=0), help="Initial weights, validation split, training queries and their order."
)
limit = click.option("--limit", type=click.IntRange(min=1), help="Number of labelled training queries.")
objective = click.option(
    "--objective",
    metavar="NAME",
    help=f"Of the stages that name none: {', '.join(OBJECTIVES)}; chosen by the recipe where not given.",
)
out = click.option("--out", type=click.Path(path_type=Path), help="Run folder; else a new one below runs/.")
force = click.option("--force", is_flag=True, help="Replace the run folder when it exists.")
resume = click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue an interrupted run exactly."
)
encoder = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NET=SPEC",
    help="conv, mlp, torchvision:NAME, timm:NAME, FILE.safetensors or the folder of an export, the folder of a pretraining, "
    "or package.module:factory for your own network.",
)
settings = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe.")


tensorboard = click.option(
    "--tensorboard", is_flag=True, help="Write curves, metrics and the recipe to RUN/tensorboard as well (an extra)."
)

max_seconds = click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Time for grounding and compiling; else limits.seconds.",
)
max_nodes = click.option(
    "--max-nodes",
    type=click.IntRange(min=1),
    help="Nodes of the ground program; else limits.nodes.",
)
max_gigabytes = click.option(
    "--max-gigabytes",
    type=click.FloatRange(min=0, min_open=True),
    help="Memory for both; else limits.gigabytes.",
)


def budget_options(function: F) -> F:
    """``--max-seconds``, ``--max-nodes``, ``--max-gigabytes``."""
    return max_seconds(max_nodes(max_gigabytes(function)))


def run_options(function: F) -> F:
    """``--out``, ``--force``, ``--resume``."""
    return out(force(resume(function)))


def data_options(function: F) -> F:
    """``--data``, ``--data-dir``, ``--download``."""
    return data(data_dir(download(function)))


def read_settings(
    settings: tuple[str, ...], encoders: tuple[str, ...], *, example: str = "training.epochs=5", **named: Any
) -> dict[str, Any]:
    """Recipe overrides from ``--set``, ``--encoder`` and options that stand for a key.

    Args:
        example: of a setting of this kind of recipe, for the hint.
        named: recipe key (with ``__`` for the dot) -> value, None where the option was not given.
    """
    from nesy_gedi.training.recipe_files import read_override

    overrides: dict[str, Any] = {}
    try:
        for key, value in map(read_override, settings):
            table, dot, inner = key.partition(f"{OVERRIDES}.")
            if dot and not table:  # dotted keys of another recipe are keys of this table
                given = overrides.get(OVERRIDES)
                overrides[OVERRIDES] = {**(given if isinstance(given, dict) else {}), inner.strip("\"'"): value}
            else:
                overrides[key] = value
    except RecipeError as error:
        raise RecipeError(error.message, where=error.where, hint=f"for example --set {example}") from error
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


def read_labels(labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Recipe overrides from ``--label``."""
    found: dict[str, tuple[str, ...]] = {}
    for spec in labels:
        network, colon, entry = spec.partition(":")
        if not (network and colon and "=" in entry):
            raise UsageError(
                f"expected NET:SYMBOL=WHAT, found {spec!r}", where="--label", hint="for example --label digit_net:3=2"
            )
        key = f"networks.{network}.labels"
        found[key] = (*found.get(key, ()), entry)
    return found


def trusted_networks(encoders: tuple[str, ...], program: Program, trust: bool) -> tuple[str, ...]:
    """Networks whose Python was named on the command line, or all of them under ``--trust``.

    A folder or a file names no Python: what its recipe or card would import needs ``--trust``.
    """
    from nesy_gedi.training import adoption

    return adoption.trusted_networks(read_encoders(encoders), program.networks, trust)


def load(argument: str, source: str | None, overrides: dict[str, Any], trust: bool) -> tuple[Program, Recipe]:
    """The program that ``argument`` names, with its recipe as overridden."""
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.bundled import find_program
    from nesy_gedi.training.recipe import load_recipe

    found = find_program(argument)
    return Program.load(found.path, trusted=trust), load_recipe(found.recipe, source=source, overrides=overrides)


def refuse_another_folder(out: Path | None, resume: Path) -> None:
    """Refuse to continue a run in another folder."""
    if out is not None and out != resume:
        raise UsageError(f"--out {out} conflicts with --resume {resume}", hint="a run continues in its own folder")


def refuse_conflicts(
    stored: Any,
    asked: Any,
    keys: Iterable[str],
    *,
    where: str,
    absent: Any = None,
    is_open: Callable[[str, Any], bool] = lambda key, value: False,
) -> None:
    """Refuse to continue a run with other values than its own.

    Args:
        stored: the run's recipe.
        asked: the same with what was given on the command line.
        keys: dotted keys that were given.
        where: the run.
        absent: stands for a table's entry that a recipe does not have.
        is_open: whether a key with this value asks for none in particular.
    """

    def value_of(recipe: Any, key: str) -> Any:
        for part in key.split("."):
            if recipe is None:  # it has none of what holds the key
                return None
            recipe = recipe.get(part, absent) if isinstance(recipe, dict) else getattr(recipe, part)
        return recipe

    for key in keys:
        own, wanted = value_of(stored, key), value_of(asked, key)
        if own != wanted and not is_open(key, wanted):
            raise UsageError(
                f"{key} is {own!r} in the run and {wanted!r} on the command line",
                where=where,
                hint="leave the option out to continue, or start a new run with it",
            )
