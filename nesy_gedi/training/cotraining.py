"""Co-training: a self-supervised objective on a pool of images beside the likelihood of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import ImageSet
from nesy_gedi.data.image_sets import unit_range
from nesy_gedi.data.views import augment
from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.networks.perception import Perception
from nesy_gedi.objectives.objective import Objective, Pair
from nesy_gedi.training.answers import AnswerWork, Looking, answer_loss
from nesy_gedi.training.checkpoints import DECODER, OBJECTIVE
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import perceive
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.loop import Optimisation
from nesy_gedi.training.losses import DIVERGED, add_terms
from nesy_gedi.training.methods import Method, make_objective
from nesy_gedi.training.pretrain_recipe import StageRecipe
from nesy_gedi.training.priors import cotraining_priors
from nesy_gedi.training.recipe import FROM_CLUSTERS, SCHEDULES, CotrainingRecipe
from nesy_gedi.training.reconstruction import TERM, make_decoder
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.stages import encode, find_neighbours, own_random_numbers, pick
from nesy_gedi.training.task import Task

OBJECTIVE_FLOOR = -30.0
"""Nats. What an objective sees of a symbol that is impossible: its probability, e^-30, is nothing beside 1 in float32. With
the logic's floor, -100, two views that are each sure of another symbol would cost three times as much."""


class Cotrained(nn.Module):
    """A perception and an objective of it, which look at their images in one pass: then the statistics of batch
    normalisation are those of all of them, however few the queries are."""

    def __init__(self, perception: Perception, objective: Objective, settings: CotrainingRecipe) -> None:
        super().__init__()
        self.perception = perception
        self.objective = objective
        self.method: Method | None = None
        if not objective.own_clusters:
            with torch.no_grad():
                shape = perception.image_shape
                assert shape is not None
                width = encode(perception, torch.zeros(2, *shape, device=perception.mean.device)).shape[1]
            self.method = Method(perception, objective, width, settings.hidden, settings.output)

    def forward(self, images: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Pair]]:
        """Log-probabilities (n + m, K) of images (n, ...) and of the first of two views (m, ...), and what the objective
        takes of both views."""
        views = torch.cat([first, second])
        features = self.perception.features(torch.cat([images, views]))
        symbols = len(images) + len(first)
        if self.method is not None:
            seen = self.perception.normalise(self.perception.head(features[:symbols]))
            return seen, self.method.outputs(views, features[len(images) :])
        log_p = self.perception.normalise(self.perception.head(features))
        seen, log_views = log_p[:symbols], log_p[len(images) :]
        # GEDI's clusters are the symbols: its softmax makes these probabilities of them again.
        one, other = _floored(log_views).chunk(2)
        return seen, {"projection": (one, other)}

    def own_tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold apart from the perception."""
        return {name: tensor for name, tensor in self.state_dict().items() if not _is_of_perception(name)}

    def own_parameters(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if not _is_of_perception(name)]


def _is_of_perception(name: str) -> bool:
    return name.startswith(("perception.", "method.perception.", "method.objective."))


class CotrainingWork(AnswerWork):
    """Networks trained on answers and, in the same steps, by an objective on a pool of images.

    The epoch with the best answers on validation queries is kept, but after clusters the last: where answers are few,
    those for validation would be more than there are.

    Args:
        task: with a planned recipe.

    Raises:
        RecipeError: as :func:`check_cotraining` and :func:`~nesy_gedi.training.priors.check_priors`.
    """

    section = "cotraining"
    largest = DIVERGED

    settings: Optimisation

    def __init__(
        self,
        task: Task,
        networks: nn.ModuleDict,
        splits: Splits,
        fabric: Fabric,
        labelled: Mapping[str, Labelled],
    ) -> None:
        super().__init__(task, networks, splits, fabric.device, labelled)
        self.cotraining = task.recipe.cotraining
        self.images = pool(task, splits).images.to(fabric.device)
        self.settings = _Optimisation(
            self.cotraining.epochs,
            self.cotraining.batch_size,
            self.cotraining.learning_rate,
            task.recipe.training.weight_decay,
        )
        priors = cotraining_priors(task, splits.train)
        torch.manual_seed(self.seed)
        self.cotrained: dict[str, Cotrained] = {}
        self.neighbours: dict[str, Tensor] = {}
        for name in task.networks:
            perception = cast("Perception", networks[name].module)
            objective = _objective(task, name, priors.get(name))
            objective.refuses_nan = False  # the loop looks at the loss
            self.cotrained[name] = Cotrained(perception, objective, self.cotraining).to(fabric.device)
        self.decoder = make_decoder(task, self.images)
        self.live = {name: fabric.setup_module(each) for name, each in self.cotrained.items()}

    def begin(self) -> None:
        """Find the neighbours that views are taken from, in the networks' features as they are now."""
        if self.cotraining.views != "neighbours":
            return
        for name, each in self.cotrained.items():
            found = find_neighbours(each.perception, self.images, self.cotraining.neighbours, StageRecipe.axes)
            self.neighbours[name] = found.int()

    def __len__(self) -> int:
        return self.cotraining.steps * self.cotraining.batch_size

    def order(self, generator: torch.Generator) -> Tensor:
        """One pass over the pool after another, cut off after so many steps."""
        passes = -(-len(self) // len(self.images))
        drawn = [torch.randperm(len(self.images), generator=generator) for _ in range(passes)]
        return torch.cat(drawn)[: len(self)]

    def parameters(self) -> Iterable[nn.Parameter]:
        decoder = [] if self.decoder is None else self.decoder.parameters()
        own = [p for each in self.cotrained.values() for p in each.own_parameters()]
        return [*super().parameters(), *own, *decoder]

    def train(self) -> None:
        super().train()
        for each in self.cotrained.values():
            each.train()

    def step(
        self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float
    ) -> Mapping[str, float | Tensor]:
        """One step on the images ``rows`` of the pool and on queries drawn at random. Nothing is read back from the device.

        Returns:
            ``loss`` of the whole, ``answers``, their mean negative log-likelihood in nats, and the objective's terms,
            summed over networks, before their weight.
        """
        clock.lap("other")
        optimizer.zero_grad()
        queries = torch.randperm(len(self.splits.train))[: self.cotraining.queries]
        rows = rows.to(self.device, non_blocking=True)
        first, second = self._views(rows)
        looking = _LookingAtViews(self, first, second)
        log_p = perceive(self.task, looking, self.splits.train, queries, self.device)
        clock.lap("network")
        answers, surrogate = answer_loss(self.task, log_p, self.splits.train, queries)
        clock.lap("logic")
        weight = self.cotraining.weight * SCHEDULES[self.cotraining.schedule](progress)
        terms = []
        for name, outputs in looking.outputs.items():
            objective = self.cotrained[name].objective
            objective.schedule(progress)
            terms.append(objective.terms(**outputs))
        losses = add_terms(terms)
        others = looking.label_loss()
        named = {term: torch.stack([each[term].detach() for each in terms]).sum() for term in terms[0]}
        if self.decoder is not None:
            unexplained = self.decoder.loss(
                [looking.seen[name] for name in self.task.networks], unit_range(self.images[rows])
            )
            others = others + self.cotraining.reconstruction * unexplained
            named[TERM] = unexplained.detach()
        fabric.backward(surrogate + weight * losses.sum() + others)
        optimizer.step()
        for each in self.cotrained.values():
            if each.method is not None:
                each.method.update_teacher(progress)
        clock.lap("network")
        total = answers + weight * losses.detach().sum() + others.detach()
        return {"loss": total, "answers": answers, **named}

    def _views(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Two views of the images ``rows``: the first, and network -> the second, since neighbours are its own."""
        augmentation = self.cotraining.augmentation
        first = augment(self.images[rows], augmentation)
        if not self.neighbours:
            return first, dict.fromkeys(self.cotrained, augment(self.images[rows], augmentation))
        picked = {name: pick(found, rows) for name, found in self.neighbours.items()}
        return first, {name: augment(self.images[other], augmentation) for name, other in picked.items()}

    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        line, rank = super().measure(losses)
        line["terms"] = {name: value for name, value in losses.items() if name != "loss"}
        return line, () if self.task.recipe.method in FROM_CLUSTERS else rank

    def tensors(self) -> dict[str, Tensor]:
        return (
            super().tensors()
            | {
                f"{OBJECTIVE}.{name}.{key}": tensor
                for name, each in self.cotrained.items()
                for key, tensor in each.own_tensors().items()
            }
            | {f"{OBJECTIVE}.{name}.neighbours": found for name, found in self.neighbours.items()}
            | {f"{DECODER}.{key}": tensor for key, tensor in self._decoder_tensors().items()}
        )

    def _decoder_tensors(self) -> dict[str, Tensor]:
        return {} if self.decoder is None else self.decoder.state_dict()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` took: networks, objectives, neighbours and the decoder.

        Raises:
            RunError: the tensors belong to other networks, another objective, other views or another decoder.
        """
        ours = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{OBJECTIVE}.")}
        super().restore({key: tensor for key, tensor in tensors.items() if key not in ours})

        def below(name: str) -> dict[str, Tensor]:
            prefix = f"{name}."
            return {key.removeprefix(prefix): tensor for key, tensor in ours.items() if key.startswith(prefix)}

        try:
            if below(DECODER).keys() != self._decoder_tensors().keys():
                raise RuntimeError("one of the two has a decoder, or another one")
            if self.decoder is not None:
                self.decoder.load_state_dict(below(DECODER))
            for name, each in self.cotrained.items():
                found = below(f"{OBJECTIVE}.{name}")
                if self.cotraining.views == "neighbours":
                    self.neighbours[name] = found.pop("neighbours").to(self.device)
                if found.keys() != each.own_tensors().keys():
                    raise RuntimeError("it was made with another objective")
                each.load_state_dict(found, strict=False)
        except (KeyError, RuntimeError) as error:
            raise RunError(
                f"the checkpoint does not fit the objective: {str(error).splitlines()[-1].strip()}",
                hint="it was written for another recipe",
            ) from error


def pool(task: Task, splits: Splits) -> ImageSet:
    """The images that the recipe's ``cotraining.pool`` names."""
    which = task.recipe.cotraining.pool
    if which == "all":
        return splits.pool
    shown = torch.zeros(len(splits.pool), dtype=torch.bool)
    shown[splits.train.index.flatten()] = True
    return splits.pool.subset((shown if which == "queries" else ~shown).nonzero()[:, 0])


def check_cotraining(task: Task, splits: Splits) -> None:
    """Try before anything is trained what would fail after it.

    Args:
        task: with a planned recipe.

    Raises:
        RecipeError: a pool, a batch or a number of neighbours that do not go together, a constant that the objective does
            not have, a precision in which its teacher does not move, or too many symbols to reconstruct images from.
        UsageError: a constant out of range.
    """
    what, images = task.recipe.cotraining, pool(task, splits)
    if len(images) < what.batch_size:
        raise RecipeError(
            f"the pool has {len(images)} images, fewer than a batch of {what.batch_size}",
            where="cotraining.batch_size",
            hint="lower it" if what.pool == "all" else 'lower it, or take a larger pool: cotraining.pool = "all"',
        )
    if what.views == "neighbours" and what.neighbours >= len(images):
        raise RecipeError(
            f"the {len(images)} images of the pool do not have {what.neighbours} neighbours each",
            where="cotraining.neighbours",
            hint="lower it, or use more images",
        )
    with own_random_numbers(task.recipe.seed, images.images.device):
        make_decoder(task, images.images)
        objectives = [_objective(task, name, None) for name in task.networks]
    for objective in objectives:
        if what.batch_size < objective.smallest_batch:
            raise RecipeError(
                f"{what.objective} needs batches of at least {objective.smallest_batch}, not {what.batch_size}",
                where="cotraining.batch_size",
                hint="raise it",
            )
        if "momentum" in objective.takes and task.recipe.training.precision in ("bf16-true", "16-true"):
            raise RecipeError(
                f"the teacher of {what.objective} moves in steps too small for {task.recipe.training.precision}",
                where="training.precision",
                hint='use "bf16-mixed" or "32-true"',
            )


def _objective(task: Task, network: str, prior: Tensor | None) -> Objective:
    """The objective beside the answers of a network.

    Args:
        prior: of its symbols, (K,), where the objective has one; None for uniform.
    """
    what = task.recipe.cotraining
    stage = StageRecipe(
        batch_size=what.batch_size,
        output=what.output,
        constants=what.constants,
        prior=() if prior is None else tuple(prior.tolist()),
    )
    symbols = len(task.program.networks[network])
    objective = make_objective(stage, what.objective, symbols, task.recipe.seed, "cotraining")
    if "energy" in objective.takes:
        raise RecipeError(
            "co-training has no sampler for the generative term",
            where="cotraining.constants",
            hint="leave generative out, or use it in a pretraining",
        )
    if objective.own_clusters and "temperature" in what.constants:
        raise RecipeError(
            f"the clusters of {what.objective} are the symbols here, whose logits have no temperature",
            where="cotraining.constants.temperature",
            hint="leave it out, or use it in a pretraining",
        )
    return objective


def _floored(log_p: Tensor) -> Tensor:
    """Log-probabilities of at least ``OBJECTIVE_FLOOR``, with gradients as if there were none: a symbol that no image of a
    batch has is pulled back by GEDI's prior, however improbable it has become."""
    floored = log_p.clamp_min(OBJECTIVE_FLOOR)
    return torch.where(log_p.isfinite(), log_p + (floored - log_p).detach(), floored)


class _LookingAtViews(Looking):
    """Networks that look at the images of queries, at labelled images and at two views of the pool in one pass."""

    def __init__(self, work: CotrainingWork, first: Tensor, second: Mapping[str, Tensor]) -> None:
        super().__init__(work.networks, work.labelled)
        self.work = work
        self.first = first
        self.second = second
        self.outputs: dict[str, dict[str, Pair]] = {}
        self.seen: dict[str, Tensor] = {}
        """network -> log-probabilities of the first view, (m, K)."""

    def look(self, name: str, *inputs: Tensor) -> Tensor:
        (images,) = inputs  # networks with several are refused when it is planned
        shown = augment(images, self.work.cotraining.augmentation)
        log_p: Tensor
        log_p, self.outputs[name] = self.work.live[name](shown, self.first, self.second[name])
        self.seen[name] = log_p[len(images) :]
        return log_p[: len(images)]


@dataclass(frozen=True)
class _Optimisation:
    """What the loop asks of a recipe."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
