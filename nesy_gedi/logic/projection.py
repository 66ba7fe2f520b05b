"""Forget a variable of a rule as soon as no further goal mentions it.

ProbLog keeps every combination of values that the goals of a rule have produced, and calls the next goal with each. In

    add([X|Xs], [Y|Ys], [Z|Zs], Carry) :-
        digit(X, A), digit(Y, B), S is A + B + Carry, D is S mod 10, Next is S // 10,
        target(Z, D), add(Xs, Ys, Zs, Next).

the last two goals are called a hundred times, although only twenty pairs (D, Next) differ. Named apart,

    part(X, Y, Carry, D, Next) :- digit(X, A), digit(Y, B), S is A + B + Carry, D is S mod 10, Next is S // 10.
    rest(X, Y, Z, Carry, Next) :- part(X, Y, Carry, D, Next), target(Z, D).
    add([X|Xs], [Y|Ys], [Z|Zs], Carry) :- rest(X, Y, Z, Carry, Next), add(Xs, Ys, Zs, Next).

means the same, since "exists A: p(A) and q" is "(exists A: p(A)) and q" where q does not mention A: projection is pushed
through the join, as in databases and in variable elimination (Dechter, "Bucket elimination", 1999). Goals keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from problog.logic import And, AnnotatedDisjunction, Clause, Term, Var

from nesy_gedi.logic.builtins import PURE, CallGraph, called_by
from nesy_gedi.logic.program import DIRECTIVE, heads_of, variables_of

PART = "$'part"
"""How the functors of the parts of rules begin. No program can write a bare quote inside an atom."""


def project(clauses: Sequence[Term]) -> list[Term]:
    """The clauses of a program with the rules in parts; what they derive, and with which probability, is the same.

    A rule of an annotated disjunction stays as it is: each of its groundings is a choice of its own. So do goals that may
    come back to the rule's own head, and goals whose meaning is only known while they run.
    """
    graph = CallGraph(clauses)
    projected: list[Term] = []
    for clause in clauses:
        projected.extend(_in_parts(clause, graph, len(projected)) if _is_plain_rule(clause) else [clause])
    return projected


def _is_plain_rule(clause: Term) -> bool:
    if not isinstance(clause, Clause) or isinstance(clause, AnnotatedDisjunction):
        return False
    heads = heads_of(clause)
    return len(heads) == 1 and heads[0].probability is None and heads[0].functor != DIRECTIVE


def _in_parts(clause: Clause, graph: CallGraph, number: int) -> list[Term]:
    """The parts of a rule and, last, what is left of it."""
    head, goals = clause.head, list(_conjuncts(clause.body))
    parts: list[Term] = []
    kept: list[Term] = []
    open_goals: list[Term] = []  # those of the run that are in no part yet; the first may stand for a part
    for position, goal in enumerate(goals):
        if not _may_be_in_a_part(goal, head, graph):
            kept += [*open_goals, goal]
            open_goals = []
            continue
        open_goals.append(goal)
        following = goals[position + 1 :]
        if (
            not following
            or _is_test(following[0])
            or not any(_calls_rules(open_goal, graph) for open_goal in open_goals)
        ):
            continue
        needed = {name for term in (head, *kept, *following) for name in variables_of(term)}
        names = list(dict.fromkeys(name for term in open_goals for name in variables_of(term)))
        shown = [name for name in names if name in needed]
        if len(shown) < len(names):
            part = Term(f"{PART}{number + len(parts)}", *map(Var, shown), location=clause.location)
            parts.append(Clause(part, And.from_list(open_goals), location=clause.location))
            open_goals = [part]
    left = Clause(head, And.from_list([*kept, *open_goals]), location=clause.location)
    return [*parts, left] if parts else [clause]


def _conjuncts(body: Term) -> Iterator[Term]:
    pending = [body]
    while pending:
        goal = pending.pop()
        if isinstance(goal, And):
            pending.extend(reversed(goal.args))
        else:
            yield goal


def _may_be_in_a_part(goal: Term, head: Term, graph: CallGraph) -> bool:
    """Whether a goal only calls what cannot come back to ``head`` and whose results are all it does."""
    if not isinstance(goal, Term) or isinstance(goal, Var):
        return False
    for called in called_by(goal):
        if isinstance(called, Var) or not isinstance(called, Term):
            return False
        if called.signature in PURE:
            continue
        if called.signature == head.signature or not graph.is_pure(called.signature):
            return False
        if head.signature in graph.reached_from(called.signature):
            return False
    return True


def _is_test(goal: Term) -> bool:
    """Whether a goal cannot have several results: it may as well be waited for."""
    return isinstance(goal, Term) and goal.signature in PURE


def _calls_rules(goal: Term, graph: CallGraph) -> bool:
    """Whether a goal asks predicates of the program, which may have several results."""
    return goal.functor.startswith(PART) or any(called.signature in graph for called in called_by(goal))
