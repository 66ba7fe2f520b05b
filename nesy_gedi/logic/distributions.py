"""What goes into a reasoner: distributions over symbols, by who reads what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nesy_gedi.errors import DistributionError, UsageError

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may sum from one; for half precision it is ``HALF_SUM_TOLERANCE`` times epsilon."""

HALF_SUM_TOLERANCE = 4
"""Kept in half precision, log-probabilities down to -16 are off by four epsilon at most."""


class NeuralInput(NamedTuple):
    """What a reasoner asks of a network: its distribution over ``domain`` for the images in ``slots``."""

    network: str
    slots: tuple[str, ...]
    domain: tuple[str, ...]


def collect(
    inputs: Sequence[NeuralInput], log_p: Tensor | Mapping[object, Tensor], *, where: str, validate: bool
) -> list[Tensor]:
    """The distributions that ``inputs`` ask for, each of shape ``(batch, K)``, or all of them side by side.

    Args:
        log_p: as :meth:`nesy_gedi.logic.reasoner.Reasoner.forward` takes it.
        where: the query form, for errors.
        validate: whether rows must sum to one.

    Raises:
        DistributionError: a missing input, a wrong shape, a NaN, or a row that does not sum to one.
        UsageError: a slot that several networks read does not say which.
    """
    if isinstance(log_p, Tensor):
        if log_p.dim() == 2 and len(inputs) == 1:
            log_p = log_p[:, None]
        if log_p.dim() != 3 or log_p.shape[1] != len(inputs):
            raise DistributionError(
                f"expected log-probabilities of shape (batch, {len(inputs)}, K), found {tuple(log_p.shape)}",
                where=where,
            )
        for k, item in enumerate(inputs):
            check_input(item, log_p.detach()[:, k], log_p.shape[0], validate)
        return [log_p.flatten(1)] if inputs else []
    found = [look_up(inputs, log_p, item, where) for item in inputs]
    for item, tensor in zip(inputs, found, strict=True):
        check_input(item, tensor, found[0].shape[0] if found[0].dim() else 0, validate)
    return found


def side_by_side(inputs: Sequence[NeuralInput], log_p: Tensor, where: str) -> Tensor:
    """A single tensor for all inputs, of shape ``(batch, len(inputs), K)``.

    Raises:
        DistributionError: it has another shape.
    """
    if log_p.dim() == 2 and len(inputs) == 1:
        log_p = log_p[:, None]
    if log_p.dim() != 3 or log_p.shape[1] != len(inputs):
        raise DistributionError(
            f"expected log-probabilities of shape (batch, {len(inputs)}, K), found {tuple(log_p.shape)}", where=where
        )
    return log_p


def look_up(inputs: Sequence[NeuralInput], log_p: Mapping[object, Tensor], item: NeuralInput, where: str) -> Tensor:
    """The distribution that ``item`` asks for: by network and slots, or by slots where one network alone reads them.

    Raises:
        DistributionError: there is none.
        UsageError: several networks read these slots, and the key does not say which.
    """
    full = (item.network, *item.slots)
    if full in log_p:
        return log_p[full]
    short = item.slots[0] if len(item.slots) == 1 else item.slots
    if short in log_p:
        if sum(other.slots == item.slots for other in inputs) > 1:
            raise UsageError(f"several networks read {', '.join(item.slots)}", where=where, hint=f"use the key {full}")
        return log_p[short]
    raise DistributionError(
        f"no distribution of {item.network} for {', '.join(item.slots)}",
        where=where,
        hint=f"given: {', '.join(str(key) for key in log_p)}",
    )


def check_input(item: NeuralInput, tensor: Tensor, batch: int, validate: bool) -> None:
    """Refuse what is no batch of distributions over ``item``'s domain.

    Raises:
        DistributionError: a wrong shape, a NaN, or - where they are validated - a row that does not sum to one.
    """
    name = f"{item.network}({', '.join(item.slots)})"
    if tensor.dim() != 2 or tensor.shape[1] != len(item.domain):
        raise DistributionError(
            f"network {item.network} has {tensor.shape[-1] if tensor.dim() else 0} outputs, its domain has "
            f"{len(item.domain)} symbols: expected log-probabilities of shape (batch, {len(item.domain)}), found "
            f"{tuple(tensor.shape)}",
            where=name,
            hint="make the network's last layer as wide as the domain in the program",
        )
    if tensor.shape[0] != batch:
        raise DistributionError(f"batch of {tensor.shape[0]} beside a batch of {batch}", where=name)
    if validate:
        check_rows(tensor, name)


def check_rows(log_p: Tensor, name: str) -> None:
    """Refuse rows that are not distributions.

    Raises:
        DistributionError: a row holds NaN or does not sum to one.
    """
    exact = log_p.dtype in (torch.float32, torch.float64)
    tolerance = ROW_SUM_TOLERANCE if exact else HALF_SUM_TOLERANCE * torch.finfo(log_p.dtype).eps
    sums = (log_p.detach() if exact else log_p.detach().float()).exp().sum(-1)
    wrong = ~((sums - 1.0).abs() <= tolerance)
    if bool(wrong.any()):
        raise DistributionError(
            f"a row of probabilities sums to {float(sums[wrong][0]):.6g}, not 1",
            where=f"network {name}",
            hint="end the network with log_softmax, or declare what it returns (logits, probabilities)",
        )


def one_hot_log(values: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Log of one-hot distributions: 0 at the value, -inf elsewhere; shape (*values.shape, size)."""
    result = torch.full((*values.shape, size), -torch.inf, dtype=dtype, device=values.device)
    return result.scatter_(-1, values[..., None], 0.0)
