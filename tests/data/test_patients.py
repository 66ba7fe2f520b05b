"""Patients: which there are, how often, and who can read their sensors."""

from __future__ import annotations

import itertools

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from nesy_gedi.data import ImageSet, load_card, load_images
from nesy_gedi.data.patients import generate_patients
from nesy_gedi.errors import UsageError

ATTRIBUTES = load_card("patients").attributes


def symptoms(images: ImageSet) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack([each.index for each in images.labels.values()], 1).tolist()]


def test_same_seed_same_patients() -> None:
    first, again, other = (generate_patients(300, seed) for seed in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert symptoms(first) == symptoms(again) != symptoms(other)
    assert not torch.equal(first.images, other.images)


def test_every_combination_is_equally_frequent() -> None:
    every = list(itertools.product(*(range(len(classes)) for classes in ATTRIBUTES.values())))
    assert len(every) == 36
    found = symptoms(generate_patients(360, 1))
    assert sorted(found) == sorted(every * 10)
    assert found != sorted(found)


def test_none_and_fewer() -> None:
    assert generate_patients(0, 0).images.shape == (0, *load_card("patients").image_shape)
    with pytest.raises(UsageError, match="cannot generate -1 patients"):
        generate_patients(-1, 0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_small_network_reads_what_a_linear_model_does_not(attribute: str) -> None:
    images = load_images("patients")
    parts = [(part.images.numpy(), part.labels[attribute].index.numpy()) for part in (images.train, images.test)]
    linear = LogisticRegression(max_iter=200).fit(*parts[0])
    network = MLPClassifier((64,), learning_rate_init=0.005, max_iter=15, random_state=0).fit(*parts[0])
    assert linear.score(*parts[1]) < 1 / len(ATTRIBUTES[attribute]) + 0.1
    assert network.score(*parts[1]) > 0.97
