"""Has a clustering collapsed? Diagnostics of soft assignments, given as log-probabilities (n, c), that need no label.

Sums are taken in float64, whatever the type of the input. All functions raise ``DistributionError`` on
log-probabilities of another shape, with NaN, or whose rows do not sum to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.checks import ROW_SUM_TOLERANCE, log_distributions, whole_numbers


def marginal_entropy(log_probabilities: Tensor) -> float:
    """H(p̄)/log c of the mean distribution p̄ over c clusters, from (n, c): 0 is one cluster, 1 balanced."""
    marginal = _marginal(log_distributions(log_probabilities))
    return float(torch.special.entr(marginal).sum()) / math.log(len(marginal))


def prior_divergence(log_probabilities: Tensor, prior: Tensor | None = None) -> float:
    """KL(p̄‖π) in nats: how far the sizes of the clusters are from those expected.

    Args:
        log_probabilities: (n, c).
        prior: π (c,), positive probabilities; uniform if None.

    Raises:
        DataError: a prior of another length, not positive, or with another sum than 1.
    """
    marginal = _marginal(log_distributions(log_probabilities))
    c = len(marginal)
    expected = torch.full((c,), 1 / c, dtype=torch.float64) if prior is None else prior.detach().cpu().double()
    total = float(expected.sum())
    if tuple(expected.shape) != (c,) or not bool((expected > 0).all()) or not abs(total - 1) <= ROW_SUM_TOLERANCE:
        raise DataError(
            f"the prior must be {c} positive probabilities that sum to 1, found {expected.tolist()[:20]}",
            hint="divide it by its sum, or leave it out for clusters of equal size",
        )
    divergence = torch.special.xlogy(marginal, marginal * total / expected).sum()
    return max(0.0, float(divergence))


def code_usage(log_probabilities: Tensor) -> float:
    """Share of the clusters that are the most probable one of at least one sample.

    Of (n, c): out of min(n, c), since n samples cannot use more than n codes.
    """
    probabilities = log_distributions(log_probabilities)
    return len(probabilities.argmax(1).unique()) / min(probabilities.shape)


def mutual_information(log_probabilities: Tensor) -> float:
    """H(p̄) - E H(p), what the cluster says of the sample, in nats from (n, c): 0 is nothing, log c confident and balanced."""
    probabilities = log_distributions(log_probabilities)
    conditional = float(torch.special.entr(probabilities).sum(dtype=torch.float64)) / len(probabilities)
    return max(0.0, float(torch.special.entr(_marginal(probabilities)).sum()) - conditional)


def confidence(log_probabilities: Tensor) -> float:
    """Mean probability of the most probable cluster, from (n, c): 1/c is undecided, 1 certain."""
    return float(log_distributions(log_probabilities).amax(1).mean(dtype=torch.float64))


def _marginal(probabilities: Tensor) -> Tensor:
    """p̄ (c,) in float64."""
    return probabilities.sum(0, dtype=torch.float64) / len(probabilities)


def neighbour_agreement(neighbours: Tensor, clusters: Tensor) -> float:
    """Share of pairs of a sample and one of its nearest neighbours that fall in the same cluster.

    Clusters of content agree with neighbours; confident and balanced clusters that do not are clusters of style. Take
    the neighbours from features learned without these clusters: their own features agree with them a little more.
    Clusters that merge two dense regions, or halve one along a thin place, agree with neighbours all the same.

    Args:
        neighbours: (n, k) indices of samples; a sample that is listed as its own neighbour is not counted.
        clusters: (n,) integers.
    """
    if neighbours.dim() != 2 or neighbours.numel() == 0:
        raise DataError(
            f"neighbours have shape {tuple(neighbours.shape)}, expected (n, k)",
            hint="find them with nesy_gedi.data.nearest_neighbours",
        )
    n = len(neighbours)
    members = whole_numbers(clusters, (n,), None, "clusters")
    indices = whole_numbers(neighbours, tuple(neighbours.shape), n, "neighbours")
    others = indices != torch.arange(n)[:, None]
    pairs = int(others.sum())
    if pairs == 0:
        raise DataError("every sample is its only neighbour", hint="leave the sample itself out of its neighbours")
    return int(((members[indices] == members[:, None]) & others).sum()) / pairs
