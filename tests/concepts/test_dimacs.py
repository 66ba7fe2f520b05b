"""Files for other tools: their models are counted here, by trying all assignments and by PySDD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from every_map import TWO_NETWORKS, addition, reasoner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pysdd.sdd import SddManager, Vtree
from random_worlds import World, one_to_one, worlds
from test_shortcuts import EVEN_ODD, HALF, columns

from nesy_gedi.concepts import dimacs
from nesy_gedi.concepts.dimacs import write_dimacs
from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.errors import UsageError

Clauses = list[list[int]]


def parsed(text: str) -> tuple[list[str], int, Clauses]:
    """Comments, how many booleans there are, and clauses; the header must be right."""
    lines = text.splitlines()
    assert text.endswith("\n")
    head = next(number for number, line in enumerate(lines) if not line.startswith("c "))
    word, form, booleans, clauses = lines[head].split()
    assert (word, form, int(clauses)) == ("p", "cnf", len(lines) - head - 1)
    rows = [[int(literal) for literal in line.split()] for line in lines[head + 1 :]]
    assert all(row[-1] == 0 and 0 not in row[:-1] and len(row) > 1 for row in rows)
    assert {abs(literal) for row in rows for literal in row} == set(range(int(booleans) + 1))
    return lines[:head], int(booleans), [row[:-1] for row in rows]


def models(booleans: int, clauses: Clauses) -> np.ndarray:
    """All of them, (n, booleans) bool."""
    every = np.arange(2**booleans)[:, None] >> np.arange(booleans) & 1 == 1
    for row in clauses:
        every = every[np.any([every[:, abs(literal) - 1] == (literal > 0) for literal in row], axis=0)]
    return every


def meanings(comments: list[str]) -> dict[int, tuple[str, str, str]]:
    """Boolean -> map, symbol, what it is read as."""
    found = {}
    for line in comments:
        number, _, rest = line.removeprefix("c ").partition(" ")
        if number.isdigit():
            symbol, read = rest.split(" is read as ")
            found[int(number)] = (*symbol.rsplit(": ", 1), read.split(" (")[0])
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(worlds(300), st.sampled_from(["shared", "factored"]), st.booleans())
def test_models_are_the_optimal_maps(world: World, family: str, only: bool) -> None:
    seen = world.observed(family)
    assume(sum(size**2 for size in seen.sizes().values()) <= 17)
    comments, booleans, clauses = parsed(write_dimacs(seen.shown, one_to_one=only))
    meaning = meanings(comments)
    assert sorted(meaning) == list(range(1, booleans + 1))
    found = {frozenset(meaning[number + 1] for number in np.flatnonzero(model)) for model in models(booleans, clauses)}
    domains = seen.shown.domains
    expected = {
        frozenset(
            (name, domains[name][k], domains[name][read]) for name, row in maps.items() for k, read in enumerate(row)
        )
        for maps in seen.optimal()
        if not only or one_to_one(maps)
    }
    assert found == expected
    assert len(models(booleans, clauses)) == len(expected)


def counted(text: str) -> int:
    """By PySDD. What clauses say of the same places is put together first: that keeps diagrams small."""
    _, booleans, clauses = parsed(text)
    manager = SddManager.from_vtree(Vtree(var_count=booleans, vtree_type="balanced"))
    values = [row for row in clauses if min(row) > 0 and len(row) > 1]
    place = {boolean: number for number, row in enumerate(values) for boolean in row}
    parts = {frozenset([number]): manager.true() for number in range(len(values))}
    for row in clauses:
        clause = manager.false()
        for literal in row:
            clause = manager.disjoin(clause, manager.literal(literal))
        key = frozenset(place[abs(literal)] for literal in row)
        parts[key] = manager.conjoin(parts.get(key, manager.true()), clause)
    total = manager.true()
    for key in sorted(parts, key=len, reverse=True):
        for number in key:
            parts[key] = manager.conjoin(parts[key], parts[frozenset([number])])
        total = manager.conjoin(total, parts[key])
    return int(total.global_model_count())


@pytest.mark.parametrize(
    ("size", "pairs", "family", "only", "count"),
    [
        pytest.param(5, HALF, "shared", False, 3, id="half"),
        pytest.param(5, HALF, "shared", True, 1, id="half, one to one"),
        pytest.param(5, HALF, "factored", False, 9, id="half, factored"),
        pytest.param(10, EVEN_ODD, "shared", False, 36, id="even-odd"),
        pytest.param(10, EVEN_ODD, "shared", True, 2, id="even-odd, one to one"),
    ],
)
def test_the_published_counts(size: int, pairs: list[tuple[int, int]], family: str, only: bool, count: int) -> None:
    text = write_dimacs(ShownTuples(addition(size), columns(pairs), family=family), one_to_one=only)
    assert counted(text) == count


def test_a_label_is_a_clause_of_its_own() -> None:
    text = write_dimacs(ShownTuples(addition(5), columns(HALF), told={"net": [3]}), one_to_one=False)
    assert counted(text) == 1
    comments, _, clauses = parsed(text)
    assert [meanings(comments)[row[0]] for row in clauses if len(row) == 1 and row[0] > 0] == [("net", "3", "3")]
    assert "c 16 net: 3 is read as 0 (told)" in comments


def test_comments_say_what_is_what() -> None:
    made = reasoner(TWO_NETWORKS, "action(L, S, A)")
    symbols = {("light_net", "L"): torch.tensor([0, 1]), ("sign_net", "S"): torch.tensor([0, 0])}
    text = write_dimacs(ShownTuples(made, symbols), one_to_one=True, program="traffic.pl\naction(L, S, A)")
    comments, booleans, _ = parsed(text)
    assert comments[:2] == ["c Program: traffic.pl", "c Program: action(L, S, A)"]
    assert "2 distinct tuples" in comments[2]
    assert "same" in comments[3]
    assert "identity" in comments[4]
    assert "c 2 light_net: red is read as amber" in comments
    assert "c 8 light_net: green is read as amber (not shown)" in comments
    assert f"c {booleans} sign_net: true is read as true (not shown)" in comments
    assert len(parsed(write_dimacs(ShownTuples(made, symbols), one_to_one=False))[0]) == len(comments) - 3


def test_the_same_pair_in_another_order_adds_no_clause() -> None:
    several = ([(0, 1)], [(0, 1), (1, 0)])
    texts = [write_dimacs(ShownTuples(addition(3), columns(pairs)), one_to_one=False) for pairs in several]
    assert parsed(texts[0])[2] == parsed(texts[1])[2]


def test_a_problem_of_too_many_clauses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ShownTuples(addition(5), columns(HALF))
    clauses = len(parsed(write_dimacs(shown, one_to_one=True))[2])
    monkeypatch.setattr(dimacs, "MAX_CLAUSES", clauses)
    write_dimacs(shown, one_to_one=True)
    for most, what in ((clauses - 1, "more clauses"), (60, "more clauses"), (24, "more ways|more clauses")):
        monkeypatch.setattr(dimacs, "MAX_CLAUSES", most)
        with pytest.raises(UsageError, match=what) as refused:
            write_dimacs(shown, one_to_one=True)
        assert refused.value.hint


def test_a_tuple_that_can_be_misread_in_too_many_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "nn(net, [X], B, [0, 1]) :: bit(X, B).\nall(A, B, C, D, E, F, G, yes) :- "
    text += ", ".join(f"bit({name}, 1)" for name in "ABCDEFG") + ".\n"
    made = reasoner(text, "all(A, B, C, D, E, F, G, R)")
    symbols = {("net", name): torch.tensor([1]) for name in "ABCDEFG"}
    shown = ShownTuples(made, symbols, family="factored")
    assert write_dimacs(shown, one_to_one=False)
    monkeypatch.setattr(dimacs, "MAX_CLAUSES", 2**7 - 1)
    with pytest.raises(UsageError, match="misread in more ways"):
        write_dimacs(shown, one_to_one=False)
