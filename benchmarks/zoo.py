"""What to expect of the bundled programs: each trained by its own recipe, as a newcomer runs it, on one core.

    python benchmarks/zoo.py --results build/zoo.jsonl           # every program; writes its page and docs/programs.md
    python benchmarks/zoo.py --programs xor,urn --seeds 1 --dry  # two of them, print only

Finished runs are kept in the results file and not repeated; a recipe or a program that has changed is another run.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from record import markdown_table, write_section
from runs import Document, Outcome, Records, key_of, middle_and_worst, names, run, seeds_of, tell

from nesy_gedi.data import load_images
from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task

METRICS = ("answer_accuracy", "concept_accuracy", "aligned_concept_accuracy")
COLUMNS = ("answers", "concepts", "aligned")
HEADER = (
    "seeds",
    *(column for name in COLUMNS for column in (f"{name}, median", "worst")),
    "seconds, median",
    "slowest",
)
OVERVIEW = ("program", "seeds", *(column for name in COLUMNS for column in (f"{name}, median", "worst")), "seconds")


@dataclass(frozen=True)
class ZooJob:
    """The default recipe of a bundled program."""

    name: str

    @cached_property
    def task(self) -> Task:
        found = find_program(self.name)
        return Task(Program.load(found.path), load_recipe(found.recipe))

    @property
    def data(self) -> str:
        return self.task.recipe.data.source

    def key(self, seed: int) -> str:
        return key_of(self.task.recipe, self.task.program.source.text, seed)

    def train(self, seed: int) -> dict[str, Any]:
        """The line of a finished run, with processor time: what it would take on a core that nothing else is done on."""
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["train", self.name, "--seed", str(seed), "--device", "cpu", "--out", str(Path(folder) / "run")]
            before = processor_seconds()
            line = run(self, seed, arguments, accuracy="concept_accuracy")
        return line | {"seconds": processor_seconds() - before}

    def trivial(self) -> tuple[float, float]:
        """Of the test queries: the share of the most frequent answer, and the accuracy of who reads every symbol right.

        The second is below one where rules are random.
        """
        queries = self.task.test_queries(load_images(self.data))
        rows = torch.cat([queries.answers[:, None], queries.observed], 1)
        frequent = int(rows.unique(dim=0, return_counts=True)[1].max()) / len(rows)
        symbols = [
            self.task.symbols(c.network, queries.images)[queries.index[:, self.task.slots.index(c.slots[0])]]
            for c in self.task.concepts
        ]
        with self.task.answering(), torch.no_grad():
            known = self.task.certain(torch.stack(symbols, 1))
            answers = self.task.reasoner(self.task.observe(known, queries.observed))
        return frequent, int((answers.argmax(1) == queries.answers).sum()) / len(rows)


def processor_seconds() -> float:
    """Of all processes that were started from here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def figures(outcomes: Sequence[Outcome]) -> list[str]:
    """Median and worst of every metric."""
    documents = [each.document for each in outcomes if each.document]
    failed = len(outcomes) - len(documents)
    return [
        cell
        for metric in METRICS
        for cell in middle_and_worst([each["metrics"][metric] for each in documents], failed, 3)
    ]


def learned(task: Task, documents: Sequence[Document]) -> list[str]:
    """A sentence for each clause with learned probabilities: true values, and what came of them."""
    said = []
    for text, group in zip(task.recipe.data.truth, task.program.parameters, strict=True):
        runs = [document["learned"][group.label] for document in documents]
        heads = [k for k, is_learned in enumerate(group.learned) if is_learned]
        medians = " ".join(f"{statistics.median(each[k] for each in runs):.3f}" for k in heads)
        apart = max(
            abs(each[k] - true) for each in runs for k, true in zip(heads, map(float, text.split()), strict=True)
        )
        said.append(
            f"Answers were drawn with {text} for the learned probabilities of `{group.label}.`; training found {medians} "
            f"(medians), {apart:.3f} off at most."
        )
    return said


def page(job: ZooJob, outcomes: Sequence[Outcome]) -> str:
    """What the program's page shows."""
    seconds = [each.seconds for each in outcomes]
    row = [seeds_of(outcomes), *figures(outcomes), f"{statistics.median(seconds):.0f}", f"{max(seconds):.0f}"]
    frequent, ceiling = job.trivial()
    said = [f"Always giving the most frequent answer would be right in {frequent:.1%} of the test queries."]
    if ceiling < 1.0:
        said.append(f"Rules are random: reading every symbol right would be right in {ceiling:.1%}.")
    documents = [each.document for each in outcomes if each.document]
    said += learned(job.task, documents) if documents and job.task.recipe.data.truth else []
    machines = " and on ".join(dict.fromkeys(each.machine for each in outcomes))
    where = f"Processor time of the whole command, on one core of {machines}."
    return "\n\n".join([where, markdown_table(HEADER, [row]), " ".join(said)])


def overview(done: dict[str, Sequence[Outcome]]) -> str:
    """The table of all programs."""
    rows = [
        [
            f"[{name}](programs/{name}.md)",
            seeds_of(each),
            *figures(each),
            f"{statistics.median(one.seconds for one in each):.0f}",
        ]
        for name, each in done.items()
    ]
    return markdown_table(OVERVIEW, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=names, metavar="A,B")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="add finished runs here, do not repeat them")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that train
    every = [ZooJob(program.name) for program in bundled_programs()]
    chosen = [job for job in every if options.programs is None or job.name in options.programs]
    if not chosen:
        raise SystemExit("no program has such a name")
    records = Records(options.results)
    # Seed by seed, so that a benchmark that is stopped has measured every program equally often.
    for seed in range(options.seeds):
        for job in chosen:
            if not records.has(job, seed):
                records.add(job.train(seed))
    show: Callable[[str, str, str], None] = _print if options.dry else write_section
    done: dict[str, Sequence[Outcome]] = {}
    for job in every:
        if outcomes := records.of(job):
            done[job.name] = outcomes
            show(f"docs/programs/{job.name}.md", f"zoo-{job.name}", page(job, outcomes))
    if missing := [job.name for job in every if job.name not in done]:
        tell(f"never run: {', '.join(missing)}")
    show("docs/programs.md", "zoo", overview(done))


def _print(file: str, name: str, text: str) -> None:
    print(f"{file}, {name}\n{text}\n")


if __name__ == "__main__":
    main()
