"""SimSiam: parity, the optimum, and the collapse that its loss does not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_outputs, unit_rows

from nesy_gedi.objectives import SimSiam


def test_agrees_with_the_reference() -> None:
    outputs = random_outputs(SimSiam(), n=7)
    p1, p2 = (unit_rows(z) for z in arrays(outputs["prediction"]))
    z1, z2 = (unit_rows(z) for z in arrays(outputs["projection"]))
    expected = -np.mean((p1 * z2).sum(1) + (p2 * z1).sum(1)) / 2
    assert SimSiam()(**outputs).item() == pytest.approx(expected, rel=1e-10)


def test_the_loss_is_minus_one_when_predictions_have_the_other_views_direction() -> None:
    first, second = random_outputs(SimSiam())["projection"]
    found = SimSiam()(prediction=(3 * second, 2 * first), projection=(first, second)).item()
    assert found == pytest.approx(-1.0)


def test_a_constant_output_has_the_least_loss() -> None:
    outputs = constant_outputs(SimSiam(), torch.randn(5, dtype=torch.float64))
    assert SimSiam()(**outputs).item() == pytest.approx(-1.0)
