"""A self-supervised method: an objective, and the heads and the teacher that it needs around an encoder."""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nesy_gedi.errors import RecipeError, UsageError, did_you_mean
from nesy_gedi.networks.perception import Perception
from nesy_gedi.networks.projectors import DinoProjector, SpatialMean, mlp
from nesy_gedi.objectives import Gedi, Objective, find_objective
from nesy_gedi.training.cluster_heads import scaled
from nesy_gedi.training.pretrain_recipe import StageRecipe
from nesy_gedi.training.recipe_files import Constant

# What the recipe decides by keys of its own.
_RESERVED = {"self", "clusters", "codes", "prototypes", "dimension", "batch_size", "prior", "seed"}


class Method(nn.Module):
    """An encoder and what an objective puts on it.

    ``forward`` computes what the objective takes; everything that must be kept for an exact continuation - heads,
    teacher, prototypes, centres, queues - is a parameter or a buffer.

    Args:
        perception: its encoder is trained, its head is not touched.
        objective: decides which heads there are.
        features: width of the encoder's output.
        hidden: of the heads.
        output: width of the projection, where the objective does not fix it.
        pool: whether heads see the average of a feature map over space, where the encoder returns a map.
    """

    def __init__(
        self,
        perception: Perception,
        objective: Objective,
        features: int,
        hidden: int,
        output: int,
        *,
        pool: bool = True,
    ) -> None:
        super().__init__()
        self.perception = perception
        self.objective = objective
        map_shape = getattr(perception.encoder, "map_shape", None) if pool else None
        # A distribution over places is style: objectives see what is in an image, wherever it is.
        self.pool = nn.Identity() if map_shape is None else SpatialMean(map_shape)
        features = features if map_shape is None else map_shape[0]
        self.projector = make_projector(type(objective), features, hidden, objective.width or output)
        takes = objective.takes
        # The paper's predictors: BYOL's is as wide as its projector, SimSiam's a bottleneck of a quarter.
        inner = max(1, output // 4) if objective.name == "simsiam" else hidden
        self.predictor = mlp((output, inner, output)) if "prediction" in takes else None
        self.student = nn.Linear(features, objective.width or output) if "student" in takes else None
        self.teacher: nn.ModuleList | None = None
        if "momentum" in takes:
            self.teacher = copy.deepcopy(nn.ModuleList([perception, self.projector])).requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """What the objective takes of two views, but for ``energy``.

        Args:
            first, second: images (n, channels, height, width) float in [0, 1] or points (n, d); row i of one is a view
                of what row i of the other shows.
        """
        # One pass for both: half the calls, and batch statistics of both views.
        views = torch.cat([first, second])
        return self.outputs(views, self.perception.features(views))

    def outputs(self, views: Tensor, features: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """As :meth:`forward`, of first and second views (2n, ...) whose features (2n, d) are known already."""
        features = self.pool(features)
        projection = self.projector(features)
        outputs = {"projection": projection}
        if self.predictor is not None:
            outputs["prediction"] = self.predictor(projection)
        if self.student is not None:
            outputs["student"] = self.student(features)
        if self.teacher is not None:
            with torch.no_grad():
                teacher, projector = self.teacher
                outputs["momentum"] = projector(self.pool(typing.cast("Perception", teacher).features(views)))
        wanted = (name for name in self.objective.takes if name != "energy")
        return {name: typing.cast("tuple[Tensor, Tensor]", outputs[name].chunk(2)) for name in wanted}

    def project(self, features: Tensor) -> Tensor:
        """The projection of features (n, d) of the encoder, in any precision."""
        projection: Tensor = self.projector(self.pool(features.to(next(self.projector.parameters()).dtype)))
        return projection

    def logits(self, images: Tensor) -> Tensor:
        """Logits (n, c) of images, for an energy."""
        return self.objective.logits(self.project(self.perception.features(images)))

    @torch.no_grad()
    def update_teacher(self, progress: float) -> None:
        """Move the teacher towards the student, by the objective's coefficient at ``progress``."""
        momentum = self.objective.momentum(progress)
        if self.teacher is None or momentum is None:
            return
        student = nn.ModuleList([self.perception, self.projector])
        torch._foreach_lerp_(list(self.teacher.parameters()), list(student.parameters()), 1.0 - momentum)

    def own_head(self) -> nn.Linear | None:
        """The linear head on the encoder's features that gives the objective's cluster distribution; None where there
        is no such distribution, or it is not linear in the features."""
        if not isinstance(self.objective, Gedi):
            return None
        head = scaled(typing.cast("nn.Linear", self.projector), 1.0 / self.objective.temperature)
        return self.pool.before(head) if isinstance(self.pool, SpatialMean) else head


def make_projector(objective: type[Objective], features: int, hidden: int, width: int) -> nn.Module:
    """The projector of an objective's paper, at the widths given."""
    name = objective.name
    if objective.own_clusters:
        return nn.Linear(features, width)
    if name == "falcon":
        return nn.Sequential(nn.Linear(features, width, bias=False), nn.BatchNorm1d(width))
    if name == "dino":
        return DinoProjector(features, hidden, max(2, hidden // 8), width)
    if name in ("simsiam", "barlow_twins", "vicreg"):
        return mlp((features, hidden, hidden, width), normalise_output=name == "simsiam")
    return mlp((features, hidden, width))


def make_objective(stage: StageRecipe, name: str, clusters: int, seed: int, where: str) -> Objective:
    """The objective of a stage.

    Args:
        name: of the objective.
        clusters: of its distribution, where it has one.
        seed: of frozen random codes.
        where: the stage's place in the recipe, for messages.

    Raises:
        RecipeError: a constant that the objective does not have.
        UsageError: a constant out of range, or a prior that is not a distribution over the clusters.
    """
    kind = find_objective(name)
    # What it inherits is not for the recipe to choose.
    has = dict(inspect.signature(kind.__init__).parameters) if "__init__" in vars(kind) else {}
    constants: dict[str, Any] = dict(_constants(stage.constants, has, name, where))
    if "batch_size" in has:
        constants |= {"batch_size": stage.batch_size, "seed": seed}
    if "dimension" in has:
        constants["dimension"] = stage.output
    for key in ("clusters", "codes", "prototypes"):
        if key in has:
            constants[key] = clusters
    if stage.prior:
        if "prior" not in has:
            raise RecipeError(f"{name} has no prior", where=f"{where}.prior", hint="leave it out, or use gedi")
        constants["prior"] = torch.tensor(stage.prior)
    try:
        return kind(**constants)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", where=where, hint=error.hint) from error


def _constants(
    given: Mapping[str, Constant], has: Mapping[str, inspect.Parameter], name: str, where: str
) -> Mapping[str, Constant]:
    own = has.keys() - _RESERVED
    for key, value in given.items():
        if key not in own:
            raise RecipeError(f"{name} has no constant {key}", where=f"{where}.constants", hint=did_you_mean(key, own))
        expected = type(has[key].default)
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise RecipeError(
                f"{name}'s constant {key} is of type {expected.__name__}, not {value!r}", where=f"{where}.constants"
            )
    return given
