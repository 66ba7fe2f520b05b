"""A finished run of MNIST-Half on small digits whose network has learned what the test wants, without waiting for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def assignment(**changes: Any) -> dict[str, Any]:
    """What ``assignment.json`` holds of seven clusters, of which two are 3, none is surely 2, and one is hardly seen."""
    rows = {0: {0: 1.0}, 1: {1: 1.0}, 2: {3: 0.6, 2: 0.4}, 3: {2: 0.6, 3: 0.4}, 4: {3: 1.0}, 5: {4: 1.0}}
    posterior = [[rows.get(k, {}).get(symbol, 0.0 if k in rows else 0.2) for symbol in range(5)] for k in range(7)]
    network = {
        "clusters": 7,
        "map": ["0", "1", "3", "2", "3", "4", "0"],
        "runner_up": ["0", "1", "2", "3", "3", "4", "0"],
        "posterior": posterior,
        "domain": ["0", "1", "2", "3", "4"],
        "uninformed": [6],
    }
    return {
        "version": 1,
        "networks": {"digit_net": network},
        "log_likelihood": -12.5,
        "runner_up_log_likelihood": -12.5 - math.log(1.5),
        "gap": math.log(1.5),
        "exact": True,
        "near_ties": 2,
        "more_near_ties": False,
        "labels_to_ask": [{"network": "digit_net", "cluster": 2, "symbols": ["3", "2"], "typical": list(range(8))}],
        "sentences": [
            "60 answers do not settle what every cluster is: 2 assignments fit about equally well.",
            "The other one: cluster 2 is 2 instead of 3, cluster 3 is 3 instead of 2.",
            "One label settles it: that of an image of cluster 2 of digit_net: is it 3 or 2?",
        ],
        "alternatives": ["The other one: cluster 2 is 2 instead of 3, cluster 3 is 3 instead of 2."],
        "answers": 60,
        "labels": 0,
        "seconds": 0.5,
        "pretraining": {"digit_net": "pretraining/digit_net"},
    } | changes


def write_assignment(folder: Path, content: Any) -> None:
    (folder / "assignment.json").write_text(json.dumps(content), encoding="utf-8")
