"""Encoders and heads: every image size of the data sets, and other people's networks with their faults."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import ConvEncoder, MlpEncoder, make_encoder
from nesy_gedi.networks.heads import make_head

SHAPES = [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32)]


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "encoders_beside.py").write_text("from torch import nn\nmake = nn.Flatten\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    assert isinstance(make_encoder("encoders_beside:make", (1, 8, 8), 4, trusted=True), nn.Flatten)


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


def depends_on_the_batch(encoder: nn.Module, shape: tuple[int, ...]) -> bool:
    torch.manual_seed(0)
    images = torch.rand(6, *shape)
    return not torch.allclose(encoder(images)[:2], encoder(images[:2]), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_conv_without_normalisation_treats_each_image_alone(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    encoder = make_encoder("conv", shape, 24, normalisation="none", trusted=False)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules())
    assert all(layer.bias is not None for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    assert not depends_on_the_batch(encoder, shape)
    assert depends_on_the_batch(make_encoder("conv", shape, 24, trusted=False), shape)


def test_unknown_normalisation() -> None:
    with pytest.raises(UsageError, match="there is no normalisation bath") as caught:
        make_encoder("conv", (1, 8, 8), 4, normalisation="bath", trusted=False)
    assert caught.value.hint == "did you mean batch? valid: batch, none"


@pytest.mark.parametrize("shape", [(2,), (7,), (1, 8, 8), (3, 5, 4)])
def test_mlp_takes_points_and_images_and_treats_each_alone(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = make_encoder("mlp", shape, 24, trusted=False)
    features = encoder(torch.rand(3, *shape))
    assert features.shape == (3, 24)
    assert bool((features >= 0).all())
    assert bool((features > 0).any())
    assert not depends_on_the_batch(encoder, shape)


def test_mlp_is_two_layers() -> None:
    torch.manual_seed(0)
    encoder = MlpEncoder((2,), features=5, width=3).double()
    first, second = (layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    assert (first.in_features, first.out_features, second.in_features, second.out_features) == (2, 3, 3, 5)
    points = torch.randn(4, 2, dtype=torch.float64)
    hidden = np.maximum(points.numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0)
    expected = np.maximum(hidden @ second.weight.detach().numpy().T + second.bias.detach().numpy(), 0)
    np.testing.assert_allclose(encoder(points).detach().numpy(), expected, rtol=1e-12)


def test_conv_for_points_names_the_right_encoder() -> None:
    with pytest.raises(UsageError, match=r"conv takes images .* not data of shape \(2,\)") as caught:
        make_encoder("conv", (2,), 16, trusted=False)
    assert caught.value.hint == 'points need encoder = "mlp", and so do sequences: --encoder NET=mlp'


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
    with pytest.raises(UsageError) as caught:
        make_encoder("dangerous_encoders:f", (1, 8, 8), 4, trusted=False, permission="ask for it")
    assert str(caught.value.hint).endswith("ask for it")


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


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("cnov", "did you mean conv?"),
        ("resnet18", "did you mean torchvision:resnet18?"),
        ("absent_module:f", "importable from where you run"),
        ("nets/own.py:f", "write it as in an import, without .py: nets.own:f"),
        ("own_encoders:godo", "did you mean good?"),
        ("own_encoders:needs_argument", "called without arguments"),
        ("own_encoders:fails", "called without arguments"),
        ("own_encoders:no_module", "returns a torch.nn.Module"),
        ("own_encoders:torch", "called without arguments"),
        ("incomplete_encoders:f", "install or repair what incomplete_encoders imports"),
        ("broken_encoders:f", "repair it: it fails as it is imported"),
    ],
)
def test_no_encoder_has_a_next_step(module: str, tmp_path: Path, spec: str, hint: str) -> None:
    (tmp_path / "incomplete_encoders.py").write_text("import absent_package\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        make_encoder(spec, (1, 8, 8), 4, trusted=True)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_head_is_as_wide_as_the_domain(shape: tuple[int, int, int]) -> None:
    encoder = ConvEncoder(shape, 24)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    head = make_head("linear", encoder, shape, 7)
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (24, 7)
    assert encoder.training  # asking for its width changed nothing
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_a_linear_head_for_points() -> None:
    head = make_head("linear", MlpEncoder((2,), 24), (2,), 3)
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (24, 3)
    with pytest.raises(UsageError, match=r"the encoder does not take images of shape \(2,\)"):
        make_head("linear", ConvEncoder((1, 8, 8)), (2,), 3)


def test_no_head() -> None:
    assert make_head("none", nn.Flatten(), (1, 8, 8), 64) is None


class Rounded(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).long()


class Doubled(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, images]).flatten(1)


class Pair(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("kind", "encoder", "message"),
    [
        ("liner", nn.Flatten(), "there is no head liner"),
        ("linear", nn.Linear(5, 5), "the encoder does not take images of shape (1, 8, 8)"),
        ("linear", nn.Embedding(3, 3), "the encoder does not take images of shape (1, 8, 8)"),
        ("linear", nn.Identity(), "features of shape (3, 1, 8, 8), expected (batch, d)"),
        ("linear", Rounded(), "features of type int64, expected float"),
        ("linear", Doubled(), "returns 6 rows for 3 images"),
        ("linear", Pair(), "returns a tuple of 2 (Tensor, Tensor), expected a tensor of features (batch, d)"),
    ],
)
def test_head_that_cannot_be_made(kind: str, encoder: nn.Module, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_head(kind, encoder, (1, 8, 8), 3)
    assert message in caught.value.message
    assert caught.value.hint
    assert encoder.training
