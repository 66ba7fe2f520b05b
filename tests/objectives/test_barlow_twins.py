"""Barlow Twins: parity, and what it costs to agree on a constant or on equal dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_pair

from nesy_gedi.objectives import BarlowTwins

BALANCED = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
"""Two uncorrelated dimensions."""


def reference(z1: np.ndarray, z2: np.ndarray, weight: float) -> float:
    z1, z2 = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z1, z2))
    n, d = z1.shape
    total = 0.0
    for j in range(d):
        for k in range(d):
            c = sum(z1[i, j] * z2[i, k] for i in range(n)) / n
            total += (c - 1) ** 2 if j == k else weight * c**2
    return total


def test_agrees_with_the_reference() -> None:
    pair = random_pair(9, 5)
    assert BarlowTwins(redundancy=0.3)(projection=pair).item() == pytest.approx(reference(*arrays(pair), 0.3))


def test_the_optimum_is_zero_with_uncorrelated_dimensions_on_which_views_agree() -> None:
    assert BarlowTwins()(projection=(BALANCED, BALANCED)).item() == pytest.approx(0.0, abs=1e-8)


def test_place_and_scale_of_each_dimension_do_not_matter() -> None:
    moved = BALANCED * torch.tensor([5.0, 30.0]) + torch.tensor([-7.0, 100.0])
    assert BarlowTwins()(projection=(moved, BALANCED)).item() == pytest.approx(0.0, abs=1e-8)


def test_a_constant_output_costs_one_for_each_dimension() -> None:
    outputs = constant_outputs(BarlowTwins(), torch.randn(6, dtype=torch.float64))
    assert BarlowTwins()(**outputs).item() == pytest.approx(6.0)


def test_equal_dimensions_cost_the_redundancy_of_each_pair() -> None:
    z = BALANCED[:, :1].repeat(1, 6)
    assert BarlowTwins()(projection=(z, z)).item() == pytest.approx(5e-3 * 6 * 5, rel=1e-3)
