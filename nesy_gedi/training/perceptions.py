"""The networks of a task, made as its recipe says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.errors import NesyGediError, UsageError
from nesy_gedi.networks.encoders import make_encoder
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
            encoder, head = side_by_side([_make_network(task, name, shape, name in trusted) for _ in members])
            perception = Perception(encoder, head, domain, image_shape=shape, mean=mean, std=std, output=what.output)
            if what.weights and images is not None:
                load_weights(perception, what, trusted=name in trusted)
            with torch.no_grad():
                perception.eval()(torch.zeros(2, *shape))
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


def _make_network(task: Task, name: str, shape: tuple[int, ...], trusted: bool) -> tuple[nn.Module, nn.Module | None]:
    """A new encoder and head."""
    what = task.network(name)
    encoder = make_encoder(
        what.encoder,
        shape,
        what.features,
        width=what.width,
        normalisation=what.normalisation,
        trusted=trusted,
    )
    return encoder, make_head(what.head, encoder, shape, len(task.program.networks[name]), what.clusters)
