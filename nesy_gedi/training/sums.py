"""Losses of steps, added up where they are computed and read now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from nesy_gedi.training.processes import Processes

READ_SECONDS = 1.0
"""How often losses are read in the middle of an epoch, where reading them makes the computer wait: a GPU, which must first
have finished all steps before, or several processes, which must add up their parts. So often progress shows a new loss, and
so late a loss that is not finite may be found - but always before a checkpoint is written."""


class Sums:
    """Sums of losses over items, of the steps since they were last read.

    Args:
        processes: each knows its part of each step's losses.
        device: what computes.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes = processes
        self.waits = processes.count > 1 or device.type != "cpu"
        # There is no float64 on mps.
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.clear()

    def clear(self) -> None:
        """Forget what has not been read."""
        self.tensors: dict[str, Tensor] = {}
        self.numbers: dict[str, float] = {}
        self.items = 0
        self.read_at = time.monotonic()

    def add(self, losses: Mapping[str, float | Tensor], items: int) -> None:
        """Count a step's losses, each this process's part of a mean over ``items``; nothing is waited for."""
        self.items += items
        for name, value in losses.items():
            if isinstance(value, Tensor):
                sum_ = value.detach().to(self.dtype) * items
                self.tensors[name] = self.tensors[name] + sum_ if name in self.tensors else sum_
            else:
                self.numbers[name] = self.numbers.get(name, 0.0) + value * items

    def due(self) -> bool:
        """Whether it is time to read: always where reading costs nothing."""
        return not self.waits or time.monotonic() - self.read_at >= READ_SECONDS

    def read(self) -> tuple[dict[str, float], int]:
        """Sums over all processes by name, and the number of items; from then on they are forgotten. Waits for the device.

        Raises:
            Lost: another process has ended.
        """
        found, items = dict(self.numbers), self.items
        if self.tensors:
            whole = self.processes.add(torch.stack(tuple(self.tensors.values())))
            found |= dict(zip(self.tensors, whole.tolist(), strict=True))
        self.clear()
        return found, items
