"""Labelled images or points in memory, and the stratified split that every source shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from nesy_gedi.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Labels:
    """What one attribute says about each image.

    Args:
        classes: class names; class ``k`` is ``classes[k]``.
        index: (n,) int64, values in ``0..len(classes) - 1``.

    Raises:
        DataError: ``index`` has another shape or type, or names a class that does not exist.
    """

    classes: tuple[str, ...]
    index: torch.Tensor

    def __post_init__(self) -> None:
        if self.index.ndim != 1 or self.index.dtype != torch.int64:
            raise DataError(
                f"labels must be an int64 tensor of shape (n,), not {_describe(self.index)}",
                hint="convert with torch.as_tensor(labels, dtype=torch.int64)",
            )
        if len(self.index):
            low, high = (int(bound) for bound in self.index.aminmax())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"labels lie in {low}..{high}, but {len(self.classes)} classes allow 0..{len(self.classes) - 1}",
                    hint="list every class name, in the order of the label values",
                )

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, or points, with one or more attributes; an ordinary set has the one attribute ``"class"``.

    Args:
        images: (n, channels, height, width) uint8; for points (n, d) float32, all finite.
        labels: attribute name -> its labels, each of length n.

    Raises:
        DataError: a wrong shape or type, points that are not finite, or labels of another length than the images.
    """

    images: torch.Tensor
    labels: Mapping[str, Labels]

    def __post_init__(self) -> None:
        are_points = self.images.ndim == 2
        if (self.images.ndim, self.images.dtype) not in ((4, torch.uint8), (2, torch.float32)):
            raise DataError(
                "images must be a uint8 tensor of shape (n, channels, height, width), or points a float32 tensor of "
                f"shape (n, d), not {_describe(self.images)}",
                hint="convert points with points.float()"
                if are_points
                else "scale grey levels to 0..255 and put the channels second",
            )
        if are_points and not bool(self.images.isfinite().all()):
            wrong = (~self.images.isfinite().all(1)).nonzero().flatten()
            raise DataError(
                f"{len(wrong)} of {len(self.images)} points are not finite, the first is number {int(wrong[0])}",
                hint="leave out points with missing or infinite coordinates",
            )
        for attribute, labels in self.labels.items():
            if len(labels) != len(self.images):
                raise DataError(
                    f'attribute "{attribute}" has {len(labels)} labels for {len(self.images)} images',
                    hint="give one label per image",
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image; (d,) of one point."""
        return tuple(self.images.shape[1:])

    def subset(self, indices: torch.Tensor | Sequence[int]) -> ImageSet:
        """The images at ``indices`` ((m,) integers), in that order and with their labels.

        Raises:
            DataError: ``indices`` is not a list of integers within ``0..n - 1``.
        """
        chosen = torch.as_tensor(indices)
        if chosen.numel() == 0:
            chosen = chosen.long()  # an empty list arrives as float
        if chosen.ndim != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise DataError(
                f"indices must be integers of shape (m,), not {_describe(chosen)}",
                hint="turn a mask into indices with mask.nonzero().flatten()",
            )
        chosen = chosen.long()
        if len(chosen) and (int(chosen.min()) < 0 or int(chosen.max()) >= len(self)):
            raise DataError(
                f"indices lie in {int(chosen.min())}..{int(chosen.max())}, but there are {len(self)} images",
                hint=f"stay within 0..{len(self) - 1}",
            )
        labels = {name: Labels(each.classes, each.index[chosen]) for name, each in self.labels.items()}
        return ImageSet(self.images[chosen], labels)

    def sample(self, count: int, seed: int) -> ImageSet:
        """``count`` images drawn at random, or all of them as they are where there are no more."""
        if len(self) <= count:
            return self
        return self.subset(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """The training and test images of one data set; both have the same shape, attributes and classes."""

    name: str
    train: ImageSet
    test: ImageSet


def unit_range(images: torch.Tensor) -> torch.Tensor:
    """Images of any shape with grey levels in [0, 1]: uint8 in 0..255 becomes float32; float, as of points, stays."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def split_validation(images: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Disjoint ``(train, validation)`` parts with ``count`` images for validation, in the original order.

    Stratified: every combination of attribute values gives its proportional share, rounded down or up.
    The same seed gives the same split.

    Raises:
        UsageError: ``count`` is negative or leaves no image to train on.
    """
    if not 0 <= count < len(images):
        raise UsageError(
            f"cannot set {count} of {len(images)} images aside for validation",
            hint=f"choose a count from 0 to {len(images) - 1}" if len(images) else "give at least one image",
        )
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[_stratified_choice(_strata(images), count, torch.Generator().manual_seed(seed))] = True
    return images.subset((~chosen).nonzero().flatten()), images.subset(chosen.nonzero().flatten())


def _strata(images: ImageSet) -> torch.Tensor:
    """(n,) int64: one number per combination of attribute values."""
    strata = torch.zeros(len(images), dtype=torch.int64)
    for labels in images.labels.values():
        # renumbered after each attribute, so that many attributes cannot overflow
        strata = (strata * len(labels.classes) + labels.index).unique(return_inverse=True)[1]
    return strata


def _stratified_choice(strata: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """(count,) indices, shared out among the strata by largest remainder; ties are broken at random."""
    _, stratum, sizes = strata.unique(return_inverse=True, return_counts=True)
    shares, remainders = sizes * count // len(strata), sizes * count % len(strata)
    order = torch.randperm(len(sizes), generator=generator)
    order = order[remainders[order].argsort(descending=True, stable=True)]
    shares[order[: count - int(shares.sum())]] += 1

    shuffled = torch.randperm(len(strata), generator=generator)
    grouped = shuffled[stratum[shuffled].argsort(stable=True)]
    rank = torch.arange(len(strata)) - (sizes.cumsum(0) - sizes)[stratum[grouped]]
    return grouped[rank < shares[stratum[grouped]]]


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
