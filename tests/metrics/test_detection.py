"""The area under the ROC curve by counting pairs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.detection import auroc

scores = st.lists(st.sampled_from([-math.inf, -1.5, 0.0, 0.25, 3.0, math.inf]), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(scores, scores)
def test_is_the_share_of_pairs_in_order_and_ties_are_half(inside: list[float], outside: list[float]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    assert auroc(torch.tensor(inside), torch.tensor(outside)) == pytest.approx(sum(pairs) / len(pairs))


def test_the_extremes() -> None:
    low, high = torch.arange(5.0), torch.arange(5.0) + 10
    assert (auroc(high, low), auroc(low, high), auroc(low, low)) == (1.0, 0.0, 0.5)


def test_any_increasing_change_of_scores_leaves_it_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = torch.randn(200, generator=generator) + 1, torch.randn(300, generator=generator)
    assert auroc(inside.double().exp(), outside.double().exp()) == auroc(inside, outside)
    # Normal distributions one deviation apart: Φ(1/√2).
    assert auroc(inside, outside) == pytest.approx(0.76, abs=0.05)


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        (torch.empty(0), torch.zeros(3), r"inside scores have shape \(0,\)"),
        (torch.zeros(3), torch.empty(0), r"outside scores have shape \(0,\)"),
        (torch.zeros(3, 1), torch.zeros(3), r"inside scores have shape \(3, 1\)"),
        (torch.zeros(3), torch.tensor([1.0, math.nan]), "1 of 2 outside scores are NaN"),
    ],
)
def test_wrong_scores_are_refused(inside: Tensor, outside: Tensor, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        auroc(inside, outside)
    assert caught.value.hint
