"""The networks of a finished run, made anew with the weights that they learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nesy_gedi.errors import RunError, UsageError, did_you_mean
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.program import Program
from nesy_gedi.training.adoption import adopt_pretrained, trusted_networks
from nesy_gedi.training.answers import restore_model
from nesy_gedi.training.perceptions import Shapes, make_perceptions
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.runs import ProgramRun
from nesy_gedi.training.task import Task


class Restored(NamedTuple):
    """A program's networks as they were trained, on the CPU and in evaluation mode.

    Attributes:
        task: with the learned probabilities.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`; in float64 where they were trained so, else
            float32.
    """

    task: Task
    networks: nn.ModuleDict


def restore(
    program: Program,
    recipe: Recipe,
    shapes: Callable[[Task], Shapes],
    weights: Callable[[], Mapping[str, Tensor]],
    *,
    where: str,
    encoders: Mapping[str, str] | None = None,
    engine: str | None = None,
    trusted: bool = False,
) -> Restored:
    """A task and its networks with weights that were kept.

    Args:
        shapes: of the inputs of a task's networks.
        weights: as :func:`~nesy_gedi.training.answers.model_tensors` names them.
        where: the weights are, for messages.
        encoders: network -> encoder in place of the recipe's; naming it again lets its Python be imported.
        engine: what evaluates the circuit, in place of the recipe's.
        trusted: let encoders import Python.

    Raises:
        UsageError: there is no such network, or an encoder would import Python without being trusted.
        RunError: the weights belong to other networks.
        NesyGediError: as :class:`~nesy_gedi.training.task.Task`.
    """
    own = dict(recipe.networks)
    for name, spec in (encoders or {}).items():
        if name not in program.networks:
            raise UsageError(
                f"the program has no network {name}", where="--encoder", hint=did_you_mean(name, program.networks)
            )
        own[name] = replace(own.get(name, NetworkRecipe()), encoder=spec)
    recipe = replace(recipe, networks=own, engine=recipe.engine if engine is None else engine)
    task = Task(program, adopt_pretrained(recipe), cache=GroundingCache())
    kept = weights()
    networks = make_perceptions(task, shapes(task), trusted=trusted_networks(encoders or {}, program.networks, trusted))
    for name, network in networks.items():
        # Half precision is widened, which loses nothing.
        if any(key.startswith(f"{name}.") and tensor.dtype == torch.float64 for key, tensor in kept.items()):
            network.double()
    try:
        restore_model(task, networks, kept)
    except RunError as error:
        raise RunError(error.message, where=where, hint=error.hint) from error
    return Restored(task, networks.eval())


def restore_run(run: ProgramRun, *, encoders: Mapping[str, str] | None = None, trusted: bool = False) -> Restored:
    """The networks of a run with its best weights; arguments and errors are those of :func:`restore`.

    Raises:
        RunError: a damaged checkpoint, none, or another program.
    """
    return restore(
        run.program(trusted=trusted),
        run.recipe(),
        lambda task: shapes_in(run, task),
        lambda: run.checkpoints.load_final().model,
        where=str(run.path),
        encoders=encoders,
        trusted=trusted,
    )


def shapes_in(run: ProgramRun, task: Task) -> Shapes:
    """The shapes of the inputs that a run's networks were trained on."""
    return run.image_shapes({name: task.arguments(name) for name in task.networks})
