"""How many ways of reading symbols fit a program's answers, which, and what would settle it: measured, and in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.map_counting import ONE, Count, log10, number_in_words
from nesy_gedi.concepts.misreadings import FAMILIES as SINGLE
from nesy_gedi.concepts.misreadings import UNSEEN, ShownTuples
from nesy_gedi.concepts.repairs import AnswerRepair, LabelRepair, fewest_answers, fewest_labels
from nesy_gedi.concepts.shortcuts import (
    JOINT,
    MAX_MAPS,
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
from nesy_gedi.training.recipe import DataRecipe, Recipe
from nesy_gedi.training.shown import Shown, sharing_images, shown_by_recipe
from nesy_gedi.training.support import OUTSIDE_TUPLES
from nesy_gedi.training.task import Task

FAMILIES = (*SINGLE, JOINT)
"""Which maps there are: one for each network, one for each slot, or any map of whole tuples."""

SECONDS = 20.0
"""Default budget of everything together."""

COUNTING = 0.4
"""Share of the budget for counting and listing; the four repairs share the rest."""

LISTED = 10
"""Shortcuts that are listed, unless more are asked for."""

MOST_WRITTEN = 10**300
"""Larger counts are told by their logarithm alone: readers of JSON hold no such numbers."""


@dataclass(frozen=True)
class Repair:
    """What would leave the identity alone; see :mod:`nesy_gedi.concepts.repairs`."""

    labels: LabelRepair
    answers: AnswerRepair


@dataclass(frozen=True, eq=False)
class ShortcutReport:
    """The shortcuts of a program on a support.

    Attributes:
        found: the counts, and maps of single symbols, the identity among them; that alone where whole tuples are mapped.
        one_to_one: whether only maps that are one to one were asked for.
        predictions: one for each of ``found.maps``.
        repair, repair_one_to_one: without and with pure clusters; None where whole tuples are mapped.
    """

    task: Task
    support: Shown
    shown: ShownTuples
    found: OptimalMaps
    one_to_one: bool
    predictions: tuple[Prediction, ...]
    repair: Repair | None
    repair_one_to_one: Repair | None

    @property
    def count(self) -> Count:
        """Of the maps that were asked for."""
        return self.found.one_to_one if self.one_to_one else self.found.count

    @property
    def joint(self) -> bool:
        """Whether whole tuples are mapped."""
        return self.found.family == JOINT

    @property
    def mixing(self) -> tuple[tuple[str, ...], ...]:
        """Groups of networks that look at the same images: shortcuts that mix what these read are not counted."""
        return () if self.joint else sharing_images(self.task)

    def statements(self) -> list[str]:
        """What was found, in plain words."""
        return [
            f"Training shows {_tuples(self.found.tuples)}: {self.support.origin}.",
            *self._counts(),
            *self._remarks(),
            *self._repairs(),
        ]

    def _counts(self) -> list[str]:
        networks = named(self.task.networks)
        what = {
            "shared": f"the symbols of {networks}",
            "factored": f"the symbols of {networks}, slot by slot,",
            JOINT: "whole tuples of symbols",
        }[self.found.family]
        pure = "perfect reconstruction" if self.joint else "pure clusters"
        if self.one_to_one:
            return [_fitting(f"one-to-one ways of reading {what}", self.found.one_to_one, bool(self.mixing))]
        every, straight = self.found.count, self.found.one_to_one
        said = _fitting(f"ways of reading {what}", every, bool(self.mixing))
        if every == ONE:
            return [said]
        if straight == ONE:
            return [said, f"Only the right one is one to one: {pure} would remove every shortcut."]
        if straight == every and every.exact:
            return [said, f"All of them are one to one: {pure} would remove none."]
        of = f"{_capital(_between(straight))} of them are one to one"
        return [said, f"{of}: {pure} would leave {_others(straight)}." if straight.exact else f"{of}."]

    def _remarks(self) -> list[str]:
        said = []
        if self.found.family == "factored" and len(self.found.domains) == len(self.task.networks):
            said.append("Each network looks at one slot, so that shared and factored maps are the same.")
        if not self.count.exact:
            said.append("The time was up before they were counted; --max-seconds allows more.")
        if self.mixing:
            groups = "; ".join(named(group) for group in self.mixing)
            said.append(
                f"Shortcuts that mix attributes are not counted: {groups} look at the same images, and what one reads may "
                "depend on what another should. Maps of whole tuples have them: --family joint."
            )
        if self.found.unseen and not self.joint:
            what = by_network(self.found.unseen, self.found.domains)
            said.append(f"Never shown: {what}. They may be read as anything, and every reading is counted.")
        if self.task.program.parameters:
            when = "when answers are drawn, by data.truth" if self.task.true_logits else "before training"
            said.append(f"Learned probabilities are taken as they are {when}.")
        if self.found.random and self.count != ONE:
            said.append(
                "Rules are random, so a map is optimal here where every answer is as probable as before: then no number of "
                "observed answers tells it from the right one."
            )
        return said

    def _repairs(self) -> list[str]:
        if self.repair is None or self.repair_one_to_one is None:
            return []
        if self.count == ONE:
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
            "family": self.found.family,
            "bijective": self.one_to_one,
            "support": {"origin": self.support.origin, "tuples": self.found.tuples},
            "random": self.found.random,
            **_counted("count", self.count),
            "exact": self.count.exact,
            "at_least": _written(self.count.lower),
            "at_most": _written(self.count.upper),
            **_counted("bijective_count", self.found.one_to_one),
            "shortcuts": [
                self._shortcut(maps, prediction)
                for maps, prediction in zip(self.found.maps, self.predictions, strict=True)
                if not is_identity(maps)
            ],
            "listed_all": self.found.complete,
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
    with task.answering():
        if family == JOINT:
            shown = support.tuples(task)
            found = count_joint(shown)
            return ShortcutReport(
                task, support, shown, found, one_to_one, (Prediction(1.0, None, None, 0.0),), None, None
            )
        shown = support.tuples(task, family)
        looked_at = max(MAX_MAPS, limit + 1)
        found = list_optimal_maps(shown, one_to_one=one_to_one, seconds=COUNTING * seconds, limit=looked_at)
        # What pure clusters would leave comes first: it is hidden best.
        listed = sorted(found.maps, key=lambda maps: (not is_identity(maps), kind_of(maps) == "merging"))[: limit + 1]
        found = replace(found, maps=tuple(listed), complete=found.complete and len(listed) == len(found.maps))
        outside, _ = shown.other_tuples(OUTSIDE_TUPLES)
        predictions = tuple(predict_accuracy(shown, maps, outside) for maps in found.maps)
        repairs = [_repair(shown, straight, found, seconds) for straight in (False, True)]
        return ShortcutReport(task, support, shown, found, one_to_one, predictions, *repairs)


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
    if (found.one_to_one if one_to_one else found.count) == ONE:
        return Repair(LabelRepair((), True), AnswerRepair((), True, None, True))
    each = (1.0 - COUNTING) * seconds / 4
    return Repair(
        fewest_labels(shown, one_to_one=one_to_one, seconds=each),
        fewest_answers(shown, one_to_one=one_to_one, seconds=each),
    )


def _counted(name: str, count: Count) -> Mapping[str, Any]:
    return {name: _written(count.lower) if count.exact else None, f"log10_{name}": log10(count.lower)}


def _written(count: int) -> int | None:
    """None where no reader of JSON holds it."""
    return count if count < MOST_WRITTEN else None


def _tuples(count: int) -> str:
    return "one tuple of symbols" if count == 1 else f"{count:,} tuples of symbols"


def _images(count: int) -> str:
    return "one labelled image" if count == 1 else f"{count} labelled images"


def _answers(count: int) -> str:
    return "one more observed answer" if count == 1 else f"{count} more observed answers"


def _fitting(what: str, count: Count, more: bool) -> str:
    """How many ways there are to answer everything right.

    Args:
        what: they are called.
        more: whether there may be others that are not counted.
    """
    if count == ONE:
        none = "No reasoning shortcut is among those that are counted." if more else "There is no reasoning shortcut."
        return f"One {what.replace('ways', 'way')} answers all of them right: the right one. {none}"
    said = f"{_capital(_between(count))} {what} answer all of them right"
    if not count.exact:
        return f"{said}, the right one among them; answers alone cannot tell them apart."
    return f"{said}: the right one and {_others(count)}, which answers alone cannot tell from it."


def _between(count: Count) -> str:
    """A count, or its bounds."""
    lower, upper = number_in_words(count.lower), number_in_words(count.upper)
    return lower if count.exact else f"between {lower} and {upper}"


def _others(count: Count) -> str:
    """All but the right one."""
    if count.lower == 2:
        return "one reasoning shortcut"
    shown, fewer = number_in_words(count.lower), number_in_words(count.lower - 1)
    return f"{fewer} reasoning shortcuts" if shown != fewer else "reasoning shortcuts for the rest"


def _proof(proven: bool) -> str:
    return "proven: fewer do not do" if proven else "chosen greedily: fewer might do"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
