"""``nesy-gedi data`` and runs on data of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import TINY, TINY_PRETRAIN, Run, nothing_but
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, each: int = 12) -> list[tuple[Path, int]]:
    """Bundled digits as files, ``each`` of every class in a folder of its own."""
    digits = load_digits()
    files = []
    for label in range(10):
        for k, image in enumerate(digits.images[digits.target == label][:each]):
            path = folder / str(label) / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(path)
            files.append((path, label))
    return files


@pytest.fixture
def sums() -> Path:
    """A table of sixty sums of two digits, beside their images."""
    files = write_digits(Path("own"))
    order = np.random.default_rng(0).permutation(len(files)).reshape(-1, 2)
    lines = []
    for first, second in order:
        (left, x), (right, y) = files[first], files[second]
        lines.append(f"{left.relative_to('own')},{right.relative_to('own')},{x + y}")
    table = Path("own/sums.csv")
    table.write_text("X,Y,Sum\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return table


def test_what_is_in_known_data(run: Run) -> None:
    (document,) = run("data", "digits", "--json").document
    assert (document["name"], document["status"], document["licence"] != "") == ("digits", "embedded", True)
    assert (document["train"], document["test"], document["image_shape"]) == (1437, 360, [1, 8, 8])
    assert document["classes"] == {"class": 10}
    assert document["counts"]["class"]["3"] == {"train": 146, "test": 37}
    text = run("data", "digits").out
    assert "1x8x8    1437   360" in text
    assert "no labels" not in text


def test_what_is_in_a_folder(run: Run) -> None:
    write_digits(Path("own"), each=5)
    outcome = run("data", "own", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    (document,) = outcome.document
    assert (document["name"], document["kind"], document["path"]) == (
        "own",
        "image folder",
        str(Path("own").absolute()),
    )
    assert document["counts"]["class"]["9"] == {"train": 4, "test": 1}
    assert Path(document["cache"]).is_file()
    assert f"decoded images are kept in {document['cache']}" in run("data", "own").out
    (resized,) = run("data", "own", "--set", "data.image_shape=[3,16,16]", "--json").document
    assert resized["image_shape"] == [3, 16, 16]
    run("data", "own", "--set", "data.image_shape=[2]").failed(2, "data.image_shape must be [height, width]")
    run("data", "own", "--set", "training.epochs=2").failed(2, "training.epochs says nothing about data")
    run("data", "own", "--download").failed(2, "own is no known data set")
    run("data", "--download").failed(2, "no data set is named")
    nothing_but("own")


def test_what_is_in_a_table(run: Run, sums: Path) -> None:
    (document,) = run("data", sums, "--json").document
    assert (document["kind"], document["rows"]) == ("table", {"train": 48, "test": 12})
    assert document["columns"] == {"inputs": ["X", "Y"], "values": ["Sum"]}
    assert sum(each["train"] + each["test"] for each in document["answers"]["Sum"].values()) == 60
    text = run("data", sums).out
    assert "answer Sum" in text
    assert "no labels" in text


def test_unreadable_images_and_missing_files(run: Run, sums: Path) -> None:
    broken = Path("own/3/0.png")
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    run("data", sums).failed(1, "own/3/0.png: the file is empty", "--set data.skip_unreadable=true")
    outcome = run("data", sums, "--set", "data.skip_unreadable=true")
    assert outcome.code == 0
    assert "1 files cannot be read and are left out, with 1 rows" in outcome.out
    checked = run("data", sums, "--check")
    assert checked.code == 3
    assert "the file is empty" in checked.err
    broken.write_bytes(whole)
    assert run("data", sums, "--check").code == 0
    broken.rename("own/3/0.jpg")
    run("data", sums).failed(1, "own/sums.csv:", "there is no file '3/0.png'", "the nearest name is 0.jpg")
    run("train", "addition", "--data", sums, *TINY, "--out", "out").failed(1, "there is no file '3/0.png'")
    nothing_but("own")


def test_check_of_known_data(run: Run) -> None:
    assert run("data", "--check", "--data-dir", "nowhere").code == 0  # what is not there is not wrong
    named = run("data", "mnist", "--check", "--data-dir", "nowhere")
    assert (named.code, "MNIST handwritten digits not found" in named.err) == (3, True)
    folder = Path("data/mnist")
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").touch()
    outcome = run("data", "--check", "--data-dir", "data", "--json")
    assert outcome.code == 3
    status = {item["name"]: item["status"] for item in outcome.document}
    assert (status["mnist"], status["digits"], status["svhn"]) == ("wrong", "embedded", "missing")


def test_a_name_that_is_neither(run: Run) -> None:
    run("data", "digitz").failed(2, "no data set is named", "there is no such path", "did you mean digits?")
    run("data", "digits.npz").failed(1, "digits.npz: there is no such path", ".csv table")


def test_a_run_on_a_folder_goes_on_from_elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits(Path("own"))
    trained = run(
        "train", "addition", "--data", "own", "--set", "data.image_shape=[8,8]", *TINY, "--out", "out", "--json"
    )
    assert trained.code == 0, trained.err
    source = str(Path("own").absolute())
    assert trained.document["data"] == source
    out = Path("out").absolute()
    resumed = run("train", "--resume", out, "--data", "own")
    assert resumed.code == 0, resumed.err
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = run("evaluate", out, "--json")
    assert again.code == 0, again.err
    assert again.document["metrics"]["answer_accuracy"] == trained.document["metrics"]["answer_accuracy"]
    run("train", "--resume", out, "--data", "own").failed(2, "data.source is")
    other = run("evaluate", out, "--data", "../own", "--json")
    assert other.document["data"] == source


def test_nothing_is_said_of_symbols_that_nobody_has_labelled(run: Run, sums: Path) -> None:
    """No row and no column of dashes: a sentence says why."""
    done = run("train", "addition", "--data", sums, "--method", "answers", "--epochs", "1", "--out", "bare", "--quiet")
    assert done.code == 0
    assert "symbols of digit_net: no test image is labelled" in done.out
    assert "never aligned" not in done.out
    shown = run("inspect", "bare").out.splitlines()
    assert ["symbol", "share", "confidence"] in [line.split() for line in shown]
    page = Path("bare/report.html").read_text(encoding="utf-8")
    assert "<strong>entropy</strong>" in page
    assert "<strong>AMI</strong>" not in page


def test_few_labels_are_told(run: Run, sums: Path) -> None:
    """What is measured on a handful of images is not what it seems."""
    for line in sums.read_text(encoding="utf-8").splitlines()[1:]:
        file = line.split(",")[0]
        with (sums.parent / "labels.csv").open("a", encoding="utf-8") as labels:
            labels.write(f"{file},{Path(file).parent}\n")
    done = run("train", "addition", "--data", sums, "--method", "answers", "--epochs", "1", "--out", "few", "--quiet")
    assert "Only 12 test images are labelled for digit_net: that is little" in done.out
    assert "Only 12 test images are labelled for digit_net: that is little" in run("inspect", "few").out


def test_a_pretraining_on_a_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits(Path("own"), each=20)
    arguments = [value if value != "digits" else "own" for value in TINY_PRETRAIN]
    pretrained = run("pretrain", *arguments, "--json")
    assert pretrained.code == 0, pretrained.err
    folder = Path(pretrained.document["run"])
    assert folder.name.startswith("falcon-own-")
    assert pretrained.document["data"] == str(Path("own").absolute())
    folder = folder.absolute()
    assert run("pretrain", "--resume", folder, "--data", "own").code == 0
    monkeypatch.chdir("runs")
    assert run("pretrain", "--resume", folder).code == 0


def test_a_table_that_is_held_out_is_measured_whole(run: Run, sums: Path) -> None:
    run("train", "addition", "--data", sums, "--method", "answers", "--epochs", "1", "--out", "run", "--quiet")
    kept = sums.read_text(encoding="utf-8").splitlines()
    held_out = sums.with_name("held-out.csv")
    held_out.write_text("\n".join(kept[:31]) + "\n", encoding="utf-8")
    measured = run("evaluate", "run", "--data", held_out, "--json")
    assert measured.code == 0, measured.err
    assert measured.document["metrics"]["queries"] == 30
    split = [f"{line},{'split' if number == 0 else 'test'}" for number, line in enumerate(kept[:21])]
    held_out.write_text("\n".join(split) + "\n", encoding="utf-8")
    assert run("evaluate", "run", "--data", held_out, "--json").document["metrics"]["queries"] == 20
    own = run("evaluate", "run", "--data", sums, "--json").document["metrics"]["queries"]
    assert own == run("evaluate", "run", "--json").document["metrics"]["queries"]


def test_a_run_does_not_go_on_with_changed_data(run: Run, sums: Path) -> None:
    run("train", "addition", "--data", sums, "--method", "answers", "--epochs", "1", "--out", "run", "--quiet")
    assert run("train", "--resume", "run").code == 0
    image = sums.parent / sums.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    with Image.open(image) as picture:
        picture.point(lambda level: 255 - level).save(image)
    changed = run("train", "--resume", "run")
    changed.failed(
        1, "run: the run was begun with other data: images or answers have changed", "hint: give it the data"
    )
