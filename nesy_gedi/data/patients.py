"""Patients as vectors of sensors: symptoms that a small network reads and a linear model does not.

Each symptom has sensors of its own. What they show is a fixed pattern for each of the symptom's classes, more or less
strong, with noise; and as a group of sensors may be put on the wrong way round, the pattern or its opposite.
"""

from __future__ import annotations

import itertools

import torch

from nesy_gedi.data.cards import load_card
from nesy_gedi.data.image_sets import ImageSet, Labels
from nesy_gedi.errors import UsageError

PATTERN_SEED = 20240301
"""Of the patterns of all classes: another value would be another data set."""

STRENGTH = (0.7, 1.3)  # of a patient's pattern
NOISE = 0.2  # standard deviation of each sensor, where those of patterns are one


def generate_patients(count: int, seed: int) -> ImageSet:
    """``count`` patients with the attributes ``fever``, ``cough``, ``rash`` and ``breath``.

    All combinations of values are equally frequent (up to one patient) and in random order. Patients are (count, 32)
    float32; the same seed gives the same patients.

    Args:
        count: how many.
        seed: of the order, the sensors' sides, the strength and the noise; the patterns are fixed.

    Raises:
        UsageError: ``count`` is negative.
    """
    if count < 0:
        raise UsageError(f"cannot generate {count} patients", hint="choose a count of 0 or more")
    card = load_card("patients")
    generator = torch.Generator().manual_seed(seed)
    combinations = torch.tensor(list(itertools.product(*(range(len(classes)) for classes in card.attributes.values()))))
    values = combinations[torch.randperm(count, generator=generator) % len(combinations)]
    labels = {name: Labels(each, values[:, k].clone()) for k, (name, each) in enumerate(card.attributes.items())}
    sensors = card.image_shape[0] // len(labels)  # of each symptom
    patterns = torch.Generator().manual_seed(PATTERN_SEED)
    groups = []
    for each in labels.values():
        shown = torch.randn(len(each.classes), sensors, generator=patterns)[each.index]
        side = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
        low, high = STRENGTH
        groups.append(side * (low + (high - low) * torch.rand(count, 1, generator=generator)) * shown)
    seen = torch.cat(groups, 1)
    return ImageSet(seen + NOISE * torch.randn(seen.shape, generator=generator), labels)
