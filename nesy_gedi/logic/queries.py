"""Answer the ``query/1`` lines of a plain ProbLog program."""

from __future__ import annotations

import warnings

import torch
from problog.logic import Constant, Term

from nesy_gedi.errors import NesyGediWarning, ProgramError, UsageError
from nesy_gedi.logic.compilation import compile_queries
from nesy_gedi.logic.formula import FALSE
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.sdd import Budget


def answer_queries(program: Program, *, budget: Budget | None = None) -> dict[str, float]:
    """Probability of every instance of the program's queries, given its evidence.

    Raises:
        UsageError: the program has no query, or a query asks a network (use a :class:`Reasoner`).
        ProgramError: grounding failed, or the evidence is impossible.
        BudgetError: the circuit is too large.
    """
    circuit = compile_queries(program, budget=budget)
    reasoner = Reasoner.of_circuit(program, circuit)
    if not reasoner.answers:
        raise UsageError("the program has no query/1", where=program.source.name, hint="add a line such as query(a).")
    if reasoner.inputs:
        raise UsageError(
            f"the queries ask network {reasoner.inputs[0].network}, but a query has no images",
            where=program.source.name,
            hint="train and predict answer queries over images",
        )
    with torch.no_grad():
        if float(reasoner.log_evidence({})) == -torch.inf:
            raise ProgramError(
                "the evidence is impossible",
                where=program.source.name,
                hint="two evidence/1 lines contradict each other",
            )
        answers = dict(zip(reasoner.answers, reasoner({})[0].exp().tolist(), strict=True))
    for query, probability in answers.items():
        if probability == 0.0 and (other := _other_number_type(program, query)):
            warnings.warn(
                f"{query} has probability 0, but {other} can hold: Prolog keeps whole numbers and floats apart",
                NesyGediWarning,
                stacklevel=2,
            )
    return answers


def _other_number_type(program: Program, query: str) -> str | None:
    """An instance that differs from ``query`` only in writing a number as ``2.0`` instead of ``2`` or the reverse."""
    goal = Term.from_string(query)
    numbers = [k for k, argument in enumerate(goal.args) if _is_number(argument)]
    if not numbers:
        return None
    open_goal = goal.with_args(*(None if k in numbers else argument for k, argument in enumerate(goal.args)))
    for instance, node in ground(program, [open_goal]).answers:
        values = instance.args
        if (
            node != FALSE
            and str(instance) != query
            and all(_is_number(values[k]) and goal.args[k].value == values[k].value for k in numbers)
        ):
            return str(instance)
    return None


def _is_number(term: object) -> bool:
    return isinstance(term, Constant) and (term.is_integer() or term.is_float())
