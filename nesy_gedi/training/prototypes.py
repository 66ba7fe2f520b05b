"""Networks whose symbols begin as prototypes: the mean features of a few labelled images of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from nesy_gedi.errors import NesyGediError
from nesy_gedi.networks.heads import prototype_head
from nesy_gedi.networks.perception import Perception, check_finite
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.stages import encode
from nesy_gedi.training.task import Task


def begin_as_prototypes(task: Task, networks: nn.ModuleDict, labelled: Mapping[str, Labelled]) -> None:
    """Let networks with ``head = "prototypes"`` begin as the nearest-prototype classifiers of their labelled images.

    Args:
        networks: with pretrained encoders.
        labelled: from :func:`read_labels`, on the same device.

    Raises:
        UsageError: the encoder does not tell the labelled images apart.
        EncoderError: it returns features that are not finite.
    """
    for name in task.networks:
        if task.network(name).head != "prototypes":
            continue
        perception, told = cast("Perception", networks[name]), labelled[name]
        try:
            features = encode(perception, told.images)
            check_finite(features)
            perception.head = prototype_head(features, told.symbols, len(perception.domain))
        except NesyGediError as error:
            raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
