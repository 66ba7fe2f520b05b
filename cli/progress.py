"""Progress on stderr: a live bar on a terminal, one plain line an epoch otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nesy_gedi.cli.output import print_status
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.tensorboard import TensorBoard, Together


def make_listener(quiet: bool, *, tensorboard: bool = False) -> Listener:
    """The listener that fits the terminal, and TensorBoard's beside it where it is asked for."""
    shown = Listener() if quiet else Live() if sys.stderr.isatty() else Plain()
    return Together(shown, TensorBoard()) if tensorboard else shown


class Plain(Listener):
    """One line an epoch."""

    def __init__(self) -> None:
        self.warned: set[str] = set()

    def started(self, facts: dict[str, Any]) -> None:
        print_status(_beginning(facts))

    def said(self, sentence: str) -> None:
        print_status(sentence)

    def epoch(self, line: dict[str, Any]) -> None:
        print_status(f"epoch {line['epoch']}: {_told(line)}")
        for sentence in self.new_warnings(line):
            print_status(f"  ! {sentence}")

    def new_warnings(self, line: dict[str, Any]) -> list[str]:
        """What is wrong now and was not after the epoch before: once, not after every epoch while it lasts."""
        names = [symptom["name"] for symptom in line.get("symptoms", ())]
        pairs = zip(names, line.get("warnings", ()), strict=True)
        found = [sentence for name, sentence in pairs if name not in self.warned]
        self.warned = set(names)
        return found


class Live(Plain):
    """A bar for the epoch under way, and what the last validation said."""

    def __init__(self) -> None:
        super().__init__()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
        self.bar = Progress(*columns, TextColumn("{task.fields[told]}"), console=console, transient=True)
        self.told = ""

    def started(self, facts: dict[str, Any]) -> None:
        super().started(facts)
        self.epochs = facts["epochs"]
        for before in self.bar.task_ids:  # of what a run has gone through already
            self.bar.remove_task(before)
        self.task = self.bar.add_task("", total=None, told="")
        self.bar.start()

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.bar.update(
            self.task,
            description=f"epoch {epoch}/{self.epochs}",
            completed=step,
            total=steps,
            told=f"loss {loss:.4f} {self.told}",
        )

    def epoch(self, line: dict[str, Any]) -> None:
        self.told = _told(line)
        for sentence in self.new_warnings(line):
            self.bar.console.print(f"epoch {line['epoch']}: {sentence}", markup=False, highlight=False)

    def finished(self) -> None:
        self.bar.stop()


_METHODS = {
    "answers": "answers",
    "cotraining": "answers and images",
    "clusters": "answers and images, beginning with clusters",
    "assignment": "clusters that answers name",
}


def _beginning(facts: dict[str, Any]) -> str:
    if "query" in facts:
        return (
            f"{facts['query']}, learning from {_METHODS[facts['method']]}: {facts['answers']} answers, circuit of "
            f"{facts['nodes']} nodes ({facts['circuit']}); "
            f"{facts['train']} training, {facts['validation']} validation, {facts['test']} test queries; "
            f"device {facts['device']}"
        )
    stages = "; ".join(f"{name}: {what}" for name, what in facts["stages"].items())
    return f"{facts['train']} images of {facts['data']}; {stages}; device {facts['device']}"


def _told(line: dict[str, Any]) -> str:
    if "stage" not in line:
        return (
            f"loss {line['train_loss']:.4f}, validation loss {line['validation_loss']:.4f}, "
            f"answers right {line['validation_answer_accuracy']:.4f}"
        )
    accuracy = f", accuracy {line['aligned_accuracy']:.4f}" if "aligned_accuracy" in line else ""
    return f"{line['stage']}, loss {line['train_loss']:.4f}{accuracy}"
