"""Does confidence say how often a prediction is right?"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def expected_calibration_error(probabilities: Tensor, truth: Tensor, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence (Guo et al., ICML 2017); 0 is best.

    Args:
        probabilities: (n, K), rows normalised.
        truth: (n,) int64.
    """
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == truth).double()
    # Bins are half-open to the right of their lower edge, (a, b], as in the paper.
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double).scatter_add_(0, which, right - confidence)
    return float(gap.abs().sum()) / max(1, len(truth))
