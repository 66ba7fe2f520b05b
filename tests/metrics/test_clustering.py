"""Adjusted mutual information against its definition, written out."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from nesy_gedi.metrics.clustering import adjusted_mutual_information


def entropy(counts: Tensor) -> float:
    shares = counts[counts > 0].double() / counts.sum()
    return float(-(shares * shares.log()).sum())


def mutual_information(one: Tensor, other: Tensor) -> float:
    joint = torch.zeros(int(one.max()) + 1, int(other.max()) + 1)
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        joint[a, b] += 1
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.flatten())


def by_definition(truth: Tensor, predicted: Tensor) -> float:
    """Chance level: the mean over all orders of the prediction."""
    orders = [mutual_information(truth, torch.tensor(order)) for order in permutations(predicted.tolist())]
    chance = sum(orders) / len(orders)
    largest = (entropy(truth.bincount()) + entropy(predicted.bincount())) / 2
    return (mutual_information(truth, predicted) - chance) / (largest - chance)


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 2]),
        ([0, 1, 2, 0, 1, 2], [2, 2, 0, 1, 1, 0]),
        ([0, 0, 1, 1, 2, 2, 2], [0, 1, 0, 1, 0, 1, 1]),
    ],
)
def test_agrees_with_the_definition(truth: list[int], predicted: list[int]) -> None:
    one, other = torch.tensor(truth), torch.tensor(predicted)
    assert adjusted_mutual_information(one, other) == pytest.approx(by_definition(one, other), abs=1e-9)
    assert adjusted_mutual_information(other, one) == pytest.approx(by_definition(one, other), abs=1e-9)


def test_names_do_not_matter() -> None:
    truth = torch.randint(0, 10, (300,), generator=torch.Generator().manual_seed(0))
    renamed = torch.randperm(10, generator=torch.Generator().manual_seed(1))[truth]
    assert adjusted_mutual_information(truth, renamed) == pytest.approx(1.0)


def test_a_random_labelling_is_worth_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, guess = torch.randint(0, 10, (2, 3000), generator=generator)
    assert abs(adjusted_mutual_information(truth, guess)) < 0.01
    assert adjusted_mutual_information(truth, torch.zeros_like(truth)) == pytest.approx(0.0, abs=1e-12)


def test_is_a_number() -> None:
    assert not math.isnan(adjusted_mutual_information(torch.tensor([0]), torch.tensor([0])))
