"""DINO: parity over steps with a moving centre, the schedule, and what the loss does not see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, random_outputs, random_pair, softmax

from nesy_gedi.objectives import Dino

C = 5


def reference(student: tuple, teacher: tuple, centre: np.ndarray, tau_t: float) -> float:
    t = [softmax((z - centre) / tau_t) for z in teacher]
    log_s = [np.log(softmax(z / 0.1)) for z in student]
    return -((t[0] * log_s[1]).sum(1).mean() + (t[1] * log_s[0]).sum(1).mean()) / 2


def test_agrees_with_the_reference_while_the_centre_moves() -> None:
    objective = Dino(C).double()
    centre = np.zeros(C)
    for step in range(4):
        progress = step / 10
        objective.schedule(progress)
        student, teacher = random_pair(6, C, 0.3), random_pair(6, C, 0.3)
        found = objective(projection=student, momentum=teacher).item()
        tau_t = 0.04 + 0.03 * min(1.0, progress / 0.3)
        assert found == pytest.approx(reference(arrays(student), arrays(teacher), centre, tau_t), rel=1e-9)
        centre = 0.9 * centre + 0.1 * np.concatenate(arrays(teacher)).mean(0)
        np.testing.assert_allclose(objective.centre.numpy(), centre, rtol=1e-12)


def test_the_centre_stays_in_evaluation() -> None:
    objective = Dino(C).eval()
    objective(**random_outputs(objective))
    assert not objective.centre.any()


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (1.0, 0.07)])
def test_the_teacher_warms_up_over_the_first_share_of_training(progress: float, expected: float) -> None:
    objective = Dino(C)
    objective.schedule(progress)
    assert objective.temperature_now == pytest.approx(expected)


def test_without_a_warm_up_the_teacher_has_its_last_temperature() -> None:
    assert Dino(C, warm_up=0.0).temperature_now == 0.07


def test_a_constant_certain_output_is_not_seen_until_the_centre_has_followed() -> None:
    objective = Dino(C)
    row = torch.tensor([[5.0, 0, 0, 0, 0]], dtype=torch.float64).repeat(4, 1)
    outputs = {"projection": (row, row), "momentum": (row, row)}
    assert objective(**outputs).item() == pytest.approx(0.0, abs=1e-12)
    for _ in range(200):
        objective(**outputs)
    # The target is uniform now, and the student's surprise at it that of a one-hot: (1 - 1/c) 5/τ_s.
    assert objective(**outputs).item() == pytest.approx(50 * (1 - 1 / C), rel=1e-4)


def test_the_optimum_is_zero_with_certain_equal_views() -> None:
    objective = Dino(C)
    z = 100.0 * torch.eye(C, dtype=torch.float64)
    assert objective(projection=(z, z), momentum=(z, z)).item() == pytest.approx(0.0, abs=1e-12)


def test_a_uniform_output_costs_log_c() -> None:
    objective = Dino(C)
    z = torch.zeros(4, C, dtype=torch.float64)
    assert objective(projection=(z, z), momentum=(z, z)).item() == pytest.approx(math.log(C))


def test_log_probabilities_are_the_students() -> None:
    z = torch.randn(4, C, dtype=torch.float64)
    np.testing.assert_allclose(Dino(C).log_probabilities(z).exp().numpy(), softmax(z.numpy() / 0.1), rtol=1e-12)
