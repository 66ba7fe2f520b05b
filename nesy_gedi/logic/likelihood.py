"""The likelihood of observed answers, which is what is learned from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nesy_gedi.errors import DistributionError

LOG_PROBABILITY_FLOOR = -100.0
"""Stands for log 0 in a loss, so that the loss of an impossible answer is finite."""


def nll(log_answers: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of ``target`` (batch,) under ``log_answers`` (batch, answers), finite.

    Raises:
        DistributionError: a batch without any query.
    """
    if len(target) == 0:
        raise DistributionError("the batch holds no query: there is no mean loss", hint="leave empty batches out")
    result: Tensor = _MeanNll.apply(log_answers, target)
    return result


def mean_nll(observed: Tensor) -> Tensor:
    """As :func:`nll`, of the log-probabilities of the observed answers alone, shape (batch,)."""
    return nll(observed[:, None], torch.zeros(len(observed), dtype=torch.long, device=observed.device))


class _MeanNll(torch.autograd.Function):
    """In a few operations, which for a small circuit take as long as the circuit does."""

    @staticmethod
    def forward(ctx: Any, log_answers: Tensor, target: Tensor) -> Tensor:
        observed = log_answers.gather(1, target[:, None])
        # Only the impossible is capped: an answer that is merely improbable must still teach.
        impossible = observed == -torch.inf
        ctx.save_for_backward(target, impossible)
        ctx.answers = log_answers.shape[1]
        return observed.masked_fill_(impossible, LOG_PROBABILITY_FLOOR).mean().neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        target, impossible = ctx.saved_tensors
        each = (gradient / -len(target)).expand(impossible.shape).masked_fill(impossible, 0.0)
        return each.new_zeros(len(target), ctx.answers).scatter_(1, target[:, None], each), None
