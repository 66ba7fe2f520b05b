"""Inputs that differ from those of training so plainly that their mean brightness tells.

This is no test of whether a network knows what it is shown. It finds what is most often wrong with a user's own images:
dark strokes on white where training had white on black, another range of grey levels, an empty page.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nesy_gedi.networks.perception import Perception

FAR = 2.0
"""An image whose mean brightness is further than so many standard deviations of training pixels from their mean is unusual.
Means of images vary less than single pixels do: by Chebyshev's inequality at most a quarter of the training images lie
outside, in practice hardly any."""

POLAR = 1.0
"""Training images are mostly dark, or mostly bright, where swapping dark and bright would move their mean brightness by more
than so many standard deviations of their pixels. Then an image on the other side of the middle is taken for swapped, by
mistake where training images of much differing brightness, as those of clothes, have some there."""

BLANK = 0.02
"""An image whose brightest and darkest value are not further apart than this share of the range shows nothing."""

FAR_POINT = 8.0
"""A coordinate of a point or a sequence that is further than so many standard deviations from its mean is unusual."""

REASONS = (
    "",
    "dark and bright are swapped, compared with the training images",
    "it is much brighter than the training images",
    "it is much darker than the training images",
    "it is all of one colour",
    "it lies far outside the training data",
)
"""By code; 0 where nothing is unusual."""

SWAPPED, BRIGHTER, DARKER, EMPTY, OUTSIDE = range(1, len(REASONS))


def unusual(inputs: Tensor, perception: Perception, number: int = 0, *, of_training: bool = True) -> Tensor:
    """In which way each of ``inputs`` differs from what ``perception`` was trained on, (n,) uint8, positions in REASONS.

    Args:
        inputs: (n, channels, height, width), uint8 in 0..255 or float in [0, 1]; or points (n, ..., d) float.
        perception: its ``mean`` and ``std`` are those of the training pixels.
        number: which of its inputs, where it has several.
        of_training: False where they are not, as of an encoder that comes with its own: brightness tells nothing then.
    """
    mean, std = (each.detach().to("cpu", torch.float32) for each in perception.statistics(number))
    inputs = inputs.cpu()
    found = torch.zeros(len(inputs), dtype=torch.uint8)
    if not inputs.numel():
        return found
    if inputs.dim() != 4:
        if of_training and mean.shape == inputs.shape[-1:]:
            away = ((inputs.float() - mean) / std).abs().flatten(1).amax(1)
            found[~(away <= FAR_POINT)] = OUTSIDE
        return found
    pixels = inputs.flatten(2)
    # The quickest of all ways: integers are summed slowly, and a variance would take as long as a small network.
    levels = pixels.sum(2, dtype=torch.float32) / pixels.shape[2] / (255.0 if inputs.dtype == torch.uint8 else 1.0)
    flat = inputs.flatten(1)
    spread = (flat.amax(1).float() - flat.amin(1).float()) / (255.0 if inputs.dtype == torch.uint8 else 1.0)
    if not of_training or mean.shape != levels.shape[1:]:  # nothing is known of this colour
        return found.masked_fill_(spread <= BLANK, EMPTY)
    away = ((levels - mean) / std).mean(1)
    found[away > FAR] = BRIGHTER
    found[away < -FAR] = DARKER
    level, middle = levels.mean(1), float(mean.mean())
    if abs(1.0 - 2.0 * middle) > POLAR * float(std.mean()):
        found[(level > 0.5) if middle < 0.5 else (level < 0.5)] = SWAPPED
    found[spread <= BLANK] = EMPTY
    return found


def warning_about(codes: Sequence[Tensor]) -> str | None:
    """One sentence where many of the images of a call are unusual in one way.

    Args:
        codes: of :func:`unusual`, for any number of slots.
    """
    together = torch.cat([each.flatten() for each in codes]) if codes else torch.zeros(0, dtype=torch.uint8)
    counts = torch.bincount(together.long(), minlength=len(REASONS)).tolist()
    code = max(range(1, len(REASONS)), key=counts.__getitem__)
    if not counts[code]:
        return None
    said = {
        SWAPPED: "seem to have dark and bright swapped, compared with the training images; invert them where they do",
        BRIGHTER: "are much brighter than the training images",
        DARKER: "are much darker than the training images",
        EMPTY: "are all of one colour",
        OUTSIDE: "lie far outside the training data",
    }
    return f"{counts[code]} of {len(together)} images {said[code]}: their answers are not to be relied on"
