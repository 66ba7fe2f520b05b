"""Queries for training, validation and test: as the data gives them; or drawn, over all tuples of images or balanced over
the tuples of a support."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits, Outside, Queries, draw_kinds, draw_tuples, split_validation
from nesy_gedi.errors import DataError, RecipeError
from nesy_gedi.training.given_queries import given_test, read_given
from nesy_gedi.training.support import OUTSIDE_SEED, has_seen_answer, outside_tuples

if TYPE_CHECKING:
    from nesy_gedi.training.task import Task

VALIDATION_SHARE = 0.1
"""Share of the training images held out for validation, where the recipe does not say."""

MOST_HELD_OUT = 0.25
"""Of the images of a kind, unless training leaves more over."""

TEST_SEED = 20261120
"""Test queries are the same for every run, so that runs can be compared."""

OUTSIDE_QUERIES = 20_000
"""Most queries outside the support, where the recipe does not say."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Queries for training, for choosing the best checkpoint, and for the final figures. No two share an image, unless they
    are given with the data.

    Attributes:
        given: the answers come with the data; else the program has computed them.
    """

    train: Queries
    validation: Queries
    test: Queries
    given: bool = False

    @property
    def pool(self) -> ImageSet:
        """All training images of the domains that are not held out for validation, in queries or not; with given queries all
        training images."""
        return self.train.images


def draw_splits(task: Task, images: ImageSplits) -> Splits:
    """Training, validation and test queries. Raises as :func:`draw_test`, and RecipeError as ``Task.symbol_map``."""
    what, seed = task.recipe.data, task.recipe.seed
    if images.given is not None:
        return Splits(*read_given(task, images, images.given, seed), given=True)
    pool = task.usable(images.train)
    if task.support is None:
        width = len(task.slots)
        held_out = what.validation * width or max(width, int(VALIDATION_SHARE * len(pool)))
        if held_out + width > len(pool):
            raise DataError(
                f"{len(pool)} images are too few: {held_out} for validation and {width} for a training query",
                hint="lower data.validation, or use more images",
            )
        train, validation = split_validation(pool, held_out, seed)
        return Splits(
            train=task.label(train, draw_tuples(len(train), width, what.train, seed), seed),
            validation=task.label(validation, draw_tuples(len(validation), width, what.validation, seed), seed),
            test=draw_test(task, images),
        )
    sorted_pool = _sort(task, pool, seed)
    sorted_pool.refuse_few(task.support, 2, "training")
    held = _hold_out(sorted_pool, sorted_pool.asked(task.support), what.train, what.validation, seed)
    return Splits(
        train=_draw(sorted_pool.subset(~held), task.support, what.train, seed),
        validation=_draw(sorted_pool.subset(held), task.support, what.validation, seed),
        test=draw_test(task, images),
    )


def draw_further(task: Task, train: Queries) -> Queries:
    """Queries over the images of the training queries, as many as use no image twice, whose answers could be asked for;
    raises DataError where the program cannot compute them."""
    what, images = task.recipe, train.images
    if task.support is None:
        return task.label(images, draw_tuples(len(images), len(task.slots), 0, what.seed), what.seed)
    return _draw(_sort(task, images, what.seed), task.support, 0, what.seed)


def draw_test(task: Task, images: ImageSplits) -> Queries:
    """Queries over the test images; the same for every seed. With a support, those outside it come with them.

    Raises:
        DataError: the images are too few.
        AnswerError: the program derives no answer for some tuple.
    """
    if images.given is not None:
        return given_test(task, images, images.given)
    what, test = task.recipe.data, task.usable(images.test)
    if task.support is None:
        return task.label(test, draw_tuples(len(test), len(task.slots), what.test, TEST_SEED), TEST_SEED)
    sorted_test = _sort(task, test, TEST_SEED)
    sorted_test.refuse_few(task.support, 1, "test")
    queries = _draw(sorted_test, task.support, what.test, TEST_SEED)
    others = outside_tuples(task, task.support)
    others = others[~sorted_test.few(others, 1).any(1)]  # there may be no image of some combination of attributes
    if not len(others):
        if what.outside:
            raise RecipeError(
                "nothing lies outside: data.support holds every tuple that has an answer",
                where="data.outside",
                hint="leave data.outside out",
            )
        return queries
    # Of each tuple outside as many as of each inside.
    natural = len(others) * max(1, round(len(queries) / len(task.support)))
    outside = _draw(sorted_test, others, what.outside or min(natural, OUTSIDE_QUERIES), OUTSIDE_SEED)
    distinct = min(len(others), len(outside))
    return replace(queries, outside=Outside(outside, distinct, has_seen_answer(task, task.support, outside)))


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Images sorted into kinds: a symbol for each network that reads a slot.

    Attributes:
        kinds: of each image, (n,) int64, below ``count``.
    """

    task: Task
    images: ImageSet
    kinds: Tensor
    count: int

    @property
    def have(self) -> Tensor:
        """How many images there are of each kind, (count,)."""
        return self.kinds.bincount(minlength=self.count)

    def subset(self, chosen: Tensor) -> _Sorted:
        """The images where ``chosen`` (n,) is true."""
        return replace(self, images=self.images.subset(chosen.nonzero()[:, 0]), kinds=self.kinds[chosen])

    def asked(self, tuples: Tensor) -> Tensor:
        """The kind that each slot of ``tuples`` (n, concepts) asks for, (n, slots)."""
        first, columns, begin = _first_kinds(self.task), [], 0
        for slot in self.task.slots:
            readers = self.task.networks_of(slot)
            columns.append(first[readers] + _number(self.task, readers, tuples[:, begin : begin + len(readers)]))
            begin += len(readers)
        return torch.stack(columns, 1)

    def few(self, tuples: Tensor, times: int) -> Tensor:
        """Where ``tuples`` (n, concepts) ask for more images of a kind than there are for ``times`` queries, (n, slots)."""
        asked = self.asked(tuples)
        return times * _alike(asked) > self.have[asked]

    def refuse_few(self, tuples: Tensor, times: int, split: str) -> None:
        """Raises DataError where no ``times`` queries of some tuple can be had without sharing an image."""
        few = self.few(tuples, times)
        if not bool(few.any()):
            return
        row, column = few.nonzero()[0].tolist()
        slot = self.task.slots[column]
        named = zip(self.task.concepts, tuples[row].tolist(), strict=True)
        kind = ", ".join(f"{c.network} = {c.domain[k]}" for c, k in named if c.slots[0] == slot)
        asked = self.asked(tuples)
        needed = times * int(_alike(asked)[row, column])
        raise DataError(
            f"{int(self.have[asked[row, column]])} {split} images with {kind} are too few, {needed} are needed"
            + (": validation shares none with training" if times > 1 else ""),
            where="data.support",
            hint="use a data set with more of them, or leave these tuples out",
        )


def _sort(task: Task, images: ImageSet, seed: int) -> _Sorted:
    """Where different networks read different slots, the images are shared out, so that none is of two kinds."""
    first = _first_kinds(task)
    turn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)) % len(task.slots)
    kinds = torch.empty(len(images), dtype=torch.long)
    for k, slot in enumerate(task.slots):
        readers = task.networks_of(slot)
        symbols = torch.stack([task.symbols(name, images) for name in readers], 1)[turn == k]
        kinds[turn == k] = first[readers] + _number(task, readers, symbols)
    return _Sorted(task, images, kinds, sum(int(_sizes(task, readers).prod()) for readers in first))


def _sizes(task: Task, readers: tuple[str, ...]) -> Tensor:
    return torch.tensor([len(task.program.networks[name]) for name in readers])


def _first_kinds(task: Task) -> dict[tuple[str, ...], int]:
    """Where the kinds begin that the networks of a slot tell apart."""
    first: dict[tuple[str, ...], int] = {}
    count = 0
    for readers in dict.fromkeys(task.networks_of(slot) for slot in task.slots):
        first[readers] = count
        count += int(_sizes(task, readers).prod())
    return first


def _number(task: Task, readers: tuple[str, ...], symbols: Tensor) -> Tensor:
    """One number for the symbols (n, networks) of an image, (n,)."""
    sizes = _sizes(task, readers)
    return (symbols * torch.cat([sizes[1:].flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.long)])).sum(1)


def _alike(asked: Tensor) -> Tensor:
    """How many slots of its tuple ask for the same kind, (n, slots)."""
    return (asked[:, :, None] == asked[:, None, :]).sum(2)


def _draw(images: _Sorted, tuples: Tensor, count: int, seed: int) -> Queries:
    """``count`` queries balanced over ``tuples`` (n, concepts); 0 for as many as use no image twice, each tuple once at
    least."""
    asked = images.asked(tuples)
    each = asked.flatten().bincount(minlength=images.count)
    rounds = max(1, int((images.have // each.clamp(min=1))[each > 0].min()))
    generator = torch.Generator().manual_seed(seed)
    count = count or rounds * len(tuples)
    order = [torch.randperm(len(tuples), generator=generator) for _ in range(-(-count // len(tuples)))]
    index = draw_kinds(images.kinds, asked[torch.cat(order)[:count]], seed)
    return images.task.label(images.images, index, seed)


def _hold_out(images: _Sorted, asked: Tensor, train: int, validation: int, seed: int) -> Tensor:
    """Which images are held out for validation, (n,) bool: as many of each kind as its queries ask for."""
    have = images.have
    each = asked.flatten().bincount(minlength=images.count)
    most = torch.zeros_like(each).scatter_reduce(0, asked.flatten(), _alike(asked).flatten(), "amax")
    if validation:
        # Where there are too few images for both, training repeats its own before validation takes more than its share.
        left = have - -(-train // len(asked)) * each if train else have // 2
        wanted = (-(-validation // len(asked)) * each).minimum(left.maximum((MOST_HELD_OUT * have).long()))
    else:
        wanted = torch.where(each > 0, (VALIDATION_SHARE * have).long(), 0)
    held = wanted.minimum(have - most).maximum(most)
    shuffled = torch.randperm(len(images.kinds), generator=torch.Generator().manual_seed(seed))
    grouped = shuffled[images.kinds[shuffled].argsort(stable=True)]
    rank = torch.arange(len(grouped)) - (have.cumsum(0) - have)[images.kinds[grouped]]
    chosen = torch.zeros(len(grouped), dtype=torch.bool)
    chosen[grouped[rank < held[images.kinds[grouped]]]] = True
    return chosen
