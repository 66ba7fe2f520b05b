"""Circuits of a program restricted to some symbols of every image: what holds given that each image shows one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_

import torch
from torch import Tensor

from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.deciding import Choice, DecidedGrounding
from nesy_gedi.logic.formula import (
    FALSE,
    TRUE,
    And,
    Constant,
    Formula,
    Learned,
    Literal,
    Neural,
    Not,
    Truth,
    Variable,
    Weight,
    children_of,
    values_of,
)
from nesy_gedi.logic.given import Reading
from nesy_gedi.logic.hybrid import extract_circuit
from nesy_gedi.logic.structure import find_violations

Kept = Mapping[Reading, tuple[int, ...]]
"""For each input the entries of its domain that are kept, ascending, at least one."""


class UnknownInputError(Exception):
    """Grounding met an input of which nobody has said what is kept."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self.reading = reading


class RestrictedCircuit:
    """The answers of a form given that every image shows one of the symbols that are kept of it.

    Attributes:
        answers: the answers that some kept world yields, as text.
        asked: how many ground annotated disjunctions of each input the program asks, whatever they yield. Where all of
            these take a kept value, the program has been evaluated completely.
        has_evidence: whether the last root is that of the evidence.
        nodes: size of the circuit.
        edges: size of the circuit.
    """

    def __init__(self, grounds: DecidedGrounding, kept: Kept) -> None:
        """Ground and compile.

        Raises:
            UnknownInputError: the program asks what ``kept`` does not hold.
            ProgramError: ProbLog refuses the program.
            BudgetError: the circuit is too large even so.
        """
        asked: dict[object, Reading] = {}

        def decide(choice: Choice) -> bool | None:
            if choice.kind != "nn":
                return None
            if choice.source not in kept:
                raise UnknownInputError(choice.source)
            asked[choice.variable] = choice.source
            return None if choice.entry in kept[choice.source] else False

        found = grounds.ground(decide)
        self.asked = Counter(asked.values())
        self.has_evidence = grounds.has_evidence
        self.answers = {text: column for column, text in enumerate(found.answers)}
        joint = [found.formula.conjoin([node, found.evidence]) for node in found.answers.values()]
        formula, roots = _given_kept(found.formula, [*joint, found.evidence], kept)
        violating = {violation.node for violation in find_violations(formula, roots)}
        made = extract_circuit(formula, roots, violating, grounds.budget)
        circuit, roots = made.formula, made.roots
        if not self.has_evidence:
            roots.pop()
        reachable = circuit.reachable(roots)
        self.nodes, self.edges = len(reachable), sum(len(children_of(circuit.nodes[n])) for n in reachable)
        weights = dict.fromkeys(
            weight
            for number in values_of(reduce(or_, (circuit.scopes[root] for root in roots), 0))
            for weight in circuit.variables[number].weights
        )
        self._readings = list(dict.fromkeys((w.network, w.inputs) for w in weights if isinstance(w, Neural)))
        self._groups = list(dict.fromkeys(w.group for w in weights if isinstance(w, Learned)))
        constants = [weight for weight in weights if isinstance(weight, Constant)]
        self._constants = torch.tensor([constant.log() for constant in constants], dtype=torch.float64)
        inputs: list[Weight] = [Neural(*reading, entry) for reading in self._readings for entry in kept[reading]]
        inputs += [Learned(g, entry) for g in self._groups for entry in range(len(grounds.program.parameters[g].heads))]
        row = {weight: k for k, weight in enumerate([*inputs, *constants])}
        self._plan = Plan(
            circuit, roots, lambda variable, value: row[circuit.variables[variable].weights[value]], len(row)
        )
        self._plans: dict[torch.device, Plan] = {torch.device("cpu"): self._plan}

    def __call__(
        self,
        conditional: Mapping[Reading, Tensor],
        learned: Callable[[int, torch.dtype], Tensor],
        like: Tensor,
        batch: int,
    ) -> Tensor:
        """Log-probabilities given that all inputs are kept: of each answer with the evidence, then of the evidence.

        Args:
            conditional: log-probabilities of the kept entries of each input, normalised, shape ``(batch, kept)``.
            learned: log-probabilities of a group of learned heads.
            like: a tensor whose type and device the result has.
            batch: how many rows.

        Returns:
            Shape ``(batch, answers)``, and one column more where the program states evidence.
        """
        if not self._plan.roots.numel():
            return like.new_empty(batch, 0)
        rows = [conditional[reading].T for reading in self._readings]
        rows += [learned(group, like.dtype)[:, None].expand(-1, batch) for group in self._groups]
        rows.append(self._constants.to(like)[:, None].expand(-1, batch))
        if like.device not in self._plans:
            self._plans[like.device] = self._plan.to(like.device)
        return self._plans[like.device](torch.cat(rows)).T


def _given_kept(formula: Formula, roots: Sequence[int], kept: Kept) -> tuple[Formula, list[int]]:
    """``formula`` given that each image shows what is kept of it: its variables have these values and no others."""
    values: list[tuple[int, ...]] = []
    variables: list[Variable] = []
    for variable in formula.variables:
        weight = variable.weights[0]
        own = kept[weight.network, weight.inputs] if isinstance(weight, Neural) else range(len(variable.weights))
        values.append(tuple(own))
        variables.append(Variable(variable.label, tuple(variable.weights[value] for value in own)))
    target = Formula(variables)
    copied: dict[int, int] = {}
    for number in formula.reachable(roots):  # children before parents
        what = formula.nodes[number]
        if isinstance(what, Truth):
            copied[number] = TRUE if what.value else FALSE
        elif isinstance(what, Literal):
            mask = sum(1 << k for k, value in enumerate(values[what.variable]) if what.mask >> value & 1)
            copied[number] = target.literal(what.variable, mask)
        elif isinstance(what, Not):
            copied[number] = target.negate(copied[what.child])
        else:
            children = [copied[child] for child in what.children]
            copied[number] = target.conjoin(children) if isinstance(what, And) else target.disjoin(children)
    return target, [copied[root] for root in roots]
