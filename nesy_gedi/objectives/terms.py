"""Pieces that several objectives share, each a pure function with its equation.

n rows (images), c clusters, d dimensions; p probabilities, p̄ their mean over the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_NORM = 1e-6
"""Shorter rows are divided by this instead, which bounds the gradient at a row of zeros."""


def cross_entropy(log_target: Tensor, log_p: Tensor) -> Tensor:
    """-(1/n) Σ_i Σ_j t_ij log p_ij, in nats; gradient through both.

    Args:
        log_target: (n, c) log-probabilities t.
        log_p: (n, c) log-probabilities p.

    Returns:
        Scalar in [0, ∞]; 0 when all rows are one-hot and agree.
    """
    # Where t is exactly zero the product is zero, even if p is too.
    return -(log_target.exp() * log_p.masked_fill(log_target == -torch.inf, 0.0)).sum(1).mean()


def swapped_cross_entropy(log_targets: tuple[Tensor, Tensor], log_p: tuple[Tensor, Tensor]) -> Tensor:
    """½ [CE(t1, p2) + CE(t2, p1)]: each view's target predicted from the other view; gradient through all four.

    Args:
        log_targets: (n, c) log-probabilities t of either view.
        log_p: (n, c) log-probabilities p of either view.
    """
    return (cross_entropy(log_targets[0], log_p[1]) + cross_entropy(log_targets[1], log_p[0])) / 2


def symmetric_cross_entropy(log_p1: Tensor, log_p2: Tensor) -> Tensor:
    """½ [CE(p1, p2) + CE(p2, p1)] of two views' (n, c) log-probabilities; 0 when both agree on one cluster for certain.

    The same whichever comes first, but for the rounding of gradients.
    """
    return swapped_cross_entropy((log_p1, log_p2), (log_p1, log_p2))


def log_marginal(log_p: Tensor) -> Tensor:
    """log p̄_j = logsumexp_i log p_ij - log n: (n, c) -> (c,), exact where p̄_j itself would be zero."""
    # The gradient of logsumexp is not a number where all its entries are -inf.
    dead = (log_p == -torch.inf).all(0)
    marginal = torch.logsumexp(log_p.masked_fill(dead, 0.0), 0) - math.log(len(log_p))
    return marginal.masked_fill(dead, -torch.inf)


def entropy(log_p: Tensor) -> Tensor:
    """-Σ_j p_j log p_j in nats, over the last dimension: (..., c) -> (...)."""
    return -(log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0.0)).sum(-1)


def forward_prior(log_p: Tensor, prior: Tensor) -> Tensor:
    """-Σ_j π_j log p̄_j, the cross-entropy of the prior and the batch: a dead cluster costs and is pulled back.

    Args:
        log_p: (n, c) log-probabilities.
        prior: (c,) probabilities π; zeros are allowed.

    Returns:
        Scalar, at least the entropy of π; equal to it when p̄ = π.
    """
    return -(prior * log_marginal(log_p).masked_fill(prior == 0.0, 0.0)).sum()


def balance(log_p1: Tensor, log_p2: Tensor, prior: Tensor) -> Tensor:
    """PRIOR = -½ Σ_v Σ_j π_j log p̄_vj of two (n, c) log-probabilities and a prior π (c,).

    Averaged over the views v rather than taken of both stacked: each view is a sample of the data with a bound of its
    own, and by Jensen's inequality the average is the larger, so both views must be balanced.
    """
    return (forward_prior(log_p1, prior) + forward_prior(log_p2, prior)) / 2


def reverse_prior(log_p: Tensor) -> Tensor:
    """KL(p̄ ‖ U) = Σ_j p̄_j log(c p̄_j) for (n, c) log-probabilities: 0 when balanced, log c when all in one cluster.

    Finite whatever c is, but with almost no gradient for a dead cluster.
    """
    return math.log(log_p.shape[1]) - entropy(log_marginal(log_p))


def unit(rows: Tensor) -> Tensor:
    """Rows (n, d) of length one; a row of zeros stays zero."""
    return functional.normalize(rows, dim=1, eps=SMALLEST_NORM)


def mean_cosine(first: Tensor, second: Tensor) -> Tensor:
    """(1/n) Σ_i cos(a_i, b_i) for two (n, d); scalar in [-1, 1]."""
    return (unit(first) * unit(second)).sum(1).mean()


def similarities(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """cos(a_i, b_k) / T for (n, d) and (m, d): (n, m) logits."""
    return unit(first) @ unit(second).T / temperature


def off_diagonal(matrix: Tensor) -> Tensor:
    """All entries of a square matrix but its diagonal: (d, d) -> (d (d - 1),)."""
    d = len(matrix)
    # Without its first entry, the flat matrix has the diagonal at the end of each of d - 1 rows of d + 1.
    return matrix.flatten()[1:].view(d - 1, d + 1)[:, :-1].flatten() if d > 1 else matrix.new_zeros(0)


def cosine_momentum(start: float, progress: float) -> float:
    """1 - (1 - start) (1 + cos(π progress)) / 2: from ``start`` at 0 to one at 1."""
    return 1.0 - (1.0 - start) * (1.0 + math.cos(math.pi * progress)) / 2.0
