"""What is said of an assignment."""

from __future__ import annotations

import random
import re
import sys
from dataclasses import replace
from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from every_map import PROGRAMS, addition, certain, observed, reasoner

from nesy_gedi.concepts import statements as module
from nesy_gedi.concepts.assignment import Assignment, assign
from nesy_gedi.concepts.statements import alternatives, left_open, listing, statements
from nesy_gedi.concepts.telling_queries import next_query
from nesy_gedi.logic.reasoner import Reasoner


@pytest.fixture(scope="module")
def settled(made: Reasoner) -> Assignment:
    return observed(made, list(product(range(4), repeat=2)), 4)


def said(found: Assignment, **changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "answers": 30, "asked": 0, "labels": 0, "contradiction": 0.0, "disagreeing": [], "unlikely": False, "query": None
    }  # fmt: skip
    return statements(found, left_open(found), **(given | changes))


# -- sentences ---------------------------------------------------------------------------------------------------------


def test_a_settled_assignment_is_one_sentence(settled: Assignment) -> None:
    (sentence,) = said(replace(settled, gap=6.0))
    assert sentence == "30 answers settle the assignment: the next best is 403 times less likely."
    (sentence,) = said(replace(settled, gap=100.0))
    assert sentence.endswith("the next best is 10^43 times less likely.")
    (sentence,) = said(replace(settled, gap=6.0), answers=1)
    assert sentence.startswith("1 answer settles the assignment")
    (sentence,) = said(replace(settled, gap=6.0), answers=30, labels=1)
    assert sentence.startswith("30 answers and 1 label settle the assignment")
    assert said(replace(settled, gap=float("inf"), runner_up=None)) == []


def test_what_is_not_proven_is_not_settled(settled: Assignment) -> None:
    unproven = replace(settled, exact=False, bound=settled.log_likelihood + 2.5)
    (sentence,) = said(unproven)
    assert "ran out of time" in sentence
    assert "likelier by up to 2.5 nats" in sentence


def test_what_is_open_is_spelt_out(open_one: Assignment) -> None:
    assert len(open_one.near_ties) == 2
    first, second, third = said(open_one)
    assert first == "30 answers do not settle what every cluster is: 2 assignments fit about equally well."
    assert second in (
        "The other one: cluster 1 is 2 instead of 1, cluster 2 is 1 instead of 2.",
        "The other one: cluster 1 is 1 instead of 2, cluster 2 is 2 instead of 1.",
    )
    assert re.fullmatch(
        r"One label settles it: that of an image of cluster [12] of net: is it (1 or 2|2 or 1)\?", third
    )
    assert alternatives(open_one, left_open(open_one)) == [second]
    assert said(open_one, answers=1)[0].startswith("1 answer does not settle")


def test_clusters_that_are_never_seen_leave_their_order_open(made: Reasoner) -> None:
    found = observed(made, [(0, 0)], 4)
    assert len(found.near_ties) == 1  # one order stands for all
    left = left_open(found)
    assert sorted(maps["net"] for maps in left.maps) == [(0, *order) for order in permutations((1, 2, 3))]
    assert left.maps[0] == found.maps
    lines = said(found, answers=1)
    assert lines[0] == "1 answer does not settle what every cluster is: 6 assignments fit about equally well."
    assert lines[1] == ("Hardly ever seen in the answers: clusters 1, 2 and 3 of net; what they are is a guess.")
    assert lines[2] == "2 labels settle it: of an image of each of clusters 1 and 2 of net."
    assert not any(" settle the assignment" in line for line in lines)
    # Whatever the two labels say, the third is what is left.
    for truth in left.maps:
        known = {"net": {cluster: truth["net"][cluster] for _, cluster in left.labels}}
        pairs = torch.tensor([(0, 0)])
        log_q = {("net", slot): certain(pairs[:, k], 4) for k, slot in enumerate("XY")}
        told = assign(made, log_q, pairs.sum(1), fixed=known)
        assert told.maps == truth
        assert left_open(told).settled


@pytest.mark.parametrize("size", [4, 5])
def test_what_is_open_is_what_every_map_says(size: int) -> None:
    """Against all one-to-one maps, in random draws of which many leave clusters unseen."""
    made, generator = addition(size), random.Random(size)
    counted = 0
    for _ in range(40):
        true = generator.sample(range(size), size)
        drawn = [tuple(generator.choices(range(size), k=2)) for _ in range(generator.randint(1, 5))]
        log_q = {("net", slot): certain(torch.tensor(drawn)[:, k], size) for k, slot in enumerate("XY")}
        sums = torch.tensor([true[a] + true[b] for a, b in drawn])
        left = left_open(assign(made, log_q, sums))
        fitting = {p for p in permutations(range(size)) if all(p[a] + p[b] == true[a] + true[b] for a, b in drawn)}
        if left.more:
            continue
        counted += 1
        assert {maps["net"] for maps in left.maps} == fitting
        for cluster in range(size):
            assert set(left.candidates["net", cluster]) == {row[cluster] for row in fitting}

        def tell_apart(clusters: tuple[int, ...], maps: set[tuple[int, ...]] = fitting) -> bool:
            return len({tuple(row[k] for k in clusters) for row in maps}) == len(maps)

        asked = tuple(cluster for _, cluster in left.labels)
        assert tell_apart(asked)
        assert left.fewest
        assert not any(map(tell_apart, combinations(range(size), max(0, len(asked) - 1)))) or not asked
    assert counted > 30


def test_a_cluster_may_be_any_symbol_that_is_left_however_many_maps_there_are() -> None:
    left = left_open(observed(addition(10), [(0, 0), (0, 1), (1, 2), (2, 3)], 10))
    assert left.more
    for cluster in range(4, 10):
        assert sorted(left.candidates["net", cluster]) == [4, 5, 6, 7, 8, 9]
    assert [cluster for _, cluster in left.labels] == [4, 5, 6, 7, 8]


def test_one_that_is_never_seen_is_what_is_left(made: Reasoner) -> None:
    found = observed(made, [(0, 0), (1, 1), (2, 0)], 4)
    assert found.uninformed == (("net", 3),)
    assert left_open(found).settled
    (sentence,) = said(found)
    assert "settle the assignment" in sentence


def test_of_more_clusters_than_symbols_none_is_told_by_what_is_left(made: Reasoner) -> None:
    pairs = torch.tensor([(0, 0), (1, 1), (2, 0), (3, 3)])
    log_q = {("net", slot): certain(pairs[:, k], 5) for k, slot in enumerate("XY")}
    found = assign(made, log_q, pairs.sum(1), kind="fitting")
    assert found.uninformed == (("net", 4),)
    left = left_open(found)
    assert sorted(maps["net"] for maps in left.maps) == [(0, 1, 2, 3, symbol) for symbol in range(4)]
    assert left.labels == (("net", 4),)


def test_more_than_one_label(made: Reasoner, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(0, 3), (1, 2), (3, 0)]
    found = observed(made, pairs, 4)
    assert len(found.near_ties) == 8
    lines = said(found)
    assert sum(line.startswith("One of them") for line in lines) == module.MAPS_SHOWN
    (asked,) = [line for line in lines if "labels settle it" in line]
    assert re.fullmatch(r"2 labels settle it: of an image of each of clusters \d and \d of net\.", asked)
    unproven = replace(left_open(found), fewest=False)
    monkeypatch.setattr(sys.modules[__name__], "left_open", lambda found: unproven)
    (asked,) = [line for line in said(found) if "labels settle it" in line]
    assert "(perhaps fewer)" in asked


def test_a_list_that_is_cut_off_promises_nothing(made: Reasoner, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = torch.tensor([(0, 3), (1, 2), (3, 0)])
    log_q = {("net", slot): certain(pairs[:, k], 4) for k, slot in enumerate("XY")}
    by_the_search = assign(made, log_q, pairs.sum(1), max_near_ties=3)
    assert by_the_search.more_near_ties
    monkeypatch.setattr(module, "MAX_NEAR_TIES", 3)
    for found in (by_the_search, observed(made, [(0, 0)], 4)):
        left = left_open(found)
        assert left.more
        lines = said(found, query=next_query(made, left))
        assert "more than 3 assignments" in lines[0]
        assert not any("settle" in line for line in lines[1:])
        assert any("would leave fewer" in line for line in lines)


def test_many_clusters_are_not_all_named(settled: Assignment) -> None:
    many = (*(("net", cluster) for cluster in range(20)), ("other", 3))
    left = replace(left_open(settled), guessed=many)
    (line,) = [
        line
        for line in statements(
            settled, left, answers=3, asked=0, labels=0, contradiction=0.0, disagreeing=[], unlikely=False, query=None
        )
        if line.startswith("Hardly")
    ]
    assert line.endswith(
        "clusters 0, 1, 2, 3, 4, 5, 6, 7 and 12 more of net and cluster 3 of other; what they are is a guess."
    )


def test_maps_of_several_networks_name_them() -> None:
    two = reasoner(*PROGRAMS["two networks"])
    log_q = {(item.network, *item.slots): certain(torch.tensor([0]), len(item.domain)) for item in two.inputs}
    found = assign(two, log_q, torch.tensor([two.index("stop")]))
    assert any(re.search(r"One of them: (light_net|sign_net), cluster", line) for line in said(found))


def test_answers_that_were_asked_for_are_counted(settled: Assignment) -> None:
    assert said(settled, asked=2)[0] == "2 of 30 answers were asked for, of queries that tell assignments apart."
    assert said(settled, asked=1)[0].startswith("1 of 30 answers was asked for")


def test_what_is_wrong_is_said_with_what_to_do(settled: Assignment) -> None:
    (_, unlikely) = said(settled, unlikely=True)
    assert "clusters mix symbols" in unlikely
    assert "pretraining.attempts" in unlikely
    (_, against) = said(settled, labels=2, contradiction=5.0)
    assert against == (
        "The labels contradict the answers: without them another assignment makes the answers 148 times likelier. "
        "Check the labels and the program."
    )
    assert len(said(settled, labels=2, contradiction=2.9)) == 1  # within a factor of 20
    (_, told) = said(settled, labels=3, disagreeing=[("3", "2"), ("3", "2"), ("0", "1")])
    assert told == (
        "3 of 3 labels disagree with the assignment, whose clusters say: 2 (told to be 3) and 1 (told to be 0). "
        "Check the labels and the program."
    )


def test_a_listing() -> None:
    assert [listing(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listing(["a", "b", "c"], "or") == "a, b or c"
