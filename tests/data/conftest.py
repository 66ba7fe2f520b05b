"""Data folders for the tests: never the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from published_files import md5, write_idx

from nesy_gedi.data import images
from nesy_gedi.data.cards import Card, load_card
from nesy_gedi.data.files import DATA_VARIABLE

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache in place of the real one; returns the data folder within it."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nesy-gedi" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not (REAL_DATA / "mnist").is_dir():
        pytest.skip(f"the real MNIST files are not in {REAL_DATA / 'mnist'}")
    return REAL_DATA


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Card, Path]:
    """A stand-in for MNIST with 12 training and 5 test images that ``load_images`` takes for the real one.

    Returns its card, and the folder with its files (which no data folder contains yet).
    """
    source = tmp_path / "published"
    for prefix, count in (("train", 12), ("t10k", 5)):
        write_idx(source / f"{prefix}-images-idx3-ubyte.gz", np.arange(count * 6).reshape(count, 2, 3))
        write_idx(source / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    real = load_card("mnist")
    checksums = {name: md5(source / name) for name in real.files}
    card = replace(real, files=checksums, train=12, test=5, image_shape=(1, 2, 3))
    monkeypatch.setattr(images, "load_card", lambda name: card if name == "mnist" else load_card(name))
    return card, source
