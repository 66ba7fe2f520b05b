"""How near are features to ideal ones, from which every symbol can be read linearly? Needs labels.

Ideal representations of K classes are invariant to augmentation, span at least K - 1 dimensions, and make every
classification that is invariant linearly predictable (Dubois et al., NeurIPS 2022, arXiv 2209.06235). The paper proves
the properties; the measures of them below are defined here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.checks import finite_matrix, finite_views, whole_numbers
from nesy_gedi.metrics.collapse import effective_rank, variance_shares
from nesy_gedi.metrics.probes import linear_probe


def linear_predictability(features: Tensor, labels: Tensor) -> float:
    """Accuracy of :func:`~nesy_gedi.metrics.probes.linear_probe` on every second sample of a class, trained on the rest.

    Args:
        features: (n, d).
        labels: (n,) integers; at least two classes and two samples of each.

    Raises:
        DataError: wrong shapes, features that are not finite, a single class, or a class with a single sample.
    """
    values, members = _labelled(features, labels)
    if int(members.bincount().min()) < 2:
        raise DataError(
            "a class has a single sample, expected at least two: one to train on and one to test",
            hint="add samples of that class, or leave it out",
        )
    order = members.argsort(stable=True)
    first = torch.cat([torch.zeros(1, dtype=torch.long), members.bincount().cumsum(0)[:-1]])
    held_out = torch.zeros(len(members), dtype=torch.bool)
    held_out[order] = (torch.arange(len(members)) - first[members[order]]) % 2 == 1
    return linear_probe(values[~held_out], members[~held_out], values[held_out], members[held_out])


def invariance_ratio(embeddings: Tensor) -> float:
    """Mean squared distance between two views of one sample, over that between views of two different samples.

    0 is invariant to the augmentation; at 1 views of a sample are no nearer than those of others, as for embeddings
    that are all equal.

    Args:
        embeddings: (n, views, d), two views or more.
    """
    values = finite_views(embeddings, least=2)
    values = values / values.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # no overflow in the squares
    values = values - values[0, 0]  # equal embeddings become exactly 0
    n, views, _ = values.shape
    # The sum of squared distances over all ordered pairs of m points is 2m times that of deviations from their mean.
    same = 2 * views * float((values - values.mean(1, keepdim=True)).square().sum())
    every = 2 * n * views * float((values - values.mean((0, 1))).square().sum())
    if every == 0:
        return 1.0
    across = (every - same) / (n * (n - 1) * views**2)
    return same / (n * views * (views - 1)) / across


def dimension_ratio(features: Tensor, classes: int) -> float:
    """Effective rank of the centred features over K - 1, which ideal features of K classes reach: at least 1 is good.

    Args:
        features: (n, d).
        classes: K, at least 2.
    """
    if classes < 2:
        raise DataError(
            f"ideal features are defined for two classes or more, found {classes}",
            hint="give the number of classes that should be told apart",
        )
    return effective_rank(variance_shares(features)) / (classes - 1)


def nc1(features: Tensor, labels: Tensor) -> float:
    """Variability collapse Tr(Σ_W Σ_B⁺) / K (Papyan, Han & Donoho, PNAS 2020): 0 when every class is one point.

    With class means μ_k, and μ the mean of the μ_k: Σ_W = (1/n) Σ_i (h_i - μ_{y_i})(h_i - μ_{y_i})ᵀ over samples and
    Σ_B = (1/K) Σ_k (μ_k - μ)(μ_k - μ)ᵀ over classes, each class with the same weight; ⁺ is the pseudo-inverse, at most
    K - 1 directions of which count. For balanced classes this is the definition of the paper.

    Args:
        features: (n, d).
        labels: (n,) integers of two classes or more, K of them present.

    Returns:
        From 0, whatever the scale, rotation and shift of the features; infinity when all classes have the same mean.
    """
    values, members = _labelled(features, labels)
    counts = members.bincount()
    values = values / values.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # no overflow in the squares
    means = torch.zeros(len(counts), values.shape[1], dtype=torch.float64).index_add_(0, members, values)
    means /= counts[:, None]
    between = means - means.mean(0)
    _, singular, directions = torch.linalg.svd(between, full_matrices=False)
    # What rounding of the means alone explains is no direction: the K centred means span K - 1 at most.
    floor = max(between.shape) * torch.finfo(torch.float64).eps * max(float(singular[0]), float(means.abs().max()))
    kept = (singular > floor).nonzero()[:, 0]
    if len(kept) == 0:
        return math.inf
    projected = (values - means[members]) @ directions[kept].T / singular[kept]
    return float(projected.square().sum(1).mean())


def _labelled(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d) in float64 and labels (n,) renumbered from 0 without gaps."""
    values = finite_matrix(features)
    members = whole_numbers(labels, (len(values),), None, "labels").unique(return_inverse=True)[1]
    if int(members.max()) == 0:
        raise DataError(
            f"all labels are {int(labels[0])}, expected two classes or more", hint="measure on samples of more classes"
        )
    return values, members
