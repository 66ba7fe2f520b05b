"""Playing cards: the embedded digits, printed in the colour of a suit."""

from __future__ import annotations

import torch

from nesy_gedi.data.cards import Card
from nesy_gedi.data.image_sets import ImageSet, Labels

INKS = {"hearts": (200, 30, 40), "spades": (35, 35, 45)}  # RGB
PAPER = (215.0, 250.0)  # grey level
NOISE = 6.0  # standard deviation of each channel of each pixel, in grey levels


def print_cards(digits: ImageSet, card: Card, seed: int) -> ImageSet:
    """The digits (n, 1, height, width) as cards (n, 3, height, width) with the attributes ``rank`` and ``suit``.

    Args:
        digits: with the attribute ``class``, the rank.
        card: whose attributes name ranks and suits.
        seed: of suits, paper and noise. Of each rank, as many cards are of either suit (up to one).
    """
    generator = torch.Generator().manual_seed(seed)
    rank = digits.labels["class"].index
    suit = torch.empty_like(rank)
    for k in range(len(card.attributes["rank"])):
        chosen = (rank == k).nonzero().flatten()
        suit[chosen] = torch.randperm(len(chosen), generator=generator) % len(INKS)
    inks = torch.tensor([INKS[name] for name in card.attributes["suit"]], dtype=torch.float32)
    low, high = PAPER
    paper = (low + (high - low) * torch.rand(len(rank), generator=generator)).view(-1, 1, 1, 1)
    pixels = paper + digits.images / 255 * (inks[suit][:, :, None, None] - paper)
    pixels = pixels + NOISE * torch.randn(pixels.shape, generator=generator)
    labels = {"rank": Labels(card.attributes["rank"], rank), "suit": Labels(card.attributes["suit"], suit)}
    return ImageSet(pixels.round().clamp(0, 255).to(torch.uint8), labels)
