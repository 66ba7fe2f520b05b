"""Sums of long numbers on MNIST, learned from the sums alone: how often is the whole sum right?

    python benchmarks/long_sums.py --results build/long-sums.jsonl --data-dir DIR           # all lengths, ten seeds
    python benchmarks/long_sums.py --results build/long-sums.jsonl --data-dir DIR --seeds 0 # no run: the table of what is there
    python benchmarks/long_sums.py --data-dir DIR --digits 15 --seeds 1 --dry

Writes docs/performance.md. With ``--results`` each finished run is added to that file at once and is not repeated; runs of
a recipe that has changed since are left out, saying so. A run that fails is shown as failed; remove its line from the file
to try it again. Without MNIST nothing is measured, saying so. Threads are as many as torch takes: one for each core, or
OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from record import markdown_table, write_section
from runs import Outcome, Records, key_of, middle_and_worst, names, run, seeds_of, tell

from nesy_gedi.data import describe
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.recipe_files import read_override

PROGRAM, DATA = "multi_addition", "mnist"

DIGITS = (1, 2, 4, 8, 15)
"""Lengths of the numbers."""

IMAGES = 240
"""Of a step, about, however long the sums are: 8 sums of 15 digits."""


@dataclass(frozen=True)
class LongSums:
    """Sums of two numbers of so many digits."""

    digits: int

    @property
    def name(self) -> str:
        return f"{self.digits} digits"

    @property
    def data(self) -> str:
        return DATA

    @property
    def query(self) -> str:
        def row(name: str, count: int) -> str:
            return f"[{','.join(f'{name}{k}' for k in range(count))}]"

        return f"{PROGRAM}({row('X', self.digits)},{row('Y', self.digits)},{row('Z', self.digits + 1)})"

    @property
    def batch(self) -> int:
        """Sums of a step."""
        return max(1, IMAGES // (2 * self.digits))

    def settings(self) -> list[str]:
        return [f"training.batch_size={self.batch}"]

    @cache  # noqa: B019 - jobs live as long as the process
    def key(self, seed: int) -> str:
        found = find_program(PROGRAM)
        overrides = {"seed": seed, "query": self.query, **dict(map(read_override, self.settings()))}
        return key_of(
            found.path.read_text(encoding="utf-8"), load_recipe(found.recipe, source=DATA, overrides=overrides)
        )

    def arguments(self, seed: int) -> list[str]:
        settings = [part for each in self.settings() for part in ("--set", each)]
        return ["train", PROGRAM, "--data", DATA, "--query", self.query, "--seed", str(seed), *settings]


def train(job: LongSums, seed: int, data_dir: str | None, records: Records, folder: Path) -> None:
    """One `nesy-gedi train`, added to the records with the processor time that it took."""
    where = ["--data-dir", data_dir] if data_dir else []
    out = folder / f"{job.digits}-{seed}"
    before = _of_children()
    line = run(job, seed, [*job.arguments(seed), *where, "--out", str(out), "--force"], accuracy="answer_accuracy")
    if line["document"] is not None:
        line["document"] |= {"processor_s": _of_children() - before, "threads": torch.get_num_threads()}
    records.add(line)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


HEADER = (
    "digits",
    "seeds",
    "whole sums right, median",
    "worst",
    "digits right, median",
    "worst",
    "all digits of a sum right",
    "minutes, median",
    "slowest",
    "processor minutes, median",
)

EXPLANATION = (
    "Each row is `nesy-gedi train {program} --data {data} --query FORM --set training.batch_size=B` over all seeds, in whole "
    "processes with {threads}, start-up included; FORM has two numbers of so many images and the digits of their sum, and B is "
    "such that a step sees about {images} images. Networks are new, nothing is pretrained, and nothing but sums is told: each "
    "training image stands in one sum, a tenth of them in sums by which the best epoch is chosen. A sum is right where all of "
    "its digits are, a digit where an image is read as the true one. *All digits of a sum right* is the median of the share of "
    "digits to the power of their number in a sum: what a perfect reasoner reaches with such networks if their errors are "
    "independent and never cancel. Tests are the 10,000 test images, each in at most one sum: {tests}. The best figure "
    "published for 15 digits, as far as we know, is about .76 "
    "(with approximate inference, [2212.12393](https://arxiv.org/abs/2212.12393))."
)


def row(job: LongSums, outcomes: list[Outcome]) -> list[object]:
    documents = [each.document for each in outcomes if each.document is not None]
    failed = len(outcomes) - len(documents)
    symbols = [document["metrics"]["concept_accuracy"] for document in documents]
    minutes = [each.seconds / 60 for each in outcomes]
    ideal = [accuracy ** (2 * job.digits) for accuracy in symbols]
    return [
        job.digits,
        seeds_of(outcomes),
        *middle_and_worst([document["metrics"]["answer_accuracy"] for document in documents], failed, 3),
        *middle_and_worst(symbols, failed, 4),
        middle_and_worst(ideal, failed, 3)[0],
        f"{statistics.median(minutes):.1f}",
        f"{max(minutes):.1f}",
        f"{statistics.median([d['processor_s'] for d in documents]) / 60:.1f}" if documents else "-",
    ]


def section(records: Records) -> str:
    done = {job: outcomes for job in map(LongSums, DIGITS) if (outcomes := records.of(job))}
    if not done:
        raise SystemExit("nothing was measured")
    every = [each for outcomes in done.values() for each in outcomes]
    where = "; and on ".join(sorted({each.machine for each in every}))
    used = sorted({each.document["threads"] for each in every if each.document is not None})
    tests = {
        job.digits: next((e.document["metrics"]["queries"] for e in outcomes if e.document is not None), 0)
        for job, outcomes in done.items()
    }
    explained = EXPLANATION.format(
        program=PROGRAM,
        data=DATA,
        images=IMAGES,
        threads=" or ".join("one thread" if count == 1 else f"{count} threads" for count in used),
        tests=", ".join(f"{count:,} sums of {digits} digits" for digits, count in tests.items()),
    )
    table = markdown_table(HEADER, [row(job, outcomes) for job, outcomes in done.items()])
    return f"`python benchmarks/long_sums.py`. On {where}. {explained}\n\n{table}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", type=names, default=[str(n) for n in DIGITS], metavar="A,B")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="add finished runs here, do not repeat them")
    parser.add_argument("--runs", type=Path, default=Path("build/long-sums"), help="folder of the run folders")
    parser.add_argument("--data-dir")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    jobs = [LongSums(int(digits)) for digits in options.digits]
    if unknown := {job.digits for job in jobs} - set(DIGITS):
        raise SystemExit(f"the table has rows for {', '.join(map(str, DIGITS))} digits, not {min(unknown)}")
    records = Records(options.results)
    if describe(DATA, Path(options.data_dir) if options.data_dir else None).status == "missing":
        tell(f"{DATA} was not measured: give --data-dir")
        return
    # Seed by seed, so that a benchmark that is stopped has measured every length equally often.
    for seed in range(options.first, options.first + options.seeds):
        for job in jobs:
            if records.has(job, seed):
                tell(f"{job.name}, seed {seed}: is there")
                continue
            train(job, seed, options.data_dir, records, options.runs)
    text = section(records)
    print(text)
    if not options.dry:
        write_section("docs/performance.md", "long-sums", text)


if __name__ == "__main__":
    main()
