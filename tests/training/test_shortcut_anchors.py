"""What known reasoning shortcuts score, through the real code: a recipe's own splits, its program's circuit, ``measure``.

A network that reads every symbol as a map says has figures that can be worked out by hand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from numbered_images import LIKE_MNIST, Misreads
from torch import nn

from nesy_gedi.concepts.map_counting import Count
from nesy_gedi.concepts.shortcuts import find_optimal_maps
from nesy_gedi.data import Queries
from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.evaluation import measure
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task

CPU = torch.device("cpu")


BOTH = "addition(X, Y, Sum), product(X, Y, Product)"


@cache
def task_on_mnist(name: str, query: str = "") -> tuple[Task, Queries]:
    """A bundled program and its test queries, as on MNIST, with its recipe's query form or another."""
    found = find_program(name)
    recipe = load_recipe(found.recipe, source="mnist", overrides={"query": query} if query else {})
    task = Task(Program.load(found.path), recipe)
    return task, task.test_queries(LIKE_MNIST)


def figures(name: str, seen_as: list[int], *, outside: bool = True) -> dict[str, Any]:
    task, queries = task_on_mnist(name)
    networks = nn.ModuleDict({"digit_net": Misreads(seen_as)})
    return measure(task, networks, queries if outside else replace(queries, outside=None), CPU)


def optimal_maps_of_evenodd() -> list[list[int]]:
    """The sums fix all even digits by what 0 is seen as, and all odd ones by what 1 is; all must be digits."""
    maps = []
    for e, o in product(range(10), repeat=2):
        seen = {0: e, 6: 6 - e, 4: 4 + e, 8: 8 - e, 2: 2 + e, 1: o, 5: 6 - o, 9: 10 - o, 3: 2 + o, 7: 8 - o}
        if all(0 <= symbol <= 9 for symbol in seen.values()):
            maps.append([seen[digit] for digit in range(10)])
    return maps


IDENTITY, SHIFTED = list(range(10)), [(digit + 5) % 10 for digit in range(10)]


@pytest.mark.parametrize("seen_as", [[0, 1, 3, 2, 3], [0, 1, 4, 1, 2]])
def test_either_shortcut_of_half(seen_as: list[int]) -> None:
    found = figures("mnist_half", seen_as)
    assert (found["queries"], found["answer_accuracy"]) == (420, 1.0)
    assert found["concept_accuracy"] == pytest.approx(6 / 14)
    assert found["concept_collapse"] == pytest.approx(0.2)
    outside = found["outside"]
    assert (outside["tuples"], outside["queries"]) == (18, 18 * 60)
    assert outside["answer_accuracy"] == pytest.approx(1 / 18)
    assert outside["concept_accuracy"] == pytest.approx(14 / 36)
    assert outside["concept_collapse"] == pytest.approx(0.2)
    seen = outside["seen_answers"]  # 1 + 4, 4 + 1 and 3 + 3: sums that training shows
    assert seen["queries"] == 3 * 60
    right = sum(seen_as[a] + seen_as[b] == a + b for a, b in ((1, 4), (4, 1), (3, 3)))
    assert seen["answer_accuracy"] == pytest.approx(right / 3)
    learned = found["networks"]["digit_net"]["learned_map"]
    assert learned == {str(k): str(symbol) for k, symbol in enumerate(seen_as)}


def test_the_bijective_shortcut_of_evenodd() -> None:
    found = figures("mnist_evenodd", SHIFTED)
    assert (found["queries"], found["answer_accuracy"]) == (960, 1.0)
    assert (found["concept_accuracy"], found["aligned_concept_accuracy"], found["concept_gap"]) == (0.0, 1.0, 1.0)
    assert found["concept_collapse"] == 0.0
    assert found["ami"] == pytest.approx(1.0)
    assert found["concept_ece"] == 1.0  # certain, and always wrong
    assert found["error_auroc"] is None
    outside = found["outside"]
    assert (outside["tuples"], outside["queries"]) == (84, 84 * 60)
    assert outside["answer_accuracy"] == pytest.approx(34 / 84)
    assert round(outside["answer_accuracy"], 4) == 0.4048
    assert (outside["concept_accuracy"], outside["aligned_concept_accuracy"]) == (0.0, 1.0)
    assert outside["seen_answers"]["queries"] == 7 * 60


def test_the_36_optimal_maps_of_evenodd() -> None:
    maps = optimal_maps_of_evenodd()
    assert len(maps) == 36
    assert IDENTITY in maps
    found = [figures("mnist_evenodd", seen_as, outside=False) for seen_as in maps]
    assert all(each["answer_accuracy"] == 1.0 for each in found)
    assert sum(each["concept_accuracy"] for each in found) / 36 == pytest.approx(1 / 6)
    assert [seen_as for seen_as, each in zip(maps, found, strict=True) if each["aligned_concept_accuracy"] == 1.0] == [
        IDENTITY,
        SHIFTED,
    ]
    for seen_as, each in zip(maps, found, strict=True):
        assert each["concept_collapse"] == pytest.approx(1 - len(set(seen_as)) / 10)


@pytest.mark.parametrize("name", ["mnist_half", "mnist_evenodd"])
def test_right_symbols_answer_everything(name: str) -> None:
    domain = len(task_on_mnist(name)[0].program.networks["digit_net"])
    found = figures(name, list(range(domain)))
    for part in (found, found["outside"], found["outside"]["seen_answers"]):
        assert (part["answer_accuracy"], part["concept_accuracy"], part["concept_gap"]) == (1.0, 1.0, 0.0)
        assert part["concept_collapse"] == 0.0


def optimal_maps(name: str, query: str = "", maps: torch.Tensor | None = None) -> list[tuple[int, ...]]:
    """By brute force: every map under which the program gives the support's answers (all tuples without a support)."""
    task, _ = task_on_mnist(name, query)
    size = len(next(iter(task.program.networks.values())))
    every = torch.cartesian_prod(*[torch.arange(size)] * len(task.concepts)).view(-1, len(task.concepts))
    support = every if task.support is None else task.support
    maps = torch.cartesian_prod(*[torch.arange(size)] * size) if maps is None else maps
    wanted, got = task.derive(support, 0), task.derive(maps[:, support].flatten(0, 1), 0)
    right = (got.answers.view(len(maps), -1) == wanted.answers) & got.exists.view(len(maps), -1)
    return [tuple(row) for row in maps[right.all(1)].tolist()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist_half", [(0, 1, 2, 3, 4), (0, 1, 3, 2, 3), (0, 1, 4, 1, 2)]),
        ("xor", [(0, 1), (1, 0)]),
        ("parity", [(0, 1)]),
    ],
)
def test_all_maps_that_answer_correctly(name: str, expected: list[tuple[int, ...]]) -> None:
    assert optimal_maps(name) == expected


def test_the_product_beside_the_sum_leaves_one_map_of_the_three_of_half() -> None:
    assert optimal_maps("mnist_half", BOTH) == [(0, 1, 2, 3, 4)]
    assert len(optimal_maps("mnist_half", "product(X, Y, Product)")) == 5


def test_the_product_beside_the_sum_leaves_one_map_of_the_36_of_evenodd() -> None:
    # What answers sums and products right answers sums right: it is among the 36.
    maps = torch.tensor(optimal_maps_of_evenodd())
    assert len(optimal_maps("mnist_evenodd", maps=maps)) == 36
    assert optimal_maps("mnist_evenodd", BOTH, maps) == [tuple(IDENTITY)]


@pytest.mark.parametrize(
    ("name", "query", "count", "one_to_one"),
    [
        ("mnist_half", "", 3, 1),
        ("mnist_half", "product(X, Y, Product)", 5, 1),
        ("mnist_half", BOTH, 1, 1),
        ("mnist_evenodd", "", 36, 2),
        ("mnist_evenodd", "product(X, Y, Product)", 2, 1),
        ("mnist_evenodd", BOTH, 1, 1),
    ],
)
def test_the_search_for_optimal_maps_counts_the_same(name: str, query: str, count: int, one_to_one: int) -> None:
    task, _ = task_on_mnist(name, query)
    assert task.support is not None
    symbols = {(each.network, *each.slots): task.support[:, k] for k, each in enumerate(task.concepts)}
    found = find_optimal_maps(task.reasoner, symbols, seconds=600.0)
    assert (found.count, found.one_to_one) == (Count(count, count), Count(one_to_one, one_to_one))


@pytest.mark.parametrize("name", ["product", "comparison"])
def test_swapping_two_digits_is_no_shortcut(name: str) -> None:
    for a in range(9):
        seen_as = list(range(10))
        seen_as[a], seen_as[a + 1] = a + 1, a
        assert figures(name, seen_as)["answer_accuracy"] < 1.0
