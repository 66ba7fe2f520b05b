"""From images to log-probabilities over the symbols of one neural predicate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.errors import DataError, DistributionError, UsageError

OUTPUTS = ("logits", "log_probabilities", "probabilities")
"""What a network may return for each symbol."""

PROBABILITY_SUM_TOLERANCE = 1e-3
"""How far a row that a network calls probabilities may sum from one."""


class Perception(nn.Module):
    """An encoder and a head whose result is a distribution over ``domain``.

    Args:
        encoder: any module from images (batch, channels, height, width) float to features (batch, d).
        head: a module from features to ``len(domain)`` outputs; None when the encoder's own output is that wide.
        domain: the symbols, in the order of the outputs.
        image_shape: (channels, height, width) that the encoder expects; where given, other images are refused.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides them.
        output: what head (or encoder) returns: ``logits``, ``log_probabilities`` or ``probabilities``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module | None,
        domain: Sequence[str],
        *,
        image_shape: tuple[int, int, int] | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        output: str = "logits",
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise UsageError(f"a network cannot return {output}", hint=f"valid: {', '.join(OUTPUTS)}")
        self.encoder = encoder
        self.head = head if head is not None else nn.Identity()
        self.domain = tuple(domain)
        self.image_shape = image_shape
        self.output = output
        channels = image_shape[0] if image_shape else 1
        self.register_buffer("mean", torch.zeros(channels) if mean is None else mean.float().clone())
        self.register_buffer("std", torch.ones(channels) if std is None else std.float().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities over the domain.

        Args:
            images: (batch, channels, height, width), uint8 in 0..255 or float in [0, 1].

        Returns:
            (batch, len(domain)) float, rows normalised.

        Raises:
            DataError: images of another shape, or of integers other than uint8.
            DistributionError: outputs of another width than the domain, or rows of probabilities that do not sum to
            one.
        """
        if self.image_shape is not None and tuple(images.shape[1:]) != self.image_shape:
            raise DataError(
                f"images of shape {tuple(images.shape[1:])}, the network expects {self.image_shape} "
                "(channels, height, width)",
                hint="use the data set that it was trained on, or resize the images",
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise DataError(
                f"images of type {str(images.dtype).removeprefix('torch.')}, the network expects uint8 in 0..255 or "
                "float in [0, 1]",
                hint="convert them with images.to(torch.uint8)",
            )
        pixels = images.float() / 255.0 if images.dtype == torch.uint8 else images
        # In the precision of the buffers, which is that of the weights.
        pixels = (pixels.to(self.mean.dtype) - self.mean[:, None, None]) / self.std[:, None, None]
        return self._normalise(self.head(self.encoder(pixels)))

    def _normalise(self, returned: Tensor) -> Tensor:
        if not isinstance(returned, Tensor):  # the user's network may return anything
            raise DistributionError(
                f"the network returns {type(returned).__name__}, expected a tensor of shape (batch, symbols)",
                hint="let its forward() return that tensor alone",
            )
        raw = returned if returned.dtype == torch.float64 else returned.float()
        if raw.dim() != 2 or raw.shape[1] != len(self.domain):
            raise DistributionError(
                f"the network returns {tuple(raw.shape[1:])} values an image, its domain has {len(self.domain)} symbols",
                hint='make its last layer as wide as the domain, or let a head do so (head = "linear" in the recipe)',
            )
        if self.output == "logits":
            return torch.log_softmax(raw, 1)
        rows = raw.detach().exp() if self.output == "log_probabilities" else raw.detach()
        sums = rows.sum(1)
        wrong = ~((sums - 1.0).abs() <= PROBABILITY_SUM_TOLERANCE)
        negative = bool((rows < 0).any())
        if negative or bool(wrong.any()):
            what = f"holds {float(rows.min()):.6g}" if negative else f"sums to {float(sums[wrong][0]):.6g}, not 1"
            raise DistributionError(
                f"the network declares {self.output}, but a row {what}",
                hint='end it with a softmax, or say what it returns: output = "logits" in the recipe',
            )
        if self.output == "log_probabilities":
            return raw
        # An exact zero stays impossible, and its gradient finite.
        tiny = torch.finfo(raw.dtype).tiny
        return raw.clamp_min(tiny).log().masked_fill(raw <= 0.0, -torch.inf)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of ``images`` (n, channels, height, width) uint8, scaled to [0, 1]."""
    pixels = images.float() / 255.0
    return pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)).clamp_min(1e-6)
