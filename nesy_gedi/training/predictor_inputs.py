"""What a predictor is asked about, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nesy_gedi.errors import DataError, UsageError, did_you_mean
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.forms import QueryForm

Images = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""Slot -> images (n, ...); or these in the order of the slots; or those of the only slot."""

Given = Mapping[str, str | Sequence[str]]
"""Observed slot -> its value, for all queries or for each of them."""


def images_by_slot(images: Images, shapes: Mapping[str, tuple[int, ...]], form: QueryForm) -> dict[str, Tensor]:
    """Slot -> images (n, ...), checked.

    Args:
        shapes: slot -> shape of one image, in the order of the slots.

    Raises:
        UsageError: no images for a slot, or for one that there is not; another number of them than of others.
        DataError: images of another shape.
    """
    slots = tuple(shapes)
    expected = f"{form.text} takes images for {', '.join(slots)}"
    if isinstance(images, Tensor):
        images = (images,)
    if not isinstance(images, Mapping):
        if len(images) != len(slots):
            raise UsageError(
                f"{expected}; {len(images)} given", where="images", hint="give one tensor for each of these"
            )
        images = dict(zip(slots, images, strict=True))
    if unknown := sorted(images.keys() - set(slots)):
        raise UsageError(
            f"{unknown[0]} takes no image: {expected}", where="images", hint=did_you_mean(unknown[0], slots)
        )
    if missing := [slot for slot in slots if slot not in images]:
        raise UsageError(f"{expected}; none given for {missing[0]}", where="images", hint="give one for each")
    sizes = {slot: len(images[slot]) for slot in slots}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{n} for {slot}" for slot, n in sizes.items())
        raise UsageError(f"as many images for each slot, not {counts}", where="images", hint="row k is query k")
    for slot in slots:
        if tuple(images[slot].shape[1:]) != shapes[slot]:
            raise DataError(
                f"images of shape {tuple(images[slot].shape[1:])}, the network expects {shapes[slot]}",
                where=f"slot {slot}",
                hint="resize them; nesy-gedi predict does so with files",
            )
    return {slot: images[slot] for slot in slots}


def given_values(given: Given, observed: Sequence[NeuralInput], form: QueryForm, count: int) -> dict[str, Tensor]:
    """Observed slot -> positions in its domain, (count,) int64, of those that are given.

    Raises:
        UsageError: a slot that nothing can be given for, a value outside its domain, or too few of them.
    """
    items = {item.slots[0]: item for item in observed}
    found = {}
    for slot, stated in given.items():
        if slot not in items:
            what = "is found by the program" if slot in form.outputs else "is not given"
            names = f"values can be given for: {', '.join(items)}" if items else "there is nothing that can be given"
            raise UsageError(f"{slot} {what} in {form.text}", where="given", hint=names)
        domain = items[slot].domain
        texts = [stated] * count if isinstance(stated, str) else list(map(str, stated))
        if len(texts) != count:
            raise UsageError(f"{len(texts)} values of {slot} for {count} queries", where="given", hint="give one each")
        place = {symbol: k for k, symbol in enumerate(domain)}
        if wrong := next((text for text in texts if text not in place), None):
            raise UsageError(f"{slot} cannot be {wrong}", where="given", hint=did_you_mean(wrong, domain))
        found[slot] = torch.tensor([place[text] for text in texts], dtype=torch.long)
    return found
