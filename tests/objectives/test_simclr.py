"""SimCLR: parity, the loss of a constant output, and the least loss of two opposite images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_pair, unit_rows

from nesy_gedi.objectives import SimClr


def reference(z1: np.ndarray, z2: np.ndarray, temperature: float) -> float:
    n = len(z1)
    z = unit_rows(np.concatenate([z1, z2]))
    total = 0.0
    for a in range(2 * n):
        scores = {b: math.exp(z[a] @ z[b] / temperature) for b in range(2 * n) if b != a}
        total -= math.log(scores[(a + n) % (2 * n)] / sum(scores.values()))
    return total / (2 * n)


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_agrees_with_the_reference(n: int, temperature: float) -> None:
    pair = random_pair(n, 5)
    found = SimClr(temperature=temperature)(projection=pair).item()
    assert found == pytest.approx(reference(*arrays(pair), temperature), rel=1e-10)


@pytest.mark.parametrize("n", [2, 8])
def test_a_constant_output_costs_log_of_all_others(n: int) -> None:
    outputs = constant_outputs(SimClr(), torch.randn(5, dtype=torch.float64), n)
    assert SimClr()(**outputs).item() == pytest.approx(math.log(2 * n - 1))


def test_the_optimum_of_two_images_has_opposite_embeddings() -> None:
    z = torch.tensor([[3.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    best = math.log(1 + 2 * math.exp(-2 / 0.2))
    assert SimClr()(projection=(z, z)).item() == pytest.approx(best, rel=1e-6)
    assert all(SimClr()(projection=random_pair(2, 2)).item() > best for _ in range(20))


def test_lengths_do_not_matter() -> None:
    first, second = random_pair(6, 4)
    scaled = first * torch.rand(6, 1, dtype=torch.float64).add(0.1)
    torch.testing.assert_close(SimClr()(projection=(scaled, second)), SimClr()(projection=(first, second)))
