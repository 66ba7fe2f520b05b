"""Images that their clusters misread do not settle what the program leaves open, however many answers there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import NEAR_TIE
from nesy_gedi.logic.program import Program
from nesy_gedi.training.assigning import DOUBTFUL, Observed, _search
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task

READINGS = 40
"""Of each tuple of the support: many answers."""

MISREAD = 12


@pytest.fixture(scope="module")
def task() -> Task:
    found = find_program("mnist_evenodd")
    return Task(Program.load(found.path), load_recipe(found.recipe))


def seen(digits: Tensor, sureness: float = 12.0) -> Tensor:
    return (sureness * torch.nn.functional.one_hot(digits, 10).double()).log_softmax(1)


def observed(task: Task, *further: tuple[Tensor, Tensor, int]) -> Observed:
    """Answers of the support, read right, and ``further`` ones: what X and Y look like, and their sum."""
    assert task.support is not None
    digits = task.support.repeat(READINGS, 1)
    columns = {"X": seen(digits[:, 0]), "Y": seen(digits[:, 1])}
    sums = digits.sum(1).tolist()
    for x, y, total in further:
        columns = {"X": torch.cat([columns["X"], x]), "Y": torch.cat([columns["Y"], y])}
        sums += [total] * len(x)
    answers = torch.tensor([task.reasoner.index(total) for total in sums])
    return Observed(task, {("digit_net", slot): rows for slot, rows in columns.items()}, {}, answers)


def misread(task: Task) -> tuple[Tensor, Tensor, int]:
    """1 and 5, whose sum is 6; the 1 looks like a 2 that may be a 4, which with a 2 is 6 as well, but not 5 places on."""
    x = torch.full((MISREAD, 10), 1e-9, dtype=torch.float64)
    x[:, 2], x[:, 4] = 0.95, 0.05
    y = torch.full((MISREAD, 10), 1e-9, dtype=torch.float64)
    y[:, 5], y[:, 2] = 0.95, 0.05
    return (x / x.sum(1, keepdim=True)).log(), (y / y.sum(1, keepdim=True)).log(), 6


def test_misread_images_settle_nothing(task: Task) -> None:
    noisy = observed(task, misread(task))
    alone = noisy.search()
    assert (len(alone.near_ties), alone.gap > NEAR_TIE) == (1, True)  # by its likelihood it is settled
    for tolerance in (NEAR_TIE, DOUBTFUL):
        found = _search(noisy, {}, tolerance)
        assert found.maps == alone.maps
        assert [tie.maps["digit_net"] for tie in found.near_ties] == [
            tuple(range(10)),
            tuple((k + 5) % 10 for k in range(10)),
        ]


def test_an_answer_that_tells_settles_it(task: Task) -> None:
    crossing = (seen(torch.tensor([0])), seen(torch.tensor([1])), 1)
    assert len(_search(observed(task, misread(task), crossing), {}).near_ties) == 1


def test_a_label_settles_it(task: Task) -> None:
    label = {"digit_net": (seen(torch.tensor([3])), torch.tensor([3]))}
    assert len(_search(observed(task, misread(task)), label).near_ties) == 1
