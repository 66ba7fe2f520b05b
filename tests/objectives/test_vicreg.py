"""VICReg: parity of each term, the optimum, and the cost of each collapse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_pair

from nesy_gedi.objectives import VicReg

BALANCED = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
"""Two uncorrelated dimensions, deviation √(4/3) by n - 1."""


def reference(z1: np.ndarray, z2: np.ndarray) -> dict[str, float]:
    d = z1.shape[1]
    hinge = covariance = 0.0
    for z in (z1, z2):
        hinge += np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
        c = np.cov(z.T)
        covariance += ((c**2).sum() - (np.diag(c) ** 2).sum()) / d
    return {"invariance": 25 * ((z1 - z2) ** 2).mean(), "variance": 25 * hinge / 2, "covariance": covariance}


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_agrees_with_the_reference(scale: float) -> None:
    pair = random_pair(9, 5, scale)
    found = {name: term.item() for name, term in VicReg().terms(projection=pair).items()}
    assert found == pytest.approx(reference(*arrays(pair)))


def test_the_optimum_is_zero_with_wide_uncorrelated_dimensions_on_which_views_agree() -> None:
    assert VicReg()(projection=(BALANCED, BALANCED)).item() == 0.0


def test_a_constant_output_costs_nearly_the_weight_of_the_variance() -> None:
    outputs = constant_outputs(VicReg(), torch.randn(6, dtype=torch.float64))
    assert VicReg()(**outputs).item() == pytest.approx(25 * 0.99)


def test_equal_dimensions_cost_their_covariance() -> None:
    z = BALANCED[:, :1].repeat(1, 3)
    assert VicReg()(projection=(z, z)).item() == pytest.approx(2 * 3 * 2 * (4 / 3) ** 2 / 3)
