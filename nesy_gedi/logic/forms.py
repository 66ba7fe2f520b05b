"""Query forms: ``addition(X, Y, Sum)`` names the image slots and leaves the answer free; several goals are one answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from problog.errors import ProbLogError
from problog.logic import And, Clause, Term, Var
from problog.program import PrologString

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.logic.program import Program, heads_of, variables_of

SLOT = "$slot"
"""Functor of the terms that stand for images while a program is grounded."""

QUERY = "$'query"
"""Functor of the goal that stands for a conjunction. No program can write a bare quote inside an atom."""

EXAMPLE = "write for example addition(X, Y, Sum), or addition(X, Y, Sum), product(X, Y, Product)"

ONLY_GOALS = "a query form is one goal or several joined by commas"

_CONTROL = {";": "a disjunction", "->": "an if-then", "\\+": "a negation", "not": "a negation", ":-": "a rule"}
"""What a query form does not hold, by its functor."""


@dataclass(frozen=True)
class QueryForm:
    """A query - one goal, or several that are asked together - with its variables sorted into inputs and outputs.

    Attributes:
        text: the form as written.
        slots: variables that a network reads, in order of appearance. A variable that stands in two places is one slot.
        outputs: the other variables, which inference fills: the answer.
    """

    text: str
    slots: tuple[str, ...]
    outputs: tuple[str, ...]

    def goal(self) -> Term:
        """The term to ground: slots are constants, outputs are variables. That of a conjunction needs :meth:`rules`."""
        values = {name: Term(SLOT, Term(name)) for name in self.slots} | {name: Var(name) for name in self.outputs}
        goals = _parse(self.text)
        return _placeless(goals[0].apply(values)) if len(goals) == 1 else Term(QUERY, *values.values())

    def goals(self) -> tuple[Term, ...]:
        """The goals as they are written, variables open."""
        return tuple(_placeless(goal) for goal in _parse(self.text))

    def rules(self) -> tuple[Clause, ...]:
        """What the program needs beside its own clauses: the definition of a conjunction's goal, else nothing."""
        goals = _parse(self.text)
        if len(goals) == 1:
            return ()
        head = Term(QUERY, *map(Var, (*self.slots, *self.outputs)))
        return (Clause(head, And.from_list([_placeless(goal) for goal in goals])),)


def read_form(program: Program, text: str, slots: Collection[str] | None = None) -> QueryForm:
    """Read a query form of ``program``.

    Args:
        program: the program that defines the predicates.
        text: for example ``"addition(X, Y, Sum)"``; lists of variables are allowed: ``"sum([A,B], [C,D], S)"``. Goals
            that are joined by commas are asked together: their outputs are one answer, and what they share is equal.
        slots: names of the variables that are network inputs; found from the program's data flow when not given.

    Raises:
        UsageError: the text is anything but goals, or a predicate is not in the program.
    """
    goals = _parse(text)
    for goal in goals:
        if goal.signature not in program.signatures:
            raise UsageError(
                f"the program has no predicate {goal.signature}",
                where=f"query form {text}",
                hint=did_you_mean(goal.signature, program.signatures),
            )
        if _has_anonymous(goal):
            raise UsageError(
                "a variable without a name is neither an image nor an answer",
                where=f"query form {text}",
                hint="name every variable of the form; the answer consists of those that are no images",
            )
    names = list(dict.fromkeys(name for goal in goals for name in variables_of(goal)))
    if slots is None:
        reads = network_arguments(program)
        read = [goal.args[k] for goal in goals for k in range(goal.arity) if (goal.signature, k) in reads]
        inputs = {name for argument in read for name in variables_of(argument)}
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
    rules = [(head, goals_of(clause)) for clause in program.clauses for head in heads_of(clause)]
    changed = True
    while changed:
        changed = False
        for head, goals in rules:
            reaching = _network_inputs(head)
            passes = True
            while passes:
                before = len(reaching)
                for goal in goals:
                    if goal.signature in program.signatures:
                        for k, argument in enumerate(goal.args):
                            if (goal.signature, k) in reads:
                                reaching.update(variables_of(argument))
                    elif reaching & (inside := set(variables_of(goal))):
                        reaching |= inside
                passes = len(reaching) > before
            for k, argument in enumerate(head.args):
                if (head.signature, k) not in reads and reaching & set(variables_of(argument)):
                    reads.add((head.signature, k))
                    changed = True
    return reads


def _has_anonymous(term: object) -> bool:
    if isinstance(term, Var):
        return bool(term.name == "_")
    return isinstance(term, Term) and any(_has_anonymous(argument) for argument in term.args)


def _network_inputs(head: Term) -> set[str]:
    """The variables that stand among the inputs where ``head`` is a neural predicate, ``nn(network, inputs, index)``."""
    asked = head.probability
    return set(variables_of(asked.args[1])) if isinstance(asked, Term) and asked.functor == "nn" else set()


@lru_cache
def _parse(text: str) -> tuple[Term, ...]:
    """The goals of a form, at least one."""
    try:
        statements = list(PrologString(stripped + ".")) if (stripped := text.strip().rstrip(".")) else []
    except ProbLogError as error:
        raise UsageError(
            f"not a query form: {getattr(error, 'base_message', error)}", where=text, hint=EXAMPLE
        ) from error
    if not statements:
        raise UsageError("the query form is empty", where="query form", hint=EXAMPLE)
    if len(statements) > 1:
        raise UsageError(f"{ONLY_GOALS}, not several statements", where=text, hint=EXAMPLE)
    pending, goals = statements, []
    while pending:
        goal = pending.pop(0)
        functor = str(goal.functor).strip("'") if isinstance(goal, Term) else ""
        if isinstance(goal, And):
            pending[:0] = goal.args
        elif functor in _CONTROL:
            raise UsageError(
                f"{ONLY_GOALS}; {goal} is {_CONTROL[functor]}",
                where=text,
                hint="write a rule for it in the program, and ask for the rule's head",
            )
        elif type(goal) is not Term or goal.probability is not None or functor in ("[]", "."):
            raise UsageError(f"{ONLY_GOALS}; {goal} is no goal", where=text, hint=EXAMPLE)
        else:
            goals.append(goal)
    return tuple(goals)


def _placeless(goal: Term) -> Term:
    goal.location = None  # it would be taken for a place in the program
    return goal


_TRANSPARENT = {",", ";", "->", "\\+", "not", "call", "once", "findall", "forall", "all", "all_or_none"}
"""Control constructs and meta-predicates: their arguments are goals."""


def goals_of(clause: Term) -> list[Term]:
    """The goals of a clause's body, control constructs taken apart."""
    pending = [body] if (body := getattr(clause, "body", None)) is not None else []
    goals: list[Term] = []
    while pending:
        goal = pending.pop()
        if not isinstance(goal, Term) or isinstance(goal, Var):
            continue
        if goal.functor.strip("'") in _TRANSPARENT:
            pending.extend(goal.args)
        else:
            goals.append(goal)
    return goals
