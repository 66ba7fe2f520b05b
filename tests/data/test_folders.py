"""Folders of images: classes, splits, and layouts that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from picture_files import grey, truncated, write

from nesy_gedi.data import UNKNOWN, ReadOptions, load_images
from nesy_gedi.errors import DataError, NesyGediWarning, UsageError


def levels(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_subfolders_are_classes_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number, name in enumerate(("9", "10", "1")):
        for k in range(10):
            grey(folder / name / f"{k}.png", 20 * number + k)
    grey(folder / ".hidden" / "a.png", 0)
    grey(folder / "9" / ".thumbnail.png", 0)
    write(folder / "9" / "notes.txt", "no image")
    splits = load_images(folder)
    labels = splits.train.labels["class"]
    assert labels.classes == ("1", "9", "10")
    assert (len(splits.train), len(splits.test)) == (24, 6)
    assert splits.test.labels["class"].index.bincount().tolist() == [2, 2, 2]  # stratified
    for part in (splits.train, splits.test):
        of = {0: 2, 1: 0, 2: 1}
        assert [level // 20 for level in levels(part.images)] == [of[k] for k in part.labels["class"].index.tolist()]
    assert sorted(levels(splits.train.images) + levels(splits.test.images)) == [
        20 * n + k for n in range(3) for k in range(10)
    ]
    again = load_images(str(folder))
    assert torch.equal(again.test.images, splits.test.images)
    assert splits.name == str(folder)


def test_train_and_test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for k in range(3):
        grey(folder / "train" / "a" / f"{k}.png", k)
        grey(folder / "Test" / "b" / f"{k}.png", 100 + k)
        grey(folder / "val" / "c" / "deeper" / f"{k}.png", 200 + k)
    splits = load_images(folder)
    assert splits.train.labels["class"].classes == splits.test.labels["class"].classes == ("a", "b", "c")
    assert levels(splits.train.images) == [0, 1, 2, 200, 201, 202]
    assert levels(splits.test.images) == [100, 101, 102]
    assert splits.train.labels["class"].index.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_validation_folder_is_the_test_where_there_is_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    grey(folder / "train" / "a" / "0.png", 1)
    grey(folder / "val" / "a" / "0.png", 2)
    splits = load_images(folder)
    assert (levels(splits.train.images), levels(splits.test.images)) == ([1], [2])


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("train", "car"):
        for k in range(5):
            grey(folder / name / f"{k}.png", k)
    assert load_images(folder).train.labels["class"].classes == ("car", "train")


def test_images_without_classes_have_no_attribute(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for k in range(10):
        grey(folder / f"{k}.png", k)
    splits = load_images(folder)
    assert splits.train.labels == {}
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.given is None


def test_a_file_may_tell_classes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for k in range(10):
        grey(folder / f"{k}.png", k)
    write(folder / "labels.csv", "file,shape,colour\n3.png,round,red\n4.png,square,\n")
    splits = load_images(folder)
    known = {}
    for part in (splits.train, splits.test):
        assert part.labels["shape"].classes == ("round", "square")
        for level, index in zip(levels(part.images), part.labels["shape"].index.tolist(), strict=True):
            known[level] = index
    assert known == dict.fromkeys(range(10), UNKNOWN) | {3: 0, 4: 1}
    assert sum((part.labels["colour"].index == UNKNOWN).sum() for part in (splits.train, splits.test)) == 9


def test_a_skipped_image_takes_its_label_along(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("a", "b"):
        for k in range(5):
            grey(folder / name / f"{k}.png", k + (100 if name == "b" else 0), (30, 30))
    truncated(folder / "a" / "2.png")
    with pytest.raises(DataError, match="cannot be read"):
        load_images(folder)
    with pytest.warns(NesyGediWarning, match="1 of 10 images"):
        splits = load_images(folder, options=ReadOptions(skip_unreadable=True))
    assert splits.reading.skipped == ("a/2.png",)
    for part in (splits.train, splits.test):
        assert [level >= 100 for level in levels(part.images)] == part.labels["class"].index.bool().tolist()


def broken(folder: Path, name: str) -> None:
    match name:
        case "empty":
            folder.mkdir(exist_ok=True)
        case "nothing to see":
            write(folder / "a.txt", "")
        case "beside":
            grey(folder / "a" / "0.png", 0)
            grey(folder / "1.png", 0)
        case "empty class":
            grey(folder / "a" / "0.png", 0)
            write(folder / "b" / "0.heic", "")
        case "one image":
            grey(folder / "a" / "0.png", 0)
        case "half labelled":
            grey(folder / "train" / "a" / "0.png", 0)
            grey(folder / "test" / "0.png", 0)
        case "told twice":
            grey(folder / "a" / "0.png", 0)
            grey(folder / "a" / "1.png", 0)
            write(folder / "labels.csv", "a/0.png,a\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "there are no images in this folder: it is empty"),
        ("nothing to see", "it holds a.txt"),
        ("beside", "1 images lie beside class folders: 1.png"),
        ("empty class", "files of the kinds .heic"),
        ("one image", "1 image is too few"),
        ("half labelled", "test has images without class folders"),
        ("told twice", "class is told twice"),
    ],
)
def test_layouts_that_are_none(name: str, said: str, tmp_path: Path) -> None:
    broken(tmp_path / "data", name)
    with pytest.raises(DataError) as caught:
        load_images(tmp_path / "data")
    assert said in str(caught.value)
    assert caught.value.hint


def test_what_is_neither_a_name_nor_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match='no data set is named "digitz", and there is no such path') as caught:
        load_images("digitz")
    assert "did you mean digits?" in str(caught.value)
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"there is no such path.*the nearest name is photos"):
        load_images(tmp_path / "photo")
    with pytest.raises(
        DataError, match=r"there is no such path: there is no folder .*phots; the nearest name is photos"
    ):
        load_images(str(tmp_path / "phots" / "train"))
    write(tmp_path / "a.txt", "")
    with pytest.raises(DataError, match="this file is no data"):
        load_images(tmp_path / "a.txt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert load_images("digits").train.shape == (1, 8, 8)  # a known name is that data set
    with pytest.raises(DataError, match="there are no images"):
        load_images("./digits")
