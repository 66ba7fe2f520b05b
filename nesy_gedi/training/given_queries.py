"""Queries whose answers come with the data: rows of a table are matched with the query form and read."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits, Queries
from nesy_gedi.data.image_sets import GivenQueries, Observations
from nesy_gedi.errors import DataError, RecipeError, did_you_mean
from nesy_gedi.logic.program import variables_of

if TYPE_CHECKING:
    from nesy_gedi.training.task import Task

VALIDATION_ROWS = 0.1
"""Share of the training rows held out for validation, where neither the data nor the recipe says."""

NAMED = 30
"""So many answers are named in an error."""

ROWS_AT_ONCE = 4096

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class GivenSplits(NamedTuple):
    """Queries for training, validation and test, as :class:`~nesy_gedi.training.splits.Splits` has them."""

    train: Queries
    validation: Queries
    test: Queries


def read_given(task: Task, images: ImageSplits, given: GivenQueries, seed: int) -> GivenSplits:
    """The queries of a table.

    Columns that have names are matched with the variables of the query form: inputs with the slots, values with the answer's
    variables and the slots whose values are given. Columns without names go by order: inputs in the order in which the slots
    stand in the query form, values in the order in which its other variables stand there. Queries of validation that the
    data does not name are a tenth of the training rows, drawn at random; ``data.train`` and ``data.validation`` take at most
    so many at random, ``data.test`` the first.

    Raises:
        DataError: columns that are not those of the query form, an answer that the program cannot derive, a value outside
            its domain, an input that does not exist, or too few rows.
        RecipeError: a support, which answers that come with the data cannot be drawn from.
    """
    what = task.recipe.data
    stated = {"data.support": what.support, "data.outside": what.outside, "data.any_order": what.any_order}
    for key, value in stated.items():
        if value:
            raise RecipeError(
                f"{given.source} says which inputs stand together and what their answers are: none are drawn",
                where=key,
                hint="leave it out, or leave rows out of the table",
            )
    reading = _Reading(task, given)
    train = reading.queries(images.train, given.train, "training")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)
    if given.validation is not None:
        validation = reading.queries(images.train, given.validation, "validation")
        kept = torch.randperm(len(validation), generator=generator)[: what.validation or None]
        validation = _rows(validation, kept)
    else:
        if len(train) < 2:
            raise DataError(
                "one row is too few to learn from and to choose the best epoch by",
                where=given.source,
                hint="give more rows",
            )
        held = min(what.validation or max(1, int(VALIDATION_ROWS * len(train))), len(train) - 1)
        validation, order = _rows(train, order[:held]), order[held:]
    train = _rows(train, order[: what.train or None])
    found = GivenSplits(train, validation, given_test(task, images, given))
    for other in found[1:]:
        _refuse_other_shapes(task, train, other, given.source)
    return found


def given_test(task: Task, images: ImageSplits, given: GivenQueries) -> Queries:
    """The test queries of a table. Raises as :func:`read_given`."""
    test = _Reading(task, given).queries(images.test, given.test, "test")
    return test.first(task.recipe.data.test) if task.recipe.data.test else test


def _refuse_other_shapes(task: Task, train: Queries, other: Queries, source: str) -> None:
    """Every split shows a network inputs of the same shape."""
    for name in task.networks:
        for k in range(task.arguments(name)):
            shapes = [
                tuple(each.images.part_of(each.index[:, task.columns(name, k)]).shape[1:]) for each in (train, other)
            ]
            if shapes[0] != shapes[1]:
                raise DataError(
                    f"{name} would learn from inputs of shape {shapes[0]} and be tested on inputs of shape {shapes[1]}",
                    where=source,
                    hint="give all inputs of one network the same shape",
                )


def _rows(queries: Queries, rows: Tensor) -> Queries:
    """Those with these numbers, in the order in which they stand."""
    rows = rows.sort().values
    return Queries(queries.images, queries.index[rows], queries.answers[rows], queries.observed[rows])


class _Reading:
    """How the rows of a table are read: which column is what, and which text is which answer."""

    def __init__(self, task: Task, given: GivenQueries) -> None:
        self.task, self.given, self.form = task, given, task.reasoner.form
        every = dict.fromkeys(name for goal in self.form.goals() for name in variables_of(goal))
        observed = {slot for item in task.observed for slot in item.slots}
        # A slot that the answer does not depend on has a column, too, at which nothing looks.
        self.inputs = tuple(slot for slot in self.form.slots if slot in task.slots or slot not in observed)
        self.values = tuple(name for name in every if name in observed or name in self.form.outputs)
        self.answers = _Texts(task.reasoner.answers, len(self.form.outputs))

    def queries(self, images: ImageSet, part: Observations, split: str) -> Queries:
        """The queries of one split over ``images``."""
        task = self.task
        if not len(part):
            raise DataError(f"there is no {split} row", where=self.given.source, hint="give some rows")
        inputs = self._columns("input", self.given.inputs, part.index.shape[1], self.inputs)
        # Every row is as wide as the first, or the values would not stand below their names.
        values = self._columns("value", self.given.outputs, len(part.values[0]), self.values)
        self._refuse("row", part, lambda k: len(part.values[k]) == len(part.values[0]), self._another_width(part))
        index = part.index[:, [inputs[slot] for slot in task.slots]]
        missing = ((index < 0) | (index >= len(images))).any(1)
        self._refuse(
            "row", part, lambda k: not bool(missing[k]), lambda k: ("it names an input that is not there", None)
        )
        answers = self._read(part, [values[name] for name in self.form.outputs], self.answers, "answer")
        observed = [
            self._read(part, [values[item.slots[0]]], _Texts(item.domain, 1), f"value of {item.slots[0]}")
            for item in task.observed
        ]
        found = Queries(images, index, answers, torch.stack(observed, 1) if observed else index.new_empty(len(part), 0))
        for name in task.networks:
            for k in range(task.arguments(name)):
                try:
                    images.part_of(index[:, task.columns(name, k)])
                except DataError as error:
                    raise DataError(
                        error.message, where=f"{self.given.source}, network {name}", hint=error.hint
                    ) from error
        if task.observed:
            self._refuse_impossible(part, found)
        return found

    def _columns(self, kind: str, names: Sequence[str], width: int, wanted: Sequence[str]) -> dict[str, int]:
        """The column of each variable."""
        where, needed = self.given.source, f"{self.form.text} has {len(wanted)}: {', '.join(wanted) or 'none'}"
        for name in names:
            if name not in wanted:
                raise DataError(
                    f"the {kind} column {name} is no {'input' if kind == 'input' else 'answer'} of {self.form.text}",
                    where=where,
                    hint=f"{did_you_mean(name, wanted)}; rename the column or leave it out",
                )
            if list(names).count(name) > 1:
                raise DataError(f"two columns are named {name}", where=where, hint="leave one out")
        if names and (lacking := [name for name in wanted if name not in names]):
            if kind == "input" and lacking[0] in self.given.outputs:
                readers = [item.network for item in self.task.seen if lacking[0] in item.slots]
                raise DataError(
                    f"column {lacking[0]} holds values, but is an input of {self.form.text}",
                    where=where,
                    hint="name files in it"
                    + "".join(f", or state --set networks.{r}.observed=true" for r in readers[:1]),
                )
            raise DataError(
                f"there is no {kind} column {lacking[0]}; {needed}",
                where=where,
                hint="add it, or rename the one that it is",
            )
        if width != len(wanted):
            raise DataError(
                f"{width} {kind} columns, but {needed}",
                where=where,
                hint="inputs come first, in the order of the query; then the values, one for each other variable",
            )
        return {name: k for k, name in enumerate(names or wanted)}

    def _read(self, part: Observations, columns: Sequence[int], texts: _Texts, what: str) -> Tensor:
        """The number of each row's text among those that there are, (n,) int64."""
        known: dict[tuple[str, ...], int | None] = {}
        found = []
        for row in part.values:
            text = tuple(row[k] for k in columns)
            if text not in known:
                known[text] = texts.find(text)
            found.append(known[text])

        def wrong(k: int) -> tuple[str, str | None]:
            text, valid = ",".join(part.values[k][column] for column in columns), texts.names
            shown = valid if len(valid) <= NAMED else (*valid[: NAMED - 1], "...")
            subject = f"the program cannot derive the answer {text or 'that is empty'}"
            return subject if what == "answer" else f"the {what} is {text}, outside its domain", did_you_mean(
                text, shown
            )

        self._refuse(what, part, lambda k: found[k] is not None, wrong)
        return torch.tensor([-1 if number is None else number for number in found])

    def _refuse(
        self,
        what: str,
        part: Observations,
        is_right: Callable[[int], bool],
        wrong: Callable[[int], tuple[str, str | None]],
    ) -> None:
        """Name the first row that is not right, and say how many there are."""
        rows = [k for k in range(len(part)) if not is_right(k)]
        if not rows:
            return
        message, hint = wrong(rows[0])
        more = f" (the first of {len(rows)} such rows of {len(part)})" if len(rows) > 1 else ""
        do = "correct the row or leave it out" + (", or add a rule for it to the program" if what == "answer" else "")
        raise DataError(
            message + more,
            where=f"{self.given.source}:{part.rows[rows[0]]}",
            hint=f"{hint}; {do}" if hint else do,
        )

    def _another_width(self, part: Observations) -> Callable[[int], tuple[str, str | None]]:
        return lambda k: (f"{len(part.values[k])} values, the rows before it have {len(part.values[0])}", None)

    @torch.no_grad()
    def _refuse_impossible(self, part: Observations, queries: Queries) -> None:
        """Answers that the program derives, but never together with the values that are given."""
        task = self.task
        rows, which = torch.cat([queries.answers[:, None], queries.observed], 1).unique(dim=0, return_inverse=True)
        possible = []
        for some in rows.split(ROWS_AT_ONCE):
            sizes = {name: len(task.program.networks[name]) for name in task.networks}
            log_p = {
                name: torch.full((len(some), len(task.columns(name)), size), 1.0 / size, dtype=torch.float64).log()
                for name, size in sizes.items()
            }
            answers = task.reasoner(task.observe(log_p, some[:, 1:])).gather(1, some[:, :1])[:, 0]
            possible.append(answers > -torch.inf)
        right = torch.cat(possible)[which]

        def wrong(k: int) -> tuple[str, str | None]:
            given = ", ".join(
                f"{i.slots[0]} = {i.domain[v]}" for i, v in zip(task.observed, queries.observed[k], strict=True)
            )
            answer = task.reasoner.answers[int(queries.answers[k])]
            return f"the program never derives the answer {answer} where {given}", None

        self._refuse("answer", part, lambda k: bool(right[k]), wrong)


class _Texts:
    """Terms by their text, as people write it: numbers in any notation, atoms with quotes or without, any blanks.

    Args:
        names: the terms as the program writes them, several joined by commas.
        width: how many terms each consists of.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        self.names = tuple(names)
        self._exact = {name: k for k, name in enumerate(self.names)}
        self._plain: dict[Hashable, int | None] = {}
        for k, name in enumerate(self.names):
            terms = _terms(name) if width > 1 else [name]
            key = tuple(_plain(term) for term in terms)
            self._plain[key] = k if key not in self._plain else None  # of two that read alike neither is meant

    def find(self, texts: Sequence[str]) -> int | None:
        """The number of the term that these texts stand for; None where there is none."""
        if not texts:
            return 0 if self.names == ("true",) else None  # a question that has one answer
        exact = self._exact.get(",".join(texts))
        return exact if exact is not None else self._plain.get(tuple(map(_plain, texts)))


def _plain(term: str) -> Hashable:
    """The same for terms that people do not tell apart."""
    text = re.sub(r"\s+", " ", term.strip())
    if _NUMBER.fullmatch(text):
        return Decimal(text)
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    return re.sub(r"\s*([,()\[\]|*/:+-])\s*", r"\1", text)


def _terms(text: str) -> list[str]:
    """Terms that are joined by commas: those inside brackets and quotes part none."""
    parts, depth, begin = [], 0, 0
    for found in re.finditer(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[,()\[\]]", text):
        mark = found[0]
        depth += (mark in "([") - (mark in ")]")
        if mark == "," and not depth:
            parts.append(text[begin : found.start()])
            begin = found.end()
    return [*parts, text[begin:]]
