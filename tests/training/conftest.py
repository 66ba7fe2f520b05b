"""Training tests run on one thread, below a temporary folder, and read each embedded data set once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning_fabric import Fabric
from small_pretraining import pretrain_small
from small_runs import read_once

from nesy_gedi.data import ImageSplits
from nesy_gedi.training import training
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.pretraining import Pretrained


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that outlive a test keep their circuits in a temporary folder, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NESY_GEDI_CACHE", str(tmp_path_factory.mktemp("circuits")))
        yield


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, never the repository: runs that are given no folder and cached circuits land in it."""
    monkeypatch.setenv("NESY_GEDI_CACHE", str(tmp_path / "circuit-cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "load_images", lambda name, **_: read_once(name))
    return tmp_path


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """A pretraining that no test changes: ten clusters of digits."""
    return pretrain_small(tmp_path_factory.mktemp("pretrained") / "run")


@pytest.fixture
def folder(pretrained: Pretrained, tmp_path: Path) -> Path:
    """A copy that a test may delete."""
    shutil.copytree(pretrained.run.path, tmp_path / "pretraining")
    return tmp_path / "pretraining"


@pytest.fixture(scope="session")
def digits() -> ImageSplits:
    return read_once("digits")


@pytest.fixture(scope="session")
def shapes() -> ImageSplits:
    return read_once("shapes")


@pytest.fixture(scope="session")
def fabric() -> Fabric:
    return make_fabric("cpu", "32-true")
