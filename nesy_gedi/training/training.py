"""Train and evaluate: the whole job in one call each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from nesy_gedi.data import Queries, load_images
from nesy_gedi.errors import RunError
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.program import Program
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.answers import AnswerWork, restore_model, train_step
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.devices import choose_device, make_fabric
from nesy_gedi.training.evaluation import measure
from nesy_gedi.training.loop import Listener, fit
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.recipe_files import write_recipe
from nesy_gedi.training.runs import VERSION, ProgramRun, choose_path, create_run, open_run
from nesy_gedi.training.task import Splits, Task


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run in memory.

    Attributes:
        run: its folder.
        task: program, circuit and slots.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`, with the best weights.
        queries: the test queries that it was measured on.
        document: metrics and times, as ``--json`` prints them.
    """

    run: ProgramRun
    task: Task
    networks: nn.ModuleDict
    queries: Queries
    document: dict[str, Any]


def train(
    program: Program,
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    out: str | Path | None = None,
    force: bool = False,
    resume: str | Path | None = None,
    trusted_encoders: tuple[str, ...] = (),
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a program's networks from answers alone, keep the best weights by validation, measure them on the test
    split.

    Args:
        program: the program.
        recipe: what to train; see :func:`~nesy_gedi.training.recipe.load_recipe`.
        data_dir: where data sets are; else ``$NESY_GEDI_DATA``, else the user's cache.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        out: the run folder; else a new one below ``runs/``.
        force: replace an existing run.
        resume: continue this run instead; program and recipe must be its own, and the data is looked for where it was.
        trusted_encoders: networks whose encoder may import Python.
        listener: told about progress.
        stop: asked after every step; when true, training saves and raises ``Interrupted``.

    Raises:
        NesyGediError: the subclass says what kind of thing went wrong. Nothing half-written is left behind.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    recipe = adopt_pretrained(recipe)
    chosen = choose_device(device)
    run = None if resume is None else _own_run(Path(resume), program, recipe)
    folder = Path(data_dir) if data_dir is not None else run.data_dir() if run is not None else None
    task = Task(program, recipe, cache=GroundingCache())
    images = load_images(recipe.data.source, data_dir=folder, download=download)
    splits = task.queries(images)
    # A checkpoint brings everything back: what was pretrained is not needed any more.
    fresh = None if run is not None and run.checkpoints.has("last") else images.train.images
    networks = task.perceptions(images.train.shape, fresh, trusted=trusted_encoders)
    fabric = make_fabric(chosen, recipe.training.precision)
    if run is not None:
        if "metrics" in (finished := run.result() or {}):  # else it is measured again
            finished["run"] = str(run.path)  # the folder may have been moved
            restore_model(task, networks, run.checkpoints.load("best").model)
            return Trained(run, task, networks.eval(), splits.test, finished)
    else:
        name = Path(program.source.name).stem
        path = choose_path(name, Path(out) if out is not None else None)
        run = create_run(path, program, recipe, data_dir=folder, device=chosen, shape=images.train.shape, force=force)
    wrapped = _place_on(fabric, task, networks)
    set_up = time.perf_counter() - started
    listener.started(_facts(task, splits, chosen))
    try:
        progress = fit(AnswerWork(task, wrapped, splits, fabric.device), run, fabric, listener, stop)
    except BaseException:  # Ctrl-C too
        if resume is None and not run.checkpoints.has("last"):
            run.discard()
        raise
    finally:
        listener.finished()
    fitted = time.perf_counter()
    restore_model(task, wrapped, run.checkpoints.load("best").model)
    document = _document(task, run, chosen, measure(task, wrapped, splits.test, fabric.device), progress.best_epoch)
    measuring = time.perf_counter() - fitted
    document["time"] = _times(task, set_up + sum(progress.seconds.values()) + measuring, progress.seconds)
    run.write_result(document)
    return Trained(run, task, networks.eval(), splits.test, document)


def evaluate(
    path: str | Path,
    *,
    source: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    encoders: Mapping[str, str] | None = None,
    trusted: bool = False,
) -> Trained:
    """Measure a run's best weights on the test split of its own data, or of another data set with the same images.

    Args:
        path: the run folder.
        source: data set in place of the run's.
        encoders: network -> encoder in place of the run's; naming it again lets its Python be imported.
        trusted: let the run's program and its encoders load files and Python modules.

    Raises:
        RunError: no run, a damaged checkpoint, or another program.
        DataError: images of another shape.
    """
    started = time.perf_counter()
    run = open_run(Path(path))
    program, recipe = run.program(trusted=trusted), run.recipe()
    if source is not None and source != recipe.data.source:
        recipe = replace(recipe, data=replace(recipe.data, source=source, test=0))
    for name, spec in (encoders or {}).items():
        own = recipe.networks.get(name, NetworkRecipe())
        recipe = replace(recipe, networks={**recipe.networks, name: replace(own, encoder=spec)})
    recipe = adopt_pretrained(recipe)
    chosen = choose_device(device)
    fabric = make_fabric(chosen, recipe.training.precision)
    task = Task(program, recipe, cache=GroundingCache())
    checkpoint = run.checkpoints.load("best")
    named = (name for name, spec in (encoders or {}).items() if not Path(spec).is_dir())
    allowed = tuple(program.networks) if trusted else tuple(named)
    networks = task.perceptions(run.image_shape(), trusted=allowed)
    where = Path(data_dir) if data_dir is not None else run.data_dir()
    images = load_images(recipe.data.source, data_dir=where, download=download)
    queries = task.test_queries(images)
    wrapped = _place_on(fabric, task, networks)
    restore_model(task, wrapped, checkpoint.model)
    clock = Clock(fabric.device)
    metrics = measure(task, wrapped, queries, fabric.device, clock)
    document = _document(task, run, chosen, metrics, int(checkpoint.state.get("best_epoch", 0)))
    document["time"] = _times(task, time.perf_counter() - started, clock.seconds)
    return Trained(run, task, networks.eval(), queries, document)


def dry_run(
    program: Program,
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    device: str = "auto",
    trusted_encoders: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Do everything that training does up to and including one step; write nothing.

    Returns:
        Circuit and data sizes, the loss of the first batch in nats, and the effective recipe as TOML.
    """
    chosen = choose_device(device)
    recipe = adopt_pretrained(recipe)
    task = Task(program, recipe, cache=GroundingCache())
    images = load_images(recipe.data.source, data_dir=data_dir, download=download)
    splits = task.queries(images)
    networks = task.perceptions(images.train.shape, images.train.images, trusted=trusted_encoders)
    fabric = make_fabric(chosen, recipe.training.precision)
    wrapped = _place_on(fabric, task, networks)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(wrapped.parameters(), lr=0.0))
    rows = torch.arange(min(recipe.training.batch_size, len(splits.train)))
    loss = train_step(task, wrapped, splits.train, rows, optimizer, fabric, Clock())
    return {"version": VERSION, **_facts(task, splits, chosen), "first_loss": loss, "recipe": write_recipe(recipe)}


def _own_run(path: Path, program: Program, recipe: Recipe) -> ProgramRun:
    """The run at ``path``, refused when it is about something else."""
    run = open_run(path)
    for what, same in (
        ("program", run.program().fingerprint == program.fingerprint),
        ("recipe", run.recipe() == recipe),
    ):
        if not same:
            raise RunError(
                f"the {what} is not the one that this run was started with",
                where=str(path),
                hint="continue with the run's own, or start a new run",
            )
    return run


def _place_on(fabric: Fabric, task: Task, networks: nn.ModuleDict) -> nn.ModuleDict:
    """Networks and circuit on the device; the networks wrapped, so that they compute in the chosen precision."""
    task.reasoner.to(fabric.device)
    return nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})


def _document(task: Task, run: ProgramRun, device: str, metrics: dict[str, Any], best_epoch: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        # As it was named when training began, not the copy in the run folder.
        "program": run.environment().get("program", task.program.source.name),
        "run": str(run.path),
        "seed": task.recipe.seed,
        "data": task.recipe.data.source,
        "metrics": metrics,
        "device": device,
        "best_epoch": best_epoch,
        "learned": task.reasoner.learned.probabilities(),
    }


def _times(task: Task, total: float, seconds: Mapping[str, float]) -> dict[str, float]:
    circuit = task.reasoner.circuit
    return {
        "total_s": total,
        "network_s": seconds.get("network", 0.0),
        "logic_s": seconds.get("logic", 0.0),
        "grounding_s": 0.0 if circuit.cached else circuit.ground_s + circuit.compile_s,
    }


def _facts(task: Task, splits: Splits, device: str) -> dict[str, Any]:
    nodes, edges = task.reasoner.circuit.size()
    return {
        "device": device,
        "query": task.reasoner.form.text,
        "answers": len(task.reasoner.answers),
        "nodes": nodes,
        "edges": edges,
        "method": task.reasoner.circuit.method,
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        "epochs": task.recipe.training.epochs,
    }
