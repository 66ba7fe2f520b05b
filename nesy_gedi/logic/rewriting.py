"""Formulas with some nodes put in the place of others, and copies of what some roots need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nesy_gedi.logic.formula import FALSE, TRUE, And, Formula, Literal, Not, Or, Truth, children_of


def rewrite(
    formula: Formula,
    root: int,
    changed: dict[int, int],
    *,
    scope: int = -1,
    literal: Callable[[Literal], int] | None = None,
) -> int:
    """``root`` with some nodes put in the place of others; constants are folded, statements on one variable merged.

    Args:
        changed: node -> what stands for it; grows by all nodes that were visited.
        scope: only nodes that mention one of these variables change.
        literal: what stands for a literal.
    """
    pending = [root]
    while pending:
        number = pending[-1]
        if number in changed:
            pending.pop()
            continue
        what = formula.nodes[number]
        if not formula.scopes[number] & scope or isinstance(what, Truth):
            changed[number] = number
            continue
        missing = [child for child in children_of(what) if child not in changed]
        if missing:
            pending.extend(missing)
        elif isinstance(what, Literal):
            changed[number] = literal(what) if literal else number
        elif isinstance(what, Not):
            changed[number] = formula.negate(changed[what.child])
        else:
            children = [changed[child] for child in what.children]
            changed[number] = merged(formula, type(what), children)
    return changed[root]


def merged(formula: Formula, kind: type[And] | type[Or], children: Iterable[int]) -> int:
    """The conjunction or disjunction of ``children``, statements on one variable as one, the rest as it stands."""
    conjunction = kind is And
    masks: dict[int, int] = {}
    rest: list[int] = []
    for child in dict.fromkeys(children):
        what = formula.nodes[child]
        if isinstance(what, Literal):
            before = masks.get(what.variable)
            mask = what.mask if before is None else before & what.mask if conjunction else before | what.mask
            masks[what.variable] = mask
        else:
            rest.append(child)
    parts = [formula.literal(variable, mask) for variable, mask in masks.items()] + rest
    known = set(parts)
    if any(isinstance(what := formula.nodes[part], Not) and what.child in known for part in rest):
        return FALSE if conjunction else TRUE
    if conjunction:
        return formula.plain_and(parts)
    return TRUE if TRUE in known else formula.plain_or(parts)


def compacted(formula: Formula, roots: Sequence[int]) -> tuple[Formula, list[int]]:
    """A copy of what lies below ``roots`` and nothing else."""
    target = Formula(formula.variables)
    copied: dict[int, int] = {}
    for number in formula.reachable(roots):
        what = formula.nodes[number]
        if isinstance(what, Truth):
            copied[number] = TRUE if what.value else FALSE
        elif isinstance(what, Literal):
            copied[number] = target.literal(what.variable, what.mask)
        elif isinstance(what, Not):
            copied[number] = target.negate(copied[what.child])
        else:
            children = [copied[child] for child in what.children]
            copied[number] = target.plain_or(children) if isinstance(what, Or) else target.plain_and(children)
    return target, [copied[root] for root in roots]
