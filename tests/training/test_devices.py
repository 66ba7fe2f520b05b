"""Devices and precision: what is there is taken, what is missing is an error."""

from __future__ import annotations

import pytest
import torch

from nesy_gedi.errors import UsageError
from nesy_gedi.training.devices import PRECISIONS, choose_device, make_fabric


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "chosen"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, True, "auto", "cuda:0"),
        (2, True, "cpu", "cpu"),
        (2, True, "mps", "mps"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
    ],
)
def test_choose(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, name: str, chosen: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device(name) == chosen


@pytest.mark.parametrize(
    ("cuda", "name", "message"),
    [
        (0, "cuda", "there is no cuda: 0 CUDA devices found"),
        (2, "cuda:2", "there is no cuda:2: 2 CUDA devices found"),
        (2, "mps", "there is no mps device here"),
        (2, "cuda:", "unknown device cuda:"),
        (2, "cuda:x", "unknown device cuda:x"),
        (2, "gpu", "unknown device gpu"),
        (2, "", "unknown device "),
    ],
)
def test_missing_or_unknown(monkeypatch: pytest.MonkeyPatch, cuda: int, name: str, message: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=False)
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert (caught.value.where, caught.value.message) == ("--device", message)
    assert caught.value.hint


def test_fabric_is_on_the_device() -> None:
    assert make_fabric("cpu", "32-true").device == torch.device("cpu")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_compute_and_give_float32_or_better(precision: str) -> None:
    fabric = make_fabric("cpu", precision)
    layer = fabric.setup_module(torch.nn.Linear(3, 2))
    # What circuits then compute in.
    assert layer(torch.ones(1, 3)).dtype == (torch.float64 if precision == "64-true" else torch.float32)


@pytest.mark.parametrize("precision", ["8-bit", "", "bitsandbytes"])
def test_unknown_precision(precision: str) -> None:
    with pytest.raises(UsageError, match=f"cannot compute with precision {precision}") as caught:
        make_fabric("cpu", precision)
    assert caught.value.where == "training.precision"
    assert "bf16-mixed" in str(caught.value.hint)
