"""The runs of shortcuts.py: tasks, methods, and what each of their pairs is on the command line."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from record import ROOT
from runs import Records, key_of, run

from nesy_gedi.data import load_images
from nesy_gedi.logic.program import Program
from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.recipe import FROM_CLUSTERS, load_recipe
from nesy_gedi.training.recipe_files import read_override
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.task import Task as TrainingTask

ANSWERS_STEPS = 600
"""At least so many, of answers alone: few answers are seen in more epochs."""

FEW_VALIDATION = 10
"""Queries by which the best epoch is chosen where queries are few."""

MAIN_METRIC = "concept_accuracy"
"""Of which the worst seed is told."""

KEPT = ROOT / "build" / "shortcuts"
"""Runs whose pretraining others begin from."""


@dataclass(frozen=True)
class Task:
    """A program on a data set.

    Attributes:
        queries: labelled; 0 for as many as its recipe says.
        clusters_of: the task whose pretraining serves here as well: that of the same images.
        outside: data that training never shows, on which the run is measured as well.
    """

    name: str
    program: str
    data: str
    queries: int = 0
    clusters_of: str = ""
    outside: str = ""

    @cached_property
    def domains(self) -> dict[str, tuple[str, ...]]:
        """The symbols of each network that sees."""
        found = find_program(self.program)
        described = load_recipe(found.recipe, source=self.data).networks
        networks = Program.load(found.path).networks
        return {
            name: symbols for name, symbols in networks.items() if not (name in described and described[name].observed)
        }

    @property
    def network(self) -> str:
        """The only one, or that which a single label is about."""
        return next(iter(self.domains))

    @property
    def title(self) -> str:
        return f"{self.name} on {self.data}"


@dataclass(frozen=True)
class Method:
    """How networks learn.

    Attributes:
        settings: of the recipe, where NET stands for the task's network.
        labels: images told beside the answers.
        each: so many labels of each symbol of each network.
        several: only for tasks of several networks.
        ask: of so many queries of a task with few, the answers are asked for where they tell most; the others are drawn.
        adopted: begins from the features of the pretraining, without what it says of clusters.
        asked: labels are given that the assignment asks for, an image each; none where it asks for none.
    """

    name: str
    method: str
    objective: str = ""
    settings: tuple[str, ...] = ()
    labels: int = 0
    each: int = 0
    adopted: bool = False
    asked: bool = False
    several: bool = False
    ask: int = 0

    @property
    def pretrained(self) -> bool:
        return self.adopted or self.method in FROM_CLUSTERS


ANSWERS = Method("answers alone", "answers")
GEDI = Method("gedi co-trained", "cotraining", "gedi")
ASSIGNED = Method("pretrained, assigned", "assignment")
WHOLE = Method("pretrained, assigned, co-trained", "clusters")
ASKED = Method("the same with the labels asked for", "clusters", asked=True)
ASKING = Method("the same with four answers asked for", "clusters", ask=4)
LABELLED = Method("the same with one label", "clusters", labels=1)
METHODS = (
    ANSWERS,
    Method("answers and one label", "answers", labels=1),
    Method("answers and 20 labels each", "answers", each=20, several=True),
    Method("an ensemble of five", "answers", settings=("ensemble.members=5",)),
    Method("reconstruction", "cotraining", "gedi", ("cotraining.reconstruction=10.0", "cotraining.weight=0.0")),
    *(Method(f"{name} co-trained", "cotraining", name) for name in sorted(OBJECTIVES)),
    Method("gedi and reconstruction", "cotraining", "gedi", ("cotraining.reconstruction=3.0",)),
    Method("prototypes, one label each", "answers", settings=('networks.NET.head="prototypes"',), each=1, adopted=True),
    ASSIGNED,
    WHOLE,
    ASKING,
    ASKED,
    LABELLED,
)

SUMS = (10, 15, 30, 100, 300, 1000)
FEW_SUMS = (10, 15)
"""Of these some leave an assignment open."""

MANY = 30
"""Sums of the task in the table, and whose pretraining the others share."""


def sums(count: int, data: str) -> Task:
    return Task(f"{count} sums", "addition", data, count, "" if count == MANY else f"{MANY} sums")


def tasks_on(data: str) -> list[Task]:
    """All tasks whose images are of a data set."""
    if data == "shapes":
        return [Task("kandinsky", "kandinsky", data)]
    if data == "traffic":
        return [Task("traffic", "traffic", data, outside="traffic-emergency")]
    own = f"{MANY} sums"
    return [
        *(sums(count, data) for count in SUMS),
        Task("half", "mnist_half", data),
        Task("evenodd", "mnist_evenodd", data, clusters_of=own),
        Task("xor", "xor", data),
        Task("parity", "parity", data, clusters_of="xor"),
        Task("product", "product", data, clusters_of=own),
        Task("comparison", "comparison", data, clusters_of=own),
        Task("multi-digit", "multi_addition", data, clusters_of=own),
    ]


def suits(method: Method, task: Task) -> bool:
    """Whether the method can be used, and is meant for the task: clusters come from images, of one attribute."""
    several = len(task.domains) > 1
    if method.ask and task.queries not in FEW_SUMS:
        return False
    return not (several and method.pretrained) and (several or not method.several)


@dataclass(frozen=True)
class ShortcutJob:
    """A method on a task."""

    task: Task
    method: Method

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def data(self) -> str:
        return self.task.title

    @cache  # noqa: B019 - jobs live as long as the process
    def key(self, seed: int) -> str:
        """Of the program and of all recipes that determine the run."""
        found = find_program(self.task.program)
        overrides = {"seed": seed, **dict(map(read_override, self.settings()))}
        parts: list[Any] = [
            found.path.read_text(encoding="utf-8"),
            load_recipe(found.recipe, source=self.task.data, overrides=overrides),
            *self.labels(seed),
            *(["asked"] if self.method.asked else []),
        ]
        if self.method.pretrained:
            source = self.source()
            more = [] if source == self else [source.key(seed)]
            parts += [load_pretrain_recipe(overrides={"data.source": self.task.data, "seed": seed}), *more]
        return key_of(*parts)

    def source(self) -> ShortcutJob:
        """The run whose pretraining this one begins from, which may be itself."""
        name = self.task.clusters_of or self.task.name
        return ShortcutJob(next(task for task in tasks_on(self.task.data) if task.name == name), ASSIGNED)

    def settings(self) -> list[str]:
        settings = [f"data.train={self.task.queries - self.method.ask}"] if self.task.queries else []
        settings.append(f'method="{self.method.method}"')
        settings += [each.replace("NET", self.task.network) for each in self.method.settings]
        if self.method.ask:
            settings.append(f"pretraining.ask={self.method.ask}")
        if self.method.objective:
            settings.append(f'cotraining.objective="{self.method.objective}"')
        few = self.task.queries
        if few and self.method.method == "answers":
            training = load_recipe(find_program(self.task.program).recipe, source=self.task.data).training
            batches = -(-few // training.batch_size)
            settings.append(f"training.epochs={-(-ANSWERS_STEPS // batches)}")
        if few and self.method.method in ("answers", "cotraining"):
            settings.append(f"data.validation={FEW_VALIDATION}")
        return settings

    def labels(self, seed: int) -> list[str]:
        """Of each symbol, or of another one with each seed."""
        every = [(name, symbol) for name, symbols in self.task.domains.items() for symbol in symbols]
        each = [f"{name}:{symbol}={self.method.each}" for name, symbol in every if self.method.each]
        symbols = self.task.domains[self.task.network]
        told = [symbols[(seed + k) % len(symbols)] for k in range(self.method.labels)]
        return [*each, *(f"{self.task.network}:{symbol}=1" for symbol in told)]

    def arguments(self, seed: int) -> list[str]:
        settings = [part for each in self.settings() for part in ("--set", each)]
        labels = [part for each in self.labels(seed) for part in ("--label", each)]
        return ["train", self.task.program, "--data", self.task.data, "--seed", str(seed), *settings, *labels]


def train(job: ShortcutJob, seed: int, data_dir: str | None, records: Records) -> None:
    """One `nesy-gedi train`, added to the records. Pretraining is done once for each seed and kind of images; its time
    is counted in every run that begins from it."""
    where = ["--data-dir", data_dir] if data_dir else []
    arguments = job.arguments(seed) + where
    shared = 0.0
    if job.method.pretrained:
        source = job.source()
        kept = KEPT / source.task.title.replace(" ", "-") / str(seed)
        if job == source:
            records.add(run(job, seed, [*arguments, "--out", str(kept), "--force"], accuracy=MAIN_METRIC))
            return
        if not ((kept / "result.json").exists() and records.has(source, seed)):  # else of an earlier recipe
            train(source, seed, data_dir, records)
        assignment = json.loads((kept / "assignment.json").read_text(encoding="utf-8"))
        encoder = ["--encoder", f"{job.task.network}={kept / assignment['pretraining'][job.task.network]}"]
        arguments += encoder
        shared = assignment["time"]["pretraining_s"]
    with tempfile.TemporaryDirectory() as folder:
        if job.method.asked:
            first = Path(folder) / "asking"
            asking = ShortcutJob(job.task, ASSIGNED)
            run(asking, seed, [*asking.arguments(seed), *where, *encoder, "--out", str(first)], accuracy=MAIN_METRIC)
            asked = labels_asked(first, data_dir)
            if not asked and (same := records.line(ShortcutJob(job.task, WHOLE), seed)) is not None:
                records.add(same | {"name": job.name, "key": job.key(seed)})
                return
            arguments += [part for label in asked for part in ("--label", label)]
        out = str(Path(folder) / "run")
        line = run(job, seed, [*arguments, "--out", out], accuracy=MAIN_METRIC)
        line["seconds"] += shared
        if job.task.outside and line["document"] is not None:
            elsewhere = run(job, seed, ["evaluate", out, "--data", job.task.outside], accuracy=MAIN_METRIC)
            if elsewhere["document"] is not None:
                line["document"]["metrics"]["outside"] = elsewhere["document"]["metrics"]
    records.add(line)


def labels_asked(path: Path, data_dir: str | None) -> list[str]:
    """What a person answers who is shown the clusters whose labels a run asks for: the symbol of most of the images."""
    found = open_run(path)
    task = TrainingTask(found.program(), found.recipe())
    pool = task.queries(load_images(found.recipe().data.source, data_dir=data_dir)).pool
    labels = []
    for asked in json.loads(found.assignment_file.read_text(encoding="utf-8"))["labels_to_ask"]:
        network = asked["network"]
        symbol = int(task.symbols(network, pool)[asked["typical"]].mode().values)
        labels.append(f"{network}:{task.program.networks[network][symbol]}=1")
    return labels
