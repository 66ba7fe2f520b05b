"""Images that say what they are: the class in the first pixel, a number of their own in the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet, ImageSplits, Labels, Queries

DIGITS = tuple("0123456789")


def numbered(classes: Tensor, begin: int = 0, names: tuple[str, ...] = DIGITS) -> ImageSet:
    """One image for each of ``classes`` (n,); they are numbered from ``begin``."""
    own = torch.arange(begin, begin + len(classes))
    pixels = torch.stack([classes, own // 65536 % 256, own // 256 % 256, own % 256], 1).to(torch.uint8)
    return ImageSet(pixels.view(-1, 1, 2, 2), {"class": Labels(names, classes)})


def splits_of(train: int, test: int, names: tuple[str, ...] = DIGITS) -> ImageSplits:
    """``train`` and ``test`` images of each class."""
    classes = torch.arange(len(names))
    training = numbered(classes.repeat(train), names=names)
    return ImageSplits("numbered", training, numbered(classes.repeat(test), len(training), names))


LIKE_MNIST = splits_of(5400, 890)
"""About as many of each digit as MNIST has of the rarest."""


def numbers_of(queries: Queries) -> Tensor:
    """The own number of the image in each slot, (n, slots)."""
    pixels = queries.images.images.view(-1, 4).long()
    return (pixels[:, 1:] * torch.tensor([65536, 256, 1])).sum(1)[queries.index]


def classes_of(queries: Queries) -> Tensor:
    """The class of the image in each slot, (n, slots)."""
    return queries.images.labels["class"].index[queries.index]


class Misreads(nn.Module):
    """Sees each symbol as ``seen_as`` says, with certainty."""

    def __init__(self, seen_as: list[int]) -> None:
        super().__init__()
        self.seen_as = torch.tensor(seen_as)

    def forward(self, images: Tensor) -> Tensor:
        symbols = self.seen_as[images[:, 0, 0, 0].long()]
        return torch.full((len(images), len(self.seen_as)), -torch.inf).scatter_(1, symbols[:, None], 0.0)
