"""Processes that train together: what each of them does of a step, and what they tell one another.

All of them take the same steps. Of each step's items a process looks at its part, and what it trains is its part of the
mean over all items, so that gradients and losses are added up, whatever the sizes of the parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from nesy_gedi.errors import RunError
from nesy_gedi.networks.shared_statistics import own_statistics, share_statistics
from nesy_gedi.training.checkpoints import random_state, restore_random_state

STEP_LIMIT = timedelta(minutes=10)
"""A process that does not answer for so long in the middle of a step is given up."""

WAIT_LIMIT = timedelta(days=365)
"""How long others wait while the first process does what one alone does: no limit. That it lives is seen otherwise."""

_PRIME = 1_000_003


class Lost(RunError):
    """Another process does not answer any more."""


class Processes:
    """The processes of a run, as one of them sees them.

    Args:
        rank: the number of this one; number 0 leads: it alone writes, measures and reports.
        count: how many there are.
        local_rank, local_count: the same among those on this machine.
        waiting: a group of all of them, on the CPU, for what may take as long as it likes; None where there is one alone.
    """

    def __init__(
        self,
        rank: int = 0,
        count: int = 1,
        *,
        local_rank: int = 0,
        local_count: int = 1,
        waiting: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.count = count
        self.local_rank = local_rank
        self.local_count = local_count
        self._waiting = waiting
        self._place = (0, 0, 0)
        self._calls = 0

    def __deepcopy__(self, _: Any) -> Processes:
        return self  # there is one of it, also where modules are copied

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, items: Tensor) -> Tensor:
        """This process's part of a step's items."""
        return items.tensor_split(self.count)[self.rank]

    def add(self, tensor: Tensor) -> Tensor:
        """Add up ``tensor`` over all processes, in place.

        Raises:
            Lost: a process has ended, or does not answer.
        """
        if self.count > 1:
            with _answering():
                dist.all_reduce(tensor)
        return tensor

    def told(self, message: Any) -> Any:
        """What the first process says here, plain JSON; the others wait for it, whatever they say themselves. Raises Lost."""
        if self.count == 1:
            return message
        content = json.dumps(message).encode() if self.first else b""
        size = self._spread(torch.tensor([len(content)]))
        text = torch.frombuffer(bytearray(content), dtype=torch.uint8) if self.first else torch.empty(0)
        return json.loads(
            bytes(self._spread(text if self.first else torch.zeros(int(size), dtype=torch.uint8)).tolist())
        )

    def told_flags(self, *flags: bool) -> tuple[bool, ...]:
        """:meth:`told` for what is said after every step: one short message on the CPU, which no GPU is waited for."""
        if self.count == 1:
            return flags
        return tuple(bool(flag) for flag in self._spread(torch.tensor(flags, dtype=torch.uint8)).tolist())

    def agree(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with the weights and the random numbers of the first process. Raises Lost."""
        if self.count == 1:
            return
        with _answering(), torch.no_grad():
            for name in sorted(tensors):
                own = tensors[name].detach()
                dist.broadcast(first := own.contiguous(), 0)
                own.copy_(first)
            numbers = torch.get_rng_state()
            dist.broadcast(numbers, 0)
        torch.set_rng_state(numbers)

    def at(self, seed: int, epoch: int, step: int) -> None:
        """Which step comes next: it says what a network draws of random numbers of its own, as for dropout."""
        self._place, self._calls = (seed, epoch, step), 0

    def own_numbers(self) -> int:
        """A seed that no other process, step or call has."""
        self._calls += 1
        mixed = 0
        for part in (*self._place, self._calls, self.rank + 1):
            mixed = (mixed * _PRIME + part) % 2**63
        return mixed

    def _spread(self, tensor: Tensor) -> Tensor:
        with _answering():
            dist.broadcast(tensor, 0, group=self._waiting)
        return tensor


ALONE = Processes()
"""One process."""


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # whatever gloo or NCCL raise
        raise Lost(
            "another process has ended, or does not answer",
            hint="train in one process: leave --devices out",
        ) from error


def backend_for(device: str) -> str:
    """What carries messages of tensors: gloo on a CPU, NCCL between GPUs, whose processes still talk through gloo."""
    return "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"


def processes_of(fabric: Fabric) -> Processes:
    """The processes that a fabric computes in."""
    return fabric.strategy.processes if isinstance(fabric.strategy, Together) else ALONE


class Together(DDPStrategy):
    """Lightning Fabric's strategy of several processes, but for how gradients come together.

    Modules are not wrapped in ``DistributedDataParallel``, whose mean of gradients is wrong for parts of several sizes:
    gradients are added up once, before the optimiser's step.
    """

    def __init__(self, processes: Processes, backend: str) -> None:
        super().__init__(cluster_environment=_Environment(processes), process_group_backend=backend, timeout=STEP_LIMIT)
        self.processes = processes
        self._undo: list[Callable[[], None]] = []

    def _configure_launcher(self) -> None:
        """The processes are there already."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        share_statistics(module, self.processes.add)
        hooks = _own_random_numbers(module, self.processes, self.root_device)
        self._undo += [*(hook.remove for hook in hooks), lambda: own_statistics(module)]
        return module

    def let_go(self) -> None:
        """Leave the modules as they were before: they will be used in one process."""
        while self._undo:
            self._undo.pop()()

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        add_gradients(self.processes, optimizer)
        return super().optimizer_step(optimizer, **kwargs)


def add_gradients(processes: Processes, optimizer: Optimizer) -> None:
    """Add up the gradients of all processes: one message for each type of number. Raises Lost."""
    gradients: dict[torch.dtype, list[Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                gradients.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for parts in gradients.values():
        whole = processes.add(torch.cat([part.flatten() for part in parts]))
        pieces = whole.split([part.numel() for part in parts])
        for part, piece in zip(parts, pieces, strict=True):
            part.copy_(piece.view_as(part))


def _own_random_numbers(module: nn.Module, processes: Processes, device: torch.device) -> Iterable[Any]:
    """What a network draws while it looks at its part is its own; what a step draws otherwise is common to all."""
    common: list[dict[str, Tensor]] = []

    def before(_: nn.Module, __: Any) -> None:
        if module.training:
            common.append(random_state(device))
            torch.manual_seed(processes.own_numbers())

    def after(_: nn.Module, __: Any, ___: Any) -> None:
        if common:
            restore_random_state(common.pop(), device)

    return module.register_forward_pre_hook(before), module.register_forward_hook(after)


class _Environment(LightningEnvironment):
    """Tells the strategy which of the processes this one is."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.processes.local_rank

    def node_rank(self) -> int:
        return self.processes.rank // self.processes.local_count

    def teardown(self) -> None:
        """There is nothing in the environment to take back."""
