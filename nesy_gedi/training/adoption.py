"""Networks of a program that begin as pretrained perceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.networks.encoders import BUNDLED
from nesy_gedi.networks.ensembles import EnsembleEncoder
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.runs import is_pretraining, open_pretraining


def adopt_pretrained(recipe: Recipe) -> Recipe:
    """Replace every encoder that names the folder of a pretraining by that run's architecture and weights, so that the
    trained run does not need the folder any more.

    Raises:
        UsageError: an encoder names nothing, or a folder that is no pretraining.
        RunError: a pretraining that is damaged.
    """
    return replace(recipe, networks={name: _adopt(name, network) for name, network in recipe.networks.items()})


def load_weights(perception: Perception, network: NetworkRecipe, *, trusted: bool) -> None:
    """Give a new perception the encoder, the normalisation and, where asked for, the head of ``network.weights``.

    Args:
        trusted: whether the pretrained encoder may import Python.

    Raises:
        RunError: no finished pretraining there, or another architecture.
        UsageError: a head of another width than the domain.
    """
    found = load_perception(network.weights, trusted=trusted)
    if found.image_shape != perception.image_shape:
        raise UsageError(
            f"{network.weights} was pretrained on images of shape {found.image_shape}, not {perception.image_shape}",
            hint="pretrain on the same kind of images",
        )
    try:
        encoder = perception.encoder
        for member in encoder.members if isinstance(encoder, EnsembleEncoder) else [encoder]:
            member.load_state_dict(found.encoder.state_dict())
    except RuntimeError as error:
        raise RunError(
            f"the pretrained weights do not fit the encoder: {str(error).splitlines()[-1].strip()}",
            where=network.weights,
            hint="leave features, width and normalisation as the pretraining has them",
        ) from error
    perception.mean.copy_(found.mean)
    perception.std.copy_(found.std)
    if network.head == "clusters" and isinstance(perception.head, ClusterHead):
        return  # which symbol each cluster stands for is still to be found
    if network.head == "clusters":
        if len(found.domain) != len(perception.domain):
            raise UsageError(
                f"{network.weights} has {len(found.domain)} clusters, the domain {len(perception.domain)} symbols",
                hint='use head = "linear", or pretrain with as many clusters',
            )
        assert isinstance(perception.head, nn.Linear)
        perception.head.load_state_dict(found.head.state_dict())


def _adopt(name: str, network: NetworkRecipe) -> NetworkRecipe:
    path = Path(network.encoder)
    if network.encoder in BUNDLED:
        return network
    if not path.is_dir():
        if ":" not in network.encoder:
            raise UsageError(
                f"there is no encoder {network.encoder}",
                where=f"networks.{name}.encoder",
                hint=f"valid: {', '.join(BUNDLED)}, package.module:factory for your own, or the folder of a pretraining",
            )
        return network
    if not is_pretraining(path):
        raise UsageError(
            f"{path} is a folder, but not of a pretraining",
            where=f"networks.{name}.encoder",
            hint="name a folder that nesy-gedi pretrain has made",
        )
    own = open_pretraining(path).recipe().network
    return replace(
        network,
        encoder=own.encoder,
        features=own.features,
        width=own.width,
        normalisation=own.normalisation,
        weights=str(path.resolve()),
    )


def refuse_to_replace_weights(weights: Mapping[str, str], path: Path) -> None:
    """What networks begin from must not lie in the run at ``path``, which a new one replaces.

    Args:
        weights: network -> the file that it begins from, empty where there is none.

    Raises:
        RunError: it does.
    """
    for name, file in weights.items():
        if file and Path(file).resolve().is_relative_to(path.resolve()):
            raise RunError(
                f"the pretraining of {name} lies in the folder that the run would replace: {file}",
                where=str(path),
                hint="choose another --out",
            )
