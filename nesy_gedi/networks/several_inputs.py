"""Several inputs of one network: each is encoded, and the features follow one another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class JoinedEncoder(nn.Module):
    """Features of several inputs side by side; inputs of the same shape are seen by the same encoder.

    Args:
        shapes: of each input, without the batch.
        make: shape -> a new encoder of such inputs, (batch, *shape) to (batch, d).
    """

    def __init__(self, shapes: tuple[tuple[int, ...], ...], make: Callable[[tuple[int, ...]], nn.Module]) -> None:
        super().__init__()
        distinct = list(dict.fromkeys(shapes))
        self.encoders = nn.ModuleList([make(shape) for shape in distinct])
        self.reads = tuple(distinct.index(shape) for shape in shapes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features (batch, sum of d) of one tensor (batch, *shape) for each input."""
        return torch.cat([self.encoders[k](each) for k, each in zip(self.reads, inputs, strict=True)], 1)
