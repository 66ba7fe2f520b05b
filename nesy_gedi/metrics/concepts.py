"""Do the symbols mean what they should?"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def confusion_matrix(truth: Tensor, predicted: Tensor, symbols: int) -> Tensor:
    """Counts of shape (symbols, symbols): rows are true symbols, columns predicted ones."""
    return torch.bincount(truth * symbols + predicted, minlength=symbols * symbols).view(symbols, symbols)


def concept_accuracy(confusion: Tensor) -> float:
    """Share of images whose predicted symbol is the true one. Never aligned; 1 is best."""
    return float(confusion.diagonal().sum()) / max(1, int(confusion.sum()))


def best_alignment(confusion: Tensor) -> Tensor:
    """The one-to-one renaming of predicted symbols under which most are right (Kuhn, "The Hungarian Method", 1955).

    Returns:
        (symbols,) int64: the true symbol that each predicted symbol is renamed to.
    """
    rows, columns = linear_sum_assignment(confusion.numpy(), maximize=True)
    renamed = torch.empty(len(rows), dtype=torch.long)
    renamed[torch.as_tensor(columns)] = torch.as_tensor(rows)
    return renamed


def aligned_concept_accuracy(confusion: Tensor) -> float:
    """Accuracy after the best renaming. Far above :func:`concept_accuracy` means a bijective reasoning shortcut."""
    renamed = best_alignment(confusion)
    right = confusion[renamed, torch.arange(len(renamed))].sum()
    return float(right) / max(1, int(confusion.sum()))
