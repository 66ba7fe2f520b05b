"""Traffic scenes: which there are, how often, and what can be read in them."""

from __future__ import annotations

import itertools

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from nesy_gedi.data import ImageSet, ImageSplits, load_card, load_images
from nesy_gedi.data.traffic import generate_traffic
from nesy_gedi.errors import UsageError

ATTRIBUTES = load_card("traffic").attributes
CLASSES = [len(classes) for classes in ATTRIBUTES.values()]
EVERY = set(itertools.product(*(range(count) for count in CLASSES)))
RED = ATTRIBUTES["light"].index("red")


def left_out(scene: tuple[int, ...]) -> bool:
    """Whether ordinary traffic does not show the scene: a siren with a red light or a person, but not both."""
    light, person, siren, _, _ = scene
    return bool(siren) and (light == RED) != bool(person)


def scenes(images: ImageSet) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack([each.index for each in images.labels.values()], 1).tolist()]


@pytest.mark.parametrize("emergency", [False, True])
def test_same_seed_same_scenes(emergency: bool) -> None:
    first, again, other = (generate_traffic(500, seed, emergency=emergency) for seed in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert scenes(first) == scenes(again) != scenes(other)
    assert not torch.equal(first.images, other.images)
    assert {name: each.classes for name, each in first.labels.items()} == ATTRIBUTES


@pytest.mark.parametrize(("emergency", "combinations"), [(False, 54), (True, 18)])
def test_every_possible_combination_is_equally_frequent(emergency: bool, combinations: int) -> None:
    possible = {scene for scene in EVERY if left_out(scene) == emergency}
    assert len(possible) == combinations
    found = scenes(generate_traffic(10 * combinations, 1, emergency=emergency))
    assert {scene: found.count(scene) for scene in set(found)} == dict.fromkeys(possible, 10)
    assert found != sorted(found)


def test_few_scenes_and_none() -> None:
    assert generate_traffic(1, 0).images.shape == (1, *load_card("traffic").image_shape)
    assert len(generate_traffic(0, 0, emergency=True)) == 0
    with pytest.raises(UsageError, match="cannot generate -1 scenes"):
        generate_traffic(-1, 0)


def test_the_data_sets_are_the_scenes_and_what_they_leave_out() -> None:
    ordinary, emergency = load_images("traffic"), load_images("traffic-emergency")
    assert ordinary.train.shape == emergency.test.shape == load_card("traffic").image_shape
    assert load_card("traffic-emergency").attributes == ATTRIBUTES
    assert not any(map(left_out, scenes(ordinary.train) + scenes(ordinary.test)))
    assert all(map(left_out, scenes(emergency.train) + scenes(emergency.test)))
    rows = torch.cat([part.images for each in (ordinary, emergency) for part in (each.train, each.test)])
    assert len(rows.unique(dim=0)) == len(rows) == 7000


@pytest.fixture(scope="module")
def ordinary() -> ImageSplits:
    return load_images("traffic")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_small_network_reads_what_a_linear_model_misreads(attribute: str, ordinary: ImageSplits) -> None:
    """And the network reads it in emergencies as well: they are mixed in the same way, only their combinations are new.

    Otherwise a drop in accuracy there would say nothing about shortcuts.
    """
    x, y = ordinary.train.images.numpy(), ordinary.train.labels[attribute].index.numpy()
    linear = LogisticRegression(max_iter=200).fit(x, y)
    network = MLPClassifier((64,), learning_rate_init=0.005, max_iter=15, random_state=0).fit(x, y)

    def accuracy(model: LogisticRegression | MLPClassifier, images: ImageSet) -> float:
        return float(model.score(images.images.numpy(), images.labels[attribute].index.numpy()))

    assert accuracy(linear, ordinary.test) < 0.97
    assert accuracy(network, ordinary.test) > 0.99
    assert accuracy(network, load_images("traffic-emergency").test) > 0.95
