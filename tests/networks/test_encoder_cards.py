"""Cards: written and read again, checked, and tied to the weights beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.networks.cards import (
    CARD,
    VERSION,
    Architecture,
    EncoderCard,
    InputCard,
    card_of,
    read_card,
    sha256_of,
    write_card,
)

ONE = InputCard((1, 8, 8), (0.3,), (0.25,))

FULL = EncoderCard(
    Architecture("torchvision", "resnet18", adapted=InputCard((3, 32, 32), (0.5,) * 3, (0.25,) * 3)),
    ONE,
    512,
    further_inputs=(InputCard((2,), (0.0, 1.0), (1.0, 2.0)), InputCard((5, 3), (0.0,) * 3, (1.0,) * 3)),
    domain=("cat", "dog"),
    clusters=("dog", "cat", "dog"),
    objective="gedi",
    data="pets",
    program="pets.pl",
    seed=3,
    metrics={"ami": 0.5, "nmi": None, "images": 3},
    created_by="somebody",
)

PLAIN = EncoderCard(Architecture("conv", arguments={"features": 16, "normalisation": "none"}), ONE, 16)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file({"a": torch.arange(3.0)}, tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


@pytest.mark.parametrize("card", [FULL, PLAIN], ids=["full", "plain"])
def test_a_card_is_read_as_it_was_written(card: EncoderCard, weights: Path) -> None:
    written = write_card(card, weights)
    assert written == replace(card, sha256=sha256_of(weights))
    assert read_card(weights) == written
    assert sorted(each.name for each in weights.parent.iterdir()) == [CARD, weights.name]  # no half-written file


def test_a_card_is_plain_json_that_says_its_version(weights: Path) -> None:
    write_card(FULL, weights)
    said = json.loads(card_of(weights).read_text(encoding="utf-8"))
    assert next(iter(said)) == "version"
    assert said["version"] == VERSION
    assert said["input"]["shape"] == [1, 8, 8]
    assert said["clusters"] == ["dog", "cat", "dog"]


def test_other_weights_than_those_of_the_card_are_refused(weights: Path) -> None:
    write_card(PLAIN, weights)
    save_file({"a": torch.arange(3.0) + 1}, weights)
    with pytest.raises(RunError, match="not those of their card"):
        read_card(weights)
    assert read_card(weights, verify=False).features == 16


def test_weights_without_a_card_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no card\.json beside the weights") as caught:
        read_card(weights)
    assert "weights_file" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no such file"):
        read_card(tmp_path / "nowhere.safetensors")


def edited(weights: Path, **changes: Any) -> None:
    write_card(FULL, weights)
    said = json.loads(card_of(weights).read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        inner = said
        for key in path:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    card_of(weights).write_text(json.dumps(said), encoding="utf-8")


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "no architecture": ({"architecture": None}, "architecture: is missing"),
    "an unknown kind": ({"architecture__kind": "pickle"}, "architecture.kind: there is no pickle"),
    "no name": ({"architecture__name": ""}, "architecture.name: torchvision needs a name"),
    "a wrong shape": ({"input__shape": [1, 0, 8]}, "input.shape: must be one to three positive numbers"),
    "means of other channels": ({"input__mean": [0.1, 0.2]}, "input.mean: has 2 values for 1 channels"),
    "a text for a number": ({"input__std": ["a"]}, "input.std: must be a number, not 'a'"),
    "a deviation of zero": ({"input__std": [0.0]}, "input.std: must be positive"),
    "a mean that is not finite": ({"input__mean": [float("nan")]}, "input.mean: must be finite"),
    "no features": ({"features": 0}, "features: must be positive"),
    "a symbol out of the domain": ({"clusters": ["cow"]}, "clusters: cow is not in the domain"),
    "a broken checksum": ({"sha256": "abc"}, "sha256: must be 64 hexadecimal digits"),
    "a truth value for a number": ({"seed": True}, "seed: must be an integer"),
    "metrics that are text": ({"metrics": {"ami": "high"}}, "metrics.ami: must be a number"),
    "no object": ({"input": [1, 8, 8]}, "input: must be a JSON object"),
}


@pytest.mark.parametrize(("changes", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_card_is_told_with_the_place(changes: dict[str, Any], message: str, weights: Path) -> None:
    edited(weights, **changes)
    with pytest.raises(RunError, match="card is damaged") as caught:
        read_card(weights)
    assert message in caught.value.message
    assert caught.value.where == str(card_of(weights))


def test_a_later_version_asks_for_an_upgrade_and_new_keys_are_passed_over(weights: Path) -> None:
    edited(weights, version=VERSION + 1)
    with pytest.raises(RunError) as caught:
        read_card(weights)
    assert caught.value.hint == "upgrade nesy-gedi"
    edited(weights, licence="MIT", input__unit="grey level")
    assert read_card(weights).domain == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "{", "[]", "nothing"])
def test_a_card_that_is_no_json_object_is_refused(text: str, weights: Path) -> None:
    card_of(weights).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="card"):
        read_card(weights)


def test_a_card_that_could_not_be_read_is_not_written(weights: Path) -> None:
    with pytest.raises(UsageError, match="cannot say clusters"):
        write_card(replace(PLAIN, domain=("a",), clusters=("b",)), weights)
    assert not card_of(weights).exists()
