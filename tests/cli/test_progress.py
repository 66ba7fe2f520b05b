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
