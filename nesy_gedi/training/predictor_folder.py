"""A predictor as a folder of its own: small, complete, checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.files import write_json, write_text
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.answers import model_tensors
from nesy_gedi.training.checkpoints import own_memory
from nesy_gedi.training.environment import installed_packages, read_shapes
from nesy_gedi.training.perceptions import Shapes
from nesy_gedi.training.recipe import Recipe, TrainingRecipe, load_recipe
from nesy_gedi.training.recipe_files import write_recipe
from nesy_gedi.training.runs import ProgramRun
from nesy_gedi.training.task import Task

PREDICTOR_VERSION = 1
"""Of the folder's files. Keys are added, never renamed."""

PREDICTOR_FILE = "predictor.json"
PREDICTOR = "predictor"
"""Folder of the predictor in an export."""

PROGRAM_FILE = "program.pl"
RECIPE_FILE = "recipe.toml"
WEIGHTS_FILE = "weights.safetensors"

_RESTORE = "restore the folder, or save the predictor again"


@dataclass(frozen=True)
class SavedPredictor:
    """What a predictor is made from.

    Attributes:
        program, recipe: as trained; the recipe says how networks are made.
        shapes: of each input of each network of a task.
        answers: that the program derives, where they are known.
        trained: what is known of the training, plain JSON.
        weights: reads everything that was learned, as :func:`~nesy_gedi.training.answers.model_tensors` names it.
    """

    program: Program
    recipe: Recipe
    shapes: Callable[[Task], Shapes]
    answers: tuple[str, ...] | None
    trained: Mapping[str, Any]
    weights: Callable[[], dict[str, Tensor]]


def is_predictor(folder: Path) -> bool:
    """Whether a predictor was saved to ``folder``."""
    return (folder / PREDICTOR_FILE).is_file()


def of_run(run: ProgramRun, *, trusted: bool) -> SavedPredictor:
    """A run's best weights, and what is known of its training.

    Raises:
        RunError: the run is damaged.
        RecipeError: its recipe has a value that cannot be.
    """
    program, recipe = run.program(trusted=trusted), run.recipe()
    result = run.result() or {}
    trained = {
        "program": Path(str(run.environment().get("program", run.program_file))).name,
        "run": run.path.resolve().name,
        "method": recipe.method,
        "data": Path(recipe.data.source).name,
        "seed": recipe.seed,
        "metrics": {
            name: value
            for name, value in (result.get("metrics") or {}).items()
            if isinstance(value, float | int) and not isinstance(value, bool)
        },
    }

    def shapes(task: Task) -> Shapes:
        return run.image_shapes({name: task.arguments(name) for name in task.networks})

    return SavedPredictor(program, recipe, shapes, None, trained, lambda: run.checkpoints.load_final().model)


def write_predictor(
    folder: Path,
    task: Task,
    networks: nn.ModuleDict,
    trained: Mapping[str, Any],
    *,
    force: bool,
) -> Path:
    """Write a predictor, complete or not at all; see :meth:`~nesy_gedi.training.predictor.Predictor.save`.

    Raises:
        RunError: there is something already, or it cannot be written.
    """
    _refuse_to_replace(folder, force)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_text(part / PROGRAM_FILE, task.program.source.text)
        write_text(part / RECIPE_FILE, write_recipe(_only_networks(task)))
        (part / WEIGHTS_FILE).write_bytes(save(own_memory(model_tensors(task, networks))))
        # As it reads back: a text file's line ends are not always those of the program in memory.
        stored = Program.load(part / PROGRAM_FILE, trusted=task.program.trusted)
        shapes = {name: cast("Perception", networks[name]).image_shapes for name in task.networks}
        about = {
            "version": PREDICTOR_VERSION,
            "query": task.reasoner.form.text,
            "slots": list(task.slots),
            "observed": {item.slots[0]: list(item.domain) for item in task.observed},
            "answers": list(task.reasoner.answers),
            "image_shapes": {name: [list(shape) for shape in own] for name, own in shapes.items()},
            "networks": {name: _about_network(task, name, networks[name]) for name in task.networks},
            "trained": dict(trained),
            "trusted": task.program.trusted,
            "program_sha256": stored.fingerprint,
            "recipe_sha256": _sha256(part / RECIPE_FILE),
            "weights_sha256": _sha256(part / WEIGHTS_FILE),
            "packages": installed_packages(),
        }
        write_json(part / PREDICTOR_FILE, about)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"cannot save the predictor: {getattr(error, 'strerror', None) or error}",
            where=str(folder),
            hint="choose a folder that you can write",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _about_network(task: Task, name: str, network: nn.Module) -> dict[str, Any]:
    return {
        "domain": list(task.program.networks[name]),
        "encoder": task.network(name).encoder,
        "head": task.network(name).head,
        "slots": [list(item.slots) for item in task.seen if item.network == name],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def _only_networks(task: Task) -> Recipe:
    """The recipe without what belongs to training and to this machine: how the networks are made, and the query form."""
    own = task.recipe
    networks = {name: replace(network, weights="", labels=(), prior=()) for name, network in own.networks.items()}
    return Recipe(
        query=own.query,
        slots=own.slots,
        seed=own.seed,
        method="assignment",  # after which nothing is trained: heads that begin pretrained come with their weights
        networks=networks,
        training=replace(TrainingRecipe(), precision=own.training.precision),
        ensemble=own.ensemble,
        engine=own.engine,
        limits=own.limits,
    )


def _refuse_to_replace(folder: Path, force: bool) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise RunError("there is a file in the predictor's place", where=str(folder), hint="choose another folder")
    if not any(folder.iterdir()):
        return
    if not is_predictor(folder):
        raise RunError(
            "the folder is not empty, and no predictor that could be replaced",
            where=str(folder),
            hint="choose another folder",
        )
    if not force:
        raise RunError(
            "there is a predictor already", where=str(folder), hint="choose another folder, or replace it (force=True)"
        )


def read_predictor(folder: Path, *, trusted: bool) -> SavedPredictor:
    """A predictor as :func:`write_predictor` has left it.

    Args:
        trusted: let its program load files and Python modules.

    Raises:
        RunError: another version, a damaged file, or one that has changed.
    """
    where = str(folder)
    try:
        about = json.loads((folder / PREDICTOR_FILE).read_text(encoding="utf-8"))
        version = about["version"]
        if version != PREDICTOR_VERSION:
            raise RunError(
                f"the predictor is of version {version}, this package reads version {PREDICTOR_VERSION}",
                where=where,
                hint="install the version of nesy-gedi that wrote it, or save it again from its run",
            )
        stated = about["image_shapes"]
        read_shapes(stated, {name: len(own) for name, own in stated.items()})
        answers = tuple(map(str, about["answers"]))
        trained = dict(about.get("trained") or {})
        sums = {name: str(about[f"{name}_sha256"]) for name in ("program", "recipe", "weights")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(f"{PREDICTOR_FILE} is damaged: {what}", where=where, hint=_RESTORE) from error
    for name in (PROGRAM_FILE, RECIPE_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise RunError(f"the predictor is not complete: {name} is missing", where=where, hint=_RESTORE)
    program = Program.load(folder / PROGRAM_FILE, trusted=trusted)
    if program.fingerprint != sums["program"]:
        raise RunError(
            f"{PROGRAM_FILE} is not the program that the networks were trained with",
            where=where,
            hint="restore the file, or train the new program",
        )
    if _sha256(folder / RECIPE_FILE) != sums["recipe"]:
        raise RunError(f"{RECIPE_FILE} has changed since the predictor was saved", where=where, hint=_RESTORE)
    try:
        recipe = load_recipe(folder / RECIPE_FILE)
    except RecipeError as error:  # of a later version of this package
        raise RecipeError(error.message, where=error.where, excerpt=error.excerpt, hint=_RESTORE) from error

    def weights() -> dict[str, Tensor]:
        try:
            content = (folder / WEIGHTS_FILE).read_bytes()
            if hashlib.sha256(content).hexdigest() != sums["weights"]:
                raise RunError(
                    f"{WEIGHTS_FILE} is damaged: its checksum is not the one in {PREDICTOR_FILE}",
                    where=where,
                    hint=_RESTORE,
                )
            return load(content)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{WEIGHTS_FILE} cannot be read: {error}", where=where, hint=_RESTORE) from error

    def shapes(task: Task) -> Shapes:
        try:
            return read_shapes(stated, {name: task.arguments(name) for name in task.networks})
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{PREDICTOR_FILE} is damaged: image_shapes: {error}", where=where, hint=_RESTORE) from error

    return SavedPredictor(program, recipe, shapes, answers, trained, weights)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
