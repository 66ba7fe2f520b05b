"""``nesy-gedi train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.interruption import first_process_speaks, follows_another, stopping
from nesy_gedi.cli.output import print_json
from nesy_gedi.cli.results import print_result
from nesy_gedi.errors import UsageError

if TYPE_CHECKING:
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.recipe import Recipe


@click.command(short_help="Train a program's networks from answers.")
@click.argument("program", required=False)
@options.data_options
@options.query
@options.engine
@options.run_options
@options.seed
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Passes over the training queries; where co-training, an epoch is cotraining.steps steps.",
)
@options.limit
@options.encoder
@click.option(
    "--method",
    metavar="NAME",
    help="How networks learn: answers (alone), cotraining (an objective beside them), clusters (pretrain, assign, "
    "co-train), assignment (pretrain and assign), or auto: clusters where answers are few.",
)
@click.option(
    "--objective",
    metavar="NAME",
    help=f"Beside the answers, on images without: {', '.join(options.OBJECTIVES)}.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NET:SYMBOL=WHAT",
    help="Images whose symbol is told: how many training images, or an image file. Example: digit_net:3=2",
)
@options.settings
@options.device
@options.devices
@options.trust
@click.option(
    "--dry-run", is_flag=True, help="Parse, ground, compile, run one batch and show what is planned; write nothing."
)
@options.tensorboard
@options.as_json
@options.quiet
@first_process_speaks
def train(
    program: str | None,
    source: str | None,
    data_dir: Path | None,
    download: bool,
    query: str | None,
    engine: str | None,
    out: Path | None,
    force: bool,
    resume: Path | None,
    seed: int | None,
    epochs: int | None,
    limit: int | None,
    encoders: tuple[str, ...],
    method: str | None,
    objective: str | None,
    labels: tuple[str, ...],
    settings: tuple[str, ...],
    device: str,
    devices: int,
    trust: bool,
    dry_run: bool,
    tensorboard: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the networks of PROGRAM (a .pl file or a bundled name) from the answers to its queries.

    The recipe is the .toml file beside the program; without one give --query. The last line of output is the run folder.

    \b
      nesy-gedi train programs/addition.pl
      nesy-gedi train addition --data mnist --data-dir data --epochs 1
    """
    overrides = options.read_settings(
        settings,
        encoders,
        query=query,
        engine=engine,
        seed=seed,
        method=method,
        cotraining__objective=objective,
        data__train=limit,
    )
    overrides.update(options.read_labels(labels))
    if resume is not None:
        chosen, recipe = _resumed(resume, program, source, overrides, epochs, out, trust)
    elif program is None:
        raise UsageError("no program", hint="nesy-gedi train programs/addition.pl, or --resume RUN")
    else:
        if epochs is not None:  # which of the two is trained is known when it is planned
            overrides |= {"training.epochs": epochs, "cotraining.epochs": epochs}
        chosen, recipe = options.load(program, source, overrides, trust)
    _refuse_epochs_of_nothing(epochs, recipe)
    trusted = options.trusted_networks(encoders, chosen, trust)

    from nesy_gedi.cli.progress import make_listener
    from nesy_gedi.reports.html import write_report
    from nesy_gedi.training import training

    listener = make_listener(quiet or follows_another(), tensorboard=tensorboard and not follows_another())
    if dry_run:
        document = training.dry_run(
            chosen, recipe, data_dir=data_dir, download=download, device=device, trusted_encoders=trusted
        )
        print_json(document) if as_json else click.echo(_dry_run_text(document))
        return
    with stopping() as stop:
        trained = training.train(
            chosen,
            recipe,
            data_dir=data_dir,
            download=download,
            device=device,
            devices=devices,
            out=out,
            force=force,
            resume=resume,
            trusted_encoders=trusted,
            listener=listener,
            stop=stop,
        )
    if follows_another():
        return
    write_report(trained)
    if as_json:
        print_json(trained.document)
    else:
        print_result(trained.document, report=trained.run.report_file)


def _refuse_epochs_of_nothing(epochs: int | None, recipe: Recipe) -> None:
    from nesy_gedi.training.recipe import SECTIONS

    if epochs is not None and recipe.method != "auto" and recipe.method not in SECTIONS:
        raise UsageError(
            f'method = "{recipe.method}" trains nothing for {epochs} epochs',
            where="--epochs",
            hint="leave it out, or choose --method clusters, which trains on from there",
        )


def _resumed(
    resume: Path,
    program: str | None,
    source: str | None,
    overrides: dict[str, Any],
    epochs: int | None,
    out: Path | None,
    trust: bool,
) -> tuple[Program, Recipe]:
    """The program and recipe of a run; anything given beside it must agree with it."""
    from nesy_gedi.logic.program import Program
    from nesy_gedi.training.adoption import adopt_pretrained
    from nesy_gedi.training.bundled import find_program
    from nesy_gedi.training.planning import is_left_open, with_absolute_paths
    from nesy_gedi.training.recipe import SECTIONS, NetworkRecipe, load_recipe
    from nesy_gedi.training.runs import open_run

    run = open_run(resume)
    recipe, own = run.recipe(), run.program(trusted=trust)
    options.refuse_another_folder(out, resume)
    if program is not None and Program.load(find_program(program).path).fingerprint != own.fingerprint:
        raise UsageError(
            f"the run was trained with {run.environment().get('program', own.source.name)}, not with {program}",
            where=str(resume),
            hint="leave the program out to continue the run",
        )
    if source is not None:
        overrides = {**overrides, "data.source": source}
    if epochs is not None and recipe.method in SECTIONS:
        overrides = {**overrides, f"{SECTIONS[recipe.method]}.epochs": epochs}
    asked = load_recipe(run.recipe_file, overrides=overrides)  # refuses unknown keys and wrong types
    # The folder of a pretraining stands for what the run's recipe says in its place.
    asked = with_absolute_paths(adopt_pretrained(asked))
    weights = [
        f"networks.{name}.{key}"
        for name in asked.networks
        for key in ("weights", "weights_file", "input_shape")
        if f"networks.{name}.encoder" in overrides
    ]
    # A network that the recipe does not describe has the defaults.
    options.refuse_conflicts(
        recipe, asked, [*overrides, *weights], where=str(resume), absent=NetworkRecipe(), is_open=is_left_open
    )
    return own, recipe


def _dry_run_text(document: dict[str, Any]) -> str:
    apart = ("recipe", "version", "encoders")
    facts = "\n".join(f"{key:<12} {value}" for key, value in document.items() if key not in apart)
    notes = "".join(f"\n{name}: {' '.join(told)}" for name, told in document.get("encoders", {}).items())
    return f"{facts}{notes}\n\n{document['recipe']}".rstrip()
