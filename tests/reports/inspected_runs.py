"""A finished run of MNIST-Half on small digits whose network has learned what the test wants, without waiting for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet
from nesy_gedi.logic.program import Program
from nesy_gedi.training.evaluation import measure
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.pretraining import pretrain
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.training import Trained, train

PROGRAM = """
nn(digit_net, [X], D, [0..4]) :: digit(X, D).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
HALF = Recipe(
    query="addition(X, Y, Sum)",
    method="answers",
    data=DataRecipe(train=60, validation=14, test=84, support=("0 0", "0 1", "2 3", "2 4"), any_order=True, outside=72),
    networks={"digit_net": NetworkRecipe(features=8, width=4)},
    training=TrainingRecipe(epochs=2),
)
SHORT_PRETRAINING = {
    "data.source": "digits",
    "data.limit": 120,
    "sequence": ["features", "clusters"],
    "network.width": 4,
    **{f"stages.{name}.{key}": 1 for name in ("features", "clusters") for key in ("epochs", "passes", "restarts")},
    **{f"stages.features.{key}": 16 for key in ("hidden", "output")},
    **{f"stages.{name}.batch_size": 60 for name in ("features", "clusters")},
}
SHORTCUT = (0, 1, 3, 2, 3)
"""Of the three maps that answer Half's training queries right."""


class Reader(nn.Module):
    """Reads images that it knows, each as its symbol is misread, more or less surely; now and then as something else.

    Args:
        images: whose symbols it knows.
        truth: these, (n,).
        reads: for each true symbol the one that it is read as.
        slips: every so many images one is read as the next symbol.
    """

    def __init__(self, images: Tensor, truth: Tensor, reads: tuple[int, ...], slips: int = 15) -> None:
        super().__init__()
        self.images = images.flatten(1).double()
        seen = torch.tensor(reads)[truth]
        number = torch.arange(len(seen))
        seen = torch.where(number % slips == slips - 1, (seen + 1) % len(reads), seen)
        logits = torch.full((len(seen), len(reads)), 0.0)
        logits[number, seen] = 1.5 + (number % 7)
        self.log_p = logits.log_softmax(1)

    def forward(self, images: Tensor) -> Tensor:
        nearest = torch.cdist(images.flatten(1).double(), self.images).argmin(1)
        return self.log_p[nearest]


def half(folder: Path) -> Trained:
    """A finished run; its network has learned next to nothing."""
    return train(Program(PROGRAM, name="half.pl"), HALF, device="cpu", out=folder)


def reading(trained: Trained, reads: tuple[int, ...]) -> Trained:
    """The same run with a network that misreads symbols, measured again."""
    images: ImageSet = trained.queries.images
    networks = nn.ModuleDict({"digit_net": Reader(images.images, trained.task.symbols("digit_net", images), reads)})
    metrics = measure(trained.task, networks, trained.queries, torch.device("cpu"))
    return replace(trained, networks=networks, document=trained.document | {"metrics": metrics})


def with_pretraining(folder: Path) -> None:
    """Give a run the pretraining that its network would have begun from."""
    pretrain(
        load_pretrain_recipe(None, overrides=SHORT_PRETRAINING), device="cpu", out=folder / "pretraining/digit_net"
    )
