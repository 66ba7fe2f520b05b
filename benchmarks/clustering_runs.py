"""The runs of clustering.py: which there are, one process each, and the file that keeps the finished ones."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from record import machine

from nesy_gedi.training.pretrain_recipe import PretrainRecipe, load_pretrain_recipe
from nesy_gedi.training.recipe_files import read_override, write_recipe

NOT_GENERATIVE = (
    'sequence=["features"]',
    "stages.features.constants.generative=0.0",
    "stages.features.constants.magnitude=0.0",
)
"""GEDI on circles without its generative term, and without the stage that prepares it."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is run with every seed: an objective's recipe on a data set, under a name."""

    name: str
    data: str
    objective: str
    settings: tuple[str, ...] = ()

    @cache  # noqa: B019 - jobs live as long as the process
    def recipe(self, seed: int) -> PretrainRecipe:
        overrides = {"data.source": self.data, "objective": self.objective, "seed": seed}
        return load_pretrain_recipe(overrides=overrides | dict(map(read_override, self.settings)))

    def key(self, seed: int) -> str:
        """Of everything that determines the run: another recipe is another run, but for stages that it leaves out."""
        recipe = self.recipe(seed)
        used = replace(recipe, stages=recipe.active_stages())
        return hashlib.sha256(write_recipe(used).encode()).hexdigest()[:16]

    def command(self) -> list[str]:
        settings = [part for each in self.settings for part in ("--set", each)]
        return ["--data", self.data, "--objective", self.objective, *settings]


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


def default_objective(data: str) -> str:
    """What the default recipe takes for a data set where no objective is named."""
    return load_pretrain_recipe(overrides={"data.source": data}).objective


def jobs_on(data: str, objectives: Sequence[str], settings: Sequence[str]) -> list[Job]:
    """The objectives by the default recipe and, for points in circles, GEDI without its generative term."""
    jobs = [Job(name, data, name, tuple(settings)) for name in objectives]
    if data == "circles" and "gedi" in objectives:
        jobs.append(Job("gedi without the generative term", data, "gedi", (*NOT_GENERATIVE, *settings)))
    return jobs


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

    def has(self, job: Job, seed: int) -> bool:
        key = job.key(seed)
        return any(line["key"] == key for line in self.lines)

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


def run(job: Job, seed: int, data_dir: str | None) -> dict[str, Any]:
    """One `nesy-gedi pretrain` in a process of its own, timed as a whole."""
    where = ["--data-dir", data_dir] if data_dir else []
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "nesy-gedi"), "pretrain", *job.command(), *where]
        command += ["--seed", str(seed), "--json", "--quiet", "--out", str(Path(folder) / "run")]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        spent = time.perf_counter() - started
    if done.returncode < 0 or done.returncode in (2, 130):  # killed, asked wrongly, interrupted: nothing was measured
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    document: Document | None = json.loads(done.stdout) if done.returncode == 0 else None
    if document is not None and document["objective"] != job.objective:
        raise SystemExit(f"{' '.join(command)} ran {document['objective']}: the recipe in use is not the one here")
    shown = f"accuracy {document['metrics']['aligned_accuracy']:.4f}" if document else f"failed: {done.stderr.strip()}"
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
