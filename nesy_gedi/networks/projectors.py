"""Projectors and predictors: the heads that self-supervised objectives put on features, and that are thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(widths: Sequence[int], *, normalise_output: bool = False) -> nn.Sequential:
    """Linear layers with batch normalisation and ReLU between them.

    Args:
        widths: of the input, the hidden layers and the output.
        normalise_output: whether the output is batch-normalised too, without a learned scale.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=not normalise_output))
    if normalise_output:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


class SpatialMean(nn.Module):
    """The average of a flattened feature map over its positions: (n, channels * height * width) -> (n, channels).

    Args:
        map_shape: (channels, height, width).
    """

    def __init__(self, map_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels, self.positions = map_shape[0], map_shape[1] * map_shape[2]

    def forward(self, features: Tensor) -> Tensor:
        average: Tensor = features.unflatten(1, (self.channels, self.positions)).mean(2)
        return average

    def before(self, head: nn.Linear) -> nn.Linear:
        """The linear head on the flattened map that equals ``head`` on the average."""
        spread = nn.Linear(self.channels * self.positions, head.out_features).to(head.weight)
        with torch.no_grad():
            spread.weight.copy_((head.weight / self.positions).repeat_interleave(self.positions, 1))
            spread.bias.copy_(head.bias)
        return spread


class DinoProjector(nn.Module):
    """DINO's head: three GELU layers, a bottleneck on the unit sphere, and prototypes of unit length.

    Source: Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, appendix C. The last
    layer's weight norm is fixed to one, as in its released code.

    Args:
        features: width of the input.
        hidden: width of the hidden layers; 2048 in the paper.
        bottleneck: 256 in the paper.
        clusters: width of the output.
    """

    def __init__(self, features: int, hidden: int, bottleneck: int, clusters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.randn(clusters, bottleneck))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, clusters), cosines in [-1, 1], of features (n, d)."""
        cosines: Tensor = F.normalize(self.layers(features), dim=1) @ F.normalize(self.prototypes, dim=1).T
        return cosines
