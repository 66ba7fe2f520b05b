"""Ctrl-C: finish the step, save, stop; twice: stop at once. And work that has taken too long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import ParamSpec

from nesy_gedi.cli.output import exit_code, print_status
from nesy_gedi.errors import NesyGediError

P = ParamSpec("P")


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


def follows_another() -> bool:
    """Whether torchrun, or something like it, has started this process beside a first one."""
    if "WORLD_SIZE" not in os.environ:
        return False
    from nesy_gedi.training import launching  # takes a second, as torch does

    return launching.follows_another()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """:class:`StopOnce`; a process beside the first leaves it to that one, which tells the others."""
    if not follows_another():
        with StopOnce() as stop:
            yield stop
        return
    for number in StopOnce.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    yield lambda: False


def first_process_speaks(command: Callable[P, None]) -> Callable[P, None]:
    """Let a process beside the first end without a word: the first says what has failed."""

    @wraps(command)
    def quietly(*arguments: P.args, **named: P.kwargs) -> None:
        if not follows_another():
            return command(*arguments, **named)
        warnings.simplefilter("ignore")
        try:
            return command(*arguments, **named)
        except NesyGediError as error:
            sys.exit(exit_code(error))

    return quietly
