"""Recipes: what to train, on which data and how. TOML in, frozen dataclasses out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nesy_gedi.data.decoding import ReadOptions, shape_fault
from nesy_gedi.data.views import Augmentation
from nesy_gedi.errors import RecipeError, UsageError, did_you_mean
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.engines import DEFAULT, find_engine
from nesy_gedi.objectives import find_objective
from nesy_gedi.training.recipe_files import SEEDS, Constant, Fault, default_hint, read_recipe

METHODS = ("auto", "answers", "cotraining", "clusters", "assignment")
"""How networks learn; see :class:`Recipe`."""

FROM_CLUSTERS = ("clusters", "assignment")
"""The methods that begin with clusters."""

COTRAINED = ("cotraining", "clusters")
"""The methods with an objective beside the answers."""

SECTIONS = {"answers": "training", **dict.fromkeys(COTRAINED, "cotraining")}
"""Method -> the table with its epochs; an assignment trains nothing after it."""

VIEWS = ("augmentation", "neighbours")
POOLS = ("all", "unlabelled", "queries")
PRIORS = ("uniform", "program", "estimated")

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "rise": lambda progress: progress,
    "fall": lambda progress: 1.0 - progress,
}
"""The share of an objective's weight after a share of all steps, by name."""


@dataclass(frozen=True)
class DataRecipe:
    """Images and queries.

    Attributes:
        source: name of a data set, or the path of a folder of images, of a ``.npz`` file or of a table; relative to the
            current folder.
        train: labelled queries; 0 for as many as use no training image twice.
        validation: queries held out of the training images; 0 for a tenth of those images.
        test: queries over the test images; 0 for as many as use no test image twice.
        support: the tuples of true symbols that these queries are restricted to and balanced over, each as
            ``"SYMBOL SYMBOL"``: slot by slot, for each the networks that read it; empty for all.
        any_order: each tuple stands for all orders of its images.
        outside: test queries over all other tuples; 0 for as many of each as of each in the support.
        image_shape, skip_unreadable: how files are read, as in :class:`~nesy_gedi.data.ReadOptions`.
        truth: the probabilities of the program's ``t(_)`` with which answers are drawn: a text for each clause that has
            some, in the program's order, with a number for each, ``"0.1 0.7 0.2"``; empty for those of the program,
            from which training begins.
    """

    source: str = "digits"
    train: int = 0
    validation: int = 0
    test: int = 0
    support: tuple[str, ...] = ()
    any_order: bool = False
    outside: int = 0
    image_shape: tuple[int, ...] = ()
    skip_unreadable: bool = False
    truth: tuple[str, ...] = ()

    def options(self) -> ReadOptions:
        """How files are read."""
        return ReadOptions(self.image_shape, self.skip_unreadable)


@dataclass(frozen=True)
class NetworkRecipe:
    """One network of the program.

    Attributes:
        attribute: which attribute of the data it perceives; empty where no image is labelled for it.
        classes: for every class of the attribute the symbol it stands for; empty where names and symbols agree.
        encoder: ``conv``, ``mlp``, ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``; or the folder of a
            pretraining, an exported encoder's FILE.safetensors or its folder, which stand for that encoder with its
            weights.
        head: ``linear``; ``clusters`` for that of the pretraining, where cluster k is the domain's symbol k;
            ``prototypes`` for one that begins as the nearest-prototype classifier of the labelled images; ``none`` where
            the encoder's output is as wide as the domain.
        features: size of the bundled encoders' output; 0 for the feature map of ``conv`` as it is.
        width: channels of the first stage of ``conv``, units of ``mlp``; 0 chooses.
        normalisation: inside ``conv``: ``batch`` or ``none``.
        weights: folder of the pretraining that the first weights come from.
        weights_file: safetensors file that the encoder's first weights come from.
        partial: whether that file may hold some of its weights, or others beside them.
        input_shape: ``[channels, height, width]`` that the encoder takes, where the data has others: images are resized,
            and grey repeated to colour. Empty for the data's, or what a model of torchvision or timm was made for.
        rate: learning rate of the encoder, as a share of the rest's; 0 freezes it.
        output: what the network returns: ``logits``, ``log_probabilities`` or ``probabilities``.
        observed: there is no network and no image: the value is given with each query (target digits, say).
        clusters: of a network that begins as clusters; 0 for as many as its pretraining says, by default as many as
            classes. Of more than symbols, each stands for a symbol.
        prior: how frequent each symbol is in the pool, where that is known; decides over ``cotraining.prior``.
        labels: images whose symbol is told, each as ``SYMBOL=COUNT``, so many of the training images drawn at random,
            or ``SYMBOL=FILE``, an image file.
    """

    attribute: str = "class"
    classes: tuple[str, ...] = ()
    encoder: str = "conv"
    head: str = "linear"
    features: int = 128
    width: int = 0
    normalisation: str = "batch"
    weights: str = ""
    weights_file: str = ""
    partial: bool = False
    input_shape: tuple[int, ...] = ()
    rate: float = 1.0
    output: str = "logits"
    observed: bool = False
    clusters: int = 0
    prior: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingRecipe:
    """Optimisation: Adam with a cosine schedule from ``learning_rate`` to zero.

    Attributes:
        epochs: passes over the training queries.
        batch_size: queries a step.
        learning_rate: at the first step.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        precision: Lightning Fabric's name: ``32-true``, ``bf16-mixed``, ``16-mixed`` ... for the networks; the logic
            computes in float32 or better.
        augmentation: of the images of queries, and of labelled ones, in the steps of the method ``answers``: another view
            each time that an image is shown. None by default; co-training has its own.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.002
    weight_decay: float = 0.0
    precision: str = "32-true"
    augmentation: Augmentation = field(default_factory=Augmentation.none)


@dataclass(frozen=True)
class PretrainingRecipe:
    """Clusters that are learned from images alone, and the search for the symbol that each stands for.

    Attributes:
        recipe: file of a pretraining recipe; the default of ``nesy-gedi pretrain`` where empty.
        overrides: dotted keys of that recipe and their values.
        attempts: pretrainings at most. A further one is made where the answers are unlikely under the best assignment;
            that with the likeliest answers is kept.
        answers: observed answers that an assignment looks at, at most; fewer of many images each.
        ask: further answers at most that are asked for where these leave the assignment open; each is that of the query
            which tells most, and a training query from then on.
        seconds: that an assignment may take.
    """

    recipe: str = ""
    overrides: Mapping[str, Constant] = field(default_factory=dict)
    attempts: int = 2
    answers: int = 2000
    ask: int = 0
    seconds: float = 20.0


@dataclass(frozen=True)
class CotrainingRecipe:
    """A self-supervised objective beside the likelihood of the answers, on a pool of images whose answers need not be
    known. Adam with a cosine schedule, like :class:`TrainingRecipe`.

    Attributes:
        objective: its name; empty for ``gedi`` where the method needs one. GEDI's clusters are the symbols themselves;
            other objectives get heads of their own on the network's features.
        weight: of the objective; the answers' is one.
        reconstruction: weight of the pool's images being reconstructed from symbols alone, in the share of their variance
            that is left unexplained; 0 is none. It may stand alone, with an objective of weight 0.
        schedule: of ``weight``: ``constant``, or ``rise`` from or ``fall`` to zero.
        pool: ``all`` training images of the domains, ``queries`` or ``unlabelled``: those in queries or the others.
        views: two ``augmentation`` views of each image, the second of one of its ``neighbours``; ``auto`` takes
            neighbours where features have been pretrained.
        neighbours: of each image, one of which is the second view.
        prior: how frequent symbols are for GEDI: ``uniform``, ``program`` (as the answers suggest where nothing else is
            known), or ``estimated`` (the frequencies under which the answers are most likely).
        epochs: 0 for more of them where a step does not hold all queries.
        steps: in each epoch.
        batch_size: images of the pool a step.
        queries: a step, or all where there are fewer.
        learning_rate: at the first step; 0 for one that is higher where features have been pretrained.
        hidden, output: of other objectives' heads, as for a pretraining's stage.
        constants: of the objective, by name.
        augmentation: of the views, and of the images of the queries.
    """

    objective: str = ""
    weight: float = 1.0
    reconstruction: float = 0.0
    schedule: str = "constant"
    pool: str = "all"
    views: str = "auto"
    neighbours: int = 10
    prior: str = "uniform"
    epochs: int = 0
    steps: int = 200
    batch_size: int = 256
    queries: int = 128
    learning_rate: float = 0.0
    hidden: int = 512
    output: int = 128
    constants: Mapping[str, Constant] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class EnsembleRecipe:
    """Networks of several members each, trained on answers to disagree about what these leave open; see
    :mod:`nesy_gedi.training.ensembles`.

    Attributes:
        members: of each network; 1 is no ensemble.
        disagreement: weight of how far each member is from the average of all, which is maximised; the answers' is one.
        entropy: weight of how unsure each member is for itself, which is maximised.
    """

    members: int = 1
    disagreement: float = 1.0
    entropy: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, apart from the program's text and the machine.

    Attributes:
        method: how networks learn. ``answers``: from answers alone. ``cotraining``: an objective beside them.
            ``clusters``: pretrained without labels, each cluster assigned to a symbol by the answers, then co-trained.
            ``assignment``: the same without what follows the assignment. ``auto``: ``clusters`` where answers are few.
        query: the query form.
        slots: which of its variables are network inputs; found from the program when empty.
        seed: initial weights, validation split, training queries and their order. Test queries never depend on it.
        engine: what evaluates the circuit; see :mod:`nesy_gedi.logic.engines`.
        limits: of grounding and compiling the query form.
    """

    query: str = ""
    slots: tuple[str, ...] = ()
    seed: int = 0
    method: str = "auto"
    data: DataRecipe = field(default_factory=DataRecipe)
    networks: Mapping[str, NetworkRecipe] = field(default_factory=dict)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    pretraining: PretrainingRecipe = field(default_factory=PretrainingRecipe)
    cotraining: CotrainingRecipe = field(default_factory=CotrainingRecipe)
    ensemble: EnsembleRecipe = field(default_factory=EnsembleRecipe)
    engine: str = DEFAULT
    limits: Budget = field(default_factory=Budget)


POSITIVE = {
    *("training.epochs", "training.batch_size", "training.learning_rate"),
    *("pretraining.attempts", "pretraining.answers", "pretraining.seconds"),
    *("cotraining.neighbours", "cotraining.steps", "cotraining.batch_size"),
    *("cotraining.queries", "cotraining.hidden", "cotraining.output"),
    *("ensemble.members", "limits.nodes", "limits.seconds", "limits.gigabytes"),
}
NOT_NEGATIVE = {
    *("seed", "data.train", "data.validation", "data.test", "data.outside"),
    *("training.weight_decay", "pretraining.ask", "cotraining.weight", "cotraining.reconstruction"),
    *("cotraining.epochs", "cotraining.learning_rate"),
    *("ensemble.disagreement", "ensemble.entropy"),
}
CHOICES = {
    "method": METHODS,
    "cotraining.views": ("auto", *VIEWS),
    "cotraining.pool": POOLS,
    "cotraining.schedule": tuple(SCHEDULES),
    "cotraining.prior": PRIORS,
}


def load_recipe(
    path: str | Path | None, *, source: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe file, take its ``[when.SOURCE]`` tables for the data in use, then apply ``overrides``.

    Args:
        path: the TOML file; None for a recipe of defaults.
        source: replaces ``data.source``.
        overrides: dotted keys and values, ``{"training.epochs": 5}``; they win over everything.

    Raises:
        RecipeError: as :func:`~nesy_gedi.training.recipe_files.read_recipe`.
    """
    overrides = dict(overrides or {})
    if source is not None:
        overrides["data.source"] = source
    return read_recipe(
        Recipe,
        path,
        faults=_impossible,
        conditions=lambda recipe: {recipe.data.source},
        overrides=overrides,
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse values that cannot be, in a recipe made by hand; :func:`load_recipe` does so itself.

    Raises:
        RecipeError: an impossible value.
    """
    for path, message in _impossible(recipe):
        raise RecipeError(message, where=".".join(path), hint=default_hint(Recipe, path))


def _impossible(recipe: Recipe) -> Iterator[Fault]:
    """The keys whose value cannot be, each with what is wrong."""
    for keys, above_zero, expected in ((POSITIVE, True, "positive"), (NOT_NEGATIVE, False, "zero or more")):
        for key in sorted(keys):
            path = tuple(key.split("."))
            value = _value(recipe, path)
            if not 0 <= value < float("inf") or (above_zero and value == 0):
                yield path, f"{key} must be {expected}, not {value}"
    if fault := shape_fault(recipe.data.image_shape):
        yield ("data", "image_shape"), f"data.image_shape {fault}"
    if recipe.seed >= SEEDS:
        yield ("seed",), f"seed must be less than {SEEDS}, not {recipe.seed}"
    for key, valid in CHOICES.items():
        path = tuple(key.split("."))
        if (value := _value(recipe, path)) not in valid:
            yield path, f"{key} cannot be {value}; {did_you_mean(value, valid)}"
    named: list[tuple[tuple[str, ...], Callable[[str], object], str]] = [(("engine",), find_engine, recipe.engine)]
    if recipe.cotraining.objective:
        named.append((("cotraining", "objective"), find_objective, recipe.cotraining.objective))
    for path, find, name in named:
        try:
            find(name)
        except UsageError as error:
            yield path, f"{error.message}; {error.hint}"
    for name, network in recipe.networks.items():
        for key in ("features", "width", "clusters"):
            if (value := getattr(network, key)) < 0:
                path = ("networks", name, key)
                yield path, f"{'.'.join(path)} must be zero or more, not {value}"
        yield from encoder_faults(network, ("networks", name))


def encoder_faults(what: Any, path: tuple[str, ...]) -> Iterator[Fault]:
    """What cannot be of a rate and an input shape, in either kind of recipe."""
    if not 0.0 <= what.rate < float("inf"):
        yield (*path, "rate"), f"{'.'.join(path)}.rate must be zero (frozen) or more, not {what.rate}"
    shape = tuple(what.input_shape)
    if shape and (len(shape) not in (1, 2, 3) or min(shape) < 1):
        where = ".".join(path)
        yield (*path, "input_shape"), f"{where}.input_shape must be [channels, height, width], not {list(shape)}"


def _value(recipe: Recipe, path: tuple[str, ...]) -> Any:
    value: Any = recipe
    for part in path:
        value = getattr(value, part)
    return value
