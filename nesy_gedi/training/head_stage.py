"""The stage in which a clustering head is fitted to frozen features."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data.neighbours import nearest_neighbours
from nesy_gedi.errors import RecipeError
from nesy_gedi.metrics.assignments import neighbour_agreement
from nesy_gedi.networks.perception import check_finite
from nesy_gedi.objectives import Gedi, Objective
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.cluster_heads import KMEANS_SAMPLES, distil, fit_kmeans, principal_axes, scaled
from nesy_gedi.training.losses import objective_terms, total_losses
from nesy_gedi.training.pretrain_recipe import StageRecipe
from nesy_gedi.training.stages import Look, Setting, Stage, encode, own_random_numbers, pick


class HeadStage(Stage):
    """Linear clustering heads on frozen features, side by side; the one with the lowest loss is kept.

    They see the features along their largest principal axes, for speed: the product of a head and a projection is again
    a head.
    """

    def __init__(self, setting: Setting, name: str, number: int, first_epoch: int) -> None:
        super().__init__(setting, name, number, first_epoch)
        self.objective.to(setting.device)
        self.temperature = typing.cast("Gedi", self.objective).temperature
        self.clusters = typing.cast("int", self.objective.clusters)
        width = encode(setting.perception, self.inputs[:2]).shape[1]
        axes = min(width, self.settings.axes or width)
        heads = [nn.Linear(axes, self.clusters) for _ in range(self.settings.restarts)]
        self._module = nn.ModuleDict({"perception": setting.perception, "heads": nn.ModuleList(heads)})
        self._module.register_buffer("axes", torch.zeros(width, axes))
        if self.settings.views == "neighbours":
            self._module.register_buffer("neighbours", self._no_neighbours())
        self._module.to(setting.device)
        self._features: Tensor | None = None
        self._look: Look | None = None

    @classmethod
    def make_objective(cls, setting: Setting, name: str) -> Objective:
        objective = super().make_objective(setting, name)
        if not isinstance(objective, Gedi) or "energy" in objective.takes:
            raise RecipeError(
                f"{objective.name} cannot train a linear clustering head by itself",
                where=f"stages.{name}.objective",
                hint="use gedi, without its generative term",
            )
        settings, clusters = setting.recipe.stages[name], typing.cast("int", objective.clusters)
        looked_at = min(len(setting.images.train), KMEANS_SAMPLES)
        if settings.initial == "kmeans" and clusters > looked_at:
            raise RecipeError(
                f"k-means cannot find {clusters} clusters in {looked_at} images",
                where=f"stages.{name}.clusters",
                hint="lower it, or use more images"
                if looked_at < KMEANS_SAMPLES
                else f'lower it, or choose another initial than "kmeans", which looks at {KMEANS_SAMPLES} images',
            )
        return objective

    @property
    def state(self) -> nn.Module:
        return self._module

    @property
    def heads(self) -> list[nn.Linear]:
        return typing.cast("list[nn.Linear]", list(typing.cast("nn.ModuleList", self._module["heads"])))

    @property
    def features(self) -> Tensor:
        """What the heads see of all images; the encoder does not change any more."""
        if self._features is None:
            self._features = self.project(self.inputs)
        return self._features

    def project(self, images: Tensor) -> Tensor:
        """Features of images along the principal axes, (n, axes)."""
        return encode(self.perception, images) @ self._module.get_buffer("axes")

    def begin(self, before: Stage | None) -> None:
        axes, features = self._module.get_buffer("axes"), encode(self.perception, self.inputs)
        check_finite(features)
        axes.copy_(principal_axes(features, axes.shape[1]))
        self._features = features @ axes
        if self.settings.views == "neighbours":
            self._module.get_buffer("neighbours").copy_(nearest_neighbours(self.features, self.settings.neighbours))
        if self.settings.initial == "kmeans":
            for number, head in enumerate(self.heads):
                fit_kmeans(head, self.features, seed=self.seed + number)
        elif self.settings.initial == "previous":
            own = None if before is None else before.own_log_probabilities(features)
            if own is None or own.shape[1] != self.clusters:
                raise RecipeError(
                    f"the stage before has no distribution over {self.clusters} clusters",
                    where=f"{self.section}.initial",
                    hint='choose initial = "random" or "kmeans"',
                )
            for head in self.heads:
                distil(head, self.features, own)
        if self.settings.initial != "random":
            for head in self.heads:  # what was fitted are the logits themselves
                head.load_state_dict(scaled(head, self.temperature).state_dict())

    def finish(self) -> None:
        """Keep the head with the lowest loss, for features as the encoder returns them."""
        best, axes = scaled(self.best_head(), 1.0 / self.temperature), self._module.get_buffer("axes")
        head = nn.Linear(axes.shape[0], self.clusters).to(axes.device)
        with torch.no_grad():
            head.weight.copy_(best.weight @ axes.T)
            head.bias.copy_(best.bias)
        self.head = head
        if self.clusters == len(self.perception.domain):
            self.perception.head = head

    @torch.no_grad()
    def best_head(self) -> nn.Linear:
        """The head with the lowest loss over all images; no label is looked at."""
        if len(self.heads) == 1:
            return self.heads[0]
        with own_random_numbers(self.seed, self.setting.device):
            first, second = self._pair(torch.arange(len(self.inputs), device=self.setting.device))
        return min(self.heads, key=lambda head: float(self.objective(projection=(head(first), head(second)))))

    def parameters(self) -> Iterable[nn.Parameter]:
        return self._module["heads"].parameters()

    def train(self) -> None:
        self._module.eval()

    def _pair(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.settings.views == "neighbours":
            return self.features[rows], self.features[pick(self._module.get_buffer("neighbours"), rows)]
        first, second = self.views(rows, None)
        return self.project(first), self.project(second)

    def step(self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float) -> dict[str, float]:
        clock.lap("other")
        optimizer.zero_grad()
        first, second = self._pair(rows.to(self.setting.device))
        clock.lap("views")
        self.objective.schedule(progress)
        terms = [objective_terms(self.objective, {"projection": (head(first), head(second))}) for head in self.heads]
        losses, values = total_losses(terms, self.section)
        fabric.backward(losses.sum())
        optimizer.step()
        best = min(range(len(values)), key=values.__getitem__)
        clock.lap("network")
        return {"loss": values[best], **{name: float(term.detach()) for name, term in terms[best].items()}}

    def diagnose(self) -> tuple[dict[str, float], Tensor | None]:
        """As for every stage; where neighbours are known, their agreement is that of all images."""
        values, log_p = super().diagnose()
        if self.settings.views == "neighbours":
            with torch.no_grad():
                clusters = self.best_head()(self.features).argmax(1)
            values["neighbour_agreement"] = neighbour_agreement(
                self._module.get_buffer("neighbours").cpu().long(), clusters.cpu()
            )
        return values, log_p

    def look(self) -> Look:
        if self._look is None:
            self._look = super().look()
        return self._look

    def own_log_probabilities(self, features: Tensor) -> Tensor | None:
        head = self.best_head()
        with torch.no_grad():
            return self.objective.log_probabilities(head(features @ self._module.get_buffer("axes")))

    def known_neighbours(self, settings: StageRecipe) -> Tensor | None:
        own = self.settings
        same = own.views == "neighbours" and (own.neighbours, own.axes) == (settings.neighbours, settings.axes)
        return self._module.get_buffer("neighbours") if same else None
