"""Arrays, from Python and from ``.npz`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nesy_gedi.data import UNKNOWN, ImageSplits, ReadOptions, from_arrays, load_images
from nesy_gedi.errors import DataError

GREY = np.arange(10 * 4 * 5, dtype=np.uint8).reshape(10, 4, 5)
LABELS = np.arange(10) % 2


def saved(path: Path, **arrays: Any) -> ImageSplits:
    np.savez(path / "a.npz", **arrays)
    return load_images(path / "a.npz")


def whole(splits: ImageSplits) -> torch.Tensor:
    """All images in their own order; each is told from others by its first number."""
    images = torch.cat([splits.train.images, splits.test.images])
    return images[images.flatten(1)[:, 0].argsort()]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (np.repeat(GREY[..., None], 3, 3), np.repeat(GREY[:, None], 3, 1)),
        (GREY.astype(np.int64), GREY[:, None]),
        ((GREY / np.float32(255))[:, None].astype(np.float32), GREY[:, None]),
        (GREY.astype(np.float64)[:, None], GREY[:, None]),
        (GREY.astype(np.uint16) * 257, GREY[:, None]),
        (np.float64(GREY).reshape(10, 20), np.float32(GREY).reshape(10, 20)),
        (np.float16(GREY), np.float32(GREY)),
        (torch.from_numpy(GREY), GREY[:, None]),
        (GREY.tolist(), GREY[:, None]),
    ],
)
def test_shapes_and_types(array: Any, expected: np.ndarray) -> None:
    found = whole(from_arrays(array, LABELS))
    assert found.dtype == (torch.uint8 if expected.dtype == np.uint8 else torch.float32)
    assert torch.equal(found, torch.from_numpy(expected))


def test_a_fourth_channel_is_transparency() -> None:
    images = np.zeros((4, 2, 2, 4), dtype=np.uint8)
    images[1:, ..., 3] = 255
    found = torch.cat([part.images for part in (lambda s: (s.train, s.test))(from_arrays(images))])
    assert sorted(found[:, 0, 0, 0].tolist()) == [0, 0, 0, 255]


def test_a_fixed_stratified_fifth_is_for_the_test(tmp_path: Path) -> None:
    splits = saved(tmp_path, images=GREY, labels=LABELS)
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.test.labels["class"].index.tolist() in ([0, 1], [1, 0])
    assert splits.train.labels["class"].classes == ("0", "1")
    same = from_arrays(GREY, LABELS)
    assert torch.equal(same.test.images, splits.test.images)


def test_splits_of_a_file_and_several_attributes(tmp_path: Path) -> None:
    splits = saved(
        tmp_path,
        train_images=GREY[:6],
        train_labels=LABELS[:6],
        train_shape=["round", "square"] * 3,
        val_images=GREY[6:7],
        val_labels=LABELS[6:7, None],
        val_shape=["round"],
        test_images=GREY[7:],
        test_labels=[-1, 0, 1],
        test_shape=["", "wide", "round"],
        classes=["no", "yes"],
    )
    assert torch.equal(splits.train.images[:, 0], torch.from_numpy(GREY[:7]))
    assert splits.train.labels["class"].classes == ("no", "yes")
    assert splits.test.labels["class"].index.tolist() == [UNKNOWN, 0, 1]
    assert splits.train.labels["shape"].classes == ("round", "square", "wide")
    assert splits.test.labels["shape"].index.tolist() == [UNKNOWN, 2, 0]


def test_the_names_of_keras(tmp_path: Path) -> None:
    splits = saved(tmp_path, x_train=GREY[:6], y_train=LABELS[:6], x_test=GREY[6:], y_test=LABELS[6:])
    assert splits.test.labels["class"].index.tolist() == [0, 1, 0, 1]


def test_numbers_that_leave_some_out_keep_their_names() -> None:
    splits = from_arrays(GREY, [10, 9] * 5)
    assert splits.train.labels["class"].classes == ("9", "10")


def test_images_are_resized() -> None:
    splits = from_arrays(GREY, image_shape=(3, 8, 8))
    assert splits.train.shape == (3, 8, 8)
    constant = from_arrays(np.full((4, 30, 20, 3), 9, dtype=np.uint8), image_shape=(1, 6, 6))
    assert constant.train.images.unique().tolist() == [9]
    with pytest.raises(DataError, match="these are no images"):
        from_arrays(np.zeros((4, 3)), image_shape=(2, 2))


def test_known_data_is_resized_too() -> None:
    splits = load_images("digits", options=ReadOptions((3, 16, 16)))
    assert splits.train.shape == splits.test.shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": GREY, "labels": LABELS[:3]}, "3 labels for 10 images"),
        ({"images": GREY, "labels": np.eye(10)}, "expected one a row"),
        ({"images": GREY, "labels": np.full(10, 0.5)}, "expected integers or text"),
        ({"images": GREY, "labels": np.full(10, -2)}, "a label of class is -2"),
        ({"images": GREY, "labels": np.full(10, 3), "classes": ["a", "b"]}, "is 3, but there are 2 class names"),
        ({"images": GREY, "labels": ["x"] * 10, "classes": ["a", "b"]}, "'x' is no class of class"),
        ({"images": GREY, "labels": LABELS, "classes": ["a", "a"]}, "named twice"),
        ({"images": GREY, "classes": ["a"]}, "classes of class, but no labels"),
        ({"images": GREY[:, None] - 0.5}, "pixels in -0.5..198.5"),
        ({"images": np.full((3, 1, 2, 2), np.nan)}, "not finite"),
        ({"images": np.full((3, 2, 2), 70000)}, "pixels in 70000..70000"),
        ({"images": np.zeros((3, 2, 7, 7), dtype=np.uint8)}, "2 channels"),
        ({"images": np.zeros(3)}, "have the shape (3,)"),
        ({"images": [[1, 2], [3]]}, "several lengths"),
        ({"images": ["a", "b"]}, "expected numbers"),
        ({"images": GREY, "test_images": GREY[:, :2]}, "images of several shapes: train (1, 4, 5) and test (1, 2, 5)"),
        ({"images": GREY, "labels": LABELS, "test_images": GREY}, "attributes class, test images none"),
        ({"images": GREY[:1]}, "1 image is too few"),
        ({"images": np.full((4, 2), np.inf)}, "points are not finite"),
    ],
)
def test_arrays_that_do_not_fit(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        from_arrays(**arguments)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": LABELS}, "there are no images among its arrays: class"),
        ({"images": GREY, "labels": LABELS[:4]}, "labels has 4 labels for 10 images"),
        ({"images": GREY, "labels": 3}, "labels has one labels for 10 images"),
        ({"images": GREY, "test_labels": LABELS}, "it has labels of test, but no images of them"),
        ({"images": GREY, "test_images": GREY}, "are the images split or not?"),
        ({"test_images": GREY}, "images for the test alone"),
        ({"images": GREY, "labels": np.array([{}] * 10, dtype=object)}, "array labels holds Python objects"),
    ],
)
def test_files_whose_arrays_do_not_fit(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        saved(tmp_path, **arrays)
    assert said in str(caught.value)
    assert caught.value.where == str(tmp_path / "a.npz")
    assert caught.value.hint


def test_files_that_are_damaged_or_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.random.default_rng(0).integers(0, 256, (50, 9, 9), dtype=np.uint8))
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    for damaged in (content[: len(content) // 2], bytes(flipped), b"", b"PK\x03\x04", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"no \.npz file that can be read|never unpickled"):
            load_images(path)
    with path.open("wb") as file:
        np.save(file, GREY)
    with pytest.raises(DataError, match="a single array"):
        load_images(path)
    with pytest.raises(DataError, match="there is no such path"):
        load_images(str(tmp_path / "b.npz"))
