"""``nesy-gedi pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.interruption import StopOnce
from nesy_gedi.cli.output import print_json
from nesy_gedi.cli.results import print_dry_pretraining, print_pretraining
from nesy_gedi.errors import UsageError

if TYPE_CHECKING:
    from nesy_gedi.training.pretrain_recipe import PretrainRecipe


ENCODER = (
    "conv, mlp, torchvision:NAME, timm:NAME, FILE.safetensors or the folder of an export, or package.module:factory for "
    "your own network."
)


@click.command(short_help="Learn an encoder and its clusters from images without labels.")
@options.data_options
@options.objective
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path), help="Recipe file in place of the default.")
@options.run_options
@click.option("--seed", type=click.IntRange(min=0), help="Initial weights, order of images, views.")
@click.option("--limit", type=click.IntRange(min=1), help="Number of training images.")
@click.option("--encoder", metavar="SPEC", help=ENCODER)
@options.settings
@options.device
@options.trust
@click.option("--dry-run", is_flag=True, help="Check everything and run one batch of each stage; write nothing.")
@options.tensorboard
@options.as_json
@options.quiet
def pretrain(
    source: str | None,
    data_dir: Path | None,
    download: bool,
    objective: str | None,
    recipe_file: Path | None,
    out: Path | None,
    force: bool,
    resume: Path | None,
    seed: int | None,
    limit: int | None,
    encoder: str | None,
    settings: tuple[str, ...],
    device: str,
    trust: bool,
    dry_run: bool,
    tensorboard: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Learn features from two views of each image, then clusters from neighbours in feature space. No label is used;
    labels only measure the result. The last line of output is the run folder, which `train --encoder NET=RUN` takes.

    \b
      nesy-gedi pretrain --data digits
      nesy-gedi pretrain --data mnist --data-dir data --objective simclr
      nesy-gedi train addition --encoder digit_net=RUN
    """
    if encoder is not None and "=" in encoder:
        raise UsageError(
            f"expected SPEC, found {encoder!r}",
            where="--encoder",
            hint=f"there is one network here: --encoder {encoder.partition('=')[2] or 'conv'}",
        )
    named = {"data__source": source, "objective": objective, "seed": seed, "data__limit": limit}
    overrides = options.read_settings(
        settings, (), example="stages.features.epochs=5", **named, network__encoder=encoder
    )
    recipe = _resumed(resume, overrides, recipe_file, out) if resume is not None else _load(recipe_file, overrides)
    from nesy_gedi.cli.progress import make_listener
    from nesy_gedi.training.adoption import names_python

    trusted = trust or (encoder is not None and names_python(encoder))
    listener = make_listener(quiet, tensorboard=tensorboard)
    if dry_run:
        document = _try(recipe, data_dir, resume, download=download, device=device, trusted=trusted)
        print_json(document) if as_json else print_dry_pretraining(document)
        return

    from nesy_gedi.reports.pretraining_report import write_pretraining_report
    from nesy_gedi.training import pretraining

    with StopOnce() as stop:
        pretrained = pretraining.pretrain(
            recipe,
            data_dir=data_dir,
            download=download,
            device=device,
            out=out,
            force=force,
            resume=resume,
            trusted=trusted,
            listener=listener,
            stop=stop,
        )
    write_pretraining_report(pretrained)
    if as_json:
        print_json(pretrained.document)
    else:
        print_pretraining(pretrained.document, report=pretrained.run.report_file)


def _try(recipe: PretrainRecipe, data_dir: Path | None, resume: Path | None, **arguments: Any) -> dict[str, Any]:
    """The document of a dry run; the data of a run is looked for where it was."""
    from nesy_gedi.training.preparation import dry_run
    from nesy_gedi.training.runs import open_pretraining

    if resume is not None and data_dir is None:
        data_dir = open_pretraining(resume).data_dir()
    return dry_run(recipe, data_dir=data_dir, **arguments)


def _load(recipe_file: Path | None, overrides: dict[str, Any]) -> PretrainRecipe:
    from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe

    return load_pretrain_recipe(recipe_file, overrides=overrides)


def _resumed(resume: Path, overrides: dict[str, Any], recipe_file: Path | None, out: Path | None) -> PretrainRecipe:
    """The recipe of a run; anything given beside it must agree with it."""
    from nesy_gedi.training.pretrain_recipe import with_absolute_source
    from nesy_gedi.training.runs import open_pretraining

    run = open_pretraining(resume)
    options.refuse_another_folder(out, resume)
    if recipe_file is not None:
        raise UsageError("--recipe conflicts with --resume: a run has its own", hint="leave --recipe out")
    stored = run.recipe()
    asked = with_absolute_source(_load(run.recipe_file, overrides))
    options.refuse_conflicts(stored, asked, overrides, where=str(resume))
    return stored
