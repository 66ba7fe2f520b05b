"""DISSL: parity, the optimum, and the cost of both constant outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_pair, softmax

from nesy_gedi.objectives import Dissl

C = 4


def reference(teacher: tuple, student: tuple) -> float:
    t, s = [softmax(z / 0.5) for z in teacher], [softmax(z) for z in student]
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        mean = t[a].mean(0)
        total -= (t[a] * np.log(s[b])).sum(1).mean()
        total += 2.3 * (mean * np.log(mean)).sum()
        total -= 0.8 * (t[a] * np.log(t[b])).sum(1).mean()
    return total / 2


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_reference(seed: int) -> None:
    torch.manual_seed(seed)
    teacher, student = random_pair(7, C), random_pair(7, C)
    found = Dissl(C)(projection=teacher, student=student).item()
    assert found == pytest.approx(reference(arrays(teacher), arrays(student)), rel=1e-10)


def test_the_optimum_is_certain_and_balanced() -> None:
    z = 500.0 * torch.eye(C, dtype=torch.float64)
    assert Dissl(C)(projection=(z, z), student=(z, z)).item() == pytest.approx(-2.3 * math.log(C))


def test_both_constant_outputs_cost_more_than_the_optimum() -> None:
    uniform = torch.zeros(C, dtype=torch.float64)
    certain = torch.tensor([500.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert Dissl(C)(**constant_outputs(Dissl(C), uniform)).item() == pytest.approx((1 + 0.8 - 2.3) * math.log(C))
    assert Dissl(C)(**constant_outputs(Dissl(C), certain)).item() == pytest.approx(0.0, abs=1e-12)


def test_log_probabilities_are_the_teachers() -> None:
    z = torch.randn(5, C, dtype=torch.float64)
    np.testing.assert_allclose(Dissl(C).log_probabilities(z).exp().numpy(), softmax(z.numpy() / 0.5), rtol=1e-12)
