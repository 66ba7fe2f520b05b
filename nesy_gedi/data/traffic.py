"""Traffic scenes as vectors: several attributes mixed so that each has to be learned, and a shift that tells a red light
from a person.

The attributes of a scene are written as contrasts, which the night inverts; what is seen of them is a fixed random layer
of tanh units, summed up in fewer channels, with noise. So a linear model misreads every attribute, a small network reads
each, and nothing in a vector says which attribute a network is meant to read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch.nn.functional import one_hot

from nesy_gedi.data.cards import load_card
from nesy_gedi.data.image_sets import ImageSet, Labels
from nesy_gedi.errors import UsageError

MAP_SEED = 20240301
"""Of the layer that mixes the attributes: another value would be another data set."""

UNITS = 80  # of that layer
GAIN = 1.2  # standard deviation of what a unit gets where all inputs are 1
WEATHER = 2  # continuous inputs that mean nothing
WEATHER_SCALE = 0.5  # their standard deviation
NOISE = 0.05  # standard deviation of each channel


def generate_traffic(count: int, seed: int, *, emergency: bool = False) -> ImageSet:
    """``count`` scenes with the attributes ``light``, ``person``, ``siren``, ``ahead`` and ``beside``.

    While the siren is on, ordinary scenes have both a red light and a person, or neither; the emergencies have one of
    them. All possible combinations of values are equally frequent (up to one scene) and in random order. Scenes are
    (count, 40) float32; the same seed gives the same scenes.

    Args:
        count: how many.
        seed: of the order, the day or night, the weather and the noise; the map from attributes to vectors is fixed.
        emergency: the scenes that ordinary traffic leaves out, in place of those that it has.

    Raises:
        UsageError: ``count`` is negative.
    """
    if count < 0:
        raise UsageError(f"cannot generate {count} scenes", hint="choose a count of 0 or more")
    card = load_card("traffic")
    (channels,) = card.image_shape
    generator = torch.Generator().manual_seed(seed)
    possible = torch.tensor(combinations(card.attributes, emergency=emergency))
    values = possible[torch.randperm(count, generator=generator) % len(possible)]
    labels = {name: Labels(each, values[:, k].clone()) for k, (name, each) in enumerate(card.attributes.items())}
    return ImageSet(_seen(_contrasts(labels), channels, generator), labels)


def combinations(attributes: Mapping[str, tuple[str, ...]], *, emergency: bool = False) -> list[tuple[int, ...]]:
    """The combinations of attribute values of ordinary scenes, or of emergencies; each attribute's class by number."""
    chosen = []
    for values in itertools.product(*(range(len(classes)) for classes in attributes.values())):
        scene = {name: attributes[name][value] for name, value in zip(attributes, values, strict=True)}
        one_of_them = (scene["light"] == "red") != (scene["person"] == "true")
        if emergency == (scene["siren"] == "true" and one_of_them):
            chosen.append(values)
    return chosen


def _contrasts(labels: Mapping[str, Labels]) -> torch.Tensor:
    """(n, classes of all attributes): each attribute one-hot, centred."""
    parts = [one_hot(each.index, len(each.classes)) - 1 / len(each.classes) for each in labels.values()]
    return torch.cat(parts, 1)


def _seen(contrasts: torch.Tensor, channels: int, generator: torch.Generator) -> torch.Tensor:
    """(n, channels) float32: what is seen of scenes whose nuisances ``generator`` draws."""
    count = len(contrasts)
    day = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1  # 1 by day, -1 at night
    weather = WEATHER_SCALE * torch.randn(count, WEATHER, generator=generator)
    inputs = torch.cat([day * contrasts, day, weather], 1)

    fixed = torch.Generator().manual_seed(MAP_SEED)
    into = torch.randn(inputs.shape[1], UNITS, generator=fixed) * GAIN / inputs.shape[1] ** 0.5
    bias = torch.randn(UNITS, generator=fixed)
    out = torch.randn(UNITS, channels, generator=fixed) / UNITS**0.5
    seen: torch.Tensor = (inputs @ into + bias).tanh() @ out
    return seen + NOISE * torch.randn(seen.shape, generator=generator)
