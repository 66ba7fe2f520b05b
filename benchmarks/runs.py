"""Finished runs of the command line: one process each, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from record import machine

Document = dict[str, Any]


CHANGE_NOTHING = ("engine", "limits")
"""Keys of recipes on which no result depends: exact engines agree, and a run within its limits knows nothing of them."""


def key_of(*parts: Any) -> str:
    """Of recipes and texts. What a recipe leaves empty, zero or false says nothing, so that a new option which is off by
    default makes no other runs."""
    told = [_told(asdict(part)) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    for part in told:
        if isinstance(part, dict):
            for name in CHANGE_NOTHING:
                part.pop(name, None)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: found for key, inner in value.items() if (found := _told(inner))}
    return list(value) if isinstance(value, tuple) else value


class Job(Protocol):
    """What is run with every seed, under a name and on some data, which may be any two words that tell jobs apart."""

    @property
    def name(self) -> str: ...
    @property
    def data(self) -> str: ...
    def key(self, seed: int) -> str:
        """Of everything that determines the run: another recipe is another run."""


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        document: what the command printed; None where it failed.
        seconds: of the whole process.
    """

    seed: int
    document: Document | None
    seconds: float
    machine: str


class Records:
    """Finished runs, in a file where one is given."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path is not None and path.exists() else ""
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.strip()]

    def add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def line(self, job: Job, seed: int) -> dict[str, Any] | None:
        """What is recorded of the run, by the job's recipe as it is now."""
        key = job.key(seed)
        return next((line for line in self.lines if line["key"] == key), None)

    def has(self, job: Job, seed: int) -> bool:
        return self.line(job, seed) is not None

    def of(self, job: Job) -> list[Outcome]:
        """Every seed that was run by the job's recipe as it is now, in order."""
        same = [line for line in self.lines if (line["name"], line["data"]) == (job.name, job.data)]
        found = [line for line in same if line["key"] == job.key(line["seed"])]
        if len(found) < len(same):
            tell(f"{job.name} on {job.data}: {len(same) - len(found)} runs of a recipe that has changed are left out")
        outcomes = [Outcome(line["seed"], line["document"], line["seconds"], line["machine"]) for line in found]
        return sorted(outcomes, key=lambda outcome: outcome.seed)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(job: Job, seed: int, arguments: Sequence[str], *, accuracy: str) -> dict[str, Any]:
    """One `nesy-gedi` in a process of its own, timed as a whole: the line that :class:`Records` keeps.

    Args:
        arguments: of the command, `--json` and `--quiet` apart.
        accuracy: of its metrics, the one to tell.
    """
    quiet = [] if arguments[0] == "evaluate" else ["--quiet"]  # which shows no progress anyway
    command = [str(Path(sys.executable).parent / "nesy-gedi"), *arguments, "--json", *quiet]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    spent = time.perf_counter() - started
    if done.returncode < 0 or done.returncode in (2, 130):  # killed, asked wrongly, interrupted: nothing was measured
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    document: Document | None = json.loads(done.stdout) if done.returncode == 0 else None
    shown = f"accuracy {document['metrics'][accuracy]:.4f}" if document else f"failed: {done.stderr.strip()}"
    tell(f"{job.name} on {job.data}, seed {seed}: {shown}, {spent:.1f} s")
    return {
        "name": job.name,
        "data": job.data,
        "seed": seed,
        "key": job.key(seed),
        "seconds": spent,
        "machine": machine(),
        "document": document,
        "error": "" if document else done.stderr,
    }


def median(values: Iterable[float | None], digits: int) -> str:
    """Of what was measured; '-' where there is no such number."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.{digits}f}" if known else "-"


def middle_and_worst(values: Iterable[float], failed: int, digits: int) -> list[str]:
    """Of a figure of all runs, of which the failed ones are worse than any other."""
    every = [*values, *[float("-inf")] * failed]
    return [
        "failed" if value == float("-inf") else f"{value:.{digits}f}"
        for value in (statistics.median(every), min(every))
    ]


def names(text: str) -> list[str]:
    """Of an option that takes several, with commas between."""
    return [name for name in text.split(",") if name]


def seeds_of(outcomes: Sequence[Outcome]) -> str:
    """Which seeds were run, and which of them failed."""
    seeds = [each.seed for each in outcomes]
    whole = seeds == list(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 1
    text = f"{seeds[0]}-{seeds[-1]}" if whole else ", ".join(map(str, seeds))
    failed = [str(each.seed) for each in outcomes if each.document is None]
    return f"{text} (failed: {', '.join(failed)})" if failed else text
