"""Training from answers: what a step on supervised queries is, and which epoch is the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.data.views import Augmentation, augment
from nesy_gedi.errors import RunError
from nesy_gedi.logic.likelihood import nll
from nesy_gedi.training.checkpoints import LEARNED, OBJECTIVE
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import perceive, validate
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.loop import Optimisation, Work
from nesy_gedi.training.memory import Pieces
from nesy_gedi.training.processes import ALONE, Processes, processes_of
from nesy_gedi.training.rates import parameter_groups
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task


class AnswerWork(Work):
    """The networks and learned probabilities of a task, trained on the answers of its queries, and on labelled images
    where there are some."""

    command = "train"
    section = "training"

    def __init__(
        self,
        task: Task,
        networks: nn.ModuleDict,
        splits: Splits,
        device: torch.device,
        labelled: Mapping[str, Labelled] | None = None,
    ) -> None:
        self.task = task
        self.networks = networks
        # Where the networks are: images that go there step by step would be waited for.
        self.splits = replace(splits, train=replace(splits.train, images=splits.train.images.to(device)))
        self.device = device
        self.labelled = {name: each.to(device) for name, each in (labelled or {}).items()}
        self.settings: Optimisation = task.recipe.training
        self.augmentation = task.recipe.training.augmentation
        self.seed = task.recipe.seed
        self.pieces = Pieces("queries", "training.batch_size")

    def __len__(self) -> int:
        return len(self.splits.train)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self.networks.parameters(), *self.task.reasoner.parameters()]

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.parameters(), self.networks.values())

    def train(self) -> None:
        self.networks.train()

    def step(
        self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float
    ) -> Mapping[str, float | Tensor]:
        loss = train_step(
            self.task,
            self.networks,
            self.splits.train,
            rows,
            optimizer,
            fabric,
            clock,
            self.labelled,
            augmentation=self.augmentation,
            pieces=self.pieces,
        )
        return {"loss": loss}

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
    labelled: Mapping[str, Labelled] | None = None,
    *,
    augmentation: Augmentation | None = None,
    pieces: Pieces | None = None,
) -> Tensor:
    """One step on a batch of queries and all labelled images (on the device); the time is booked on ``network`` and
    ``logic``, what went before on ``other``. Nothing is read back from the device.

    Args:
        rows: of the whole batch, of which each of several processes takes its part.
        augmentation: networks look at random views of images; at the images themselves without it.
        pieces: in how many pieces memory allows it to be computed.

    Returns:
        The mean negative log-likelihood in nats of the observed answers, and of the labels where there are some, before
        the step; this process's part of it.
    """
    clock.lap("other")
    processes = processes_of(fabric)

    def part(own: Tensor, number: int, count: int) -> Tensor:
        share = len(own) / len(rows)
        looking = Looking(networks, labelled or {}, processes, (number, count), augmentation=augmentation)
        log_p = perceive(task, looking, queries, own, fabric.device)
        clock.lap("network")
        loss, surrogate = answer_loss(task, log_p, queries, own)
        clock.lap("logic")
        labels = looking.label_loss()
        fabric.backward(share * surrogate + labels)
        return share * loss + labels.detach()

    losses = (pieces or Pieces("queries", "training.batch_size")).run(
        processes.part(rows), part, optimizer.zero_grad, processes
    )
    optimizer.step()
    clock.lap("network")
    return torch.stack(losses).sum()


class Looking(Mapping[str, Callable[..., Tensor]]):
    """Networks that look at the labelled images in the same pass as at those of queries: statistics of batch
    normalisation over a handful of images would be poor.

    Args:
        networks: name -> images (n, ...) to log-probabilities (n, K), or to those of members (M, n, K).
        labelled: on the same device.
        processes: of which each looks at its part of the labelled images.
        piece: which of how many pieces of the batch this is, and of the labelled images with it.
        augmentation: they look at a random view of each image; at the images themselves without it.
    """

    def __init__(
        self,
        networks: nn.ModuleDict,
        labelled: Mapping[str, Labelled],
        processes: Processes = ALONE,
        piece: tuple[int, int] = (0, 1),
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.networks = networks
        self.labelled = labelled
        self.processes = processes
        self.piece = piece
        self.augmentation = None if augmentation == Augmentation.none() else augmentation
        self.losses: list[Tensor] = []

    def __getitem__(self, name: str) -> Callable[..., Tensor]:
        def run(*inputs: Tensor) -> Tensor:
            told = self.labelled.get(name)
            if told is None:
                return self.look(name, *inputs)
            (images,) = inputs  # what is told of several together has no label
            told = told.some()
            number, count = self.piece
            shown, symbols = (
                self.processes.part(each).tensor_split(count)[number] for each in (told.images, told.symbols)
            )
            log_p = self.look(name, torch.cat([images, shown]))
            asked, known = log_p.tensor_split([len(images)], -2)
            if len(symbols):
                loss = nll(known.flatten(0, -2), symbols.expand(known.shape[:-1]).flatten())
                self.losses.append(loss * (len(symbols) / len(told)))
            return asked

        return run

    def look(self, name: str, *inputs: Tensor) -> Tensor:
        """Log-probabilities of images (n, ...), as the networks return them."""
        shown = inputs if self.augmentation is None else [augment(each, self.augmentation) for each in inputs]
        log_p: Tensor = self.networks[name](*shown)
        return log_p

    def __iter__(self) -> Iterator[str]:
        return iter(self.networks)

    def __len__(self) -> int:
        return len(self.networks)

    def label_loss(self) -> Tensor:
        """Mean negative log-likelihood of the labels in nats, over members too, summed over networks: this part of it; 0
        where there are none."""
        return torch.stack(self.losses).sum() if self.losses else torch.zeros(())


def answer_loss(task: Task, log_p: Mapping[str, Tensor], queries: Queries, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean negative log-likelihood in nats of the observed answers of ``rows``, and a scalar with its gradient.

    The graph is cut between networks and logic, so that each can be timed. Learned probabilities take the same way as the
    networks, so that half precision scales all gradients alike.

    Args:
        log_p: as :func:`~nesy_gedi.training.evaluation.perceive` returns it.
    """
    device = next(iter(log_p.values())).device
    cut = {name: block.detach().requires_grad_() for name, block in log_p.items()}
    # Small enough to go there without being waited for.
    observed, target = (each[rows].to(device, non_blocking=True) for each in (queries.observed, queries.answers))
    loss = task.reasoner.nll(task.observe(cut, observed), target)
    learned = list(task.reasoner.parameters())
    gradients = torch.autograd.grad(loss, [*cut.values(), *learned], allow_unused=True)
    pairs = zip([*log_p.values(), *learned], gradients, strict=True)
    surrogate = torch.stack([(live * gradient).sum() for live, gradient in pairs if gradient is not None]).sum()
    return loss.detach(), surrogate


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
        if name == OBJECTIVE:
            continue  # needed to go on with training alone
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
