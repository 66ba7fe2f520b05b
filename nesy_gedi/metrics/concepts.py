"""Do the symbols mean what they should?"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def contingency(truth: Tensor, predicted: Tensor, classes: int, clusters: int) -> Tensor:
    """Counts of shape (classes, clusters): rows are true classes, columns predicted clusters."""
    return torch.bincount(truth * clusters + predicted, minlength=classes * clusters).view(classes, clusters)


def confusion_matrix(truth: Tensor, predicted: Tensor, symbols: int) -> Tensor:
    """Counts of shape (symbols, symbols): rows are true symbols, columns predicted ones."""
    return contingency(truth, predicted, symbols, symbols)


def concept_accuracy(confusion: Tensor) -> float:
    """Share of images whose predicted symbol is the true one. Never aligned; 1 is best."""
    return float(confusion.diagonal().sum()) / max(1, int(confusion.sum()))


def best_alignment(confusion: Tensor) -> Tensor:
    """The one-to-one renaming of predicted symbols under which most are right (Kuhn, "The Hungarian Method", 1955).

    Args:
        confusion: (symbols, symbols), or (classes, clusters) of unequal numbers: only the smaller is then matched.

    Returns:
        (clusters,) int64: the true symbol that each predicted symbol is renamed to; -1 for clusters left over.
    """
    rows, columns = linear_sum_assignment(confusion.numpy(), maximize=True)
    renamed = torch.full((confusion.shape[1],), -1)
    renamed[torch.as_tensor(columns)] = torch.as_tensor(rows)
    return renamed


def aligned_concept_accuracy(confusion: Tensor) -> float:
    """Accuracy after the best renaming. Far above :func:`concept_accuracy` means a bijective reasoning shortcut.

    Args:
        confusion: as for :func:`best_alignment`; samples of clusters left over are wrong.
    """
    renamed = best_alignment(confusion)
    matched = (renamed >= 0).nonzero()[:, 0]
    right = confusion[renamed[matched], matched].sum()
    return float(right) / max(1, int(confusion.sum()))
