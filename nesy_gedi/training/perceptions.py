"""The networks of a task, made as its recipe says."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nesy_gedi.errors import NesyGediError, NesyGediWarning, UsageError
from nesy_gedi.networks.building import BuiltEncoder, build_encoder
from nesy_gedi.networks.ensembles import side_by_side
from nesy_gedi.networks.heads import make_head
from nesy_gedi.networks.perception import Perception, pixel_statistics
from nesy_gedi.training.adoption import load_weights
from nesy_gedi.training.task import Task


def make_perceptions(
    task: Task, shape: tuple[int, ...], images: Tensor | None = None, *, trusted: Sequence[str] = ()
) -> nn.ModuleDict:
    """New networks, initialised from the recipe's seed.

    Args:
        shape: (channels, height, width) of the images.
        images: training images whose pixel statistics are normalised away; without them nothing pretrained is loaded
            either, since both are restored from a checkpoint.
        trusted: networks whose encoder was named by the user, so that its Python may be imported.

    Raises:
        UsageError: an encoder or head that cannot be made, or does not take such images.
        DistributionError: outputs of another width than the domain, or that are not distributions.
    """
    torch.manual_seed(task.recipe.seed)
    mean, std = (None, None) if images is None else pixel_statistics(images)
    made = nn.ModuleDict()
    for name in task.networks:
        what, domain = task.network(name), task.program.networks[name]
        try:
            members = range(task.recipe.ensemble.members)
            load = images is not None
            built, heads = zip(
                *[_make_network(task, name, (shape,), name in trusted, load) for _ in members], strict=True
            )
            encoder, head = side_by_side([(each.module, head) for each, head in zip(built, heads, strict=True)])
            own_mean, own_std = (mean, std) if built[0].mean is None else (built[0].mean[0], built[0].std[0])
            perception = Perception(
                encoder, head, domain, image_shape=shape, mean=own_mean, std=own_std, output=what.output
            )
            perception.notes = built[0].notes
            for sentence in built[0].warnings:
                warnings.warn(f"network {name}: {sentence}", NesyGediWarning, stacklevel=2)
            if what.weights and images is not None:
                load_weights(perception, what, trusted=name in trusted)
            with torch.no_grad():
                perception.eval()(torch.zeros(2, *shape))
            perception.set_rate(what.rate)
            made[name] = perception
        except NesyGediError as error:
            raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
        except Exception as error:  # whatever the user's encoder raises
            raise UsageError(
                f"the encoder {what.encoder} does not take images of shape {shape}: {error}",
                where=f"network {name}",
                hint="let its forward() take batches of them, or name another encoder",
            ) from error
    return made.train()


def notes_of(networks: nn.ModuleDict) -> dict[str, list[str]]:
    """What was done to make the networks' encoders, where there is anything to say."""
    told = {name: list(cast("Perception", network).notes) for name, network in networks.items()}
    return {name: notes for name, notes in told.items() if notes}


def _make_network(
    task: Task, name: str, shapes: Sequence[tuple[int, ...]], trusted: bool, load: bool
) -> tuple[BuiltEncoder, nn.Module | None]:
    """A new encoder and head, for inputs of these shapes."""
    what = task.network(name)
    built = build_encoder(what, shapes, trusted=trusted, load=load, section=f"networks.{name}")
    symbols = len(task.program.networks[name])
    return built, make_head(what.head, built.module, shapes[0], symbols, what.clusters, further=shapes[1:])
