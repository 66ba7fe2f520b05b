"""Optimal maps: published counts, brute force over small worlds, and what ends a search early."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import factorial
from typing import Any

import pytest
import torch
from every_map import ADDITION, TWO_NETWORKS, addition, certain, reasoner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nesy_gedi.concepts.assignment import assign
from nesy_gedi.concepts.map_counting import Count
from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples
from nesy_gedi.concepts.shortcuts import (
    Nearest,
    OptimalMaps,
    differing,
    find_optimal_maps,
    is_identity,
    is_one_to_one,
    nearest_map,
)
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.reasoner import Reasoner

Pairs = list[tuple[int, int]]

HALF: Pairs = [(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)]
EVEN_ODD: Pairs = [
    pair for a, b in [(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)] for pair in ((a, b), (b, a))
]
XOR = """
nn(net, [X], B, [0, 1]) :: bit(X, B).
xor(X, Y, R) :- bit(X, A), bit(Y, B), R is A xor B.
xor3(X, Y, Z, R) :- bit(X, A), bit(Y, B), bit(Z, C), R is (A xor B) xor C.
"""


def find(*arguments: Any, seconds: float = 600.0, **options: Any) -> OptimalMaps:
    """With more time than any of these needs, however busy the machine is."""
    return find_optimal_maps(*arguments, seconds=seconds, **options)


def columns(tuples: list[tuple[int, ...]], slots: str = "XYZ") -> dict[tuple[str, ...], torch.Tensor]:
    rows = torch.tensor(tuples)
    return {("net", slot): rows[:, k] for k, slot in enumerate(slots[: rows.shape[1]])}


def every_pair(size: int) -> Pairs:
    return list(product(range(size), repeat=2))


def exactly(count: int) -> Count:
    return Count(count, count)


def rows_of(found: OptimalMaps) -> list[tuple[int, ...]]:
    return [maps["net"] for maps in found.maps]


@pytest.mark.parametrize(
    ("made", "tuples", "count", "one_to_one"),
    [
        pytest.param(lambda: addition(2), every_pair(2), 1, 1, id="addition of 2"),
        pytest.param(lambda: addition(3), every_pair(3), 1, 1, id="addition of 3"),
        pytest.param(lambda: addition(5), every_pair(5), 1, 1, id="addition of 5"),
        pytest.param(lambda: addition(10), every_pair(10), 1, 1, id="addition of 10"),
        pytest.param(lambda: addition(5), HALF, 3, 1, id="half"),
        pytest.param(lambda: addition(10), EVEN_ODD, 36, 2, id="even-odd"),
        pytest.param(lambda: reasoner(XOR, "xor(X, Y, R)"), every_pair(2), 2, 2, id="xor of 2"),
        pytest.param(lambda: reasoner(XOR, "xor3(X, Y, Z, R)"), list(product((0, 1), repeat=3)), 1, 1, id="xor of 3"),
    ],
)
def test_the_published_counts(made: Callable[[], Reasoner], tuples: Pairs, count: int, one_to_one: int) -> None:
    found = find(made(), columns(tuples))
    assert (found.count, found.one_to_one) == (exactly(count), exactly(one_to_one))
    assert (len(found.maps), found.complete, found.exact) == (count, True, True)
    assert found.tuples == len(tuples)
    assert rows_of(found)[0] == tuple(range(len(found.domains["net"])))
    assert found.unseen == ()


def test_the_published_maps() -> None:
    assert rows_of(find(addition(5), columns(HALF))) == [(0, 1, 2, 3, 4), (0, 1, 3, 2, 3), (0, 1, 4, 1, 2)]
    even_odd = rows_of(find(addition(), columns(EVEN_ODD)))
    assert [row for row in even_odd if len(set(row)) == 10] == [tuple(range(10)), (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)]


def concept_accuracy(row: tuple[int, ...], pairs: Pairs) -> float:
    return sum(row[symbol] == symbol for pair in pairs for symbol in pair) / (2 * len(pairs))


def test_the_analytic_accuracies_of_the_shortcuts() -> None:
    half = rows_of(find(addition(5), columns(HALF)))
    assert [concept_accuracy(row, HALF) for row in half[1:]] == pytest.approx([6 / 14, 6 / 14])
    every = every_pair(5)
    outside = [pair for pair in every if pair not in HALF]
    for row in half[1:]:
        assert sum(row[a] + row[b] == a + b for a, b in outside) / len(outside) == pytest.approx(1 / 18)
        assert concept_accuracy(row, outside) == pytest.approx(14 / 36)
    even_odd = rows_of(find(addition(), columns(EVEN_ODD)))
    assert sum(concept_accuracy(row, EVEN_ODD) for row in even_odd) / 36 == pytest.approx(1 / 6)


def test_they_are_the_ties_of_an_assignment_of_true_symbols() -> None:
    made, symbols = addition(5), columns(HALF)
    log_q = {key: certain(values, 5) for key, values in symbols.items()}
    answers = torch.tensor([made.index(a + b) for a, b in HALF])
    ties = assign(made, log_q, answers, kind="many_to_one", tolerance=1e-6)
    assert ties.exact
    assert sorted(tie.maps["net"] for tie in ties.near_ties) == sorted(rows_of(find(made, symbols)))


def table_program(table: dict[tuple[int, int], int], first: int, second: int, shared: bool) -> str:
    """Facts that give each pair of symbols its answer."""
    other = "net" if shared else "other"
    lines = [f"nn(net, [X], A, [0..{first - 1}]) :: one(X, A)."]
    if not shared:
        lines.append(f"nn(other, [Y], B, [0..{second - 1}]) :: two(Y, B).")
    lines.append(f"query(X, Y, R) :- one(X, A), {'one' if other == 'net' else 'two'}(Y, B), answer(A, B, R).")
    return "\n".join([*lines, *(f"answer({a}, {b}, r{r})." for (a, b), r in table.items())])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[tuple[int, int], int], int, int, bool, Pairs]:
    shared = draw(st.booleans())
    first = draw(st.integers(2, 4))
    second = first if shared else draw(st.integers(2, 4))
    cells = list(product(range(first), range(second)))
    # A pair may have no answer: misreading a pair as such one is no optimum.
    answers = draw(st.lists(st.integers(-1, 2), min_size=len(cells), max_size=len(cells)))
    table = {cell: answer for cell, answer in zip(cells, answers, strict=True) if answer >= 0}
    table = table or {cells[0]: 0}
    pairs = draw(st.lists(st.sampled_from(sorted(table)), min_size=1, max_size=6, unique=True))
    return table, first, second, shared, pairs


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_every_map_of_small_worlds(world: tuple[dict[tuple[int, int], int], int, int, bool, Pairs]) -> None:
    table, first, second, shared, pairs = world
    made = reasoner(table_program(table, first, second, shared), "query(X, Y, R)")
    rows = torch.tensor(pairs)
    inputs = {("net", "X"): rows[:, 0], ("net" if shared else "other", "Y"): rows[:, 1]}
    asked = {(item.network, *item.slots) for item in made.inputs}
    if asked != set(inputs):
        return  # an image that cannot change the answer is not asked for
    found = find(made, inputs)
    expected = set()
    seen = [sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})]
    if shared:
        seen = [sorted({symbol for pair in pairs for symbol in pair}), []]
    for chosen in product(product(range(first), repeat=len(seen[0])), product(range(second), repeat=len(seen[1]))):
        read = [dict(zip(own, row, strict=True)) for own, row in zip(seen, chosen, strict=True)]
        right = read[0] if shared else read[1]
        if all(table.get((read[0][a], right[b])) == table[a, b] for a, b in pairs):
            expected.add(tuple(tuple(sorted(each.items())) for each in read))
    names = ["net", "other"]
    actual = {
        tuple(tuple((k, read) for k, read in enumerate(maps.get(name, ())) if read != UNSEEN) for name in names)
        for maps in found.maps
    }
    assert actual == expected
    assert found.exact
    free = first ** (first - len(seen[0])) * (1 if shared else second ** (second - len(seen[1])))
    assert found.count == exactly(len(expected) * free)


def test_symbols_that_training_never_shows_may_be_read_as_anything() -> None:
    found = find(addition(4), columns([(0, 0), (1, 0)]))
    assert rows_of(found) == [(0, 1, UNSEEN, UNSEEN)]
    assert found.unseen == (("net", 2), ("net", 3))
    every = [row for row in product(range(4), repeat=4) if (row[0] + row[0], row[1] + row[0]) == (0, 1)]
    assert found.count == exactly(len(every)) == exactly(16)
    assert found.one_to_one == exactly(sum(len(set(row)) == 4 for row in every)) == exactly(2)


def test_a_label_leaves_fewer_maps() -> None:
    made = addition()
    found = find(made, columns(EVEN_ODD), told={"net": [3]})
    assert all(row[3] == 3 for row in rows_of(found))
    assert found.one_to_one == exactly(1)
    assert found.complete
    # A label of a symbol that no answer shows settles that symbol and nothing else.
    assert rows_of(find(addition(4), columns([(0, 0)]), told={"net": [2]})) == [(0, UNSEEN, 2, UNSEEN)]


def test_a_label_settles_half_and_two_settle_even_odd() -> None:
    assert [find(addition(5), columns(HALF), told={"net": [k]}).count for k in (2, 3, 4)] == [exactly(1)] * 3
    made = addition()
    assert all(find(made, columns(EVEN_ODD), told={"net": [k]}).count.lower > 1 for k in range(10))
    pairs = [find(made, columns(EVEN_ODD), told={"net": pair}).count.lower for pair in ((4, 1), (6, 9), (8, 3))]
    assert min(pairs) == 1


def test_given_symbols_are_never_misread() -> None:
    text = ADDITION.format(last=2) + "nn(target, [Z], D, [0..4]) :: total(Z, D).\n"
    text += "holds(X, Y, Z) :- addition(X, Y, S), total(Z, S).\n"
    made = reasoner(text, "holds(X, Y, Z)")
    pairs = torch.tensor([(0, 1), (1, 2)])
    found = find(made, columns(pairs.tolist()), {("target", "Z"): pairs.sum(1)})
    assert found.domains.keys() == {"net"}
    sums = {(0, 1): 1, (1, 2): 3}
    assert all(row[a] + row[b] == total for row in rows_of(found) for (a, b), total in sums.items())
    expected = sum(a + b == 1 and b + c == 3 for a, b, c in product(range(3), repeat=3))
    assert found.count == exactly(expected)


def test_where_rules_are_random_the_answers_must_be_as_likely() -> None:
    text = "nn(net, [X], D, [0..3]) :: digit(X, D).\n0.9 :: sure. 0.9 :: also.\n"
    text += "odd(X, yes) :- digit(X, 1), sure.\nodd(X, yes) :- digit(X, 3), also.\n"
    text += "odd(X, no) :- digit(X, 0).\nodd(X, no) :- digit(X, 2), sure.\n"
    found = find(reasoner(text, "odd(X, R)"), columns([(k,) for k in range(4)]))
    assert rows_of(found) == [(0, 1, 2, 3), (0, 1, 2, 1), (0, 3, 2, 3), (0, 3, 2, 1)]
    assert found.random


def test_several_networks_have_a_map_each() -> None:
    made = reasoner(TWO_NETWORKS, "action(L, S, A)")
    every = torch.tensor(list(product(range(3), range(2))))
    found = find(made, {("light_net", "L"): every[:, 0], ("sign_net", "S"): every[:, 1]})
    assert found.count == exactly(1)
    reds = torch.zeros(1, dtype=torch.long)
    alone = find(made, {("light_net", "L"): reds, ("sign_net", "S"): reds})
    assert alone.complete
    assert {(maps["light_net"][0], maps["sign_net"][0]) for maps in alone.maps} == {(0, 0), (0, 1), (1, 1)}


def test_a_list_that_is_cut_says_so() -> None:
    cut = find(addition(), columns(EVEN_ODD), limit=5)
    assert (len(cut.maps), cut.complete, cut.count) == (5, False, exactly(36))
    assert rows_of(cut)[0] == tuple(range(10))
    whole = find(addition(), columns(EVEN_ODD), limit=36)
    assert (len(whole.maps), whole.complete) == (36, True)


def test_a_search_that_runs_out_of_time_says_so() -> None:
    found = find(addition(), columns(EVEN_ODD), seconds=1e-9)
    assert not found.complete
    assert rows_of(found) == [tuple(range(10))]
    assert found.count == Count(1, 10**10)
    assert found.one_to_one == Count(1, factorial(10))


def test_learned_probabilities_count_as_they_are() -> None:
    text = "nn(net, [X], D, [0, 1]) :: digit(X, D).\nt(0.5) :: coin.\n"
    text += "r(X, yes) :- digit(X, 0).\nr(X, yes) :- digit(X, 1), coin.\nr(X, no) :- digit(X, 1), \\+ coin.\n"
    assert find(reasoner(text, "r(X, R)"), columns([(0,), (1,)])).count == exactly(1)


def test_how_many_answers_a_map_changes() -> None:
    support = ShownTuples(addition(5), columns([*HALF, *HALF]))
    assert len(support.codes) == len(HALF)
    assert support.changed({"net": (0, 1, 3, 2, 3)}) == 0
    assert support.changed({"net": (0, 1, 3, 2, UNSEEN)}) == 2  # 2 + 4 is read as 3 + 4
    assert support.changed({"net": (1, 1, 2, 3, 4)}) == 3


def test_the_nearest_map_is_weighted_by_images() -> None:
    found = find(addition(5), columns(HALF))
    counts = {"net": torch.tensor([10, 10, 10, 10, 60])}
    assert nearest_map({"net": (0, 1, 3, 2, 3)}, counts, found) == Nearest(found.maps[1], 0.0, (), False)
    # By symbols the identity is as near, by images it is not.
    mixed = nearest_map({"net": (0, 1, 2, 2, 3)}, counts, found)
    assert (mixed.maps["net"], mixed.distance, mixed.differing) == ((0, 1, 3, 2, 3), 0.1, (("net", 2),))
    unknown = nearest_map({"net": (0, 1, UNSEEN, UNSEEN, UNSEEN)}, counts, found)
    assert (unknown.identity, unknown.distance) == (True, 0.0)


def test_what_is_not_known_is_no_difference() -> None:
    assert differing({"net": (0, UNSEEN, 1)}, {"net": (1, 1, UNSEEN)}) == (("net", 0),)
    assert is_identity({"net": (0, UNSEEN, 2)})
    assert not is_identity({"net": (0, 1), "other": (1, UNSEEN)})
    assert is_one_to_one((1, UNSEEN, UNSEEN, 0))
    assert not is_one_to_one((1, 1, UNSEEN))


def test_wrong_arguments() -> None:
    made = addition(3)
    with pytest.raises(UsageError, match="nothing can be found"):
        find(made, columns([(0, 1)]), limit=0)
    with pytest.raises(UsageError, match="nothing can be found"):
        find(made, columns([(0, 1)]), seconds=0.0)
    with pytest.raises(UsageError, match="neither its true symbols nor given ones"):
        find(made, columns([(0,)]))
    with pytest.raises(UsageError, match="no network sees anything"):
        find(made, {}, columns([(0, 1)]))
    with pytest.raises(DataError, match="symbols from 0 to 3, of 3"):
        find(made, columns([(0, 1), (3, 1)]))
    with pytest.raises(DataError, match=r"symbols of shape \(0,\)"):
        find(made, {("net", slot): torch.zeros(0, dtype=torch.long) for slot in "XY"})
    with pytest.raises(DataError, match=r"symbols of shape \(2,\)"):
        find(made, {("net", "X"): torch.tensor([0]), ("net", "Y"): torch.tensor([0, 1])})


def test_equal_probabilities_are_the_same_however_they_are_computed() -> None:
    facts = " ".join(f"0.5 :: a{k}." for k in range(10)) + " 0.125 :: b. 0.0078125 :: c.\n"
    text = "nn(net, [X], D, [0, 1]) :: digit(X, D).\n" + facts
    text += f"r(X, yes) :- digit(X, 0), {', '.join(f'a{k}' for k in range(10))}.\nr(X, yes) :- digit(X, 1), b, c.\n"
    assert find(reasoner(text, "r(X, R)"), columns([(0,), (1,)])).count == exactly(4)  # 2^-10 either way
