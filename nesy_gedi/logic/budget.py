"""Limits of grounding and compilation, and the watch that is kept over them."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nesy_gedi.errors import BudgetError, UsageError

CHECK_EVERY = 256
"""Steps between two looks at the clock and at the memory."""

WAYS_OUT = (
    "let a rule look at one image at a time and hand on no more than it must, as programs/multi_addition.pl does with a "
    "carry; or ask for proven bounds with --engine topk:3, for an estimate with --engine sample:1000"
)
"""What makes a program smaller, and what to do with one that is too large."""


@dataclass(frozen=True)
class Budget:
    """Limits of grounding and compiling one query form.

    Attributes:
        nodes: of the ground program, of the circuit, and of an SDD while it is compiled.
        seconds: wall-clock time for all of it.
        gigabytes: memory of the process beyond what it has at the beginning, in 10^9 bytes.
    """

    nodes: int = 5_000_000
    seconds: float = 120.0
    gigabytes: float = 8.0

    def __post_init__(self) -> None:
        if math.isnan(self.seconds) or math.isnan(self.gigabytes):
            raise UsageError("a limit is no number", where="budget", hint="for example seconds = 120.0")


class Watch:
    """A budget that is being spent.

    Args:
        what: what it is spent on, for the error: the program and the query form.
        hint: what may be done about it.
    """

    def __init__(self, budget: Budget, what: str, hint: str = WAYS_OUT) -> None:
        self.budget = budget
        self.what = what
        self.hint = hint
        self._end = time.monotonic() + budget.seconds
        self._memory = _memory() + budget.gigabytes * 1e9
        self._steps = 0

    def step(self, nodes: int, place: Callable[[], str]) -> None:
        """Count a step.

        Args:
            nodes: how many there are by now.
            place: says what was being worked on; asked only where the budget is spent.

        Raises:
            BudgetError: there are too many nodes, or the time or the memory is used up.
        """
        if nodes > self.budget.nodes:
            raise self._error(f"{self.budget.nodes:,} nodes", place())
        self._steps += 1
        if self._steps % CHECK_EVERY == 0:
            self.check(place)

    def check(self, place: Callable[[], str]) -> None:
        """Look at the clock and at the memory.

        Raises:
            BudgetError: one of them is used up.
        """
        if time.monotonic() > self._end:
            raise self._error(f"{self.budget.seconds:g} s", place())
        if _memory() > self._memory:
            raise self._error(f"{self.budget.gigabytes:g} GB", place())

    def rest(self) -> Budget:
        """What is left of the time, with the limits of everything else."""
        return replace(self.budget, seconds=max(0.0, self._end - time.monotonic()))

    def _error(self, limit: str, place: str) -> BudgetError:
        return BudgetError(f"{place} went past the budget of {limit}", where=self.what, hint=self.hint)


def _memory() -> float:
    """Bytes that the process has now; where the system does not say, the most it has had."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return float(pages * resource.getpagesize())
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(most if sys.platform == "darwin" else most * 1024)
