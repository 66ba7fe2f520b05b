"""What tests of the command line share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from nesy_gedi.cli.main import main; main()"]

TINY = ("--method", "answers", "--limit", "40", "--epochs", "1", "--device", "cpu")
"""A run of about half a second."""


def settings(*assignments: str) -> tuple[str, ...]:
    """Each as ``--set``."""
    return tuple(argument for each in assignments for argument in ("--set", each))


TINY_PRETRAIN = (
    *("--data", "digits", "--limit", "120", "--device", "cpu"),
    *settings('sequence=["features","clusters"]', "network.width=4"),
    *(f"--set=stages.{name}.{key}" for name in ("features", "clusters") for key in ("epochs=1", "passes=1")),
    *settings("stages.features.batch_size=60", "stages.features.hidden=16", "stages.features.output=16"),
    *settings("stages.clusters.batch_size=60", "stages.clusters.restarts=1"),
)
"""A pretraining of about half a second; an objective may follow."""


def measured(document: dict[str, Any]) -> dict[str, Any]:
    """What a pretraining's document says about the result: nothing that the clock decides."""
    stages = {
        name: {key: value for key, value in stage.items() if key != "measuring_s"}
        for name, stage in document["stages"].items()
    }
    return {**{key: document[key] for key in ("metrics", "collapse", "warnings")}, "stages": stages}


@dataclass(frozen=True)
class Outcome:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]

    def failed(self, code: int, *said: str) -> None:
        """One short message on stderr that says all of ``said``, nothing on stdout, no traceback."""
        assert self.code == code, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        assert "internal error" not in self.err
        for words in said:
            assert words in self.err, self.err


Run = Callable[..., Outcome]


def nothing_but(*names: str) -> None:
    """The working folder holds these and nothing half-written."""
    assert sorted(path.name for path in Path().iterdir()) == sorted(names)


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> str:
    """Read progress until ``epoch`` is done; what was read."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if line.startswith(f"epoch {epoch}:"):
            return read
    raise AssertionError(f"epoch {epoch} never came:\n{read}")
