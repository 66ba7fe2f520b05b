"""The tutorial, as it is written: from images on disk to a predictor that is right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from documented import ROOT, Runner, blocks_of

from nesy_gedi.training.runs import open_run

RIGHT = 0.9
"""Share of the answers."""

SECONDS = 60.0
"""Of one core, for all of it. What a newcomer's quarter of an hour is spent on is reading."""


def test_the_tutorial_leads_to_a_predictor_that_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.delenv("NESY_GEDI_DATA", raising=False)
    started = time.process_time()
    runner = Runner(capsys)
    for block in blocks_of(ROOT / "docs" / "tutorial.md"):
        runner.run(block)
    assert time.process_time() - started < SECONDS

    commands = [line.split()[1] for line in runner.done]
    assert commands == ["data", "shortcuts", "train", "inspect", "predict", "predict", "export"]
    for run in ("runs/dice", "runs/notebook"):
        measured = open_run(Path(run)).result()
        assert measured is not None
        assert measured["metrics"]["queries"] == 80
        assert measured["metrics"]["answer_accuracy"] > RIGHT
    assert Path("runs/dice/report.html").stat().st_size > 10_000
    new = runner.names["new"]
    for predicted in (runner.names["predicted"], runner.names["sums"]):
        right = sum(guess == total for guess, (_, _, total) in zip(predicted, new, strict=True))
        assert right / len(new) > RIGHT
    assert runner.names["result"].metrics["answer_accuracy"] > RIGHT
    assert any(Path("dice-reader").rglob("*.safetensors"))
