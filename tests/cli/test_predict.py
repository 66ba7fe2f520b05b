"""``nesy-gedi predict``: one query, many of them, every format, and every error that a user can meet."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from command_runs import Run, settings
from PIL import Image

from nesy_gedi.cli.main import main
from nesy_gedi.data import load_images
from nesy_gedi.training.predictor import Predictor


@pytest.fixture(scope="session")
def predictor_folder(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A predictor of the finished run; read only."""
    return Predictor.load(finished_run, device="cpu").save(tmp_path_factory.mktemp("saved") / "predictor")


@pytest.fixture(scope="session")
def observing_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose form has observed slots; read only."""
    path = tmp_path_factory.mktemp("observing") / "run"
    tiny = ("--method", "answers", "--limit", "20", "--epochs", "1", "--device", "cpu", "--quiet", "--out", str(path))
    form = "multi_addition([X], [Y], [Z0, Z1])"
    with pytest.raises(SystemExit) as caught:
        main(["train", "multi_addition", "--query", form, *settings("data.validation=10", "data.test=10"), *tiny])
    assert caught.value.code == 0
    return path


@pytest.fixture(scope="session")
def reading_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a program that looks at one image; read only."""
    folder = tmp_path_factory.mktemp("reading")
    program = folder / "half.pl"
    program.write_text(
        "nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).\nhalf(X, low) :- digit(X, Y), Y < 5.\n"
        "half(X, high) :- digit(X, Y), Y >= 5.\n",
        encoding="utf-8",
    )
    tiny = ("--method", "answers", "--limit", "40", "--epochs", "1", "--device", "cpu", "--quiet")
    with pytest.raises(SystemExit) as caught:
        main(["train", str(program), "--query", "half(X, Half)", *tiny, "--out", str(folder / "run")])
    assert caught.value.code == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _images() -> None:
    """Six digits, 0.png to 5.png, a table of three queries, and what is no image."""
    digits = load_images("digits").test.images
    Path("many").mkdir()
    for k in range(6):
        Image.fromarray(digits[k, 0].numpy()).save(f"many/{k}.png")
    Path("t.csv").write_text("X,Y\n" + "".join(f"many/{k}.png,many/{k + 3}.png\n" for k in range(3)), encoding="utf-8")
    Path("bad.png").write_text("no image", encoding="utf-8")


A, B = "many/0.png", "many/1.png"
CPU = ("--device", "cpu")


def test_one_query(run: Run, finished_run: Path) -> None:
    done = run("predict", finished_run, A, B, *CPU)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "addition(X, Y, Sum)"
    assert lines[1].startswith("answer: ")
    assert lines[2].startswith("then: ")
    assert any(line.split()[:3] == ["X", A, "digit_net"] for line in lines)
    # After one epoch of twenty sums nothing is sure.
    assert lines[1].endswith("- unsure")
    assert any(line.startswith(f"unsure: image {A} is ") for line in lines)
    assert run("predict", finished_run, A, B, *CPU, "--sure", "0").out.splitlines()[1][-1] == ")"


def test_the_contract_of_one_query(run: Run, predictor_folder: Path, finished_run: Path) -> None:
    found = run("predict", predictor_folder, A, B, "--json", *CPU).document
    assert found["version"] == 1
    assert list(found["answers"]) == [str(k) for k in range(19)]
    assert sum(found["answers"].values()) == pytest.approx(1, abs=1e-5)
    assert [(each["slot"], each["image"]) for each in found["concepts"]] == [("X", A), ("Y", B)]
    for each in found["concepts"]:
        assert sum(each["networks"]["digit_net"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found["images"] == [A, B]
    assert found["unsure"] is True
    assert found["probability"] == max(found["answers"].values()) == found["answers"][found["answer"]]
    symbols = [int(each["networks"]["digit_net"]["symbol"]) for each in found["concepts"]]
    assert str(sum(symbols)) == found["answer"]
    of_run = run("predict", finished_run, A, B, "--json", *CPU).document
    assert of_run | {"run": ""} == found | {"run": ""}
    few = run("predict", predictor_folder, A, B, "--json", "--top", "2", *CPU).document
    assert list(few["answers"]) == sorted(found["answers"], key=lambda term: -found["answers"][term])[:2]


def test_a_table_in_every_format(run: Run, predictor_folder: Path) -> None:
    single = run("predict", predictor_folder, "many/2.png", "many/5.png", "--json", *CPU).document
    text = run("predict", predictor_folder, "--table", "t.csv", *CPU)
    assert text.code == 0
    assert [line.split(":")[0] for line in text.out.splitlines()] == [
        f"many/{k}.png many/{k + 3}.png" for k in range(3)
    ]
    assert "3 queries answered, 3 of them unsure" in text.err
    document = run("predict", predictor_folder, "--table", "t.csv", "--json", *CPU).document
    assert document["version"] == 1
    assert document["skipped"] == []
    assert len(document["predictions"]) == 3
    assert document["predictions"][2]["answers"] == pytest.approx(single["answers"], abs=1e-5)
    assert document["predictions"][2]["concepts"][1]["image"] == "many/5.png"
    written = run("predict", predictor_folder, "--table", "t.csv", "--csv", "out.csv", *CPU)
    assert written.last_line == "out.csv"
    shown = run("predict", predictor_folder, "--table", "t.csv", "--csv", "-", *CPU)
    assert shown.out == Path("out.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert rows[2]["X"] == "many/2.png"
    assert rows[2]["answer"] == single["answer"]
    assert int(rows[2]["symbol(X)"]) + int(rows[2]["symbol(Y)"]) == int(rows[2]["answer"])
    assert float(rows[2]["probability"]) == pytest.approx(single["probability"], abs=1e-4)
    assert rows[2]["unsure"] == "yes"
    assert not list(Path().glob(".*part"))


def test_a_folder(run: Run, reading_run: Path) -> None:
    done = run("predict", reading_run, "--folder", "many", *CPU)
    assert done.code == 0
    assert [line.split(":")[0] for line in done.out.splitlines()] == [f"many/{k}.png" for k in range(6)]
    shutil.copy("bad.png", "many/3a.png")
    run("predict", reading_run, "--folder", "many", *CPU).failed(
        1, "many/3a.png", "no image that can be read", "--skip"
    )
    kept = run("predict", reading_run, "--folder", "many", "--skip-unreadable", *CPU)
    assert kept.out == done.out
    assert "left out: many/3a.png: this is no image" in kept.err
    assert "6 queries answered, " in kept.err
    document = run("predict", reading_run, "--folder", "many", "--skip-unreadable", "--json", *CPU).document
    assert document["skipped"] == [
        {"images": ["many/3a.png"], "reason": "many/3a.png: this is no image that can be read"}
    ]


def test_observed_slots(run: Run, observing_run: Path) -> None:
    predicted = run("predict", observing_run, A, B, "--json", *CPU).document
    assert list(predicted["observed"]) == ["Z0", "Z1"]
    assert predicted["answer"].startswith("Z0 = ")
    told = run("predict", observing_run, A, B, "--given", "Z0=4", "--given", "Z1=1", "--json", *CPU).document
    assert told["observed"] == {"Z0": {"value": "4", "given": True}, "Z1": {"value": "1", "given": True}}
    assert told["answer"] == "true"
    symbols = [int(each["networks"]["digit_net"]["symbol"]) for each in told["concepts"]]
    assert sum(symbols) == 14
    text = run("predict", observing_run, A, B, "--given", "Z1=1", *CPU).out.splitlines()
    assert text[0] == "multi_addition([X], [Y], [Z0, Z1]), given Z1 = 1"
    assert text[1].startswith("answer: Z0 = ")
    Path("t.csv").write_text(f"X,Y,Z0,Z1\n{A},{B},4,1\n", encoding="utf-8")
    rows = run("predict", observing_run, "--table", "t.csv", "--json", *CPU).document["predictions"]
    assert rows[0]["answers"] == pytest.approx(told["answers"], abs=1e-6)


def test_several_networks_look_at_one_image(run: Run) -> None:
    tiny = ("--method", "answers", "--limit", "20", "--epochs", "1", "--quiet", "--out", "named", *CPU)
    assert run("train", "naming", *tiny).code == 0
    document = run("predict", "named", A, "--json", *CPU).document
    assert list(document["concepts"][0]["networks"]) == ["shape_net", "colour_net", "filled_net"]
    lines = run("predict", "named", A, *CPU)
    assert "filled_net" in lines.out
    assert "warning: 1 of 1 images are of another size, 8x8" in lines.err
    assert "shown to a network of colours" in lines.err


def test_warnings_about_the_images(run: Run, predictor_folder: Path) -> None:
    with Image.open(A) as image:
        image.point(lambda grey: 255 - grey).resize((20, 10)).save("swapped.png")
    done = run("predict", predictor_folder, "swapped.png", B, "--json", *CPU)
    assert done.document["doubts"][-1].startswith("image swapped.png: dark and bright are swapped")
    assert "warning: 1 of 2 images are of another size, 20x10" in done.err
    assert "warning: 1 of 2 images seem to have dark and bright swapped" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((A,), 2, ("takes 2 images, one each for X, Y; 1 given", "--table FILE.csv")),
        ((), 2, ("takes 2 images", "0 given")),
        ((A, "bad.png"), 1, ("bad.png: this is no image that can be read",)),
        ((A, "none.png"), 1, ("none.png: there is no such file",)),
        ((A, "many"), 1, ("many: this is a folder",)),
        ((A, B, "--given", "Sum=3"), 2, ("Sum is found by the program",)),
        ((A, B, "--given", "Z=3"), 2, ("Z is not given in addition(X, Y, Sum)",)),
        ((A, B, "--given", "Z"), 2, ("expected SLOT=VALUE",)),
        ((A, B, "--given", "Z=1", "--given", "Z=2"), 2, ("Z is given twice",)),
        ((A, B, "--folder", "many"), 2, ("IMAGES and --folder at once",)),
        (("--folder", "many"), 2, ("does not say which belong together", "with the columns X,Y")),
        (("--table", "none.csv"), 2, ("--table none.csv: there is no such file",)),
        (("--table", "bad.png"), 1, ("expected a line that names the columns X, Y",)),
        ((A, B, "--json", "--csv", "o.csv"), 2, ("two formats at once",)),
        ((A, B, "--skip-unreadable"), 2, ("there is one query alone",)),
        (("--table", "t.csv", "--csv", "no/where.csv"), 2, ("--csv: no/where.csv cannot be written", "no such folder")),
        (("--table", "t.csv", "--csv", "many"), 2, ("--csv: many is a folder",)),
        (("--table", "t.csv", "--csv", "t.csv"), 2, ("--csv: t.csv is the table of queries", "name another file")),
        ((A, B, "--encoder", "digit=conv"), 2, ("the program has no network digit", "did you mean digit_net")),
        ((A, B, "--encoder", "digit_net=mlp"), 1, ("does not fit the networks",)),
        ((A, B, "--engine", "exakt"), 2, ("exakt",)),
        ((A, B, "--device", "cuda:99"), 2, ("there is no cuda:99",)),
    ],
    ids=[
        *("one", "none", "no-image", "missing", "folder", "answer", "given", "value", "twice", "two-ways"),
        *(
            "folder-of-pairs",
            "no-table",
            "bad-table",
            "formats",
            "skip",
            "csv",
            "csv-folder",
            "csv-table",
            "network",
            "encoder",
            "engine",
        ),
        "device",
    ],
)
def test_what_cannot_be_done(
    run: Run, predictor_folder: Path, arguments: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    device = () if "--device" in arguments else CPU
    run("predict", predictor_folder, *arguments, *device).failed(code, *said)


def test_a_table_whose_files_are_missing(run: Run, predictor_folder: Path) -> None:
    Path("t.csv").write_text(f"X,Y\n{A},{B}\n{A},none.png\n", encoding="utf-8")
    run("predict", predictor_folder, "--table", "t.csv", "--csv", "o.csv", *CPU).failed(1, "none.png (t.csv:3)")
    assert not Path("o.csv").exists()
    Path("t.csv").write_text("X,Y\nno.png,none.png\n", encoding="utf-8")
    run("predict", predictor_folder, "--table", "t.csv", "--skip-unreadable", *CPU).failed(1, "none of the 1 queries")


def test_folders_that_hold_nothing_to_predict_with(
    run: Run, finished_pretraining: Path, predictor_folder: Path
) -> None:
    run("predict", "nowhere", A, B).failed(1, "nowhere: there is no such folder")
    run("predict", "many", A, B).failed(1, "many: not a run folder")
    run("predict", finished_pretraining, A, B).failed(1, "this run is a pretraining")
    shutil.copytree(predictor_folder, "copy")
    about = json.loads(Path("copy/predictor.json").read_text(encoding="utf-8"))
    Path("copy/predictor.json").write_text(json.dumps(about | {"version": 2}), encoding="utf-8")
    run("predict", "copy", A, B).failed(1, "is of version 2")


def test_an_encoder_of_ones_own_needs_trust(run: Run, write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("own_net.py", "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8))\n")
    monkeypatch.syspath_prepend(Path.cwd())
    spec = ("--encoder", "digit_net=own_net:make")
    tiny = ("--method", "answers", "--limit", "20", "--epochs", "1", "--quiet", "--out", "own", *CPU)
    assert run("train", "addition", *spec, *tiny).code == 0
    run("predict", "own", A, B, *CPU).failed(2, "own_net:make", "trust")
    trusted = run("predict", "own", A, B, "--trust", *CPU)
    assert trusted.code == 0
    assert run("predict", "own", A, B, *spec, *CPU).out == trusted.out
