"""The layers of each kind of encoder and head as code in plain PyTorch, for :mod:`nesy_gedi.networks.definitions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.networks.cards import KINDS
from nesy_gedi.networks.encoders import BUNDLED, ConvEncoder, MlpEncoder
from nesy_gedi.networks.heads import ClusterHead


@dataclass(frozen=True)
class Layers:
    """One part of a definition.

    Attributes:
        source: code that a definition needs for it: classes and functions; may be empty.
        make: an expression that makes the module, with random weights.
        imports: lines beside those that every definition has.
        note: what a reader must know, a sentence or two.
    """

    source: str
    make: str
    imports: tuple[str, ...] = ()
    note: str = ""


def kind_of(spec: str) -> str:
    """The kind of encoder that ``spec``, as recipes name it, stands for: one of :data:`ENCODERS`.

    Raises:
        UsageError: it stands for none.
    """
    prefix, colon, _ = spec.partition(":")
    kind = spec if spec in BUNDLED else prefix if prefix in KINDS else "python" if colon else spec
    if kind not in ENCODERS:
        raise UsageError(
            f"an encoder of the kind {kind} has no definition in plain PyTorch that could be written",
            hint=did_you_mean(kind, ENCODERS),
        )
    return kind


def encoder_layers(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    """Of the kind that ``spec`` names, behind what adapts images to it, where there is such a thing.

    Raises:
        UsageError: an encoder that has no definition.
    """
    kind = kind_of(spec)
    if not hasattr(encoder, "adapt"):
        return ENCODERS[kind](encoder, spec, inputs)
    inner = ENCODERS[kind](cast("nn.Module", encoder.encoder), spec, inputs)
    return _adapted(encoder, inner)


def _conv(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    assert isinstance(encoder, ConvEncoder)
    assert isinstance(encoder.stages, nn.Sequential)
    pixels = "inputs[0]" if inputs == 1 else "torch.cat(inputs, 1)"
    source = f'''
class Network(nn.Module):
    """The layers between pixels that are standardised and features."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = {_sequential(encoder.stages)}
        self.stages.to(memory_format=torch.channels_last)
        self.project = {_sequential(encoder.project)}

    def forward(self, *inputs: Tensor) -> Tensor:
        pixels = {pixels}
        return self.project(self.stages(pixels.contiguous(memory_format=torch.channels_last)))
'''
    return Layers(source, "Network()")


def _mlp(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    assert isinstance(encoder, MlpEncoder)
    values = "inputs[0]" if inputs == 1 else "torch.cat([each.flatten(1) for each in inputs], 1)"
    source = f'''
class Network(nn.Module):
    """The layers between values that are standardised and features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {_sequential(encoder.layers)}

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layers({values})
'''
    return Layers(source, "Network()")


def _python(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    module, _, factory = spec.partition(":")
    return Layers(
        "",
        "made if isinstance(made, nn.Module) else made()",
        (f"from {module} import {factory} as made",),
        f"The encoder's layers are code of your own: {module}.{factory} must be importable where this file is used.",
    )


def _torchvision(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    name = spec.partition(":")[2]
    replaced = [key for key, layer in encoder.named_modules() if type(layer) is nn.Identity][-1]
    arguments = ""
    if name in ("googlenet", "inception_v3"):  # else they return several tensors while they learn
        arguments = ", aux_logits=False, init_weights=False"
    elif hasattr(encoder, "image_size"):
        arguments = f", image_size={encoder.image_size}"
    parent, _, own = replaced.rpartition(".")
    source = f'''
def make_network() -> nn.Module:
    """torchvision's {name}, without its classifier."""
    network = models.get_model({name!r}, weights=None{arguments})
    setattr(network.get_submodule({parent!r}), {own!r}, nn.Identity())
    return network
'''
    return Layers(
        source, "make_network()", ("from torchvision import models",), "The encoder's layers come from torchvision."
    )


def _timm(encoder: nn.Module, spec: str, inputs: int) -> Layers:
    name = spec.partition(":")[2]
    usual = cast("Mapping[str, Any]", encoder.pretrained_cfg)
    patches = getattr(encoder, "patch_embed", None)
    arguments = ""
    first = next((each for each in encoder.modules() if isinstance(each, nn.Conv2d)), None)
    if first is not None and first.in_channels != usual["input_size"][0]:
        arguments += f", in_chans={first.in_channels}"
    if usual.get("fixed_input_size") and patches is not None:
        arguments += f", img_size={tuple(patches.img_size)}"
    source = f'''
def make_network() -> nn.Module:
    """timm's {name}, without its classifier."""
    return timm.create_model({name!r}, pretrained=False, num_classes=0{arguments})
'''
    return Layers(source, "make_network()", ("import timm",), "The encoder's layers come from timm.")


ENCODERS: Mapping[str, Callable[[nn.Module, str, int], Layers]] = {
    "conv": _conv,
    "mlp": _mlp,
    "python": _python,
    "torchvision": _torchvision,
    "timm": _timm,
}
"""Kind of encoder -> what writes it: of a module, what recipes call it, and how many inputs it has. Its keys stay."""


def _adapted(adapter: Any, inner: Layers) -> Layers:
    """An encoder behind the fixed linear map that gives it images as it takes them."""
    buffers = {name: tensor for name, tensor in adapter.named_buffers(recurse=False) if tensor is not None}
    registered = "".join(
        f'        self.register_buffer("{name}", torch.zeros({tuple(tensor.shape)}))\n'
        for name, tensor in buffers.items()
    )
    steps = []
    if "luma" in buffers:
        steps.append("pixels = (pixels * self.luma.to(pixels.dtype)).sum(1, keepdim=True)")
    if "rows" in buffers:
        steps.append("pixels = torch.matmul(self.rows.to(pixels.dtype), pixels)")
    if "columns" in buffers:
        steps.append("pixels = torch.matmul(pixels, self.columns.to(pixels.dtype).transpose(0, 1))")
    if adapter.given[0] < adapter.takes[0]:
        steps.append(f"pixels = pixels.expand(-1, {adapter.takes[0]}, -1, -1)")
    steps.append("mean, std = (each.to(pixels.dtype).view(1, -1, 1, 1) for each in (self.mean, self.std))")
    body = "".join(f"        {step}\n" for step in steps)
    source = f'''
class AdaptedNetwork(nn.Module):
    """The layers, behind what gives them images as they take them: {adapter.sentence() or "unchanged"}."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = {inner.make}
{registered}
    def forward(self, pixels: Tensor) -> Tensor:
{body}        return self.encoder((pixels - mean) / std)
'''
    parts = "\n\n\n".join(part.strip() for part in (inner.source, source) if part)
    return Layers(parts, "AdaptedNetwork()", inner.imports, inner.note)


def _linear_head(head: nn.Module) -> Layers:
    assert isinstance(head, nn.Linear)
    return Layers("", _layer(head))


def _no_head(head: nn.Module) -> Layers:
    return Layers("", "nn.Identity()")


def _cluster_head(head: nn.Module) -> Layers:
    assert isinstance(head, ClusterHead)
    clusters, symbols = head.log_map.shape
    source = f'''
class ClusterHead(nn.Module):
    """Features to clusters, and clusters to the symbols that they stand for; returns log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = {_layer(head.linear)}
        self.register_buffer("log_map", torch.zeros({clusters}, {symbols}))

    def forward(self, features: Tensor) -> Tensor:
        log_q = torch.log_softmax(self.linear(features), 1)
        return torch.logsumexp(log_q[:, :, None] + self.log_map, 1)
'''
    return Layers(source, "ClusterHead()")


HEADS: Mapping[type[nn.Module], Callable[[nn.Module], Layers]] = {
    nn.Linear: _linear_head,
    nn.Identity: _no_head,
    ClusterHead: _cluster_head,
}
"""Kind of head -> what writes it."""


def head_layers(head: nn.Module) -> Layers:
    """Of its type.

    Raises:
        UsageError: a head that has no definition.
    """
    if type(head) not in HEADS:
        raise UsageError(
            f"a head {type(head).__name__} has no definition in plain PyTorch that could be written",
            hint="use a head that recipes name: linear, clusters, prototypes or none",
        )
    return HEADS[type(head)](head)


def _call(layer: nn.Module, *arguments: object, **named: object) -> str:
    words = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in named.items())]
    return f"nn.{type(layer).__name__}({', '.join(words)})"


PLAIN_LAYERS: Mapping[type[nn.Module], Callable[[Any], str]] = {
    nn.Conv2d: lambda layer: _call(
        layer,
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size[0],
        padding=layer.padding[0],
        bias=layer.bias is not None,
    ),
    nn.MaxPool2d: lambda layer: _call(layer, layer.kernel_size, ceil_mode=layer.ceil_mode),
    nn.BatchNorm2d: lambda layer: _call(layer, layer.num_features, eps=layer.eps),
    nn.Linear: lambda layer: _call(layer, layer.in_features, layer.out_features),
    nn.ReLU: _call,
    nn.Flatten: _call,
}
"""What makes a layer of the bundled encoders, written out: what layers print differs between versions of PyTorch."""


def _layer(layer: nn.Module) -> str:
    if type(layer) not in PLAIN_LAYERS:
        raise UsageError(
            f"a layer {type(layer).__name__} has no definition in plain PyTorch that could be written",
            hint="name your own encoder: package.module:factory",
        )
    return PLAIN_LAYERS[type(layer)](layer)


def _sequential(layers: nn.Sequential) -> str:
    """The constructor's call, a layer a line, as it stands in a method."""
    lines = "".join(f"            {_layer(layer)},\n" for layer in layers)
    return f"nn.Sequential(\n{lines}        )"
