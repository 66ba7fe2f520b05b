"""Torch data sets of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import colour, grey
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from nesy_gedi.data import UNKNOWN, ImageSplits, from_dataset
from nesy_gedi.errors import DataError


class Items(Dataset):  # type: ignore[type-arg]
    """A map-style data set that never ends its own iteration."""

    def __init__(self, items: list[Any], **attributes: Any) -> None:
        self.items = items
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        return self.items[number % len(self.items)]


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        for k in range(1000):
            yield torch.full((1, 2, 2), k % 256, dtype=torch.uint8), k % 2


def square(level: int) -> torch.Tensor:
    return torch.full((1, 3, 3), level, dtype=torch.uint8)


def picture(level: int, size: int = 3) -> Image.Image:
    return Image.new("L", (size, size), level)


def whole(splits: ImageSplits, attribute: str = "class") -> list[tuple[int, str]]:
    """(first pixel, class) of all images, sorted."""
    found = []
    for part in (splits.train, splits.test):
        labels = part.labels[attribute]
        names = ["?" if k == UNKNOWN else labels.classes[k] for k in labels.index.tolist()]
        found += list(zip(part.images.flatten(1)[:, 0].tolist(), names, strict=True))
    return sorted(found)


@pytest.mark.parametrize(
    "image",
    [
        square,
        picture,
        lambda level: square(level).float() / 255,
        lambda level: square(level)[0],
        lambda level: np.full((3, 3, 1), level, dtype=np.uint8),
        lambda level: picture(level).convert("1" if level in (0, 255) else "L"),
    ],
)
def test_images_of_any_type(image: Any) -> None:
    splits = from_dataset(Items([(image(k), k % 3) for k in range(10)]))
    assert splits.train.shape == (1, 3, 3)
    assert splits.train.images.dtype == torch.uint8
    assert whole(splits) == [(k, str(k % 3)) for k in range(10)]
    assert (len(splits.train), len(splits.test)) == (8, 2)


@pytest.mark.parametrize(
    "label", [np.int64, torch.tensor, float, str, lambda k: np.array(k), lambda k: torch.tensor([k])[0]]
)
def test_labels_of_any_type(label: Any) -> None:
    assert whole(from_dataset(Items([(square(k), label(k % 2)) for k in range(6)]))) == [
        (k, str(k % 2)) for k in range(6)
    ]


def test_class_names() -> None:
    items = [(square(k), k % 2) for k in range(6)]
    named = [(k, ("cat", "dog")[k % 2]) for k in range(6)]
    assert whole(from_dataset(Items(items), classes=("cat", "dog"))) == named
    assert whole(from_dataset(Items(items, classes=["cat", "dog"]))) == named
    assert whole(from_dataset(Subset(Items(items, classes=["cat", "dog"]), range(6)))) == named
    assert whole(from_dataset(Items(items, classes=["0 - zero", "1 - one"]))) == [(k, str(k % 2)) for k in range(6)]
    text = [(square(k), ("b", "")[k % 2]) for k in range(6)]
    assert whole(from_dataset(Items(text, classes=["ignored"]))) == [(k, ("b", "?")[k % 2]) for k in range(6)]
    assert whole(from_dataset(Items(items), attribute="parity"), "parity") == [(k, str(k % 2)) for k in range(6)]


def test_labels_of_several_attributes() -> None:
    splits = from_dataset(Items([(square(k), {"shape": "round", "size": k % 2}) for k in range(6)]))
    assert whole(splits, "shape") == [(k, "round") for k in range(6)]
    assert whole(splits, "size") == [(k, str(k % 2)) for k in range(6)]


def test_a_test_of_its_own() -> None:
    train, test = [(square(k), k) for k in (1, 2)], [(square(k), k) for k in (2, 3)]
    splits = from_dataset(Items(train), test=Items(test))
    assert splits.train.labels["class"].classes == ("1", "2", "3")
    assert splits.test.labels["class"].index.tolist() == [1, 2]


def test_images_alone_have_no_label() -> None:
    for items in ([square(k) for k in range(5)], [(square(k),) for k in range(5)]):
        splits = from_dataset(Items(items))
        assert splits.train.labels == {}
        assert splits.given is None
        assert len(splits.train) == 4


def test_a_stream_is_read_to_its_limit() -> None:
    splits = from_dataset(Stream(), limit=20)
    assert len(splits.train) + len(splits.test) == 20
    assert len(from_dataset(Items([(square(k), 0) for k in range(9)]), limit=5).train) == 4


def test_tensors_and_folders_of_torch(tmp_path: Path) -> None:
    splits = from_dataset(TensorDataset(torch.rand(10, 4), torch.arange(10) % 2))
    assert splits.train.shape == (4,)
    for k in range(4):
        grey(tmp_path / "a" / f"{k}.png", k, (5, 5))
        colour(tmp_path / "b" / f"{k}.png", (100 + k, 0, 0), (5, 6 + k))
    folder = from_dataset(ImageFolder(str(tmp_path)), image_shape=(3, 6, 6))
    assert folder.train.shape == (3, 6, 6)
    assert whole(folder) == [(k, "a") for k in range(4)] + [(100 + k, "b") for k in range(4)]
    assert folder.name == "ImageFolder"


def tuples(splits: ImageSplits) -> list[tuple[list[int], tuple[str, ...]]]:
    assert splits.given is not None
    found = []
    for part, observed in ((splits.train, splits.given.train), (splits.test, splits.given.test)):
        columns = [part.take(observed.index[:, k]).flatten(1)[:, 0].tolist() for k in range(observed.index.shape[1])]
        found += list(zip(map(list, zip(*columns, strict=True)), observed.values, strict=True))
    return sorted(found)


@pytest.mark.parametrize("nested", [False, True])
def test_tuples_with_answers(nested: bool) -> None:
    items = [
        ((square(k), square(k + 1)), 2 * k + 1) if nested else (square(k), square(k + 1), 2 * k + 1) for k in range(10)
    ]
    splits = from_dataset(Items(items), columns=("X", "Y", "Sum"))
    assert splits.given is not None
    assert (splits.given.inputs, splits.given.outputs) == (("X", "Y"), ("Sum",))
    assert (len(splits.given.train), len(splits.given.test)) == (8, 2)
    assert tuples(splits) == [([k, k + 1], (str(2 * k + 1),)) for k in range(10)]
    assert sorted([*splits.given.train.rows, *splits.given.test.rows]) == list(range(10))
    own = from_dataset(Items(items[:6]), test=Items(items[6:]))
    assert tuples(own) == tuples(splits)
    assert own.given is not None
    assert own.given.inputs == ()


def test_tuples_of_several_kinds_and_answers() -> None:
    items = [((square(k), torch.full((2,), k + 0.5)), torch.tensor(k), k > 2, ("a", k)) for k in range(6)]
    splits = from_dataset(Items(items))
    assert [tuple(part.shape[1:]) for part in (splits.train.images, *splits.train.others)] == [(1, 3, 3), (2,)]
    assert tuples(splits) == [([k, k + 0.5], (str(k), str(k > 2).lower(), "a", str(k))) for k in range(6)]
    single = from_dataset(Items([((square(k),), k) for k in range(6)]))
    assert tuples(single) == [([k], (str(k),)) for k in range(6)]


@pytest.mark.parametrize(
    ("items", "arguments", "said"),
    [
        ([], {}, "has no items"),
        ([(square(0), 1), (square(0), square(1), 2)], {}, "item 1 of train has another form than the first: (Tensor"),
        ([(square(0), 1), (torch.zeros(1, 4, 4, dtype=torch.uint8), 2)], {}, "inputs have several shapes"),
        ([(picture(0), 1), (square(0), 2)], {}, "some inputs are pictures"),
        ([(square(0).float() - 1, 1)] * 4, {}, "pixels in -1..-1"),
        ([(square(0), None)] * 4, {}, "a label is NoneType"),
        ([(square(0), 5)] * 4, {"classes": ["a"]}, "a label of class is 5, but there are 1 class names"),
        ([("a.png", 5)] * 4, {}, "inputs are <U5"),
        ([(torch.zeros(1, 1, 1, 2, 2), 5)] * 4, {}, "an input has the shape (1, 1, 1, 2, 2)"),
        ([(square(0), square(0), 1)] * 4, {"columns": ["X"]}, "1 columns are named, items have 3"),
        ([(square(0), square(0), 1)], {}, "one item is too few"),
        ([(square(0), 1)], {}, "1 image is too few"),
        ([((square(0), square(0)), 1), ((square(0), square(0)), 1, 2)], {}, "answers have several lengths"),
    ],
)
def test_items_that_do_not_fit(items: list[Any], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        from_dataset(Items(items), **arguments)
    assert said in str(caught.value)
    assert caught.value.hint


class Broken(Items):
    def __getitem__(self, number: int) -> Any:
        if number == 3:
            raise OSError("truncated")
        return super().__getitem__(number)


def test_an_item_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match=r"item 3 cannot be read: OSError: truncated"):
        from_dataset(Broken([(square(0), 1)] * 5))
    with pytest.raises(DataError, match="not iterable"):
        from_dataset(3)
