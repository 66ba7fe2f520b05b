"""Learning rates of encoders beside the rest: groups of parameters for the optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.perception import Perception


def parameter_groups(parameters: Iterable[nn.Parameter], networks: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """The optimiser's groups: parameters, and ``rate``, the share of the learning rate that they learn at. The first is
    that of the whole rate, and may be empty; frozen parameters are in none.

    Args:
        parameters: all that might learn.
        networks: perceptions, or what the fabric has made of them; their ``rate`` is that of their encoders.

    Raises:
        UsageError: nothing would learn.
    """
    rates: dict[int, float] = {}
    for network in networks:
        perception = getattr(network, "module", network)
        assert isinstance(perception, Perception)
        rates |= {id(parameter): perception.rate for parameter in perception.encoder.parameters()}
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in parameters:
        groups.setdefault(rates.get(id(parameter), 1.0), []).append(parameter)
    groups.pop(0.0, None)
    if not any(parameter.requires_grad for group in groups.values() for parameter in group):
        raise UsageError(
            "nothing would learn: all parameters are frozen",
            where="networks.*.rate",
            hint='raise a rate above 0, or give the network a head that learns: head = "linear"',
        )
    return [{"params": group, "rate": rate} for rate, group in groups.items()]
