"""Starting the processes of a run, and ending them: none outlives the first, and one that fails ends all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any

import torch
import torch.distributed as dist

from nesy_gedi import errors
from nesy_gedi.errors import NesyGediError, RunError, UsageError
from nesy_gedi.training.devices import choose_devices
from nesy_gedi.training.processes import ALONE, STEP_LIMIT, WAIT_LIMIT, Lost, Processes, backend_for

START_LIMIT = timedelta(minutes=2)
"""Processes that have not found one another in so long are given up: each must import torch."""

END_SECONDS = 10.0
"""So long a process may take to end by itself."""

FAILURE_SECONDS = 3.0
"""So long the first process waits for the reason why another is gone."""

_FAILURE, _SEEN = "nesy-gedi/failure", "nesy-gedi/failure-seen"

_CHILD = "import sys; from nesy_gedi.training.launching import take_part; sys.exit(take_part())"


def launched_by_others() -> tuple[int, int] | None:
    """(rank, count) of this process where torchrun, or something like it, has started several; else None."""
    try:
        count, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    except (KeyError, ValueError):
        return None
    return (rank, count) if count > 1 else None


def follows_another() -> bool:
    """Whether this process is one of several that torchrun has started, and not the first."""
    found = launched_by_others()
    return found is not None and found[0] > 0


@contextmanager
def start(devices: int, device: str) -> Iterator[Processes]:
    """The processes that train together: those that torchrun has started, or this one and ``devices - 1`` more.

    Processes that are started here run :func:`~nesy_gedi.training.following.follow`; at the end, whatever it is, they are
    gone.

    Args:
        device: as ``--device`` names it.

    Raises:
        UsageError: fewer than one, another number than torchrun has started, or too few GPUs.
        RunError: they cannot be started, or one of them has ended.
        NesyGediError: whatever another process has failed with.
    """
    if devices < 1:
        raise UsageError(f"there cannot be {devices} processes", where="--devices", hint="use 1 or more")
    others = launched_by_others()
    if others is None and devices == 1:
        yield ALONE
        return
    if others is not None and devices not in (1, others[1]):
        raise UsageError(
            f"--devices {devices}, but {others[1]} processes were started",
            where="--devices",
            hint="leave --devices out under torchrun",
        )
    if dist.is_initialized():
        raise UsageError(
            "torch.distributed is in use in this process already",
            where="--devices",
            hint="train in one process, or destroy its process group first",
        )
    with _joined(devices, device) if others is None else _found(device) as (processes, store, children):
        try:
            yield processes
        except BaseException as error:
            if not processes.first:
                _report(store, processes, error)
            elif isinstance(error, Lost):
                raise _reason(store, children) or error from None
            raise
        else:
            for child in children:
                child.wait_for_end()


@contextmanager
def _found(device: str) -> Iterator[tuple[Processes, dist.Store, list[_Child]]]:
    """The processes that something else has started."""
    local_rank, local_count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    chosen = choose_devices(device, local_count)
    store, rank, count = next(iter(dist.rendezvous("env://", timeout=START_LIMIT)))
    with _group(store, rank, count, local_rank, local_count, chosen) as processes:
        yield processes, store, []


@contextmanager
def _joined(devices: int, device: str) -> Iterator[tuple[Processes, dist.Store, list[_Child]]]:
    """This process and its children."""
    chosen = choose_devices(device, devices)
    threads = torch.get_num_threads()
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=START_LIMIT)
    children: list[_Child] = []
    try:
        each = max(1, threads // devices)
        job = {"path": sys.path, "count": devices, "port": store.port, "device": chosen, "threads": each}
        children += [_Child({**job, "rank": rank}) for rank in range(1, devices)]
        torch.set_num_threads(each)
        _wait_for(store, children)
        with _group(store, 0, devices, 0, devices, chosen) as processes:
            yield processes, store, children
    finally:
        torch.set_num_threads(threads)
        for child in children:
            child.end()


def _wait_for(store: dist.Store, children: list[_Child]) -> None:
    """Until all children are there; raises RunError where one of them has ended instead."""
    until = time.monotonic() + START_LIMIT.total_seconds()
    while not store.check([f"here/{child.rank}" for child in children]):
        if any(child.process.poll() is not None for child in children) or time.monotonic() > until:
            raise _reason(store, children) or RunError(
                f"the processes have not started within {START_LIMIT.total_seconds():.0f} seconds",
                where="--devices",
                hint="train in one process: leave --devices out",
            )
        time.sleep(0.02)


@contextmanager
def _group(
    store: dist.Store, rank: int, count: int, local_rank: int, local_count: int, device: str
) -> Iterator[Processes]:
    dist.init_process_group(backend_for(device), store=store, rank=rank, world_size=count, timeout=STEP_LIMIT)
    try:
        waiting = dist.new_group(backend="gloo", timeout=WAIT_LIMIT)
        assert isinstance(waiting, dist.ProcessGroup)
        yield Processes(rank, count, local_rank=local_rank, local_count=local_count, waiting=waiting)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


class _Child:
    """A process that this one has started, in a session of its own: Ctrl-C is for the first process, which tells the others.

    Its standard input stays open as long as this process lives; see :func:`_end_with_the_first`.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.rank: int = job["rank"]
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=self.said,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # that it has ended will be seen
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def wait_for_end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)

    def end(self) -> None:
        """Now, if it has not ended by itself."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.said.close()

    def last_words(self) -> str:
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def take_part() -> int:
    """What a process does that :class:`_Child` has started; its exit code."""
    from nesy_gedi.training.following import follow  # what follows needs this module

    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    sys.path[:] = job["path"]
    warnings.simplefilter("ignore")  # the first process says it
    torch.set_num_threads(job["threads"])
    rank, count = job["rank"], job["count"]
    store = dist.TCPStore("127.0.0.1", job["port"], is_master=False, wait_for_workers=False, timeout=START_LIMIT)
    store.set(f"here/{rank}", "")
    try:
        with _group(store, rank, count, rank, count, job["device"]) as processes:
            try:
                follow(processes)
            except BaseException as error:
                _report(store, processes, error)
                raise
    except NesyGediError:
        return 1
    return 0


def _end_with_the_first() -> None:
    """Standard input ends when the first process does, even if it is killed."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _report(store: dist.Store, processes: Processes, error: BaseException) -> None:
    """Tell the first process why this one ends, and wait until it knows: whoever has started both ends it otherwise."""
    if isinstance(error, (Lost, errors.Interrupted)):
        return
    kind = next(
        each.__name__ for each in type(error).__mro__ if hasattr(errors, each.__name__) or each is BaseException
    )
    if isinstance(error, NesyGediError):
        said = {"message": error.message, "where": error.where, "excerpt": error.excerpt, "hint": error.hint}
    else:
        said = {
            "message": f"process {processes.rank} failed: {type(error).__name__}: {error}",
            "hint": "see whether it works in one process: leave --devices out",
        }
    with contextlib.suppress(RuntimeError):  # the first process may be gone
        store.set(_FAILURE, json.dumps({"kind": kind, **said}))
        dist.destroy_process_group()  # all that wait for this process see it
        store.wait([_SEEN], timedelta(seconds=END_SECONDS))


def _reason(store: dist.Store, children: list[_Child]) -> NesyGediError | None:
    """Why another process is gone, as far as that can be known."""
    until = time.monotonic() + FAILURE_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(RuntimeError):
            if store.check([_FAILURE]):
                told = json.loads(store.get(_FAILURE))
                store.set(_SEEN, "")
                kind: type[NesyGediError] = getattr(errors, told.pop("kind"), RunError)
                return kind(told.pop("message"), **told)
        for child in children:
            if (code := child.process.poll()) not in (None, 0):
                assert code is not None
                how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
                words = child.last_words()
                return RunError(
                    f"process {child.rank} {how}" + (f": {words}" if words else ""),
                    hint="there may be too little memory for so many processes: use fewer --devices",
                )
        time.sleep(0.05)
    return None
