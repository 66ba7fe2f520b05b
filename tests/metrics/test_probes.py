"""Probes against scikit-learn and a neighbour vote in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.metrics.probes import linear_probe, neighbour_probe

PROBES = [linear_probe, neighbour_probe]


def split(spread: float, seed: int = 0, k: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test samples around k centres, with very unequal scales of the dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(k, (300,), generator=generator)
    features = torch.eye(k)[labels] + spread * torch.randn(300, k, generator=generator)
    features = features * torch.logspace(-2, 2, k) + 5
    return features[:200], labels[:200], features[200:], labels[200:]


def standardised(train: Tensor, test: Tensor) -> tuple[np.ndarray, np.ndarray]:
    a, b = train.double().numpy(), test.double().numpy()
    return (a - a.mean(0)) / a.std(0), (b - a.mean(0)) / a.std(0)


@pytest.mark.parametrize("seed", range(3))
def test_linear_probe_is_logistic_regression_on_standardised_features(seed: int) -> None:
    train, train_labels, test, test_labels = split(0.5, seed)
    a, b = standardised(train, test)
    model = LogisticRegression(max_iter=1000).fit(a, train_labels.numpy())
    expected = (model.predict(b) == test_labels.numpy()).mean()
    assert linear_probe(train, train_labels, test, test_labels) == pytest.approx(expected)
    assert 0.3 < expected < 1


@pytest.mark.parametrize("k", [1, 5, 10])
def test_neighbour_probe_is_a_vote_of_the_nearest(k: int) -> None:
    train, train_labels, test, test_labels = split(0.5)
    distances = np.linalg.norm(test.double().numpy()[:, None] - train.double().numpy()[None], axis=2)
    votes = train_labels.numpy()[np.argsort(distances, 1)[:, :k]]
    predicted = np.array([np.bincount(row).argmax() for row in votes])
    expected = (predicted == test_labels.numpy()).mean()
    assert neighbour_probe(train, train_labels, test, test_labels, neighbours=k) == pytest.approx(expected)


@pytest.mark.parametrize("probe", PROBES)
def test_separated_classes_are_read_and_noise_is_not(probe) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (400,), generator=generator)
    noise = torch.randn(400, 3, generator=generator)
    clean = torch.eye(3)[labels] + 0.05 * noise
    assert probe(clean[:200], labels[:200], clean[200:], labels[200:]) == 1.0
    assert probe(noise[:200], labels[:200], noise[200:], labels[200:]) < 0.5


@pytest.mark.parametrize("probe", PROBES)
def test_the_same_answer_each_time(probe) -> None:  # type: ignore[no-untyped-def]
    given = split(0.8)
    assert probe(*given) == probe(*given)


def test_a_constant_dimension_is_no_obstacle() -> None:
    train, train_labels, test, test_labels = split(0.1)
    found = linear_probe(
        torch.cat([train, torch.ones(200, 1)], 1), train_labels, torch.cat([test, torch.ones(100, 1)], 1), test_labels
    )
    assert found == linear_probe(train, train_labels, test, test_labels)


def test_a_class_that_was_not_trained_on_is_wrong() -> None:
    train, train_labels, test, test_labels = split(0.01, k=3)
    known = train_labels < 2
    found = linear_probe(train[known], train_labels[known], test, test_labels)
    assert found == pytest.approx(float((test_labels < 2).double().mean()))


def test_fewer_samples_than_neighbours_all_vote() -> None:
    train, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1, 0, 0])
    assert neighbour_probe(train, labels, torch.tensor([[0.0]]), torch.tensor([0])) == 1.0


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (1, torch.zeros(200, dtype=torch.long), "all training labels are 0, expected two classes or more"),
        (1, torch.zeros(199, dtype=torch.long), r"training labels have shape \(199,\), expected \(200,\)"),
        (3, torch.zeros(100), "test labels are of type"),
        (0, torch.full((200, 4), math.nan), "training features are NaN or infinite"),
        (2, torch.zeros(100, 3), "training features have 4 dimensions, test features 3"),
        (2, torch.zeros(0, 4), "test features have shape"),
    ],
)
def test_wrong_data_is_refused(probe, place: int, value: Tensor, expected: str) -> None:  # type: ignore[no-untyped-def]
    given = list(split(0.5))
    given[place] = value
    with pytest.raises(DataError, match=expected) as caught:
        probe(*given)
    assert caught.value.hint


def test_no_neighbour_cannot_vote() -> None:
    with pytest.raises(UsageError, match="0 neighbours"):
        neighbour_probe(*split(0.5), neighbours=0)
