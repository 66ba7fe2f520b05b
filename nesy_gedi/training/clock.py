"""Where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch


@dataclass
class Clock:
    """Seconds spent by part of the work.

    A GPU works on after a call returns. Waiting for it at every lap would slow it down, so what it does is marked by
    events in its own queue; only :attr:`seconds` waits for them.

    Attributes:
        device: what computes.
    """

    device: torch.device | None = None
    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _open: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Book the time since the last call on nothing."""
        self._since = self._now()

    def lap(self, part: str) -> None:
        """Book the time since the last call on ``part``."""
        now = self._now()
        if isinstance(now, float):
            assert isinstance(self._since, float)
            self._seconds[part] += now - self._since
        else:
            assert not isinstance(self._since, float)
            self._open.append((part, self._since, now))
        self._since = now

    @property
    def seconds(self) -> dict[str, float]:
        """Part -> seconds so far; waits for the GPU where there is one."""
        if self._open:
            self._open[-1][2].synchronize()
        for part, begin, end in self._open:
            self._seconds[part] += begin.elapsed_time(end) / 1000.0
        self._open.clear()
        return self._seconds

    def _now(self) -> float | torch.cuda.Event:
        if self.device is None or self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event
