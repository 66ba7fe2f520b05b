"""Run as a script: trains in child processes that are killed at awkward moments.

``python killed_runs.py FOLDER MOMENT...`` leaves a run that was killed at MOMENT in ``FOLDER/MOMENT`` for each.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_runs import NOISY, SLIPPING, train_small

from nesy_gedi.training import checkpoints, runs, training
from nesy_gedi.training.loop import Listener


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt(Listener):
    """Killed after a step."""

    def __init__(self, epoch: int, step: int) -> None:
        self.moment = (epoch, step)

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        if (epoch, step) == self.moment:
            kill()


def kill_in(where: Any, name: str, when: Callable[..., bool], *, half_done: bool = False) -> None:
    """Killed when ``where.name`` is called - or just after it was, its file cut in half - with such arguments."""
    original = getattr(where, name)

    def killing(*arguments: Any, **named: Any) -> Any:
        if not when(*arguments):
            return original(*arguments, **named)
        if half_done:
            original(*arguments, **named)
            path = arguments[1]
            os.truncate(path, path.stat().st_size // 2)
        return kill()

    setattr(where, name, killing)


def before_checkpoint(epoch: int) -> None:
    kill_in(checkpoints.CheckpointFolder, "save", lambda _, name, *__: name.startswith(f"epoch-{epoch:04d}"))


def within_checkpoint(epoch: int) -> None:
    kill_in(checkpoints, "save_file", lambda _, path: f"epoch-{epoch:04d}" in str(path), half_done=True)


def before_index(epoch: int) -> None:
    kill_in(
        checkpoints,
        "write_json",
        lambda path, content: path.name == "index.json" and f"epoch-{epoch:04d}" in content["last"],
    )


NEVER = Listener()
MOMENTS: dict[str, tuple[Listener, Callable[[], None]]] = {
    "in the first epoch": (KillAt(1, 3), lambda: None),
    "in mid-epoch": (KillAt(2, 3), lambda: None),
    "after the last step of an epoch": (KillAt(2, 5), lambda: None),
    "between the first line and its checkpoint": (NEVER, lambda: before_checkpoint(1)),
    "between a line and its checkpoint": (NEVER, lambda: before_checkpoint(2)),
    "while a checkpoint is written": (NEVER, lambda: within_checkpoint(2)),
    "before a checkpoint is listed": (NEVER, lambda: before_index(2)),
    "before the result is written": (NEVER, lambda: kill_in(runs.RunFolder, "write_result", lambda *_: True)),
}


def main(folder: Path, moments: list[str]) -> None:
    images = training.load_images("digits")  # read once, before the processes part
    training.load_images = lambda *_, **__: images  # type: ignore[assignment]
    for moment in moments:
        listener, prepare = MOMENTS[moment]
        child = os.fork()
        if child == 0:
            prepare()
            train_small(folder / moment, NOISY, SLIPPING, listener=listener)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{moment}: not killed, status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
