from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from urllib.error import URLError

import pytest
import torchvision.datasets.utils

from nesy_gedi.data.cards import Card, load_card
from nesy_gedi.data.files import DATA_VARIABLE, _mirrors, data_root, download_files, find_files, verify_files
from nesy_gedi.errors import DataError


def put(card: Card, source: Path, folder: Path, *, without: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in card.files:
        if name != without:
            copyfile(source / name, folder / name)
    return folder


def test_search_order(tmp_path: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root() == user_cache
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "from-environment"))
    assert data_root() == tmp_path / "from-environment"
    assert data_root(tmp_path / "explicit") == tmp_path / "explicit"


@pytest.mark.parametrize("cache", [None, "", "relative/folder"])
def test_cache_in_the_home_folder(cache: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if cache is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert data_root() == tmp_path / ".cache" / "nesy-gedi" / "data"


@pytest.mark.parametrize("layout", ["mnist", ".", "MNIST/raw"])
def test_layouts(layout: str, small_mnist: tuple[Card, Path], tmp_path: Path) -> None:
    card, source = small_mnist
    folder = put(card, source, tmp_path / "root" / layout)
    found = find_files(card, tmp_path / "root")
    assert found is not None
    assert found.folder.resolve() == folder.resolve()
    verify_files(found)


def test_incomplete_folder_does_not_hide_a_complete_one(small_mnist: tuple[Card, Path], tmp_path: Path) -> None:
    card, source = small_mnist
    put(card, source, tmp_path / "root" / "mnist", without="t10k-images-idx3-ubyte.gz")
    complete = put(card, source, tmp_path / "root" / "MNIST" / "raw")
    found = find_files(card, tmp_path / "root")
    assert found is not None
    assert found.folder == complete


def test_relatives_of_mnist_are_told_apart(real_data: Path) -> None:
    """They share their file names, so a flat folder with one of them must not be taken for another."""
    assert find_files(load_card("mnist"), real_data / "mnist") is not None
    assert find_files(load_card("fashion-mnist"), real_data / "mnist") is None
    assert find_files(load_card("kmnist"), real_data / "mnist") is None


def test_unpacked_archive_is_accepted(tmp_path: Path) -> None:
    card = load_card("cifar10")
    for name in card.unpacked:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_files(card, tmp_path)
    assert found is not None
    assert found.checksums == card.unpacked
    with pytest.raises(DataError, match=r"data_batch_1: corrupt or truncated \(0 bytes\)"):
        verify_files(found)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "cifar100"])
def test_every_file_has_an_address(name: str) -> None:
    card = load_card(name)
    addresses = _mirrors(card)
    assert addresses.keys() == card.files.keys()
    assert all(url.startswith("http") and url.endswith(file) for file, urls in addresses.items() for url in urls)
    assert all(addresses.values())


def test_download(small_mnist: tuple[Card, Path], user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first mirror is down; the files arrive whole, and nothing else stays behind."""
    card, source = small_mnist
    tried = []

    def download_url(url: str, root: Path, filename: str, md5: str) -> None:
        tried.append(url)
        if url == torchvision.datasets.MNIST.mirrors[0] + filename:
            raise URLError("down")
        assert md5 == card.files[filename]
        copyfile(source / filename, Path(root) / filename)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)
    download_files(card, user_cache)
    found = find_files(card, user_cache)
    assert found is not None
    assert found.folder == user_cache / "mnist"
    verify_files(found)
    assert len(tried) == 8
    assert [path.name for path in user_cache.iterdir()] == ["mnist"]


@pytest.mark.parametrize("error", [URLError("Name or service not known"), RuntimeError("File not found or corrupted.")])
def test_interrupted_download_leaves_nothing(
    error: Exception, small_mnist: tuple[Card, Path], user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, source = small_mnist

    def download_url(url: str, root: Path, filename: str, md5: str) -> None:
        copyfile(source / filename, Path(root) / filename)
        if filename == "t10k-labels-idx1-ubyte.gz":
            raise error

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)
    with pytest.raises(DataError, match="MNIST handwritten digits could not be downloaded") as caught:
        download_files(card, user_cache)
    assert str(error) in str(caught.value)
    assert list(user_cache.iterdir()) == []


def test_download_into_a_folder_that_cannot_be(small_mnist: tuple[Card, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="could not be downloaded"):
        download_files(small_mnist[0], tmp_path / "file")


def test_real_checksums(real_data: Path) -> None:
    found = find_files(load_card("mnist"), real_data)
    assert found is not None
    verify_files(found)
    name = "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(DataError) as caught:
        verify_files(replace(found, checksums={name: "0" * 32}))
    assert f"{found.folder / name}: corrupt or truncated (4542 bytes)" in str(caught.value)
    assert f"expected md5 {'0' * 32}, found ec29112dd5afa0611ce80d1b7f02629c" in str(caught.value)
