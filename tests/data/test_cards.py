from __future__ import annotations

import pytest
import torchvision.datasets

from nesy_gedi.data import available, load_card, load_images
from nesy_gedi.data.images import _EMBEDDED, _FROM_FILES
from nesy_gedi.errors import UsageError

EMBEDDED = [name for name in available() if load_card(name).embedded]
PUBLISHED = [name for name in available() if not load_card(name).embedded]


def test_known_data_sets() -> None:
    assert [
        *("circles", "digits", "moons", "patients", "playing-cards"),
        *("shapes", "traffic", "traffic-emergency"),
    ] == EMBEDDED
    assert PUBLISHED == ["cifar10", "cifar100", "fashion-mnist", "kmnist", "mnist", "svhn"]
    assert sorted(_EMBEDDED) == EMBEDDED
    assert sorted(_FROM_FILES) == PUBLISHED


@pytest.mark.parametrize("name", available())
def test_card_is_complete(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert all([card.title, card.source, card.licence, card.citation, card.note])
    assert len(card.image_shape) in (1, 3)
    assert all(isinstance(size, int) and size > 0 for size in card.image_shape)
    for classes in card.attributes.values():
        assert len(set(classes)) == len(classes) > 1


@pytest.mark.parametrize("name", EMBEDDED)
def test_card_agrees_with_embedded_images(name: str) -> None:
    card, splits = load_card(name), load_images(name)
    assert splits.name == name
    for images, size in ((splits.train, card.train), (splits.test, card.test)):
        assert len(images) == size
        assert images.shape == card.image_shape
        assert {attribute: labels.classes for attribute, labels in images.labels.items()} == card.attributes
        for attribute, labels in images.labels.items():
            always = (name, attribute) == ("traffic-emergency", "siren")
            assert labels.index.unique().tolist() == ([1] if always else list(range(len(labels.classes))))


@pytest.mark.parametrize("name", PUBLISHED)
def test_checksums_are_the_published_ones(name: str) -> None:
    card = load_card(name)
    publisher = getattr(torchvision.datasets, str(card.torchvision))
    if name == "svhn":
        files = {file: md5 for split, (_, file, md5) in publisher.split_list.items() if split != "extra"}
        unpacked = {}
    elif name.startswith("cifar"):
        files = {publisher.filename: publisher.tgz_md5}
        members = [*publisher.train_list, *publisher.test_list, (publisher.meta["filename"], publisher.meta["md5"])]
        unpacked = {f"{publisher.base_folder}/{file}": md5 for file, md5 in members}
    else:
        files, unpacked = dict(publisher.resources), {}
    assert card.files == files
    assert card.unpacked == unpacked


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_class_names_are_the_published_ones(name: str) -> None:
    card = load_card(name)
    published = getattr(torchvision.datasets, str(card.torchvision)).classes
    # torchvision writes MNIST's as "0 - zero"
    assert card.attributes["class"] == tuple(each.split(" - ")[0] for each in published)


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match='no data set is named "cifar-10"') as caught:
        load_card("cifar-10")
    assert str(caught.value.hint).startswith("did you mean cifar10? valid: cifar10, cifar100, circles, digits")
