"""Upper bounds of an answer's probability where only some clusters have got their symbol.

Without negation, a circuit is a polynomial with non-negative coefficients in the weights of its values, so it can only
grow with them. What :mod:`nesy_gedi.logic.negation` could not write as sums and products stays a "not", and turns
upper bounds into lower ones; so each node here has two rails, and "not" crosses from one to the other. A program's
evidence, which divides, is taken from the lower rail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.formula import TRUE, And, Constant, Formula, Learned, Literal, Neural, Not, Or, children_of
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.logic.reasoner import Reasoner


class AnswerBounds:
    """Bounds the log-probability of one answer at a time.

    Args:
        reasoner: whose circuit, learned probabilities and constants are used, as they are now.

    Attributes:
        width: weights that the networks' distributions fill, in the order of ``reasoner.inputs``.
        nodes: of the circuit, one at least.
        needs_other: whether an upper bound also depends on lower bounds of the weights, and the other way round.
    """

    def __init__(self, reasoner: Reasoner) -> None:
        circuit = reasoner.circuit
        self._circuit = circuit
        self._first: dict[tuple[object, ...], int] = {}
        self.width = 0
        for item in reasoner.inputs:
            self._first[item.network, *item.slots] = self.width
            self.width += len(item.domain)
        constants: dict[Constant, int] = {}
        learned = 0
        for group, what in enumerate(reasoner.program.parameters):
            self._first[(group,)] = self.width + learned
            learned += len(what.heads)
        for variable in circuit.formula.variables:
            for weight in variable.weights:
                if isinstance(weight, Constant):
                    constants.setdefault(weight, self.width + learned + len(constants))
        self._constants = constants
        logs = [reasoner.learned(k, torch.float64).detach().cpu() for k in range(len(reasoner.program.parameters))]
        logs.append(torch.tensor([constant.log() for constant in constants], dtype=torch.float64))
        self._fixed = torch.cat(logs)
        self._formula, self._upper, self._lower = _two_rails(circuit.formula)
        self._plans: dict[int, Plan] = {}
        nodes = circuit.formula.reachable([*circuit.roots, circuit.evidence])
        crosses = any(isinstance(circuit.formula.nodes[node], Not) for node in nodes)
        self.nodes = max(1, len(nodes))
        self.needs_other = crosses or circuit.evidence != TRUE

    def _plan(self, answer: int) -> Plan:
        # One plan an answer: an observation has one, and the others need not be computed.
        if answer not in self._plans:
            roots = [self._upper[self._circuit.roots[answer]]]
            if self._circuit.evidence != TRUE:
                roots.append(self._lower[self._circuit.evidence])
            rows = (self.width * 2 if self.needs_other else self.width) + len(self._fixed)
            self._plans[answer] = Plan(self._formula, roots, self._row_of, rows)
        return self._plans[answer]

    def _row_of(self, variable: int, value: int) -> int:
        weight = self._formula.variables[variable].weights[value]
        if isinstance(weight, Neural):
            row = self._first[weight.network, *weight.inputs] + weight.entry
            is_lower = variable >= len(self._circuit.formula.variables)
            return row + self.width + len(self._fixed) if is_lower else row
        return self._first[(weight.group,)] + weight.entry if isinstance(weight, Learned) else self._constants[weight]

    def __call__(self, answer: int, upper: Tensor, lower: Tensor | None) -> Tensor:
        """Upper bounds of log P(answer), equal to it where the weights are known; exchange the two for lower bounds.

        Args:
            answer: column of the reasoner.
            upper: logs of the weights' upper bounds, shape (rows, width), float64.
            lower: of their lower bounds; may be None unless ``needs_other``.

        Returns:
            Shape (rows,), between ``LOG_PROBABILITY_FLOOR`` and zero.
        """
        parts = [upper.T, self._fixed[:, None].expand(-1, len(upper))]
        if self.needs_other:
            assert lower is not None
            parts.append(lower.T)
        roots = self._plan(answer)(torch.cat(parts))
        if len(roots) == 1:
            return roots[0].clamp(LOG_PROBABILITY_FLOOR, 0.0)
        # An answer that cannot be is impossible even where the evidence may be, too: -inf - -inf.
        return (roots[0] - roots[1]).nan_to_num(nan=-torch.inf).clamp(LOG_PROBABILITY_FLOOR, 0.0)


def _two_rails(formula: Formula) -> tuple[Formula, list[int], list[int]]:
    """A formula over two copies of the variables, and for each old node its upper and its lower one."""
    made = Formula(formula.variables * 2)
    count = len(formula.variables)
    upper: list[int] = []
    lower: list[int] = []
    for number, what in enumerate(formula.nodes):
        if isinstance(what, Literal):
            upper.append(made.restore(what))
            lower.append(made.restore(Literal(what.variable + count, what.mask)))
        elif isinstance(what, Not):
            upper.append(made.restore(Not(lower[what.child])))
            lower.append(made.restore(Not(upper[what.child])))
        elif isinstance(what, (And, Or)):
            for rail in (upper, lower):
                rail.append(made.restore(type(what)(tuple(rail[child] for child in children_of(what)))))
        else:
            upper.append(number)  # the two truths are in every formula, in the same place
            lower.append(number)
    return made, upper, lower
