"""The circuit evaluated by klaycircuits (Maene, Derkinderen, Zuidberg Dos Martires, "KLay: Accelerating Arithmetic
Circuits for Neurosymbolic AI", ICLR 2025), the optional package of the extra ``klay``.

Every value of an annotated disjunction is a positive literal of its own, whose negative literal has weight one and is
never used: "not this value" is the disjunction of the others. Version 0.1.2 negates literals only, so a circuit with
a "not" inside is cut there: what it negates is computed first, and is a literal of the next stage, positive and
negative. The negative weights are computed here, since klaycircuits' own have NaN gradients at probabilities of
exactly 0 and 1; what is left of it has none. Its modules take a whole batch as it is: ``torch.vmap`` of them
gives the same fifteen times slower.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from nesy_gedi.errors import EngineError
from nesy_gedi.logic.engines import Request
from nesy_gedi.logic.formula import And, Formula, Literal, Not, Truth, children_of, values_of

EXTRA = "pip install 'nesy-gedi[klay]'"
"""How to install it."""


class KlayEngine:
    """klaycircuits in the log semiring; see :class:`~nesy_gedi.logic.engines.Engine`.

    Gradients are those of :class:`~nesy_gedi.logic.circuits.Plan` also where probabilities are exactly 0 or 1: the share
    of an impossible part is 0.

    Raises:
        EngineError: the package is missing or cannot be imported.
    """

    def __init__(self, request: Request) -> None:
        klay = _import_klay()
        formula = request.circuit.formula
        stages = _stages(formula, request.roots)
        self._inputs = request.rows
        self._row: dict[int, int] = {}  # node that a stage hands on -> its place behind the inputs
        self._modules: list[nn.Module] = []
        for stage, (nodes, handed_on) in enumerate(stages):
            circuit = klay.Circuit()
            made: dict[int, Any] = {}
            for number in nodes:
                made[number] = self._make(circuit, formula, number, made, request)
            for number in handed_on:
                circuit.set_root(made[number])
            circuit.remove_unused_nodes()
            self._modules.append(circuit.to_torch_module(semiring="log", compile=False))
            if stage < len(stages) - 1:
                self._row |= {number: self._inputs + len(self._row) + k for k, number in enumerate(handed_on)}

    def _make(self, circuit: Any, formula: Formula, number: int, made: dict[int, Any], request: Request) -> Any:
        """klaycircuits' node of a node whose children are made."""
        if number in self._row:
            return circuit.literal_node(1 + self._row[number])
        what = formula.nodes[number]
        if isinstance(what, Truth):
            return circuit.true_node() if what.value else circuit.false_node()
        if isinstance(what, Not):
            return circuit.literal_node(-1 - self._row[what.child])
        if isinstance(what, Literal):
            values = [circuit.literal_node(1 + request.row_of(what.variable, value)) for value in values_of(what.mask)]
            return values[0] if len(values) == 1 else circuit.or_node(values)
        children = [made[child] for child in children_of(what)]
        return circuit.and_node(children) if isinstance(what, And) else circuit.or_node(children)

    @property
    def depth(self) -> int:
        """Layers of all stages."""
        layers = [list(module.layers.children()) for module in self._modules]  # type: ignore[union-attr]
        return sum(map(len, layers))

    def to(self, device: torch.device) -> KlayEngine:
        moved = copy.copy(self)
        moved._modules = [copy.deepcopy(module).to(device) for module in self._modules]
        return moved

    def __call__(self, log_p: Tensor) -> Tensor:
        positive = log_p.T
        negative = torch.zeros_like(positive)
        values = positive
        for stage, module in enumerate(self._modules):
            if stage:
                positive = torch.cat([positive, values], 1)
                negative = torch.cat([negative, log_complement(values)], 1)
            values = module(positive, negative)
        # An impossible root hands on nothing: the zero stops here, before it can meet an infinite slope.
        return torch.where(values == -torch.inf, -torch.inf, values).T


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - exp(x)) (Maechler, "Accurately Computing log(1 - exp(-|a|))", 2012), without NaN in its gradient.

    What is certain but for less than the smallest normal number counts as certain: its complement is -inf, without
    gradient.
    """
    certain = log_p > -torch.finfo(log_p.dtype).tiny
    x = torch.where(certain, -1.0, log_p)
    near_one = x > -0.6931471805599453
    # Each branch gets what is harmless where the other is taken: a NaN times zero would be NaN.
    high = torch.log(-torch.expm1(torch.where(near_one, x, -1.0)))
    low = torch.log1p(-torch.exp(torch.where(near_one, -1.0, x)))
    return torch.where(certain, -torch.inf, torch.where(near_one, high, low))


def _stages(formula: Formula, roots: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """For each stage its nodes, children first, and those that it hands on: to later stages, or as the roots.

    A stage begins with literals, what earlier stages handed on, and the negation of that.
    """
    stage: dict[int, int] = {}
    order = formula.reachable(roots)
    for number in order:
        below = max((stage[child] for child in children_of(formula.nodes[number])), default=0)
        stage[number] = below + isinstance(formula.nodes[number], Not)
    last = max((stage[root] for root in roots), default=0)
    users: dict[int, set[int]] = defaultdict(set)
    for number in order:
        for child in children_of(formula.nodes[number]):
            users[child].add(stage[number])
    for root in roots:
        users[root].add(last)
    found = []
    for current in range(last + 1):
        own = [number for number in order if stage[number] == current]
        earlier = [number for number in order if stage[number] < current and current in users[number]]
        handed_on = [number for number in own if max(users[number]) > current]
        found.append((earlier + own, list(roots) if current == last else handed_on))
    return found


def _import_klay() -> Any:
    try:
        return import_module("klay")
    except ImportError as error:
        raise EngineError(
            f"the engine klay needs the package klaycircuits, which cannot be imported: {error}",
            where="engine klay",
            hint=EXTRA,
        ) from error
