"""What is captured of a module computes the same, in operations that ONNX has, and leaves the module as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import RunError
from nesy_gedi.networks.adapters import Adapted
from nesy_gedi.networks.encoders import ConvEncoder
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.exported_networks import Subject, blank_card, load_definition, write_network
from nesy_gedi.training.onnx_files import TOLERANCE, capture
from nesy_gedi.training.recipe import NetworkRecipe


class Stack(nn.Sequential):
    """As what is exported takes its inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(*inputs)
        return found


def test_layers_that_write_in_place_are_captured_as_operations_of_onnx() -> None:
    layers = Stack(nn.Linear(3, 4), nn.Hardswish(inplace=True), nn.Sequential(nn.ReLU(inplace=True)), nn.ReLU())
    program = capture(layers, [torch.zeros(2, 3)], "layers")
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    # With hardswish_, which the exporter takes apart, a mobilenet_v3_small took four times as long.
    assert {"aten.hardswish.default", "aten.relu.default"} <= called
    assert not [name for name in called if name.split(".")[1].endswith("_")]
    assert [getattr(layers.get_submodule(name), "inplace", None) for name in ("1", "2.0", "3")] == [True, True, False]
    values = torch.randn(5, 3)
    assert torch.equal(program.module()(values), layers(values))


def test_layers_are_as_they_were_where_they_cannot_be_captured() -> None:
    class Refusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.ReLU(inplace=True)

        def forward(self, *inputs: Tensor) -> Tensor:
            raise ValueError("not today")

    module = Refusing()
    with pytest.raises(RunError, match="it cannot be followed"):
        capture(module, [torch.zeros(2, 3)], "it")
    assert module.layer.inplace is True


@pytest.mark.parametrize(
    ("given", "takes", "onnx"),
    [((1, 6, 6), (3, 8, 8), True), ((3, 10, 7), (1, 8, 8), False)],
    ids=["to colour, in ONNX Runtime", "to grey"],
)
def test_adapted_images_are_those_of_torch(
    given: tuple[int, ...], takes: tuple[int, ...], onnx: bool, tmp_path: Path
) -> None:
    if onnx:
        pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    channels = takes[0]
    statistics = {"mean": [0.4, 0.3, 0.2][:channels], "std": [0.2, 0.3, 0.4][:channels]}
    encoder = Adapted(ConvEncoder(takes, 8, width=4), given, takes, **statistics)
    perception = Perception(encoder, nn.Linear(8, 3), "abc", image_shape=given).eval()
    subject = Subject("net", "a network", perception, "conv", NetworkRecipe(features=8, width=4), blank_card())
    _, card = write_network(subject, tmp_path / "net", None, onnx=onnx)
    assert card.architecture.adapted is not None
    assert card.architecture.adapted.mean == pytest.approx(statistics["mean"])
    assert ("onnx_features_difference" in card.metrics) == onnx
    assert 0.0 <= (card.metrics.get("onnx_features_difference") or 0.0) <= TOLERANCE
    # Written out by hand: what the encoder sees is luma or three equal channels of the resized image, standardised.
    images = torch.randint(256, (4, *given), dtype=torch.uint8)
    pixels = images.float() / 255.0
    if channels == 1:
        pixels = (pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    pixels = nn.functional.interpolate(pixels, takes[1:], mode="bilinear", antialias=True).expand(-1, channels, -1, -1)
    mean, std = (torch.tensor(statistics[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        found, wanted = load_definition(tmp_path / "net")(images), encoder.encoder((pixels - mean) / std)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
