"""The runs of clustering.py: which there are, and what each of them is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from runs import key_of, run

from nesy_gedi.training.pretrain_recipe import PretrainRecipe, load_pretrain_recipe
from nesy_gedi.training.recipe_files import read_override

NOT_GENERATIVE = (
    'sequence=["features"]',
    "stages.features.constants.generative=0.0",
    "stages.features.constants.magnitude=0.0",
)
"""GEDI on circles without its generative term, and without the stage that prepares it."""


@dataclass(frozen=True)
class ClusteringJob:
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
        return key_of(replace(recipe, stages=recipe.active_stages()))

    def command(self) -> list[str]:
        settings = [part for each in self.settings for part in ("--set", each)]
        return ["--data", self.data, "--objective", self.objective, *settings]


def default_objective(data: str) -> str:
    """What the default recipe takes for a data set where no objective is named."""
    return load_pretrain_recipe(overrides={"data.source": data}).objective


def jobs_on(data: str, objectives: Sequence[str], settings: Sequence[str]) -> list[ClusteringJob]:
    """The objectives by the default recipe and, for points in circles, GEDI without its generative term."""
    jobs = [ClusteringJob(name, data, name, tuple(settings)) for name in objectives]
    if data == "circles" and "gedi" in objectives:
        jobs.append(ClusteringJob("gedi without the generative term", data, "gedi", (*NOT_GENERATIVE, *settings)))
    return jobs


def pretrain(job: ClusteringJob, seed: int, data_dir: str | None) -> dict[str, Any]:
    """One `nesy-gedi pretrain`, as :class:`~runs.Records` keeps it."""
    where = ["--data-dir", data_dir] if data_dir else []
    with tempfile.TemporaryDirectory() as folder:
        out = ["--seed", str(seed), "--out", str(Path(folder) / "run")]
        line = run(job, seed, ["pretrain", *job.command(), *where, *out], accuracy="aligned_accuracy")
    if line["document"] is not None and line["document"]["objective"] != job.objective:
        raise SystemExit(f"{job.name} ran {line['document']['objective']}: the recipe in use is not the one here")
    return line
