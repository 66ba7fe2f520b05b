"""Training from answers: what a step on supervised queries is, and which epoch is the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import RunError
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import perceive, validate
from nesy_gedi.training.loop import Work
from nesy_gedi.training.task import LEARNED, Splits, Task


class AnswerWork(Work):
    """The networks and learned probabilities of a task, trained on the answers of its queries."""

    command = "train"
    section = "training"

    def __init__(self, task: Task, networks: nn.ModuleDict, splits: Splits, device: torch.device) -> None:
        self.task = task
        self.networks = networks
        self.splits = splits
        self.device = device
        self.settings = task.recipe.training
        self.seed = task.recipe.seed

    def __len__(self) -> int:
        return len(self.splits.train)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self.networks.parameters(), *self.task.reasoner.parameters()]

    def train(self) -> None:
        self.networks.train()

    def step(self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float) -> dict[str, float]:
        return {"loss": train_step(self.task, self.networks, self.splits.train, rows, optimizer, fabric, clock)}

    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        found = validate(self.task, self.networks, self.splits.validation, self.device)
        line = {"train_loss": losses["loss"], **{f"validation_{name}": value for name, value in found.items()}}
        # Equal accuracies are common on small validation sets; the likelihood tells them apart.
        return line, (found["answer_accuracy"], -found["loss"])

    def tensors(self) -> dict[str, Tensor]:
        return model_tensors(self.task, self.networks)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        restore_model(self.task, self.networks, tensors)


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


def model_tensors(task: Task, networks: nn.ModuleDict) -> dict[str, Tensor]:
    """Everything that is learned: ``<network>.<parameter>``, and the learned probabilities under ``LEARNED``."""
    learned = {f"{LEARNED}.{name}": tensor for name, tensor in task.reasoner.learned.state_dict().items()}
    perceived = {
        f"{name}.{key}": tensor for name, network in networks.items() for key, tensor in network.state_dict().items()
    }
    return {**perceived, **learned}


def restore_model(task: Task, networks: nn.ModuleDict, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`model_tensors` took.

    Raises:
        RunError: the checkpoint belongs to other networks.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in [*networks, LEARNED]}
    for key, tensor in tensors.items():
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
