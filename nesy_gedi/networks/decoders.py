"""Decoders: images from symbols alone, so that symbols must say what tells images apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nesy_gedi.errors import UsageError

HIDDEN = 128
"""Units of the hidden layer."""

COMBINATIONS = 4096
"""Combinations of symbols, one of each network, that can be told apart at most: all of them are decoded at each step."""

SMALLEST_SPREAD = 1e-6
"""Of images that are all the same, so that nothing is divided by zero."""


class SymbolDecoder(nn.Module):
    """What an image with given symbols looks like, one symbol of each network together; there is no code of its style.

    The loss is that of Marconato et al., "Not All Neuro-Symbolic Concepts Are Created Equal: Analysis and Mitigation of
    Reasoning Shortcuts" (NeurIPS 2023): the expectation, over the symbols that networks perceive in an image, of how badly
    these symbols explain it. It is summed over all combinations, not drawn; and it is no loss of the average picture, in
    whose place blends of symbols could be a code of anything.

    Its unit is the share of the images' variance that is left unexplained: squared errors of all pixels, divided by those
    of the mean image. Nothing learned, it is 1; perfect, 0. One weight then suits images of any size and contrast, which a
    likelihood in nats, a sum over pixels, does not. It is that of a Gaussian all the same, in other units.

    Args:
        sizes: of the networks' domains.
        images: of the pool, (n, channels, height, width) float in [0, 1], or points (n, d); their mean and spread are
            kept.

    Raises:
        UsageError: more combinations than :data:`COMBINATIONS`.
    """

    mean: Tensor
    spread: Tensor
    combinations: Tensor

    def __init__(self, sizes: Sequence[int], images: Tensor) -> None:
        super().__init__()
        if math.prod(sizes) > COMBINATIONS:
            raise UsageError(
                f"{math.prod(sizes)} combinations of symbols are too many to reconstruct images from, at most "
                f"{COMBINATIONS} are possible"
            )
        self.sizes = tuple(sizes)
        variance, mean = torch.var_mean(images, 0, correction=0)
        self.register_buffer("mean", mean)
        # One number: a pixel that hardly varies must not count as much as one that does.
        self.register_buffer("spread", variance.mean().sqrt().clamp_min(SMALLEST_SPREAD))
        every = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes))
        self.register_buffer("combinations", every.to(images.device), persistent=False)
        self.layers = nn.Sequential(nn.Linear(sum(sizes), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, mean.numel())).to(
            images.device
        )

    def forward(self, symbols: Tensor) -> Tensor:
        """Images (n, *shape) of symbols (n, networks) int64."""
        pictures: Tensor = self._decode(symbols).unflatten(1, self.mean.shape) * self.spread + self.mean
        return pictures

    def loss(self, log_p: Sequence[Tensor], images: Tensor) -> Tensor:
        """The expected share of variance that symbols leave unexplained, a scalar.

        Args:
            log_p: for each network log-probabilities of its symbols in these images, (n, K).
            images: (n, *shape), as the pool's.
        """
        standard = ((images - self.mean) / self.spread).flatten(1)
        decoded = self._decode(self.combinations)
        squared = standard.square().sum(1, keepdim=True) - 2.0 * standard @ decoded.T + decoded.square().sum(1)
        together = torch.stack([each[:, self.combinations[:, k]] for k, each in enumerate(log_p)]).sum(0).exp()
        return (together * squared).sum(1).mean() / standard.shape[1]

    def _decode(self, symbols: Tensor) -> Tensor:
        """Standardised images, (n, pixels)."""
        codes = [F.one_hot(symbols[:, k], size) for k, size in enumerate(self.sizes)]
        decoded: Tensor = self.layers(torch.cat(codes, 1).to(self.mean.dtype))
        return decoded
