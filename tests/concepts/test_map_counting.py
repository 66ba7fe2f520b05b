"""Counts of optimal maps: brute force over random programs, counts that are too large to list, and deadlines."""

from __future__ import annotations

import time
from itertools import permutations, product
from math import factorial, inf, isinf, perm, prod
from types import SimpleNamespace

import pytest
import torch
from every_map import addition, reasoner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_worlds import World, is_identity, one_to_one, worlds
from test_shortcuts import EVEN_ODD, HALF, XOR, columns, every_pair, exactly

from nesy_gedi.concepts import map_constraints, map_counting
from nesy_gedi.concepts.map_constraints import MapProblem
from nesy_gedi.concepts.map_counting import Count, count_solutions, log10
from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.concepts.shortcuts import count_joint, list_optimal_maps
from nesy_gedi.errors import UsageError

FAMILY = st.sampled_from(["shared", "factored"])
LONG = 600.0
"""Seconds: more than any of these needs, however busy the machine is."""

worth_trying = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def counted(shown: ShownTuples, *, one_to_one: bool, deadline: float = inf) -> Count:
    told = {place: int(shown.symbol_of[place]) for place in shown.told}
    return count_solutions(MapProblem.of(shown, one_to_one, deadline), told)


@worth_trying
@given(worlds(), FAMILY)
def test_counts_and_lists_are_those_of_brute_force(world: World, family: str) -> None:
    seen = world.observed(family)
    expected = seen.optimal()
    straight = [maps for maps in expected if one_to_one(maps)]
    for listed, only in ((expected, False), (straight, True)):
        found = list_optimal_maps(seen.shown, one_to_one=only, seconds=LONG, limit=10**6)
        assert found.count == exactly(len(expected))
        assert found.one_to_one == exactly(len(straight))
        assert found.complete
        assert {tuple(maps.items()) for maps in found.maps} == {seen.seen_part(maps) for maps in listed}
        assert len(found.maps) == len({tuple(maps.items()) for maps in found.maps})
        identity = next(maps for maps in listed if is_identity(maps))
        assert tuple(found.maps[0].items()) == seen.seen_part(identity)


@worth_trying
@given(worlds(), FAMILY)
def test_constraints_that_are_too_wide_to_look_at_wait(world: World, family: str) -> None:
    seen = world.observed(family)
    expected = seen.optimal()
    for most in (1, 2, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(map_constraints, "READINGS_AT_ONCE", most)
            patch.setattr(map_counting, "READINGS_AT_ONCE", most)
            assert counted(seen.shown, one_to_one=False) == exactly(len(expected))
            assert counted(seen.shown, one_to_one=True) == exactly(sum(map(one_to_one, expected)))
            found = list_optimal_maps(seen.shown, seconds=LONG, limit=10**6)
        assert {tuple(maps.items()) for maps in found.maps} == {seen.seen_part(maps) for maps in expected}


@worth_trying
@given(worlds(), FAMILY, st.integers(0, 80), st.booleans())
def test_whenever_the_time_is_up_bounds_hold_the_truth(world: World, family: str, ticks: int, only: bool) -> None:
    seen = world.observed(family)
    expected = [maps for maps in seen.optimal() if not only or one_to_one(maps)]
    clock = iter(range(10**9))
    with pytest.MonkeyPatch.context() as patch:
        for module in (map_constraints, map_counting):
            patch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        found = counted(seen.shown, one_to_one=only, deadline=ticks)
    assert found.lower <= len(expected) <= found.upper
    assert found.upper <= prod(size**size for size in seen.sizes().values())


@worth_trying
@given(worlds(), st.integers(1, 4))
def test_maps_of_whole_tuples(world: World, most: int) -> None:
    seen = world.observed("shared")
    rows, every = seen.shown_tuples(), seen.tuples()
    assume(len(rows) <= most and len(every) ** len(rows) <= 20_000)
    reading, straight = 0, 0
    for images in product(every, repeat=len(rows)):
        keeps = all(
            seen.answer(image) == seen.answer(row) and all(image[k] == row[k] for k in world.given if k in row)
            for row, image in zip(rows, images, strict=True)
        )
        reading += keeps
        straight += keeps and len({tuple(image.items()) for image in images}) == len(rows)
    found = count_joint(seen.shown)
    assert (found.count, found.one_to_one, found.tuples) == (exactly(reading), exactly(straight), len(rows))


def test_the_published_counts_of_other_families() -> None:
    def factored(shown: ShownTuples) -> int:
        found = counted(shown, one_to_one=False)
        assert found.exact
        return found.lower

    pairs, triples = every_pair(2), list(product((0, 1), repeat=3))
    xor, xor3 = reasoner(XOR, "xor(X, Y, R)"), reasoner(XOR, "xor3(X, Y, Z, R)")
    assert [factored(ShownTuples(addition(k), columns(every_pair(k)), family="factored")) for k in (2, 3, 5)] == [
        1,
        1,
        1,
    ]
    assert factored(ShownTuples(addition(5), columns(HALF), family="factored")) == 9
    assert factored(ShownTuples(addition(), columns(EVEN_ODD), family="factored")) == 36**2
    assert factored(ShownTuples(xor, columns(pairs), family="factored")) == 2
    assert factored(ShownTuples(xor3, columns(triples), family="factored")) == 4
    assert [count_joint(ShownTuples(addition(k), columns(every_pair(k)))).count for k in (2, 3)] == [
        exactly(4),
        exactly(432),
    ]
    assert count_joint(ShownTuples(addition(5), columns(HALF))).count == exactly(576)
    assert count_joint(ShownTuples(xor, columns(pairs))).count == exactly(16)
    assert count_joint(ShownTuples(xor3, columns(triples))).count == exactly(65_536)


def ways(total: int) -> int:
    """Pairs of digits with this sum."""
    return sum(a + b == total for a, b in every_pair(10))


def test_even_odd_in_all_families_within_seconds() -> None:
    made = addition()
    begun = time.perf_counter()
    shared = ShownTuples(made, columns(EVEN_ODD))
    found = [counted(shared, one_to_one=False), counted(shared, one_to_one=True)]
    found.append(counted(ShownTuples(made, columns(EVEN_ODD), family="factored"), one_to_one=False))
    joint = count_joint(shared)
    assert time.perf_counter() - begun < 6.0  # 2 on a machine that does nothing else
    assert found == [exactly(36), exactly(2), exactly(1296)]
    assert joint.count == exactly(prod(ways(a + b) for a, b in EVEN_ODD))
    assert joint.count.lower == pytest.approx(2.48e14, rel=0.005)


def test_all_sums_as_maps_of_whole_tuples_within_a_second() -> None:
    made = addition()
    begun = time.perf_counter()
    joint = count_joint(ShownTuples(made, columns(every_pair(10))))
    assert time.perf_counter() - begun < 3.0  # 1 on a machine that does nothing else
    assert joint.count.log10 == pytest.approx(78.67, abs=0.005)
    assert joint.one_to_one == exactly(prod(perm(ways(total), ways(total)) for total in range(19)))


@pytest.mark.parametrize("family", ["shared", "factored"])
def test_a_thousand_observed_pairs_within_seconds(family: str) -> None:
    made = addition()
    drawn = torch.randint(10, (1000, 2), generator=torch.Generator().manual_seed(0))
    begun = time.perf_counter()
    shown = ShownTuples(made, columns(drawn.tolist()), family=family)
    found = [counted(shown, one_to_one=False), counted(shown, one_to_one=True)]
    assert time.perf_counter() - begun < 15.0  # 5 on a machine that does nothing else
    assert found == [exactly(1), exactly(1)]


def chain(size: int, length: int) -> str:
    """The sum of many symbols, modulo their number, one after the other."""
    lines = [f"nn(net, [X], B, [0..{size - 1}]) :: symbol(X, B).", "sum1(X1, B) :- symbol(X1, B)."]
    for k in range(2, length + 1):
        before = ", ".join(f"X{i}" for i in range(1, k))
        body = f"sum{k - 1}({before}, A), symbol(X{k}, B), R is (A + B) mod {size}"
        lines.append(f"sum{k}({before}, X{k}, R) :- {body}.")
    return "\n".join(lines)


@pytest.mark.parametrize(("size", "length", "free"), [(4, 35, (0, 34)), (2, 70, (0, 1, 2)), (2, 70, (0, 35, 69))])
def test_codes_that_are_no_64_bit_integers(size: int, length: int, free: tuple[int, ...]) -> None:
    """2 ** 70 readings; labels tell all symbols of all slots but ``free``."""
    names = [f"X{k}" for k in range(1, length + 1)]
    made = reasoner(chain(size, length), f"sum{length}({', '.join(names)}, R)")
    rows = torch.randint(size, (4, length), generator=torch.Generator().manual_seed(0))
    symbols = {("net", name): rows[:, k] for k, name in enumerate(names)}
    told = {f"net({name})": range(size) for k, name in enumerate(names) if k not in free}
    shown = ShownTuples(made, symbols, told=told, family="factored")
    assert shown.classes.dtype == object
    expected = straight = 0
    for maps in product(product(range(size), repeat=size), repeat=len(free)):
        shifts = [sum(maps[i][row[k]] - row[k] for i, k in enumerate(free)) for row in rows.tolist()]
        if all(shift % size == 0 for shift in shifts):
            expected += 1
            straight += all(len(set(own)) == size for own in maps)
    assert counted(shown, one_to_one=False) == exactly(expected)
    assert counted(shown, one_to_one=True) == exactly(straight)
    assert 1 < straight < expected
    with pytest.raises(UsageError, match="too many"):
        count_joint(shown)


def test_no_time_at_all_bounds_from_both_sides() -> None:
    shown = ShownTuples(addition(), columns(EVEN_ODD))
    assert counted(shown, one_to_one=False, deadline=0.0) == Count(0, 10**10)
    assert counted(shown, one_to_one=True, deadline=0.0) == Count(0, factorial(10))


def test_counts_that_no_float_holds() -> None:
    """A network of 200 symbols of which one is shown: 200 ** 199 maps that read it as itself or as its double."""
    text = "nn(net, [X], D, [0..199]) :: digit(X, D).\nlow(X, yes) :- digit(X, D), D < 2.\nlow(X, no) :- digit(X, D), D >= 2.\n"
    shown = ShownTuples(reasoner(text, "low(X, R)"), columns([(0,)]))
    every, straight = counted(shown, one_to_one=False), counted(shown, one_to_one=True)
    assert every == exactly(2 * 200**199)
    assert straight == exactly(2 * factorial(199))
    assert every.log10 == pytest.approx(458.21, abs=0.005)
    with pytest.raises(OverflowError):
        float(every.lower)


def test_logarithms() -> None:
    assert isinf(log10(0))
    assert log10(0) < 0
    assert [log10(10**k) for k in (0, 1, 300, 400, 5000)] == pytest.approx([0, 1, 300, 400, 5000], abs=1e-9)
    assert log10(2**1000) == pytest.approx(301.029995664, abs=1e-9)
    assert Count(100, 10**6).log10 == pytest.approx(2)


def test_arithmetic_of_bounds() -> None:
    assert Count(2, 3) + Count(10, 20) == Count(12, 23)
    assert Count(2, 3) * Count(10, 20) == Count(20, 60)
    assert Count(0, 3) * exactly(0) == exactly(0)
    assert exactly(4).exact
    assert not Count(4, 5).exact


def test_what_is_left_of_different_values_may_be_in_any_order() -> None:
    shown = ShownTuples(addition(6), columns([(0, 0), (5, 5)]), told={"net": [3]})
    expected = sum(row[0] == 0 and row[5] == 5 and row[3] == 3 for row in permutations(range(6)))
    assert counted(shown, one_to_one=True) == exactly(expected) == exactly(6)
