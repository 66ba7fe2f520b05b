"""Supervised queries: tuples of images, and what was observed of each tuple."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nesy_gedi.data.image_sets import ImageSet
from nesy_gedi.errors import DataError

QUERIES_LIMIT = 10_000_000
"""More queries than this are refused: they are held in memory and each is labelled by the program."""


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
    With ``count`` 0 the images that do not fill a query are left out.

    Args:
        images: number of images to draw from.
        slots: images a query.
        count: number of queries; 0 for as many as use no image twice.
        seed: same seed, same tuples.

    Returns:
        (count, slots) int64.

    Raises:
        DataError: fewer images than slots, or more queries than can be held.
    """
    if count > QUERIES_LIMIT:
        raise DataError(f"{count} queries are too many, the limit is {QUERIES_LIMIT}", hint="ask for fewer queries")
    if images < slots:
        raise DataError(f"{images} images cannot fill the {slots} slots of a query", hint="use a larger split")
    wanted = (count or images // slots) * slots
    generator = torch.Generator().manual_seed(seed)
    decks = [torch.randperm(images, generator=generator)]
    while len(decks) * images < wanted:
        deck = torch.randperm(images, generator=generator)
        if begun := len(decks) * images % slots:
            # The query that the last deck began is completed with images that it does not hold yet.
            free = ~torch.isin(deck, decks[-1][-begun:])
            first = torch.zeros_like(free).index_fill_(0, free.nonzero()[: slots - begun, 0], True)
            deck = torch.cat([deck[first], deck[~first]])
        decks.append(deck)
    return torch.cat(decks)[:wanted].view(-1, slots)
