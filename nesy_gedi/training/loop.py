"""The training loop."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import Interrupted, RunError
from nesy_gedi.training.checkpoints import (
    Checkpoint,
    damaged,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
)
from nesy_gedi.training.evaluation import Clock, perceive, validate
from nesy_gedi.training.recipe import SEEDS, TrainingRecipe
from nesy_gedi.training.runs import RunFolder
from nesy_gedi.training.task import LEARNED, Splits, Task


class Listener:
    """Told about progress. The default keeps quiet."""

    def started(self, facts: dict[str, Any]) -> None:
        """Before the first step: device, sizes, circuit."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After each step; ``loss`` is the mean of the epoch so far."""

    def epoch(self, line: dict[str, Any]) -> None:
        """After each epoch, with the line written to ``metrics.jsonl``."""

    def finished(self) -> None:
        """After the last step, also when training was interrupted or failed."""


@dataclass
class Progress:
    """Where training stands; part of every checkpoint.

    Attributes:
        epoch: completed epochs.
        step: completed steps of the epoch under way.
        loss: sum of losses over the queries of the epoch under way.
        seen: number of these queries.
        best_accuracy, best_loss, best_epoch: of the best validation so far.
        seconds: time spent by part of the work, all of them together the time that training took.
    """

    epoch: int
    step: int
    loss: float
    seen: int
    best_accuracy: float
    best_loss: float
    best_epoch: int
    seconds: dict[str, float]

    @classmethod
    def fresh(cls) -> Progress:
        return cls(0, 0, 0.0, 0, -1.0, math.inf, 0, {})


def fit(
    task: Task,
    networks: nn.ModuleDict,
    splits: Splits,
    run: RunFolder,
    fabric: Fabric,
    listener: Listener,
    stop: Callable[[], bool],
) -> Progress:
    """Train ``networks`` and the program's learned probabilities on answers, from the run's last checkpoint if there
    is one.

    Raises:
        Interrupted: ``stop()`` became true; the step was finished and saved.
        RunError: the loss is no longer finite, or a checkpoint cannot be written or read.
    """
    recipe: TrainingRecipe = task.recipe.training
    parameters = [*networks.parameters(), *task.reasoner.parameters()]
    optimizer: Any = fabric.setup_optimizers(
        torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    )
    progress = Progress.fresh()
    if run.checkpoints.has("last"):
        checkpoint = run.checkpoints.load("last")
        restore_model(task, networks, checkpoint)
        try:
            scaling = checkpoint.state.pop("scaling")
            progress = Progress(**checkpoint.state)
            restore_random_state(checkpoint.optimizer, fabric.device)
            restore_optimizer(optimizer, checkpoint.optimizer)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(run.checkpoints.folder, error) from error
        if scaling:
            fabric.strategy.precision.load_state_dict(scaling)
    # Also without a checkpoint: a crash may have come between the first epoch's line and its checkpoint.
    run.rewind_metrics(progress.epoch)

    def save(*, best: bool = False) -> None:
        clock.lap("other")
        progress.seconds = dict(clock.seconds)
        tensors = {**optimizer_tensors(optimizer), **random_state(fabric.device)}
        state = {**vars(progress), "scaling": fabric.strategy.precision.state_dict()}
        name = f"epoch-{progress.epoch:04d}-step-{progress.step:06d}"
        run.checkpoints.save(name, Checkpoint(model_tensors(task, networks), tensors, state), best=best)

    def check_finite(what: str, value: float) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"the {what} became {value} in epoch {progress.epoch + 1}",
                where=str(run.path),
                hint="lower training.learning_rate"
                + ("; the last checkpoint is whole" if run.checkpoints.has("last") else ""),
            )

    batches = -(-len(splits.train) // recipe.batch_size)
    total_steps = recipe.epochs * batches
    clock = Clock(fabric.device)
    clock.seconds.update(progress.seconds)
    stopping = False
    while progress.epoch < recipe.epochs:
        networks.train()
        order = torch.randperm(len(splits.train), generator=_shuffle(task.recipe.seed, progress.epoch))
        # Nearly equal batches: a last batch of one would have no batch statistics.
        for rows in order.tensor_split(batches)[progress.step :]:
            for group in optimizer.param_groups:
                group["lr"] = cosine(recipe.learning_rate, progress.epoch * batches + progress.step, total_steps)
            loss = train_step(task, networks, splits.train, rows, optimizer, fabric, clock)
            check_finite("loss", loss)
            progress.step += 1
            progress.loss += loss * len(rows)
            progress.seen += len(rows)
            listener.step(progress.epoch + 1, progress.step, batches, progress.loss / progress.seen)
            stopping = stop()
            if stopping and progress.step < batches:
                save()
                raise Interrupted(
                    f"stopped in epoch {progress.epoch + 1} after step {progress.step}; everything is saved",
                    where=str(run.path),
                    hint=f"nesy-gedi train --resume {shlex.quote(str(run.path))}",
                )
        clock.lap("other")
        validation = validate(task, networks, splits.validation, fabric.device)
        clock.lap("validation")
        check_finite("validation loss", validation["loss"])  # after the last step too, weights must not be saved broken
        line = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss / progress.seen,
            "validation_loss": validation["loss"],
            "validation_answer_accuracy": validation["answer_accuracy"],
            "learning_rate": optimizer.param_groups[0]["lr"],
            "seconds": {part: round(spent, 3) for part, spent in clock.seconds.items()},
        }
        progress.epoch, progress.step, progress.loss, progress.seen = progress.epoch + 1, 0, 0.0, 0
        # Equal accuracies are common on small validation sets; the likelihood tells them apart.
        rank = (validation["answer_accuracy"], -validation["loss"])
        best = rank > (progress.best_accuracy, -progress.best_loss)
        if best:
            progress.best_accuracy, progress.best_loss = validation["answer_accuracy"], validation["loss"]
            progress.best_epoch = progress.epoch
        run.append_metrics(line)
        save(best=best)
        listener.epoch(line)
        if (stopping or stop()) and progress.epoch < recipe.epochs:
            raise Interrupted(
                f"stopped after epoch {progress.epoch}; everything is saved",
                where=str(run.path),
                hint=f"nesy-gedi train --resume {shlex.quote(str(run.path))}",
            )
    return progress


def train_step(
    task: Task,
    networks: nn.ModuleDict,
    queries: Queries,
    rows: Tensor,
    optimizer: Any,
    fabric: Fabric,
    clock: Clock,
) -> float:
    """One step on a batch of queries; the time is booked on ``network`` and ``logic``, what went before on ``other``.

    Returns:
        The mean negative log-likelihood of the observed answers in nats, before the step.
    """
    clock.lap("other")
    optimizer.zero_grad()
    log_p = perceive(task, networks, queries, rows, fabric.device)
    clock.lap("network")
    # The graph is cut between networks and logic, so that each can be timed.
    cut = {name: block.detach().requires_grad_() for name, block in log_p.items()}
    target = queries.answers[rows].to(fabric.device)
    loss = task.reasoner.nll(task.observe(cut, queries.observed[rows]), target)
    learned = list(task.reasoner.parameters())
    gradients = torch.autograd.grad(loss, [*cut.values(), *learned], allow_unused=True)
    clock.lap("logic")
    # Learned probabilities take the same way as the networks, so that half precision scales all gradients alike.
    pairs = zip([*log_p.values(), *learned], gradients, strict=True)
    fabric.backward(torch.stack([(live * gradient).sum() for live, gradient in pairs if gradient is not None]).sum())
    optimizer.step()
    value = float(loss.detach())
    clock.lap("network")
    return value


def cosine(initial: float, step: int, steps: int) -> float:
    """Learning rate at ``step`` of ``steps``, from ``initial`` to zero (Loshchilov and Hutter, "SGDR", 2017)."""
    return initial * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def model_tensors(task: Task, networks: nn.ModuleDict) -> dict[str, Tensor]:
    """Everything that is learned: ``<network>.<parameter>``, and the learned probabilities under ``LEARNED``."""
    learned = {f"{LEARNED}.{name}": tensor for name, tensor in task.reasoner.learned.state_dict().items()}
    perceived = {
        f"{name}.{key}": tensor for name, network in networks.items() for key, tensor in network.state_dict().items()
    }
    return {**perceived, **learned}


def restore_model(task: Task, networks: nn.ModuleDict, checkpoint: Checkpoint) -> None:
    """Put back what :func:`model_tensors` took.

    Raises:
        RunError: the checkpoint belongs to other networks.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in [*networks, LEARNED]}
    for key, tensor in checkpoint.model.items():
        name, _, rest = key.partition(".")
        parts.setdefault(name, {})[rest] = tensor
    try:
        if unknown := parts.keys() - {*networks, LEARNED}:
            raise RuntimeError(f"it has a network {min(unknown)} that the program does not have")
        for name, network in networks.items():
            network.load_state_dict(parts[name])
        task.reasoner.learned.load_state_dict(parts[LEARNED])
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint does not fit the networks: {str(error).splitlines()[-1].strip()}",
            hint="it was written for another program, recipe or encoder",
        ) from error


def _shuffle(seed: int, epoch: int) -> torch.Generator:
    # Depends on the epoch alone, so that a resumed run sees the order of an uninterrupted one.
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % SEEDS)
