"""From images or points to log-probabilities over the symbols of one neural predicate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nesy_gedi.errors import DataError, DistributionError, NesyGediError, UsageError
from nesy_gedi.networks.encoders import features_fault, rows_fault, type_of

OUTPUTS = ("logits", "log_probabilities", "probabilities")
"""What a network may return for each symbol."""

PROBABILITY_SUM_TOLERANCE = 1e-3
"""How far a row that a network calls probabilities may sum from one."""


class EncoderError(DistributionError):
    """An encoder that has worked raised an exception, or returned something else than features."""


class Perception(nn.Module):
    """An encoder and a head whose result is a distribution over ``domain``.

    Args:
        encoder: any module from images (batch, channels, height, width) float, or points (batch, d), to features; of a
            network with several inputs, from as many of these.
        head: a module from features to ``len(domain)`` outputs; None when the encoder's own output is that wide.
        domain: the symbols, in the order of the outputs.
        image_shape: (channels, height, width), or (d,) for points, that the encoder expects; where given, others are
            refused. Of several inputs, a tuple of such shapes.
        mean: per channel, subtracted from pixels in [0, 1]; for points per coordinate. Of several inputs, one for each.
        std: per channel or coordinate, divides them; likewise.
        output: what head (or encoder) returns: ``logits``, ``log_probabilities`` or ``probabilities``.

    Attributes:
        image_shapes: the shape of each input; empty where none was given.
        image_shape: that of a single input; else None.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module | None,
        domain: Sequence[str],
        *,
        image_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
        mean: Tensor | Sequence[Tensor] | None = None,
        std: Tensor | Sequence[Tensor] | None = None,
        output: str = "logits",
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise UsageError(f"a network cannot return {output}", hint=f"valid: {', '.join(OUTPUTS)}")
        self.encoder = encoder
        self.head = head if head is not None else nn.Identity()
        self.domain = tuple(domain)
        self.image_shapes = _shapes(image_shape)
        self.image_shape = self.image_shapes[0] if len(self.image_shapes) == 1 else None
        self.output = output
        self._has_worked = False
        means, stds = ((each,) if isinstance(each, Tensor) else each for each in (mean, std))
        for k, shape in enumerate(self.image_shapes or ((1,),)):
            number = f"_{k}" if k else ""  # the first is named as that of a single input
            self.register_buffer(f"mean{number}", torch.zeros(shape[0]) if means is None else means[k].float().clone())
            self.register_buffer(f"std{number}", torch.ones(shape[0]) if stds is None else stds[k].float().clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Log-probabilities over the domain.

        Args:
            inputs: (batch, channels, height, width), uint8 in 0..255 or float in [0, 1]; or points (batch, d) float. Of a
                network with several inputs, one such tensor for each.

        Returns:
            (batch, len(domain)) float, rows normalised.

        Raises:
            DataError: images of another shape, or of integers other than uint8.
            DistributionError: outputs of another width than the domain, or rows of probabilities that do not sum to
            one.
            UsageError, EncoderError: as :meth:`features`.
        """
        pixels = self._all_standardised(inputs)
        log_p = self.normalise(self._run(lambda: self.head(self.encoder(*pixels)), inputs))
        if len(log_p) != len(inputs[0]):
            raise self._fault(*rows_fault(log_p, len(inputs[0])))
        self._has_worked = True
        return log_p

    def features(self, *inputs: Tensor) -> Tensor:
        """What the encoder makes of images, as :meth:`forward` takes them: (batch, d) float.

        Raises:
            DataError: images of another shape, or of integers other than uint8.
            UsageError: the encoder returns something else, and has never done otherwise.
            EncoderError: it does so, or raises an exception, after it has worked.
        """
        pixels = self._all_standardised(inputs)
        features = self._run(lambda: self.encoder(*pixels), inputs)
        if wrong := features_fault(features, len(inputs[0])):
            raise self._fault(*wrong)
        self._has_worked = True
        return features

    def _all_standardised(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The pixels that the encoder takes, of images that are checked."""
        expected = len(self.image_shapes) or 1
        if len(inputs) != expected:
            raise DataError(
                f"{len(inputs)} inputs, the network takes {expected}", hint="give one tensor for each of its inputs"
            )
        return tuple(self._standardised(images, k) for k, images in enumerate(inputs))

    def _standardised(self, images: Tensor, number: int) -> Tensor:
        shape = self.image_shapes[number] if self.image_shapes else None
        if shape is not None and tuple(images.shape[1:]) != shape:
            raise DataError(
                f"images of shape {tuple(images.shape[1:])}, the network expects {shape}"
                + (" (channels, height, width)" if len(shape) == 3 else ""),
                hint="use the data set that it was trained on, or resize the images",
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise DataError(
                f"images of type {type_of(images)}, the network expects uint8 in 0..255 or float in [0, 1]",
                hint="convert them with images.to(torch.uint8)",
            )
        pixels = _unit_range(images)
        # In the precision of the buffers, which is that of the weights.
        per_channel = (-1, *[1] * (images.dim() - 2))
        mean, std = (getattr(self, f"{each}_{number}" if number else each) for each in ("mean", "std"))
        standardised: Tensor = (pixels.to(mean.dtype) - mean.view(per_channel)) / std.view(per_channel)
        return standardised

    def _run(self, network: Callable[[], Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        """Whatever ``network()`` returns; once it has worked, whatever it raises is an error of ours."""
        try:
            return network()
        except (NesyGediError, torch.OutOfMemoryError):  # the second is no fault of the encoder
            raise
        except Exception as error:  # whatever the user's encoder raises
            if not self._has_worked:  # who makes it knows its name, and what images there are
                raise
            raise EncoderError(
                f"the encoder failed on a batch of shape {' and '.join(str(tuple(each.shape)) for each in inputs)}: "
                f"{type(error).__name__}: {error}",
                hint="repair its forward()",
            ) from error

    def _fault(self, message: str, hint: str) -> NesyGediError:
        """An encoder that never worked is wrong usage; one that did has failed."""
        return (EncoderError if self._has_worked else UsageError)(message, hint=hint)

    def normalise(self, returned: Tensor) -> Tensor:
        """Log-probabilities over the domain of what head (or encoder) has returned; errors as :meth:`forward`."""
        if not isinstance(returned, Tensor):  # the user's network may return anything
            raise DistributionError(
                f"the network returns {type(returned).__name__}, expected a tensor of shape (batch, symbols)",
                hint="let its forward() return that tensor alone",
            )
        if not returned.is_floating_point():
            raise DistributionError(
                f"the network returns values of type {type_of(returned)}, expected float",
                hint="leave out what rounds or counts: integers have no gradient",
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


def _shapes(image_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None) -> tuple[tuple[int, ...], ...]:
    """The shape of each input of a network that may have one or several."""
    if not image_shape:
        return ()
    several = [shape for shape in image_shape if isinstance(shape, tuple)]
    return tuple(several) if several else (cast("tuple[int, ...]", image_shape),)


def _unit_range(images: Tensor) -> Tensor:
    """As :func:`nesy_gedi.data.image_sets.unit_range`, which networks, a sibling of data, may not import."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def check_finite(features: Tensor) -> None:
    """Refuse features (n, d) with values that are NaN or infinite.

    Raises:
        EncoderError: there are some.
    """
    wrong = int((~features.isfinite()).any(1).sum())
    if wrong:
        raise EncoderError(
            f"the encoder returns features that are not finite, of {wrong} of {len(features)} images",
            hint="look for a division, a logarithm or a weight in it that is not finite",
        )


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of images, or per coordinate of points.

    Args:
        images: (n, channels, height, width) uint8, which is scaled to [0, 1]; float images or points (n, d) as they are.

    Returns:
        Two tensors (channels,) or (d,).
    """
    pixels = _unit_range(images).float()
    others = [dim for dim in range(pixels.dim()) if dim != 1]
    return pixels.mean(others), pixels.std(others).clamp_min(1e-6)
