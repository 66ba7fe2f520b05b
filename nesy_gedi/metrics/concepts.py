"""Do the symbols mean what they should?"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nesy_gedi.metrics.detection import auroc

USED = 0.1
"""A symbol is in use when it is seen at least this many times as often as the rarest symbol occurs."""

ABSENT = 0.5
"""Images that a symbol counts for which never occurs, so that its divergence is finite."""


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


def concept_gap(confusion: Tensor) -> float:
    """Aligned minus raw accuracy: what renaming symbols would gain. Large for a bijective reasoning shortcut."""
    return aligned_concept_accuracy(confusion) - concept_accuracy(confusion)


def concept_collapse(confusion: Tensor) -> float:
    """How many of the symbols are not told apart any more, 1 - used / possible ("Cls"); 0 is best.

    Possible are the symbols that occur. A symbol is used when it is seen at least ``USED`` times as often as the rarest
    of them occurs, so that a few mistakes do not hide that a symbol is lost.

    Args:
        confusion: (symbols, symbols), rows true.
    """
    occurs, seen = confusion.sum(1), confusion.sum(0)
    possible = occurs[occurs > 0]
    if not len(possible):
        return 0.0
    used = int((seen >= USED * possible.min()).sum())
    return max(0.0, 1.0 - used / len(possible))


def empirical_map(confusion: Tensor) -> tuple[Tensor, Tensor]:
    """What each true symbol is taken for: the map that a reasoning shortcut is read from.

    Args:
        confusion: (symbols, symbols), rows true.

    Returns:
        For each true symbol the one seen most often, (symbols,) int64, -1 where it does not occur; and the share of its
        images that are seen so, (symbols,), 0 where it does not occur.
    """
    most, seen_as = confusion.max(1)
    occurs = confusion.sum(1)
    return seen_as.masked_fill(occurs == 0, -1), most.double() / occurs.clamp(min=1)


def concept_entropy(probabilities: Tensor) -> Tensor:
    """Entropy H(C|x) of each row in nats, (n,); 0 is certain, log K no idea.

    Args:
        probabilities: (n, K), rows normalised.
    """
    entropy: Tensor = torch.special.entr(probabilities.double()).sum(1)
    return entropy


def error_auroc(probabilities: Tensor, truth: Tensor) -> float | None:
    """How often a wrong symbol is less certain than a right one: AUROC of the entropy; 1 is best, 0.5 is chance.

    Near chance, wrong symbols are seen as certainly as right ones, as reasoning shortcuts are.

    Args:
        probabilities: (n, K), rows normalised.
        truth: (n,) int64.

    Returns:
        None where all symbols are right, or all wrong.
    """
    right = probabilities.argmax(1) == truth
    if bool(right.all()) or not bool(right.any()):
        return None
    certainty = -concept_entropy(probabilities)
    return auroc(certainty[right], certainty[~right])


def marginal_divergence(probabilities: Tensor, truth: Tensor) -> float:
    """KL divergence in nats of the mean distribution from how often the symbols truly occur; 0 is best.

    Args:
        probabilities: (n, K), rows normalised.
        truth: (n,) int64; a symbol that never occurs counts for ``ABSENT`` images.
    """
    counts = truth.bincount(minlength=probabilities.shape[1]).double().clamp(min=ABSENT)
    marginal = probabilities.double().mean(0)
    return max(0.0, float(torch.special.xlogy(marginal, marginal * counts.sum() / counts).sum()))
