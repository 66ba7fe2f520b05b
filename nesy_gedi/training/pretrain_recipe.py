"""Recipes of self-supervised pretraining: an encoder, and the stages that it goes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from nesy_gedi.data.decoding import ReadOptions, shape_fault
from nesy_gedi.data.sources import absolute_source
from nesy_gedi.data.views import Augmentation
from nesy_gedi.errors import RecipeError, UsageError, did_you_mean
from nesy_gedi.objectives import OBJECTIVES, find_objective, sgld
from nesy_gedi.training.recipe import VIEWS, CotrainingRecipe, DataRecipe, NetworkRecipe, encoder_faults
from nesy_gedi.training.recipe_files import SEEDS, Constant, Fault, read_recipe

TRAINS = ("all", "head")
INITIAL = ("random", "kmeans", "previous")

SAMPLER_RANGES = (
    ("size", 1, 10_000_000),
    ("steps", 1, 10_000),
    ("step_size", 1e-12, 1e6),
    ("noise", 0.0, 1e6),
    ("reinitialise", 0.0, 1.0),
)
"""What is allowed of each number of the sampler."""


@dataclass(frozen=True)
class PretrainData:
    """Images without labels; an attribute's labels are used for measuring alone.

    Attributes:
        source, image_shape, skip_unreadable: as in :class:`~nesy_gedi.training.recipe.DataRecipe`.
        attribute: which attribute the clusters are compared with; its number of classes is that of the clusters where
            a stage does not say.
        classes: of the attribute; images of others are left out, and so are they. All where empty.
        limit: training images; 0 for all.
    """

    source: str = DataRecipe.source
    attribute: str = "class"
    classes: tuple[str, ...] = ()
    limit: int = 0
    image_shape: tuple[int, ...] = DataRecipe.image_shape
    skip_unreadable: bool = DataRecipe.skip_unreadable

    def options(self) -> ReadOptions:
        """How files are read."""
        return ReadOptions(self.image_shape, self.skip_unreadable)


@dataclass(frozen=True)
class EncoderRecipe:
    """The network that learns, as in :class:`~nesy_gedi.training.recipe.NetworkRecipe`."""

    encoder: str = NetworkRecipe.encoder
    features: int = NetworkRecipe.features
    width: int = NetworkRecipe.width
    normalisation: str = NetworkRecipe.normalisation
    weights_file: str = NetworkRecipe.weights_file
    partial: bool = NetworkRecipe.partial
    input_shape: tuple[int, ...] = NetworkRecipe.input_shape
    rate: float = NetworkRecipe.rate


@dataclass(frozen=True)
class StageRecipe:
    """One stage: Adam with a cosine schedule on one objective.

    Attributes:
        objective: its name; the recipe's own where empty.
        trains: ``all``, or ``head``: a linear clustering head on frozen features.
        views: what the second view of an image is: another random ``augmentation`` of it, or one of its nearest
            ``neighbours`` in the feature space that the stage begins with.
        neighbours: how many.
        clusters: of an objective that clusters; 0 for the number of classes.
        initial: the head before the first step: ``random``; ``kmeans``, the posterior of k-means' centres; ``previous``,
            fitted to the distribution of the stage before. With ``epochs = 0`` it stays so. Where the encoder is
            trained, ``previous`` goes on with the head of the stage before.
        pool: whether the objective sees the average of a feature map over space; a head always sees the whole map.
        axes: principal axes of the features that a head sees, and that neighbours are found along; 0 for all of them.
        restarts: heads, or encoders, trained side by side, of which the one with the lowest loss is kept (no label is looked at).
        epochs: after each of them the run is measured and saved.
        passes: over the images, an epoch; more than one where there are few.
        batch_size: images a step.
        learning_rate: at the first step.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        hidden: width of hidden layers of the objective's projector and predictor.
        output: width of its output, where the objective does not fix it.
        prior: of the clusters, a probability each; empty for uniform.
        constants: of the objective, by name; its defaults where it says nothing.
    """

    objective: str = ""
    trains: str = "all"
    views: str = "augmentation"
    neighbours: int = CotrainingRecipe.neighbours
    clusters: int = 0
    initial: str = "random"
    pool: bool = True
    axes: int = 128
    restarts: int = 1
    epochs: int = 10
    passes: int = 1
    batch_size: int = 256
    learning_rate: float = 0.003
    weight_decay: float = 0.0
    hidden: int = CotrainingRecipe.hidden
    output: int = CotrainingRecipe.output
    prior: tuple[float, ...] = ()
    constants: Mapping[str, Constant] = field(default_factory=dict)


@dataclass(frozen=True)
class SamplerRecipe:
    """SGLD for the generative term, as in :class:`~nesy_gedi.objectives.sgld.SgldSampler`."""

    size: int = sgld.BUFFER_SIZE
    steps: int = sgld.STEPS
    step_size: float = sgld.STEP_SIZE
    noise: float = sgld.NOISE
    reinitialise: float = sgld.REINITIALISE
    clip: bool = sgld.CLIP


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that determines a pretraining run, apart from the machine.

    Attributes:
        objective: of the stages that name none.
        seed: initial weights, order of images, views.
        precision: Lightning Fabric's name, for the networks; objectives compute in float32 or better.
        stages: name -> stage.
        sequence: which of them follow one another; all, in the order of the recipe, where empty.
    """

    objective: str = "falcon"
    seed: int = 0
    precision: str = "32-true"
    data: PretrainData = field(default_factory=PretrainData)
    network: EncoderRecipe = field(default_factory=EncoderRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sampler: SamplerRecipe = field(default_factory=SamplerRecipe)
    stages: Mapping[str, StageRecipe] = field(default_factory=dict)
    sequence: tuple[str, ...] = ()

    def active_stages(self) -> dict[str, StageRecipe]:
        """The stages that the run goes through, in order."""
        return {name: self.stages[name] for name in self.sequence or self.stages}

    def objective_of(self, stage: StageRecipe) -> str:
        return stage.objective or self.objective


def default_recipe() -> Path:
    """The recipe that ``pretrain`` uses where none is named."""
    return Path(str(files("nesy_gedi.training"))) / "pretrain.toml"


def load_pretrain_recipe(
    path: str | Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> PretrainRecipe:
    """Read a pretraining recipe, take its ``[when.NAME]`` tables for the data set and the objective in use, then apply
    ``overrides``.

    Args:
        path: the TOML file; None for the default recipe.
        overrides: dotted keys and values, ``{"stages.features.epochs": 5}``; they win over everything.

    Raises:
        RecipeError: as :func:`~nesy_gedi.training.recipe_files.read_recipe`.
        UsageError: an unknown objective.
    """
    objective = (overrides or {}).get("objective")
    if isinstance(objective, str):
        find_objective(objective)
    recipe = _read(path, overrides)
    _refuse_new_stages(recipe, path, overrides or {})
    return recipe


def with_absolute_source(recipe: PretrainRecipe) -> PretrainRecipe:
    """The same with data that is found from any working directory, so that a run can be continued from another."""
    return replace(recipe, data=replace(recipe.data, source=absolute_source(recipe.data.source)))


def _read(path: str | Path | None, overrides: Mapping[str, Any] | None) -> PretrainRecipe:
    return read_recipe(
        PretrainRecipe,
        default_recipe() if path is None else path,
        faults=_faults,
        conditions=lambda recipe: {recipe.data.source, recipe.objective, f"{recipe.objective}-{recipe.data.source}"},
        overrides=overrides,
    )


def _refuse_new_stages(recipe: PretrainRecipe, path: str | Path | None, overrides: Mapping[str, Any]) -> None:
    """A misspelt stage would be a new one: it must be in the file, or ``sequence`` must name it."""
    asked = {key.split(".")[1] for key in overrides if key.startswith("stages.")} - set(recipe.sequence)
    if not asked:
        return
    known = _read(path, {key: value for key, value in overrides.items() if not key.startswith("stages.")}).stages
    for name in sorted(asked - known.keys()):
        raise RecipeError(
            f"the recipe has no stage {name}",
            where="--set",
            hint=f"{did_you_mean(name, known)}; name a new one in sequence",
        )


def check_pretrain_recipe(recipe: PretrainRecipe) -> None:
    """Refuse values that cannot be, and a recipe that trains nothing.

    Raises:
        RecipeError: an impossible value, or no stage.
    """
    for path, message in (*_faults(recipe), *_contradictions(recipe)):
        raise RecipeError(message, where=".".join(path), hint="change it, or leave it out to keep what the recipe says")
    taken = recipe.active_stages()
    if not taken:
        raise RecipeError("the recipe has no stages", where="stages", hint="add a table such as [stages.features]")
    first, last = next(iter(taken)), list(taken)[-1]
    if taken[first].trains != "all":
        raise RecipeError(
            "the first stage must train the encoder: nothing has been learned before it",
            where=f"stages.{first}.trains",
            hint='set it to "all", or put another stage before it',
        )
    if taken[last].trains != "head" and not find_objective(recipe.objective_of(taken[last])).own_clusters:
        raise RecipeError(
            f"the run would end without a clustering head: {recipe.objective_of(taken[last])} has no linear one",
            where=f"stages.{last}",
            hint='end with a stage that has trains = "head"',
        )


def _faults(recipe: PretrainRecipe) -> Iterator[Fault]:
    if recipe.seed < 0 or recipe.seed >= SEEDS:
        yield ("seed",), f"seed must be in 0..{SEEDS - 1}, not {recipe.seed}"
    if fault := shape_fault(recipe.data.image_shape):
        yield ("data", "image_shape"), f"data.image_shape {fault}"
    if recipe.data.limit < 0:
        yield ("data", "limit"), f"data.limit must be zero or more, not {recipe.data.limit}"
    for key in ("features", "width"):
        if (size := getattr(recipe.network, key)) < 0:
            yield ("network", key), f"network.{key} must be zero or more, not {size}"
    yield from encoder_faults(recipe.network, ("network",))
    yield from _objective_fault(("objective",), recipe.objective)
    for key, lowest, highest in SAMPLER_RANGES:
        if not lowest <= (value := getattr(recipe.sampler, key)) <= highest:
            yield ("sampler", key), f"sampler.{key} must be in {lowest:g}..{highest:g}, not {value}"
    for name, stage in recipe.stages.items():
        path, section = ("stages", name), f"stages.{name}"
        if stage.objective:
            yield from _objective_fault((*path, "objective"), stage.objective)
        for key, valid in (("trains", TRAINS), ("views", VIEWS), ("initial", INITIAL)):
            if (value := getattr(stage, key)) not in valid:
                yield (*path, key), f"{section}: there is no {key} {value}; {did_you_mean(value, valid)}"
        for key in ("neighbours", "restarts", "passes", "batch_size", "hidden", "output"):
            if (value := getattr(stage, key)) < 1:
                yield (*path, key), f"{section}.{key} must be positive, not {value}"
        if not 0 < stage.learning_rate < float("inf"):
            yield (*path, "learning_rate"), f"{section}.learning_rate must be positive, not {stage.learning_rate}"
        for key in ("epochs", "weight_decay", "clusters", "axes"):
            if not 0 <= (value := getattr(stage, key)) < float("inf"):
                yield (*path, key), f"{section}.{key} must be zero or more, not {value}"
        if stage.clusters == 1:
            yield (*path, "clusters"), f"{section}.clusters: one cluster says nothing, expected at least 2"


def _contradictions(recipe: PretrainRecipe) -> Iterator[Fault]:
    """What single values cannot tell: a ``[when.NAME]`` table holds only some of them."""
    for name in recipe.sequence:
        if name not in recipe.stages or recipe.sequence.count(name) > 1:
            yield (
                ("sequence",),
                f"sequence names {name}, expected each of these at most once: {', '.join(recipe.stages)}",
            )
            return
    for name, stage in recipe.stages.items():
        path = ("stages", name)
        if stage.initial == "kmeans" and stage.trains != "head":
            yield (*path, "initial"), 'initial = "kmeans" needs trains = "head"'
        kind = OBJECTIVES.get(recipe.objective_of(stage))
        if stage.restarts > 1 and kind is not None and not kind.comparable:
            yield (*path, "restarts"), f"restarts cannot be ranked by {kind.name}, whose loss is lowest in collapse"
        if stage.restarts > 1 and stage.initial == "previous" and stage.trains == "head":
            yield (
                (*path, "restarts"),
                'restarts from the same head would all be the same: they need another initial than "previous"',
            )
        if stage.epochs == 0 and stage.initial == "random":
            yield (*path, "epochs"), "epochs must be positive where nothing else makes the head, not 0"


def _objective_fault(path: tuple[str, ...], name: str) -> Iterator[Fault]:
    try:
        find_objective(name)
    except UsageError as error:
        yield path, f"{error.message}; {error.hint}"
