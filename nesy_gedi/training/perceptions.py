"""The networks of a task, made as its recipe says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet
from nesy_gedi.errors import DataError, NesyGediError, NesyGediWarning, UsageError
from nesy_gedi.networks.building import BuiltEncoder, build_encoder
from nesy_gedi.networks.ensembles import side_by_side
from nesy_gedi.networks.heads import make_head
from nesy_gedi.networks.perception import Perception, pixel_statistics
from nesy_gedi.training.adoption import load_weights
from nesy_gedi.training.task import Task

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]
"""Network -> the shape of each of its inputs, without the batch."""


def inputs_of(task: Task, images: ImageSet, index: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """All inputs of the kinds that each network looks at, one tensor (n, ...) for each of its inputs; nothing is copied.

    Args:
        index: which input stands in which slot of queries, (queries, slots) int64.

    Raises:
        DataError: one network is shown inputs of several shapes.
    """
    found = {}
    for name in task.networks:
        try:
            columns = [task.columns(name, k) for k in range(task.arguments(name))]
            found[name] = tuple(images.part_of(index[:, each]) for each in columns)
        except DataError as error:
            raise DataError(error.message, where=f"network {name}", hint=error.hint) from error
    return found


def shapes_of(inputs: Mapping[str, tuple[Tensor, ...]]) -> Shapes:
    """The shape of each input of each network, of what :func:`inputs_of` returns."""
    return {name: tuple(tuple(each.shape[1:]) for each in own) for name, own in inputs.items()}


def make_perceptions(
    task: Task,
    shape: tuple[int, ...] | Shapes,
    images: Tensor | Mapping[str, tuple[Tensor, ...]] | None = None,
    *,
    trusted: Sequence[str] = (),
) -> nn.ModuleDict:
    """New networks, initialised from the recipe's seed.

    Args:
        shape: (channels, height, width) of the images that all networks look at; or network -> the shape of each of its
            inputs.
        images: training images whose pixel statistics are normalised away, or network -> those of each of its inputs;
            without them nothing pretrained is loaded either, since both are restored from a checkpoint.
        trusted: networks whose encoder was named by the user, so that its Python may be imported.

    Raises:
        UsageError: an encoder or head that cannot be made, or does not take such images.
        DistributionError: outputs of another width than the domain, or that are not distributions.
    """
    torch.manual_seed(task.recipe.seed)
    all_shapes = (
        shape if isinstance(shape, Mapping) else {name: (shape,) * task.arguments(name) for name in task.networks}
    )
    if isinstance(images, Tensor):
        images = {name: (images,) * task.arguments(name) for name in task.networks}
    known: dict[int, tuple[Tensor, Tensor]] = {}  # networks that look at the same images share what takes long
    made = nn.ModuleDict()
    for name in task.networks:
        what, domain, shapes = task.network(name), task.program.networks[name], all_shapes[name]
        statistics = []
        for each in () if images is None else images[name]:
            if id(each) not in known:
                known[id(each)] = pixel_statistics(each)
            statistics.append(known[id(each)])
        mean, std = ([one[k] for one in statistics] or None for k in (0, 1))
        try:
            members = range(task.recipe.ensemble.members)
            load = images is not None
            built, heads = zip(
                *[_make_network(task, name, shapes, name in trusted, load) for _ in members], strict=True
            )
            encoder, head = side_by_side([(each.module, head) for each, head in zip(built, heads, strict=True)])
            if built[0].mean is not None:
                mean, std = list(built[0].mean), list(built[0].std)
            perception = Perception(
                encoder,
                head,
                domain,
                image_shape=shapes[0],
                mean=mean,
                std=std,
                further=shapes[1:],
                output=what.output,
            )
            perception.notes = built[0].notes
            for sentence in built[0].warnings:
                warnings.warn(f"network {name}: {sentence}", NesyGediWarning, stacklevel=2)
            if what.weights and images is not None:
                load_weights(perception, what, trusted=name in trusted)
            with torch.no_grad():
                tried = perception.eval()(*(torch.zeros(2, *each) for each in shapes))
            if images is not None and bool(tried.isnan().any()):  # no error: no image of the data may be black
                told = f"network {name}: what {what.encoder} makes of a black image is not a number"
                warnings.warn(told, NesyGediWarning, stacklevel=2)
            perception.set_rate(what.rate)
            made[name] = perception
        except NesyGediError as error:
            raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
        except Exception as error:  # whatever the user's encoder raises
            raise UsageError(
                f"the encoder {what.encoder} does not take images of shape {' and '.join(map(str, shapes))}: {error}",
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
