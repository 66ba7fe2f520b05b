"""Which of Prolog's built-in predicates only look at the values of their arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from problog.logic import Term, Var

from nesy_gedi.logic.program import heads_of

PURE = frozenset(
    f"{functor}/{arity}"
    for arity, functors in {
        0: ("true", "fail", "false"),
        2: ("is", "<", ">", "=<", ">=", "=:=", "=\\=", "=", "\\=", "==", "\\=="),
    }.items()
    for functor in functors
)
"""They have at most one result, which no other goal changes and which does not depend on what an image is called."""

CONTROL = {",", ";", "\\+", "not"}
"""Constructs whose arguments are goals and that add nothing of their own."""


def called_by(goal: Term) -> Iterator[Term]:
    """The goals that a goal consists of, control constructs taken apart. A goal that is a variable is yielded, too."""
    pending = [goal]
    while pending:
        part = pending.pop()
        if not isinstance(part, Var) and isinstance(part, Term) and part.functor in CONTROL:
            pending.extend(part.args)
        else:
            yield part


class CallGraph:
    """Which predicates the clauses of a program call, directly or through others.

    Args:
        clauses: of the program, and any beside it.
    """

    def __init__(self, clauses: Sequence[Term]) -> None:
        self._calls: dict[str, set[str]] = {}
        for clause in clauses:
            body = getattr(clause, "body", None)
            called = set() if body is None else {_signature(goal) for goal in called_by(body)}
            for head in heads_of(clause):
                self._calls.setdefault(head.signature, set()).update(called)

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __contains__(self, signature: str) -> bool:
        return signature in self._calls

    def reached_from(self, signature: str) -> set[str]:
        """Every signature that a call of ``signature`` may lead to, itself included only if it calls itself."""
        found: set[str] = set()
        pending = [signature]
        while pending:
            for called in self._calls.get(pending.pop(), ()):
                if called not in found:
                    found.add(called)
                    pending.append(called)
        return found

    def is_pure(self, signature: str) -> bool:
        """Whether a call leads to nothing but the program's own predicates and pure built-ins."""
        return all(called in self._calls or called in PURE for called in {signature, *self.reached_from(signature)})


def _signature(goal: object) -> str:
    """``functor/arity``; a name that no predicate has for a goal that is only known while it runs."""
    return goal.signature if isinstance(goal, Term) and not isinstance(goal, Var) else ""
