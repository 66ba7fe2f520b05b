"""How many ways of reading symbols fit a program's answers, which, and what would settle it: measured, and in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.map_counting import Count, count_in_words, log10, number_in_words
from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples
from nesy_gedi.concepts.repairs import AnswerRepair, LabelRepair, fewest_answers, fewest_labels
from nesy_gedi.concepts.shortcuts import (
    MAX_MAPS,
    JointCount,
    OptimalMaps,
    Prediction,
    count_joint,
    is_identity,
    kind_of,
    list_optimal_maps,
    predict_accuracy,
)
from nesy_gedi.errors import UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.reports.learned_map import by_network, named, spelled
from nesy_gedi.training.labels import told_symbols
from nesy_gedi.training.recipe import DataRecipe, Recipe
from nesy_gedi.training.shown import Shown, shown_by_recipe
from nesy_gedi.training.support import OUTSIDE_TUPLES
from nesy_gedi.training.task import Task

FAMILIES = ("shared", "factored", "joint")
"""Which maps there are: one for each network, one for each slot, or any map of whole tuples."""

SECONDS = 20.0
"""Default budget of everything together."""

COUNTING = 0.4
"""Share of the budget for counting and listing; the four repairs share the rest."""

LISTED = 10
"""Shortcuts that are listed, unless more are asked for."""


@dataclass(frozen=True)
class Repair:
    """What would leave the identity alone; see :mod:`nesy_gedi.concepts.repairs`."""

    labels: LabelRepair
    answers: AnswerRepair


@dataclass(frozen=True, eq=False)
class ShortcutReport:
    """The shortcuts of a program on a support.

    Attributes:
        found: maps of single symbols, the identity among them.
        joint: maps of whole tuples, counted in place of ``found.count`` where the family is that.
        one_to_one: whether only maps that are one to one were asked for.
        predictions: one for each of ``found.maps``.
        repair, repair_one_to_one: without and with pure clusters; None where whole tuples are mapped.
    """

    task: Task
    support: Shown
    shown: ShownTuples
    found: OptimalMaps
    joint: JointCount | None
    one_to_one: bool
    predictions: tuple[Prediction, ...]
    repair: Repair | None
    repair_one_to_one: Repair | None

    @property
    def all_maps(self) -> Count:
        return self.found.count if self.joint is None else self.joint.count

    @property
    def straight_maps(self) -> Count:
        """Those that are one to one."""
        return self.found.one_to_one if self.joint is None else self.joint.one_to_one

    @property
    def count(self) -> Count:
        """Of the maps that were asked for."""
        return self.straight_maps if self.one_to_one else self.all_maps

    @property
    def family(self) -> str:
        return self.found.family if self.joint is None else "joint"

    def statements(self) -> list[str]:
        """What was found, in plain words."""
        return [
            f"Training shows {_tuples(self.found.tuples)}: {self.support.origin}.",
            *self._counts(),
            *self._remarks(),
            *self._repairs(),
        ]

    def _counts(self) -> list[str]:
        what = {
            "shared": f"the symbols of {named(self.task.networks)}",
            "factored": f"the symbols of {named(self.task.networks)}, slot by slot,",
            "joint": "whole tuples of symbols",
        }[self.family]
        straight, every = self.straight_maps, self.all_maps
        if every == Count(1, 1):
            return [
                f"One way of reading {what} answers all of them right: the right one. There is no reasoning shortcut."
            ]
        said = (
            f"{_capital(count_in_words(every))} ways of reading {what} answer all of them right: the right one and "
            f"{_others(every)}, which answers alone cannot tell from it."
        )
        pure = "perfect reconstruction" if self.family == "joint" else "pure clusters"
        if straight == Count(1, 1):
            return [said, f"Only the right one is one to one: {pure} would remove every shortcut."]
        if straight == every:
            return [said, f"All of them are one to one: {pure} would remove none."]
        return [
            said,
            f"{_capital(count_in_words(straight))} of them are one to one: {pure} would leave {_others(straight)}.",
        ]

    def _remarks(self) -> list[str]:
        said = []
        if not self.count.exact:
            said.append(
                f"The time was up: there are at least {number_in_words(self.count.lower)} and at most "
                f"{number_in_words(self.count.upper)} such ways. More time: --max-seconds."
            )
        if self.found.unseen and self.family != "joint":
            what = by_network(self.found.unseen, self.found.domains)
            said.append(f"Never shown: {what}. They may be read as anything, and every reading is counted.")
        if self.found.random:
            said.append(
                "Rules are random, so a map is optimal here where every answer is as probable as before: then no number of "
                "observed answers tells it from the right one."
            )
        return said

    def _repairs(self) -> list[str]:
        if self.repair is None or self.repair_one_to_one is None:
            return []
        if self.count == Count(1, 1):
            return []
        pairs = (
            [("With pure clusters", self.repair_one_to_one)]
            if self.one_to_one
            else [("Without clusters", self.repair), ("With pure clusters", self.repair_one_to_one)]
        )
        said = []
        for when, repair in pairs:
            if repair.labels.labels == ():
                said.append(f"{when} nothing more is needed.")
                continue
            said.append(f"{when}, to settle it by labels: {self._labels(repair.labels)}.")
            said.append(f"{when}, to settle it by further answers: {self._answers(repair.answers)}.")
        return said

    def _labels(self, repair: LabelRepair) -> str:
        if repair.labels is None:
            return "none were found in the time allowed"
        what = by_network(repair.labels, self.found.domains)
        return f"{_images(len(repair.labels))}, of {what} ({_proof(repair.proven)})"

    def _answers(self, repair: AnswerRepair) -> str:
        if repair.survivor is not None:
            proven = "" if repair.all_tuples else " among the tuples that were looked at"
            return f"none would do{proven}: {spelled(repair.survivor, self.found.domains)} answers every query right"
        if repair.tuples is None:
            return "none were found in the time allowed"
        asked = [f'"{self._spell(symbols)}"' for symbols in repair.tuples]
        return f"{_answers(len(asked))}, for {named(asked)} ({_proof(repair.proven)})"

    def _spell(self, symbols: Sequence[int]) -> str:
        return " ".join(item.domain[k] for item, k in zip(self.task.reasoner.inputs, symbols, strict=True))

    def spelled(self) -> list[str]:
        """The shortcuts that are listed, in short."""
        return [spelled(maps, self.found.domains) for maps in self.found.maps if not is_identity(maps)]

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints, but for the version."""
        document = {
            "program": self.task.program.source.name,
            "query": self.task.recipe.query,
            "family": self.family,
            "bijective": self.one_to_one,
            "support": {"origin": self.support.origin, "tuples": self.found.tuples},
            "random": self.found.random,
            **_counted("count", self.count),
            "exact": self.count.exact,
            "at_least": self.count.lower,
            "at_most": self.count.upper,
            **_counted("bijective_count", self.straight_maps),
            "shortcuts": [
                self._shortcut(maps, prediction)
                for maps, prediction in zip(self.found.maps, self.predictions, strict=True)
                if not is_identity(maps)
            ],
            "listed_all": self.joint is None and self.found.complete,
            "repair": None if self.repair is None else self._repair_document(self.repair),
            "repair_bijective": None
            if self.repair_one_to_one is None
            else self._repair_document(self.repair_one_to_one),
            "statements": self.statements(),
        }
        if self.one_to_one and document["repair"] is not None:
            document["repair"] = document["repair_bijective"]
        return document

    def _shortcut(self, maps: Maps, prediction: Prediction) -> dict[str, Any]:
        return {
            "maps": self._named_map(maps),
            "type": kind_of(maps),
            "concept_accuracy": prediction.symbols_right,
            "answer_accuracy_outside": prediction.answers_outside,
            "concept_accuracy_outside": prediction.symbols_outside,
            "collapse": prediction.collapse,
        }

    def _named_map(self, maps: Maps) -> dict[str, dict[str, str | None]]:
        return {
            name: {
                symbol: None if read == UNSEEN else self.found.domains[name][read]
                for symbol, read in zip(self.found.domains[name], row, strict=True)
            }
            for name, row in maps.items()
        }

    def _repair_document(self, repair: Repair) -> dict[str, Any]:
        labels, answers = repair.labels, repair.answers
        return {
            "labels": None
            if labels.labels is None
            else [{"network": name, "symbol": self.found.domains[name][k]} for name, k in labels.labels],
            "labels_proven": labels.proven,
            "answers": None if answers.tuples is None else [self._spell(symbols) for symbols in answers.tuples],
            "answers_proven": answers.proven,
            "survivor": None if answers.survivor is None else self._named_map(answers.survivor),
        }


def find_shortcuts(
    task: Task,
    support: Shown,
    *,
    family: str = "shared",
    one_to_one: bool = False,
    limit: int = LISTED,
    seconds: float = SECONDS,
) -> ShortcutReport:
    """Count, list and repair the shortcuts of a program.

    Args:
        support: what training shows.
        family: one of ``FAMILIES``.
        one_to_one: count, list and repair those that are one to one alone.
        limit: shortcuts that are listed.
        seconds: budget of everything together.

    Raises:
        UsageError: a family that there is not, a limit below zero or a budget of nothing, or a joint count of too many tuples.
    """
    if family not in FAMILIES:
        raise UsageError(f"there is no family {family}", where="--family", hint=f"one of: {', '.join(FAMILIES)}")
    if not seconds > 0.0:
        raise UsageError(f"nothing can be counted in {seconds:g} seconds", where="--max-seconds", hint="allow more")
    if limit < 0:
        raise UsageError(f"{limit} shortcuts cannot be listed", where="--list", hint="give 0 or more")
    told = {name: told_symbols(task, name) for name in task.networks}
    single = "shared" if family == "joint" else family
    shown = ShownTuples(task.reasoner, support.symbols, support.given, told, family=single)
    joint = count_joint(shown) if family == "joint" else None
    budget = COUNTING * seconds
    looked_at = 1 if joint else max(MAX_MAPS, limit + 1)
    found = list_optimal_maps(shown, family=single, one_to_one=one_to_one, seconds=budget, limit=looked_at)
    # What pure clusters would leave comes first: it is hidden best.
    listed = sorted(found.maps, key=lambda maps: (not is_identity(maps), kind_of(maps) == "merging"))[: limit + 1]
    found = replace(found, maps=tuple(listed), complete=found.complete and len(listed) == len(found.maps))
    outside, _ = shown.other_tuples(OUTSIDE_TUPLES)
    predictions = tuple(predict_accuracy(shown, maps, outside) for maps in found.maps)
    repairs = [None, None] if joint else [_repair(shown, straight, found, seconds) for straight in (False, True)]
    return ShortcutReport(task, support, shown, found, joint, one_to_one, predictions, *repairs)


def count_shortcuts(
    program: Program, query: str, support: Iterable[Sequence[object]] | None = None, **options: Any
) -> ShortcutReport:
    """The shortcuts of a program without a recipe.

    Args:
        query: the form that is asked, such as ``"addition(X, Y, Sum)"``.
        support: tuples of symbols that training shows, in the order of the query's images; every tuple where None.
        options: as for :func:`find_shortcuts`.

    Raises:
        RecipeError: a tuple of the wrong length or with an unknown symbol.
        AnswerError: a tuple from which the program derives no answer.
    """
    tuples = tuple(" ".join(map(str, each)) for each in support or ())
    task = Task(program, Recipe(query=query, data=DataRecipe(support=tuples)))
    return find_shortcuts(task, shown_by_recipe(task), **options)


def _repair(shown: ShownTuples, one_to_one: bool, found: OptimalMaps, seconds: float) -> Repair:
    if (found.one_to_one if one_to_one else found.count) == Count(1, 1):
        return Repair(LabelRepair((), True), AnswerRepair((), True, None, True))
    each = (1.0 - COUNTING) * seconds / 4
    return Repair(
        fewest_labels(shown, one_to_one=one_to_one, seconds=each),
        fewest_answers(shown, one_to_one=one_to_one, seconds=each),
    )


def _counted(name: str, count: Count) -> Mapping[str, Any]:
    return {name: count.lower if count.exact else None, f"log10_{name}": log10(count.lower)}


def _tuples(count: int) -> str:
    return "one tuple of symbols" if count == 1 else f"{count:,} tuples of symbols"


def _images(count: int) -> str:
    return "one labelled image" if count == 1 else f"{count} labelled images"


def _answers(count: int) -> str:
    return "one more observed answer" if count == 1 else f"{count} more observed answers"


def _others(count: Count) -> str:
    fewer = Count(count.lower - 1, count.upper - 1)
    return "one reasoning shortcut" if fewer == Count(1, 1) else f"{count_in_words(fewer)} reasoning shortcuts"


def _proof(proven: bool) -> str:
    return "proven: fewer do not do" if proven else "chosen greedily: fewer might do"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
