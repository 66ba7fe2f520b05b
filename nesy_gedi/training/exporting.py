"""``nesy-gedi export``: what a run has learned, as files that work without it."""

from __future__ import annotations

import copy
import importlib.metadata
import math
import shlex
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from torch import nn

from nesy_gedi.data import ImageSet, load_images
from nesy_gedi.errors import DataError, NesyGediWarning, RunError, UsageError, did_you_mean
from nesy_gedi.files import write_text
from nesy_gedi.networks.ensembles import EnsembleEncoder, EnsembleHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.assignment_record import read_record
from nesy_gedi.training.data_in_memory import IN_MEMORY
from nesy_gedi.training.export_folder import refuse_folder, write_whole
from nesy_gedi.training.export_page import write_page
from nesy_gedi.training.exported_answers import write_answers
from nesy_gedi.training.exported_networks import Subject, blank_card, write_network
from nesy_gedi.training.onnx_files import need_onnx
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.predictor_folder import PREDICTOR
from nesy_gedi.training.pretrain_recipe import PretrainData
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.recipe import DataRecipe
from nesy_gedi.training.restoring import restore_run
from nesy_gedi.training.runs import VERSION, ProgramRun, is_pretraining, open_pretraining, open_run
from nesy_gedi.training.task import Task

PAGE = "README.md"
"""Says what is in the folder, and how it is loaded."""

ENCODER = "encoder"
"""Folder of a pretraining's encoder."""

OWN_FOLDERS = (PREDICTOR,)
"""Names in an export that a network's folder cannot have."""


@dataclass(frozen=True)
class Exported:
    """An export that has been written.

    Attributes:
        path: its folder.
        document: its manifest, as ``--json`` prints it.
    """

    path: Path
    document: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Learned:
    """What there is to export of a run.

    Attributes:
        about: what the manifest says of it.
        subjects: network -> its members, one or, of an ensemble, several.
        images: of its data; None where that is gone.
        task: of a program's run.
    """

    about: dict[str, Any]
    subjects: Mapping[str, tuple[Subject, ...]]
    images: ImageSet | None
    task: Task | None


def export_run(
    run: str | Path,
    to: str | Path,
    *,
    network: str | None = None,
    force: bool = False,
    onnx: bool = True,
    data_dir: str | Path | None = None,
    download: bool = False,
    images: ImageSet | None = None,
    encoders: Mapping[str, str] | None = None,
    trusted: bool = False,
) -> Exported:
    """Write what a run has learned as a folder of files that work without this package, and try each of them.

    For each network a folder with its weights, a definition in plain PyTorch that loads them strictly and computes the same
    bits, an ONNX file and a card; for a program also its answers, networks and circuit together, as ``torch.export`` and as
    ONNX. Networks compute in float32, or float64 where they were trained so; half precision is widened. Of an ensemble each
    member has a folder, and the answers are those of their mean.

    Args:
        run: the folder of a program's run, or of a pretraining, whose encoder alone is exported.
        to: the folder to write; whole or not at all.
        network: the only network to export; the answers are left out then.
        force: replace an export that is there.
        onnx: whether to write ONNX files, which needs the packages of the extra ``onnx``.
        data_dir: where data sets are, whose images the files are tried on; random ones where there are none.
        download: fetch the data set where it is missing.
        images: that the files are tried on, in place of the test images of the run's data.
        encoders: network -> encoder in place of the run's; naming it again lets its Python be imported.
        trusted: let the run's program and its encoders load files and Python modules.

    Raises:
        RunError: no run, nothing learned yet, or damaged; a folder that cannot be written or holds something else; a file
            that computes something else than the run.
        UsageError: no such network, a package that is missing, or a network that cannot be exported.
    """
    path, folder = Path(run), Path(to)
    pretraining = is_pretraining(path)
    if not pretraining:
        open_run(path)
    refuse_folder(folder, path, force=force)
    if onnx:
        need_onnx()

    def find(data: DataRecipe | PretrainData, where: Path | None) -> ImageSet | None:
        return images if images is not None else _images(data, where if data_dir is None else Path(data_dir), download)

    learned = _of_pretraining(path, find, trusted) if pretraining else _of_program(path, find, encoders or {}, trusted)
    if network is not None and network not in learned.subjects:
        raise UsageError(
            f"the run has no network {network}", where="--network", hint=did_you_mean(network, learned.subjects)
        )
    predictor = None
    if network is None and learned.about["finished"] and not pretraining:
        predictor = Predictor.load(path, trusted=trusted, device="cpu", encoders=encoders)
    document = write_whole(folder, lambda part: _fill(part, learned, network, predictor, onnx))
    return Exported(folder, document | {"run": str(path), "to": str(folder)})


def _fill(
    part: Path, learned: _Learned, network: str | None, predictor: Predictor | None, onnx: bool
) -> dict[str, Any]:
    """Write all files but the manifest, and return what it says beside them."""
    chosen = {name: members for name, members in learned.subjects.items() if network in (None, name)}
    networks: dict[str, Any] = {}
    plain: dict[str, list[nn.Module]] = {}
    for name, members in chosen.items():
        for subject in members:
            loaded, card = write_network(subject, part / subject.folder, learned.images, onnx=onnx)
            plain.setdefault(name, []).append(loaded)
            networks[subject.folder] = {
                "network": name,
                "domain": list(subject.perception.domain),
                "clusters": None if card.clusters is None else list(card.clusters),
                "image_shape": list(card.input.shape),
                "features": card.features,
                "head": bool(subject.perception.head.state_dict()),
                "sha256": card.sha256,
                "checks": {key: value for key, value in card.metrics.items() if key.startswith("onnx_")},
            }
    answers = None
    if learned.task is not None and network is None:
        perceptions = {name: [each.perception for each in members] for name, members in chosen.items()}
        answers = write_answers(learned.task, perceptions, plain, part, learned.images, onnx=onnx)
    if predictor is not None:
        predictor.save(part / PREDICTOR)
    manifest = {
        "version": VERSION,
        **learned.about,
        "checked_on": "random images" if learned.images is None else "test images",
        "networks": networks,
        "predictor": None if predictor is None else PREDICTOR,
        "answers": answers and {key: answers[key] for key in ("query", "answers", "members", "differences")},
    }
    write_text(part / PAGE, write_page(manifest, answers, onnx=onnx))
    return manifest


_Find = Callable[["DataRecipe | PretrainData", Path | None], ImageSet | None]
"""The images of a run's data, given where its folder was."""


def _of_program(path: Path, find: _Find, encoders: Mapping[str, str], trusted: bool) -> _Learned:
    run = open_run(path)
    _refuse_unfinished(run)
    task, networks = restore_run(run, encoders=encoders, trusted=trusted)
    program, recipe = task.program, task.recipe
    result = run.result()
    if result is None:
        warnings.warn(
            f"{path}: the run is not finished; the best weights so far are exported", NesyGediWarning, stacklevel=4
        )
    record = read_record(run, program.networks)
    metrics = _of(_of(result).get("metrics"))
    subjects: dict[str, tuple[Subject, ...]] = {}
    called = str(run.environment().get("program", program.source.name))
    for name in task.networks:
        assigned = record.networks.get(name) if record is not None else None
        known = blank_card(
            domain=program.networks[name],
            clusters=assigned.symbols if assigned is not None else None,
            objective=recipe.method,
            data=recipe.data.source,
            program=Path(called).stem,
            seed=recipe.seed,
            metrics=_numbers({"answer_accuracy": metrics.get("answer_accuracy")})
            | _numbers(_of(_of(metrics.get("networks")).get(name))),
            created_by=_created_by(),
        )
        members = _members(cast("Perception", networks[name]))
        what = task.network(name)
        subjects[name] = tuple(
            Subject(
                _folder(name, number if len(members) > 1 else None),
                f"{name} of {Path(called).stem}" + (f", member {number} of {len(members)}" if len(members) > 1 else ""),
                perception,
                what.encoder,
                what,
                known,
            )
            for number, perception in enumerate(members, 1)
        )
    about = {
        "run": path.resolve().name,
        "program": Path(called).name,
        "method": recipe.method,
        "data": recipe.data.source,
        "seed": recipe.seed,
        "finished": result is not None,
        "created_by": _created_by(),
    }
    return _Learned(about, subjects, find(recipe.data, run.data_dir()), task)


def _of_pretraining(path: Path, find: _Find, trusted: bool) -> _Learned:
    run = open_pretraining(path)
    perception = load_perception(path, trusted=trusted)
    recipe = run.recipe()
    result = _of(run.result())
    known = blank_card(
        objective=recipe.objective,
        data=recipe.data.source,
        seed=recipe.seed,
        metrics=_numbers(_of(result.get("metrics"))),
        created_by=_created_by(),
    )
    subject = Subject(
        ENCODER,
        f"An encoder pretrained with {recipe.objective} on {recipe.data.source}",
        perception,
        recipe.network.encoder,
        recipe.network,
        known,
    )
    about = {
        "run": path.resolve().name,
        "program": None,
        "method": recipe.objective,
        "data": recipe.data.source,
        "seed": recipe.seed,
        "finished": bool(result),
        "created_by": _created_by(),
    }
    return _Learned(about, {ENCODER: (subject,)}, find(recipe.data, run.data_dir()), None)


def _refuse_unfinished(run: ProgramRun) -> None:
    if not (run.checkpoints.has("best") or run.checkpoints.has("last")):
        raise RunError(
            "the run has learned nothing yet: it has no checkpoint",
            where=str(run.path),
            hint=f"continue it with nesy-gedi train --resume {shlex.quote(str(run.path))}",
        )


def _members(perception: Perception) -> list[Perception]:
    """The members of an ensemble as perceptions of their own; of a single network itself."""
    encoder, head = perception.encoder, perception.head
    if not (isinstance(encoder, EnsembleEncoder) and isinstance(head, EnsembleHead)):
        return [perception]
    made = []
    for own_encoder, own_head in zip(encoder.members, head.members, strict=True):
        member = copy.deepcopy(perception)  # with what all members have: domain, shapes, normalisation
        member.encoder, member.head = own_encoder, own_head
        made.append(member.eval())
    return made


def _folder(network: str, member: int | None) -> str:
    """A quoted name may hold what a folder's name cannot."""
    name = quote(network, safe="") + ("" if member is None else f"-{member}")
    return f"{name}-network" if name in OWN_FOLDERS else name


def _images(data: DataRecipe | PretrainData, data_dir: Path | None, download: bool) -> ImageSet | None:
    """The test images; None where the data is gone."""
    try:
        return load_images(data.source, data_dir=data_dir, download=download, options=data.options()).test
    except (DataError, UsageError) as error:
        if download and data.source != IN_MEMORY:  # what was in memory cannot be fetched
            raise
        message = error.message
        if data.source == IN_MEMORY:
            message = "the run learned from data in memory, which no file holds"
        warnings.warn(f"{message}; what is exported is tried on random images", NesyGediWarning, stacklevel=6)
        return None


def _of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(found: Mapping[str, Any]) -> dict[str, float | None]:
    """What of a result is a number, or could not be told."""
    kept: dict[str, float | None] = {}
    for key, value in found.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            kept[key] = None
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            kept[key] = float(value)
    return kept


def _created_by() -> str:
    try:
        return f"nesy-gedi {importlib.metadata.version('nesy-gedi')}"
    except importlib.metadata.PackageNotFoundError:
        return "nesy-gedi"
