"""Diagnose any encoder: that of a pretraining, of a trained program, or one of your own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits, load_images
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.data.views import Augmentation
from nesy_gedi.errors import DataError, RecipeError, RunError, UsageError, did_you_mean
from nesy_gedi.metrics.clustering import clustering_metrics
from nesy_gedi.metrics.idealised import dimension_ratio, invariance_ratio, linear_predictability, nc1
from nesy_gedi.metrics.probes import PROBE_LABELS, probe_metrics
from nesy_gedi.metrics.symptoms import collapse_warnings
from nesy_gedi.networks.encoders import BUNDLED
from nesy_gedi.networks.perception import EncoderError, Perception, check_finite
from nesy_gedi.training.adoption import adopt_exported, names_python
from nesy_gedi.training.data_in_memory import refuse_missing
from nesy_gedi.training.devices import choose_device
from nesy_gedi.training.preparation import check_encoder, count_classes
from nesy_gedi.training.pretrain_recipe import EncoderRecipe, PretrainData, PretrainRecipe
from nesy_gedi.training.pretrained import load_perception, make_perception
from nesy_gedi.training.recipe import DataRecipe
from nesy_gedi.training.restoring import restore_run
from nesy_gedi.training.runs import VERSION, ProgramRun, is_pretraining, open_pretraining, open_run
from nesy_gedi.training.stages import PROBE, Look, encode, labels_of, look_at

IMAGES = 10_000
"""Most test images that are looked at."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to diagnose.

    Attributes:
        name: of the network.
        perception: its encoder; its head too where ``clusters``.
        clusters: whether its head says something.
        attribute: whose classes its symbols are compared with.
        augmentation: what its views are.
    """

    name: str
    perception: Perception
    clusters: bool
    attribute: str
    augmentation: Augmentation


def diagnose_encoder(
    target: str | Path,
    *,
    source: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    trusted: bool = False,
) -> dict[str, Any]:
    """Every collapse diagnostic, the idealised representations' measures and the probes, on test images.

    Args:
        target: a run folder of ``pretrain`` or ``train``, or an encoder as ``--encoder`` names it.
        source: data set; that of the run where None, ``digits`` for an encoder.
        data_dir, download, device: as :func:`~nesy_gedi.training.pretraining.pretrain`.
        trusted: let a run's encoder import Python; one that is named here may.

    Returns:
        The document of ``nesy-gedi diagnose --json``.

    Raises:
        RunError: a damaged or unfinished run.
        UsageError: an encoder that cannot be made, or returns no features (batch, d) float.
        EncoderError: an encoder that fails on some images, or whose features are not finite.
        DataError: images of another shape, or of a single class.
    """
    chosen = torch.device(choose_device(device))
    images, subjects = _open(str(target), source, Path(data_dir) if data_dir is not None else None, download, trusted)
    networks = {}
    for subject in subjects:
        try:
            networks[subject.name] = _diagnose(subject, images, chosen)
        except EncoderError as error:
            where = f"encoder {target}" if subject.name == str(target) else f"{subject.name} of {target}"
            raise EncoderError(error.message, where=where, hint=error.hint) from error
    return {"version": VERSION, "target": str(target), "data": images.name, "networks": networks}


def _open(
    target: str, source: str | None, folder: Path | None, download: bool, trusted: bool
) -> tuple[ImageSplits, list[Subject]]:
    path = Path(target)
    if is_pretraining(path):
        run = open_pretraining(path)
        recipe = run.recipe()
        refuse_missing(source or recipe.data.source, target)
        images = _images(recipe.data, source, folder or run.data_dir(), download)
        perception = load_perception(path, trusted=trusted)
        return images, [Subject("encoder", perception, True, recipe.data.attribute, recipe.augmentation)]
    what = adopt_exported(EncoderRecipe(encoder=target), "encoder")
    if path.is_dir() and not what.weights_file:
        if not ProgramRun(path).program_file.exists():
            raise RunError(
                "neither a pretraining nor a program's run",
                where=target,
                hint="name a folder that nesy-gedi pretrain or train has made; it is the last line that they print",
            )
        return _open_program(path, source, folder, download, trusted)
    if what.encoder not in BUNDLED and ":" not in what.encoder:
        raise UsageError(
            f"there is no run folder and no encoder {target}",
            hint=f"name the folder of a run, or an encoder: {', '.join(BUNDLED)}, torchvision:NAME, timm:NAME, FILE.safetensors "
            "or package.module:factory",
        )
    images = load_images(source or "digits", data_dir=folder, download=download)
    attribute = next(iter(images.train.labels))
    allowed = trusted or names_python(target)  # a card names what nobody has typed
    own = PretrainRecipe(network=what)
    perception = make_perception(own, images.train.shape, images.train.images, 2, trusted=allowed)
    check_encoder(perception, images.train.images[:PROBE], target)
    return images, [Subject(target, perception, False, attribute, _augmentation(images))]


def _open_program(
    path: Path, source: str | None, folder: Path | None, download: bool, trusted: bool
) -> tuple[ImageSplits, list[Subject]]:
    run = open_run(path)
    own = run.recipe().data
    refuse_missing(source or own.source, str(path))
    images = _images(own, source, folder or run.data_dir(), download)
    task, networks = restore_run(run, trusted=trusted)
    return images, [
        Subject(name, cast("Perception", network), True, task.network(name).attribute, _augmentation(images))
        for name, network in networks.items()
    ]


def _images(own: DataRecipe | PretrainData, source: str | None, folder: Path | None, download: bool) -> ImageSplits:
    return load_images(source or own.source, data_dir=folder, download=download, options=own.options())


def _augmentation(images: ImageSplits) -> Augmentation:
    return Augmentation() if len(images.train.shape) == 3 else Augmentation.for_points()


def _diagnose(subject: Subject, images: ImageSplits, device: torch.device) -> dict[str, Any]:
    if len(subject.perception.image_shapes) > 1:
        raise DataError(
            f"{subject.name} looks at several inputs together, of which no label says what it should see",
            hint="diagnose a network that looks at single images",
        )
    if images.test.shape != subject.perception.image_shape:  # before attributes: other images have others
        raise DataError(
            f"{images.name} has images of shape {images.test.shape}, {subject.name} takes "
            f"{subject.perception.image_shape}",
            hint="use the data set that it was trained on, or one with the same images",
        )
    if images.test.labels and subject.attribute not in images.test.labels:
        raise RecipeError(
            f"the images have no attribute {subject.attribute}",
            where=f"network {subject.name}",
            hint=did_you_mean(subject.attribute, images.test.labels),
        )
    perception = subject.perception.float().to(device).eval()  # measures are those of features in float32
    classes = count_classes(images, subject.attribute)
    if labels_of(images.test, subject.attribute) is None:
        raise DataError(f"no test image of {images.name} is labelled", hint="use data with labels")
    known_test, known_train = (_labelled(part, subject.attribute) for part in (images.test, images.train))
    test, train = known_test.sample(IMAGES, seed=0), known_train.sample(PROBE_LABELS, seed=0)
    truth, known = (part.labels[subject.attribute].index for part in (test, train))
    check_finite(seen := encode(perception, test.images.to(device)))
    look = look_at(perception, test.images.to(device), subject.augmentation, seed=0, features=seen)
    features = encode(perception, train.images.to(device)).cpu()
    log_p = _log_probabilities(perception, look, device) if subject.clusters else None
    collapse = look.diagnose(log_p)
    found: dict[str, Any] = {
        "images": len(test),
        "collapse": collapse,
        "warnings": [warning.sentence for warning in collapse_warnings(collapse, classes)],
        "idealised": _idealised(look, truth, classes),
        "metrics": probe_metrics(features, known, look.features, truth),
    }
    if log_p is not None:
        found["metrics"] |= clustering_metrics(truth, log_p.argmax(1), classes, log_p.shape[1])
    return found


def _labelled(images: ImageSet, attribute: str) -> ImageSet:
    """The images whose class is known."""
    known = images.labels[attribute].index != UNKNOWN
    return images if bool(known.all()) else images.subset(known.nonzero()[:, 0])


def _idealised(look: Look, truth: Tensor, classes: int) -> dict[str, float | None]:
    found = {
        "linear_predictability": linear_predictability(look.features, truth),
        "invariance_ratio": invariance_ratio(look.views),
        "dimension_ratio": dimension_ratio(look.features, classes),
        "nc1": nc1(look.features, truth),
    }
    # JSON has no infinity; it stands for class means that are all the same.
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


@torch.no_grad()
def _log_probabilities(perception: Perception, look: Look, device: torch.device) -> Tensor:
    return perception.normalise(perception.head(look.features.to(device))).cpu()
