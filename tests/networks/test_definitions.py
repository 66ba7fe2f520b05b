"""A definition in plain PyTorch has the network's own keys and computes the same bits."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.building import build_encoder
from nesy_gedi.networks.definition_layers import kind_of
from nesy_gedi.networks.definitions import DEFINITION, HEAD, WEIGHTS, write_definition
from nesy_gedi.networks.encoders import ConvEncoder, MlpEncoder
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.recipe import NetworkRecipe

CASES = {
    "small images": ("conv", lambda: ConvEncoder((1, 8, 8)), (1, 8, 8)),
    "a map of colour": ("conv", lambda: ConvEncoder((3, 28, 28), 0, 4, normalisation="none"), (3, 28, 28)),
    "points": ("mlp", lambda: MlpEncoder((2,), 16), (2,)),
    "flattened images": ("mlp", lambda: MlpEncoder((1, 8, 8), 16, 24), (1, 8, 8)),
}
HEADS = {"linear": lambda width: nn.Linear(width, 4), "clusters": lambda width: ClusterHead(width, 9, 4)}


def load_again(perception: Perception, spec: str, folder: Path) -> Any:
    (folder / DEFINITION).write_text(write_definition(perception, spec, 'a "title"'), encoding="utf-8")
    for part, file in ((perception.encoder, WEIGHTS), (perception.head, HEAD)):
        if state := part.state_dict():
            save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, folder / file)
    loader = SourceFileLoader("written_definition", str(folder / DEFINITION))
    found = spec_from_loader(loader.name, loader)
    assert found is not None
    module = module_from_spec(found)
    loader.exec_module(module)
    return module.load(folder)


def some(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(256, (20, *shape), dtype=torch.uint8) if len(shape) == 3 else torch.randn(20, *shape)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_under_the_same_keys(case: str, head: str, tmp_path: Path) -> None:
    spec, make, shape = CASES[case]
    encoder = make().eval()
    images = some(shape)
    mean, std = torch.rand(shape[0]), torch.rand(shape[0]) + 0.1
    width = encoder(torch.zeros(2, *shape)).shape[1]
    domain = ["a", "it's", 'say "b"', "{c}"]
    perception = Perception(encoder, HEADS[head](width), domain, image_shape=shape, mean=mean, std=std).eval()
    written = load_again(perception, spec, tmp_path)
    with torch.no_grad():
        assert torch.equal(written(images), perception.features(images))
        assert torch.equal(written.log_probabilities(images), perception(images))
    assert list(written.network.state_dict()) == list(encoder.state_dict())
    assert set(written.symbols(images)) <= set(domain)


@pytest.mark.parametrize("output", ["logits", "log_probabilities", "probabilities"])
def test_what_a_network_returns_is_read_as_it_says(output: str, tmp_path: Path) -> None:
    encoder = MlpEncoder((3,), 4).eval()
    ends = {"log_probabilities": nn.LogSoftmax(1), "probabilities": nn.Softmax(1)}
    perception = Perception(encoder, None, "abcd", image_shape=(3,), output=output)
    if output in ends:
        encoder.layers.append(ends[output])
        with pytest.raises(UsageError, match=r"a layer \w+ has no definition"):
            write_definition(perception, "mlp", "title")
        return
    written = load_again(perception, "mlp", tmp_path)
    images = some((3,))
    assert torch.equal(written.log_probabilities(images), perception(images))


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:resnet10t"])
def test_models_of_libraries_behind_what_adapts_images(spec: str, tmp_path: Path) -> None:
    pytest.importorskip(spec.partition(":")[0])
    what = NetworkRecipe(encoder=spec, input_shape=(3, 32, 32))
    encoder = build_encoder(what, [(1, 8, 8)], trusted=False).module.eval()
    width = encoder(torch.zeros(2, 1, 8, 8)).shape[1]
    perception = Perception(encoder, nn.Linear(width, 4), "abcd", image_shape=(1, 8, 8)).eval()
    written = load_again(perception, spec, tmp_path)
    images = some((1, 8, 8))
    with torch.no_grad():
        assert torch.equal(written(images), perception.features(images))


def test_kinds_without_a_definition_are_refused() -> None:
    assert [kind_of(spec) for spec in ("conv", "mlp", "timm:resnet18", "my.nets:make")] == [
        *("conv", "mlp", "timm", "python")
    ]
    with pytest.raises(UsageError, match=r"of the kind resnet .*\n.*valid: conv"):
        kind_of("resnet")
    perception = Perception(MlpEncoder((3,), 4), nn.Bilinear(1, 1, 1), "ab", image_shape=(3,))
    with pytest.raises(UsageError, match="a head Bilinear has no definition"):
        write_definition(perception, "mlp", "title")
    with pytest.raises(UsageError, match="images may have any shape"):
        write_definition(Perception(MlpEncoder((3,), 4), None, "abcd"), "mlp", "title")
