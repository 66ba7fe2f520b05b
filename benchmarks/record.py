"""What every benchmark needs: medians, the machine, and a place in the documentation for its table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def median_seconds(*functions: Callable[[], object], runs: int, warm_up: int = 1) -> list[float]:
    """Median wall-clock time of each function; the functions take turns, so that a drifting machine is fair to all."""
    times: list[list[float]] = [[] for _ in functions]
    for run in range(warm_up + runs):
        for k, function in enumerate(functions):
            started = time.perf_counter()
            function()
            if run >= warm_up:
                times[k].append(time.perf_counter() - started)
    return [statistics.median(spent) for spent in times]


def machine() -> str:
    """The processor, and the versions that matter."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = f"{names[0]}, {len(names)} cores" if names else model
    return f"{model}; Python {platform.python_version()}, torch {torch.__version__}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def write_section(file: str, name: str, text: str) -> None:
    """Replace what stands between the markers of ``name`` in a documentation file."""
    path = ROOT / file
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = path.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise SystemExit(f"{file} has no place for the table: add the lines {begin} and {end}")
    before, rest = content.split(begin, 1)
    _, after = rest.split(end, 1)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
