"""Readers, on small files written in each publisher's own format."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets
from published_files import md5, write_idx

from nesy_gedi.data.cards import load_card
from nesy_gedi.data.files import FoundFiles
from nesy_gedi.data.readers import read_cifar, read_idx, read_svhn
from nesy_gedi.errors import DataError


def test_idx_round_trip(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 5, 6), dtype=np.uint8)
    write_idx(tmp_path / "file.gz", array)
    assert np.array_equal(read_idx(tmp_path / "file.gz"), array)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"not gzip", "not a gzipped idx file"),
        (gzip.compress(bytes(1000), mtime=0)[:-12], "not a gzipped idx file"),
        (gzip.compress(b"\0\0", mtime=0), "not a gzipped idx file"),
        (gzip.compress(b"\0\0\x08\x02\0\0\0\x01", mtime=0), "not a gzipped idx file"),
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\x01abcd", mtime=0), "expected an idx file of unsigned bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcd", mtime=0), "the header promises 5 bytes, found 4"),
    ],
)
def test_not_an_idx_file(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        read_idx(tmp_path / "file.gz")
    assert caught.value.where == str(tmp_path / "file.gz")


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    splits = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": np.array([[10], [1], [2], [9]], dtype=np.uint8)})
        splits[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)

    train, test = read_svhn(load_card("svhn"), FoundFiles(tmp_path, {}))
    for images in (train, test):
        assert images.shape == (3, 32, 32)
        assert images.labels["class"].index.tolist() == [0, 1, 2, 9]
        assert torch.equal(images.images[1], torch.from_numpy(pixels[..., 1]).permute(2, 0, 1))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar(name: str, key: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_card(name)
    publisher = getattr(torchvision.datasets, str(card.torchvision))
    folder = tmp_path / publisher.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3 * 32 * 32), dtype=np.uint8)

    def publish(file: str, content: object) -> str:
        (folder / file).write_bytes(pickle.dumps(content))
        return md5(folder / file)

    batch = {"data": pixels, key: [3, 0, 9]}
    monkeypatch.setattr(publisher, "train_list", [["first", publish("first", batch)], ["more", publish("more", batch)]])
    monkeypatch.setattr(publisher, "test_list", [["test", publish("test", batch)]])
    meta = {"filename": "meta", "key": "names", "md5": publish("meta", {"names": list(card.attributes["class"])})}
    monkeypatch.setattr(publisher, "meta", meta)
    checksums = card.unpacked
    if packed:
        checksums = card.files
        with tarfile.open(tmp_path / publisher.filename, "w:gz") as archive:
            archive.add(folder, publisher.base_folder)
        for file in folder.iterdir():
            file.unlink()

    train, test = read_cifar(card, FoundFiles(tmp_path, checksums))
    assert train.labels["class"].index.tolist() == [3, 0, 9, 3, 0, 9]
    assert test.labels["class"].index.tolist() == [3, 0, 9]
    assert torch.equal(test.images, torch.from_numpy(pixels).view(3, 3, 32, 32))
    assert test.images.is_contiguous()
