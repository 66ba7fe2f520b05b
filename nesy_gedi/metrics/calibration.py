"""Does confidence say how often a prediction is right?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high].

    Attributes:
        count: how many.
        confidence: their mean confidence; None where there is none, as below.
        accuracy: share of them whose prediction is right.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None

    @property
    def gap(self) -> float:
        """How far confidence is from accuracy; 0 of an empty bin."""
        return 0.0 if self.confidence is None or self.accuracy is None else abs(self.accuracy - self.confidence)


@dataclass(frozen=True)
class Calibration:
    """Bins of equal width over confidence, from 0 to 1."""

    bins: tuple[Bin, ...]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap over images (Guo et al., ICML 2017); 0 is best, also of no image."""
        return sum(each.count * each.gap for each in self.bins) / max(1, sum(each.count for each in self.bins))

    def as_json(self) -> dict[str, Any]:
        return {"ece": self.ece, "bins": [asdict(each) for each in self.bins]}


def calibrate(probabilities: Tensor, truth: Tensor, bins: int = BINS) -> Calibration:
    """How often predictions are right, by how confident they are (DeGroot and Fienberg, 1983).

    Args:
        probabilities: (n, K), rows normalised.
        truth: (n,) int64.
    """
    confidence, predicted = probabilities.double().max(1)
    # Half-open to the right of the lower edge, (a, b], as in Guo et al.
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1

    def summed(values: Tensor) -> list[float]:
        found: list[float] = torch.zeros(bins, dtype=torch.double).scatter_add_(0, which, values).tolist()
        return found

    counts = which.bincount(minlength=bins).tolist()
    found = []
    for k, (count, total, right) in enumerate(
        zip(counts, summed(confidence), summed((predicted == truth).double()), strict=True)
    ):
        means = (total / count, right / count) if count else (None, None)
        found.append(Bin(k / bins, (k + 1) / bins, count, *means))
    return Calibration(tuple(found))


def expected_calibration_error(probabilities: Tensor, truth: Tensor, bins: int = BINS) -> float:
    """:attr:`Calibration.ece` of :func:`calibrate`: arguments as there."""
    return calibrate(probabilities, truth, bins).ece
