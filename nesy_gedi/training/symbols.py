"""What the symbols look like: networks that begin as clusters, each of which the answers assign to a symbol."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import torch
from torch import nn

from nesy_gedi.errors import Interrupted, RunError
from nesy_gedi.files import write_json
from nesy_gedi.networks.encoders import BUNDLED
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import EncoderError, Perception
from nesy_gedi.training.assigning import Situation, assign_clusters
from nesy_gedi.training.planning import pretraining_of
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.pretraining import pretrain
from nesy_gedi.training.runs import ProgramRun, is_pretraining, open_pretraining
from nesy_gedi.training.task import Task


def learn_symbols(situation: Situation, run: ProgramRun) -> dict[str, Any]:
    """Pretrain, assign, and say so in the run's ``assignment.json``; what is done already is not done again.

    Returns:
        What that file holds: the assignment; ``pretraining``, network -> the folder that its clusters come from; and
        ``time``, over all sessions of the run.

    Raises:
        Interrupted: ``stop()`` became true.
        NesyGediError: as pretraining and assignment.
    """
    if run.assignment_file.exists():
        return read_assignment(run, situation.task)
    task = situation.task
    attempts = task.recipe.pretraining.attempts
    if all(task.network(name).weights for name in task.networks):
        attempts = 1  # another would be the same
    best: dict[str, Any] | None = None
    spent = {"pretraining_s": 0.0, "assignment_s": 0.0}
    for attempt in range(attempts):
        folders: dict[str, Path] = {}
        for name in task.networks:
            folders[name], seconds = _pretrained(situation, run, name, attempt)
            spent["pretraining_s"] += seconds
        began = time.perf_counter()
        document = assign_clusters(
            situation, {name: _load(situation, name, folder) for name, folder in folders.items()}
        )
        spent["assignment_s"] += time.perf_counter() - began
        document["pretraining"] = {name: _relative(folder, run.path) for name, folder in folders.items()}
        if best is None or document["log_likelihood"] > best["log_likelihood"]:
            best = document
        if not document["unlikely"]:
            break
        if attempt + 1 < attempts:
            situation.listener.said(
                f"The answers are unlikely under every assignment of these clusters to symbols: pretraining again, with "
                f"another seed ({attempt + 2} of {attempts})."
            )
    assert best is not None
    for sentence in best["sentences"]:
        situation.listener.said(sentence)
    found = best | {"attempts": attempt + 1, "time": spent}
    write_json(run.assignment_file, found)
    if task.recipe.method != "assignment":  # else nothing is left to be stopped
        _stop(situation, run, "after the assignment")
    return found


def begin_from(situation: Situation, found: Mapping[str, Any], run: ProgramRun, networks: nn.ModuleDict) -> None:
    """Give networks the encoders and heads of their pretraining, whose clusters stand for the symbols that were found.

    Args:
        found: from :func:`learn_symbols`.

    Raises:
        RunError: what was pretrained is not there any more, or has another architecture than the recipe says.
    """
    for name, network in networks.items():
        perception = cast("Perception", network)
        folder = run.path / found["pretraining"][name]
        pretrained = _load(situation, name, folder)
        mapping = torch.tensor([perception.domain.index(symbol) for symbol in found["networks"][name]["map"]])
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


def read_assignment(run: ProgramRun, task: Task) -> dict[str, Any]:
    """What ``assignment.json`` of a run holds.

    Raises:
        RunError: it is damaged, or of other networks.
    """
    try:
        found = json.loads(run.assignment_file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        for key in ("gap", "exact", "near_ties", "labels_to_ask", "query_to_ask", "unlikely", "sentences", "time"):
            if key not in found:
                raise ValueError(f"it does not say {key}")
        for name in task.networks:
            domain, mapping = task.program.networks[name], found["networks"][name]["map"]
            if not mapping or any(symbol not in domain for symbol in mapping):
                raise ValueError(f"the map of {name} is none to its domain")
            if len(mapping) == len(domain) and len(set(mapping)) < len(domain):
                raise ValueError(f"the map of {name} leaves a symbol out")
            if not isinstance(found["pretraining"][name], str):
                raise ValueError(f"it does not say where the clusters of {name} come from")
        found["time"] = {str(part): float(seconds) for part, seconds in found["time"].items()}
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it says nothing of {error}" if isinstance(error, KeyError) else error
        raise RunError(
            f"assignment.json is damaged: {what}",
            where=str(run.path),
            hint="restore it, or remove it to have the symbols found again",
        ) from error


def _pretrained(situation: Situation, run: ProgramRun, network: str, attempt: int) -> tuple[Path, float]:
    """The folder of a finished pretraining for ``network``, which is made, or continued, where it is not there; and the
    seconds that it took over all sessions."""
    what = situation.task.network(network)
    if what.weights:
        return Path(what.weights), 0.0
    folder = _folder(run, network, attempt)
    begun = is_pretraining(folder)
    # Once begun, its own recipe holds, whatever has become of the file that it was made from.
    recipe = (
        open_pretraining(folder).recipe()
        if begun
        else pretraining_of(situation.task, network, situation.splits.pool, attempt)
    )
    resume = f"nesy-gedi train --resume {shlex.quote(str(run.path))}"
    if what.encoder not in BUNDLED:  # its Python is trusted anew
        resume += f" --encoder {shlex.quote(f'{network}={what.encoder}')}"
    try:
        found = pretrain(
            recipe,
            data_dir=situation.data_dir,
            device=situation.device,
            out=None if begun else folder,
            resume=folder if begun else None,
            trusted=network in situation.trusted,
            listener=situation.listener,
            stop=situation.stop,
        )
    except Interrupted as error:
        raise Interrupted(error.message, where=str(run.path), hint=resume) from error
    except EncoderError as error:
        go_on = f"repair it and continue with {resume}" if is_pretraining(folder) else error.hint
        raise EncoderError(error.message, where=error.where, hint=go_on) from error
    _stop(situation, run, f"after the pretraining of {network}", resume)
    return folder, float(found.document["time"].get("total_s", 0.0))


def _folder(run: ProgramRun, network: str, attempt: int) -> Path:
    """Of one pretraining; a quoted name may hold what a folder's name cannot."""
    name = quote(network, safe="")
    return run.pretraining_folder / (name if not attempt else f"{name}-{attempt + 1}")


def _stop(situation: Situation, run: ProgramRun, where: str, resume: str | None = None) -> None:
    if situation.stop():
        hint = resume or f"nesy-gedi train --resume {shlex.quote(str(run.path))}"
        raise Interrupted(f"stopped {where}; everything is saved", where=str(run.path), hint=hint)


def _load(situation: Situation, network: str, folder: Path) -> Perception:
    return load_perception(folder, trusted=network in situation.trusted)


def _relative(folder: Path, run: Path) -> str:
    """Below the run where it lies there, so that the run can be moved."""
    return str(folder.relative_to(run)) if folder.is_relative_to(run) else str(folder)
