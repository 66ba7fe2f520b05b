"""Agreement of two partitions, whatever their names."""

from __future__ import annotations

from torch import Tensor


def adjusted_mutual_information(truth: Tensor, predicted: Tensor) -> float:
    """AMI of two labellings (n,), corrected for chance: about 0 for a random one, 1 for the same partition."""
    from sklearn.metrics import adjusted_mutual_info_score  # takes over a second to import

    return float(adjusted_mutual_info_score(truth.cpu().numpy(), predicted.cpu().numpy()))
