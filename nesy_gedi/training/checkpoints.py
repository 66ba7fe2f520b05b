"""Checkpoints: safetensors plus JSON, written whole or not at all. Nothing is pickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_json

LEARNED = "t"
"""What the learned probabilities are called beside the networks in a checkpoint."""

OBJECTIVE = "objective"
"""What belongs to a co-trained objective is called there, before the network's name."""

DECODER = f"{OBJECTIVE}.{OBJECTIVE}"
"""What belongs to the decoder of co-training is called there: in place of a network's name, one that none can have."""

FORMAT = 1

_INDEX = "index.json"
_RANDOM, _RANDOM_CUDA = "rng", "rng.cuda"


@dataclass(frozen=True)
class Checkpoint:
    """A moment of training.

    Attributes:
        model: parameters and buffers of all networks and learned probabilities.
        optimizer: tensors of the optimiser's state, and the states of the random number generators.
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
            save_file(own_memory(checkpoint.model), part / "model.safetensors")
            save_file(own_memory(checkpoint.optimizer), part / "optimizer.safetensors")
            write_json(part / "state.json", {"format": FORMAT, **checkpoint.state})
            final = self.folder / name
            shutil.rmtree(final, ignore_errors=True)
            os.replace(part, final)
            names = self._names() | {"last": name} | ({"best": name} if best else {})
            write_json(self.folder / _INDEX, names)
            for old in self.folder.iterdir():
                if old.is_dir() and old.name not in names.values():
                    shutil.rmtree(old, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            raise RunError(f"cannot write a checkpoint: {error}", where=str(self.folder)) from error

    def has(self, which: str) -> bool:
        """Whether there is a ``last`` or ``best`` checkpoint.

        Raises:
            RunError: the list of checkpoints is damaged.
        """
        return which in self._names()

    def load_final(self) -> Checkpoint:
        """The best checkpoint, or the last where none is known to be better.

        Raises:
            RunError: as :meth:`load`; or no epoch is finished.
        """
        if self.has("last") and not self.has("best"):
            last = self.load("last")
            if last.state.get("epoch"):
                return last
        return self.load("best")

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
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise damaged(folder, error) from error

    def _names(self) -> dict[str, str]:
        index = self.folder / _INDEX
        try:
            found = json.loads(index.read_text(encoding="utf-8"))
            return {str(which): str(name) for which, name in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise damaged(index, error) from error


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a checkpoint that cannot be used."""
    return RunError(f"the checkpoint is damaged: {error}", where=str(path), hint="train again, or restore the folder")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The per-parameter state of an optimiser, keyed by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(v).cpu() for number, entry in state.items() for name, v in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` took; the states of random number generators are passed over."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key in (_RANDOM, _RANDOM_CUDA):
            continue
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the global random number generators that training on ``device`` may draw from."""
    state = {_RANDOM: torch.get_rng_state()}
    return state | ({_RANDOM_CUDA: torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(tensors: dict[str, Tensor], device: torch.device) -> None:
    """Take out of ``tensors`` what :func:`random_state` put there, and put it back."""
    torch.set_rng_state(tensors.pop(_RANDOM))
    cuda = tensors.pop(_RANDOM_CUDA, None)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)


def own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: safetensors refuses tensors that share memory, as tied weights do."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
