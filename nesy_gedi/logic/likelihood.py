"""What goes into a reasoner and what is learned from what comes out: rows that are distributions, observed answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nesy_gedi.errors import DistributionError

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may sum from one; for half precision it is ``HALF_SUM_TOLERANCE`` times epsilon."""

HALF_SUM_TOLERANCE = 4
"""Kept in half precision, log-probabilities down to -16 are off by four epsilon at most."""

LOG_PROBABILITY_FLOOR = -100.0
"""Stands for log 0 in a loss, so that the loss of an impossible answer is finite."""


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


def nll(log_answers: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of ``target`` (batch,) under ``log_answers`` (batch, answers), finite."""
    result: Tensor = _MeanNll.apply(log_answers, target)
    return result


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
