"""What training shows: the tuples of true symbols whose answers are observed, taken from queries, a recipe or a file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nesy_gedi.concepts.map_counting import number_in_words
from nesy_gedi.concepts.misreadings import ShownTuples, Symbols, tuples_over
from nesy_gedi.concepts.shortcuts import list_optimal_maps
from nesy_gedi.data import Queries
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import AnswerError, DataError, RecipeError, UsageError
from nesy_gedi.training.labels import told_symbols
from nesy_gedi.training.support import OUTSIDE_SEED, OUTSIDE_TUPLES, read_tuple
from nesy_gedi.training.task import Task

LONGEST_FILE = 10_000_000
"""Bytes. What is larger is no list of tuples."""


CHEAP_SECONDS = 1.0
"""What may be counted before training, without being asked."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Tuples of true symbols.

    Attributes:
        symbols: of what networks see, by (network, slot): (n,) int64.
        given: values that come with the query, likewise.
        origin: where they are from, in words.
    """

    symbols: Symbols
    given: Symbols
    origin: str

    def tuples(self, task: Task, family: str = "shared") -> ShownTuples:
        """What misreading these symbols would change; those of which labels are told are never misread."""
        told = {name: told_symbols(task, name) for name in task.networks}
        return ShownTuples(task.reasoner, self.symbols, self.given, told, family=family)


def sharing_images(task: Task) -> tuple[tuple[str, ...], ...]:
    """Groups of networks that look at the same images: what one of them reads may depend on what another should."""
    groups = dict.fromkeys(task.networks_of(slot) for slot in task.slots)
    return tuple(names for names in groups if len(names) > 1)


def shown_by_queries(task: Task, queries: Queries, origin: str = "its queries") -> Shown:
    """The true symbols that queries show, and the values that are given with them.

    Raises:
        DataError: the symbols are not known: nobody has labelled some of the images, or a network looks at several inputs.
    """
    truth = {name: task.symbols(name, queries.images) for name in task.networks}
    symbols = {
        (item.network, *item.slots): truth[item.network][queries.index[:, task.slots.index(item.slots[0])]]
        for item in task.seen
    }
    for (name, *_), known in symbols.items():
        if bool((known == UNKNOWN).any()):
            raise DataError(
                f"what the queries should show {name} is not known: nobody has labelled all their images",
                where=task.recipe.data.source,
                hint="name the tuples that training shows, one a line: --support FILE",
            )
    given = {(item.network, *item.slots): queries.observed[:, k] for k, item in enumerate(task.observed)}
    return Shown(symbols, given, origin)


def knows_symbols(task: Task, queries: Queries) -> bool:
    """Whether it is known of all that networks see in queries what it is."""
    return all(bool((task.truth(name, queries) != UNKNOWN).all()) for name in task.networks)


def shown_by_recipe(task: Task) -> Shown:
    """The support of the recipe, else every tuple. Raises as :func:`shown_in_full`."""
    if task.support is None:
        return shown_in_full(task)
    return _of_tuples(task, task.support, "data.support of the recipe")


def shown_in_full(task: Task) -> Shown:
    """Every tuple that has an answer.

    Raises:
        UsageError: there are too many, or none.
    """
    sizes = [len(concept.domain) for concept in task.concepts]
    every, complete = tuples_over(sizes, OUTSIDE_TUPLES, OUTSIDE_SEED)
    if not complete:
        raise UsageError(
            f"all tuples of symbols are {' x '.join(map(str, sizes))}, more than {OUTSIDE_TUPLES:,}",
            where=f"{task.program.source.name}, {task.recipe.query}",
            hint="count those that training shows: --support train, or --support FILE",
        )
    having = every[task.derive(every, 0).exists]
    if not len(having):
        raise UsageError(
            "the program derives no answer from any tuple of symbols",
            where=f"{task.program.source.name}, {task.recipe.query}",
            hint="mend the program, or ask with --query",
        )
    return _of_tuples(task, having, "all that have an answer")


def shown_in_file(task: Task, path: Path) -> Shown:
    """Tuples that a text file lists: a line each, symbols separated by blanks, in the order of the query's images, and - where
    it says so - ``=`` and the answer. What follows a ``#`` is not read.

    Raises:
        DataError: the file cannot be read, holds no tuple, or a line is wrong.
        AnswerError: the program does not derive the answer of a line, or none.
    """
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise DataError("too long for a list of tuples", where=str(path), hint="name a text file, a tuple a line")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(
            f"the tuples cannot be read: {reason}", where=str(path), hint="name a text file, a tuple a line"
        ) from error
    tuples, answers, numbers = [], [], []
    for number, line in enumerate(lines, 1):
        text, _ = _divided(line, "#")
        if not text:
            continue
        symbols, answer = _divided(text, "=")
        where = f"{path}, line {number}"
        if answer == "":
            raise DataError("no answer after =", where=where, hint="write the answer, or leave = out")
        try:
            tuples.append(read_tuple(task, symbols))
        except RecipeError as error:
            raise DataError(error.message, where=where, hint=error.hint) from error
        answers.append(answer)
        numbers.append(number)
    if not tuples:
        raise DataError("no tuple is listed", where=str(path), hint='write one a line, for example "0 1"')
    read = torch.tensor(tuples)
    _check_answers(task, read, answers, lambda k: f"{path}, line {numbers[k]}, {task.recipe.query}")
    return _of_tuples(task, read, f"those in {path}")


def foretell(task: Task, queries: Queries) -> str | None:
    """How many readings of the symbols would fit the training answers, in a line; None where that takes long to find, or nobody
    knows what the training images show."""
    if not knows_symbols(task, queries):
        return None
    with task.answering():
        shown = shown_by_queries(task, queries).tuples(task)
        found = list_optimal_maps(shown, seconds=CHEAP_SECONDS, limit=1)
    if not found.exact:
        return None
    without = ", not counting those that mix what several networks read" if sharing_images(task) else ""
    if found.count.lower == 1:
        return f"Only the right grounding fits the training answers{without}."
    count, pure = number_in_words(found.count.lower), number_in_words(found.one_to_one.lower)
    return f"{count} groundings fit the training answers{without}; {pure} if clusters are pure."


def _divided(line: str, mark: str) -> tuple[str, str | None]:
    """What stands before the first ``mark`` outside quotes, and after it; None where there is none."""
    for found in re.finditer(rf"'(?:[^'\\]|\\.)*'|{mark}", line):
        if found[0] == mark:
            return line[: found.start()].strip(), line[found.end() :].strip()
    return line.strip(), None


def _check_answers(task: Task, tuples: Tensor, answers: list[str | None], place: Callable[[int], str]) -> None:
    """Refuse tuples from which the program derives no answer, or another than the one that is told."""
    derived = task.derive(tuples, 0)
    with torch.no_grad():
        log_p = task.reasoner(task.observe(task.certain(tuples), derived.observed))
    for k, answer in enumerate(answers):
        names = [text for text, own in zip(task.reasoner.answers, log_p[k].tolist(), strict=True) if own > -math.inf]
        if not names or (
            answer is not None and answer.replace(" ", "") not in [name.replace(" ", "") for name in names]
        ):
            told = "no answer" if answer is None or not names else f"not the answer {answer}"
            derives = f"; it derives {', '.join(names[:3])}" if names else ""
            raise AnswerError(
                f"the program derives {told} when {task.spell(tuples[k].tolist())}{derives}",
                where=place(k),
                hint="mend the line or leave it out; or add a rule for it to the program",
            )


def _of_tuples(task: Task, tuples: Tensor, origin: str) -> Shown:
    symbols = {(item.network, *item.slots): tuples[:, k] for k, item in enumerate(task.concepts)}
    observed = task.derive(tuples, 0).observed
    given = {(item.network, *item.slots): observed[:, k] for k, item in enumerate(task.observed)}
    return Shown(symbols, given, origin)
