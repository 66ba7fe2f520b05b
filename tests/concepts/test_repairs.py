"""What to ask for: the published repairs, and the smallest sets of small random worlds by trying all of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from every_map import addition, reasoner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_worlds import OUTCOMES, World, is_identity, one_to_one, worlds
from test_shortcuts import EVEN_ODD, HALF, XOR, columns, every_pair

from nesy_gedi.concepts import repairs
from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.concepts.repairs import AnswerRepair, LabelRepair, fewest_answers, fewest_labels
from nesy_gedi.errors import UsageError

LONG = 600.0
"""Seconds: more than any of these needs, however busy the machine is."""

worth_trying = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
FAMILY = st.sampled_from(["shared", "factored"])


def half(told: dict[str, list[int]] | None = None) -> ShownTuples:
    return ShownTuples(addition(5), columns(HALF), told=told)


def even_odd() -> ShownTuples:
    return ShownTuples(addition(), columns(EVEN_ODD))


def fewest(refused_by: Iterable[frozenset[object]]) -> int | None:
    """Size of the smallest set that meets all of these, by trying all; None where one of them is empty."""
    needed = set(refused_by)
    if frozenset() in needed:
        return None
    choices = sorted(frozenset().union(*needed), key=repr)
    sizes = range(len(choices) + 1)
    return next(n for n in sizes if any(all(own & set(some) for own in needed) for some in combinations(choices, n)))


@worth_trying
@given(worlds(700), FAMILY, st.booleans())
def test_labels_of_small_worlds(world: World, family: str, only: bool) -> None:
    seen = world.observed(family)
    shortcuts = [maps for maps in seen.optimal() if not is_identity(maps) and (one_to_one(maps) or not only)]
    misread = [
        frozenset((name, k) for name, row in maps.items() for k, read in enumerate(row) if read != k)
        for maps in shortcuts
    ]
    found = fewest_labels(seen.shown, one_to_one=only, seconds=LONG)
    assert found.proven
    assert found.labels is not None
    assert all(own & set(found.labels) for own in misread)
    assert len(found.labels) == fewest(misread)


@worth_trying
@given(worlds(300), FAMILY, st.booleans())
def test_answers_of_small_worlds(world: World, family: str, only: bool) -> None:
    seen = world.observed(family)
    shortcuts = [maps for maps in seen.optimal() if not is_identity(maps) and (one_to_one(maps) or not only)]
    shown = seen.shown_tuples()
    others = [row for row in seen.tuples() if row not in shown and OUTCOMES[seen.answer(row)]]
    assume(len(others) * len(shortcuts) <= 5_000)
    refused = [frozenset(tuple(row.values()) for row in others if not seen.keeps(maps, row)) for maps in shortcuts]
    found = fewest_answers(seen.shown, one_to_one=only, seconds=LONG)
    assert found.proven
    assert found.all_tuples
    if (expected := fewest(refused)) is None:
        assert found.tuples is None
        assert found.survivor in [maps for maps, own in zip(shortcuts, refused, strict=True) if not own]
    else:
        assert found.survivor is None
        assert found.tuples is not None
        assert set(found.tuples) <= {tuple(row.values()) for row in others}
        assert all(own & set(found.tuples) for own in refused)
        assert len(found.tuples) == expected


def test_labels_that_repair_half_and_even_odd() -> None:
    found = fewest_labels(half(), one_to_one=False, seconds=LONG)
    assert found.proven
    assert found.labels in [(("net", k),) for k in (2, 3, 4)]
    assert fewest_labels(half(), one_to_one=True, seconds=LONG) == LabelRepair((), True)
    two = fewest_labels(even_odd(), one_to_one=False, seconds=LONG)
    assert (two.proven, len(two.labels or ())) == (True, 2)
    one = fewest_labels(even_odd(), one_to_one=True, seconds=LONG)
    assert (one.proven, len(one.labels or ())) == (True, 1)


def test_one_sum_of_an_even_and_an_odd_digit_repairs_even_odd() -> None:
    found = fewest_answers(even_odd(), one_to_one=True, seconds=LONG)
    assert found.proven
    assert found.tuples is not None
    ((a, b),) = found.tuples
    assert (a + 5) % 10 + (b + 5) % 10 != a + b
    with_it = ShownTuples(addition(), columns([*EVEN_ODD, (0, 1)]))
    assert fewest_answers(with_it, one_to_one=True, seconds=LONG).tuples == ()


def test_no_answer_repairs_what_negation_leaves() -> None:
    shown = ShownTuples(reasoner(XOR, "xor(X, Y, R)"), columns(every_pair(2)))
    for seen in (shown, ShownTuples(reasoner(XOR, "xor(X, Y, R)"), columns([(0, 0), (0, 1)]))):
        assert fewest_answers(seen, one_to_one=True, seconds=LONG) == AnswerRepair(None, True, {"net": (1, 0)}, True)
    assert fewest_labels(shown, one_to_one=False, seconds=LONG).labels in [(("net", 0),), (("net", 1),)]


def test_labels_that_there_are_already_are_not_asked_for() -> None:
    assert fewest_labels(half({"net": [3]}), one_to_one=False, seconds=LONG) == LabelRepair((), True)
    assert fewest_answers(half({"net": [3]}), one_to_one=False, seconds=LONG).tuples == ()


def test_without_time_to_prove_it_a_set_that_does_is_found_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "PROVING", 0.0)
    labels = fewest_labels(even_odd(), one_to_one=False, seconds=LONG)
    assert not labels.proven
    assert labels.labels is not None
    told = {"net": [k for _, k in labels.labels]}
    settled = ShownTuples(addition(), columns(EVEN_ODD), told=told)
    answers = fewest_answers(even_odd(), one_to_one=False, seconds=LONG)
    assert not answers.proven
    assert answers.tuples is not None
    shown = ShownTuples(addition(), columns([*EVEN_ODD, *answers.tuples]))
    monkeypatch.undo()
    assert fewest_labels(settled, one_to_one=False, seconds=LONG).labels == ()
    assert fewest_labels(shown, one_to_one=False, seconds=LONG).labels == ()


def test_without_time_nothing_is_claimed() -> None:
    assert fewest_labels(even_odd(), one_to_one=False, seconds=1e-9) == LabelRepair(None, False)
    assert fewest_answers(even_odd(), one_to_one=False, seconds=1e-9) == AnswerRepair(None, False, None, True)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing(seconds: float) -> None:
    for repair in (fewest_labels, fewest_answers):
        with pytest.raises(UsageError, match="nothing can be found"):
            repair(half(), one_to_one=False, seconds=seconds)


def test_tuples_that_were_drawn_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "CANDIDATES", 60)
    found = fewest_answers(even_odd(), one_to_one=True, seconds=LONG)
    assert not found.proven
    assert not found.all_tuples
    assert found.tuples is not None
    monkeypatch.setattr(repairs, "CANDIDATES", 1)
    none = fewest_answers(ShownTuples(addition(), columns([(0, 0)])), one_to_one=True, seconds=LONG)
    assert (none.tuples, none.proven, none.all_tuples) == (None, False, False)
