"""CISSL: parity, its lower bound, and the loss of a constant output."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_outputs, unit_rows

from nesy_gedi.objectives import Cissl


def reference(student: tuple, teacher: tuple, temperature: float) -> float:
    s, t = unit_rows(np.concatenate(student)), unit_rows(np.concatenate(teacher))
    m = len(s)
    total = 0.0
    for a in range(m):
        scores = [math.exp(s[a] @ t[b] / temperature) for b in range(m)]
        for positive in (a, (a + m // 2) % m):
            total -= 0.5 * math.log(scores[positive] / sum(scores))
    return total / m


@pytest.mark.parametrize("n", [2, 6])
def test_agrees_with_the_reference(n: int) -> None:
    outputs = random_outputs(Cissl(), n)
    expected = reference(arrays(outputs["student"]), arrays(outputs["projection"]), 0.07)
    assert Cissl()(**outputs).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [2, 8])
def test_a_constant_output_costs_log_of_all(n: int) -> None:
    outputs = constant_outputs(Cissl(), torch.randn(5, dtype=torch.float64), n)
    assert Cissl()(**outputs).item() == pytest.approx(math.log(2 * n))


def test_the_optimum_of_two_images_is_just_above_log_two() -> None:
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    found = Cissl(temperature=0.5)(projection=(z, z), student=(z, z)).item()
    assert found == pytest.approx(math.log(2) + math.log(1 + math.exp(-4)))


def test_the_heads_are_not_exchangeable() -> None:
    outputs = random_outputs(Cissl())
    other = Cissl()(projection=outputs["student"], student=outputs["projection"])
    assert abs(other.item() - Cissl()(**outputs).item()) > 1e-6
