"""Agreement of partitions against the definitions, written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics.clustering import (
    adjusted_mutual_information,
    adjusted_rand_index,
    majority_accuracy,
    matched_accuracy,
    nmi_of_random,
    normalised_mutual_information,
)


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


def test_scores_agree_with_their_definitions() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.randint(4, (60,), generator=generator)
    predicted = torch.where(
        torch.rand(60, generator=generator) < 0.5, truth, torch.randint(6, (60,), generator=generator)
    )
    nmi = mutual_information(truth, predicted) / ((entropy(truth.bincount()) + entropy(predicted.bincount())) / 2)
    assert normalised_mutual_information(truth, predicted) == pytest.approx(nmi)
    pairs = [(truth[i] == truth[j], predicted[i] == predicted[j]) for i, j in combinations(range(60), 2)]
    both = sum(bool(a and b) for a, b in pairs)
    one, other = sum(bool(a) for a, _ in pairs), sum(bool(b) for _, b in pairs)
    chance = one * other / len(pairs)
    assert adjusted_rand_index(truth, predicted) == pytest.approx((both - chance) / ((one + other) / 2 - chance))


def test_many_codes_give_a_random_assignment_a_high_nmi() -> None:
    truth = torch.arange(10_000) % 10
    assert nmi_of_random(truth, 10) < 0.01
    assert nmi_of_random(truth, 16_384) > 0.3
    drawn = torch.randint(16_384, (10_000,), generator=torch.Generator().manual_seed(5))
    assert nmi_of_random(truth, 16_384) == pytest.approx(normalised_mutual_information(truth, drawn), abs=0.005)
    assert abs(adjusted_mutual_information(truth, drawn)) < 0.02
    assert abs(adjusted_rand_index(truth, drawn)) < 0.02


SVHN_TEST = [1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595]
"""Samples of each digit."""


@pytest.mark.parametrize(("sizes", "expected"), [(SVHN_TEST, 0.26), ([1000] * 10, 0.35), ([100] * 100, 0.63)])
def test_the_random_level_of_test_sets_with_16384_codes(sizes: list[int], expected: float) -> None:
    # A code holds about one sample, which then looks as if it told the class: SVHN, CIFAR-10 and CIFAR-100.
    truth = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    assert nmi_of_random(truth, 16_384) == pytest.approx(expected, abs=0.01)


def test_the_random_level_depends_on_the_seed_alone() -> None:
    truth = torch.arange(300) % 5
    assert nmi_of_random(truth, 40, seed=1) == nmi_of_random(truth, 40, seed=1) != nmi_of_random(truth, 40, seed=2)
    with pytest.raises(DataError, match="at least one cluster"):
        nmi_of_random(truth, 0)


@pytest.mark.parametrize(("classes", "clusters"), [(3, 3), (3, 5), (4, 2), (2, 6), (1, 3), (3, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_matched_accuracy_is_the_best_of_all_one_to_one_matchings(classes: int, clusters: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (25,), generator=generator)
    predicted = torch.randint(clusters, (25,), generator=generator)
    best = 0
    # Every injection of the clusters into classes and places where nothing is right, numbered below 0.
    places = [*range(classes), *range(-clusters, 0)]
    for names in permutations(places, clusters):
        best = max(best, int((torch.tensor(names)[predicted] == truth).sum()))
    assert matched_accuracy(truth, predicted, classes, clusters) == pytest.approx(best / 25)


def test_the_majority_of_each_cluster_is_optimistic() -> None:
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    predicted = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    # Matched: 0 -> one of clusters 0 and 1, 1 -> cluster 2. Majority: both clusters 0 and 1 count for class 0.
    assert matched_accuracy(truth, predicted, 2, 3) == pytest.approx(5 / 8)
    assert majority_accuracy(truth, predicted, 2, 3) == pytest.approx(7 / 8)
    assert majority_accuracy(truth, torch.arange(8), 2, 8) == 1.0
    assert matched_accuracy(truth, torch.arange(8), 2, 8) == pytest.approx(2 / 8)


@pytest.mark.parametrize("accuracy", [matched_accuracy, majority_accuracy])
def test_accuracies_ignore_the_names_of_clusters(accuracy: Callable[..., float]) -> None:
    generator = torch.Generator().manual_seed(0)
    truth, predicted = torch.randint(4, (2, 100), generator=generator)
    renamed = torch.tensor([5, 0, 3, 1])[predicted]
    assert accuracy(truth, renamed, 4, 6) == accuracy(truth, predicted, 4, 6)
    assert accuracy(truth, torch.tensor([1, 2, 3, 0])[truth], 4, 4) == 1.0


@pytest.mark.parametrize("accuracy", [matched_accuracy, majority_accuracy])
@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([0, 3], [0, 0], "classes lie between 0 and 3, expected between 0 and 2"),
        ([0, 1], [0, 4], "clusters lie between 0 and 4, expected between 0 and 3"),
        ([0, 1], [0, -1], "clusters lie between -1 and 0"),
        ([0, 1], [0], r"clusters have shape \(1,\), expected \(2,\)"),
        ([0, 1], [0.0, 1.0], "expected integers"),
    ],
)
def test_labels_out_of_range_are_refused(
    accuracy: Callable[..., float], truth: list[int], predicted: list[float], expected: str
) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        accuracy(torch.tensor(truth), torch.tensor(predicted), 3, 4)
    assert caught.value.hint
