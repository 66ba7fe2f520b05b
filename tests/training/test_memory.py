"""A device whose memory runs out: the batch is computed in pieces, and that is said."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from small_runs import SLIPPING, SMALL, addition, tensors, train_small
from torch import Tensor, nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import NesyGediWarning, RunError
from nesy_gedi.training import evaluation
from nesy_gedi.training.answers import train_step
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import measure, validate
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.memory import Pieces, in_batches_that_fit
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.recipe import NetworkRecipe
from nesy_gedi.training.task import Task


class Large(nn.Module):
    """An encoder without batch statistics, whose memory holds ``fits`` images while it learns, and ``measured`` else."""

    fits = 10**9
    measured = 10**9
    in_backward = False

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        out_of_memory = len(images) > (Large.fits if self.training else Large.measured)
        if out_of_memory and not (self.training and Large.in_backward):
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen: Tensor = self.linear(images.flatten(1))
        if out_of_memory:
            seen.register_hook(self._fail)
        return seen

    @staticmethod
    def _fail(_: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")


LARGE = replace(SMALL, networks={"digit_net": NetworkRecipe(encoder="test_memory:Large", head="none")})


@pytest.fixture(autouse=True)
def _enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fits", "measured", "in_backward"):
        monkeypatch.setattr(Large, name, getattr(Large, name))


def fits(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    # The encoder is made from an import of this file by its name, which may be another than pytest's.
    import test_memory

    for each in (Large, test_memory.Large):
        for name, value in limits.items():
            monkeypatch.setattr(each, name, value)


@pytest.mark.parametrize("in_backward", [False, True], ids=["forward", "backward"])
def test_a_step_in_pieces_is_the_step_of_the_whole(
    digits: ImageSplits, fabric: Fabric, monkeypatch: pytest.MonkeyPatch, in_backward: bool
) -> None:
    """With labelled images and learned probabilities; the learning rate sees one step."""
    task = Task(addition(SLIPPING), LARGE)
    splits = task.queries(digits)
    networks = make_perceptions(task, digits.train.shape, digits.train.images, trusted=["digit_net"])
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    parameters = [*wrapped.parameters(), *task.reasoner.parameters()]
    labelled = {"digit_net": Labelled(digits.train.images[:5], torch.arange(5))}
    optimizer = fabric.setup_optimizers(torch.optim.SGD(parameters, lr=0.0))

    def step(pieces: Pieces) -> tuple[float, list[Tensor]]:
        arguments = (task, wrapped, splits.train, torch.arange(27), optimizer, fabric, Clock(), labelled)
        wrapped.train()
        loss = float(train_step(*arguments, pieces=pieces))
        return loss, [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]

    whole, gradients = step(Pieces("queries", "training.batch_size"))
    fits(monkeypatch, fits=20, in_backward=in_backward)
    pieces = Pieces("queries", "training.batch_size")
    with pytest.warns(NesyGediWarning) as told:
        loss, found = step(pieces)
    assert [str(each.message).count("training.batch_size") for each in told] == [1, 1]  # 59, 30, 16 images at once
    assert "batches of 27 queries are computed in 2 pieces" in str(told[0].message)
    assert "in 4 pieces" in str(told[1].message)
    assert loss == pytest.approx(whole, rel=1e-5)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what has been found out is not tried again
        step(pieces)


def test_a_run_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_small(tmp_path / "whole", LARGE)
    fits(monkeypatch, fits=9, measured=20)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 16)
    with pytest.warns(NesyGediWarning) as told:
        pieces = train_small(tmp_path / "pieces", LARGE)
    messages = [str(each.message) for each in told]
    assert sum("are computed in" in message for message in messages) == 1
    assert any("8 queries are measured at once in place of 16" in message for message in messages)
    one, other = tensors(whole.run, "last"), tensors(pieces.run, "last")
    for name in one:
        if name.startswith("model."):
            torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)
    assert pieces.document["metrics"]["answer_accuracy"] == whole.document["metrics"]["answer_accuracy"]


def test_too_little_for_one_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, fits=1)
    with (
        pytest.warns(NesyGediWarning),
        pytest.raises(RunError, match="the memory of the device is too small for 1 queries at once") as caught,
    ):
        train_small(tmp_path / "run", LARGE)
    assert caught.value.where == "training.batch_size"
    assert not (tmp_path / "run").exists()


def test_measuring_in_smaller_batches_finds_the_same(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(addition(), LARGE)
    queries = task.queries(digits).test
    networks = make_perceptions(task, digits.train.shape, digits.train.images, trusted=["digit_net"])
    cpu = torch.device("cpu")
    whole = validate(task, networks, queries, cpu), measure(task, networks, queries, cpu)
    fits(monkeypatch, measured=7)
    with pytest.warns(NesyGediWarning, match="queries are measured at once"):
        pieces = validate(task, networks, queries, cpu), measure(task, networks, queries, cpu)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-5)
    assert pieces[1]["networks"]["digit_net"]["confusion"] == whole[1]["networks"]["digit_net"]["confusion"]
    fits(monkeypatch, measured=1)
    with pytest.warns(NesyGediWarning), pytest.raises(RunError, match="too small for one query"):
        validate(task, networks, queries, cpu)


def test_rows_come_in_order_and_none_twice() -> None:
    def compute(rows: Tensor) -> int:
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        return len(rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(in_batches_that_fit(10, 8, compute))
    assert torch.cat([rows for rows, _ in found]).tolist() == list(range(10))
    assert [size for _, size in found] == [2, 2, 2, 2, 2]
    assert list(in_batches_that_fit(0, 8, compute)) == []
