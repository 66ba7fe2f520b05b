"""Where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch


@dataclass
class Clock:
    """Seconds spent by part of the work.

    Attributes:
        device: what computes; a GPU works on after a call returns, so it is waited for before the time is taken.
        seconds: part -> seconds so far.
    """

    device: torch.device | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _since: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """Book the time since the last call on nothing."""
        self._since = self._now()

    def lap(self, part: str) -> None:
        """Book the time since the last call on ``part``."""
        now = self._now()
        self.seconds[part] += now - self._since
        self._since = now

    def _now(self) -> float:
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
