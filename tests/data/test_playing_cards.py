"""Playing cards: the embedded digits, each in the colour of its suit."""

from __future__ import annotations

import torch

from nesy_gedi.data import ImageSet, load_card, load_images
from nesy_gedi.data.playing_cards import INKS, print_cards
from nesy_gedi.data.readers import read_digits


def printed(seed: int = 3) -> tuple[ImageSet, ImageSet]:
    digits = read_digits(load_card("digits"))
    return digits, print_cards(digits, load_card("playing-cards"), seed)


def test_ranks_are_the_digits_and_suits_are_balanced_in_each() -> None:
    digits, cards = printed()
    assert torch.equal(cards.labels["rank"].index, digits.labels["class"].index)
    for rank in range(10):
        suits = cards.labels["suit"].index[cards.labels["rank"].index == rank].bincount(minlength=2)
        assert abs(int(suits[0] - suits[1])) <= 1


def test_full_ink_is_the_suit_and_no_ink_is_paper() -> None:
    digits, cards = printed()
    for k, suit in enumerate(cards.labels["suit"].classes):
        chosen = cards.labels["suit"].index == k
        ink, pixels = digits.images[chosen], cards.images[chosen].float().movedim(1, -1)
        full, none = pixels[(ink == 255)[:, 0]], pixels[(ink == 0)[:, 0]]
        assert (full.mean(0) - torch.tensor(INKS[suit]).float()).abs().max() < 1.5
        assert 230 < float(none.mean()) < 236
        assert float(none.std(0).max()) < 15


def test_the_same_seed_prints_the_same() -> None:
    assert torch.equal(printed()[1].images, printed()[1].images)
    assert not torch.equal(printed()[1].labels["suit"].index, printed(4)[1].labels["suit"].index)


def test_the_data_set_has_every_card_of_either_split() -> None:
    for part in (load_images("playing-cards").train, load_images("playing-cards").test):
        kinds = part.labels["rank"].index * 2 + part.labels["suit"].index
        assert int(kinds.bincount(minlength=20).min()) > 10
