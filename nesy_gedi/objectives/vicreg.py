"""VICReg: variance, invariance and covariance of the embeddings (Bardes, Ponce and LeCun)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import off_diagonal

TARGET_DEVIATION = 1.0
"""γ: the standard deviation that each dimension should reach."""

SMALLEST_VARIANCE = 1e-4
"""ε: added to a variance before its root, which bounds the gradient."""


def variance_hinge(embeddings: Tensor) -> Tensor:
    """v(Z) = (1/d) Σ_j max(0, γ - √(Var_j + ε)) with the unbiased variance over the batch: (n, d) -> scalar."""
    deviation = (embeddings.var(0) + SMALLEST_VARIANCE).sqrt()
    return functional.relu(TARGET_DEVIATION - deviation).mean()


def covariance_penalty(embeddings: Tensor) -> Tensor:
    """c(Z) = (1/d) Σ_{j≠k} Cov_jk² with Cov over the batch, divided by n - 1: (n, d) -> scalar."""
    n, d = embeddings.shape
    centred = embeddings - embeddings.mean(0)
    return off_diagonal(centred.T @ centred / (n - 1)).square().sum() / d


class VicReg(Objective):
    """L = λ MSE(Z, Z') + μ ½ [v(Z) + v(Z')] + ν [c(Z) + c(Z')].

    Source: Bardes, Ponce and LeCun, "VICReg: Variance-invariance-covariance regularization for self-supervised
    learning", ICLR 2022, arXiv 2105.04906, equations 1 to 6, scaled as in the released code: the squared error is a
    mean over images and dimensions, and v the mean of both views (the paper: summed over dimensions, and the sum).

    Takes ``projection``: (n, d), used as it is. No cluster distribution.

    Optimum: 0, when views agree, dimensions are uncorrelated and deviate by at least γ = 1.

    Collapse: prevents that of the representation (a constant output costs .99 μ) and of dimensions; clusters are
    unknown to it.

    Args:
        invariance: λ; 25 in the paper.
        variance: μ; 25 in the paper.
        covariance: ν; 1 in the paper.

    Raises:
        UsageError: a negative weight.
    """

    name: ClassVar[str] = "vicreg"

    def __init__(self, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        check_number(self.name, "invariance", invariance, minimum=0.0)
        check_number(self.name, "variance", variance, minimum=0.0)
        check_number(self.name, "covariance", covariance, minimum=0.0)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance

    def _terms(self, projection: Pair) -> dict[str, Tensor]:
        first, second = projection
        return {
            "invariance": self.invariance * functional.mse_loss(first, second),
            "variance": self.variance * (variance_hinge(first) + variance_hinge(second)) / 2,
            "covariance": self.covariance * (covariance_penalty(first) + covariance_penalty(second)),
        }
