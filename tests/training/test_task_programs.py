"""Bundled programs about digits and bits: every label agrees with arithmetic written out here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from numbered_images import classes_of, splits_of

from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task


def order_of(x: int, y: int) -> str:
    return "less" if x < y else "equal" if x == y else "greater"


CASES: list[tuple[str, int, Callable[..., object]]] = [
    ("mnist_half", 5, lambda x, y: x + y),
    ("mnist_evenodd", 10, lambda x, y: x + y),
    ("xor", 2, lambda x, y: x ^ y),
    ("parity", 2, lambda *bits: ("even", "odd")[sum(bits) % 2]),
    ("product", 10, lambda x, y: x * y),
    ("comparison", 10, order_of),
]


@pytest.mark.parametrize(("name", "symbols", "answer"), CASES, ids=[name for name, _, _ in CASES])
def test_labels(name: str, symbols: int, answer: Callable[..., object]) -> None:
    found = find_program(name)
    task = Task(Program.load(found.path), load_recipe(found.recipe, overrides={"data.train": 400, "data.test": 100}))
    splits = task.queries(splits_of(60, 20))
    assert len(splits.train) == 400
    outside = [splits.test.outside.queries] if splits.test.outside is not None else []
    for queries in (splits.train, splits.validation, splits.test, *outside):
        rows = classes_of(queries).tolist()
        assert [task.reasoner.answers[k] for k in queries.answers.tolist()] == [str(answer(*row)) for row in rows]
    assert {value for row in classes_of(splits.train).tolist() for value in row} == set(range(symbols))
    assert bool(outside) == name.startswith("mnist")


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_parity_of_any_length(bits: int) -> None:
    found = find_program("parity")
    form = f"parity([{', '.join(f'X{k}' for k in range(bits))}], Parity)"
    task = Task(Program.load(found.path), load_recipe(found.recipe, overrides={"query": form, "data.test": 50}))
    queries = task.test_queries(splits_of(20, 20))
    expected = [("even", "odd")[sum(row) % 2] for row in classes_of(queries).tolist()]
    assert [task.reasoner.answers[k] for k in queries.answers.tolist()] == expected
