"""The stage in which the encoder learns."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data.image_sets import unit_range
from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.metrics.detection import auroc
from nesy_gedi.networks.batches import IMAGES_BATCH
from nesy_gedi.networks.perception import EncoderError, Perception
from nesy_gedi.objectives import Gedi, Objective
from nesy_gedi.objectives.gedi import energy
from nesy_gedi.objectives.sgld import SgldSampler
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.cluster_heads import scaled
from nesy_gedi.training.loop import Diverged
from nesy_gedi.training.losses import objective_terms, total_losses
from nesy_gedi.training.methods import Method
from nesy_gedi.training.rates import parameter_groups
from nesy_gedi.training.stages import Setting, Stage, encode, find_neighbours, own_random_numbers

RECENT = 0.02
"""Weight of the last step in the mean of recent losses."""

POINTS_MARGIN = 0.1
"""How far chains may leave the box of the data, as a share of its width."""


class Learner(nn.Module):
    """A method with its own objective, and the sampler of its generative term where there is one."""

    def __init__(self, method: Method, sampler: SgldSampler | None) -> None:
        super().__init__()
        self.method = method
        self.sampler = sampler

    def terms(self, live: Any, first: Tensor, second: Tensor, progress: float) -> dict[str, Tensor]:
        """The objective's terms of two views.

        Args:
            live: the method as the fabric has wrapped it.

        Raises:
            Diverged: the sampler did, or outputs are no longer finite.
        """
        objective = self.method.objective
        objective.schedule(progress)
        outputs = live(first, second)
        if self.sampler is not None:
            try:
                samples = self.sampler.sample(lambda x: energy(self.method.logits(x)), len(first))
            except RunError as error:
                raise Diverged(error.message, where=error.where, hint=error.hint) from error
            outputs["energy"] = (self.method.logits(first), self.method.logits(samples))
        return objective_terms(objective, outputs)


class EncoderStage(Stage):
    """The encoder learns, with whatever the objective needs around it; of several side by side the one with the lowest
    loss is kept."""

    def __init__(self, setting: Setting, name: str, number: int, first_epoch: int) -> None:
        super().__init__(setting, name, number, first_epoch)
        learners = [self._make_learner(setting.perception, self.objective)]
        for _ in range(self.settings.restarts - 1):
            # After the first stage, or of a file, there is something to keep: then only what the objective adds is drawn
            # anew.
            kept = number or setting.recipe.network.weights_file or not setting.recipe.network.rate
            other = copy.deepcopy(setting.perception) if kept else _anew(setting.perception)
            learners.append(self._make_learner(other, self.make_objective(setting, name)))
        self.learners = learners
        self._module = nn.ModuleDict({"learners": nn.ModuleList(learners)}).to(setting.device)
        # Each learner's loss over the last steps, about 1 / RECENT of them, and how many there were.
        self._module.register_buffer("recent", torch.zeros(len(learners), device=setting.device))
        self._module.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if self.settings.views == "neighbours":
            self._module.register_buffer("neighbours", self._no_neighbours().to(setting.device))
        self.live: list[Any] = [setting.fabric.setup_module(learner.method) for learner in learners]

    @classmethod
    def make_objective(cls, setting: Setting, name: str) -> Objective:
        objective = super().make_objective(setting, name)
        normalised = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in setting.perception.modules())
        if "energy" in objective.takes and normalised:
            raise RecipeError(
                "the generative term needs an encoder without batch normalisation: an image's energy may not depend on "
                "the others in its batch",
                where="network",
                hint='set network.normalisation = "none"',
            )
        return objective

    def _make_learner(self, perception: Perception, objective: Objective) -> Learner:
        features = encode(perception, self.inputs[:2]).shape[1]
        what = self.settings
        method = Method(perception, objective, features, what.hidden, what.output, pool=what.pool)
        if "energy" not in objective.takes:
            return Learner(method, None)
        sampler = self.setting.recipe.sampler
        low, high = (float(bound) for bound in unit_range(self.inputs).aminmax())
        # Around points there is room, and what is there must have a high energy; around grey levels there is none.
        margin = POINTS_MARGIN * (high - low) if self.inputs.dim() == 2 else 0.0
        made = SgldSampler(
            self.inputs.shape[1:],
            size=max(sampler.size, self.settings.batch_size),
            steps=sampler.steps,
            step_size=sampler.step_size,
            noise=sampler.noise,
            reinitialise=sampler.reinitialise,
            bounds=(low - margin, high + margin),
            clip=sampler.clip,
        )
        return Learner(method, made)

    @property
    def best(self) -> Learner:
        """The learner with the lowest loss of late."""
        return self.learners[int(self._module.get_buffer("recent").argmin())]

    @property
    def perception(self) -> Perception:
        return self.best.method.perception

    @property
    def state(self) -> nn.Module:
        return self._module

    def begin(self, before: Stage | None) -> None:
        if self.settings.views == "neighbours":
            found = None if before is None else before.known_neighbours(self.settings)
            if found is None:
                found = find_neighbours(self.perception, self.inputs, self.settings.neighbours, self.settings.axes)
            self._module.get_buffer("neighbours").copy_(found)
        if self.settings.initial == "previous":
            self._go_on_with(None if before is None else before.head)

    def _go_on_with(self, head: nn.Linear | None) -> None:
        """Begin with the clusters of the stage before."""
        for learner in self.learners:
            projector, objective = learner.method.projector, learner.method.objective
            fits = isinstance(projector, nn.Linear) and isinstance(objective, Gedi)
            if head is None or not fits or head.weight.shape != projector.weight.shape:
                raise RecipeError(
                    "this stage cannot go on with the head of the stage before",
                    where=f"{self.section}.initial",
                    hint='it needs objective = "gedi", pool = false, and as many clusters',
                )
            projector.load_state_dict(scaled(head, typing.cast("Gedi", objective).temperature).state_dict())

    def finish(self) -> None:
        own, perception = self.best.method.own_head(), self.setting.perception
        perception.load_state_dict(self.perception.state_dict())
        self.head = own
        if own is not None and own.out_features == len(perception.domain):
            perception.head = own

    def parameters(self) -> Iterable[nn.Parameter]:
        return [parameter for parameter in self._module["learners"].parameters() if parameter.requires_grad]

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.parameters(), (learner.method.perception for learner in self.learners))

    def train(self) -> None:
        self._module.train()

    def step(self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float) -> dict[str, float]:
        clock.lap("other")
        optimizer.zero_grad()
        known = self._module.get_buffer("neighbours") if self.settings.views == "neighbours" else None
        first, second = self.views(rows.to(self.setting.device), known)
        clock.lap("views")
        pairs = zip(self.learners, self.live, strict=True)
        terms = [learner.terms(live, first, second, progress) for learner, live in pairs]
        losses, values = total_losses(terms, self.section)
        try:
            fabric.backward(losses.sum())
        except RuntimeError as error:  # an encoder that changes in place what its gradient needs, say
            raise EncoderError(f"there is no gradient of the encoder: {type(error).__name__}: {error}") from error
        optimizer.step()
        for learner in self.learners:
            learner.method.update_teacher(progress)
        left_out = self.objective.unranked
        ranked = [sum(float(t.detach()) for name, t in each.items() if name not in left_out) for each in terms]
        recent, steps = self._module.get_buffer("recent"), self._module.get_buffer("steps").add_(1)
        recent.lerp_(torch.tensor(ranked).to(recent), max(RECENT, 1.0 / int(steps)))
        best = int(recent.argmin())
        clock.lap("network")
        return {"loss": values[best], **{name: float(term.detach()) for name, term in terms[best].items()}}

    @torch.no_grad()
    def own_log_probabilities(self, features: Tensor) -> Tensor | None:
        if self.objective.clusters is None:
            return None
        self._module.eval()
        method = self.best.method
        return torch.cat(
            [method.objective.log_probabilities(method.project(chunk)) for chunk in features.split(IMAGES_BATCH)]
        )

    @torch.no_grad()
    def outlier_auroc(self, images: Tensor) -> float:
        """How well the log-density lse(z(x)) tells ``images`` from as much uniform noise within their bounds."""
        pixels = unit_range(images)
        low, high = pixels.aminmax()
        self._module.eval()
        with own_random_numbers(self.seed, self.setting.device):
            noise = torch.empty_like(pixels).uniform_(float(low), float(high))
        inside, outside = (
            torch.cat([-energy(self.best.method.logits(chunk)) for chunk in data.split(IMAGES_BATCH)]).cpu()
            for data in (pixels, noise)
        )
        return auroc(inside, outside)


def _anew(perception: Perception) -> Perception:
    """A copy with weights drawn again, where the encoder's layers know how."""
    copied = copy.deepcopy(perception)
    for module in copied.encoder.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return copied
