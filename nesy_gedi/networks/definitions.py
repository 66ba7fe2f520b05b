"""A network as a Python file in plain PyTorch, which loads its weights strictly and needs nothing of this package."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.definition_layers import encoder_layers, head_layers
from nesy_gedi.networks.perception import Perception

DEFINITION = "encoder.py"
"""Name of the file, beside the weights."""

WEIGHTS = "encoder.safetensors"
"""The encoder's weights, with its own keys."""

HEAD = "head.safetensors"
"""The head's, where it has any."""

WIDTH = 110
"""Columns that a list of symbols or numbers is wrapped at."""


def input_shapes(perception: Perception) -> tuple[tuple[int, ...], ...]:
    """The shape of each input.

    Raises:
        UsageError: images may have any shape.
    """
    shapes = getattr(perception, "image_shapes", None) or (perception.image_shape,)
    if None in shapes:
        raise UsageError("a network whose images may have any shape has no definition", hint="give it an image_shape")
    return tuple(shapes)


def statistics(perception: Perception) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard deviation of each input, as the perception takes them, (channels,) each."""
    numbers = [f"_{k}" if k else "" for k in range(len(input_shapes(perception)))]
    means, stds = ([cast("Tensor", getattr(perception, key + n)) for n in numbers] for key in ("mean", "std"))
    return means, stds


def write_definition(perception: Perception, spec: str, title: str) -> str:
    """The text of a file that defines the perception's network.

    It has the class ``Encoder``, with ``forward`` for features, ``log_probabilities``, ``probabilities`` and ``symbols``, and
    a function ``load(folder)``, which loads :data:`WEIGHTS` and, where the head has any, :data:`HEAD` strictly.

    Args:
        perception: a network with its weights; of an ensemble, a single member.
        spec: its encoder, as a recipe names it.
        title: what it is, for the first line.

    Raises:
        UsageError: a kind of encoder or head that has no definition.
    """
    shapes = input_shapes(perception)
    means, stds = statistics(perception)
    encoder = encoder_layers(perception.encoder, spec, len(shapes))
    head = head_layers(perception.head)
    parts = [each.source.strip() for each in (encoder, head) if each.source]
    views = map(_view, shapes)
    return _FILE.format(
        title=title.translate({ord(character): None for character in '"\\'}),
        note=f"\n{textwrap.fill(encoder.note, WIDTH)}\n" if encoder.note else "",
        imports="".join(f"{line}\n" for line in sorted({"import torch", *encoder.imports, *head.imports})),
        shapes=_tuple("SHAPES", map(repr, shapes)),
        domain=_tuple("DOMAIN", map(repr, perception.domain)),
        means=_tuple("MEANS", (_spell(mean.tolist()) for mean in means)),
        stds=_tuple("STDS", (_spell(std.tolist()) for std in stds)),
        views=_tuple("VIEWS", map(repr, views)),
        dtype=str(perception.mean.dtype),
        parts="".join(f"\n\n{part}\n" for part in parts),
        make_encoder=encoder.make,
        make_head=head.make,
        output=_OUTPUTS[perception.output],
        load_head=_LOAD_HEAD if perception.head.state_dict() else "",
        weights=WEIGHTS,
    )


def _view(shape: Sequence[int]) -> tuple[int, ...]:
    """How a value a channel or coordinate stands beside an input: channels come first in images, coordinates last."""
    return (-1, 1, 1) if len(shape) == 3 else (-1,)


def _spell(values: Iterable[object]) -> str:
    return repr(tuple(values))


def _tuple(name: str, items: Iterable[str]) -> str:
    """``NAME = (a, b, c)``, on lines of several items where it is long."""
    words = list(items)
    line = f"{name} = ({', '.join(words)}{',' if len(words) == 1 else ''})"
    if len(line) <= WIDTH:
        return line
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > WIDTH - 8:
            lines.append("")
        lines[-1] += f" {word},"
    return f"{name} = (\n" + "".join(f"   {each}\n" for each in lines) + ")"


_LOAD_HEAD = f"""    encoder.head.load_state_dict(load_file(Path(folder) / "{HEAD}"), strict=True)
"""

_OUTPUTS = {
    "logits": "torch.log_softmax(raw, 1)",
    "log_probabilities": "raw",
    "probabilities": "raw.clamp_min(torch.finfo(raw.dtype).tiny).log().masked_fill(raw <= 0.0, -torch.inf)",
}

_FILE = '''"""{title}, in plain PyTorch. Written by nesy-gedi, which it does not need.

    from encoder import load

    encoder = load()  # the weights beside this file, strictly, in evaluation mode
    features = encoder(images)
    probabilities = encoder.probabilities(images)  # (n, symbols), columns as in DOMAIN
{note}"""

from __future__ import annotations

from pathlib import Path

{imports}from safetensors.torch import load_file
from torch import Tensor, nn

{shapes}
"""Of each input: (channels, height, width) of one image, (d,) of one point."""

{domain}
"""The symbols, in the order of probabilities."""

{means}
{stds}
"""For each input what is subtracted from values in [0, 1], and what divides the rest, by channel or coordinate."""

{views}
"""How these stand beside an input."""
{parts}

class Encoder(nn.Module):
    """Features (n, d) of images (n, channels, height, width), uint8 in 0..255 or float in [0, 1], or points (n, d) float."""

    def __init__(self) -> None:
        super().__init__()
        self.network = {make_encoder}
        self.head = {make_head}
        self.to({dtype})
        for k, (mean, std, view) in enumerate(zip(MEANS, STDS, VIEWS)):
            # Not among the weights: they are written above.
            self.register_buffer(f"mean{{k}}", torch.tensor(mean, dtype={dtype}).view(view), persistent=False)
            self.register_buffer(f"std{{k}}", torch.tensor(std, dtype={dtype}).view(view), persistent=False)

    def standardise(self, images: Tensor, number: int = 0) -> Tensor:
        """What the network takes of an input."""
        if tuple(images.shape[1:]) != SHAPES[number]:
            raise ValueError(f"an input of shape {{tuple(images.shape[1:])}}, expected {{SHAPES[number]}}")
        values = images.float() / 255.0 if images.dtype == torch.uint8 else images
        mean, std = getattr(self, f"mean{{number}}"), getattr(self, f"std{{number}}")
        return (values.to(mean.dtype) - mean) / std

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features."""
        if len(inputs) != len(SHAPES):
            raise ValueError(f"{{len(inputs)}} inputs, expected {{len(SHAPES)}}")
        return self.network(*(self.standardise(each, k) for k, each in enumerate(inputs)))

    def read(self, features: Tensor) -> Tensor:
        """Log-probabilities (n, symbols) of features (n, d)."""
        raw = self.head(features)
        raw = raw if raw.dtype == torch.float64 else raw.float()
        return {output}

    def log_probabilities(self, *inputs: Tensor) -> Tensor:
        """Log-probabilities (n, symbols)."""
        return self.read(self(*inputs))

    def probabilities(self, *inputs: Tensor) -> Tensor:
        """Probabilities (n, symbols)."""
        return self.log_probabilities(*inputs).exp()

    def symbols(self, *inputs: Tensor) -> list[str]:
        """The most probable symbol of each image."""
        return [DOMAIN[k] for k in self.log_probabilities(*inputs).argmax(1).tolist()]


def load(folder: str | Path = Path(__file__).parent) -> Encoder:
    """The encoder with the weights in ``folder``, in evaluation mode, on the CPU."""
    encoder = Encoder()
    encoder.network.load_state_dict(load_file(Path(folder) / "{weights}"), strict=True)
{load_head}    return encoder.eval()
'''
