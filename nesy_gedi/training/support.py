"""Which tuples of true symbols a program's training queries show, and which lie outside."""

from __future__ import annotations

import re
from itertools import permutations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nesy_gedi.concepts.misreadings import tuples_over
from nesy_gedi.data import Queries
from nesy_gedi.errors import AnswerError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from nesy_gedi.training.task import Task

OUTSIDE_TUPLES = 100_000
"""Of larger domains this many tuples are drawn at random."""

OUTSIDE_SEED = 20261121
"""What lies outside is the same for every run."""

MOST_IMAGES_IN_ANY_ORDER = 8
"""More have over 40,320 orders."""

SYMBOL = re.compile(r"'(?:[^'\\]|\\.)*'|\S+")
"""A symbol as a program writes it: quoted where it holds a space."""


def read_support(task: Task) -> Tensor | None:
    """The tuples of ``data.support`` in all the orders that it stands for.

    Returns:
        (tuples, concepts) int64: for each of ``task.concepts`` the position of its symbol in the domain; None where the
        recipe restricts nothing.

    Raises:
        RecipeError: a tuple of the wrong length, with an unknown symbol, or given twice.
        AnswerError: a tuple from which the program derives no answer.
    """
    what = task.recipe.data
    if not what.support:
        if what.outside:
            raise RecipeError(
                "nothing lies outside, because data.support is empty: all tuples are in the training queries",
                where="data.outside",
                hint='restrict the training queries, for example data.support = ["0 0", "0 1"], or leave it out',
            )
        return None
    found: dict[tuple[int, ...], str] = {}
    for text in what.support:
        read = read_tuple(task, text)
        if read in found:
            other = "" if found[read] == text else f': "{found[read]}" in another order'
            raise RecipeError(
                f'"{text}" is in the support twice{other}',
                where="data.support",
                hint="give each tuple once" + (", in one order" if what.any_order else ""),
            )
        found.update(dict.fromkeys(_orders(task, read) if what.any_order else [read], text))
    tuples = torch.tensor(list(found))
    exists = task.derive(tuples, 0).exists
    if not bool(exists.all()):
        wrong = tuples[int((~exists).nonzero()[0])].tolist()
        raise AnswerError(
            f"the program derives no answer when {task.spell(wrong)}",
            where=f"data.support, {task.recipe.query}",
            hint="leave this tuple out, or add a rule for it to the program",
        )
    return tuples


def outside_tuples(task: Task, support: Tensor) -> Tensor:
    """All other tuples of the domains from which the program derives an answer; of many, a random sample.

    Args:
        support: (tuples, concepts).

    Returns:
        (n, concepts) int64, in the order of the domains.
    """
    every, _ = tuples_over([len(concept.domain) for concept in task.concepts], OUTSIDE_TUPLES, OUTSIDE_SEED)
    inside = {tuple(row) for row in support.tolist()}
    others = every[torch.tensor([tuple(row) not in inside for row in every.tolist()])]
    if not len(others):
        return others
    return others[task.derive(others, OUTSIDE_SEED).exists]


def has_seen_answer(task: Task, support: Tensor, queries: Queries) -> Tensor:
    """Which queries ask for an answer that some tuple of the support can have, (n,) bool."""
    if task.observed:
        derived = task.derive(support, 0)
        seen = {tuple(row) for row in torch.cat([derived.answers[:, None], derived.observed], 1).tolist()}
        asked = torch.cat([queries.answers[:, None], queries.observed], 1).tolist()
        return torch.tensor([tuple(row) in seen for row in asked], dtype=torch.bool)
    with torch.no_grad():
        possible: Tensor = (
            task.reasoner(task.observe(task.certain(support), torch.empty(len(support), 0).long())).exp() > 0
        )
    seen_answers: Tensor = possible.any(0)
    return seen_answers[queries.answers]


def read_tuple(task: Task, text: str) -> tuple[int, ...]:
    """A tuple of symbols, written one after the other: their positions in the domains, for each of ``task.concepts``.

    Raises:
        RecipeError: too few or too many, or a symbol that is none.
    """
    names = SYMBOL.findall(text)
    expected = [f"{concept.network}({', '.join(concept.slots)})" for concept in task.concepts]
    if len(names) != len(expected):
        raise RecipeError(
            f'"{text}" has {len(names)} symbols; a tuple has {len(expected)}: {", ".join(expected)}',
            where="data.support",
            hint=f'write for example "{" ".join(concept.domain[0] for concept in task.concepts)}"',
        )
    read = []
    for name, concept, where in zip(names, task.concepts, expected, strict=True):
        if name not in concept.domain:
            raise RecipeError(
                f'in "{text}", {name} is no symbol of {where}',
                where="data.support",
                hint=did_you_mean(name, concept.domain),
            )
        read.append(concept.domain.index(name))
    return tuple(read)


def _orders(task: Task, symbols: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The different tuples that arise when images change places."""
    networks = [task.networks_of(slot) for slot in task.slots]
    if len(set(networks)) > 1:
        readers = "; ".join(f"{s} by {', '.join(names)}" for s, names in zip(task.slots, networks, strict=True))
        raise RecipeError(
            f"images of this query cannot change places: {readers}",
            where="data.any_order",
            hint="leave it out, and give every tuple in data.support",
        )
    if len(task.slots) > MOST_IMAGES_IN_ANY_ORDER:
        raise RecipeError(
            f"{len(task.slots)} images have too many orders",
            where="data.any_order",
            hint="leave it out, and give every tuple in data.support",
        )
    width = len(networks[0])
    images = [symbols[k : k + width] for k in range(0, len(symbols), width)]
    return list(dict.fromkeys(tuple(s for image in order for s in image) for order in permutations(images)))
