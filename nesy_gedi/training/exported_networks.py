"""One network of a run as a folder that plain PyTorch and ONNX Runtime load: weights, definition, card, ONNX."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nesy_gedi.data import ImageSet
from nesy_gedi.errors import RunError
from nesy_gedi.networks.cards import Architecture, EncoderCard, InputCard, write_card
from nesy_gedi.networks.definition_layers import kind_of
from nesy_gedi.networks.definitions import DEFINITION, HEAD, WEIGHTS, input_shapes, statistics, write_definition
from nesy_gedi.networks.encoders import BUNDLED
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.checkpoints import own_memory
from nesy_gedi.training.onnx_files import capture, compare_onnx, write_onnx

ONNX = "encoder.onnx"

CHECKED = 64
"""Images that an export is tried on."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that is exported.

    Attributes:
        folder: its name in the export.
        title: what it is, in words.
        perception: with its weights, in evaluation mode, on the CPU.
        spec: its encoder, as recipes name it.
        settings: features, width and normalisation, as the recipe gives them.
        card: what is known of it; architecture, input and features are filled in.
    """

    folder: str
    title: str
    perception: Perception
    spec: str
    settings: Any
    card: EncoderCard


def blank_card(**known: Any) -> EncoderCard:
    """A card whose architecture, input and features are still to be told."""
    return EncoderCard(Architecture("conv"), InputCard((1,), (0.0,), (1.0,)), 1, **known)


def sample(images: ImageSet | None, shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """Inputs of a shape: drawn from ``images``, or at random where none of these has it; (count, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    for part in () if images is None else (images.images, *images.others):
        if tuple(part.shape[1:]) == shape and len(part):
            return part[torch.randint(len(part), (count,), generator=generator)]
    if len(shape) == 3:
        return torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    return torch.randn(count, *shape, generator=generator)


def unit_float(images: Tensor) -> Tensor:
    """As files of other formats take them: uint8 to float32 in [0, 1]."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images.float()


def write_network(
    subject: Subject, folder: Path, images: ImageSet | None, *, onnx: bool
) -> tuple[nn.Module, EncoderCard]:
    """Write a network's folder, and try what was written.

    Args:
        folder: of this network, which does not exist.
        images: what is tried on them.
        onnx: whether to write that, too.

    Returns:
        The network as its definition loads it, and its card.

    Raises:
        UsageError: it has no definition in plain PyTorch.
        RunError: what was written computes something else than the run does.
    """
    perception, title = subject.perception, subject.title
    folder.mkdir()
    text = write_definition(perception, subject.spec, title)
    (folder / DEFINITION).write_text(text, encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save(own_memory(perception.encoder.state_dict())))
    if head := perception.head.state_dict():
        (folder / HEAD).write_bytes(save(own_memory(head)))
    tried = [sample(images, shape, CHECKED, k) for k, shape in enumerate(input_shapes(perception))]
    plain, width = _load_again(folder, perception, tried, title)
    card = _card(subject, width)
    measured: dict[str, float | None] = dict(card.metrics)
    if onnx:
        apart = _write_onnx(plain, folder / ONNX, tried, title)
        measured |= {f"onnx_{name}": value for name, value in apart.items()}
    return plain, write_card(replace(card, metrics=measured), folder / WEIGHTS)


def _load_again(folder: Path, perception: Perception, tried: Sequence[Tensor], title: str) -> tuple[nn.Module, int]:
    """The network as the definition loads it, which must compute the same bits; and the width of its features."""
    try:
        plain = load_definition(folder)
        with torch.no_grad():
            found = plain(*tried)
            pairs = (
                ("features", found, perception.features(*tried)),
                ("log-probabilities", plain.log_probabilities(*tried), perception(*tried)),
            )
    except Exception as error:  # whatever an encoder of the user's own does
        first = (str(error).splitlines() or [""])[0]
        raise RunError(
            f"the definition of {title} that was written cannot be used: {type(error).__name__}: {first}",
            hint="if the encoder is your own, let its factory make the same layers at every call; else please report it",
        ) from error
    for what, own, wanted in pairs:
        if not torch.equal(own, wanted):
            raise RunError(
                f"the definition of {title} that was written computes other {what} than the run: they differ by "
                f"{float((own - wanted).abs().max()):.3g}",
                hint="if the encoder is your own, let it draw nothing at random in evaluation mode; else please report it",
            )
    return plain, int(found.shape[1])


def load_definition(folder: Path) -> Any:
    """What ``load()`` of a written definition returns. It runs that file: call it for files just written alone."""
    loader = SourceFileLoader("nesy_gedi_exported_encoder", str(folder / DEFINITION))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return module.load(folder)


class _BothOutputs(nn.Module):
    """Features and log-probabilities of float inputs, for a file that has one entry."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(*inputs)
        return features, cast("Any", self.encoder).read(features)


def _write_onnx(plain: nn.Module, file: Path, tried: Sequence[Tensor], title: str) -> dict[str, float]:
    """For each output how far it is from PyTorch's, and the largest feature: deep networks differ by a share of it."""
    given = [unit_float(images) for images in tried]
    names = ["images", *(f"images_{k}" for k in range(1, len(given)))]
    both = _BothOutputs(single_precision(plain)).eval()
    what = f"the network of {title}"
    write_onnx(capture(both, given, what), file, names, ("features", "log_probabilities"), {"network": title}, what)
    with torch.no_grad():
        features, log_p = both(*given)
    expected = {"features": features, "log_probabilities": log_p}
    apart = compare_onnx(file, dict(zip(names, given, strict=True)), expected, what)
    return {
        **{f"{name}_difference": value for name, value in apart.items()},
        "features_largest": float(features.abs().max()),
    }


def single_precision(plain: nn.Module) -> nn.Module:
    """The network itself, or a copy in float32 where it computes in float64."""
    if not any(tensor.dtype == torch.float64 for tensor in (*plain.parameters(), *plain.buffers())):
        return plain
    return deepcopy(plain).float()


def _card(subject: Subject, features: int) -> EncoderCard:
    perception = subject.perception
    shapes = input_shapes(perception)
    inputs = [
        InputCard(shape, tuple(mean.tolist()), tuple(std.tolist()))
        for shape, mean, std in zip(shapes, *statistics(perception), strict=True)
    ]
    clusters = subject.card.clusters
    if isinstance(perception.head, ClusterHead):
        clusters = tuple(perception.domain[k] for k in perception.head.log_map.argmax(1).tolist())
    return replace(
        subject.card,
        architecture=_architecture(subject),
        input=inputs[0],
        further_inputs=tuple(inputs[1:]),
        features=features,
        clusters=clusters,
    )


def _architecture(subject: Subject) -> Architecture:
    kind = kind_of(subject.spec)
    keys: Mapping[str, tuple[str, ...]] = {"conv": ("features", "width", "normalisation"), "mlp": ("features", "width")}
    name = "" if kind in BUNDLED else subject.spec if kind == "python" else subject.spec.partition(":")[2]
    encoder = cast("Any", subject.perception.encoder)
    adapted = None
    if hasattr(encoder, "adapt"):
        adapted = InputCard(tuple(encoder.takes), tuple(encoder.mean.tolist()), tuple(encoder.std.tolist()))
    return Architecture(kind, name, {key: getattr(subject.settings, key) for key in keys.get(kind, ())}, adapted)
