"""Networks of a program that begin as pretrained perceptions or exported encoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.networks.cards import card_of, read_card
from nesy_gedi.networks.definitions import WEIGHTS
from nesy_gedi.networks.encoders import BUNDLED, unknown_encoder
from nesy_gedi.networks.ensembles import EnsembleEncoder
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.libraries import LIBRARIES, is_library
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.pretrain_recipe import EncoderRecipe
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.runs import is_pretraining, open_pretraining

E = TypeVar("E", NetworkRecipe, EncoderRecipe)

SUFFIX = ".safetensors"

_ARGUMENTS = ("features", "width", "normalisation")
"""What a card's architecture may say of a bundled encoder, as a recipe does."""


def adopt_pretrained(recipe: Recipe) -> Recipe:
    """Replace every encoder that names the folder of a pretraining, or what was exported, by its architecture and weights,
    so that the trained run does not need the folder or file any more.

    Raises:
        UsageError: an encoder names nothing, or a folder that is no pretraining and no export.
        RunError: a pretraining, card or weights that are damaged.
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


def names_python(spec: str) -> bool:
    """Whether an encoder's name means Python of one's own, so that who has typed it trusts that; a folder or a file of
    weights names none, and installed libraries need no trust."""
    return ":" in spec and not is_library(spec) and not spec.endswith(SUFFIX) and not Path(spec).is_dir()


def trusted_networks(encoders: Mapping[str, str], networks: Iterable[str], trusted: bool) -> tuple[str, ...]:
    """The networks whose encoder may import Python: those for which the user has named some, or all that are trusted.

    Args:
        encoders: network -> encoder, as the user has named it. What the recipe of a folder or the card of a file would import
            nobody has named.
    """
    return tuple(networks) if trusted else tuple(name for name, spec in encoders.items() if names_python(spec))


def adopt_exported(what: E, where: str, network: str = "") -> E:
    """Replace an encoder that names exported weights, or the folder of an export, by what their card says; make the path
    of a weights file absolute.

    Args:
        where: the recipe's table, for messages.
        network: its name, below which a folder may keep its encoder.

    Raises:
        UsageError: there are no such weights, or no card beside them.
        RunError: a card that is damaged, or of other weights.
    """
    file = Path(what.encoder) if what.encoder.endswith(SUFFIX) else _exported(Path(what.encoder), network)
    if file is None:
        return replace(what, weights_file=str(Path(what.weights_file).resolve())) if what.weights_file else what
    if what.weights_file and Path(what.weights_file).resolve() != file.resolve():
        raise UsageError(
            f"two files for one encoder: {what.encoder} and {what.weights_file}",
            where=f"{where}.weights_file",
            hint="leave one of them out",
        )
    card = read_card(file)
    architecture = card.architecture
    built_in = architecture.kind in BUNDLED
    named = architecture.kind if built_in else architecture.name
    takes = architecture.adapted or card.input
    given: dict[str, Any] = {key: architecture.arguments[key] for key in _ARGUMENTS if key in architecture.arguments}
    return replace(
        what,
        encoder=f"{architecture.kind}:{named}" if architecture.kind in LIBRARIES else named,
        weights_file=str(file.resolve()),
        # Several inputs are not adapted.
        input_shape=() if card.further_inputs else tuple(takes.shape),
        **given,
    )


def _exported(folder: Path, network: str) -> Path | None:
    """The weights with a card in an exported folder; None where it is none."""
    if not folder.is_dir():
        return None
    places = [folder, *([folder / network] if network else []), folder / "encoder"]
    others = sorted(card_of(each / "weights") for each in folder.iterdir() if each.is_dir())
    places += [each.parent for each in others if each.is_file() and sum(map(Path.is_file, others)) == 1]
    for place in places:
        found = sorted(place.glob(f"*{SUFFIX}")) if card_of(place / "weights").is_file() else []
        if (place / WEIGHTS) in found:  # of an export, whose head is beside it
            return place / WEIGHTS
        if len(found) > 1:
            raise UsageError(
                f"there are {len(found)} files of weights and one card",
                where=str(place),
                hint=f"name one of them: {found[0]}",
            )
        if found:
            return found[0]
    return None


def _adopt(name: str, network: NetworkRecipe) -> NetworkRecipe:
    where = f"networks.{name}"
    network = adopt_exported(network, where, name)
    if network.weights and network.weights_file:
        raise UsageError(
            f"two beginnings for one encoder: the pretraining {network.weights} and {network.weights_file}",
            where=f"{where}.weights_file",
            hint="leave one of them out",
        )
    path = Path(network.encoder)
    if network.encoder in BUNDLED or is_library(network.encoder):
        return network
    if not path.is_dir():
        if ":" not in network.encoder:
            raise unknown_encoder(network.encoder, f"{where}.encoder")
        return network
    if not is_pretraining(path):
        raise UsageError(
            f"{path} is a folder, but not of a pretraining or an exported encoder",
            where=f"{where}.encoder",
            hint="name a folder that nesy-gedi pretrain has made, or that of an exported encoder with its card",
        )
    if network.weights_file:
        raise UsageError(
            f"two beginnings for one encoder: the pretraining {path} and {network.weights_file}",
            where=f"{where}.weights_file",
            hint="leave one of them out",
        )
    own = open_pretraining(path).recipe().network
    return replace(
        network,
        encoder=own.encoder,
        features=own.features,
        width=own.width,
        normalisation=own.normalisation,
        input_shape=own.input_shape,
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
                f"what {name} begins from lies in the folder that the run would replace: {file}",
                where=str(path),
                hint="choose another --out",
            )
