"""Pretrain an encoder from images alone: the whole job in one call, and the perception that comes out of it."""

from __future__ import annotations

import json
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from nesy_gedi.data import ImageSplits, source_name
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import Interrupted, NesyGediWarning, RunError
from nesy_gedi.files import write_json
from nesy_gedi.metrics.probes import PROBE_LABELS, probe_metrics
from nesy_gedi.metrics.symptoms import collapse_warnings
from nesy_gedi.networks.perception import EncoderError, Perception
from nesy_gedi.training.adoption import adopt_exported, names_python
from nesy_gedi.training.checkpoints import damaged
from nesy_gedi.training.data_in_memory import refuse_missing
from nesy_gedi.training.devices import choose_device
from nesy_gedi.training.encoder_stage import EncoderStage
from nesy_gedi.training.loop import Listener, Progress, fit
from nesy_gedi.training.preparation import facts, find_images, kind_of, prepare
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, check_pretrain_recipe, with_absolute_source
from nesy_gedi.training.pretrained import load_perception, save_perception
from nesy_gedi.training.runs import VERSION, PretrainingRun, choose_path, create_pretraining, open_pretraining
from nesy_gedi.training.stages import Setting, Stage, encode

RESULT = {"objective", "data", "seed", "clusters", "images", "metrics", "collapse", "warnings", "stages", "time"}
"""Keys of the final document without which it is damaged."""

SAMPLES_SHOWN = 64
"""Samples of the generative term that are kept for the report."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A finished pretraining in memory.

    Attributes:
        run: its folder.
        recipe: as it was run.
        perception: encoder and clustering head; its domain is the clusters, by number.
        images: that it was trained and measured on.
        document: metrics and times, as ``--json`` prints them.
    """

    run: PretrainingRun
    recipe: PretrainRecipe
    perception: Perception
    images: ImageSplits
    document: dict[str, Any]


def pretrain(
    recipe: PretrainRecipe,
    images: ImageSplits | None = None,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    out: str | Path | None = None,
    force: bool = False,
    resume: str | Path | None = None,
    trusted: bool = False,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Pretrained:
    """Go through the stages of a recipe and measure what was learned on the test images.

    Args:
        recipe: see :func:`~nesy_gedi.training.pretrain_recipe.load_pretrain_recipe`.
        images: that are at hand already, in place of reading what the recipe names. Nobody need have labelled them: then
            all metrics that compare with classes are None.
        data_dir: where data sets are; else ``$NESY_GEDI_DATA``, else the user's cache.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        out: the run folder; else a new one below ``runs/``.
        force: replace an existing run.
        resume: continue this run instead; the recipe must be its own, and the data is looked for where it was.
        trusted: let the recipe's encoder import Python.
        listener: told about progress.
        stop: asked after every step; when true, training saves and raises ``Interrupted``.

    Raises:
        NesyGediError: the subclass says what kind of thing went wrong. Nothing half-written is left behind.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    recipe = replace(recipe, network=adopt_exported(recipe.network, "network"))
    check_pretrain_recipe(recipe)
    recipe = with_absolute_source(recipe)
    chosen = choose_device(device)
    run = None if resume is None else _own_run(Path(resume), recipe)
    folder = Path(data_dir) if data_dir is not None else run.data_dir() if run is not None else None
    if images is None:
        refuse_missing(recipe.data.source, "" if run is None else str(run.path))
    images = find_images(recipe, folder, download, images)
    finished = run.result() if run is not None and run.perception_file.exists() else None
    if run is not None and finished is not None and finished.keys() >= RESULT:  # else it is measured again
        finished["run"] = str(run.path)  # the folder may have been moved
        return Pretrained(run, recipe, load_perception(run.path, trusted=trusted), images, finished)
    own = {} if run is None else _read_own(run)
    # A checkpoint brings everything back: a file of weights is not needed any more.
    begun = run is not None and run.checkpoints.has("last")
    setting = prepare(recipe, images, chosen, trusted, load=not begun)
    new = run is None
    if run is None:
        path = choose_path(
            f"{recipe.objective}-{source_name(recipe.data.source)}", Path(out) if out is not None else None
        )
        shape = images.train.shape
        run = create_pretraining(path, recipe, data_dir=folder, device=chosen, shape=shape, force=force)
    listener.began(run)
    for sentence in setting.perception.notes if not begun else ():
        listener.said(sentence)
    listener.started(facts(setting))
    set_up = time.perf_counter() - started
    with _saying_how_to_go_on(run, recipe, new):
        try:
            progress = _go_through(setting, run, own, listener, stop)
        finally:
            listener.finished()
        finishing = time.perf_counter()
        perception = setting.perception.eval()
        save_perception(perception, run)
        document = _document(setting, run, chosen, own)
    # Over all sessions of the run: the parts add up what earlier ones took.
    measuring = sum(stage.get("measuring_s", 0.0) for stage in own.values()) + time.perf_counter() - finishing
    total = set_up + sum(progress.seconds.values()) + measuring
    document["time"] = {"total_s": total, "measuring_s": measuring, **_seconds(progress)}
    run.write_result(document)
    listener.ended(document)
    return Pretrained(run, recipe, perception, images, document)


@contextmanager
def _saying_how_to_go_on(run: PretrainingRun, recipe: PretrainRecipe, new: bool) -> Iterator[None]:
    """Keep a run that failed where there is anything to continue, and say how; else leave nothing of it."""
    encoder = recipe.network.encoder
    naming_it = "" if not names_python(encoder) else f" --encoder {shlex.quote(encoder)}"  # its Python is trusted anew
    try:
        yield
    except BaseException as error:  # Ctrl-C too
        hint = f"repair it and continue with nesy-gedi pretrain --resume {shlex.quote(str(run.path))}{naming_it}"
        if new and not _has_begun(run):
            run.discard()
            hint = "repair it and start again"
        if isinstance(error, EncoderError):
            raise EncoderError(error.message, where=f"encoder {encoder}", hint=hint) from error
        if isinstance(error, Interrupted):
            raise Interrupted(error.message, where=error.where, hint=f"{error.hint}{naming_it}") from error
        raise


def _has_begun(run: PretrainingRun) -> bool:
    """Whether there is anything to continue: the first checkpoint is written before the first step."""
    try:
        state = run.checkpoints.load("last").state if run.checkpoints.has("last") else {}
    except RunError:  # nothing that another error should be hidden by
        return True
    return any(state.get(key) for key in ("stage", "epoch", "step"))


def _go_through(
    setting: Setting, run: PretrainingRun, own: dict[str, Any], listener: Listener, stop: Callable[[], bool]
) -> Progress:
    """All stages, from the last checkpoint on; the last progress.

    Args:
        own: what each stage's own clusters were worth; that of stages that are gone through is added.
    """
    done = _stage_under_way(run)
    if lost := [name for name in list(setting.recipe.active_stages())[: max(done, 0)] if name not in own]:
        warnings.warn(
            f"{run.stages_file} is not there: what {', '.join(lost)} was worth will be missing from the result",
            NesyGediWarning,
            stacklevel=2,
        )
    before: Stage | None = None
    progress: Progress | None = None
    first_epoch = 0
    for number, (name, settings) in enumerate(setting.recipe.active_stages().items()):
        if number >= done:
            stage = kind_of(settings)(setting, name, number, first_epoch)
            preparing = time.perf_counter()
            if number > done:
                stage.begin(before)
            preparing = time.perf_counter() - preparing
            last = number == len(setting.recipe.active_stages()) - 1
            progress = fit(stage, run, setting.fabric, listener, stop, last=last, prepared=preparing)
            measuring = time.perf_counter()
            own[name] = _own(setting, stage, run)
            own[name]["measuring_s"] = time.perf_counter() - measuring
            write_json(run.stages_file, own)
            stage.finish()
            setting.perception.float()  # a precision is that of a stage; a resumed run begins the next one so too
            before = stage
        first_epoch += settings.epochs
    if progress is None:
        raise RunError(
            "the last checkpoint is of a stage that the recipe does not have",
            where=str(run.path),
            hint="restore recipe.toml, or start a new run",
        )
    return progress


def _stage_under_way(run: PretrainingRun) -> int:
    """The number of the last checkpoint's stage; -1 where there is no checkpoint."""
    if not run.checkpoints.has("last"):
        return -1
    try:
        return int(run.checkpoints.load("last").state.get("stage", 0))
    except (TypeError, ValueError) as error:
        raise damaged(run.checkpoints.folder, error) from error


def _own(setting: Setting, stage: Stage, run: PretrainingRun) -> dict[str, Any]:
    """What the clusters of a stage's own objective are worth on the test images, and its generative side."""
    test = setting.images.test.images.to(setting.device)
    log_p = stage.own_log_probabilities(encode(stage.perception, test))
    collapse, _ = stage.diagnose()
    found: dict[str, Any] = {"objective": stage.objective.name, "collapse": collapse}
    found["warnings"] = [warning.sentence for warning in collapse_warnings(collapse, setting.classes)]
    if log_p is not None:
        found |= setting.compare(setting.images.test, log_p.argmax(1).cpu(), log_p.shape[1])
    if isinstance(stage, EncoderStage) and (sampler := stage.best.sampler) is not None:
        samples = sampler.grid(min(SAMPLES_SHOWN, len(sampler.buffer)))
        save_file({"samples": samples.cpu()}, run.samples_file)
        found |= {"outliers": "uniform noise", "outlier_auroc": stage.outlier_auroc(test)}
    return found


def _document(setting: Setting, run: PretrainingRun, device: str, own: dict[str, Any]) -> dict[str, Any]:
    collapse = own[list(own)[-1]]["collapse"]
    recipe, perception, images = setting.recipe, setting.perception, setting.images
    test = images.test.images.to(setting.device)
    features = encode(perception, test)
    with torch.no_grad():
        log_p = perception.normalise(perception.head(features))
    metrics: dict[str, Any] = dict(setting.compare(images.test, log_p.argmax(1).cpu(), log_p.shape[1]))
    metrics |= _probes(setting, features.cpu())
    return {
        "version": VERSION,
        "objective": recipe.objective,
        "run": str(run.path),
        "seed": recipe.seed,
        "data": recipe.data.source,
        "metrics": metrics,
        "collapse": collapse,
        "warnings": [warning.sentence for warning in collapse_warnings(collapse, setting.classes)],
        "stages": own,
        "device": device,
        "clusters": log_p.shape[1],
        "images": {"train": len(images.train), "test": len(images.test)},
    }


def _probes(setting: Setting, features: Tensor) -> dict[str, Any]:
    """What a little supervision finds in the features of the test images (n, d); None each where no image is labelled."""
    known = setting.images.train
    told, truth = setting.truth(known), setting.truth(setting.images.test)
    if told is None or truth is None:
        return dict.fromkeys(("linear_probe", "neighbour_probe")) | {"probe_labels": 0}
    if bool((told == UNKNOWN).any()):
        known = known.subset((told != UNKNOWN).nonzero()[:, 0])
    labelled = known.sample(PROBE_LABELS, setting.recipe.seed)
    seen = encode(setting.perception, labelled.images.to(setting.device)).cpu()
    rows = truth != UNKNOWN
    return probe_metrics(seen, labelled.labels[setting.recipe.data.attribute].index, features[rows], truth[rows])


def _own_run(path: Path, recipe: PretrainRecipe) -> PretrainingRun:
    run = open_pretraining(path)
    if run.recipe() != recipe:
        raise RunError(
            "the recipe is not the one that this run was started with",
            where=str(path),
            hint="continue with the run's own, or start a new run",
        )
    return run


def _read_own(run: PretrainingRun) -> dict[str, Any]:
    """What the stages that are done were worth.

    Raises:
        RunError: the file that says so is damaged.
    """
    try:
        found = json.loads(run.stages_file.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(_is_worth(each) for each in found.values()):
            raise ValueError("it holds something else than the results of stages")
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(
            f"stages.json is damaged: {error}",
            where=str(run.path),
            hint="restore the file, or remove it and go on without the results of the stages that are done",
        ) from error


def _is_worth(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("collapse"), dict) and "objective" in entry


def _seconds(progress: Progress) -> dict[str, float]:
    return {f"{part}_s": spent for part, spent in progress.seconds.items()}
