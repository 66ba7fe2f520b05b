"""Nothing in a step waits for the device: no value is read back before somebody must know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from small_cotraining import make_work as make_cotraining
from small_cotraining import of
from small_runs import SLIPPING, SMALL, addition, train_small, with_training
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nesy_gedi.data import ImageSplits
from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.training import loop, sums
from nesy_gedi.training.answers import AnswerWork
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.loop import Diverged, Listener, Work
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.processes import ALONE
from nesy_gedi.training.runs import RunFolder
from nesy_gedi.training.sums import Sums
from nesy_gedi.training.task import Task

READS = (
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "is_nonzero",
    "masked_select",
    "unique",
    "item",
    "_unique2",
    "bincount",
)
"""Operators whose result, or its size, the computer must know: on a GPU it waits for all that came before."""


class Unread(TorchDispatchMode):
    """Fails where a value is read back."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in READS:
            raise AssertionError(f"{name} waits for the device")
        if name in ("index", "index_put", "index_put_"):
            indices = [index for index in args[1] if index is not None]
            assert all(index.dtype != torch.bool for index in indices), "indexing by a mask waits for the device"
        return func(*args, **(kwargs or {}))


class UnreadByPython(TorchFunctionMode):
    """Fails where Python reads a value past all operators, or sends numbers of its own, which it waits for, too."""

    BANNED = ("tolist", "numpy", "item", "cpu", "tensor", "new_tensor", "as_tensor")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in self.BANNED:
            raise AssertionError(f"{func.__name__} waits for the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def unread() -> Iterator[None]:
    with UnreadByPython(), Unread():
        yield


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x[0].tolist(),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_the_watch_sees_what_waits(read: Callable[[Tensor], object]) -> None:
    with pytest.raises(AssertionError, match="waits for the device"), unread():
        read(torch.randn(4))


class Optimiser:
    """The optimiser's step is PyTorch's own: it waits for nothing on a GPU, where it is told to be capturable."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.stepped = 0

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        self.stepped += 1


def a_step(work: Work, fabric: Fabric) -> Mapping[str, float | Tensor]:
    optimiser = Optimiser(list(work.parameters()))
    found: Mapping[str, float | Tensor] = {}
    work.train()
    for watch in (False, True):  # the first makes what is made once
        rows = torch.arange(16)
        if watch:
            with unread():
                found = work.step(rows, optimiser, fabric, Clock(), 0.5)
        else:
            work.step(rows, optimiser, fabric, Clock(), 0.5)
    assert optimiser.stepped == 2
    assert all(isinstance(value, Tensor) and not value.requires_grad for value in found.values())
    assert any(parameter.grad is not None for parameter in optimiser.parameters)
    return found


def test_a_step_on_answers_reads_nothing(digits: ImageSplits, fabric: Fabric) -> None:
    """Neither with images that are labelled, nor with learned probabilities."""
    task = Task(addition(SLIPPING), SMALL)
    splits = task.queries(digits)
    networks = make_perceptions(task, digits.train.shape, digits.train.images)
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    labelled = {"digit_net": Labelled(digits.train.images[:3], torch.tensor([1, 2, 3]))}
    for some in ({}, labelled):
        a_step(AnswerWork(task, wrapped, splits, fabric.device, some), fabric)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_step_beside_an_objective_reads_nothing(name: str, digits: ImageSplits, fabric: Fabric) -> None:
    a_step(make_cotraining(of(name), digits, fabric), fabric)


# -- when losses are read ----------------------------------------------------------------------------------------------


@pytest.fixture
def lazily(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As on a GPU: losses are read when they must be; how many items were read each time."""
    read: list[int] = []

    class Lazy(Sums):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.waits = True

        def read(self) -> tuple[dict[str, float], int]:
            found = super().read()
            read.append(found[1])
            return found

    monkeypatch.setattr(loop, "Sums", Lazy)
    return read


def test_losses_are_read_at_the_end_of_an_epoch(
    tmp_path: Path, lazily: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "READ_SECONDS", 1e9)
    late = train_small(tmp_path / "late")
    assert lazily == [8, 32, 40, 40]  # the very first, so that there is something to show
    monkeypatch.setattr(sums, "READ_SECONDS", 0.0)
    each = train_small(tmp_path / "each")
    assert lazily[4:] == [8] * 15
    curves = [[line["train_loss"] for line in run.run.read_metrics()] for run in (late, each)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)


def test_what_diverges_unseen_is_seen_before_it_is_saved(
    tmp_path: Path, lazily: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "READ_SECONDS", 1e9)
    recipe = with_training(learning_rate=1e30)
    with pytest.raises(Diverged, match="the loss became nan in epoch 1"):
        train_small(tmp_path / "run", recipe)
    asked = iter([False, False, True])
    with pytest.raises(Diverged, match="the loss became nan in epoch 1"):  # not Interrupted, with all saved
        train_small(tmp_path / "run", recipe, force=True, stop=lambda: next(asked))
    assert not RunFolder(tmp_path / "run").checkpoints.has("last")


def test_progress_shows_what_was_read_last(tmp_path: Path, lazily: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "READ_SECONDS", 1e9)
    shown: list[float] = []

    class Losses(Listener):
        def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            shown.append(loss)

    run = train_small(tmp_path / "run", listener=Losses()).run
    assert len(set(shown[:4])) == 1
    assert min(shown) > 0
    assert [shown[4], shown[9], shown[14]] == [line["train_loss"] for line in run.read_metrics()]


def test_sums_of_tensors_and_numbers() -> None:
    found = Sums(ALONE, torch.device("cpu"))
    found.add({"loss": torch.tensor(2.0, requires_grad=True), "other": 1.0}, 3)
    found.add({"loss": torch.tensor(4.0), "other": 0.5}, 2)
    assert found.read() == ({"other": 4.0, "loss": 14.0}, 5)
    assert found.read() == ({}, 0)
