"""What the symbols look like: networks that begin as clusters, each of which the answers assign to a symbol."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import torch
from torch import nn

from nesy_gedi.errors import Interrupted, RunError
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import EncoderError, Perception
from nesy_gedi.training.adoption import names_python
from nesy_gedi.training.assigning import AssignmentInputs, assign_clusters
from nesy_gedi.training.assignment_record import AssignmentRecord, read_record, write_record
from nesy_gedi.training.planning import pretraining_of
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.pretraining import pretrain
from nesy_gedi.training.runs import ProgramRun, is_pretraining, open_pretraining


def learn_symbols(inputs: AssignmentInputs, run: ProgramRun) -> AssignmentRecord:
    """Pretrain, assign, and say so in the run's ``assignment.json``; what is done already is not done again.

    Raises:
        Interrupted: ``stop()`` became true.
        NesyGediError: as pretraining and assignment.
    """
    task = inputs.task
    if (known := read_record(run, task.program.networks, task.networks)) is not None:
        return known
    attempts = task.recipe.pretraining.attempts
    if all(task.network(name).weights for name in task.networks):
        attempts = 1  # another would be the same
    best: dict[str, Any] | None = None
    spent = {"pretraining_s": 0.0, "assignment_s": 0.0}
    for attempt in range(attempts):
        folders: dict[str, Path] = {}
        for name in task.networks:
            folders[name], seconds = _pretrained(inputs, run, name, attempt)
            spent["pretraining_s"] += seconds
        began = time.perf_counter()
        document = assign_clusters(inputs, {name: _load(inputs, name, folder) for name, folder in folders.items()})
        spent["assignment_s"] += time.perf_counter() - began
        document["pretraining"] = {name: _relative(folder, run.path) for name, folder in folders.items()}
        if best is None or document["log_likelihood"] > best["log_likelihood"]:
            best = document
        if not document["unlikely"]:
            break
        if attempt + 1 < attempts:
            inputs.listener.said(
                f"The answers are unlikely under every assignment of these clusters to symbols: pretraining again, with "
                f"another seed ({attempt + 2} of {attempts})."
            )
    assert best is not None
    found = write_record(run, best | {"attempts": attempt + 1, "time": spent}, task.program.networks)
    for sentence in found.sentences:
        inputs.listener.said(sentence)
    if task.recipe.method != "assignment":  # else nothing is left to be stopped
        _stop(inputs, run, "after the assignment")
    return found


def begin_from(inputs: AssignmentInputs, found: AssignmentRecord, run: ProgramRun, networks: nn.ModuleDict) -> None:
    """Give networks the encoders and heads of their pretraining, whose clusters stand for the symbols that were found.

    Args:
        found: from :func:`learn_symbols`.

    Raises:
        RunError: what was pretrained is not there any more, or has another architecture than the recipe says.
    """
    for name, network in networks.items():
        perception = cast("Perception", network)
        folder = run.path / found.pretraining[name]
        pretrained = _load(inputs, name, folder)
        mapping = torch.tensor([perception.domain.index(symbol) for symbol in found.networks[name].symbols])
        own = cast("nn.Linear", pretrained.head)
        try:
            if len(mapping) != own.out_features:
                raise RuntimeError(f"{own.out_features} clusters, of which {len(mapping)} are assigned to symbols")
            perception.encoder.load_state_dict(pretrained.encoder.state_dict())
            if isinstance(perception.head, ClusterHead):
                perception.head.linear.load_state_dict(own.state_dict())
                perception.head.assign(mapping)
            else:
                order = mapping.argsort()
                cast("nn.Linear", perception.head).load_state_dict(
                    {"weight": own.weight[order], "bias": own.bias[order]}
                )
        except RuntimeError as error:
            raise RunError(
                f"what was pretrained does not fit the network {name}: {str(error).splitlines()[-1].strip()}",
                where=str(folder),
                hint=f"leave features, width, normalisation and clusters of networks.{name} to the pretraining",
            ) from error
        perception.mean.copy_(pretrained.mean)
        perception.std.copy_(pretrained.std)


def _pretrained(inputs: AssignmentInputs, run: ProgramRun, network: str, attempt: int) -> tuple[Path, float]:
    """The folder of a finished pretraining for ``network``, which is made, or continued, where it is not there; and the
    seconds that it took over all sessions."""
    what = inputs.task.network(network)
    if what.weights:
        return Path(what.weights), 0.0
    folder = _folder(run, network, attempt)
    begun = is_pretraining(folder)
    # Once begun, its own recipe holds, whatever has become of the file that it was made from.
    recipe = (
        open_pretraining(folder).recipe()
        if begun
        else pretraining_of(inputs.task, network, inputs.splits.pool, attempt)
    )
    resume = f"nesy-gedi train --resume {shlex.quote(str(run.path))}"
    if names_python(what.encoder):  # its Python is trusted anew
        resume += f" --encoder {shlex.quote(f'{network}={what.encoder}')}"
    try:
        found = pretrain(
            recipe,
            inputs.images,
            data_dir=inputs.data_dir,
            device=inputs.device,
            out=None if begun else folder,
            resume=folder if begun else None,
            trusted=network in inputs.trusted,
            listener=inputs.listener,
            stop=inputs.stop,
        )
    except Interrupted as error:
        raise Interrupted(error.message, where=str(run.path), hint=resume) from error
    except EncoderError as error:
        go_on = f"repair it and continue with {resume}" if is_pretraining(folder) else error.hint
        raise EncoderError(error.message, where=error.where, hint=go_on) from error
    _stop(inputs, run, f"after the pretraining of {network}", resume)
    return folder, float(found.document["time"].get("total_s", 0.0))


def _folder(run: ProgramRun, network: str, attempt: int) -> Path:
    """Of one pretraining; a quoted name may hold what a folder's name cannot."""
    name = quote(network, safe="")
    return run.pretraining_folder / (name if not attempt else f"{name}-{attempt + 1}")


def _stop(inputs: AssignmentInputs, run: ProgramRun, where: str, resume: str | None = None) -> None:
    if inputs.stop():
        hint = resume or f"nesy-gedi train --resume {shlex.quote(str(run.path))}"
        raise Interrupted(f"stopped {where}; everything is saved", where=str(run.path), hint=hint)


def _load(inputs: AssignmentInputs, network: str, folder: Path) -> Perception:
    return load_perception(folder, trusted=network in inputs.trusted)


def _relative(folder: Path, run: Path) -> str:
    """Below the run where it lies there, so that the run can be moved."""
    return str(folder.relative_to(run)) if folder.is_relative_to(run) else str(folder)
