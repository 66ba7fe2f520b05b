"""What a recipe leaves open until program and data are known: how to learn, and from which networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nesy_gedi.data import ImageSet, absolute_source
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.data.views import Augmentation
from nesy_gedi.errors import RecipeError
from nesy_gedi.objectives import find_objective
from nesy_gedi.training.cotraining import check_cotraining
from nesy_gedi.training.ensembles import check_ensemble
from nesy_gedi.training.labels import absolute_label
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, check_pretrain_recipe, load_pretrain_recipe
from nesy_gedi.training.pretrained import count_clusters
from nesy_gedi.training.priors import check_priors
from nesy_gedi.training.recipe import COTRAINED, FROM_CLUSTERS, CotrainingRecipe, NetworkRecipe, Recipe
from nesy_gedi.training.recipe_files import SEEDS
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task

LEFT_OPEN: Mapping[str, str | int] = {
    "method": "auto",
    "networks.*.clusters": 0,
    "cotraining.objective": "",
    "cotraining.views": "auto",
    "cotraining.epochs": 0,
    "cotraining.learning_rate": 0,
}
"""Dotted keys that :func:`plan` fills in, and the value of each that leaves it to the plan."""

FEW = 0.5
"""Answers are few where they are about less than this share of the images that could be learned from."""

PRIOR_WEIGHT = 10.0
"""Of GEDI beside the answers, where nothing has been pretrained or a step holds all queries: with less, symbols that few
answers speak of fade. With many answers it would hold symbols to frequencies that are not theirs."""

EPOCHS, EPOCHS_OF_MANY = 4, 8
"""Of co-training, where a step holds all queries and where it does not: there is more to learn from these."""

PRETRAINED_RATE, FRESH_RATE = 0.01, 0.002
"""Learning rates of co-training. What a pretraining has found stands the higher one, and ends nearer to the truth."""

ANOTHER_SEED = 7919
"""How far the seeds of attempts lie apart: farther than those that a person tries one after the other."""

_ENCODER = ("encoder", "features", "width", "normalisation", "weights_file", "partial", "input_shape", "rate")
"""What a network's recipe and a pretraining's say alike."""


def is_left_open(key: str, value: object) -> bool:
    """Whether a recipe's dotted key with this value is the plan's to choose."""
    return any(fnmatchcase(key, pattern) and value == left for pattern, left in LEFT_OPEN.items())


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The same with files that are found from any working directory, so that a run can be continued from another."""
    networks = {
        name: replace(network, labels=tuple(map(absolute_label, network.labels)))
        for name, network in recipe.networks.items()
    }
    pretraining = recipe.pretraining
    if pretraining.recipe:
        pretraining = replace(pretraining, recipe=str(Path(pretraining.recipe).resolve()))
    data = replace(recipe.data, source=absolute_source(recipe.data.source))
    return replace(recipe, data=data, networks=networks, pretraining=pretraining)


def plan(task: Task, splits: Splits) -> Recipe:
    """The task's recipe with nothing left open: its method, its objective, and the networks that come from clusters. The
    plan of a plan is the same. It is tried as far as it can be before anything is trained.

    Raises:
        RecipeError: clusters that cannot stand for the symbols, a prior that is none, what the method does not allow, or
            as :func:`~nesy_gedi.training.cotraining.check_cotraining`.
        UsageError: a constant of the objective that is out of range.
    """
    recipe = task.recipe
    method = _choose(task, splits) if recipe.method == "auto" else recipe.method
    check_ensemble(task, method)
    if method != "answers":
        _refuse_several(task, method, splits)
    networks = dict(recipe.networks)
    cotraining = recipe.cotraining
    if method in FROM_CLUSTERS:
        _refuse_asking_for_given(recipe, splits)
        networks |= {name: _from_clusters(task, name, splits.pool) for name in task.networks}
    else:
        _refuse_asking(method, recipe)
        for name in task.networks:
            _refuse_unassigned(task, name)
    if method in COTRAINED:
        cotraining = _cotraining(task, cotraining, method, splits)
    else:
        _refuse_unused(method, cotraining)
        _refuse_moving(recipe.training.augmentation, splits, "training.augmentation")
    planned = task.with_recipe(replace(recipe, method=method, cotraining=cotraining, networks=networks))
    check_priors(planned)
    if method in COTRAINED:
        check_cotraining(planned, splits)
    return planned.recipe


def pretraining_of(task: Task, network: str, images: ImageSet, attempt: int = 0) -> PretrainRecipe:
    """The pretraining from which a network begins.

    Args:
        images: of the data set, to tell the classes that the network's symbols stand for.
        attempt: number of pretrainings before it; each has a seed of its own.

    Raises:
        RecipeError: as :func:`~nesy_gedi.training.pretrain_recipe.load_pretrain_recipe`.
    """
    recipe, what = task.recipe, task.network(network)
    overrides: dict[str, Any] = {
        "data.source": recipe.data.source,
        "data.image_shape": list(recipe.data.image_shape),
        "data.skip_unreadable": recipe.data.skip_unreadable,
        "data.attribute": what.attribute,
        "seed": (recipe.seed + attempt * ANOTHER_SEED) % SEEDS,
    }
    mapped = task.symbol_map(network, images)
    if mapped is not None and bool((mapped.symbol < 0).any()):
        labels = images.labels[what.attribute]
        if not bool((labels.index == UNKNOWN).any()):  # else images would be left out whose class nobody knows
            overrides["data.classes"] = [
                name for name, symbol in zip(labels.classes, mapped.symbol, strict=True) if symbol >= 0
            ]
    if images.images.dim() != 4:  # points are seen through noise
        points = Augmentation.for_points()
        overrides |= {f"augmentation.{key}": getattr(points, key) for key in ("shift", "scale", "rotation", "shear")}
    for key in _ENCODER:
        # What a network's recipe does not say is the pretraining's to choose; after planning it says everything, and
        # weights belong to the layers that it describes.
        if _is_planned(what) or what.weights_file or getattr(what, key) != getattr(NetworkRecipe, key):
            overrides[f"network.{key}"] = getattr(what, key)
    overrides |= recipe.pretraining.overrides
    try:
        found = load_pretrain_recipe(recipe.pretraining.recipe or None, overrides=overrides)
        # Without labels nothing but the domain says how many kinds of images there are.
        if clusters := what.clusters or (len(task.program.networks[network]) if mapped is None else 0):
            stages = {name: replace(stage, clusters=stage.clusters or clusters) for name, stage in found.stages.items()}
            found = replace(found, stages=stages)
        check_pretrain_recipe(found)
    except RecipeError as error:
        where = "pretraining.overrides" if error.where == "--set" else f"pretraining, {error.where}"
        raise RecipeError(error.message, where=where, excerpt=error.excerpt, hint=error.hint) from error
    return found


def _choose(task: Task, splits: Splits) -> str:
    """The method of a recipe that leaves it open.

    Several networks that see the same images would each need clusters of another attribute, and nothing but the answers
    says which: that is left to who asks for it.
    """
    images = len(splits.train) * len(task.slots)
    pretrained = all(task.network(name).weights for name in task.networks)
    few = images < FEW * len(splits.pool)
    if (
        few
        and task.recipe.ensemble.members == 1
        and (pretrained or len(task.networks) == 1)
        and splits.pool.images.dim() == 4
        and not _see_several(task, splits)
        and all(_can_begin_as_clusters(task, name) for name in task.networks)
    ):
        return "clusters"
    cotraining = task.recipe.cotraining
    return "cotraining" if cotraining.objective or cotraining.reconstruction else "answers"


def _see_several(task: Task, splits: Splits) -> str:
    """Why the inputs make no one set of images for each network, in words; empty where they do."""
    for name in task.networks:
        if task.arguments(name) > 1:
            return f"{name} looks at {task.arguments(name)} inputs together"
    return "the inputs are of several kinds" if splits.pool.others else ""


def _refuse_several(task: Task, method: str, splits: Splits) -> None:
    if why := _see_several(task, splits):
        raise RecipeError(
            f'method = "{method}" learns from one set of images, but {why}',
            where="method",
            hint='learn from the answers alone: method = "answers"',
        )


def _can_begin_as_clusters(task: Task, network: str) -> bool:
    what, symbols = task.network(network), len(task.program.networks[network])
    if what.head in ("none", "prototypes") or what.output != "logits" or symbols < 2:
        return False
    return not what.weights or count_clusters(what.weights) >= symbols


def _is_planned(what: NetworkRecipe) -> bool:
    """Whether the recipe of a network that begins as clusters says everything, so that nothing is looked up again: what it
    was pretrained from may be gone by the time that a run is continued."""
    return what.head == "clusters" and what.clusters > 0


def _from_clusters(task: Task, network: str, images: ImageSet) -> NetworkRecipe:
    what, domain = task.network(network), task.program.networks[network]
    if what.head == "prototypes":
        raise RecipeError(
            "prototypes and clusters are two ways to find what symbols look like",
            where=f"networks.{network}.head",
            hint='leave head out, or choose method = "answers" or "cotraining"',
        )
    if what.head == "none" or what.output != "logits":
        raise RecipeError(
            "clusters need a linear head of their own",
            where=f"networks.{network}",
            hint='leave head and output out, or choose method = "answers"',
        )
    planned = what
    if not _is_planned(what) and what.weights:
        planned = replace(what, head="clusters", clusters=count_clusters(what.weights))
    elif not _is_planned(what):
        own = pretraining_of(task, network, images)
        last = list(own.active_stages().values())[-1]
        mapped = task.symbol_map(network, images)
        clusters = last.clusters or (len(domain) if mapped is None else int((mapped.symbol >= 0).sum()))
        encoder = {key: getattr(own.network, key) for key in _ENCODER}
        planned = replace(what, **encoder, head="clusters", clusters=clusters)
    if what.clusters not in (0, planned.clusters):
        raise RecipeError(
            f"the pretraining has {planned.clusters} clusters, not {what.clusters}",
            where=f"networks.{network}.clusters",
            hint="leave it out, or have the pretraining find as many",
        )
    if planned.clusters < len(domain):
        raise RecipeError(
            f"{planned.clusters} clusters cannot stand for the {len(domain)} symbols of {network}",
            where=f"networks.{network}",
            hint="pretrain with at least as many clusters as symbols",
        )
    return planned


def _refuse_unassigned(task: Task, network: str) -> None:
    """Clusters that nothing assigns to symbols would make of every image the same."""
    what, symbols = task.network(network), len(task.program.networks[network])
    if what.head == "clusters" and what.clusters not in (0, symbols):
        raise RecipeError(
            f"which of the {symbols} symbols each of {what.clusters} clusters stands for is not known",
            where=f"networks.{network}.clusters",
            hint='leave it out, or have it found: method = "clusters"',
        )


def _refuse_asking_for_given(recipe: Recipe, splits: Splits) -> None:
    if recipe.pretraining.ask and splits.given:
        raise RecipeError(
            "the answers come with the data: there are no further ones to ask for",
            where="pretraining.ask",
            hint="leave it out, or add rows to the data",
        )


def _refuse_asking(method: str, recipe: Recipe) -> None:
    if recipe.pretraining.ask:
        raise RecipeError(
            f'method = "{method}" assigns no clusters, of which further answers could tell',
            where="pretraining.ask",
            hint='leave it out, or choose method = "clusters" or "assignment"',
        )


def _refuse_unused(method: str, what: CotrainingRecipe) -> None:
    """What asks for a step that the method does not take."""
    if what.objective:
        raise RecipeError(
            f'method = "{method}" has no objective beside the answers, not {what.objective}',
            where="cotraining.objective",
            hint='leave it out, or choose method = "cotraining"',
        )
    if what.reconstruction:
        raise RecipeError(
            f'method = "{method}" reconstructs no images',
            where="cotraining.reconstruction",
            hint='set it to 0, or choose method = "cotraining"',
        )


def _refuse_moving(augmentation: Augmentation, splits: Splits, where: str) -> None:
    parts = (splits.pool.images, *splits.pool.others)
    if any(part.dim() != 4 for part in parts) and (augmentation.moves or augmentation.colour):
        raise RecipeError(
            "points can be augmented with noise alone",
            where=where,
            hint="set shift, scale, rotation, shear and colour to 0, and flip to false",
        )


def _cotraining(task: Task, what: CotrainingRecipe, method: str, splits: Splits) -> CotrainingRecipe:
    queries = len(splits.train)
    pretrained = method == "clusters" or all(task.network(name).weights for name in task.networks)
    views = what.views if what.views != "auto" else "neighbours" if pretrained else "augmentation"
    augmentation = what.augmentation
    if splits.pool.images.dim() != 4 and augmentation == Augmentation():
        augmentation = Augmentation.for_points()
    _refuse_moving(augmentation, splits, "cotraining.augmentation")
    objective, constants = what.objective or "gedi", what.constants
    many = queries > what.queries
    if find_objective(objective).own_clusters and not (pretrained and many):
        constants = {"prior_weight": PRIOR_WEIGHT, **constants}
    return replace(
        what,
        objective=objective,
        views=views,
        epochs=what.epochs or (EPOCHS_OF_MANY if many else EPOCHS),
        learning_rate=what.learning_rate or (PRETRAINED_RATE if pretrained else FRESH_RATE),
        constants=constants,
        augmentation=augmentation,
    )
