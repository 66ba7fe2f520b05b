"""The main job as a user runs it: train a program from answers and read the figures off its JSON.

    python benchmarks/training.py                  # every table; writes README.md and docs/performance.md
    python benchmarks/training.py --seeds 2 --dry  # fewer seeds, print only

MNIST is looked for as the command does and left out, saying so, when it is not there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import machine, markdown_table, write_section

from nesy_gedi.data import describe
from nesy_gedi.training.bundled import bundled_programs

HEADER = (
    "command",
    "seeds",
    "concept accuracy, median",
    "worst",
    "answer accuracy, median",
    "worst",
    "seconds, median",
    "slowest",
    "circuit share of a step, median",
)


def run(arguments: list[str], seed: int) -> dict[str, Any]:
    """One `nesy-gedi train` in a process of its own, timed as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train", *arguments, "--seed", str(seed), "--json", "--quiet", "--out", str(Path(folder) / "run")]
        started = time.perf_counter()
        done = subprocess.run(
            [str(Path(sys.executable).parent / "nesy-gedi"), *command], capture_output=True, text=True
        )
        spent = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document | {"wall_s": spent}


def row(arguments: list[str], shown: str, seeds: int) -> list[object]:
    """Median and worst over all seeds; none is dropped."""
    found = []
    for seed in range(seeds):
        found.append(run(arguments, seed))
        metrics = found[-1]["metrics"]
        print(
            f"{shown}, seed {seed}: concept {metrics['concept_accuracy']:.4f}, answer {metrics['answer_accuracy']:.4f}, "
            f"{found[-1]['wall_s']:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    concept = [document["metrics"]["concept_accuracy"] for document in found]
    answer = [document["metrics"]["answer_accuracy"] for document in found]
    seconds = [document["wall_s"] for document in found]
    share = [
        document["time"]["logic_s"] / (document["time"]["logic_s"] + document["time"]["network_s"])
        for document in found
    ]
    return [
        f"`nesy-gedi train {shown}`",
        f"0-{seeds - 1}",
        f"{statistics.median(concept):.4f}",
        f"{min(concept):.4f}",
        f"{statistics.median(answer):.4f}",
        f"{min(answer):.4f}",
        f"{statistics.median(seconds):.1f}",
        f"{max(seconds):.1f}",
        f"{statistics.median(share):.1%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-dir")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    rows = [row([name], name, options.seeds) for name in (program.name for program in bundled_programs())]
    folder = Path(options.data_dir) if options.data_dir else None
    if describe("mnist", folder).status == "found":
        for epochs in (1, 3):
            arguments = ["addition", "--data", "mnist", "--epochs", str(epochs)]
            where = ["--data-dir", options.data_dir] if options.data_dir else []
            rows.append(row([*arguments, *where], " ".join(arguments), options.seeds))
    else:
        print("MNIST was not measured: give --data-dir", file=sys.stderr)
    text = f"Whole processes, start-up included, on {machine()}.\n\n{markdown_table(HEADER, rows)}"
    print(text)
    if not options.dry:
        write_section("docs/performance.md", "training", text)
        write_section("README.md", "training", text)


if __name__ == "__main__":
    main()
