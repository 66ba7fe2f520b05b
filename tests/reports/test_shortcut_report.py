"""What is said of a program's shortcuts: counts, listed maps, repairs, and the document; the published figures among them."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import permutations, product
from typing import Any

import pytest

import nesy_gedi as ng
from nesy_gedi.concepts.map_counting import Count, number_in_words
from nesy_gedi.concepts.shortcuts import is_identity
from nesy_gedi.errors import AnswerError, RecipeError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.reports.shortcut_report import ShortcutReport, count_shortcuts, find_shortcuts
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.shown import shown_by_recipe
from nesy_gedi.training.task import Task

MINUTES = 600.0
"""No test waits for a budget: a slow machine must not make counts inexact."""

SUM = "addition(X, Y, Sum)"
ADDITION = """
nn(digit_net, [X], Y, [0..{last}]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
SLIPPING = """
nn(net, [X], D, [0..3]) :: digit(X, D).
0.2 :: slip.
add(X, Y, S) :- digit(X, A), digit(Y, B), \\+ slip, S is (A + B) mod 4.
add(X, Y, S) :- digit(X, A), digit(Y, B), slip, S is (A + B + 1) mod 4.
"""
CROSSING = """
nn(light_net, [L], C, [red, amber, green]) :: light(L, C).
nn(sign_net, [S]) :: warning(S).
action(L, _, stop) :- light(L, red).
action(L, S, slow) :- light(L, amber), \\+ warning(S).
action(L, S, slow) :- light(L, amber), warning(S).
action(L, S, go) :- light(L, green), warning(S).
action(L, S, go) :- light(L, green), \\+ warning(S).
"""
"""Whether there is a warning is never told."""


@cache
def task_of(name: str) -> Task:
    found = find_program(name)
    return Task(Program.load(found.path), load_recipe(found.recipe))


@cache
def report_on(name: str, **options: Any) -> ShortcutReport:
    task = task_of(name)
    return find_shortcuts(task, shown_by_recipe(task), **{"seconds": MINUTES, **options})


def exactly(count: int) -> Count:
    return Count(count, count)


def rows(report: ShortcutReport, name: str = "digit_net") -> list[str]:
    """What is listed, the identity left out, in single figures."""
    return ["".join(map(str, maps[name])) for maps in report.found.maps if not is_identity(maps)]


# -- published figures -------------------------------------------------------------------------------------------------


def test_half() -> None:
    report = report_on("mnist_half")
    assert (report.count, report.found.one_to_one, report.found.family) == (exactly(3), exactly(1), "shared")
    assert rows(report) == ["01323", "01412"]
    assert report.statements() == [
        "Training shows 7 tuples of symbols: data.support of the recipe.",
        "3 ways of reading the symbols of digit_net answer all of them right: the right one and 2 reasoning shortcuts, "
        "which answers alone cannot tell from it.",
        "Only the right one is one to one: pure clusters would remove every shortcut.",
        "Without clusters, to settle it by labels: one labelled image, of 2 of digit_net (proven: fewer do not do).",
        'Without clusters, to settle it by further answers: one more observed answer, for "0 2" '
        "(proven: fewer do not do).",
        "With pure clusters nothing more is needed.",
    ]
    for found in report.document()["shortcuts"]:
        assert found["type"] == "merging"
        assert found["concept_accuracy"] == pytest.approx(6 / 14)
        assert found["answer_accuracy_outside"] == pytest.approx(1 / 18)
        assert found["concept_accuracy_outside"] == pytest.approx(14 / 36)
        assert found["collapse"] == pytest.approx(0.2)


def test_half_as_a_document() -> None:
    document = json.loads(json.dumps(report_on("mnist_half").document()))
    assert document["program"].endswith("mnist_half.pl")
    assert (document["query"], document["family"], document["bijective"]) == (SUM, "shared", False)
    assert document["support"] == {"origin": "data.support of the recipe", "tuples": 7}
    assert (document["count"], document["bijective_count"], document["exact"]) == (3, 1, True)
    assert (document["at_least"], document["at_most"], document["random"]) == (3, 3, False)
    assert document["log10_count"] == pytest.approx(math.log10(3))
    assert document["log10_bijective_count"] == 0.0
    assert document["shortcuts"][0]["maps"] == {"digit_net": {"0": "0", "1": "1", "2": "3", "3": "2", "4": "3"}}
    assert document["listed_all"] is True
    assert document["repair"] == {
        "labels": [{"network": "digit_net", "symbol": "2"}],
        "labels_proven": True,
        "answers": ["0 2"],
        "answers_proven": True,
        "survivor": None,
    }
    assert (document["repair_bijective"]["labels"], document["repair_bijective"]["answers"]) == ([], [])
    assert document["statements"] == report_on("mnist_half").statements()


def test_evenodd() -> None:
    report = report_on("mnist_evenodd", limit=35)
    assert (report.count, report.found.one_to_one, report.found.tuples) == (exactly(36), exactly(2), 16)
    listed = report.document()["shortcuts"]
    assert len(listed) == 35
    assert report.document()["listed_all"] is True
    straight, *merging = listed
    assert rows(report)[0] == "5678901234"
    assert straight["type"] == "shift by 5"
    assert (straight["concept_accuracy"], straight["concept_accuracy_outside"], straight["collapse"]) == (0, 0, 0)
    assert round(straight["answer_accuracy_outside"], 4) == 0.4048
    assert {found["type"] for found in merging} == {"merging"}
    # The mean over all 36, the identity among them, is .1667.
    assert (1 + sum(found["concept_accuracy"] for found in listed)) / 36 == pytest.approx(1 / 6)


def test_what_settles_evenodd() -> None:
    document = report_on("mnist_evenodd").document()
    without, pure = document["repair"], document["repair_bijective"]
    for repair, labels, answers in ((without, 2, 1), (pure, 1, 1)):
        assert (len(repair["labels"]), repair["labels_proven"]) == (labels, True)
        assert (len(repair["answers"]), repair["answers_proven"]) == (answers, True)
        assert repair["survivor"] is None
    assert {int(label["symbol"]) % 2 for label in without["labels"]} == {0, 1}
    assert {int(symbol) % 2 for symbol in without["answers"][0].split()} == {0, 1}
    assert (
        "2 of them are one to one: pure clusters would leave one reasoning shortcut."
        in report_on("mnist_evenodd").statements()
    )


def test_xor_cannot_be_settled_by_answers() -> None:
    report = report_on("xor")
    assert (report.count, report.found.one_to_one) == (exactly(2), exactly(2))
    document = report.document()
    (only,) = document["shortcuts"]
    assert (only["type"], only["maps"], only["concept_accuracy"]) == ("negation", {"bit_net": {"0": "1", "1": "0"}}, 0)
    assert (only["answer_accuracy_outside"], only["concept_accuracy_outside"]) == (None, None)
    for repair in (document["repair"], document["repair_bijective"]):
        assert (len(repair["labels"]), repair["labels_proven"]) == (1, True)
        assert (repair["answers"], repair["answers_proven"]) == (None, True)
        assert repair["survivor"] == {"bit_net": {"0": "1", "1": "0"}}
    said = report.statements()
    assert "All of them are one to one: pure clusters would remove none." in said
    assert any("none would do: 10 (0->1, 1->0) answers every query right" in sentence for sentence in said)


def test_no_shortcut_needs_no_repair() -> None:
    report = report_on("addition")
    assert (report.count, report.found.one_to_one, report.spelled()) == (exactly(1), exactly(1), [])
    assert report.statements()[1:] == [
        "One way of reading the symbols of digit_net answers all of them right: the right one. "
        "There is no reasoning shortcut."
    ]
    document = report.document()
    assert (document["shortcuts"], document["listed_all"]) == ([], True)
    assert document["repair"] == document["repair_bijective"]
    assert (document["repair"]["labels"], document["repair"]["answers"]) == ([], [])


@pytest.mark.parametrize(
    ("name", "family", "count"),
    [
        ("mnist_half", "factored", 9),
        ("mnist_half", "joint", 576),
        ("mnist_evenodd", "factored", 1296),
        ("xor", "joint", 16),
    ],
)
def test_families(name: str, family: str, count: int) -> None:
    report = report_on(name, family=family)
    assert (report.count, report.found.family, report.document()["family"]) == (exactly(count), family, family)


def test_whole_tuples() -> None:
    report = report_on("mnist_evenodd", family="joint")
    # For each ordered pair as many as there are pairs of its sum: 6, 10, 10, 12, 6, 10, 10, 12, each in two orders.
    of_sum = [sum(a + b == total for a, b in product(range(10), repeat=2)) for total in range(19)]
    pairs = [(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)]
    expected = math.prod(of_sum[a + b] ** 2 for a, b in pairs)
    assert report.count == exactly(expected)
    assert f"{expected:.2e}" == "2.48e+14"
    document = report.document()
    assert (document["count"], document["repair"], document["repair_bijective"]) == (expected, None, None)
    assert (document["shortcuts"], document["listed_all"]) == ([], False)
    said = report.statements()
    assert said[1].startswith("10^14.4 ways of reading whole tuples of symbols answer all of them right")
    assert "perfect reconstruction would leave" in said[2]
    assert not any("clusters" in sentence for sentence in said)


def test_whole_tuples_of_full_addition() -> None:
    report = report_on("addition", family="joint")
    assert round(report.document()["log10_count"], 2) == 78.67
    assert round(report.count.log10, 2) == 78.67
    assert report_on("addition", family="joint", one_to_one=True).count == report.found.one_to_one


@pytest.mark.parametrize(("last", "count"), [(1, 4), (2, 432)])
def test_whole_tuples_of_short_addition(last: int, count: int) -> None:
    report = count_shortcuts(Program(ADDITION.format(last=last)), SUM, family="joint", seconds=MINUTES)
    assert report.count == exactly(count)


# -- one to one alone --------------------------------------------------------------------------------------------------


def test_one_to_one_alone() -> None:
    report = report_on("mnist_evenodd", one_to_one=True)
    assert (report.count, report.found.count) == (exactly(2), exactly(36))
    assert rows(report) == ["5678901234"]
    assert report_on("mnist_half", one_to_one=True).document()["repair"]["labels"] == []
    document = report.document()
    assert (document["bijective"], document["count"], document["bijective_count"]) == (True, 2, 2)
    assert (document["at_least"], document["at_most"], document["listed_all"]) == (2, 2, True)
    assert document["repair"] == document["repair_bijective"]
    assert len(document["repair"]["labels"]) == 1
    assert not any("Without clusters" in sentence for sentence in report.statements())
    assert any("With pure clusters, to settle it by labels" in sentence for sentence in report.statements())


# -- listing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 3, 35, 1000])
def test_how_many_are_listed(limit: int) -> None:
    report = report_on("mnist_evenodd", limit=limit)
    listed = rows(report)
    assert len(listed) == min(limit, 35)
    assert report.count == exactly(36)
    assert report.document()["listed_all"] == (limit >= 35)
    assert len(report.spelled()) == len(report.document()["shortcuts"]) == len(listed)
    if limit:
        assert listed[0] == "5678901234"  # what clusters would leave comes first
    assert len(report.predictions) == len(report.found.maps)


def test_merging_maps_come_last_those_first_that_misread_least() -> None:
    report = count_shortcuts(Program(ADDITION.format(last=3)), SUM, [(0, 3), (1, 2)], limit=100, seconds=MINUTES)
    kinds = [found["type"] == "merging" for found in report.document()["shortcuts"]]
    assert kinds == sorted(kinds)
    assert (True in kinds, False in kinds) == (True, True)
    for merging in (False, True):
        changed = [
            sum(int(read) != k for k, read in enumerate(row))
            for row, merges in zip(rows(report), kinds, strict=True)
            if merges == merging
        ]
        assert changed == sorted(changed)


# -- what else is said -------------------------------------------------------------------------------------------------


def test_symbols_that_are_never_shown() -> None:
    report = count_shortcuts(Program(ADDITION.format(last=3)), SUM, [(0, 0), (0, 1)], seconds=MINUTES)
    assert (report.count, report.found.one_to_one) == (exactly(16), exactly(2))  # 2 and 3 are read as anything
    assert (
        "Never shown: 2 and 3 of digit_net. They may be read as anything, and every reading is counted."
        in report.statements()
    )
    document = report.document()
    assert (document["count"], document["shortcuts"]) == (16, [])
    assert [label["symbol"] for label in document["repair"]["labels"]] == ["2", "3"]
    assert len(document["repair_bijective"]["labels"]) == 1


def test_one_symbol_that_is_never_shown_has_no_reading_of_its_own() -> None:
    report = count_shortcuts(Program(ADDITION.format(last=3)), SUM, [(0, 3), (0, 2)], seconds=MINUTES)
    listed = report.document()["shortcuts"]
    assert listed
    assert all(found["maps"]["digit_net"]["1"] is None for found in listed)
    # 2 + 0 = 2 and 3 + 0 = 3: 0 -> k, 2 -> 2 - k, 3 -> 3 - k for k = 0, 1, 2, and 1 as anything.
    assert report.count == exactly(3 * 4)


def test_random_rules_are_explained() -> None:
    report = count_shortcuts(Program(SLIPPING), "add(X, Y, S)", seconds=MINUTES)
    assert (report.count, report.found.one_to_one, report.document()["random"]) == (exactly(2), exactly(2), True)
    assert rows(report, "net") == ["2301"]
    assert any("every answer is as probable as before" in sentence for sentence in report.statements())


def test_true_or_false_and_several_networks() -> None:
    report = count_shortcuts(Program(CROSSING), "action(L, S, A)", seconds=MINUTES)
    # Every reading of the warning answers all right: four, two of them one to one.
    assert (report.count, report.found.one_to_one) == (exactly(4), exactly(2))
    document = report.document()
    listed = [tuple(found["maps"]["sign_net"].values()) for found in document["shortcuts"]]
    assert listed[0] == ("true", "false")
    assert set(listed[1:]) == {("false", "false"), ("true", "true")}
    assert document["shortcuts"][0]["type"] == "negation"
    assert document["repair"]["labels"] is not None
    assert {label["network"] for label in document["repair"]["labels"]} == {"sign_net"}
    assert report.statements()[1].startswith("4 ways of reading the symbols of light_net and sign_net answer")


def test_an_end_of_time_gives_bounds() -> None:
    task = task_of("mnist_evenodd")
    report = find_shortcuts(task, shown_by_recipe(task), seconds=1e-6)
    count = report.count
    assert not count.exact
    assert 1 <= count.lower <= 36 <= count.upper <= 10**10
    document = report.document()
    assert (document["count"], document["bijective_count"], document["exact"]) == (None, None, False)
    assert [document["at_least"], document["at_most"]] == list(count)
    assert document["listed_all"] is False
    assert document["repair"]["labels_proven"] is False
    said = " ".join(report.statements())
    least, most = number_in_words(count.lower), number_in_words(count.upper)
    assert f"Between {least} and {most} ways" in said
    assert "--max-seconds allows more" in said
    assert "none were found in the time allowed" in said
    json.dumps(document)


# -- wrong requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "where", "said"),
    [
        ({"family": "banana"}, "--family", "there is no family banana"),
        ({"seconds": 0.0}, "--max-seconds", "nothing can be counted in 0 seconds"),
        ({"seconds": -1.0}, "--max-seconds", "nothing can be counted in -1 seconds"),
        ({"seconds": math.nan}, "--max-seconds", "nothing can be counted in nan seconds"),
        ({"limit": -1}, "--list", "-1 shortcuts cannot be listed"),
    ],
)
def test_wrong_requests(options: dict[str, Any], where: str, said: str) -> None:
    task = task_of("mnist_half")
    with pytest.raises(UsageError) as caught:
        find_shortcuts(task, shown_by_recipe(task), **options)
    assert (caught.value.where, caught.value.message) == (where, said)
    assert caught.value.hint


# -- from Python -------------------------------------------------------------------------------------------------------

HALF = [(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)]


@pytest.mark.parametrize("kind", [int, str])
def test_from_python(kind: type) -> None:
    shown = [tuple(map(kind, pair)) for pair in HALF]
    report = ng.count_shortcuts(Program(ADDITION.format(last=4)), SUM, shown, seconds=MINUTES)
    assert isinstance(report, ng.ShortcutReport)
    assert (report.count, report.found.one_to_one) == ((3, 3), (1, 1))
    assert rows(report) == ["01323", "01412"]


def test_from_python_symbols_with_blanks() -> None:
    text = "nn(net, [X], S, ['no sign', 'a sign']) :: s(X, S).\nsame(X, Y, S) :- s(X, S), s(Y, S)."
    report = count_shortcuts(Program(text), "same(X, Y, S)", [("'no sign'", "'no sign'")], seconds=MINUTES)
    assert (report.count, report.found.unseen) == (exactly(2), (("net", 1),))


@pytest.mark.parametrize(
    ("shown", "error", "said"),
    [
        ([(0, 1, 2)], RecipeError, '"0 1 2" has 3 symbols'),
        ([(0, 7)], RecipeError, "7 is no symbol of"),
        ([(0, 1), (0, 1)], RecipeError, "twice"),
        ([(2, 2)], AnswerError, "derives no answer when digit_net(X) = 2, digit_net(Y) = 2"),
    ],
)
def test_from_python_wrong_tuples(shown: list[tuple[int, ...]], error: type[Exception], said: str) -> None:
    text = ADDITION.format(last=4).replace("Sum is", "A \\= B, Sum is")
    with pytest.raises(error) as caught:
        count_shortcuts(Program(text), SUM, shown)
    assert said in str(caught.value)


def test_brute_force_agrees_on_every_support_of_two_sums() -> None:
    """Sums of digits below three: 27 maps, 9 tuples, all supports of two of them."""
    program = Program(ADDITION.format(last=2))
    every = list(product(range(3), repeat=2))
    for first, second in [(every[1], every[5]), (every[2], every[4]), (every[3], every[8]), (every[0], every[7])]:
        fits = [
            maps for maps in product(range(3), repeat=3) if all(maps[a] + maps[b] == a + b for a, b in (first, second))
        ]
        orders = [maps for maps in permutations(range(3)) if maps in fits]
        report = count_shortcuts(program, SUM, [first, second], seconds=MINUTES)
        assert (report.count, report.found.one_to_one) == (exactly(len(fits)), exactly(len(orders)))
