"""What is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nesy_gedi.data import (
    GivenQueries,
    ImageSet,
    ImageSplits,
    Labels,
    Observations,
    from_arrays,
    load_images,
    summarise,
)


def test_everything_is_counted_and_json() -> None:
    images = np.zeros((10, 2, 2, 3), dtype=np.uint8)
    images[:, 0, 0] = (255, 51, 0)
    images[:, 1, 1, 2] = np.arange(10)
    found = summarise(
        from_arrays(
            images[:6], [0, 0, 1, 1, 1, -1], test_images=images[4:], test_labels=[1, -1, -1, 0, 0, 0], name="mine"
        )
    )
    assert json.loads(json.dumps(found)) == found
    assert (found["name"], found["train"], found["test"], found["image_shape"]) == ("mine", 6, 6, [3, 2, 2])
    assert found["classes"] == {"class": 2}
    assert found["counts"] == {"class": {"0": {"train": 2, "test": 3}, "1": {"train": 3, "test": 1}}}
    assert found["unlabelled"] == {"class": {"train": 1, "test": 2}}
    assert found["shared"] == 2
    (part,) = found["inputs"]
    channels = torch.from_numpy(images[:6]).permute(3, 0, 1, 2).flatten(1).double() / 255
    assert part["mean"] == pytest.approx(channels.mean(1).tolist(), abs=1e-6)
    assert part["std"] == pytest.approx(channels.std(1, correction=0).tolist(), abs=1e-6)
    assert (found["rows"], found["answers"], found["columns"], found["cache"]) == (None, None, None, None)


def test_answers_and_kinds_of_a_table() -> None:
    inputs = ImageSet(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), {}, (torch.tensor([[1.0, 2.0], [5.0, 8.0]]),))
    rows = Observations(torch.tensor([[0, 2], [1, 3]]), (("7", "yes"), ("7", "no")), (1, 2))
    given = GivenQueries(("X", "V"), ("Sum", "Big"), "a.csv", rows, None, rows)
    found = summarise(ImageSplits("a", inputs, inputs, given))
    assert found["rows"] == {"train": 2, "test": 2}
    assert found["answers"]["Sum"] == {"7": {"train": 2, "test": 2}}
    assert found["answers"]["Big"] == {"yes": {"train": 1, "test": 1}, "no": {"train": 1, "test": 1}}
    assert found["columns"] == {"inputs": ["X", "V"], "values": ["Sum", "Big"]}
    assert [(part["shape"], part["mean"]) for part in found["inputs"]] == [([1, 3, 3], [0.0]), ([2], [4.0])]
    assert found["classes"] == {}


def test_a_kind_without_training_inputs_has_no_mean() -> None:
    empty = ImageSet(torch.zeros(0, 1, 3, 3, dtype=torch.uint8), {"class": Labels(("a",), torch.zeros(0).long())})
    assert summarise(ImageSplits("a", empty, empty))["inputs"][0]["mean"] is None


def test_known_data_is_counted() -> None:
    found = summarise(load_images("digits"))
    assert sum(each["train"] for each in found["counts"]["class"].values()) == found["train"] == 1437
    assert (found["shared"], found["kind"]) == (0, "data set")
