"""The networks of a task: weights by seed, faults by name, other people's Python by permission."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, addition
from torch import Tensor

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import DistributionError, NesyGediError, UsageError
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.recipe import NetworkRecipe
from nesy_gedi.training.task import Task

SHAPE = (1, 8, 8)


def addition_task(**recipe: object) -> Task:
    return Task(addition(), replace(SMALL, **recipe))  # type: ignore[arg-type]


def weights(task: Task, images: Tensor | None = None) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in make_perceptions(task, SHAPE, images).state_dict().items()}


def test_the_seed_decides_the_weights() -> None:
    one, again, other = (weights(addition_task(seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_networks_are_ready_to_train(digits: ImageSplits) -> None:
    task = addition_task()
    networks = make_perceptions(task, SHAPE, digits.train.images)
    assert networks.training
    assert list(networks) == ["digit_net"]
    assert networks["digit_net"].domain == tuple("0123456789")
    assert float(networks["digit_net"].mean) == pytest.approx(float(digits.train.images.float().mean()) / 255)


@pytest.fixture
def own_module(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (workplace / "own_networks.py").write_text(
        "import torch\n"
        "def flat(): return torch.nn.Flatten()\n"
        "def raw(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "class Fails(torch.nn.Module):\n"
        "    def forward(self, images): raise ValueError('not today')\n"
        "def fails(): return Fails()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(workplace)
    return "own_networks"


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (NetworkRecipe(encoder="own_networks:flat", head="none"), DistributionError, "its domain has 10 symbols"),
        (NetworkRecipe(encoder="own_networks:raw", head="none", output="probabilities"), DistributionError, "a row"),
        (NetworkRecipe(encoder="own_networks:fails", head="none"), UsageError, "not today"),
        (NetworkRecipe(encoder="own_networks:fails"), UsageError, "not today"),
        (NetworkRecipe(head="tail"), UsageError, "there is no head tail"),
        (NetworkRecipe(output="scores"), UsageError, "a network cannot return scores"),
    ],
)
def test_networks_that_cannot_be_made(
    own_module: str, network: NetworkRecipe, error: type[NesyGediError], message: str
) -> None:
    task = addition_task(networks={"digit_net": network})
    with pytest.raises(error, match=message) as caught:
        make_perceptions(task, SHAPE, trusted=["digit_net"])
    assert caught.value.where == "network digit_net"


def test_python_needs_trust(own_module: str) -> None:
    task = addition_task(networks={"digit_net": NetworkRecipe(encoder="own_networks:raw", head="none")})
    with pytest.raises(UsageError, match="the recipe names Python code"):
        make_perceptions(task, SHAPE)
    assert make_perceptions(task, SHAPE, trusted=["digit_net"])["digit_net"](torch.zeros(2, *SHAPE)).shape == (2, 10)
