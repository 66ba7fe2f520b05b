"""Splits over a support: exactly as many queries of each tuple as asked for, and no image in two of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_images import LIKE_MNIST, classes_of, numbered, numbers_of, splits_of

from nesy_gedi.data import ImageSplits, Queries
from nesy_gedi.errors import DataError, RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import splits as splits_module
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import DataRecipe, Recipe, load_recipe
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task

SMALL_ADDITION = """
nn(digit_net, [X], Y, [0..3]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""


def bundled(name: str, source: str | None = None, **overrides: object) -> Task:
    found = find_program(name)
    return Task(Program.load(found.path), load_recipe(found.recipe, source=source, overrides=overrides))


def small(*support: str, seed: int = 0, **data: object) -> Task:
    recipe = Recipe("addition(X, Y, Sum)", seed=seed, data=DataRecipe(support=support, **data))  # type: ignore[arg-type]
    return Task(Program(SMALL_ADDITION), recipe)


def counts(queries: Queries) -> Counter[tuple[int, ...]]:
    return Counter(tuple(row) for row in classes_of(queries).tolist())


def parts(splits: Splits) -> list[Queries]:
    return [splits.train, splits.validation, splits.test]


def refuse_shared_images(splits: Splits) -> None:
    used = [set(numbers_of(queries).flatten().tolist()) for queries in parts(splits)]
    assert not used[0] & used[1]
    assert not used[0] & used[2]
    assert not used[1] & used[2]


# -- as published ------------------------------------------------------------------------------------------------------

HALF = {(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)}
ONE_ORDER = [(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)]
EVEN_ODD = {*ONE_ORDER, *((b, a) for a, b in ONE_ORDER)}


@pytest.mark.parametrize(
    ("name", "pairs", "digits", "sizes"),
    [("mnist_half", HALF, 5, (2940, 840, 420)), ("mnist_evenodd", EVEN_ODD, 10, (6720, 1920, 960))],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_exactly_as_published(
    name: str, pairs: set[tuple[int, int]], digits: int, sizes: tuple[int, ...], seed: int
) -> None:
    splits = bundled(name, "mnist", seed=seed).queries(LIKE_MNIST)
    assert tuple(len(queries) for queries in parts(splits)) == sizes
    for queries, each in zip(parts(splits), (420, 120, 60), strict=True):
        assert counts(queries) == dict.fromkeys(pairs, each)
        assert len(numbers_of(queries).unique()) == 2 * len(queries)  # there are enough: no image twice
    refuse_shared_images(splits)

    outside = splits.test.outside
    assert outside is not None
    others = set(product(range(digits), repeat=2)) - pairs
    assert counts(outside.queries) == dict.fromkeys(others, 60)
    assert outside.tuples == len(others) == (18 if digits == 5 else 84)
    training = {*numbers_of(splits.train).flatten().tolist(), *numbers_of(splits.validation).flatten().tolist()}
    assert not training & set(numbers_of(outside.queries).flatten().tolist())
    seen_sums = {a + b for a, b in pairs}
    assert outside.seen_answer.tolist() == [a + b in seen_sums for a, b in classes_of(outside.queries).tolist()]


@pytest.mark.parametrize("name", ["mnist_half", "mnist_evenodd"])
def test_the_embedded_digits_are_enough_to_test(name: str, digits: ImageSplits) -> None:
    task = bundled(name)
    splits = task.queries(digits)
    assert task.support is not None
    for queries in parts(splits):
        assert len(set(counts(queries).values())) == 1
        assert len(counts(queries)) == len(task.support)
    for queries in (splits.validation, splits.test):
        assert len(queries.index.unique()) == 2 * len(queries)


def test_the_pool_is_every_training_image_of_the_domains_but_validation() -> None:
    for task in (bundled("mnist_half", "mnist"), bundled("mnist_half", "mnist", **{"data.support": []})):
        splits = task.queries(LIKE_MNIST)
        validation = set(splits.validation.images.images.view(-1, 4)[splits.validation.index.unique()].unbind())
        assert splits.pool is splits.train.images  # no copy
        assert len(splits.pool) == 5 * 5400 - len(splits.validation.images)
        assert int(splits.pool.labels["class"].index.max()) == 4
        assert len(validation) == 2 * len(splits.validation) == len(splits.validation.images)


# -- counts ------------------------------------------------------------------------------------------------------------

TUPLES = [f"{a} {b}" for a, b in product(range(4), repeat=2)]
cases = st.tuples(
    st.lists(st.sampled_from(TUPLES), min_size=1, max_size=15, unique=True),
    st.tuples(*[st.integers(0, 40)] * 3),
    st.integers(4, 30),
    st.integers(2, 10),
    st.integers(0, 5),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases)
def test_balanced_disjoint_and_dealt_like_cards(
    case: tuple[list[str], tuple[int, int, int], int, int, int],
) -> None:
    support, sizes, have, have_test, seed = case
    train, validation, test = sizes
    task = small(*support, seed=seed, train=train, validation=validation, test=test)
    images = splits_of(have, have_test)
    splits = task.queries(images)
    refuse_shared_images(splits)
    pairs = {tuple(int(name) for name in text.split()) for text in support}
    for queries, asked in zip(parts(splits), sizes, strict=True):
        found = counts(queries)
        assert set(found) <= pairs
        assert max(found.values()) - min([found[pair] for pair in pairs]) <= 1
        if asked:
            assert len(queries) == asked
        numbers = numbers_of(queries)
        assert all(len(set(row)) == 2 for row in numbers.tolist())
        for digit in range(4):  # images of a digit are used equally often, up to one time
            used = Counter(numbers[classes_of(queries) == digit].tolist())
            unused = int((queries.images.labels["class"].index == digit).sum()) - len(used)
            assert not used or max(used.values()) - (0 if unused else min(used.values())) <= 1
    assert splits.test.outside is not None
    assert not set(counts(splits.test.outside.queries)) & pairs


def test_zero_is_as_many_as_use_no_image_twice() -> None:
    splits = small("0 0", "0 1", "2 3").queries(splits_of(100, 30))
    # Zeros decide: three for each round of tuples, of ten held out, of ninety to train with and of thirty to test with.
    for queries, each in zip(parts(splits), (30, 3, 10), strict=True):
        assert counts(queries) == dict.fromkeys([(0, 0), (0, 1), (2, 3)], each)
        assert len(numbers_of(queries).unique()) == 2 * len(queries)


def test_more_training_queries_keep_those_that_were_there() -> None:
    images = splits_of(50, 10)
    few, many = (small("0 1", "1 2", "3 3", train=n, validation=9).queries(images) for n in (7, 60))
    assert torch.equal(numbers_of(many.train)[:7], numbers_of(few.train))
    assert torch.equal(numbers_of(many.validation), numbers_of(few.validation))


def test_the_seed_moves_everything_but_the_test_queries() -> None:
    images = splits_of(50, 10)
    one, other = (small("0 1", "1 2", "3 3", seed=seed, train=30, validation=9).queries(images) for seed in (0, 1))
    assert not torch.equal(numbers_of(one.train), numbers_of(other.train))
    assert not torch.equal(numbers_of(one.validation), numbers_of(other.validation))
    assert torch.equal(numbers_of(one.test), numbers_of(other.test))
    assert one.test.outside is not None
    assert other.test.outside is not None
    assert torch.equal(numbers_of(one.test.outside.queries), numbers_of(other.test.outside.queries))


def test_where_images_are_few_both_splits_repeat_theirs() -> None:
    splits = small("0 1", train=300, validation=100).queries(splits_of(20, 10))
    refuse_shared_images(splits)
    assert len(numbers_of(splits.train).unique()) == 2 * 15
    assert len(numbers_of(splits.validation).unique()) == 2 * 5


# -- outside -----------------------------------------------------------------------------------------------------------


def test_outside_there_are_as_many_of_each_tuple_as_inside_unless_a_number_is_given() -> None:
    images = splits_of(20, 10)
    for asked, expected in ((0, 13 * 4), (26, 26), (5, 5)):
        test = small("0 1", "1 2", "3 3", test=12, outside=asked).test_queries(images)
        assert test.outside is not None
        assert len(test.outside.queries) == expected
        assert test.outside.tuples == len(counts(test.outside.queries)) == min(13, expected)


def test_outside_is_bounded_where_no_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits_module, "OUTSIDE_QUERIES", 8)
    test = small("0 1", "1 2", "3 3", test=12).test_queries(splits_of(20, 10))
    assert test.outside is not None
    assert (len(test.outside.queries), test.outside.tuples) == (8, 8)


def test_nothing_lies_outside() -> None:
    images = splits_of(20, 10)
    assert small(*TUPLES).test_queries(images).outside is None
    assert small().test_queries(images).outside is None
    with pytest.raises(RecipeError, match=r"nothing lies outside: data\.support holds every tuple"):
        small(*TUPLES, outside=5).test_queries(images)


# -- several networks --------------------------------------------------------------------------------------------------


def test_slots_of_different_networks_share_out_the_images(shapes: ImageSplits) -> None:
    task = bundled("crossing", **{"data.support": ["red true", "amber false"], "data.train": 60})
    assert [concept.network for concept in task.concepts] == ["light_net", "sign_net"]
    for queries in parts(task.queries(shapes)):
        light = task.symbols("light_net", queries.images)[queries.index[:, 0]]
        sign = task.symbols("sign_net", queries.images)[queries.index[:, 1]]
        assert set(zip(light.tolist(), sign.tolist(), strict=True)) == {(0, 1), (1, 0)}
        assert len(queries.index.unique()) == 2 * len(queries)
    outside = task.test_queries(shapes).outside
    assert outside is not None
    assert outside.tuples == 4


def test_an_image_that_several_networks_read(shapes: ImageSplits) -> None:
    task = bundled("naming", **{"data.support": ["circle red true", "square green false"], "data.train": 40})
    assert [concept.network for concept in task.concepts] == ["shape_net", "colour_net", "filled_net"]
    for queries in parts(task.queries(shapes)):
        seen = torch.stack([task.symbols(c.network, queries.images)[queries.index[:, 0]] for c in task.concepts], 1)
        assert seen.unique(dim=0).tolist() == [[0, 0, 1], [1, 2, 0]]
        assert {task.reasoner.answers[k] for k in queries.answers.tolist()} == {"tomato", "frame"}
    outside = task.test_queries(shapes).outside
    assert outside is not None
    assert outside.tuples == 3 * 3 * 2 - 2


def test_combinations_that_no_image_shows_are_left_out(shapes: ImageSplits) -> None:
    task = bundled("naming", **{"data.support": ["circle red true", "square green false"]})
    colour, shape = (shapes.test.labels[name].index for name in ("colour", "shape"))
    no_amber_triangle = shapes.test.subset(((colour != 1) | (shape != 2)).nonzero()[:, 0])
    outside = task.test_queries(replace(shapes, test=no_amber_triangle)).outside
    assert outside is not None
    assert outside.tuples == 3 * 3 * 2 - 2 - 2


# -- too few -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("support", "have", "message"),
    [
        (("3 3",), 3, "3 training images with digit_net = 3 are too few, 4 are needed: validation shares none with"),
        (("0 1", "3 0"), 1, "1 training images with digit_net = 0 are too few, 2 are needed"),
    ],
)
def test_too_few_training_images(support: tuple[str, ...], have: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        small(*support).queries(splits_of(have, 10))
    assert caught.value.message.startswith(message)
    assert caught.value.where == "data.support"
    assert small(*support).queries(splits_of(have + 1, 10))


def test_too_few_test_images() -> None:
    images = splits_of(10, 10)
    few = ImageSplits("few", images.train, numbered(torch.tensor([0, 1, 2, 3, 3]), 1000))
    assert len(small("3 3").test_queries(few)) == 1
    with pytest.raises(DataError) as caught:
        small("3 3", "0 0").test_queries(few)
    assert caught.value.message == "1 test images with digit_net = 0 are too few, 2 are needed"
