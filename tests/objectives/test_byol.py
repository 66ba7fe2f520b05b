"""BYOL: parity, the optimum, and the collapse that its loss does not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_outputs, unit_rows

from nesy_gedi.objectives import Byol


def test_agrees_with_the_reference() -> None:
    outputs = random_outputs(Byol(), n=7)
    p1, p2 = (unit_rows(z) for z in arrays(outputs["prediction"]))
    t1, t2 = (unit_rows(z) for z in arrays(outputs["momentum"]))
    expected = np.mean(((p1 - t2) ** 2).sum(1) + ((p2 - t1) ** 2).sum(1))
    assert Byol()(**outputs).item() == pytest.approx(expected, rel=1e-10)


def test_the_loss_is_zero_when_predictions_have_the_other_views_direction_and_eight_when_opposite() -> None:
    first, second = random_outputs(Byol())["momentum"]
    assert Byol()(prediction=(3 * second, 2 * first), momentum=(first, second)).item() == pytest.approx(0, abs=1e-12)
    assert Byol()(prediction=(-second, -first), momentum=(first, second)).item() == pytest.approx(8)


def test_a_constant_output_costs_nothing() -> None:
    outputs = constant_outputs(Byol(), torch.randn(5, dtype=torch.float64))
    assert Byol()(**outputs).item() == pytest.approx(0.0, abs=1e-12)
