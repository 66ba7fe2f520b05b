"""Barlow Twins: the views' cross-correlation should be the identity (Zbontar et al.)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import off_diagonal

SMALLEST_VARIANCE = 1e-5
"""Added to a variance before dividing by its root, as batch norm does."""


def standardise(embeddings: Tensor) -> Tensor:
    """(z - mean) / √(variance + 1e-5) over the batch, for each dimension: (n, d) -> (n, d); a constant becomes zero."""
    centred = embeddings - embeddings.mean(0)
    return centred * (centred.square().mean(0) + SMALLEST_VARIANCE).rsqrt()


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """C_jk = (1/n) Σ_i z_ij z'_ik of standardised embeddings (n, d): (d, d), entries in [-1, 1]."""
    return standardise(first).T @ standardise(second) / len(first)


class BarlowTwins(Objective):
    """L = Σ_j (C_jj - 1)² + λ Σ_{j≠k} C_jk², C the cross-correlation of the two views over the batch.

    Source: Zbontar et al., "Barlow Twins: Self-supervised learning via redundancy reduction", ICML 2021, arXiv
    2103.03230, equations 1 and 2.

    Takes ``projection``: (n, d), standardised here. No cluster distribution. The identity is within reach only for n > d.

    Optimum: 0, when views agree and dimensions are uncorrelated.

    Collapse: prevents that of the representation (a constant output costs d) and of dimensions (equal dimensions cost
    λ d (d - 1)); clusters are unknown to it.

    Args:
        redundancy: λ; 5e-3 in the paper.

    Raises:
        UsageError: a negative weight.
    """

    name: ClassVar[str] = "barlow_twins"

    def __init__(self, *, redundancy: float = 5e-3) -> None:
        super().__init__()
        check_number(self.name, "redundancy", redundancy, minimum=0.0)
        self.redundancy = redundancy

    def _terms(self, projection: Pair) -> dict[str, Tensor]:
        correlation = cross_correlation(*projection)
        return {
            "invariance": (correlation.diagonal() - 1.0).square().sum(),
            "redundancy": self.redundancy * off_diagonal(correlation).square().sum(),
        }
