"""Train and evaluate: the whole job in one call each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from nesy_gedi.data import ImageSplits, Queries, ReadOptions, absolute_source, load_images
from nesy_gedi.data.decoding import shape_fault
from nesy_gedi.data.sources import is_path
from nesy_gedi.errors import Interrupted, RunError, UsageError
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.program import Program
from nesy_gedi.training.adoption import adopt_pretrained, refuse_to_replace_weights
from nesy_gedi.training.answers import restore_model
from nesy_gedi.training.asking import with_asked
from nesy_gedi.training.assigning import AssignmentInputs
from nesy_gedi.training.assignment_record import AssignmentRecord, read_record
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.data_in_memory import IN_MEMORY, described, in_memory, refuse_missing, refuse_other
from nesy_gedi.training.devices import choose_device, make_fabric
from nesy_gedi.training.documents import facts_of, result_of, times_of
from nesy_gedi.training.ensembles import measure_run
from nesy_gedi.training.fitting import answer_work, check_shared, fit_task, place_on
from nesy_gedi.training.following import follow, lead
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.launching import start
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.perceptions import inputs_of, make_perceptions, notes_of, shapes_of
from nesy_gedi.training.planning import plan, with_absolute_paths
from nesy_gedi.training.processes import ALONE, Processes
from nesy_gedi.training.prototypes import begin_as_prototypes
from nesy_gedi.training.recipe import FROM_CLUSTERS, Recipe
from nesy_gedi.training.recipe_files import write_recipe
from nesy_gedi.training.restoring import restore, shapes_in
from nesy_gedi.training.runs import VERSION, ProgramRun, choose_path, create_run, is_pretraining, open_run
from nesy_gedi.training.shown import foretell
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.symbols import begin_from, learn_symbols
from nesy_gedi.training.task import Task


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run in memory.

    Attributes:
        run: its folder.
        task: program, circuit and slots.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`, with the best weights.
        queries: the test queries that it was measured on.
        document: metrics and times, as ``--json`` prints them.
        draw: gives ``splits``, the same each time.
    """

    run: ProgramRun
    task: Task
    networks: nn.ModuleDict
    queries: Queries
    document: dict[str, Any]
    draw: Callable[[], Splits]

    @property
    def splits(self) -> Splits:
        """The queries of all splits. A run that is only measured has not drawn those of training: that is done now."""
        return self.draw()


def train(
    program: Program,
    recipe: Recipe,
    images: ImageSplits | None = None,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    devices: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    resume: str | Path | None = None,
    trusted_encoders: tuple[str, ...] = (),
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a program's networks as the recipe's method says, and measure them on the test split.

    Weights are the best by validation, but for networks that began as clusters: where answers are few, those for
    validation would be more than there are, and the last weights are kept.

    Args:
        program: the program.
        recipe: what to train; see :func:`~nesy_gedi.training.recipe.load_recipe`.
        images: data in memory, in place of what the recipe's ``data.source`` names. Who continues or measures the run has
            to give it once more.
        data_dir: where data sets are; else ``$NESY_GEDI_DATA``, else the user's cache.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        devices: so many processes share each step, on as many GPUs where ``device`` is one; those that torchrun has started
            are used as they are. Of these all return the same, but the first alone writes, and tells the listener.
        out: the run folder; else a new one below ``runs/``.
        force: replace an existing run.
        resume: continue this run instead; program and recipe must be its own, and the data is looked for where it was.
        trusted_encoders: networks whose encoder may import Python.
        listener: told about progress.
        stop: asked after every step; when true, training saves and raises ``Interrupted``.

    Raises:
        NesyGediError: the subclass says what kind of thing went wrong. Nothing half-written is left behind.
    """
    given = _Given(images, device, data_dir, download, out, force, resume, trusted_encoders)
    if images is not None and devices > 1:
        raise UsageError(
            "data in memory is in this process alone, not in several", where="devices", hint="leave devices out"
        )
    if recipe.method != "auto":  # which is known when it is planned
        check_shared(recipe.method, devices)
    with start(devices, device) as processes:
        if processes.first:
            return _train(program, recipe, given, processes, listener or Listener(), stop)
        followed = follow(processes)
    if followed is None:  # the run was finished: it is only read
        return _train(program, recipe, given, ALONE, Listener(), stop)
    restore_model(followed.task, followed.networks, followed.run.checkpoints.load_final().model)
    return Trained(
        followed.run,
        followed.task,
        followed.networks.eval(),
        followed.splits.test,
        followed.document,
        lambda: followed.splits,
    )


class _Given(NamedTuple):
    """What :func:`train` is given beside a program and a recipe."""

    images: ImageSplits | None
    device: str
    data_dir: str | Path | None
    download: bool
    out: str | Path | None
    force: bool
    resume: str | Path | None
    trusted_encoders: tuple[str, ...]


def _train(
    program: Program,
    recipe: Recipe,
    given: _Given,
    processes: Processes,
    listener: Listener,
    stop: Callable[[], bool],
) -> Trained:
    """What the first process does, or the only one; see :func:`train`."""
    started = time.perf_counter()
    recipe = in_memory(with_absolute_paths(adopt_pretrained(recipe)), given.images)
    chosen = choose_device(given.device)
    run = None if given.resume is None else _own_run(Path(given.resume), program)
    data_dir, trusted_encoders = given.data_dir, given.trusted_encoders
    folder = Path(data_dir) if data_dir is not None else run.data_dir() if run is not None else None
    task, images, splits = _planned(program, recipe, given.images, folder, given.download)
    check_shared(task.recipe.method, processes.count)
    if run is not None and run.recipe() != task.recipe:
        raise _another("recipe", run)
    own = given.images is not None or is_path(recipe.data.source)
    if run is not None and own:
        refuse_other(images, run.environment().get("images"), str(run.path))
    finished = (run.result() or {}) if run is not None else {}
    labelled = {} if "metrics" in finished else read_labels(task, splits.pool)
    # A checkpoint brings everything back: what was pretrained is not needed any more.
    inputs = inputs_of(task, images.train, splits.train.index)
    fresh = None if run is not None and run.checkpoints.has("last") else inputs
    networks = make_perceptions(task, shapes_of(inputs), fresh, trusted=trusted_encoders)
    if fresh is not None and labelled:
        begin_as_prototypes(task, networks, labelled)
    fabric = make_fabric(chosen, recipe.training.precision, processes)
    new = run is None
    if run is not None:
        if "metrics" in finished:  # else it is measured again
            processes.told(None)
            finished["run"] = str(run.path)  # the folder may have been moved
            restore_model(task, networks, run.checkpoints.load_final().model)
            draw = cache(partial(_as_trained, task, splits, run))
            return Trained(run, task, networks.eval(), splits.test, finished, draw)
    else:
        name = Path(program.source.name).stem
        path = choose_path(name, Path(given.out) if given.out is not None else None)
        begun_from = {name: task.network(name).weights or task.network(name).weights_file for name in task.networks}
        refuse_to_replace_weights(begun_from, path)
        run = create_run(
            path,
            program,
            task.recipe,
            data_dir=folder,
            device=chosen,
            shape=images.train.shape,
            shapes=shapes_of(inputs),
            images=described(images) if own else None,
            processes=processes.count,
            force=given.force,
        )
        for name, notes in notes_of(networks).items():
            listener.said(f"{name}: {' '.join(notes)}")
        if (sentence := foretell(task, splits.train)) is not None:
            listener.said(sentence)
    found: AssignmentRecord | None = None
    set_up = time.perf_counter() - started
    try:
        listener.began(run)
        if task.recipe.method in FROM_CLUSTERS:
            what = AssignmentInputs(task, splits, labelled, folder, chosen, trusted_encoders, listener, stop, images)
            found = learn_symbols(what, run)
            splits = with_asked(task, splits, found.asked)
            if fresh is not None:
                begin_from(what, found, run, networks)
        lead(processes, run, task, data_dir=folder, device=chosen, trusted_encoders=trusted_encoders)
        wrapped = place_on(fabric, task, networks)
        listener.started(facts_of(task, splits, chosen))
        seconds, best_epoch = fit_task(task, wrapped, splits, labelled, fabric, run, listener, stop)
    except BaseException as error:  # Ctrl-C too
        if new and not isinstance(error, Interrupted) and not _has_begun(run):
            run.discard()
        raise
    finally:
        listener.finished()
    fitted = time.perf_counter()
    restore_model(task, wrapped, run.checkpoints.load_final().model)
    document = result_of(task, run, images, chosen, measure_run(task, wrapped, splits.test, fabric), best_epoch)
    measuring = time.perf_counter() - fitted
    spent = {} if found is None else dict(found.time)
    total = set_up + sum(spent.values()) + sum(seconds.values()) + measuring
    document["time"] = times_of(task, total, seconds) | spent
    if found is not None:
        document["assignment"] = found.in_result()
        document["pretraining"] = dict(found.pretraining)
    run.write_result(document)
    listener.ended(document)
    processes.told(document)
    return Trained(run, task, networks.eval(), splits.test, document, lambda: splits)


def _planned(
    program: Program, recipe: Recipe, images: ImageSplits | None, data_dir: Path | None, download: bool
) -> tuple[Task, ImageSplits, Splits]:
    """A task whose recipe leaves nothing open, with its images - those in memory, where there are some - and queries."""
    task = Task(program, recipe, cache=GroundingCache())
    if images is None:
        refuse_missing(recipe.data.source, program.source.name)
        images = load_images(recipe.data.source, data_dir=data_dir, download=download, options=recipe.data.options())
    splits = task.queries(images)
    return task.with_recipe(plan(task, splits)), images, splits


def _as_trained(task: Task, splits: Splits, run: ProgramRun) -> Splits:
    """The splits with the answers that the run has asked for."""
    found = read_record(run, task.program.networks)
    return splits if found is None else with_asked(task, splits, found.asked)


def _has_begun(run: ProgramRun) -> bool:
    """Whether there is more to continue than what a new run makes in a moment."""
    folder = run.pretraining_folder
    return run.checkpoints.has("last") or (folder.exists() and any(map(is_pretraining, folder.iterdir())))


def evaluate(
    path: str | Path,
    images: ImageSplits | None = None,
    *,
    source: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    encoders: Mapping[str, str] | None = None,
    engine: str | None = None,
    trusted: bool = False,
) -> Trained:
    """Measure a run's best weights on the test split of its own data, or of another data set with the same images.

    Args:
        path: the run folder.
        images: data in memory, in place of the run's.
        source: data set in place of the run's. Of a table of one's own without a split all rows are measured; files are
            brought to the shape of the run's images.
        encoders: network -> encoder in place of the run's; naming it again lets its Python be imported.
        engine: what evaluates the circuit, in place of the run's.
        trusted: let the run's program and its encoders load files and Python modules.

    Raises:
        EngineError: there is no such engine, its package is missing, or it cannot answer the run's query form.
        RunError: no run, a damaged checkpoint, or another program.
        DataError: images of another shape.
    """
    started = time.perf_counter()
    run = open_run(Path(path))
    program, recipe = run.program(trusted=trusted), run.recipe()
    if source is not None and (other := absolute_source(source)) != recipe.data.source:
        recipe = replace(recipe, data=replace(recipe.data, source=other, test=0))
    if images is None:
        refuse_missing(recipe.data.source, str(path))
    elif recipe.data.source != IN_MEMORY:
        recipe = in_memory(replace(recipe, data=replace(recipe.data, test=0)), images)
    chosen = choose_device(device)
    fabric = make_fabric(chosen, recipe.training.precision)
    checkpoint = run.checkpoints.load_final()
    task, networks = restore(
        program,
        recipe,
        lambda task: shapes_in(run, task),
        lambda: checkpoint.model,
        where=str(path),
        encoders=encoders,
        engine=engine,
        trusted=trusted,
    )
    if images is None:
        where = Path(data_dir) if data_dir is not None else run.data_dir()
        options = recipe.data.options() if source is None else _as_shown(run, task, recipe)
        images = load_images(recipe.data.source, data_dir=where, download=download, options=options)
    queries = task.test_queries(images)
    wrapped = place_on(fabric, task, networks)
    clock = Clock(fabric.device)
    metrics = measure_run(task, wrapped, queries, fabric, clock)
    kept = int(checkpoint.state.get("best_epoch") or checkpoint.state.get("epoch", 0))
    document = result_of(task, run, images, chosen, metrics, kept)
    document["time"] = times_of(task, time.perf_counter() - started, clock.seconds)
    return Trained(
        run, task, networks.eval(), queries, document, cache(lambda: _as_trained(task, task.queries(images), run))
    )


def _as_shown(run: ProgramRun, task: Task, recipe: Recipe) -> ReadOptions:
    """How other data is read to measure a run: all of it, files as images of the shape that its networks have seen."""
    options = replace(recipe.data.options(), measured=recipe.data.source != run.recipe().data.source)
    shapes = {shape for own in shapes_in(run, task).values() for shape in own}
    if options.image_shape or len(shapes) > 1 or not is_path(recipe.data.source):
        return options
    (shape,) = shapes
    return options if shape_fault(shape) else replace(options, image_shape=shape)


def dry_run(
    program: Program,
    recipe: Recipe,
    images: ImageSplits | None = None,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    device: str = "auto",
    trusted_encoders: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Do everything that training does up to and including one step on answers; pretrain and write nothing. Arguments are
    those of :func:`train`.

    Returns:
        Circuit and data sizes, the loss of the first batch in nats, and the effective recipe as TOML.
    """
    chosen = choose_device(device)
    recipe = in_memory(with_absolute_paths(adopt_pretrained(recipe)), images)
    task, images, splits = _planned(program, recipe, images, data_dir, download)
    labelled = read_labels(task, splits.pool)
    inputs = inputs_of(task, images.train, splits.train.index)
    networks = make_perceptions(task, shapes_of(inputs), inputs, trusted=trusted_encoders)
    begin_as_prototypes(task, networks, labelled)
    fabric = make_fabric(chosen, recipe.training.precision)
    wrapped = place_on(fabric, task, networks)
    work = answer_work(task, wrapped, splits, labelled, fabric)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(work.groups(), lr=0.0))
    rows = torch.arange(min(recipe.training.batch_size, len(splits.train)))
    loss = float(work.step(rows, optimizer, fabric, Clock(), 0.0)["loss"])
    notes = notes_of(networks)
    document = {"version": VERSION, **facts_of(task, splits, chosen), "first_loss": loss}
    return {**document, **({"encoders": notes} if notes else {}), "recipe": write_recipe(task.recipe)}


def _own_run(path: Path, program: Program) -> ProgramRun:
    """The run at ``path``, refused when it is about another program."""
    run = open_run(path)
    if run.program().fingerprint != program.fingerprint:
        raise _another("program", run)
    return run


def _another(what: str, run: ProgramRun) -> RunError:
    return RunError(
        f"the {what} is not the one that this run was started with",
        where=str(run.path),
        hint="continue with the run's own, or start a new run",
    )
