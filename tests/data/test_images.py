from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree

import pytest
import torch
from sklearn.datasets import load_digits

from nesy_gedi.data import available, describe, images, load_card, load_images
from nesy_gedi.data.cards import Card
from nesy_gedi.data.files import DATA_VARIABLE
from nesy_gedi.errors import DataError, UsageError

EMBEDDED = [name for name in available() if load_card(name).embedded]


def rows(pixels: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in pixels]


def test_digits_are_split_without_overlap_or_loss() -> None:
    splits = load_images("digits")
    train, test = rows(splits.train.images), rows(splits.test.images)
    assert (len(train), len(test)) == (1437, 360)
    everything = rows(torch.from_numpy((load_digits().images * 255 / 16).round()).to(torch.uint8))
    assert len(set(everything)) == 1797  # no image occurs twice, so the bytes stand for the index
    assert set(train).isdisjoint(test)
    assert set(train) | set(test) == set(everything)


def test_digits_are_stratified_and_use_the_whole_range() -> None:
    splits = load_images("digits")
    test, train = (part.labels["class"].index.bincount() for part in (splits.test, splits.train))
    assert ((test - (train + test) * 360 / 1797).abs() < 1).all()
    assert splits.train.images.dtype == torch.uint8
    assert splits.train.images.unique().tolist() == [round(level * 255 / 16) for level in range(17)]


def test_digits_carry_their_own_labels() -> None:
    digits, splits = load_digits(), load_images("digits")
    label_of = dict(zip(rows(torch.from_numpy(digits.images).to(torch.uint8)), digits.target.tolist(), strict=True))
    levels = (splits.test.images[:, 0].float() * 16 / 255).round().to(torch.uint8)
    assert [label_of[row] for row in rows(levels)] == splits.test.labels["class"].index.tolist()


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_never_change(name: str) -> None:
    first, second = load_images(name), load_images(name)
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.images, second.test.images)


def test_shapes_share_no_image_between_splits() -> None:
    splits = load_images("shapes")
    assert set(rows(splits.train.images)).isdisjoint(rows(splits.test.images))


def test_unknown_name() -> None:
    with pytest.raises(UsageError) as caught:
        load_images("mnits")
    assert 'no data set is named "mnits"' in str(caught.value)
    assert "did you mean mnist?" in str(caught.value)


def test_real_mnist(real_data: Path) -> None:
    splits = load_images("mnist", data_dir=real_data)
    assert splits.train.images.shape == (60000, 1, 28, 28)
    assert splits.test.images.shape == (10000, 1, 28, 28)
    assert splits.train.labels["class"].index[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits.test.labels["class"].index[:5].tolist() == [7, 2, 1, 0, 4]
    assert splits.train.images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_real_mnist_damaged(real_data: Path, tmp_path: Path) -> None:
    copytree(real_data / "mnist", tmp_path / "mnist", copy_function=copyfile)
    damaged = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        load_images("mnist", data_dir=tmp_path)
    assert caught.value.where == str(damaged)
    assert f"truncated ({len(content) // 2} bytes)" in caught.value.message
    assert "expected md5 f68b3c2dcbeaaa9fbdd348bbdeb94873, found " in caught.value.message
    assert caught.value.hint == "rerun with --download to fetch it anew"


def test_finds_files_by_argument_then_environment_then_cache(
    small_mnist: tuple[Card, Path], user_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, source = small_mnist
    with pytest.raises(DataError, match="MNIST handwritten digits not found"):
        load_images("mnist")

    copytree(source, user_cache / "mnist")
    splits = load_images("mnist")
    assert splits.train.images.flatten().tolist() == list(range(72))
    assert splits.test.labels["class"].index.tolist() == [0, 1, 2, 3, 4]

    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        load_images("mnist")
    assert len(load_images("mnist", data_dir=source).train) == 12
    assert {path.name for path in source.iterdir()} == card.files.keys()  # reading wrote nothing


def test_missing_names_the_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_images("kmnist", data_dir=tmp_path / "absent")
    for folder in ("absent/kmnist", "absent", "absent/KMNIST/raw"):
        assert str(tmp_path / folder) in caught.value.message
    assert "--download" in str(caught.value.hint)
    assert "--data-dir" in str(caught.value.hint)
    assert not (tmp_path / "absent").exists()


def test_incomplete_names_the_absent_file(small_mnist: tuple[Card, Path], tmp_path: Path) -> None:
    copytree(small_mnist[1], tmp_path / "data")
    (tmp_path / "data" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"incomplete copy .* lacks t10k-labels-idx1-ubyte\.gz") as caught:
        load_images("mnist", data_dir=tmp_path / "data")
    assert caught.value.where == str(tmp_path / "data")
    assert describe("mnist", tmp_path / "data").status == "missing"


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_corrupt_file_is_never_parsed(
    name: str, small_mnist: tuple[Card, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    card, source = small_mnist
    content = bytearray((source / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (source / name).write_bytes(content)
    monkeypatch.setitem(images._FROM_FILES, "mnist", lambda *_: pytest.fail("parsed a file with a wrong md5"))
    with pytest.raises(DataError, match=f"expected md5 {card.files[name]}") as caught:
        load_images("mnist", data_dir=source)
    assert caught.value.where == str(source / name)


def test_reader_failure_is_a_data_error(small_mnist: tuple[Card, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("labels")

    monkeypatch.setitem(images._FROM_FILES, "mnist", fail)
    with pytest.raises(DataError, match="MNIST handwritten digits cannot be read: 'labels'"):
        load_images("mnist", data_dir=small_mnist[1])


def test_images_must_agree_with_the_card(small_mnist: tuple[Card, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    card, source = small_mnist
    monkeypatch.setattr(images, "load_card", lambda _: replace(card, test=6))
    with pytest.raises(DataError, match=r"5 test images of shape \(1, 2, 3\), expected 6"):
        load_images("mnist", data_dir=source)


def test_download_only_when_absent(
    small_mnist: tuple[Card, Path], user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, source = small_mnist
    downloads = []

    def download_files(wanted: Card, root: Path) -> None:
        downloads.append((wanted.name, root))
        copytree(source, root / wanted.name)

    monkeypatch.setattr(images, "download_files", download_files)
    for _ in range(2):
        assert len(load_images(card.name, download=True).test) == 5
    assert downloads == [("mnist", user_cache)]


def test_describe(real_data: Path, tmp_path: Path) -> None:
    found = describe("mnist", real_data)
    assert (found.status, found.path) == ("found", str(real_data / "mnist"))
    assert (found.train, found.test, found.classes, found.image_shape) == (60000, 10000, {"class": 10}, (1, 28, 28))
    status = {name: describe(name, tmp_path).status for name in available()}
    assert [name for name, state in status.items() if state == "embedded"] == EMBEDDED
    assert [name for name, state in status.items() if state == "found"] == []
    assert describe("shapes").classes == {"shape": 3, "colour": 3, "filled": 2}
    assert describe("moons").image_shape == (2,)
    with pytest.raises(UsageError, match='no data set is named "nothing"'):
        describe("nothing")
