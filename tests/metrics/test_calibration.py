"""Bins of confidence and the expected calibration error by hand, and against an independent computation in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nesy_gedi.metrics.calibration import BINS, calibrate, expected_calibration_error


def binary(confidences: list[float]) -> torch.Tensor:
    """Rows whose predicted symbol is 0 with the given confidence."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([first, 1 - first], 1)


def test_by_hand() -> None:
    # Four bins: (0.5, 0.75] holds 0.6 (right) and 0.7 (wrong), (0.75, 1] holds 0.8, 0.9 (right) and 1.0 (wrong).
    found = expected_calibration_error(binary([0.6, 0.7, 0.8, 0.9, 1.0]), torch.tensor([0, 1, 0, 0, 1]), bins=4)
    low, high = abs(1 / 2 - 1.3 / 2), abs(2 / 3 - 2.7 / 3)
    assert found == pytest.approx(2 / 5 * low + 3 / 5 * high)


def test_an_edge_belongs_to_the_bin_below() -> None:
    # 0.75 is alone in (0.5, 0.75]: together with 0.8 the gaps would cancel.
    found = expected_calibration_error(binary([0.75, 0.8]), torch.tensor([0, 1]), bins=4)
    assert found == pytest.approx((0.25 + 0.8) / 2)


@pytest.mark.parametrize("answer", [0, 1])
def test_certainty(answer: int) -> None:
    assert expected_calibration_error(binary([1.0]), torch.tensor([answer])) == answer


def test_calibrated_predictions_have_none() -> None:
    truth = torch.tensor([0] * 6 + [1] * 4)
    assert expected_calibration_error(binary([0.6] * 10), truth) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_agrees_with_an_independent_computation(seed: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.softmax(2 * torch.randn(200, 4, generator=generator), 1)
    truth = torch.randint(0, 4, (200,), generator=generator)
    p = probabilities.double().numpy()
    confidence, right = p.max(1), p.argmax(1) == truth.numpy()
    found = calibrate(probabilities, truth, bins)
    expected = 0.0
    for own, low, high in zip(found.bins, np.arange(bins) / bins, np.arange(1, bins + 1) / bins, strict=True):
        inside = (confidence > low) & (confidence <= high)
        assert (own.low, own.high) == pytest.approx((low, high))
        assert own.count == inside.sum()
        if not inside.any():
            assert (own.confidence, own.accuracy, own.gap) == (None, None, 0.0)
            continue
        assert own.confidence == pytest.approx(confidence[inside].mean())
        assert own.accuracy == pytest.approx(right[inside].mean())
        expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.ece == pytest.approx(expected, abs=1e-9)
    assert found.ece == expected_calibration_error(probabilities, truth, bins)


def test_images_are_counted_in_the_bin_of_their_confidence() -> None:
    found = calibrate(binary([0.95, 0.85, 0.9, 0.55]), torch.tensor([0, 1, 0, 0]), bins=10)
    assert [each.count for each in found.bins] == [0, 0, 0, 0, 0, 1, 0, 0, 2, 1]  # 0.9 belongs to (0.8, 0.9]
    assert (found.bins[8].confidence, found.bins[8].accuracy) == pytest.approx((0.875, 0.5))


def test_the_document_has_every_bin() -> None:
    document = calibrate(binary([0.9]), torch.tensor([0]), bins=2).as_json()
    assert document["ece"] == pytest.approx(0.1)
    assert document["bins"][0] == {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None}
    assert document["bins"][1] == pytest.approx({"low": 0.5, "high": 1.0, "count": 1, "confidence": 0.9, "accuracy": 1})


def test_nothing_to_measure() -> None:
    found = calibrate(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    assert (found.ece, len(found.bins)) == (0.0, BINS)
