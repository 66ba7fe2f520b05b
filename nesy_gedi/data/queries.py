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
        outside: what test queries come with, where training is restricted to some tuples of symbols.
    """

    images: ImageSet
    index: Tensor
    answers: Tensor
    observed: Tensor
    outside: Outside | None = None

    def __len__(self) -> int:
        return len(self.index)

    def first(self, count: int) -> Queries:
        """The first ``count`` of them, or all where there are fewer; without those outside."""
        return Queries(self.images, self.index[:count], self.answers[:count], self.observed[:count])


@dataclass(frozen=True, eq=False)
class Outside:
    """Queries over tuples of symbols that no training query shows: how far what was learned carries.

    Attributes:
        queries: out of distribution, over test images.
        tuples: how many different tuples of symbols they hold.
        seen_answer: which of them ask for an answer that the training tuples have, too, (n,) bool.
    """

    queries: Queries
    tuples: int
    seen_answer: Tensor


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
    _check_count(count)
    if images < slots:
        raise DataError(f"{images} images cannot fill the {slots} slots of a query", hint="use a larger split")
    hands = torch.full((count or images // slots,), slots)
    return _deal(images, hands, torch.Generator().manual_seed(seed)).view(-1, slots)


def draw_kinds(kinds: Tensor, wanted: Tensor, seed: int) -> Tensor:
    """Which images make up each query, where it is known what kind of image each slot must hold.

    The images of each kind are dealt out like cards, as by :func:`draw_tuples`; queries appended to ``wanted`` leave
    those before them as they are.

    Args:
        kinds: the kind of each image, (n,) int64, zero or more.
        wanted: the kind that each slot of each query asks for, (count, slots) int64.
        seed: same seed, same images.

    Returns:
        (count, slots) int64.

    Raises:
        DataError: a query asks for more images of a kind than there are, or more queries than can be held.
    """
    _check_count(len(wanted))
    index = torch.empty_like(wanted)
    last = max((int(each.max()) for each in (kinds, wanted) if each.numel()), default=-1)
    seeds = torch.randint(2**62, (last + 1,), generator=torch.Generator().manual_seed(seed))
    for kind in wanted.unique().tolist():
        cards, asked = (kinds == kind).nonzero()[:, 0], wanted == kind
        hands = asked.sum(1)
        if len(cards) < (most := int(hands.max())):
            raise DataError(
                f"{len(cards)} images of kind {kind} cannot fill the {most} slots of a query that ask for it",
                hint="use a larger split",
            )
        dealt = _deal(len(cards), hands[hands > 0], torch.Generator().manual_seed(int(seeds[kind])))
        index[asked] = cards[dealt]
    return index


def _check_count(count: int) -> None:
    if count > QUERIES_LIMIT:
        raise DataError(f"{count} queries are too many, the limit is {QUERIES_LIMIT}", hint="ask for fewer queries")


def _deal(cards: int, hands: Tensor, generator: torch.Generator) -> Tensor:
    """Cards dealt to hands of the sizes ``hands`` (n,), 1 to ``cards`` each, one after the other: (sum of hands,) int64.

    No card is dealt again before all have been, and no hand holds one twice.
    """
    ends = hands.cumsum(0)
    wanted = int(ends[-1]) if len(ends) else 0
    decks = [torch.randperm(cards, generator=generator)]
    while (dealt := len(decks) * cards) < wanted:
        deck = torch.randperm(cards, generator=generator)
        hand = int(torch.searchsorted(ends, dealt, right=True))  # the one that gets the next card
        end = int(ends[hand])
        if begun := dealt - (end - int(hands[hand])):
            # The hand that the last deck began is completed with cards that it does not hold yet.
            free = ~torch.isin(deck, decks[-1][-begun:])
            first = torch.zeros_like(free).index_fill_(0, free.nonzero()[: end - dealt, 0], True)
            deck = torch.cat([deck[first], deck[~first]])
        decks.append(deck)
    return torch.cat(decks)[:wanted]
