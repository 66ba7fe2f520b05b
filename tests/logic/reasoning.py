"""Short ways to ask a program something."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

COLOURS = "nn(net, [X], C, [red, green, blue]) :: colour(X, C).\n"


def reasoner(text: str, form: str) -> Reasoner:
    return Reasoner(Program(text), form)


def rows(batch: int, width: int, *, seed: int = 0, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(batch, width, generator=torch.Generator().manual_seed(seed))
    return (scale * drawn).log_softmax(1)


def column(result: Tensor, made: Reasoner, answer: object) -> Tensor:
    return result[:, made.index(answer)].exp()


def random_logits(inputs: Collection[NeuralInput], batch: int, seed: int) -> Mapping[NeuralInput, Tensor]:
    """Leaves of shape (batch, K)."""
    generator = torch.Generator().manual_seed(seed)
    return {item: torch.randn(batch, len(item.domain), generator=generator).requires_grad_() for item in inputs}


def log_probabilities(logits: Mapping[NeuralInput, Tensor]) -> dict[object, Tensor]:
    return {(item.network, *item.slots): x.log_softmax(1) for item, x in logits.items()}
