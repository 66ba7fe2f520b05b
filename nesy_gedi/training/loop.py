"""The training loop: epochs, batches, the schedule, checkpoints and interruption, whatever is trained."""

from __future__ import annotations

import math
import shlex
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.errors import Interrupted, NesyGediWarning, RunError, UsageError
from nesy_gedi.training.checkpoints import (
    Checkpoint,
    damaged,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
)
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.processes import processes_of
from nesy_gedi.training.recipe_files import SEEDS
from nesy_gedi.training.runs import RunFolder
from nesy_gedi.training.sums import Sums


class Listener:
    """Told about progress. The default keeps quiet."""

    def began(self, run: RunFolder) -> None:
        """Before anything is trained: the folder of a run, new or continued. Pretrainings that a run makes lie within it,
        begin after it and end before it."""

    def ended(self, document: dict[str, Any]) -> None:
        """After the run that began last has written its final document."""

    def started(self, facts: dict[str, Any]) -> None:
        """Before the first step: device and sizes."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After each step; ``loss`` is the mean of the epoch so far, as it was last read (see
        :data:`~nesy_gedi.training.sums.READ_SECONDS`)."""

    def epoch(self, line: dict[str, Any]) -> None:
        """After each epoch, with the line written to ``metrics.jsonl``."""

    def said(self, sentence: str) -> None:
        """Something to know between what is trained."""

    def finished(self) -> None:
        """After the last step, also when training was interrupted or failed."""


class Optimisation(Protocol):
    """How long and how fast: AdamW with a cosine schedule from ``learning_rate`` to zero."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


class Work(ABC):
    """What is trained. The loop decides when; the work knows what a step, a measurement and its state are.

    Attributes:
        command: of the command line, for the hint how to continue.
        section: of the recipe, for the hint what to change.
        largest: a loss beyond this has diverged.
        rollbacks: how often a diverged loss may be answered by going back to the last checkpoint.
        stage: where this work stands among works that follow one another in one run.
        first_epoch: epochs of the run that earlier works took.
    """

    command: ClassVar[str]
    section: str
    largest: ClassVar[float] = math.inf
    rollbacks: ClassVar[int] = 0
    stage: int = 0
    first_epoch: int = 0
    settings: Optimisation
    seed: int

    @abstractmethod
    def __len__(self) -> int:
        """Number of training items; an epoch is a pass over them."""

    def order(self, generator: torch.Generator) -> Tensor:
        """The items of an epoch in the order in which they are taken, (len(self),) int64."""
        return torch.randperm(len(self), generator=generator)

    @abstractmethod
    def parameters(self) -> Iterable[nn.Parameter]:
        """What the optimiser changes."""

    def groups(self) -> list[dict[str, Any]]:
        """:meth:`parameters` in groups, each with its ``rate``, the share of the learning rate that it learns at."""
        return [{"params": list(self.parameters()), "rate": 1.0}]

    @abstractmethod
    def train(self) -> None:
        """Called before each epoch."""

    @abstractmethod
    def step(
        self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float
    ) -> Mapping[str, float | Tensor]:
        """One step on the items ``rows``; ``progress`` in [0, 1) is the share of all steps done.

        Returns:
            ``loss`` and, by name, whatever else is to be averaged over the epoch. Scalars that are still on the device
            are read by the loop when it must; of several processes, each returns its part of the sum.
        """

    @abstractmethod
    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        """After an epoch, whose mean losses are given: what to write down, and its rank among epochs (higher is
        better; the best so far is kept; none is where the rank is empty)."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, apart from the optimiser."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` took.

        Raises:
            RunError: the tensors belong to something else.
        """


class Diverged(RunError):
    """A loss is no longer finite, or beyond all bounds."""


@dataclass
class Progress:
    """Where training stands; part of every checkpoint.

    Attributes:
        stage: which of the works that follow one another.
        epoch: completed epochs of the run.
        step: completed steps of the epoch under way.
        sums: sums of losses over the items of the epoch under way, as far as they have been read.
        seen: number of these items.
        best, best_epoch: rank and epoch of the best measurement so far.
        rollbacks: how often training went back after a diverged loss; each time at half the learning rate.
        seconds: time spent by part of the work, all of them together the time that training took.
    """

    stage: int
    epoch: int
    step: int
    sums: dict[str, float]
    seen: int
    best: list[float]
    best_epoch: int
    rollbacks: int
    seconds: dict[str, float]

    @classmethod
    def fresh(cls, work: Work, seconds: dict[str, float] | None = None) -> Progress:
        return cls(work.stage, work.first_epoch, 0, {}, 0, [], 0, 0, seconds or {})

    def name(self) -> str:
        """Of the checkpoint; no two states share it, so that a checkpoint is complete before another goes."""
        stage = f"stage-{self.stage}-" if self.stage else ""
        again = f"-rollback-{self.rollbacks}" if self.rollbacks else ""
        return f"{stage}epoch-{self.epoch:04d}-step-{self.step:06d}{again}"

    def add(self, sums: Mapping[str, float], items: int) -> None:
        """Count sums of losses over ``items``."""
        self.seen += items
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: total / max(1, self.seen) for name, total in self.sums.items()}

    def end_epoch(self) -> None:
        self.epoch, self.step, self.sums, self.seen = self.epoch + 1, 0, {}, 0


def fit(
    work: Work,
    run: RunFolder,
    fabric: Fabric,
    listener: Listener,
    stop: Callable[[], bool],
    *,
    last: bool = True,
    prepared: float = 0.0,
) -> Progress:
    """Train ``work``, from the run's last checkpoint if that is about it.

    Of several processes all call this, with the same work, which can be shared; the first alone writes, measures, tells
    the listener and asks ``stop``.

    Args:
        last: no other work follows in this run.
        prepared: seconds that went into what a fresh start needed.

    Raises:
        Interrupted: ``stop()`` became true; the step was finished and saved.
        UsageError: a step has fewer items than there are processes.
        RunError: the loss diverged, a checkpoint cannot be written or read, or another process has ended.
    """
    settings = work.settings
    processes = processes_of(fabric)
    batches = -(-len(work) // settings.batch_size)
    if len(work) // batches < processes.count:
        raise UsageError(
            f"{processes.count} processes cannot share a step of {len(work) // batches}",
            where="--devices",
            hint=f"use fewer, or raise {work.section}.batch_size",
        )
    optimizer: Any = fabric.setup_optimizers(
        torch.optim.AdamW(work.groups(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    )
    progress, known = _continue(work, run, optimizer, fabric)
    processes.agree(work.tensors())  # also: all have read the checkpoint before the first writes another
    if processes.first:
        # Also without a checkpoint: a crash may have come between the first epoch's line and its checkpoint.
        run.rewind_metrics(progress.epoch)
    sums = Sums(processes, fabric.device)
    clock = Clock(fabric.device)
    clock.seconds.update(progress.seconds)
    if prepared and not known:
        clock.seconds["preparation"] += prepared

    def save(*, best: bool = False) -> None:
        if not processes.first:
            return
        clock.lap("other")
        progress.seconds = dict(clock.seconds)
        tensors = {**optimizer_tensors(optimizer), **random_state(fabric.device)}
        state = {**asdict(progress), "scaling": fabric.strategy.precision.state_dict()}
        run.checkpoints.save(progress.name(), Checkpoint(work.tensors(), tensors, state), best=best)

    def interrupted(where: str) -> Interrupted:
        hint = f"nesy-gedi {work.command} --resume {shlex.quote(str(run.path))}"
        return Interrupted(f"stopped {where}; everything is saved", where=str(run.path), hint=hint)

    def check_finite(what: str, value: float) -> None:
        if not abs(value) <= work.largest or not math.isfinite(value):
            raise Diverged(
                f"the {what} became {value:.3g} in epoch {progress.epoch + 1}",
                where=str(run.path),
                hint=f"lower {work.section}.learning_rate"
                + ("; the last checkpoint is whole" if run.checkpoints.has("last") else ""),
            )

    def read() -> None:
        """Losses are checked when they are read, and always before a checkpoint is written."""
        found, items = sums.read()
        if items:
            check_finite("loss", found["loss"] / items)
            progress.add(found, items)

    if work.rollbacks and not known:
        save()  # there is somewhere to go back to from the first step on
    epochs = work.first_epoch + settings.epochs
    stopping, due, shown = False, True, 0.0
    while progress.epoch < epochs:
        work.train()
        order = work.order(_shuffle(work.seed, progress.epoch))
        rate = settings.learning_rate * 0.5**progress.rollbacks
        try:
            # Nearly equal batches: a last batch of one would have no batch statistics.
            for rows in order.tensor_split(batches)[progress.step :]:
                share = ((progress.epoch - work.first_epoch) * batches + progress.step) / (settings.epochs * batches)
                for group in optimizer.param_groups:
                    group["lr"] = cosine(rate, share) * group["rate"]
                processes.at(work.seed, progress.epoch, progress.step)
                sums.add(work.step(rows, optimizer, fabric, clock, share), len(rows))
                progress.step += 1
                if due or progress.step == batches:
                    read()
                shown = progress.means().get("loss", shown)
                if processes.first:
                    listener.step(progress.epoch + 1, progress.step, batches, shown)
                stopping, due = processes.told_flags(processes.first and stop(), sums.due())
                if stopping and progress.step < batches:
                    read()
                    save()
                    raise interrupted(f"in epoch {progress.epoch + 1} after step {progress.step}")
            if not processes.first:
                progress.end_epoch()
                if processes.told(None):
                    raise interrupted(f"after epoch {progress.epoch}")
                continue
            clock.lap("other")
            losses = progress.means()
            measured, rank = work.measure(losses)
            clock.lap("validation")
            for name, value in measured.items():  # after the last step too, weights must not be saved broken
                if isinstance(value, float):
                    check_finite(name.replace("_", " "), value)
        except Diverged as error:
            sums.clear()
            if progress.rollbacks >= work.rollbacks:
                raise
            taken = progress.rollbacks + 1
            progress, _ = _continue(work, run, optimizer, fabric, random=False)
            progress.rollbacks = taken
            save()
            warnings.warn(
                f"{error.message}: back to the last good state, after epoch {progress.epoch} and step {progress.step}, "
                f"with half the learning rate ({taken} of {work.rollbacks} times)",
                NesyGediWarning,
                stacklevel=2,
            )
            continue
        line = {
            "epoch": progress.epoch + 1,
            **measured,
            "learning_rate": optimizer.param_groups[0]["lr"],
            **({"rollbacks": progress.rollbacks} if work.rollbacks else {}),
            "seconds": {part: round(spent, 3) for part, spent in clock.seconds.items()},
        }
        progress.end_epoch()
        best = list(rank) > progress.best
        if best:
            progress.best, progress.best_epoch = list(rank), progress.epoch
        run.append_metrics(line)
        save(best=best)
        listener.epoch(line)
        if processes.told((stopping or stop()) and not (last and progress.epoch == epochs)):
            raise interrupted(f"after epoch {progress.epoch}")
    return progress


def _continue(
    work: Work, run: RunFolder, optimizer: Any, fabric: Fabric, *, random: bool = True
) -> tuple[Progress, bool]:
    """Put the last checkpoint's state back where it is about ``work``; a fresh start otherwise.

    Args:
        random: put the state of the random number generators back too.

    Returns:
        Where training stands, and whether a checkpoint says so.
    """
    if not run.checkpoints.has("last"):
        return Progress.fresh(work), False
    checkpoint = run.checkpoints.load("last")
    try:
        scaling = checkpoint.state.pop("scaling")
        progress = Progress(**checkpoint.state)
        if progress.stage != work.stage:
            return Progress.fresh(work, progress.seconds), False
        work.restore(checkpoint.model)
        if random:
            restore_random_state(checkpoint.optimizer, fabric.device)
        restore_optimizer(optimizer, checkpoint.optimizer)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(run.checkpoints.folder, error) from error
    if scaling:
        fabric.strategy.precision.load_state_dict(scaling)
    return progress, True


def cosine(initial: float, share: float) -> float:
    """Learning rate after ``share`` of all steps, from ``initial`` to zero (Loshchilov and Hutter, "SGDR", 2017)."""
    return initial * 0.5 * (1.0 + math.cos(math.pi * share))


def _shuffle(seed: int, epoch: int) -> torch.Generator:
    # Depends on the epoch alone, so that a resumed run sees the order of an uninterrupted one.
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % SEEDS)
