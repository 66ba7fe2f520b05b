"""What progress says after an epoch."""

from __future__ import annotations

from typing import Any

import pytest

from nesy_gedi.cli.progress import Live, Plain


def line(epoch: int, *names: str) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "stage": "clusters",
        "train_loss": 1.0,
        "warnings": [f"{name}: in epoch {epoch}" for name in names],
        "symptoms": [{"name": name, "diagnostic": "center"} for name in names],
    }


@pytest.mark.parametrize("listener", [Plain, Live])
def test_a_warning_is_given_once_while_it_lasts(listener: type[Plain], capsys: pytest.CaptureFixture[str]) -> None:
    made = listener()
    for each in (line(1, "dead"), line(2, "dead", "style"), line(3), line(4, "dead")):
        made.epoch(each)
    said = capsys.readouterr().err
    assert [said.count(text) for text in ("dead: in epoch 1", "dead: in epoch 2", "style: in epoch 2")] == [1, 0, 1]
    assert "dead: in epoch 4" in said  # it was over, and came back


def test_one_plain_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().epoch(line(7) | {"aligned_accuracy": 0.5})
    assert capsys.readouterr().err == "epoch 7: clusters, loss 1.0000, accuracy 0.5000\n"


PRETRAINING = {"train": 575, "data": "digits", "stages": {"features": "falcon, 2 epochs"}, "device": "cpu", "epochs": 2}


def program(method: str) -> dict[str, Any]:
    return {
        "query": "addition(X, Y, Sum)", "method": method, "answers": 19, "nodes": 100, "circuit": "direct",
        "train": 30, "validation": 16, "test": 20, "device": "cpu", "epochs": 4,
    }  # fmt: skip


@pytest.mark.parametrize("listener", [Plain, Live])
def test_a_run_that_pretrains_first_begins_twice(listener: type[Plain], capsys: pytest.CaptureFixture[str]) -> None:
    made = listener()
    made.started(PRETRAINING)
    made.step(1, 3, 6, 2.0)
    made.epoch(line(1))
    made.finished()
    made.said("30 answers settle the assignment.")
    made.started(program("clusters"))
    made.step(1, 1, 150, 2.0)
    made.epoch({"epoch": 1, "train_loss": 1.0, "validation_loss": 2.0, "validation_answer_accuracy": 0.5})
    made.finished()
    made.finished()  # once more, as after an error
    said = capsys.readouterr().err
    parts = ("575 images of digits", "30 answers settle", "learning from answers and images, beginning with clusters")
    places = [said.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("answers", "from answers:"),
        ("cotraining", "from answers and images:"),
        ("assignment", "clusters that answers name"),
    ],
)
def test_the_first_line_says_how_networks_learn(method: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Plain().started(program(method))
    assert words in capsys.readouterr().err
