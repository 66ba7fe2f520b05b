"""Labelled images or points in memory, and the stratified split that every source shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from nesy_gedi.errors import DataError, UsageError

UNKNOWN = -1
"""Stands in labels for an image whose class nobody has told."""


TEST_SHARE = 0.2
"""Of data that come unsplit, this share is for the test."""

TEST_SEED = 20240229
"""Draws that share: another value would be another data set."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What one attribute says about each image.

    Args:
        classes: class names; class ``k`` is ``classes[k]``.
        index: (n,) int64, values in ``0..len(classes) - 1``, or :data:`UNKNOWN`.

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
            if low < UNKNOWN or high >= len(self.classes):
                raise DataError(
                    f"labels lie in {low}..{high}, but {len(self.classes)} classes allow 0..{len(self.classes) - 1}",
                    hint="list every class name, in the order of the label values",
                )

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, or points, with one or more attributes; an ordinary set has the one attribute ``"class"``.

    Inputs of several kinds - images of two sizes, say, or images and vectors - are numbered one after the other; whoever
    reads ``images`` alone sees the first kind alone, and :meth:`take` gives any of them.

    Args:
        images: (n, channels, height, width) uint8; for points (n, d) and sequences (n, length, d) float32, all finite.
        labels: attribute name -> its labels, each as long as the set.
        others: inputs of further kinds, each like ``images``.

    Raises:
        DataError: a wrong shape or type, points that are not finite, or labels of another length than the images.
    """

    images: torch.Tensor
    labels: Mapping[str, Labels]
    others: tuple[torch.Tensor, ...] = ()

    def __post_init__(self) -> None:
        for part in (self.images, *self.others):
            _check_inputs(part)
        for attribute, labels in self.labels.items():
            if len(labels) != len(self):
                raise DataError(
                    f'attribute "{attribute}" has {len(labels)} labels for {len(self)} images',
                    hint="give one label per image",
                )

    def __len__(self) -> int:
        return sum(len(part) for part in (self.images, *self.others))

    def to(self, device: torch.device | str) -> ImageSet:
        """The same with its images on another device; labels stay."""
        return replace(self, images=self.images.to(device), others=tuple(part.to(device) for part in self.others))

    def part_of(self, index: torch.Tensor) -> torch.Tensor:
        """All inputs of the kind that those at ``index`` (any shape, int64) are of; the first kind where there are none.

        Raises:
            DataError: they are of several kinds.
        """
        return (self.images, *self.others)[self._kind(index)]

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """The inputs at ``index`` (m,) int64, which are all of one kind, (m, ...), on the device of the images.

        Raises:
            DataError: they are of several kinds.
        """
        if not self.others:  # nothing is read back from the device
            return self.images[index.to(self.images.device, non_blocking=True)]
        kind = self._kind(index)
        parts = (self.images, *self.others)
        start = sum(len(part) for part in parts[:kind])
        return parts[kind][(index - start).to(parts[kind].device)]

    def _kind(self, index: torch.Tensor) -> int:
        if not self.others:
            return 0
        parts = (self.images, *self.others)
        ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        kinds = torch.searchsorted(ends, index.cpu().contiguous(), right=True).unique().tolist()
        if len(kinds) > 1:
            shapes = ", ".join(str(tuple(parts[kind].shape[1:])) for kind in kinds)
            raise DataError(
                f"one network is asked about inputs of several shapes: {shapes}",
                hint="give all inputs of one network the same shape",
            )
        return int(kinds[0]) if kinds else 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image; (d,) of one point."""
        return tuple(self.images.shape[1:])

    def subset(self, indices: torch.Tensor | Sequence[int]) -> ImageSet:
        """The images at ``indices`` ((m,) integers), in that order and with their labels.

        Raises:
            DataError: ``indices`` is not a list of integers within ``0..n - 1``, or the inputs are of several kinds.
        """
        if self.others:
            raise DataError(
                "inputs of several kinds cannot be drawn from together", hint="learn from the answers: --method answers"
            )
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


def _check_inputs(inputs: torch.Tensor) -> None:
    kinds = ((4, torch.uint8), (2, torch.float32), (3, torch.float32))
    if (inputs.ndim, inputs.dtype) not in kinds:
        raise DataError(
            "images must be a uint8 tensor of shape (n, channels, height, width), or points and sequences a float32 tensor "
            f"of shape (n, d) or (n, length, d), not {_describe(inputs)}",
            hint="scale grey levels to 0..255 and put the channels second"
            if inputs.ndim == 4
            else "convert points with points.float()",
        )
    if inputs.ndim < 4 and not bool(inputs.isfinite().all()):
        wrong = (~inputs.isfinite().flatten(1).all(1)).nonzero().flatten()
        raise DataError(
            f"{len(wrong)} of {len(inputs)} points are not finite, the first is number {int(wrong[0])}",
            hint="leave out points with missing or infinite coordinates",
        )


@dataclass(frozen=True, eq=False)
class Observations:
    """Tuples of inputs as a table gives them, with what was observed of each.

    Attributes:
        index: which input stands in which column, (n, input columns) int64.
        values: the other columns: (n, value columns), as text.
        rows: where each comes from, for messages: the line of a file, or its number.
        source: that file, where splits have files of their own; else empty, and that of the queries holds.
    """

    index: torch.Tensor
    values: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class GivenQueries:
    """Observed tuples for each split. Those of ``train`` and ``validation`` are over the training images.

    Attributes:
        inputs: names of the input columns: variables of a query form; empty where columns go by their order.
        outputs: names of the value columns, likewise.
        source: the file, for messages.
        train, validation, test: ``validation`` is None where it is left to be drawn from ``train``.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str
    train: Observations
    validation: Observations | None
    test: Observations


@dataclass(frozen=True)
class Reading:
    """How data came from files, for people.

    Attributes:
        kind: ``image folder``, ``arrays``, ``table`` or ``data set``.
        skipped: files that could not be read and were left out.
        dropped: rows of a table that named one of these.
        cache: where decoded images are kept for the next time.
    """

    kind: str = "data set"
    skipped: tuple[str, ...] = ()
    dropped: int = 0
    cache: Path | None = None


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """The training and test images of one data set; both have the same shape, attributes and classes.

    Attributes:
        name: of the data set, or where it was read from.
        given: what was observed of tuples of these images; None where queries are drawn and the program answers them.
        reading: how it was read.
    """

    name: str
    train: ImageSet
    test: ImageSet
    given: GivenQueries | None = None
    reading: Reading = field(default_factory=Reading)


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


def split_test(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """``(train, test)`` of images that come unsplit: always the same fifth of them is for the test, stratified.

    Raises:
        DataError: a single image.
    """
    if len(images) < 2:
        raise DataError(f"{len(images)} image is too few for training and test", hint="give two or more")
    return split_validation(images, test_count(len(images)), TEST_SEED)


def test_count(total: int) -> int:
    """How many of ``total`` are for the test where nobody says."""
    return max(1, round(total * TEST_SHARE))


def _strata(images: ImageSet) -> torch.Tensor:
    """(n,) int64: one number per combination of attribute values."""
    strata = torch.zeros(len(images), dtype=torch.int64)
    for labels in images.labels.values():
        # renumbered after each attribute, so that many attributes cannot overflow; UNKNOWN is a value of its own
        strata = (strata * (len(labels.classes) + 1) + labels.index - UNKNOWN).unique(return_inverse=True)[1]
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
