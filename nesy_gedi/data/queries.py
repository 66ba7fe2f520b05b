"""Supervised queries: tuples of images, and what was observed of each tuple."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nesy_gedi.data.image_sets import ImageSet
from nesy_gedi.errors import DataError


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries over one set of images.

    Attributes:
        images: the images that the queries draw on.
        index: which image stands in which slot, (n, slots) int64.
        answers: column of the observed answer, (n,) int64.
        observed: observed values of the slots that hold no image (target digits, say), (n, observed slots) int64.
    """

    images: ImageSet
    index: Tensor
    answers: Tensor
    observed: Tensor

    def __len__(self) -> int:
        return len(self.index)


def draw_tuples(images: int, slots: int, count: int, seed: int) -> Tensor:
    """Which images make up each query.

    Images are dealt out like cards: none is used again before all have been used, and no query holds one image twice.

    Args:
        images: number of images to draw from.
        slots: images a query.
        count: number of queries; 0 for as many as use no image twice.
        seed: same seed, same tuples.

    Returns:
        (count, slots) int64.

    Raises:
        DataError: fewer images than slots.
    """
    if images < slots:
        raise DataError(f"{images} images cannot fill the {slots} slots of a query", hint="use a larger split")
    a_deal = images // slots
    count = count or a_deal
    generator = torch.Generator().manual_seed(seed)
    deals = [
        torch.randperm(images, generator=generator)[: a_deal * slots].view(a_deal, slots)
        for _ in range(-(-count // a_deal))
    ]
    return torch.cat(deals)[:count]
