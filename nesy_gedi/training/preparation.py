"""Before a pretraining: its images, its perception, and whatever can be refused before it has trained for long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet, ImageSplits, Labels, load_images
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import DataError, RecipeError, UsageError, did_you_mean
from nesy_gedi.networks.perception import EncoderError, Perception, check_finite
from nesy_gedi.training.adoption import adopt_exported
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.devices import choose_device, make_fabric
from nesy_gedi.training.encoder_stage import EncoderStage
from nesy_gedi.training.head_stage import HeadStage
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, StageRecipe, check_pretrain_recipe
from nesy_gedi.training.pretrained import make_perception, naming
from nesy_gedi.training.recipe_files import write_recipe
from nesy_gedi.training.runs import VERSION
from nesy_gedi.training.stages import PROBE, Setting, Stage, encode, labels_of, own_random_numbers

FEW = 1000
"""Images that a dry run looks at, but for the few more that make whole batches."""


def find_images(
    recipe: PretrainRecipe, folder: Path | None, download: bool, images: ImageSplits | None = None
) -> ImageSplits:
    """The images that a recipe names, as many as it names; of these where they are at hand. Nobody need have labelled them.

    Raises:
        UsageError: an unknown data set or attribute, or more images than there are.
        DataError: images that are missing, or of a single class.
    """
    found = images or load_images(recipe.data.source, data_dir=folder, download=download, options=recipe.data.options())
    attribute, limit = recipe.data.attribute, recipe.data.limit
    if found.train.others:
        raise DataError(
            f"{found.name} has inputs of several kinds, which make no one set to learn from",
            hint="give data whose inputs have the same shape",
        )
    if found.train.labels and attribute and attribute not in found.train.labels:
        raise RecipeError(
            f"{recipe.data.source} has no attribute {attribute}",
            where="data.attribute",
            hint=did_you_mean(attribute, found.train.labels),
        )
    if labels_of(found.train, attribute) is not None:
        count_classes(found, attribute)
    else:
        last, stage = list(recipe.active_stages().items())[-1]
        if recipe.data.classes:
            raise RecipeError(
                "no image is labelled, so that none can be chosen by its class",
                where="data.classes",
                hint="leave it out",
            )
        if not stage.clusters:
            raise RecipeError(
                "no image is labelled, so that nothing says how many clusters to look for",
                where=f"stages.{last}.clusters",
                hint=f"say it: --set stages.{last}.clusters=10",
            )
    if recipe.data.classes:
        found = ImageSplits(found.name, _only(recipe, found.train), _only(recipe, found.test))
    if limit > len(found.train):
        raise RecipeError(
            f"{recipe.data.source} has {len(found.train)} training images, not {limit}", where="data.limit"
        )
    return ImageSplits(found.name, found.train.sample(limit, recipe.seed), found.test) if limit else found


def count_classes(images: ImageSplits, attribute: str) -> int:
    """How many classes of an attribute there are.

    Raises:
        DataError: a single one.
    """
    if labels_of(images.train, attribute) is None:
        raise DataError(
            f"no image of {images.name} is labelled: there is nothing to compare with",
            hint="use data with labels, such as a folder of images for each class",
        )
    classes = len(images.train.labels[attribute].classes)
    if classes < 2:
        raise DataError(
            f"{images.name} has one class of {attribute}: there is nothing to tell apart",
            hint="use data with two classes or more",
        )
    return classes


def _only(recipe: PretrainRecipe, images: ImageSet) -> ImageSet:
    """The images of the classes that the recipe names, which are then all classes that there are."""
    attribute, wanted = recipe.data.attribute, recipe.data.classes
    labels = images.labels[attribute]
    for name in wanted:
        if name not in labels.classes:
            hint = did_you_mean(name, labels.classes)
            raise RecipeError(f"{name} is no class of {attribute}", where="data.classes", hint=hint)
        if wanted.count(name) > 1:
            raise RecipeError(f"{name} is named twice", where="data.classes", hint="name it once")
    if len(wanted) < 2:
        raise RecipeError("one class leaves nothing to tell apart", where="data.classes", hint="name two or more")
    number = torch.tensor([wanted.index(name) if name in wanted else -1 for name in labels.classes])
    wanted_index = number[labels.index.clamp_min(0)].masked_fill(labels.index == UNKNOWN, -1)
    chosen = images.subset((wanted_index >= 0).nonzero()[:, 0])
    told = Labels(wanted, number[chosen.labels[attribute].index])
    return ImageSet(chosen.images, {**chosen.labels, attribute: told})


def prepare(recipe: PretrainRecipe, images: ImageSplits, device: str, trusted: bool, *, load: bool = True) -> Setting:
    """What all stages share, with a new perception, after everything has been tried that can be tried early.

    Args:
        device: from :func:`~nesy_gedi.training.devices.choose_device`.
        trusted: whether the encoder may import Python.
        load: give it the weights of its file, where it has one.

    Raises:
        UsageError: a precision, an encoder or a stage that cannot be.
        EncoderError: an encoder whose features of the images are not finite.
    """
    try:
        fabric = make_fabric(device, recipe.precision)
    except UsageError as error:  # the key of another kind of recipe is not this one's
        raise UsageError(error.message, where="precision", hint=error.hint) from error
    train = images.train
    perception = make_perception(recipe, train.shape, train.images, _clusters(recipe, images), trusted, load=load)
    setting = Setting(recipe, perception.to(fabric.device), images, fabric)
    for name, settings in recipe.active_stages().items():
        kind_of(settings).make_objective(setting, name)
    batch = next(iter(recipe.active_stages().values())).batch_size
    some = train.sample(PROBE, recipe.seed).images.to(fabric.device)
    check_encoder(perception, some, recipe.network.encoder, batch=batch)
    return setting


def kind_of(settings: StageRecipe) -> type[Stage]:
    """What goes through a stage of the recipe."""
    return HeadStage if settings.trains == "head" else EncoderStage


def check_encoder(perception: Perception, images: Tensor, encoder: str, *, batch: int = 0) -> None:
    """Try a new encoder on real images; afterwards it and the random numbers are as before.

    Args:
        perception: with a linear head.
        images: (n, ...), on the perception's device.
        encoder: its name in messages.
        batch: images that it is tried with in training mode too; 0 for none.

    Raises:
        UsageError: it raises an exception, or does not return features (batch, d) float with the d of its head.
        EncoderError: features that are not finite.
    """
    was_training = perception.training
    before = {name: buffer.clone() for name, buffer in perception.named_buffers()}
    with own_random_numbers(0, images.device), naming(encoder):
        try:
            found = [encode(perception, images)]
            if batch:
                with torch.no_grad():  # what an encoder returns of a batch while it learns may differ
                    found.append(perception.train().features(images[:batch]))
        except EncoderError as error:
            raise UsageError(error.message, hint=error.hint) from error
        finally:
            perception.train(was_training)
            for name, buffer in perception.named_buffers():
                if name in before and before[name].shape == buffer.shape:
                    buffer.copy_(before[name])
        for features in found:
            check_finite(features)
            width = cast("nn.Linear", perception.head).in_features
            if features.shape[1] != width:
                raise UsageError(
                    f"the encoder returns {features.shape[1]} features an image, but {width} of black images",
                    hint="let it return as many of any image, in training as in evaluation",
                )


def dry_run(
    recipe: PretrainRecipe,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    trusted: bool = False,
) -> dict[str, Any]:
    """Do everything that pretraining does up to one batch of each stage, on few of the images; write nothing.

    Args:
        data_dir, download, device, trusted: as :func:`~nesy_gedi.training.pretraining.pretrain`.

    Returns:
        Sizes of the data, the network and the stages, the loss of each stage's first batch, and the effective recipe as
        TOML.

    Raises:
        NesyGediError: as training would, where it shows so early.
    """
    recipe = replace(recipe, network=adopt_exported(recipe.network, "network"))
    check_pretrain_recipe(recipe)
    chosen = choose_device(device)
    images = find_images(recipe, Path(data_dir) if data_dir is not None else None, download)
    setting = prepare(recipe, images, chosen, trusted)
    stages: dict[str, Any] = {}
    before: Stage | None = None
    with naming(recipe.network.encoder):
        for number, (name, settings) in enumerate(recipe.active_stages().items()):
            stage = kind_of(settings)(_with_few(setting, settings), name, number, 0)
            stage.begin(before)
            stages[name] = {
                "objective": stage.objective.name,
                "trains": settings.trains,
                "epochs": settings.epochs,
                "steps": -(-len(images.train) * settings.passes // settings.batch_size),
                "batch_size": min(settings.batch_size, len(images.train)),
                "clusters": stage.objective.clusters,
                "parameters": sum(parameter.numel() for parameter in stage.parameters()),
                "first_loss": _first_loss(stage),
            }
            stage.finish()
            setting.perception.float()
            before = stage
    return {
        "version": VERSION,
        **facts(setting),
        "image_shape": list(images.train.shape),
        "clusters": len(setting.perception.domain),
        "parameters": sum(parameter.numel() for parameter in setting.perception.encoder.parameters()),
        "stages": stages,
        "recipe": write_recipe(recipe),
    }


def facts(setting: Setting) -> dict[str, Any]:
    """What a listener is told before the first step."""
    recipe = setting.recipe
    return {
        "device": str(setting.device),
        "objective": recipe.objective,
        "data": recipe.data.source,
        "train": len(setting.images.train),
        "test": len(setting.images.test),
        "stages": {
            name: f"{recipe.objective_of(stage)}, {stage.epochs} epochs"
            for name, stage in recipe.active_stages().items()
        },
        "epochs": sum(stage.epochs for stage in recipe.active_stages().values()),
    }


def _clusters(recipe: PretrainRecipe, images: ImageSplits) -> int:
    """Size of the final perception's domain: the clusters of the last stage."""
    last = list(recipe.active_stages().values())[-1]
    return last.clusters or len(images.train.labels[recipe.data.attribute].classes)


def _with_few(setting: Setting, settings: StageRecipe) -> Setting:
    """The same with as few images as the stage can do with, in whole batches."""
    least = max(FEW, settings.neighbours + 1, settings.clusters)
    count = -(-least // settings.batch_size) * settings.batch_size
    train = setting.images.train.sample(count, setting.recipe.seed)
    return replace(setting, images=replace(setting.images, train=train))


def _first_loss(stage: Stage) -> float | None:
    """The loss of a stage's first batch, which changes no weight; None where nothing is trained."""
    if not stage.settings.epochs:
        return None
    fabric = stage.setting.fabric
    optimizer = fabric.setup_optimizers(torch.optim.SGD(stage.parameters(), lr=0.0))
    stage.train()
    rows = torch.arange(min(stage.settings.batch_size, len(stage.inputs)))
    return float(stage.step(rows, optimizer, fabric, Clock(fabric.device), 0.0)["loss"])
