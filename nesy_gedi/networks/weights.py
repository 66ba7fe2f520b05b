"""Weights of encoders from safetensors files: all of them, or said which and asked for. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nesy_gedi.errors import RunError, UsageError

SHOWN = 3
"""Keys of each kind that a message names."""


@dataclass(frozen=True)
class Fit:
    """How the keys of a file and those of an encoder go together.

    Attributes:
        loaded: keys that both have, with the same shape.
        missing: that the file does not have.
        unexpected: that the encoder does not have.
        misshapen: that both have, with shapes of the file and of the encoder.
        share: of the encoder's parameters, how many of all its numbers were in the file; in [0, 1].
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    share: float

    @property
    def whole(self) -> bool:
        """Whether nothing was left over on either side."""
        return not (self.missing or self.unexpected or self.misshapen)

    def listing(self) -> str:
        """What does not go together, counted, the first few by name."""
        wrong = [f"{key} {list(found)} instead of {list(wanted)}" for key, found, wanted in self.misshapen]
        kinds = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", wrong))
        return "; ".join(f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds if keys)


def read_weights(file: Path, *, prefix: str = "", left_out: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Args:
        prefix: taken off keys; those without it are left out.
        left_out: beginnings of keys that are left out.

    Raises:
        UsageError: there is no such file, or it is of another kind.
        RunError: it is damaged, or holds values that are not finite.
    """
    if not file.is_file():
        raise UsageError("there is no such file of weights", where=str(file), hint="check the path")
    if file.suffix != ".safetensors":
        target = file.with_suffix(".safetensors").name
        raise UsageError(
            f"weights are read from .safetensors files alone, not from {file.suffix or 'a file without a suffix'}: "
            "opening pickled files can run code",
            where=str(file),
            hint='convert a file of weights once: python -c "import torch, safetensors.torch as s; '
            f"s.save_file(torch.load('{file.name}', weights_only=True), '{target}')\"",
        )
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"the weights are damaged: {error}", where=str(file), hint="restore the file") from error
    found = {key.removeprefix(prefix): tensor for key, tensor in found.items() if key.startswith(prefix)}
    found = {key: tensor for key, tensor in found.items() if not key.startswith(tuple(left_out))}
    for key, tensor in found.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise RunError(f"the weights {key} are not finite", where=str(file), hint="restore the file")
    return found


def fit_weights(module: nn.Module, found: dict[str, Tensor]) -> Fit:
    """How ``found`` fits ``module``; tied weights, which safetensors keeps once, and the counters of batch normalisation,
    which old files do not have, are not missed."""
    own = module.state_dict(keep_vars=True)
    loaded = [key for key, tensor in own.items() if key in found and found[key].shape == tensor.shape]
    places = {own[key].data_ptr() for key in loaded if own[key].numel()}
    missing = [
        key
        for key, tensor in own.items()
        if key not in found and not key.endswith("num_batches_tracked") and tensor.data_ptr() not in places
    ]
    misshapen = [
        (key, tuple(found[key].shape), tuple(tensor.shape))
        for key, tensor in own.items()
        if key in found and found[key].shape != tensor.shape
    ]
    sizes = {tensor.data_ptr(): tensor.numel() for tensor in module.parameters()}
    return Fit(
        tuple(loaded),
        tuple(missing),
        tuple(key for key in found if key not in own),
        tuple(misshapen),
        sum(size for place, size in sizes.items() if place in places) / max(1, sum(sizes.values())),
    )


def load_encoder_weights(
    module: nn.Module, found: dict[str, Tensor], file: Path, *, partial: bool = False, key: str = "partial"
) -> Fit:
    """Give ``module`` the weights that are its own.

    Args:
        found: from :func:`read_weights`.
        file: that they are from, for messages.
        partial: whether they may be some of its weights.
        key: of the recipe that allows it, for the hint.

    Raises:
        UsageError: none of its weights is there, or some are not and that is not allowed. Nothing is changed then.
    """
    fit = fit_weights(module, found)
    if not fit.loaded or fit.share == 0.0:
        raise UsageError(
            f"none of the encoder's weights is in the file: {fit.listing() or 'it has no parameters'}",
            where=str(file),
            hint="name the file of this architecture, and keys as its own state_dict() has them",
        )
    if not (fit.whole or partial):
        raise UsageError(
            f"the weights match {fit.share:.1%} of the encoder's parameters: {fit.listing()}",
            where=str(file),
            hint=f"name the file of this architecture, or load what matches: --set {key}=true",
        )
    own = module.state_dict()
    with torch.no_grad():
        for name in fit.loaded:
            own[name].copy_(found[name])
    return fit


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")
