"""Runs in TensorBoard: the numbers of ``metrics.jsonl`` and of the final document, and the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.runs import RunFolder

FOLDER = "tensorboard"
"""Below the run folder."""

EVENTS = "events.out.tfevents.*"
"""The names that TensorBoard gives its files."""


class TensorBoard(Listener):
    """Writes what a run measures to ``RUN/tensorboard``, epoch by epoch: ``tensorboard --logdir RUN``.

    Every number of a line of ``metrics.jsonl`` is a scalar at its epoch, those of a pretraining below the name of their
    stage. A pretraining that a run makes for itself is a run of its own there, named after its folder. At the end come
    the numbers of the final document, below ``final``. A run that is continued goes on in the same curves; what it has
    measured before it was first watched is written then.

    Args:
        folder: in place of the one in the run folder.

    Raises:
        UsageError: the package tensorboard is missing.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                f"TensorBoard's package cannot be imported: {error}",
                where="tensorboard",
                hint="install it: pip install 'nesy-gedi[tensorboard]'",
            ) from error
        self._writer = SummaryWriter
        self._folder = None if folder is None else Path(folder)
        self._open: list[_Open] = []

    def began(self, run: RunFolder) -> None:
        folder = self._folder or run.path / FOLDER
        if self._open:  # a pretraining within a run
            folder = self._open[0].folder / _place(run, self._open[0].run)
        lines = run.read_metrics()
        watched = folder.is_dir() and any(folder.glob(EVENTS))
        try:
            # What an earlier file says of later steps is no longer true.
            writer = self._writer(str(folder), purge_step=max((line["epoch"] for line in lines), default=0) + 1)
        except OSError as error:
            raise RunError(f"cannot write: {error.strerror or error}", where=str(folder)) from error
        self._open.append(_Open(run, folder, writer))
        if watched and lines:
            return
        writer.add_text("recipe", f"```\n{run.recipe_file.read_text(encoding='utf-8')}\n```")
        for line in lines:
            self.epoch(line)

    def epoch(self, line: dict[str, Any]) -> None:
        if not self._open:  # whoever calls the loop alone has no run to tell of
            return
        writer = self._open[-1].writer
        stage = f"{line['stage']}/" if isinstance(line.get("stage"), str) else ""
        for name, value in _numbers({key: what for key, what in line.items() if key != "epoch"}):
            writer.add_scalar(f"{stage}{name}", value, line["epoch"])
        writer.flush()  # nothing is lost when the process is killed

    def ended(self, document: dict[str, Any]) -> None:
        opened = self._open.pop()
        last = max((line["epoch"] for line in opened.run.read_metrics()), default=0)
        for part in ("metrics", "collapse", "time"):
            for name, value in _numbers(document.get(part) or {}):
                opened.writer.add_scalar(f"final/{name}" if part == "metrics" else f"final/{part}/{name}", value, last)
        opened.writer.close()

    def finished(self) -> None:
        for opened in self._open:
            opened.writer.flush()


class _Open(NamedTuple):
    """A run that is written, and where."""

    run: RunFolder
    folder: Path
    writer: Any


def _place(inner: RunFolder, outer: RunFolder) -> Path:
    """The folder of a run within another, or else its name."""
    own, around = inner.path.resolve(), outer.path.resolve()
    return own.relative_to(around) if own.is_relative_to(around) else Path(own.name)


class Together(Listener):
    """Several listeners, told one after the other."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def began(self, run: RunFolder) -> None:
        for listener in self.listeners:
            listener.began(run)

    def ended(self, document: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.ended(document)

    def started(self, facts: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.started(facts)

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        for listener in self.listeners:
            listener.step(epoch, step, steps, loss)

    def epoch(self, line: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.epoch(line)

    def said(self, sentence: str) -> None:
        for listener in self.listeners:
            listener.said(sentence)

    def finished(self) -> None:
        for listener in self.listeners:
            listener.finished()


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested tables, by their path; lists, texts and what is undefined are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
