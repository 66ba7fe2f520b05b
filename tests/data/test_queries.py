"""Queries are dealt like cards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nesy_gedi.data import Queries, draw_kinds, draw_tuples, generate_shapes
from nesy_gedi.errors import DataError

deals = st.integers(1, 5).flatmap(
    lambda slots: st.tuples(st.integers(slots, 30), st.just(slots), st.integers(1, 60), st.integers(0, 2**63 - 1))
)
examples = settings(max_examples=150, deadline=None, derandomize=True)


@examples
@given(deals)
def test_no_query_holds_an_image_twice(deal: tuple[int, int, int, int]) -> None:
    images, slots, count, seed = deal
    index = draw_tuples(images, slots, count, seed)
    assert index.shape == (count, slots)
    assert index.dtype == torch.int64
    assert all(len(set(row)) == slots for row in index.tolist())


@examples
@given(deals)
def test_every_image_is_used_before_any_is_used_again(deal: tuple[int, int, int, int]) -> None:
    images, slots, count, seed = deal
    dealt = draw_tuples(images, slots, count, seed).flatten()
    # Images have been used equally often up to one time, not only in the end but after any number of cards.
    for begin in range(0, len(dealt), images):
        deck = dealt[begin : begin + images].tolist()
        assert len(set(deck)) == len(deck)
    assert 0 <= int(dealt.min()) <= int(dealt.max()) < images


@examples
@given(deals)
def test_the_seed_decides(deal: tuple[int, int, int, int]) -> None:
    images, slots, count, seed = deal
    index = draw_tuples(images, slots, count, seed)
    assert torch.equal(index, draw_tuples(images, slots, count, seed))
    more = draw_tuples(images, slots, count + 7, seed)
    assert torch.equal(more[:count], index)  # more labels keep the ones that were there


def test_seeds_differ() -> None:
    assert not torch.equal(draw_tuples(50, 2, 20, 0), draw_tuples(50, 2, 20, 1))


def test_all_images_get_into_all_slots() -> None:
    index = draw_tuples(7, 3, 700, 0)
    for column in index.T:
        counts = column.bincount(minlength=7)
        assert counts.min() > 0.7 * 100
        assert counts.max() < 1.3 * 100


@pytest.mark.parametrize(("images", "slots", "expected"), [(10, 2, 5), (11, 2, 5), (3, 3, 1), (5, 3, 1), (4, 1, 4)])
def test_zero_is_as_many_as_use_no_image_twice(images: int, slots: int, expected: int) -> None:
    index = draw_tuples(images, slots, 0, 0)
    assert index.shape == (expected, slots)
    assert len(index.unique()) == expected * slots


def test_too_few_images() -> None:
    assert sorted(draw_tuples(3, 3, 2, 0)[1].tolist()) == [0, 1, 2]
    with pytest.raises(DataError, match="2 images cannot fill the 3 slots of a query"):
        draw_tuples(2, 3, 0, 0)


# -- where the kind of image is known ----------------------------------------------------------------------------------

kinds = st.lists(st.integers(0, 3), min_size=1, max_size=30)
requests = st.integers(1, 4).flatmap(
    lambda slots: st.lists(st.lists(st.integers(0, 3), min_size=slots, max_size=slots), min_size=1, max_size=25)
)


@examples
@given(kinds, requests, st.integers(0, 2**63 - 1))
def test_every_slot_gets_its_kind(have: list[int], asked: list[list[int]], seed: int) -> None:
    kind, wanted = torch.tensor(have), torch.tensor(asked)
    most = {k: max(row.count(k) for row in asked) for k in range(4)}
    if any(have.count(k) < most[k] for k in range(4)):
        with pytest.raises(DataError, match="slots of a query that ask for it"):
            draw_kinds(kind, wanted, seed)
        return
    index = draw_kinds(kind, wanted, seed)
    assert torch.equal(kind[index], wanted)
    assert all(len(set(row)) == len(row) for row in index.tolist())
    for k in range(4):  # dealt like cards, after any number of them
        dealt = index[wanted == k].tolist()
        for begin in range(0, len(dealt), max(1, have.count(k))):
            deck = dealt[begin : begin + have.count(k)]
            assert len(set(deck)) == len(deck)
    assert torch.equal(index, draw_kinds(kind, wanted, seed))
    assert torch.equal(index[:5], draw_kinds(kind, wanted[:5], seed))  # more queries keep those that were there


def test_seeds_differ_where_kinds_are_known() -> None:
    kind, wanted = torch.arange(100) % 2, torch.tensor([[0, 1]] * 20)
    assert not torch.equal(draw_kinds(kind, wanted, 0), draw_kinds(kind, wanted, 1))


def test_no_query_of_no_kind() -> None:
    assert draw_kinds(torch.tensor([0, 1]), torch.empty(0, 2, dtype=torch.long), 0).shape == (0, 2)


@pytest.mark.parametrize("draw", [lambda n: draw_tuples(9, 1, n, 0), lambda n: draw_kinds(
    torch.zeros(9).long(), torch.zeros(1, 1).long().expand(n, 1), 0)])  # fmt: skip
def test_too_many_queries(draw: Callable[[int], object]) -> None:
    with pytest.raises(DataError, match="10000001 queries are too many"):
        draw(10_000_001)


def test_length() -> None:
    index = draw_tuples(6, 2, 0, 0)
    assert len(Queries(generate_shapes(6, 0), index, torch.zeros(3).long(), torch.empty(3, 0).long())) == 3
