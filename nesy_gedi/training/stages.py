"""What the stages of pretraining share: images, two views, and diagnostics after each epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import ImageSet, ImageSplits, Labels
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.data.neighbours import nearest_neighbours
from nesy_gedi.data.views import Augmentation, augment
from nesy_gedi.errors import DataError, RecipeError, RunError
from nesy_gedi.metrics.clustering import CLUSTERING_METRICS, clustering_metrics, matched_accuracy
from nesy_gedi.metrics.collapse import diagnose
from nesy_gedi.metrics.symptoms import collapse_warnings
from nesy_gedi.networks.batches import in_batches
from nesy_gedi.networks.perception import Perception, check_finite
from nesy_gedi.objectives import Objective
from nesy_gedi.training.cluster_heads import principal_axes
from nesy_gedi.training.loop import Diverged, Work
from nesy_gedi.training.methods import make_objective
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, StageRecipe

PROBE = 1000
"""Training images that are looked at after each epoch."""

PROBE_NEIGHBOURS = 10
"""Neighbours whose agreement is measured."""


def labels_of(images: ImageSet, attribute: str) -> Labels | None:
    """What an attribute says of images; None where nobody has labelled one."""
    labels = images.labels.get(attribute)
    return labels if labels is not None and bool((labels.index != UNKNOWN).any()) else None


@dataclass(frozen=True, eq=False)
class Setting:
    """What all stages of a run share.

    Attributes:
        perception: its encoder and head are what the run is for.
        images: their labels are used for measuring alone.
        fabric: device and precision.
    """

    recipe: PretrainRecipe
    perception: Perception
    images: ImageSplits
    fabric: Fabric

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def classes(self) -> int:
        """How many classes there are; where nobody has labelled the images, the clusters that are looked for."""
        labels = labels_of(self.images.train, self.recipe.data.attribute)
        return len(labels.classes) if labels else list(self.recipe.active_stages().values())[-1].clusters

    def truth(self, images: ImageSet) -> Tensor | None:
        """The class of each image, (n,) int64, ``UNKNOWN`` where nobody has told it; None where it is told of none."""
        labels = labels_of(images, self.recipe.data.attribute)
        return None if labels is None else labels.index

    def compare(self, images: ImageSet, clusters: Tensor, count: int) -> dict[str, float | None]:
        """All of ``CLUSTERING_METRICS`` of the ``clusters`` (n,) of images, of which there are ``count``, over those whose class
        is known; None each where none is."""
        truth = self.truth(images)
        if truth is None:
            return dict.fromkeys(metric.key for metric in CLUSTERING_METRICS)
        known = truth != UNKNOWN
        return dict(clustering_metrics(truth[known], clusters[known], self.classes, count))


class Stage(Work):
    """One stage of a pretraining run.

    Args:
        setting: what all stages share.
        name: in the recipe.
        number: of stages before this one.
        first_epoch: epochs of the run before this stage.
    """

    command = "pretrain"
    rollbacks = 3
    head: nn.Linear | None = None
    """On the encoder's features, with the logits of the stage's own clusters; None before the end, or if there is none."""

    def __init__(self, setting: Setting, name: str, number: int, first_epoch: int) -> None:
        self.setting = setting
        self.name = name
        self.stage = number
        self.first_epoch = first_epoch
        self.section = f"stages.{name}"
        self.settings: StageRecipe = setting.recipe.stages[name]
        self.seed = setting.recipe.seed
        # On the training device, as all of them are used over and over.
        self.inputs = setting.images.train.images.to(setting.device)
        self.probe = torch.randperm(len(self.inputs), generator=torch.Generator().manual_seed(self.seed))[:PROBE]
        torch.manual_seed(self.seed)
        self.objective = self.make_objective(setting, name)

    @property
    def perception(self) -> Perception:
        """What this stage trains or builds on."""
        return self.setting.perception

    @classmethod
    def make_objective(cls, setting: Setting, name: str) -> Objective:
        """A new objective for the stage ``name``, with a state of its own.

        Raises:
            UsageError: the stage cannot be: its constants, or batches or neighbours that the images do not make.
        """
        recipe, settings, section = setting.recipe, setting.recipe.stages[name], f"stages.{name}"
        kind = recipe.objective_of(settings)
        objective = make_objective(settings, kind, settings.clusters or setting.classes, recipe.seed, section)
        smallest = objective.smallest_batch
        count, size = len(setting.images.train), settings.batch_size
        items = count * settings.passes
        if min(count, items // -(-items // size)) < smallest:  # of nearly equal batches the smallest
            raise RecipeError(
                f"{kind} needs batches of at least {smallest}: {size} were asked for, of {count} images",
                where=f"{section}.batch_size",
                hint="raise it, or use more images",
            )
        if settings.views == "neighbours" and settings.neighbours >= count:
            raise RecipeError(
                f"{count} images do not have {settings.neighbours} neighbours each",
                where=f"{section}.neighbours",
                hint="lower it, or use more images",
            )
        if "momentum" in objective.takes and recipe.precision in ("bf16-true", "16-true"):
            raise RecipeError(
                f"the teacher of {kind} moves in steps too small for {recipe.precision}",
                where="precision",
                hint='use "bf16-mixed" or "32-true"',
            )
        return objective

    def _no_neighbours(self) -> Tensor:
        """Room for the neighbours of every image, (n, k) int32."""
        return torch.zeros(len(self.inputs), self.settings.neighbours, dtype=torch.int32)

    @abstractmethod
    def begin(self, before: Stage | None) -> None:
        """Make what a fresh start needs and a checkpoint would bring; ``before`` is the finished stage."""

    @abstractmethod
    def finish(self) -> None:
        """After the last epoch: make :attr:`head`, and hand it over to the perception where it is that wide."""

    @abstractmethod
    def own_log_probabilities(self, features: Tensor) -> Tensor | None:
        """The objective's own cluster distribution (n, c) of images whose features (n, d) are given, as
        log-probabilities; None where it has none."""

    def known_neighbours(self, settings: StageRecipe) -> Tensor | None:
        """Neighbours of every image by the encoder as it now is, (n, k), where such as ``settings`` ask for are known."""
        return None

    @property
    @abstractmethod
    def state(self) -> nn.Module:
        """The module whose parameters and buffers a checkpoint holds."""

    def __len__(self) -> int:
        return len(self.inputs) * self.settings.passes

    def order(self, generator: torch.Generator) -> Tensor:
        """One pass after another, so that no batch within a pass holds an image twice."""
        passes = range(self.settings.passes)
        return torch.cat([torch.randperm(len(self.inputs), generator=generator) for _ in passes])

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.state.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        try:
            self.state.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise RunError(
                f"the checkpoint does not fit the stage {self.name}: {str(error).splitlines()[-1].strip()}",
                hint="it was written for another recipe or encoder",
            ) from error

    def views(self, rows: Tensor, neighbours: Tensor | None) -> tuple[Tensor, Tensor]:
        """Two augmented views of the images ``rows``; the second of a random neighbour where these are given."""
        augmentation = self.setting.recipe.augmentation
        other = rows if neighbours is None else pick(neighbours, rows)
        return augment(self.inputs[rows], augmentation), augment(self.inputs[other], augmentation)

    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        """Losses, collapse diagnostics of training images, and - the only use of labels - the matched accuracy.

        Raises:
            Diverged: the last step broke the weights.
        """
        losses = dict(losses)
        line: dict[str, Any] = {"stage": self.name, "train_loss": losses.pop("loss"), "terms": losses}
        if not all(bool(tensor.isfinite().all()) for tensor in self.tensors().values()):
            raise Diverged("the weights are no longer finite", hint=f"lower {self.section}.learning_rate")
        try:
            collapse, log_p = self.diagnose()
        except DataError as error:
            raise Diverged(error.message, where=error.where, hint=f"lower {self.section}.learning_rate") from error
        if log_p is not None and log_p.shape[1] == self.setting.classes:
            truth = self.setting.truth(self.setting.images.train)
            known = None if truth is None else truth[self.probe] != UNKNOWN
            if truth is not None and known is not None and bool(known.any()):
                probe, clusters = truth[self.probe][known], log_p.argmax(1).cpu()[known]
                line["aligned_accuracy"] = matched_accuracy(probe, clusters, *[self.setting.classes] * 2)
        line["collapse"] = collapse
        warnings = collapse_warnings(collapse, self.setting.classes)
        line["warnings"] = [warning.sentence for warning in warnings]
        line["symptoms"] = [{"name": warning.name, "diagnostic": warning.diagnostic} for warning in warnings]
        return line, ()  # without labels no epoch is known to be better than the last

    def diagnose(self) -> tuple[dict[str, float], Tensor | None]:
        """Collapse diagnostics of the probe images, and the stage's own cluster distribution of them."""
        self.state.eval()
        look = self.look()
        log_p = self.own_log_probabilities(look.features.to(self.inputs.device))
        prior = getattr(self.objective, "prior", None)
        # The divergence from a prior with a zero may be infinite.
        return look.diagnose(log_p, prior if prior is not None and bool((prior > 0).all()) else None), log_p

    def look(self) -> Look:
        """What the encoder makes of the probe images now."""
        return look_at(self.perception, self.probe_images, self.setting.recipe.augmentation, self.seed)

    @property
    def probe_images(self) -> Tensor:
        return self.inputs[self.probe.to(self.inputs.device)]


@dataclass(frozen=True, eq=False)
class Look:
    """What an encoder makes of some images, on the CPU.

    Attributes:
        features: (n, d) float32.
        views: (n, 2, d), of two augmented views of each image.
        neighbours: (n, k), of each image in feature space; None where all features are the same.
    """

    features: Tensor
    views: Tensor
    neighbours: Tensor | None

    def diagnose(self, log_p: Tensor | None, prior: Tensor | None = None) -> dict[str, float]:
        """Collapse diagnostics, with those of a cluster distribution (n, c) where there is one, whose expected sizes are
        ``prior`` (c,), or uniform."""
        known = None if log_p is None else log_p.cpu()
        return diagnose(self.features, self.views, known, self.neighbours, prior)


def look_at(
    perception: Perception, images: Tensor, augmentation: Augmentation, seed: int, features: Tensor | None = None
) -> Look:
    """Encode images (on the perception's device) and two views of each, with random numbers of their own.

    Args:
        features: of the images (n, d), where they are known already.
    """
    with own_random_numbers(seed, images.device):
        features = encode(perception, images) if features is None else features
        views = torch.stack([encode(perception, augment(images, augmentation)) for _ in range(2)], 1)
    constant = bool((features == features[0]).all())
    neighbours = None if constant else nearest_neighbours(features, min(PROBE_NEIGHBOURS, len(features) - 1)).cpu()
    return Look(features.cpu(), views.cpu(), neighbours)


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of their own: training before and after draws as if nothing had been drawn here."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def encode(perception: Perception, images: Tensor) -> Tensor:
    """Features (n, d) of images, batch by batch, in evaluation mode and without gradient."""
    return in_batches(perception, images, lambda batch: perception.features(batch).float())


def find_neighbours(perception: Perception, images: Tensor, count: int, axes: int) -> Tensor:
    """The ``count`` nearest neighbours of each of images (n, ...) in a network's features: (n, count) int64.

    Args:
        axes: principal axes along which features are compared, for speed; 0 for all of the features.

    Raises:
        EncoderError: features that are not finite.
    """
    features = encode(perception, images)
    check_finite(features)
    if 0 < axes < features.shape[1]:  # comparing all pairs is what takes long
        features = features @ principal_axes(features, axes)
    return nearest_neighbours(features, count)


def pick(neighbours: Tensor, rows: Tensor) -> Tensor:
    """One of the ``neighbours`` (n, k) of each of ``rows`` (m,), at random: (m,) int64."""
    column = torch.randint(neighbours.shape[1], rows.shape, device=rows.device)
    return neighbours[rows, column].long()
