"""Query forms: ``addition(X, Y, Sum)`` names the image slots and leaves the answer free."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from problog.errors import ProbLogError
from problog.logic import Term, Var
from problog.program import PrologString

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.logic.program import Program, heads_of

SLOT = "$slot"
"""Functor of the terms that stand for images while a program is grounded."""


@dataclass(frozen=True)
class QueryForm:
    """A query with its variables sorted into inputs and outputs.

    Attributes:
        text: the form as written.
        slots: variables that a network reads, in order of appearance. A variable that stands in two places is one slot.
        outputs: the other variables, which inference fills: the answer.
    """

    text: str
    slots: tuple[str, ...]
    outputs: tuple[str, ...]

    def goal(self) -> Term:
        """The term to ground: slots are constants, outputs are variables."""
        term = _parse(self.text)
        return term.apply({name: Term(SLOT, Term(name)) for name in self.slots} | {n: Var(n) for n in self.outputs})


def read_form(program: Program, text: str, slots: Collection[str] | None = None) -> QueryForm:
    """Read a query form of ``program``.

    Args:
        program: the program that defines the predicate.
        text: for example ``"addition(X, Y, Sum)"``; lists of variables are allowed: ``"sum([A,B], [C,D], S)"``.
        slots: names of the variables that are network inputs; found from the program's data flow when not given.

    Raises:
        UsageError: the text is not one goal, or its predicate is not in the program.
    """
    goal = _parse(text)
    if goal.signature not in program.signatures:
        raise UsageError(
            f"the program has no predicate {goal.signature}",
            where=f"query form {text}",
            hint=did_you_mean(goal.signature, program.signatures),
        )
    names = list(dict.fromkeys(_variables(goal)))
    if slots is None:
        reads = network_arguments(program)
        positions = [k for k in range(goal.arity) if (goal.signature, k) in reads]
        inputs = {name for k in positions for name in _variables(goal.args[k])}
    else:
        inputs = set(slots)
        if unknown := sorted(inputs - set(names)):
            raise UsageError(
                f"{unknown[0]} is not a variable of the query form", where=text, hint=did_you_mean(unknown[0], names)
            )
    return QueryForm(
        text, tuple(name for name in names if name in inputs), tuple(name for name in names if name not in inputs)
    )


def network_arguments(program: Program) -> set[tuple[str, int]]:
    """The arguments (``functor/arity``, position) whose content reaches the input of a network.

    A variable of a clause reaches a network when it stands in such an argument of a body goal; then every head argument
    that holds it does, too. Goals without clauses (built-ins, libraries) pass what reaches a network on to all
    arguments.
    """
    reads = {(p.signature, k) for p in program.predicates for k in p.input_positions}
    rules = [(head, _goals(clause)) for clause in program.clauses for head in heads_of(clause)]
    changed = True
    while changed:
        changed = False
        for head, goals in rules:
            reaching: set[str] = set()
            passes = True
            while passes:
                before = len(reaching)
                for goal in goals:
                    if goal.signature in program.signatures:
                        for k, argument in enumerate(goal.args):
                            if (goal.signature, k) in reads:
                                reaching.update(_variables(argument))
                    elif reaching & (inside := set(_variables(goal))):
                        reaching |= inside
                passes = len(reaching) > before
            for k, argument in enumerate(head.args):
                if (head.signature, k) not in reads and reaching & set(_variables(argument)):
                    reads.add((head.signature, k))
                    changed = True
    return reads


def _parse(text: str) -> Term:
    try:
        statements = list(PrologString(text.strip().rstrip(".") + "."))
    except ProbLogError as error:
        raise UsageError(
            f"not a query form: {getattr(error, 'base_message', error)}",
            where=text,
            hint="write for example add(X, Y, Z)",
        ) from error
    if len(statements) != 1 or type(statements[0]) is not Term or statements[0].probability is not None:
        raise UsageError("a query form is one goal", where=text, hint="write for example addition(X, Y, Sum)")
    return statements[0]


def _variables(term: object) -> Iterator[str]:
    """Names of the variables of a term from left to right, the anonymous one left out."""
    if isinstance(term, Var):
        if term.name != "_":
            yield term.name
    elif isinstance(term, Term):
        for argument in term.args:
            yield from _variables(argument)


_CONTROL = {"','", ";", "->", "\\+", "not", "':-'", ","}


def _goals(clause: Term) -> list[Term]:
    """The goals of a clause's body, control constructs taken apart."""
    pending = [body] if (body := getattr(clause, "body", None)) is not None else []
    goals: list[Term] = []
    while pending:
        goal = pending.pop()
        if not isinstance(goal, Term) or isinstance(goal, Var):
            continue
        if goal.functor.strip("'") in {name.strip("'") for name in _CONTROL} or goal.functor in _META:
            pending.extend(goal.args)
        else:
            goals.append(goal)
    return goals


_META = {"call", "once", "findall", "forall", "all", "all_or_none"}
