"""The perception that a pretraining makes, and its place in the run folder."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nesy_gedi.errors import NesyGediError, NesyGediWarning, RunError, UsageError
from nesy_gedi.networks.building import build_encoder
from nesy_gedi.networks.perception import EncoderError, Perception, pixel_statistics
from nesy_gedi.training.checkpoints import own_memory
from nesy_gedi.training.pretrain_recipe import PretrainRecipe
from nesy_gedi.training.runs import PretrainingRun, open_pretraining


def make_perception(
    recipe: PretrainRecipe,
    shape: tuple[int, ...],
    images: Tensor | None,
    clusters: int,
    trusted: bool,
    *,
    load: bool = True,
) -> Perception:
    """A new perception, initialised from the recipe's seed.

    Args:
        shape: of an image or point.
        images: whose pixel statistics are normalised away; None where weights are loaded later.
        clusters: size of its domain.
        trusted: whether the encoder may import Python.
        load: read its file of weights, where it has one.

    Raises:
        UsageError: an encoder that cannot be made or does not return features (batch, d) float.
    """
    torch.manual_seed(recipe.seed)
    what = recipe.network
    mean, std = (None, None) if images is None else pixel_statistics(images)
    built = build_encoder(
        what,
        (shape,),
        trusted=trusted,
        load=load and images is not None,
        # Where a run's weights are loaded, there is no option that names its encoder.
        permission="allow it with --trust" + ("" if images is None else ", or name it yourself with --encoder SPEC"),
    )
    if built.mean is not None and built.std is not None:
        mean, std = built.mean[0], built.std[0]
    domain = [str(k) for k in range(clusters)]
    perception = Perception(built.module, None, domain, image_shape=shape, mean=mean, std=std)
    perception.notes = built.notes
    for sentence in built.warnings:
        warnings.warn(sentence, NesyGediWarning, stacklevel=2)
    try:
        with torch.no_grad(), naming(what.encoder):
            features = perception.eval().features(torch.zeros(2, *shape))
    except NesyGediError:
        raise
    except Exception as error:  # whatever the user's encoder raises
        raise UsageError(
            f"it does not take images of shape {shape}: {type(error).__name__}: {error}",
            where=f"encoder {what.encoder}",
            hint="choose another encoder, or repair its forward()",
        ) from error
    if features.shape[1] == 0:
        raise UsageError(
            f"the encoder {what.encoder} returns no features", where="network.features", hint="set a positive number"
        )
    perception.head = nn.Linear(features.shape[1], clusters)
    perception.set_rate(what.rate)
    return perception.train()


@contextmanager
def naming(encoder: str, hint: str | None = None) -> Iterator[None]:
    """Say which encoder an error is about.

    Args:
        hint: what to do where it failed after it had worked, in place of the error's own.
    """
    where = f"encoder {encoder}"
    try:
        yield
    except EncoderError as error:
        raise EncoderError(error.message, where=where, hint=hint or error.hint) from error
    except UsageError as error:
        raise UsageError(error.message, where=error.where or where, hint=error.hint) from error


def save_perception(perception: Perception, run: PretrainingRun) -> None:
    """Write the weights into the run folder, whole or not at all."""
    part = run.perception_file.with_suffix(".part")
    try:
        save_file(own_memory(perception.state_dict()), part)
        part.replace(run.perception_file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write the perception: {error}", where=str(run.path)) from error


def count_clusters(path: str | Path) -> int:
    """How many clusters a finished pretraining has; none of its encoder's Python is imported. Raises as
    :func:`load_perception`."""
    run = _finished(path)
    try:
        with safe_open(run.perception_file, "pt") as weights:
            return int(weights.get_slice("head.bias").get_shape()[0])
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def load_perception(path: str | Path, *, trusted: bool = False) -> Perception:
    """The perception of a finished pretraining, on the CPU.

    Args:
        trusted: let its encoder import Python.

    Raises:
        RunError: no pretraining, an unfinished one, or damaged weights.
    """
    run = _finished(path)
    try:
        weights = load_file(run.perception_file)
        perception = make_perception(run.recipe(), run.image_shape(), None, len(weights["head.bias"]), trusted)
        perception.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(
            f"perception.safetensors does not fit recipe.toml: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            hint="restore both files, or pretrain again",
        ) from error
    except (OSError, KeyError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return perception.eval()


def _finished(path: str | Path) -> PretrainingRun:
    run = open_pretraining(Path(path))
    if not run.perception_file.exists():
        raise RunError(
            "the pretraining is not finished",
            where=str(path),
            hint=f"continue it with nesy-gedi pretrain --resume {shlex.quote(str(path))}",
        )
    return run


def _damaged(path: str | Path, error: Exception) -> RunError:
    return RunError(
        f"perception.safetensors is damaged: {error}", where=str(path), hint="restore the file, or pretrain again"
    )
