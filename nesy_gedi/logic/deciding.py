"""ProbLog's grounding with a say in every probabilistic choice: it may hold, fail, or stay open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from problog.formula import LogicDAG, LogicFormula
from problog.logic import term2list

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.budget import WAYS_OUT, Budget, Watch
from nesy_gedi.logic.compilation import answer_text
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.formula import FALSE, Formula
from nesy_gedi.logic.grounding import EVIDENCE_LABELS, explained, has_cycle, read_evidence, read_formula, slot_name
from nesy_gedi.logic.problog_engine import prepare
from nesy_gedi.logic.program import Program, constant_probability

FEWER = "keep fewer symbols (a smaller k), or ask for an estimate from samples"
"""What to do where even a restricted program is too large."""


class Choice(NamedTuple):
    """One head of a ground annotated disjunction (AD), as grounding meets it.

    Attributes:
        variable: which ground AD; equal for the heads of one and no others.
        head: which head of it.
        kind: whose probability it is: ``nn`` of a network, ``t`` learned, ``constant`` written in the program.
        source: (network, slots) of ``nn``; the number of the group of ``t``; the probability of a constant.
        entry: the entry of the network's or the group's distribution; 0 for a constant.
    """

    variable: object
    head: object
    kind: str
    source: Any
    entry: int


Decide = Callable[[Choice], bool | None]
"""Whether a choice holds; None leaves it open."""


class Grounded(NamedTuple):
    """What a grounding under decisions yields.

    Attributes:
        formula: over the choices that were left open.
        answers: answer -> node, only those with a proof.
        evidence: the node of all evidence, TRUE where there is none.
    """

    formula: Formula
    answers: dict[str, int]
    evidence: int


class DecidedGrounding:
    """A query form that is ground again and again, under other decisions; the program is read once.

    Raises:
        ProgramError: ProbLog refuses the program.
    """

    def __init__(
        self, program: Program, form: QueryForm, budget: Budget | None = None, *, hint: str = WAYS_OUT
    ) -> None:
        self.program = program
        self.form = form
        self.budget = budget or Budget()
        self.hint = hint
        with explained(program):
            self._prepare()

    def _prepare(self) -> None:
        # What is decided of one image says nothing of another.
        self._engine, self._database = prepare(self.program, self.form.rules(), alike=False)
        self._evidence = read_evidence(self._engine, self._database)

    @property
    def has_evidence(self) -> bool:
        """Whether the program states evidence."""
        return bool(self._evidence)

    def ground(self, decide: Decide) -> Grounded:
        """The ground program where each choice is as ``decide`` says.

        Raises:
            ProgramError: ProbLog refuses the program.
            BudgetError: what is left open is still too much to ground.
        """
        with explained(self.program):
            target: LogicFormula = _Deciding(self, decide)
            where = f"{self.program.source.name}, {self.form.text}"
            self._engine.watch = Watch(self.budget, where, hint=self.hint)
            try:
                self._engine.ground(self._database, self.form.goal(), target, label=target.LABEL_QUERY)
                for goal, value in self._evidence:
                    self._engine.ground(self._database, goal, target, label=EVIDENCE_LABELS[value])
            except BaseException:
                self._prepare()  # an engine that was interrupted keeps half of its work on its stack
                raise
            target.__class__ = LogicFormula  # nothing is decided any more; ProbLog converts its own classes only
            if has_cycle(target):
                target = LogicDAG.create_from(target)
            found = read_formula(self.program, target)
        answers: dict[str, int] = {}
        for term, node in found.answers:
            if node != FALSE:
                text = answer_text(self.form, term)
                answers[text] = found.formula.disjoin([answers.get(text, FALSE), node])
        return Grounded(found.formula, answers, found.evidence)

    def choice(self, variable: object, head: object, probability: Any) -> Choice:
        """ProbLog's choice in our terms.

        Raises:
            ProgramError: the input of a network is not bound, or a constant is no probability.
        """
        functor = getattr(probability, "functor", None)
        if functor == "nn":
            network = str(probability.args[0])
            inputs = term2list(probability.args[1], False)
            slots = tuple(slot_name(self.program, network, term) for term in inputs)
            return Choice(variable, head, "nn", (network, slots), int(probability.args[2]))
        if functor == "t" and len(probability.args) == 2:
            return Choice(variable, head, "t", int(probability.args[0]), int(probability.args[1]))
        number = constant_probability(probability)
        if number is None or not 0.0 <= number <= 1.0:
            raise ProgramError(
                f"{probability} is not a probability between 0 and 1", where=f"{self.program.source.name}, {head}"
            )
        return Choice(variable, head, "constant", number, 0)


class _Deciding(LogicFormula):
    """A ground program whose choices are decided as they are added."""

    def __init__(self, grounds: DecidedGrounding, decide: Decide) -> None:
        super().__init__(keep_all=False)
        self._grounds = grounds
        self._decide = decide

    def add_atom(self, identifier: Any, probability: Any, group: Any = None, *args: Any, **options: Any) -> Any:
        if probability is None or isinstance(probability, bool) or options.get("is_extra"):
            return super().add_atom(identifier, probability, group, *args, **options)
        variable = ("single", identifier) if group is None else group
        holds = self._decide(self._grounds.choice(variable, identifier, probability))
        if holds is None:
            return super().add_atom(identifier, probability, group, *args, **options)
        return self.TRUE if holds else self.FALSE
