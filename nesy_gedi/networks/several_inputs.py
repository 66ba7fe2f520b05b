"""Several inputs of one network: each is encoded, and their features are looked at together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

JOINED_WIDTH = 128
"""Units of the layer that looks at the features of all inputs together: a linear head alone could not tell how they relate,
as whether two of them show the same."""

_PROBES = 2


class JoinedEncoder(nn.Module):
    """Features of several inputs side by side, and a layer with ReLU over them; inputs of the same shape are seen by the same
    encoder.

    Args:
        shapes: of each input, without the batch.
        make: shape -> a new encoder of such inputs, (batch, *shape) to (batch, d).
        width: of the output.
    """

    def __init__(
        self,
        shapes: tuple[tuple[int, ...], ...],
        make: Callable[[tuple[int, ...]], nn.Module],
        width: int = JOINED_WIDTH,
    ) -> None:
        super().__init__()
        distinct = list(dict.fromkeys(shapes))
        self.encoders = nn.ModuleList([make(shape) for shape in distinct])
        self.reads = tuple(distinct.index(shape) for shape in shapes)
        self.encoders.eval()  # black images are no batch to take statistics from
        with torch.no_grad():
            found = self._side_by_side(*(torch.zeros(_PROBES, *shape) for shape in shapes)).shape[1]
        self.encoders.train()
        self.together = nn.Sequential(nn.Linear(found, width), nn.ReLU())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features (batch, width) of one tensor (batch, *shape) for each input."""
        features: Tensor = self.together(self._side_by_side(*inputs))
        return features

    def _side_by_side(self, *inputs: Tensor) -> Tensor:
        return torch.cat([self.encoders[k](each) for k, each in zip(self.reads, inputs, strict=True)], 1)
