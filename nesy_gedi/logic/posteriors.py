"""Posterior of every choice given an answer, from one backward pass.

The derivative of log P(answer) by the log-probability of a value is the posterior probability that a trace of the
circuit mentions this value (Darwiche, "A Differential Approach to Inference in Bayesian Networks", 2003). Where a
trace leaves the choice open, its value follows the prior.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.logic.choices import ChoiceCircuit, answer_columns


def posterior(circuit: ChoiceCircuit, rows: Tensor, target: Tensor | int | None) -> tuple[Tensor, ...]:
    """For each choice the probabilities of its values given ``target``, shape (batch, values), without gradients.

    Raises:
        UsageError: ``target`` is no column of an answer.
    """
    batch, device = rows.shape[1], rows.device
    with torch.inference_mode(False), torch.enable_grad():  # what inference mode has made cannot be differentiated
        asked = answer_columns(target, circuit.answers, batch, device).clone()
        log_p = circuit.spread(rows.detach().clone()).requires_grad_()
        log_answer = circuit.plan(device)(log_p).gather(0, asked[None])[0]
        (mentioned,) = torch.autograd.grad(log_answer.sum(), log_p)
    possible = log_answer.detach() > -torch.inf
    found = []
    for stated, own in zip(circuit.split(mentioned), circuit.split(log_p.detach().exp()), strict=True):
        open_share = 1.0 - stated.sum(0)
        found.append(((stated + own * open_share).clamp(0.0, 1.0) * possible).T)
    return tuple(found)
