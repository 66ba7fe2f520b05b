"""Data as a person brings it: tuples of inputs with their answers, and images that nobody has labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits
from nesy_gedi.data.image_sets import GivenQueries, Observations
from nesy_gedi.logic.program import Program

ADDITION = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
MIXED = """
nn(digit_net, [X], Y, [0..2]) :: digit(X, Y).
nn(side_net, [P], S, [left, right]) :: side(P, S).
signed(P, X, N) :- digit(X, A), side(P, right), N is A.
signed(P, X, N) :- digit(X, A), side(P, left), N is -A - 1.
"""
SAME = """
nn(same_net, [X, Y], S, [same, different]) :: same(X, Y, S).
alike(X, Y, S) :- same(X, Y, S).
"""
SEED = 20261122


def program(text: str) -> Program:
    return Program(text, name="mine.pl")


def rows(index: Tensor, values: Sequence[Sequence[str]]) -> Observations:
    """Rows of a table below one line of names."""
    return Observations(index, tuple(map(tuple, values)), tuple(range(2, len(index) + 2)))


def observed(classes: Tensor, count: int, seed: int, answer: Callable[[int, int], object]) -> Observations:
    """Pairs of inputs drawn at random, and what is said of their ``classes`` (n,)."""
    index = torch.randint(len(classes), (count, 2), generator=torch.Generator().manual_seed(seed))
    return rows(index, [(str(answer(a, b)),) for a, b in classes[index].tolist()])


def splits(
    train: ImageSet, test: ImageSet, given: tuple[Observations, Observations], names: tuple[str, ...] = ()
) -> ImageSplits:
    """Data whose first columns are inputs and whose last ``names`` are values; in order without names."""
    inputs, outputs = (names[:-1], names[-1:]) if names else ((), ())
    return ImageSplits("mine", train, test, GivenQueries(inputs, outputs, "mine.csv", given[0], None, given[1]))


def unlabelled_sums(digits: ImageSplits, train: int = 500, test: int = 100, classes: int = 10) -> ImageSplits:
    """Digits that nobody has labelled, and sums of two."""
    bare, parts = [], []
    for images, count, seed in ((digits.train, train, SEED), (digits.test, test, SEED + 1)):
        pictures, own = below(images, classes)
        bare.append(ImageSet(pictures, {}))
        parts.append(observed(own, count, seed, lambda a, b: a + b))
    return splits(bare[0], bare[1], (parts[0], parts[1]))


def below(images: ImageSet, classes: int) -> tuple[Tensor, Tensor]:
    """Images of the first classes, and their classes."""
    index = images.labels["class"].index
    return images.images[index < classes], index[index < classes]


def mixed(digits: ImageSplits, train: int = 300, test: int = 80) -> ImageSplits:
    """Digits below three and points on either side; a point and a digit stand in each row."""
    generator = torch.Generator().manual_seed(SEED)
    sets, given = [], []
    for images, count in ((digits.train, train), (digits.test, test)):
        pictures, classes = below(images, 3)
        right = torch.randint(2, (60,), generator=generator)
        points = torch.randn(60, 2, generator=generator) * 0.4 + (right * 4.0 - 2.0)[:, None]
        digit = torch.randint(len(pictures), (count,), generator=generator)
        point = torch.randint(60, (count,), generator=generator)
        answers = torch.where(right[point] == 1, classes[digit], -classes[digit] - 1).tolist()
        sets.append(ImageSet(pictures, {}, (points,)))
        given.append(rows(torch.stack([point + len(pictures), digit], 1), [(str(n),) for n in answers]))
    return splits(sets[0], sets[1], (given[0], given[1]), ("P", "X", "N"))


def pairs(digits: ImageSplits, train: int = 300, test: int = 80) -> ImageSplits:
    """Pairs of zeros and ones, which are the same or different."""
    sets, given = [], []
    for images, count, seed in ((digits.train, train, SEED), (digits.test, test, SEED + 1)):
        pictures, classes = below(images, 2)
        sets.append(ImageSet(pictures, {}))
        given.append(observed(classes, count, seed, lambda a, b: "same" if a == b else "different"))
    return splits(sets[0], sets[1], (given[0], given[1]))
