"""Ctrl-C: finish the step, save, stop; twice: stop at once. And work that has taken too long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nesy_gedi.cli.output import print_status
from nesy_gedi.errors import NesyGediError


@contextmanager
def stop_after(seconds: float, error: NesyGediError) -> Iterator[None]:
    """Raise ``error`` inside the block once it has taken so long; where the system has no timers, never."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class StopOnce:
    """The first Ctrl-C asks to stop after the step; the second stops at once. A request to terminate is the same.

    Until the first step is done there is nothing to save: then the first one stops at once.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self.stepped = False

    def __enter__(self) -> StopOnce:
        self.before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        self.stepped = True
        return self.asked

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked or not self.stepped:
            raise KeyboardInterrupt
        self.asked = True
        print_status("stopping after this step (Ctrl-C again stops at once) ...")
