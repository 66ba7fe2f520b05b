"""Goals that differ in their images alone share their proofs.

What a pure program derives from ``part(image_3, image_4, 0, D, Next)`` is what it derives from ``part(image_1, image_2, 0, D,
Next)`` with other images: no clause can tell one from another, except as equal or different. So the ground program of such
a goal is copied from that of the first one, with the images exchanged, in place of being derived anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from problog.engine_stack import Context, FixedContext
from problog.eval_nodes import ResultSet
from problog.formula import LogicFormula
from problog.logic import Constant, Term

from nesy_gedi.logic.forms import SLOT

MOST_SLOTS = 16
"""Goals about more images are derived: in recursions over long lists hardly two are alike, and comparing them takes long."""

Names = dict[str, Term]
"""Slot by slot, of the goal that was derived first, the slot that stands in its place."""

Goal = tuple[str, Sequence[Any]]
"""A functor and its arguments; variables are None or numbers."""


class _Known(NamedTuple):
    """What is known of the goals of one ground program.

    Attributes:
        first: what is left of a goal without its slots -> the slots, and the goal, that had it first.
        copies: (slot, slot in its place) of a renaming -> copied nodes.
    """

    first: dict[Hashable, tuple[list[str], Goal]]
    copies: dict[tuple[tuple[str, str], ...], dict[int, int | None]]


class Renaming:
    """Answers goals from others that were answered before and differ from them in their slots alone.

    Args:
        pure: ``functor/arity`` of the predicates that cannot tell one slot from another.
    """

    def __init__(self, pure: set[str]) -> None:
        self._pure = pure
        # findall/3 and its like ground into a formula of their own, whose nodes have numbers of their own.
        self._known: WeakKeyDictionary[LogicFormula, _Known] = WeakKeyDictionary()

    def results_like(self, goal: Goal, target: LogicFormula) -> ResultSet | None:
        """The results of ``goal``, written into ``target``; None where it has to be derived."""
        functor, arguments = goal
        if f"{functor}/{len(arguments)}" not in self._pure or getattr(arguments, "state", None):
            return None
        slots: dict[str, int] = {}
        variables: dict[int | None, int] = {}
        shape = tuple(_shape(argument, slots, variables) for argument in arguments)
        if not 0 < len(slots) <= MOST_SLOTS:
            return None
        own = list(slots)
        here = self._known.setdefault(target, _Known({}, {}))
        first, model = here.first.setdefault((functor, shape), (own, goal))
        if first == own or (known := target._cache.get(model)) is None:
            return None
        names = {old: Term(SLOT, Term(new)) for old, new in zip(first, own, strict=True)}
        copies = here.copies.setdefault(tuple(zip(first, own, strict=True)), {})
        found = ResultSet()
        found.collapsed = True
        for result, node in list(known):
            copied = _copy(target, node, names, copies)
            if copied == CIRCULAR:
                return None
            renamed = Context([_rename(argument, names) for argument in result], state=result.state)
            found[FixedContext(renamed)] = copied
        return found


CIRCULAR = -1 << 62
"""In place of a copy, of which there is none: a goal that depends on itself."""


def _shape(term: Any, slots: dict[str, int], variables: dict[int | None, int]) -> Hashable:
    """What is left of a term where slots and variables are numbered in order of appearance."""
    if term is None or isinstance(term, int):
        return "variable", variables.setdefault(term, len(variables))
    if term.functor == SLOT:
        if len(slots) > MOST_SLOTS:
            return None  # nobody will ask for it
        return "slot", slots.setdefault(str(term.args[0]), len(slots))
    if isinstance(term, Constant):
        return "constant", type(term.value), term.value
    return "term", str(term.functor), *(_shape(argument, slots, variables) for argument in term.args)


def _rename(term: Any, names: Names) -> Any:
    """``term`` with its slots exchanged; where it has none, itself."""
    if isinstance(term, (tuple, list)):
        renamed = [_rename(part, names) for part in term]
        same = all(new is old for new, old in zip(renamed, term, strict=True))
        if same:
            return term
        return (
            FixedContext(Context(renamed, state=term.state)) if isinstance(term, FixedContext) else type(term)(renamed)
        )
    if not isinstance(term, Term) or isinstance(term, Constant):
        return term
    if term.functor == SLOT:
        return names.get(str(term.args[0]), term)
    arguments = [_rename(argument, names) for argument in term.args]
    if all(new is old for new, old in zip(arguments, term.args, strict=True)):
        return term
    return term.with_args(*arguments)


def _copy(target: LogicFormula, root: int | None, names: Names, copies: dict[int, int | None]) -> int | None:
    """The node that says of the slots in ``names`` what ``root`` says of those they stand in for."""
    pending = [abs(root)] if root else []
    while pending:
        number = pending[-1]
        if number in copies:
            pending.pop()
            continue
        node = target.get_node(number)
        if type(node).__name__ == "atom":
            copies[number] = _copy_atom(target, number, node, names)
            continue
        children = [abs(child) for child in node.children if child]
        if any(child >= number for child in children):
            return CIRCULAR
        missing = [child for child in children if child not in copies]
        if missing:
            pending += missing
            continue
        parts = tuple(_signed(target, child, copies) for child in node.children)
        if parts == node.children:
            copies[number] = number
        else:
            name = None if node.name is None else _rename(node.name, names)
            add = target.add_and if type(node).__name__ == "conj" else target.add_or
            copies[number] = add(parts, name=name)
    return _signed(target, root, copies)


def _signed(target: LogicFormula, key: int | None, copies: dict[int, int | None]) -> int | None:
    """The copy of a node that ProbLog writes as 0 for true, None for false and with a minus sign for its negation."""
    if not key:
        return key
    copied = copies[abs(key)]
    negated: int | None = target.negate(copied)
    return copied if key > 0 else negated


def _copy_atom(target: LogicFormula, number: int, node: Any, names: Names) -> int | None:
    identifier = _rename(node.identifier, names)
    if identifier is node.identifier:
        return number  # it depends on no slot
    copied: int | None = target.add_atom(
        identifier,
        _rename(node.probability, names),
        group=_rename(node.group, names),
        name=_rename(node.name, names),
        source=node.source,
        is_extra=node.is_extra,
    )
    return copied
