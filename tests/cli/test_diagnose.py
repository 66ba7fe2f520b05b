"""``diagnose`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_runs import Run, nothing_but

Write = Callable[[str, str], Path]

ENCODERS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 8)

    def forward(self, images):
        return self.linear(images.flatten(1))

class NotFinite(Net):
    def forward(self, images): return super().forward(images) * float("nan")

class Pair(Net):
    def forward(self, images): return super().forward(images), images

class Whole(Net):
    def forward(self, images): return super().forward(images).round().long()

class TwoRows(Net):
    def forward(self, images): return super().forward(images)[:2]

class FailsOnInk(Net):
    def forward(self, images):
        if len(images) > 2: raise ValueError("too dark")
        return super().forward(images)

class Map(Net):
    def forward(self, images): return super().forward(images)[:, :, None, None]

class Blind(Net):
    def forward(self, images): return super().forward(images) * 0.0
"""


@pytest.fixture
def _diagnosed_encoders(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("src/diagnosed_encoders.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))


def test_a_pretraining(run: Run, finished_pretraining: Path) -> None:
    outcome = run("diagnose", finished_pretraining)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert outcome.out.startswith("encoder on 360 test images of digits\n")
    for heading in ("clusters:", "features:", "collapse, on test images:"):
        assert f"\n{heading}\n" in outcome.out
    # What the run said of itself.
    measured = run("diagnose", finished_pretraining, "--json").document["networks"]["encoder"]["metrics"]
    own = json.loads((finished_pretraining / "result.json").read_text(encoding="utf-8"))["metrics"]
    assert {key: measured[key] for key in ("ami", "nmi", "aligned_accuracy")} == {
        key: own[key] for key in ("ami", "nmi", "aligned_accuracy")
    }


def test_a_program(run: Run, finished_run: Path) -> None:
    found = run("diagnose", finished_run, "--json").document["networks"]
    assert found.keys() == {"digit_net"}
    assert found["digit_net"]["images"] == 360


@pytest.mark.parametrize("arguments", [["conv"], ["mlp", "--data", "moons"]], ids=["conv", "mlp on moons"])
def test_a_bundled_encoder_as_it_begins(run: Run, arguments: list[str]) -> None:
    outcome = run("diagnose", *arguments)
    assert outcome.code == 0, outcome.err
    assert "clusters:" not in outcome.out
    assert outcome.out.splitlines()[0].startswith(f"{arguments[0]} on ")


@pytest.mark.usefixtures("_diagnosed_encoders")
def test_an_encoder_of_ones_own(run: Run) -> None:
    outcome = run("diagnose", "diagnosed_encoders:Net")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "  no collapse"
    outcome = run("diagnose", "diagnosed_encoders:Blind")
    assert outcome.code == 0, outcome.err
    assert "! complete collapse" in outcome.out
    assert "! dimensional collapse" in outcome.out


@pytest.mark.usefixtures("_diagnosed_encoders")
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("NotFinite", 1, "encoder diagnosed_encoders:NotFinite: the encoder returns features that are not finite"),
        ("Pair", 2, "encoder diagnosed_encoders:Pair: the encoder returns a tuple of 2 (Tensor, Tensor), expected"),
        ("Whole", 2, "encoder diagnosed_encoders:Whole: the encoder returns features of type int64, expected float"),
        ("TwoRows", 2, "the encoder returns 2 rows for 1000 images, expected one row an image"),
        ("FailsOnInk", 2, "encoder diagnosed_encoders:FailsOnInk: the encoder failed on a batch of shape"),
        ("Map", 2, "features of shape (2, 8, 1, 1), expected (batch, d)"),
        ("Missing", 2, "module 'diagnosed_encoders' has no attribute 'Missing'"),
    ],
)
def test_encoders_that_give_no_features(run: Run, name: str, code: int, said: str) -> None:
    run("diagnose", f"diagnosed_encoders:{name}").failed(code, said, "hint:")


def test_nothing_there(run: Run) -> None:
    Path("empty").mkdir()
    run("diagnose", "nowhere").failed(2, "there is no run folder and no encoder nowhere", "conv, mlp")
    run("diagnose", "empty").failed(1, "empty: neither a pretraining nor a program's run", "hint:")
    run("diagnose", "no_such_module:net").failed(2, "cannot get the encoder no_such_module:net", "hint:")
    nothing_but("empty")


def test_other_data(run: Run, finished_pretraining: Path, finished_run: Path) -> None:
    for path in (finished_pretraining, finished_run):
        for data, shape in (("moons", "(2,)"), ("shapes", "(3, 16, 16)")):
            run("diagnose", path, "--data", data).failed(1, f"images of shape {shape}", "takes (1, 8, 8)", "hint:")
        run("diagnose", path, "--data", "digit").failed(2, 'no data set is named "digit"', "did you mean digits?")
        run("diagnose", path, "--data", "mnist").failed(1, "not found", "--download")
    run("diagnose", "conv", "--data", "moons").failed(2, "takes images", 'encoder = "mlp"')


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_explicit_device_that_is_missing(run: Run, finished_pretraining: Path) -> None:
    run("diagnose", finished_pretraining, "--device", "cuda").failed(2, "there is no cuda", "hint:")
