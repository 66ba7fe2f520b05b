"""What tests of the command line share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from nesy_gedi.cli.main import main; main()"]

TINY = ("--limit", "40", "--epochs", "1", "--device", "cpu")
"""A run of about half a second."""


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
