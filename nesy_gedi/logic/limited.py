"""Work in a forked child that can be stopped at any moment, within limits of time and memory.

One operation of a compiler written in C may run for minutes, or take all memory, before it returns to Python, which can
only look at a budget between operations. A child process can be killed in the middle of one, and what it had goes with it.

The child may use Python and libraries that run on the calling thread; no torch, whose threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import functools
import gc
import json
import math
import os
import resource
import selectors
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nesy_gedi import errors
from nesy_gedi.errors import BudgetError, NesyGediError
from nesy_gedi.logic.budget import Budget

GRACE = 2.0
"""Seconds after its time is over when a child ends itself, in case that nobody is left to end it."""

LONGEST = 10.0**6
"""Seconds that every clock of the system takes, eleven days; a budget of more ends then."""

OUT_OF_MEMORY = 71
"""Exit status of a child that could not get memory."""

CRASHED = 70
"""Exit status of a child that could not say what happened."""

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that a process is sent when its parent dies."""


def can_fork() -> bool:
    """Whether this system forks; where it does not, or has no process left, work is done in this one and not stopped."""
    return hasattr(os, "fork")


def run_limited(work: Callable[[], Any], budget: Budget, past: Callable[[str], BudgetError]) -> Any:
    """What ``work`` returns, found in a child process that is gone when this function returns or raises.

    Args:
        work: returns what JSON can hold (tuples arrive as lists); nothing else that it changes is seen here.
        budget: ``seconds`` from now, and ``gigabytes`` beyond what this process has mapped by now; not its nodes.
        past: the error for a limit that was passed, given as text: ``20 s``, ``8 GB``.

    Raises:
        BudgetError: by ``past``, the time or the memory is used up.
        NesyGediError: the error that ``work`` raised, of its class, with its message, place, excerpt and hint.
        RuntimeError: any other exception in ``work``, as text, or a crash.
    """
    if not can_fork():
        return work()
    deadline = time.monotonic() + budget.seconds
    _libc()  # loaded here, since the child should load nothing
    parent = os.getpid()
    reader, writer = os.pipe()
    status: int | None = None
    message: bytes | None = None
    pid: int | None = None
    try:
        # A signal that arrives before the child has left its parent's handlers, or before it can be killed, waits.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = _fork()
            if pid == 0:
                _serve(work, writer, budget, parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(writer)
            writer = -1
            if pid is not None:
                message = _receive(reader, deadline)
        finally:
            if pid:
                status = _end(pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if pid is None:
        return work()
    return _read(message, status, budget, past)


def _fork() -> int | None:
    """As os.fork, None where the system has no process to give."""
    with warnings.catch_warnings():
        # Python warns of forks beside other threads; the child touches nothing that a thread of ours may have locked.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return os.fork()
        except OSError:
            return None


def _receive(reader: int, deadline: float) -> bytes | None:
    """Everything that the child writes until it ends, None where it is late."""
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while selector.select(max(0.0, min(deadline - time.monotonic(), LONGEST))):
            piece = os.read(reader, 1 << 20)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            if time.monotonic() > deadline:
                break
    return None


def _end(pid: int) -> int | None:
    """Kill and reap a child; its exit status, or minus the signal that ended it, None where nobody knows."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finally:
        try:
            status: int | None = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # whoever embeds this reaps all children, or ignores them
            status = None
    return status


def _read(message: bytes | None, status: int | None, budget: Budget, past: Callable[[str], BudgetError]) -> Any:
    if message is None or status == -signal.SIGALRM:
        raise past(f"{budget.seconds:g} s")
    # Nobody here has killed it: where the system has, there was no memory left.
    if status in (OUT_OF_MEMORY, -signal.SIGKILL):
        raise past(f"{budget.gigabytes:g} GB")
    if status or not message:
        what = signal.Signals(-status).name if status and status < 0 else f"status {status}"
        raise RuntimeError(f"a child process ended with {what} and said nothing")
    outcome = json.loads(message)
    if "error" in outcome:
        kind = getattr(errors, outcome["error"], NesyGediError)
        raise kind(outcome["message"], where=outcome["where"], excerpt=outcome["excerpt"], hint=outcome["hint"])
    if "crash" in outcome:
        raise RuntimeError(f"in a child process:\n{outcome['crash']}")
    return outcome["result"]


def _serve(work: Callable[[], Any], writer: int, budget: Budget, parent: int) -> NoReturn:
    """The child: work, answer, and end without anything that the parent has registered or buffered for its own end."""
    status = CRASHED
    try:
        writer = _leave(writer)
        _limit(budget, parent)
        answer = json.dumps(_outcome(work), separators=(",", ":")).encode()
        view = memoryview(answer)
        while view:
            view = view[os.write(writer, view) :]
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        os._exit(status)


def _outcome(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": work()}
    except MemoryError:
        raise
    except NesyGediError as error:
        texts = {"message": error.message, "where": error.where, "excerpt": error.excerpt, "hint": error.hint}
        return {"error": type(error).__name__, **texts}
    except BaseException:
        return {"crash": traceback.format_exc()}


def _leave(writer: int) -> int:
    """Let go of the parent's handlers, files and garbage; returns what ``writer`` is from now on."""
    gc.disable()  # the garbage is the parent's, and freeing it may call libraries that must not run here
    faulthandler.disable()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):  # Ctrl-C reaches both processes; what it means is the parent's to say
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    writer = fcntl.fcntl(writer, fcntl.F_DUPFD, 3)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    # Among them other children's pipes, which would not close before this child ends, and the parent's sockets.
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != writer:
            with contextlib.suppress(OSError):
                os.close(int(name))
    return writer


def _limit(budget: Budget, parent: int) -> None:
    """End with the parent, in time, and before memory is short."""
    libc = _libc()
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(CRASHED)
    signal.setitimer(signal.ITIMER_REAL, min(budget.seconds, LONGEST) + GRACE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + budget.gigabytes * 1e9
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        set_before = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        if math.isfinite(most):
            resource.setrlimit(resource.RLIMIT_AS, (min(int(most), *set_before, sys.maxsize), hard))
    # PySDD calls C's exit where it gets no memory; this runs before anything that was registered by the parent.
    with contextlib.suppress(AttributeError):
        libc.__cxa_atexit(ctypes.cast(libc._exit, ctypes.c_void_p), ctypes.c_void_p(OUT_OF_MEMORY), None)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
