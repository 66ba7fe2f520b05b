"""The choices that a world consists of, and the circuit over them: every choice with inputs of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nesy_gedi.errors import BudgetError, UsageError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.circuits import FIRST_INPUT_ROW, Plan
from nesy_gedi.logic.compilation import Circuit
from nesy_gedi.logic.formula import FALSE, TRUE, Formula, Literal, Neural, Not, Or, children_of
from nesy_gedi.logic.sdd import SddCompiler

CELLS_AT_ONCE = 1 << 25
"""Nodes times worlds that are looked at together; more are taken in turn, so that memory stays bounded."""


class Choice(NamedTuple):
    """One annotated disjunction of the ground program: in every world exactly one of its values holds.

    Attributes:
        label: for example ``digit(X, _)`` or ``rain``; no two choices of a reasoner have the same.
        values: what each value says: a symbol of the network's domain, else the head that it makes true.
        input: which of the reasoner's ``inputs`` it reads, None where no network is asked.
    """

    label: str
    values: tuple[str, ...]
    input: int | None


class ChoiceCircuit:
    """A circuit whose inputs are the values of choices.

    A reasoner's own circuit shares an input between all that has the same probability. Here two choices never do, for
    two predicates that ask one network about one image are two independent draws from one distribution.

    Args:
        circuit: its answers become the roots, the evidence alone the last one.
        variables: numbers of the formula's variables, one a choice.
        sources: for every choice the rows of the reasoner's inputs that hold its log-probabilities.
        budget: of what compiling negations away may take.
    """

    def __init__(
        self, circuit: Circuit, variables: Sequence[int], sources: Sequence[Sequence[int]], budget: Budget
    ) -> None:
        self._circuit = circuit
        self._budget = budget
        self.sizes = [len(rows) for rows in sources]
        self.answers = len(circuit.answers)
        self._source = torch.tensor([row for rows in sources for row in rows], dtype=torch.long)
        ends = torch.tensor(self.sizes, dtype=torch.long).cumsum(0)
        self.first = ends - torch.tensor(self.sizes, dtype=torch.long)
        self._first_of = dict(zip(variables, self.first.tolist(), strict=True))
        self._plans: dict[tuple[bool, torch.device], Plan] = {}

    def spread(self, rows: Tensor) -> Tensor:
        """Log-probabilities of all values of all choices, (values, batch), from those of the reasoner's inputs."""
        return rows.index_select(0, self._source.to(rows.device))

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """What stands along the first axis for values of choices, choice by choice."""
        return values.split(self.sizes) if self.sizes else ()

    def plan(self, device: torch.device) -> Plan:
        """The circuit as it is, negations included."""
        return self._made(False, device)

    def positive_plan(self, device: torch.device) -> Plan:
        """The circuit without any negation: what makes a node true can be followed down to choices.

        Raises:
            BudgetError: a negation that had to be compiled away went past the budget.
        """
        return self._made(True, device)

    def _made(self, positive: bool, device: torch.device) -> Plan:
        key = (positive, device)
        if key not in self._plans:
            cpu = torch.device("cpu")
            self._plans[positive, cpu] = self._plans.get((positive, cpu)) or self._build(positive)
            self._plans[key] = self._plans[positive, cpu].to(device)
        return self._plans[key]

    def _build(self, positive: bool) -> Plan:
        formula, roots = self._circuit.formula, [*self._circuit.roots, self._circuit.evidence]
        if positive:
            formula, roots = without_negation(formula, roots, self._budget)
        return Plan(
            formula, roots, lambda variable, value: self._first_of[variable] + value, sum(self.sizes), within=False
        )


def choices_of(
    circuit: Circuit,
    inputs: Sequence[tuple[str, tuple[str, ...]]],
    mentioned: Sequence[int],
    row_of: Callable[[int, int], int],
    budget: Budget,
) -> tuple[tuple[Choice, ...], ChoiceCircuit]:
    """The choices among a circuit's variables, those that read ``inputs`` first, and the circuit over them.

    Args:
        inputs: network and slots of each of the reasoner's inputs.
        mentioned: numbers of the variables that matter.
        row_of: for a variable and a value the row of its log-probability among the reasoner's inputs.
    """
    variables = circuit.formula.variables
    read: dict[int, int | None] = {
        v: inputs.index((w.network, w.inputs)) if isinstance(w := variables[v].weights[0], Neural) else None
        for v in mentioned
    }
    ordered = sorted(mentioned, key=lambda v: (len(inputs) if (k := read[v]) is None else k, v))
    labels: Counter[str] = Counter()
    choices = []
    for v in ordered:
        what = variables[v]
        labels[what.label] += 1
        label = f"{what.label} ({labels[what.label]})" if labels[what.label] > 1 else what.label
        choices.append(Choice(label, what.heads or tuple(map(str, range(len(what.weights)))), read[v]))
    sources = [[row_of(v, value) for value in range(len(variables[v].weights))] for v in ordered]
    return tuple(choices), ChoiceCircuit(circuit, ordered, sources, budget)


def without_negation(formula: Formula, roots: list[int], budget: Budget) -> tuple[Formula, list[int]]:
    """A circuit that is equivalent to ``formula`` below ``roots`` and has no negated node.

    Raises:
        BudgetError: what had to be compiled went past the budget.
    """
    if not any(isinstance(formula.nodes[number], Not) for number in formula.reachable(roots)):
        return formula, roots
    try:
        return _compile_negations(formula, roots, budget)
    except BudgetError as error:
        raise BudgetError(
            f"explanations and samples need the circuit without negations, and {error.message}",
            where=error.where,
            hint="let the proofs of what is negated exclude each other (branch on the value of one image at a time)",
        ) from error


def _compile_negations(source: Formula, roots: list[int], budget: Budget) -> tuple[Formula, list[int]]:
    """A copy of ``source`` below ``roots``, every topmost negation as the circuit of an SDD."""
    target = Formula(source.variables)
    compiler = SddCompiler(source, target, budget)
    copied = {FALSE: FALSE, TRUE: TRUE}
    pending = list(roots)
    while pending:
        number = pending[-1]
        what = source.nodes[number]
        missing = [] if isinstance(what, Not) else [child for child in children_of(what) if child not in copied]
        if number in copied:
            pending.pop()
        elif missing:
            pending += missing
        elif isinstance(what, Not):
            copied[number] = compiler.compile(number)
        elif isinstance(what, Literal):
            copied[number] = target.literal(what.variable, what.mask)
        else:
            children = [copied[child] for child in children_of(what)]
            copied[number] = target.plain_or(children) if isinstance(what, Or) else target.plain_and(children)
    return target, [copied[root] for root in roots]


def answer_columns(target: Tensor | int | None, answers: int, batch: int, device: torch.device) -> Tensor:
    """Which root every row asks about, shape (batch,): the answer's, or number ``answers`` for the evidence alone.

    Raises:
        UsageError: ``target`` is not a column an answer, one for each row or one for all.
    """
    if target is None:
        return torch.full((batch,), answers, device=device)
    found = torch.as_tensor(target, device=device)
    if (
        found.is_floating_point()
        or found.is_complex()
        or found.dtype == torch.bool
        or found.shape not in ((), (batch,))
    ):
        raise UsageError(
            f"expected one column an answer, whole numbers of shape ({batch},), found {found.dtype} of shape "
            f"{tuple(found.shape)}",
            where="target",
            hint="Reasoner.index(answer) is the column of an answer",
        )
    if bool(((found < 0) | (found >= answers)).any()):
        wrong = int(found[(found < 0) | (found >= answers)].reshape(-1)[0])
        raise UsageError(
            f"there is no answer in column {wrong}: columns are 0 to {answers - 1}",
            where="target",
            hint="Reasoner.index(answer) is the column of an answer",
        )
    return found.long().expand(batch)


def node_values(plan: Plan, log_p: Tensor, *, highest: bool = False) -> Tensor:
    """The value of every node of a plan without negations, shape (rows, batch), without gradients.

    Args:
        log_p: values of the inputs, shape (inputs, batch).
        highest: a disjunction is its highest child instead of their sum.
    """
    batch = log_p.shape[1]
    values = log_p.new_empty(plan.rows, batch)
    values[0], values[1] = -torch.inf, 0.0
    values[FIRST_INPUT_ROW : FIRST_INPUT_ROW + plan.inputs] = log_p
    for level in plan.levels:
        for block in level.blocks:
            children = values.index_select(0, block.children).view(-1, block.arity, batch)
            out = values[block.start : block.stop]
            if block.kind == "and":
                torch.sum(children, 1, out=out)
            elif highest:
                torch.amax(children, 1, out=out)
            else:
                torch.logsumexp(children, 1, out=out)
    return values


def pieces(total: int, rows: int) -> Iterator[slice]:
    """Cut ``total`` columns of ``rows`` cells each into pieces that are looked at together."""
    step = max(1, CELLS_AT_ONCE // max(1, rows))
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
