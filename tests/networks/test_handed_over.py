"""Encoders that Python hands over as objects."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import ConvEncoder, make_encoder
from nesy_gedi.networks.handed_over import giving, name_given


def make_flat() -> nn.Module:
    return nn.Flatten()


def test_what_can_be_imported_is_named_by_its_place() -> None:
    assert name_given("net", make_flat) == f"{__name__}:make_flat"
    assert name_given("net", nn.Flatten) == "torch.nn.modules.flatten:Flatten"
    assert name_given("net", "conv") == "conv"


def test_anything_else_is_named_by_its_network() -> None:
    def inside() -> nn.Module:
        return nn.Flatten()

    for encoder in (inside, lambda: nn.Flatten(), nn.Flatten(), ConvEncoder((1, 8, 8))):
        assert name_given("net", encoder) == "given:net"


def test_a_module_is_copied() -> None:
    module = nn.Linear(4, 2)
    with giving({"net": module}):
        first, second = (make_encoder("given:net", (4,), 2, trusted=False) for _ in range(2))
    assert first is not module
    assert first is not second
    assert isinstance(first, nn.Linear)
    assert torch.equal(first.weight, module.weight)


def test_a_function_is_called_each_time() -> None:
    with giving({"net": lambda: nn.Linear(4, 2)}):
        first, second = (make_encoder("given:net", (4,), 2, trusted=False) for _ in range(2))
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert not torch.equal(first.weight, second.weight)


def test_blocks_within_blocks_and_after_an_error() -> None:
    outer, inner = nn.Linear(4, 2), nn.Linear(4, 3)

    def features(name: str) -> int:
        made = make_encoder(f"given:{name}", (4,), 2, trusted=False)
        assert isinstance(made, nn.Linear)
        return made.out_features

    def fail() -> None:
        with giving({"a": inner}):
            assert (features("a"), features("b")) == (3, 2)
            raise RuntimeError

    with giving({"a": outer, "b": outer}):
        with pytest.raises(RuntimeError):
            fail()
        assert features("a") == 2
    with pytest.raises(UsageError, match="handed over in Python"):
        make_encoder("given:a", (4,), 2, trusted=True)


def test_functions_that_make_no_encoder() -> None:
    def broken() -> nn.Module:
        raise ValueError("no weights")

    with giving({"net": broken}), pytest.raises(UsageError, match="ValueError: no weights"):
        make_encoder("given:net", (4,), 2, trusted=True)
    with giving({"net": lambda: 3}), pytest.raises(UsageError, match="returned int, not a torch"):
        make_encoder("given:net", (4,), 2, trusted=True)
