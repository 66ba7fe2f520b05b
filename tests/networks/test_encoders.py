"""Encoders and heads: every image size of the data sets, and other people's networks with their faults."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import ConvEncoder, make_encoder
from nesy_gedi.networks.heads import make_head

SHAPES = [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32)]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1), (2, 5, 40)])
def test_conv_takes_any_size(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    features = ConvEncoder(shape, 24)(torch.rand(3, *shape))
    assert features.shape == (3, 24)
    assert bool(torch.isfinite(features).all())


def test_conv_depth_follows_the_size() -> None:
    stages = [sum(isinstance(layer, nn.Conv2d) for layer in ConvEncoder(shape).stages) for shape in SHAPES]
    assert stages == [2, 2, 3, 3]


def test_conv_width_doubles() -> None:
    convolutions = [layer for layer in ConvEncoder((3, 32, 32), width=5).stages if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [5, 10, 20]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable module with factories, good and bad."""
    code = """
        import torch

        def good():
            return torch.nn.Flatten()

        def needs_argument(width):
            return torch.nn.Flatten()

        def fails():
            raise RuntimeError("no weights")

        def no_module():
            return 3
        """
    (tmp_path / "own_encoders.py").write_text(textwrap.dedent(code), encoding="utf-8")
    (tmp_path / "broken_encoders.py").write_text("def f(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_encoders"


def test_a_factory_is_called_when_trusted(module: str) -> None:
    assert isinstance(make_encoder(f"{module}:good", (1, 8, 8), 4, trusted=True), nn.Flatten)


def test_a_factory_is_not_even_imported_without_trust(module: str, tmp_path: Path) -> None:
    (tmp_path / "dangerous_encoders.py").write_text("raise SystemError('was imported')", encoding="utf-8")
    with pytest.raises(UsageError, match="the recipe names Python code as an encoder: dangerous_encoders:f") as caught:
        make_encoder("dangerous_encoders:f", (1, 8, 8), 4, trusted=False)
    assert "--trust" in str(caught.value.hint)
    assert "--encoder NET=SPEC" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cnov", "there is no encoder cnov"),
        ("", "there is no encoder "),
        ("own_encoders:", "there is no encoder own_encoders:"),
        ("absent_module:f", "ModuleNotFoundError: No module named 'absent_module'"),
        (":good", "cannot get the encoder :good: ValueError"),
        (".own_encoders:good", "cannot get the encoder .own_encoders:good: TypeError"),
        ("own_encoders:absent", "AttributeError: module 'own_encoders' has no attribute 'absent'"),
        ("own_encoders:needs_argument", "TypeError: needs_argument() missing 1 required positional argument"),
        ("own_encoders:fails", "RuntimeError: no weights"),
        ("broken_encoders:f", "SyntaxError"),
        ("own_encoders:no_module", "own_encoders:no_module returned int, not a torch.nn.Module"),
    ],
)
def test_no_encoder(module: str, spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_encoder(spec, (1, 8, 8), 4, trusted=True)
    assert message in caught.value.message


@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_head_is_as_wide_as_the_domain(shape: tuple[int, int, int]) -> None:
    encoder = ConvEncoder(shape, 24)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    head = make_head("linear", encoder, shape, 7)
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (24, 7)
    assert encoder.training  # asking for its width changed nothing
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_no_head() -> None:
    assert make_head("none", nn.Flatten(), (1, 8, 8), 64) is None


class Pair(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("kind", "encoder", "message"),
    [
        ("liner", nn.Flatten(), "there is no head liner"),
        ("linear", nn.Linear(5, 5), "the encoder does not take images of shape (1, 8, 8)"),
        ("linear", nn.Embedding(3, 3), "the encoder does not take images of shape (1, 8, 8)"),
        ("linear", nn.Identity(), "features of shape (1, 1, 8, 8), expected shape (batch, d)"),
        ("linear", Pair(), "features of tuple, expected shape (batch, d)"),
    ],
)
def test_head_that_cannot_be_made(kind: str, encoder: nn.Module, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_head(kind, encoder, (1, 8, 8), 3)
    assert message in caught.value.message
    assert caught.value.hint
    assert encoder.training
