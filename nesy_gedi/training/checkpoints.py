"""Checkpoints: safetensors plus JSON, written whole or not at all. Nothing is pickled."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nesy_gedi.errors import RunError

FORMAT = 1

_INDEX = "index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A moment of training.

    Attributes:
        model: parameters and buffers of all networks and learned probabilities.
        optimizer: tensors of the optimiser's state, and the state of the random number generator.
        state: everything else that continuing needs; plain JSON.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of a run: the last one, and the best one by validation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, checkpoint: Checkpoint, *, best: bool) -> None:
        """Write ``checkpoint`` and make it the last (and the best, when ``best``); then drop those no longer named.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            part = self.folder / f".{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file(_contiguous(checkpoint.model), part / "model.safetensors")
            save_file(_contiguous(checkpoint.optimizer), part / "optimizer.safetensors")
            write_json(part / "state.json", {"format": FORMAT, **checkpoint.state})
            final = self.folder / name
            shutil.rmtree(final, ignore_errors=True)
            os.replace(part, final)
            names = self._names() | {"last": name} | ({"best": name} if best else {})
            write_json(self.folder / _INDEX, names)
            for old in self.folder.iterdir():
                if old.is_dir() and old.name not in names.values():
                    shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise RunError(f"cannot write a checkpoint: {error.strerror}", where=str(self.folder)) from error

    def has(self, which: str) -> bool:
        """Whether there is a ``last`` or ``best`` checkpoint."""
        return which in self._names()

    def load(self, which: str) -> Checkpoint:
        """Read the ``last`` or ``best`` checkpoint.

        Raises:
            RunError: there is none, or its files are damaged.
        """
        names = self._names()
        if which not in names:
            raise RunError(f"the run has no {which} checkpoint", where=str(self.folder), hint="train it first")
        folder = self.folder / names[which]
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if state.pop("format") != FORMAT:
                raise RunError("the checkpoint was written by another version", where=str(folder))
            model = load_file(folder / "model.safetensors")
            return Checkpoint(model, load_file(folder / "optimizer.safetensors"), state)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RunError(
                f"the checkpoint is damaged: {error}", where=str(folder), hint="train again, or restore the folder"
            ) from error

    def _names(self) -> dict[str, str]:
        try:
            names: dict[str, str] = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
            return names
        except (OSError, ValueError):
            return {}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The per-parameter state of an optimiser, keyed by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(v).cpu() for number, entry in state.items() for name, v in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file so that a reader sees the old file or the whole new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(content, encoding="utf-8")
    os.replace(part, path)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
