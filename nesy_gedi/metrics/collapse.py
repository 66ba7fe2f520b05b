"""Has an encoder or a clustering collapsed? Diagnostics of features that need no label, and all of them in one call.

Complete collapse (all embeddings are one point) shows in :func:`stability` and :func:`embedding_std`, dimensional
collapse (few directions) in :func:`effective_rank` and :func:`participation_ratio`, intracluster collapse in
:func:`intracluster_variance`; those of clusters are in :mod:`nesy_gedi.metrics.assignments`. What good and bad values
look like is written in :mod:`nesy_gedi.metrics.symptoms`.

Sums are taken in float64, whatever the type of the input. All functions raise ``DataError`` on wrong shapes and on
values that are not finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.assignments import (
    code_usage,
    confidence,
    marginal_entropy,
    mutual_information,
    neighbour_agreement,
    prior_divergence,
)
from nesy_gedi.metrics.checks import finite_matrix, finite_views, log_distributions, whole_numbers


class Stability(NamedTuple):
    """Where the squared length of unit embeddings goes; the three parts sum to 1."""

    center: float
    """What all samples share; 1 is complete collapse."""
    residual: float
    """What tells samples apart; 1 is best."""
    noise: float
    """What tells the views of one sample apart; 0 is best."""


def stability(embeddings: Tensor) -> Stability:
    """Center, residual and noise of the common stability mechanism of self-supervised learning (arXiv 2402.14957).

    With unit embeddings g_ia of sample i and view a, their means μ_i over views and s over all: ‖s‖²,
    mean ‖μ_i - s‖² and mean ‖g_ia - μ_i‖².

    Args:
        embeddings: (n, views, d) of any length; they are normalised here. With a single view the noise is 0.
    """
    return _stability(_parts(embeddings))


def embedding_std(embeddings: Tensor, relative: bool = False) -> float:
    """Mean over dimensions of the standard deviation of unit embeddings (SimSiam, Chen & He, CVPR 2021).

    Args:
        embeddings: (n, views, d) of any length; all views count as samples.
        relative: in units of 1/√d, the largest possible value, instead of absolute: 0 is collapsed, 1 isotropic.
    """
    return _embedding_std(_parts(embeddings), relative)


class _Parts(NamedTuple):
    """Center, residual and noise of each dimension, (d,) each."""

    center: Tensor
    residual: Tensor
    noise: Tensor


def _parts(embeddings: Tensor) -> _Parts:
    unit = _unit(finite_views(embeddings))
    means = unit.mean(1)
    center = means.mean(0)
    noise = (unit - means[:, None]).square_().mean((0, 1))
    return _Parts(center.square(), (means - center).square_().mean(0), noise)


def _stability(parts: _Parts) -> Stability:
    return Stability(*(float(part.sum()) for part in parts))


def _embedding_std(parts: _Parts, relative: bool) -> float:
    std = float((parts.residual + parts.noise).sqrt().mean())
    return std * math.sqrt(len(parts.center)) if relative else std


def _unit(embeddings: Tensor) -> Tensor:
    """Vectors of length one. Zero has no direction and is given (1, ..., 1)/√d: all zero is then complete collapse."""
    largest = float(embeddings.abs().max())
    unit = embeddings / (largest or 1.0)  # no overflow in the squares
    length: Tensor = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
    zero = length == 0
    if bool(zero.any()):
        unit += zero
        length = torch.where(zero, math.sqrt(unit.shape[-1]), length)
    return unit.div_(length)


def variance_shares(features: Tensor) -> Tensor:
    """Share of the variance that lies in each principal direction.

    Eigenvalues of the smaller of covariance and Gram matrix. What rounding alone explains, at the precision that the
    features came in, counts as exactly 0, so that rank-deficient features keep their rank.

    Args:
        features: (n, d).

    Returns:
        (min(n, d),) float64, descending, with sum 1; all 0 when the features are constant.
    """
    precision = torch.finfo(features.dtype).eps if features.is_floating_point() else 0.0
    values = finite_matrix(features)
    values = values / values.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # no overflow in the squares
    n, d = values.shape
    # Norm of a matrix of independent rounding errors: its largest singular value is about √n + √d times their size.
    rounding = precision * float(values.square().mean().sqrt()) * (math.sqrt(n) + math.sqrt(d))
    centred = _centred(values)
    gram = centred.T @ centred if d <= n else centred @ centred.T
    eigenvalues = torch.linalg.eigvalsh(gram).flip(0)
    floor = max(rounding**2, float(eigenvalues[0]) * max(n, d) * torch.finfo(torch.float64).eps)
    eigenvalues = torch.where(eigenvalues > floor, eigenvalues, 0.0)
    return eigenvalues / eigenvalues.sum() if float(eigenvalues[0]) > 0 else eigenvalues


def _centred(values: Tensor) -> Tensor:
    """(n, d) less their mean; exactly 0 for constant features, whose mean is rounded unless one of them is taken off."""
    shifted = values - values[0]
    return shifted - shifted.mean(0)


def effective_rank(shares: Tensor) -> float:
    """exp(-Σ p log p) of the normalised singular values p of centred features (Roy & Vetterli, 2007).

    Args:
        shares: from :func:`variance_shares`; singular values are proportional to their square roots.

    Returns:
        Between 1 (one direction) and min(n - 1, d) (all alike); 0 for constant features, which have no direction.
    """
    singular = shares.sqrt()
    total = float(singular.sum())
    return float(torch.special.entr(singular / total).sum().exp()) if total > 0 else 0.0


def participation_ratio(shares: Tensor) -> float:
    """(Σλ)² / Σλ² of the eigenvalues λ of the covariance: like :func:`effective_rank`, led by the largest directions.

    Args:
        shares: from :func:`variance_shares`.
    """
    squares = float(shares.square().sum())
    return float(shares.sum()) ** 2 / squares if squares > 0 else 0.0


def intracluster_variance(features: Tensor, clusters: Tensor) -> float:
    """Variance within clusters as a share of the total variance, summed over dimensions, both estimated without bias.

    0 is intracluster collapse: a cluster is one point. 1: the clusters say nothing of the features. Constant features
    have collapsed: 0. Where each sample has a cluster of its own nothing is known: NaN.

    Args:
        features: (n, d).
        clusters: (n,) integers.
    """
    values = finite_matrix(features)
    members = whole_numbers(clusters, (len(values),), None, "clusters").unique(return_inverse=True)[1]
    centred = _centred(values)
    total = float(centred.square().sum())
    if total == 0:
        return 0.0
    sizes = members.bincount()
    means = torch.zeros(len(sizes), values.shape[1], dtype=torch.float64).index_add_(0, members, centred)
    means /= sizes[:, None]
    n, k = len(values), len(sizes)
    within = float((centred - means[members]).square().sum())
    # Singletons have no variance: without the degrees of freedom many small clusters would look collapsed.
    return (within / (n - k)) / (total / (n - 1)) if n > k else math.nan


def diagnose(
    features: Tensor,
    views: Tensor | None = None,
    log_probabilities: Tensor | None = None,
    neighbours: Tensor | None = None,
    prior: Tensor | None = None,
) -> dict[str, float]:
    """All diagnostics that the arguments allow, by the keys of :data:`nesy_gedi.metrics.symptoms.DIAGNOSTICS`.

    Args:
        features: (n, d) of the encoder.
        views: (n, views, d') embeddings of views of the samples; without them no stability and no ``embedding_std``.
        log_probabilities: (n, c) over clusters; without them nothing about clusters.
        neighbours: (n, k) indices of nearest neighbours, for :func:`neighbour_agreement`; needs log_probabilities.
        prior: (c,) expected sizes of clusters; uniform if None.
    """
    n = len(features) if features.dim() else 0
    others = {"views": views, "log-probabilities": log_probabilities, "neighbours": neighbours}
    for name, other in others.items():
        if other is not None and (other.dim() == 0 or len(other) != n):
            raise DataError(
                f"{name} have shape {tuple(other.shape)}, expected one row for each of {n} features",
                hint="make all of them from the same samples, in the same order",
            )
    found: dict[str, float] = {}
    if views is not None:
        parts = _parts(views)
        found.update(_stability(parts)._asdict(), embedding_std=_embedding_std(parts, relative=True))
    shares = variance_shares(features)
    found.update(effective_rank=effective_rank(shares), participation_ratio=participation_ratio(shares))
    if log_probabilities is not None:
        clusters = log_distributions(log_probabilities).argmax(1)
        found.update(
            marginal_entropy=marginal_entropy(log_probabilities),
            code_usage=code_usage(log_probabilities),
            prior_divergence=prior_divergence(log_probabilities, prior),
            mutual_information=mutual_information(log_probabilities),
            confidence=confidence(log_probabilities),
        )
        if not math.isnan(within := intracluster_variance(features, clusters)):
            found["intracluster"] = within
        if neighbours is not None:
            found["neighbour_agreement"] = neighbour_agreement(neighbours, clusters)
    return found
