"""The query that is asked for: near ties expect different answers of it."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from every_map import PROGRAMS, certain, mapped, observed, reasoner

from nesy_gedi.concepts import telling_queries as module
from nesy_gedi.concepts.assignment import Assignment, assign
from nesy_gedi.concepts.statements import left_open
from nesy_gedi.concepts.telling_queries import most_telling, next_query
from nesy_gedi.logic.reasoner import Reasoner


def answer_under(made: Reasoner, maps: dict[str, tuple[int, ...]], clusters: tuple[int, ...]) -> str | None:
    """What the program derives where each input's image is of one cluster; None where that is not certain."""
    inputs: dict[object, torch.Tensor] = {}
    for item, cluster in zip(made.inputs, clusters, strict=True):
        width = len(maps[item.network])
        log_q = certain(torch.tensor([cluster]), width)
        inputs[item.network, *item.slots] = mapped(log_q, maps[item.network], len(item.domain))
    p = made(inputs)[0].exp()
    return made.answers[int(p.argmax())] if float(p.max()) > 1 - 1e-6 else None


TIED = {
    "addition of five": [0, 1],
    "comparison": [0],
    "two networks": [0],
    "two networks on one image": [0],
    "three images": [0, 1],
    "addition mod 5": [0],
}


@pytest.mark.parametrize("name", TIED)
def test_it_separates_as_many_near_ties_as_any(name: str) -> None:
    made = reasoner(*PROGRAMS[name])
    log_q = {(item.network, *item.slots): certain(torch.tensor(TIED[name]), len(item.domain)) for item in made.inputs}
    symbols = {item.network: tuple(range(len(item.domain))) for item in made.inputs}
    texts = [answer_under(made, symbols, (value,) * len(made.inputs)) for value in TIED[name]]
    answers = torch.tensor([made.index(text) for text in texts])
    found = assign(made, log_q, answers, max_near_ties=200)
    left = left_open(found)
    assert len(left.maps) > 1
    best = 0
    for clusters in product(*(range(len(item.domain)) for item in made.inputs)):
        expected = [answer_under(made, dict(maps), clusters) for maps in left.maps]
        if None not in expected:
            best = max(best, len(set(expected)))
    asked = next_query(made, left)
    if best < 2:
        assert asked is None
        return
    assert asked is not None
    chosen = tuple(each["cluster"] for each in asked["inputs"])
    expected = [answer_under(made, dict(maps), chosen) for maps in left.maps]
    assert asked["answers"] == expected
    assert len(set(expected)) == best
    assert [(each["network"], tuple(each["slots"])) for each in asked["inputs"]] == [
        (item.network, item.slots) for item in made.inputs
    ]
    symbols = {item.network: item.domain for item in made.inputs}
    assert [each["symbol"] for each in asked["inputs"]] == [
        symbols[each["network"]][left.maps[0][each["network"]][each["cluster"]]] for each in asked["inputs"]
    ]
    assert asked["query"] == made.form.text
    assert asked["settles"] == (best == len(left.maps) and not left.more)
    words = "settles it" if asked["settles"] else "rules some of them out"
    assert f"Or one more answer {words}: of a query with" in asked["sentence"]
    for each in asked["inputs"]:
        assert f"{each['slots'][0]} of cluster {each['cluster']}" in asked["sentence"]


def test_its_answer_settles_what_was_open(made: Reasoner, open_one: Assignment) -> None:
    """Asked, and answered as either of the two would: one map is left, and it is that one."""
    asked = next_query(made, left_open(open_one))
    assert asked is not None
    x, y = (each["cluster"] for each in asked["inputs"])
    for tie, answer in zip(open_one.near_ties, asked["answers"], strict=True):
        pairs = torch.tensor([(0, 0), (1, 2), (3, 0), (x, y)])
        log_q = {("net", slot): certain(pairs[:, k], 4) for k, slot in enumerate("XY")}
        sums = torch.tensor([0, 3, 3, made.index(answer)])
        found = assign(made, log_q, sums)
        assert len(found.near_ties) == 1
        assert found.maps == tie.maps


def test_nothing_is_asked_where_nothing_is_open_or_nothing_would_tell(made: Reasoner) -> None:
    settled = observed(made, list(product(range(4), repeat=2)), 4)
    assert next_query(made, left_open(settled)) is None
    swap = reasoner(
        "nn(net, [X], D, [0, 1]) :: digit(X, D).\nxor(X, Y, R) :- digit(X, A), digit(Y, B), R is (A + B) mod 2.\n",
        "xor(X, Y, R)",
    )
    symbols = torch.tensor(list(product(range(2), repeat=2)))
    log_q = {("net", slot): certain(symbols[:, k], 2) for k, slot in enumerate("XY")}
    found = assign(swap, log_q, symbols.sum(1) % 2)
    assert len(found.near_ties) == 2  # both bits may be the other one
    assert next_query(swap, left_open(found)) is None


def test_random_answers_tell_nothing_for_certain() -> None:
    made = reasoner(*PROGRAMS["learned probabilities"])
    log_q = {(item.network, *item.slots): certain(torch.tensor([0]), 4) for item in made.inputs}
    found = assign(made, log_q, torch.tensor([made.index(0)]))
    assert not left_open(found).settled
    assert next_query(made, left_open(found)) is None


def test_given_symbols_cannot_be_asked_for() -> None:
    two = reasoner(*PROGRAMS["two networks"])
    light, sign = two.inputs
    given = {(sign.network, *sign.slots): certain(torch.tensor([0]), 2)}
    log_q = {(light.network, *light.slots): certain(torch.tensor([0]), 3)}
    found = assign(two, log_q, torch.tensor([two.index("stop")]), given=given)
    assert next_query(two, left_open(found)) is None


def test_of_too_many_combinations_some_are_tried(
    made: Reasoner, open_one: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUERIES_TRIED", 15)  # of 16
    asked = next_query(made, left_open(open_one))
    assert asked is not None
    assert len(set(asked["answers"])) == 2


ONE_ORDER, OTHER_ORDER = {"net": (0, 1, 2, 3)}, {"net": (0, 2, 1, 3)}


@pytest.mark.parametrize(
    ("clusters", "log_confidence", "expected"),
    [
        ([(0, 0), (1, 2), (0, 1), (0, 1), (2, 3)], [0.0, 0.0, -2.0, -1.0, -3.0], 3),  # the first two tell nothing
        ([(0, 0), (1, 2), (2, 1)], [0.0, 0.0, 0.0], None),
    ],
)
def test_the_most_certain_of_the_most_telling_queries(
    made: Reasoner, clusters: list[tuple[int, int]], log_confidence: list[float], expected: int | None
) -> None:
    maps = [ONE_ORDER, OTHER_ORDER]
    assert most_telling(made, maps, torch.tensor(clusters), torch.tensor(log_confidence)) == expected


def test_a_query_that_tells_more_maps_apart_comes_first(made: Reasoner) -> None:
    maps = [ONE_ORDER, OTHER_ORDER, {"net": (0, 3, 2, 1)}]
    rows, log_confidence = torch.tensor([(0, 2), (1, 1)]), torch.tensor([0.0, -5.0])
    assert most_telling(made, maps, rows, log_confidence) == 1  # 2, 4 or 6; the other is 2, 1 or 2
    assert most_telling(made, maps[:2], rows, log_confidence) == 0


def test_given_symbols_are_what_they_are() -> None:
    """Only with the first sign does the light decide what is done."""
    two = reasoner(*PROGRAMS["two networks"])
    light, sign = two.inputs
    maps = [{light.network: order} for order in ((0, 1, 2), (1, 0, 2))]
    rows = torch.tensor(list(product(range(3), range(2))))
    chosen = most_telling(two, maps, rows, torch.zeros(len(rows)), {sign.network})
    known = {sign.network: (0, 1)}
    answers = [[answer_under(two, {**each, **known}, (a, b)) for each in maps] for a, b in rows.tolist()]
    telling = [number for number, row in enumerate(answers) if None not in row and len(set(row)) > 1]
    assert telling
    assert chosen == telling[0]
