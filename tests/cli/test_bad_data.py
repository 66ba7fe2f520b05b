"""Data that is missing, damaged, of another shape, or not what the program is about."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MNIST = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"


def test_missing_files(run: Run) -> None:
    outcome = run("train", "addition", "--data", "mnist", "--data-dir", "nowhere", "--out", "out")
    outcome.failed(1, "MNIST", *FILES, "nowhere", "--download", "--data-dir")
    nothing_but()


def test_incomplete_copy(run: Run) -> None:
    folder = Path("data/mnist")
    folder.mkdir(parents=True)
    (folder / FILES[0]).write_bytes(b"")
    outcome = run("train", "addition", "--data", "mnist", "--data-dir", "data", "--out", "out")
    outcome.failed(1, "incomplete copy", "lacks", FILES[1])
    nothing_but("data")


def test_corrupt_file(run: Run) -> None:
    folder = Path("data/mnist")
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(gzip.compress(b"not the published images"))
    outcome = run("train", "addition", "--data", "mnist", "--data-dir", "data", "--out", "out")
    outcome.failed(1, f"data/mnist/{FILES[0]}: corrupt or truncated", "md5", "rerun with --download to fetch it anew")
    nothing_but("data")


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not at {MNIST}")
@pytest.mark.parametrize("name", FILES)
def test_truncated_file(run: Run, name: str) -> None:
    folder = Path("data/mnist")
    folder.mkdir(parents=True)
    for other in FILES:
        (folder / other).symlink_to(MNIST / other)
    (folder / name).unlink()
    (folder / name).write_bytes((MNIST / name).read_bytes()[:-100])
    outcome = run("train", "addition", "--data", "mnist", "--data-dir", "data", "--out", "out")
    outcome.failed(1, f"data/mnist/{name}: corrupt or truncated", "md5")
    nothing_but("data")


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not at {MNIST}")
def test_images_of_another_shape(run: Run, finished_run: Path) -> None:
    outcome = run("evaluate", finished_run, "--data", "mnist", "--data-dir", MNIST.parent)
    outcome.failed(1, "images of shape (1, 28, 28), the network expects (1, 8, 8)", "hint:")


def test_images_of_something_else(run: Run, finished_run: Path) -> None:
    run("evaluate", finished_run, "--data", "shapes").failed(2, "no attribute class", "colour, filled, shape")
    run("train", "crossing", "--data", "digits", "--out", "out").failed(2, "no attribute colour", "valid: class")
    nothing_but()


def test_too_few_images(run: Run) -> None:
    outcome = run("train", "addition", "--set", "data.validation=100000", *TINY, "--out", "out")
    outcome.failed(1, "images are too few", "data.validation")
    nothing_but()


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not at {MNIST}")
def test_data_folder_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {item["name"]: item["status"] for item in run("data", "--json").document}
    assert missing["mnist"] == "missing"
    monkeypatch.setenv("NESY_GEDI_DATA", str(MNIST.parent))
    found = {item["name"]: item for item in run("data", "--json").document}
    assert (found["mnist"]["status"], found["mnist"]["path"]) == ("found", str(MNIST))
    assert found["digits"]["status"] == "embedded"
