"""A pretraining of a second: recipes that together have every kind of stage and objective, and ways to run them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.data.views import Augmentation
from nesy_gedi.training.pretrain_recipe import (
    EncoderRecipe,
    PretrainData,
    PretrainRecipe,
    SamplerRecipe,
    StageRecipe,
)
from nesy_gedi.training.pretrained import make_perception
from nesy_gedi.training.pretraining import Pretrained, pretrain
from nesy_gedi.training.stages import Setting

IMAGES = 96
BATCH = 32
STEPS = IMAGES // BATCH
"""Of each epoch."""

FEATURES = StageRecipe(epochs=2, batch_size=BATCH, learning_rate=0.003, hidden=16, output=16, clusters=12)
CLUSTERS = StageRecipe(
    objective="gedi",
    trains="head",
    views="neighbours",
    neighbours=5,
    axes=6,
    restarts=2,
    epochs=2,
    batch_size=BATCH,
    learning_rate=0.03,
)
REFINE = StageRecipe(
    objective="gedi",
    views="neighbours",
    neighbours=5,
    initial="previous",
    pool=False,
    epochs=1,
    batch_size=BATCH,
    learning_rate=0.001,
)

CONSTANTS: dict[str, dict[str, Any]] = {
    "swav": {"queue": 40},
    "falcon": {"epsilon": 1e-3},
    "dino": {"ema": 0.9},
    "byol": {"ema": 0.9},
}
"""Of objectives that have more state with them, or that learn nothing in so few steps without."""

DIGITS = PretrainRecipe(
    seed=3,
    data=PretrainData("digits", limit=IMAGES),
    network=EncoderRecipe(features=0, width=4),
    stages={"features": FEATURES, "clusters": CLUSTERS},
)

POINTS = PretrainRecipe(
    objective="gedi",
    seed=3,
    data=PretrainData("moons", limit=IMAGES),
    network=EncoderRecipe(encoder="mlp", features=8, width=16),
    augmentation=Augmentation.for_points(0.05),
    sampler=SamplerRecipe(size=64, steps=2, step_size=0.1, noise=0.1),
    stages={
        "features": StageRecipe(
            epochs=2,
            batch_size=BATCH,
            learning_rate=0.01,
            restarts=2,
            constants={"generative": 0.5, "magnitude": 0.1},
        )
    },
)
"""Its generative term samples; two encoders are trained side by side."""


def with_objective(name: str, recipe: PretrainRecipe = DIGITS) -> PretrainRecipe:
    """The first stage of the recipe has that objective, with its constants."""
    first = next(iter(recipe.stages))
    stage = replace(recipe.stages[first], constants=CONSTANTS.get(name, {}))
    return replace(recipe, objective=name, stages={**recipe.stages, first: stage})


def with_stage(recipe: PretrainRecipe, name: str, **changes: Any) -> PretrainRecipe:
    """One stage of the recipe changed."""
    return replace(recipe, stages={**recipe.stages, name: replace(recipe.stages[name], **changes)})


def pretrain_small(out: Path | None, recipe: PretrainRecipe = DIGITS, **arguments: Any) -> Pretrained:
    return pretrain(recipe, out=out, **({"device": "cpu"} | arguments))


def constant_encoder() -> nn.Module:
    """An encoder that sees nothing: all images have the same features."""
    blind = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)).requires_grad_(False)
    nn.init.zeros_(blind[1].weight)
    return blind


def map_encoder() -> nn.Module:
    """An encoder that returns a feature map, (n, channels, height, width)."""
    return nn.Conv2d(1, 4, 3)


def make_setting(recipe: PretrainRecipe, images: ImageSplits, fabric: Fabric) -> Setting:
    """What stages need, with a new perception of as many clusters as classes."""
    chosen = ImageSplits(images.name, images.train.subset(torch.arange(recipe.data.limit)), images.test)
    classes = len(images.train.labels[recipe.data.attribute].classes)
    perception = make_perception(recipe, images.train.shape, chosen.train.images, classes, trusted=False)
    return Setting(recipe, perception, chosen, fabric)


def copies(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as they are now."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
