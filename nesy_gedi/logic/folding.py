"""What a circuit says about constants alone is computed once, when the circuit is made.

A module (:mod:`nesy_gedi.logic.modules`) whose variables all have probabilities written in the program becomes one
variable: its values are the module's nodes, and their probabilities are numbers. The circuit stays decomposable and
deterministic, but worlds of the program are no longer told apart: what asks for the most probable world or samples
worlds needs a circuit that is not folded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nesy_gedi.logic.formula import And, Constant, Formula, Literal, Not, Truth, Variable, values_of
from nesy_gedi.logic.modules import Module, covers_all_worlds, find_modules
from nesy_gedi.logic.negation import Negation
from nesy_gedi.logic.rewriting import compacted, rewrite
from nesy_gedi.logic.structure import ExclusionProver

SMALLEST_LOG = -700.0
"""A module with a possible value below this log-probability is left as it is: as a float it would be zero."""


def fold_constants(formula: Formula, roots: Sequence[int]) -> tuple[Formula, list[int]]:
    """A circuit with the same probabilities, computed where they depend on constants alone.

    Args:
        formula: decomposable and deterministic below ``roots``; it may grow.

    Returns:
        The formula itself where there is nothing to fold; else a copy whose variables are followed by those that stand
        for modules.
    """
    constant = sum(
        1 << number
        for number, variable in enumerate(formula.variables)
        if all(isinstance(weight, Constant) for weight in variable.weights)
    )
    if not constant:
        return formula, list(roots)
    modules = find_modules(formula, roots, ExclusionProver(formula), allowed=constant, strict=False)
    weighted = [(module, weights) for module in modules if (weights := _weights(formula, module)) is not None]
    if not weighted:
        return formula, list(roots)
    extended = Formula(list(formula.variables))
    for node in formula.nodes[len(extended) :]:
        extended.restore(node)
    changed: dict[int, int] = {}
    for module, weights in weighted:
        number = len(extended.variables)
        extended.variables.append(Variable(formula.label(module.scope), weights))
        changed |= {node: extended.literal(number, 1 << value) for value, node in enumerate(module.nodes)}
    return compacted(extended, [rewrite(extended, root, changed) for root in roots])


def _weights(formula: Formula, module: Module) -> tuple[Constant, ...] | None:
    """Probabilities of the values of ``module``, None where one is too small for a float."""
    negation = Negation(formula)
    any_holds = formula.plain_or(list(module.nodes))
    values = [(node, negation(node)) for node in module.nodes]
    if len(values) == 1 or not covers_all_worlds(formula, module.nodes):
        values.append((negation(any_holds), any_holds))
    logs = _log_probabilities(formula, [node for pair in values for node in pair])
    weights = []
    for node, opposite in values:
        # Of a probability and its complement the smaller one has all digits.
        complement = logs[node] > logs[opposite]
        smaller = logs[opposite if complement else node]
        if -math.inf < smaller < SMALLEST_LOG:
            return None
        weights.append(Constant(math.exp(smaller), complement))
    return tuple(weights)


def _log_probabilities(formula: Formula, roots: Sequence[int]) -> dict[int, float]:
    """Natural logarithms of the probabilities of nodes over constants."""
    logs: dict[int, float] = {}
    for number in formula.reachable(roots):
        what = formula.nodes[number]
        if isinstance(what, Truth):
            logs[number] = 0.0 if what.value else -math.inf
        elif isinstance(what, Literal):
            weights = formula.variables[what.variable].weights
            logs[number] = _log_sum([w.log() for v in values_of(what.mask) if isinstance(w := weights[v], Constant)])
        elif isinstance(what, And):
            logs[number] = math.fsum(logs[child] for child in what.children)
        elif isinstance(what, Not):
            logs[number] = _log_not(logs[what.child])
        else:
            logs[number] = _log_sum([logs[child] for child in what.children])
    return logs


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs, default=-math.inf)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(x - top) for x in logs))


def _log_not(log: float) -> float:
    """log(1 - exp(x)), accurate at both ends."""
    if log >= 0.0:
        return -math.inf
    return math.log(-math.expm1(log)) if log > -math.log(2.0) else math.log1p(-math.exp(log))
