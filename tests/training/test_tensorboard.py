"""TensorBoard's files, read back: every line of metrics.jsonl, the final document, and runs that were continued."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from small_pretraining import pretrain_small
from small_runs import SMALL, once, train_small
from small_symbols import train_symbols
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

import nesy_gedi as ng
from nesy_gedi.errors import Interrupted, UsageError
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.runs import RunFolder
from nesy_gedi.training.tensorboard import TensorBoard, Together


@pytest.fixture(autouse=True)
def _count_files_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in the order of their names: second, process, and how many the process has made, as text."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


Curve = list[tuple[int, float]]


def curves(folder: Path) -> dict[str, Curve]:
    """Name -> (step, value) of every scalar in the files of a folder."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def text(folder: Path, tag: str) -> str:
    read = EventAccumulator(str(folder)).Reload()
    (only,) = read.Tensors(f"{tag}/text_summary")
    return str(only.tensor_proto.string_val[0].decode())


def expected(run: RunFolder, key: str) -> Curve:
    return [(line["epoch"], pytest.approx(line[key], rel=1e-6)) for line in run.read_metrics()]


def check(run: RunFolder, found: dict[str, Curve]) -> None:
    for key in ("train_loss", "validation_loss", "validation_answer_accuracy", "learning_rate"):
        assert found[key] == expected(run, key)
    seconds = [(line["epoch"], pytest.approx(line["seconds"]["network"], rel=1e-6)) for line in run.read_metrics()]
    assert found["seconds/network"] == seconds


def test_every_line_and_the_result(tmp_path: Path) -> None:
    trained = train_small(tmp_path / "run", listener=ng.TensorBoard())
    folder = trained.run.path / "tensorboard"
    found = curves(folder)
    check(trained.run, found)
    metrics = trained.document["metrics"]
    assert found["final/answer_accuracy"] == [(3, pytest.approx(metrics["answer_accuracy"], rel=1e-6))]
    ami = metrics["networks"]["digit_net"]["ami"]
    assert found["final/networks/digit_net/ami"] == [(3, pytest.approx(ami, rel=1e-6))]
    assert "final/time/total_s" in found
    assert trained.run.recipe_file.read_text(encoding="utf-8") in text(folder, "recipe")


def test_another_folder(tmp_path: Path) -> None:
    trained = train_small(tmp_path / "run", listener=ng.TensorBoard(tmp_path / "elsewhere"))
    assert not (trained.run.path / "tensorboard").exists()
    check(trained.run, curves(tmp_path / "elsewhere"))


@pytest.mark.parametrize("stop", [7, 12], ids=["within the second epoch", "at its end"])
@pytest.mark.parametrize("before", [True, False], ids=["watched before", "not watched before"])
def test_a_run_that_is_continued_goes_on_in_its_curves(tmp_path: Path, stop: int, before: bool) -> None:
    with pytest.raises(Interrupted):
        train_small(tmp_path / "run", listener=ng.TensorBoard() if before else None, stop=once(stop))
    folder = tmp_path / "run" / "tensorboard"
    assert folder.exists() == before
    trained = train_small(None, resume=tmp_path / "run", listener=ng.TensorBoard())
    check(trained.run, curves(folder))
    assert len(curves(folder)["train_loss"]) == 3


def test_what_was_told_of_epochs_that_are_trained_anew_is_gone(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_small(tmp_path / "run", listener=ng.TensorBoard(), stop=once(13))
    run = RunFolder(tmp_path / "run")
    assert len(run.read_metrics()) == 2
    watching = ng.TensorBoard()
    watching.began(run)
    watching.epoch({"epoch": 3, "train_loss": 77.0})
    trained = train_small(None, resume=tmp_path / "run", listener=ng.TensorBoard())
    check(trained.run, curves(run.path / "tensorboard"))


def test_a_pretraining_names_its_stages(tmp_path: Path) -> None:
    pretrained = pretrain_small(tmp_path / "run", listener=ng.TensorBoard())
    found = curves(pretrained.run.path / "tensorboard")
    for stage in {line["stage"] for line in pretrained.run.read_metrics()}:
        lines = [line for line in pretrained.run.read_metrics() if line["stage"] == stage]
        assert found[f"{stage}/train_loss"] == [(each["epoch"], pytest.approx(each["train_loss"])) for each in lines]
    rank = pretrained.document["collapse"]["effective_rank"]
    assert [value for _, value in found["final/collapse/effective_rank"]] == [pytest.approx(rank)]


def test_pretrainings_within_a_run_are_runs_of_their_own(tmp_path: Path) -> None:
    trained = train_symbols(tmp_path / "run", listener=ng.TensorBoard())
    folder = trained.run.path / "tensorboard"
    (inner,) = [each for each in trained.run.pretraining_folder.iterdir() if each.is_dir()]
    own = curves(folder)
    assert own["train_loss"] == expected(trained.run, "train_loss")
    within = curves(folder / "pretraining" / inner.name)
    assert "final/ami" in within
    assert {tag.split("/")[0] for tag in within} >= {line["stage"] for line in RunFolder(inner).read_metrics()}


def test_a_missing_package_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as caught:
        train_small(tmp_path / "run", listener=ng.TensorBoard())
    assert "pip install 'nesy-gedi[tensorboard]'" in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


def test_several_listeners_are_told_the_same(tmp_path: Path) -> None:
    class Told(Listener):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def __getattribute__(self, name: str) -> Any:
            if name in ("calls", "__class__", "__dict__"):
                return object.__getattribute__(self, name)
            return lambda *given: self.calls.append((name, str(given)))

    one, other = Told(), Told()
    train_small(tmp_path / "run", SMALL, listener=Together(one, other))
    assert one.calls == other.calls
    names = [name for name, _ in one.calls]
    assert [name for name in names if name not in ("said", "epoch", "step")] == [
        "began",
        "started",
        "finished",
        "ended",
    ]
    assert names.count("epoch") == 3
    assert names.count("step") == 15


def test_the_loop_alone_has_no_run_to_tell_of() -> None:
    TensorBoard().epoch({"epoch": 1, "train_loss": 1.0})
