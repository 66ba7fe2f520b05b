"""Answer the ``query/1`` lines of a plain ProbLog program."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from problog.logic import Constant, Term

from nesy_gedi.errors import NesyGediWarning, ProgramError, UsageError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.compilation import compile_queries
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.formula import FALSE
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

WORLDS_AT_ONCE = 100_000
"""Sampled worlds that are kept at a time."""


def answer_queries(program: Program, *, budget: Budget | None = None) -> dict[str, float]:
    """Probability of every instance of the program's queries, given its evidence.

    Raises:
        UsageError: the program has no query, or a query asks a network (use a :class:`Reasoner`).
        ProgramError: grounding failed, or the evidence is impossible.
        BudgetError: the circuit is too large.
    """
    return PlainQueries(program, budget=budget).answers()


@dataclass(frozen=True)
class ProbableWorld:
    """The most probable world in which a query is true.

    Attributes:
        log_probability: of the world, in nats.
        share: its probability given the query and the evidence.
        choices: what each probabilistic fact or annotated disjunction says in it, by the choice's label.
    """

    log_probability: float
    share: float
    choices: dict[str, str]


@dataclass(frozen=True)
class Frequency:
    """How often something held in sampled worlds.

    Attributes:
        frequency: share of the worlds.
        standard_error: of a frequency of as many worlds, from the exact probability.
    """

    frequency: float
    standard_error: float


class PlainQueries:
    """Ground goals of a plain ProbLog program once, and ask about them: probabilities, explanations, samples.

    Args:
        program: asks no network, as far as the goals go.
        goals: what is asked, for example ``["wet", "path(a, X)"]``; the program's own ``query/1`` when not given.
        budget: of the compilation.

    Raises:
        UsageError: nothing is asked, a goal is none of the program's, or it asks a network (use a :class:`Reasoner`).
        ProgramError: grounding failed, a goal has no instance, or the evidence is impossible.
        BudgetError: the circuit is too large.
    """

    def __init__(self, program: Program, goals: Sequence[str] | None = None, *, budget: Budget | None = None) -> None:
        self._program = program
        terms = None if goals is None else [_read_goal(program, goal) for goal in goals]
        circuit = compile_queries(program, terms, budget=budget)
        self._reasoner = Reasoner.of_circuit(program, circuit)
        self._own = goals is None
        if not self._reasoner.answers:
            raise UsageError(
                "the program has no query/1" if self._own else "nothing is asked",
                where=program.source.name,
                hint="add a line such as query(a).",
            )
        if not self._own:
            self._refuse_open_goals()
        if self._reasoner.inputs:
            raise UsageError(
                f"the queries ask network {self._reasoner.inputs[0].network}, but a query has no images",
                where=program.source.name,
                hint="train and predict answer queries over images",
            )
        with torch.no_grad():
            if float(self._reasoner.log_evidence({})) == -torch.inf:
                raise ProgramError(
                    "the evidence is impossible",
                    where=program.source.name,
                    hint="two evidence/1 lines contradict each other",
                )

    def _refuse_open_goals(self) -> None:
        for answer in self._reasoner.answers:
            if not Term.from_string(answer).is_ground():
                raise ProgramError(
                    f"no instance of {answer} can be derived",
                    where=self._program.source.name,
                    hint="check the rules for this predicate; a missing rule or a failing comparison leaves nothing",
                )

    def answers(self) -> dict[str, float]:
        """Probability of every instance, given the evidence."""
        with torch.no_grad():
            exact = self._reasoner({})[0].exp().tolist()
        answers = dict(zip(self._reasoner.answers, exact, strict=True))
        for query, probability in answers.items():
            if probability == 0.0 and (other := _other_number_type(self._program, query)):
                warnings.warn(
                    f"{query} has probability 0, but {other} can hold: Prolog keeps whole numbers and floats apart",
                    NesyGediWarning,
                    stacklevel=3,
                )
        return answers

    def explanations(self) -> dict[str, ProbableWorld | None]:
        """The most probable world of every instance, None where it is impossible.

        Raises:
            BudgetError: a negation in the circuit could not be compiled away within the budget.
        """
        names, choices = self._reasoner.answers, self._reasoner.choices
        with torch.no_grad():
            found = self._reasoner.explain({}, torch.arange(len(names)), batch=len(names))
        worlds: dict[str, ProbableWorld | None] = {}
        for k, name in enumerate(names):
            said = {c.label: c.values[v] for c, v in zip(choices, found.values[k].tolist(), strict=True)}
            log_probability = float(found.log_probability[k])
            possible = log_probability > -math.inf
            worlds[name] = (
                ProbableWorld(log_probability, math.exp(float(found.log_posterior[k])), said) if possible else None
            )
        return worlds

    def frequencies(self, n: int, seed: int) -> dict[str, Frequency]:
        """How often every instance holds in ``n`` worlds that are drawn given the evidence.

        Raises:
            UsageError: ``n`` is not positive.
            BudgetError: as for :meth:`explanations`.
        """
        if n < 1:
            raise UsageError(f"cannot draw {n} worlds", where="n", hint="1 or more")
        generator = torch.Generator().manual_seed(seed)
        counts = torch.zeros(len(self._reasoner.answers), dtype=torch.long)
        for drawn in range(0, n, WORLDS_AT_ONCE):
            worlds = self._reasoner.sample({}, n=min(WORLDS_AT_ONCE, n - drawn), generator=generator)
            counts += self._reasoner.holds(worlds[0]).sum(0)
        with torch.no_grad():
            exact = self._reasoner({})[0].double().exp().clamp(0.0, 1.0)
        errors = (exact * (1.0 - exact) / n).sqrt()
        values = zip(self._reasoner.answers, (counts.double() / n).tolist(), errors.tolist(), strict=True)
        return {name: Frequency(frequency, error) for name, frequency, error in values}


def _read_goal(program: Program, text: str) -> Term:
    """One goal, as it is asked of a plain program."""
    form = read_form(program, text)
    if len(form.goals()) > 1:
        raise UsageError(
            "expected one goal, found several",
            where=text,
            hint="write a rule for them in the program, and ask for the rule's head",
        )
    return form.goal()


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
