"""Brute force over worlds: the truth of a formula as an array with one axis a variable, and sums over it."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.formula import FALSE, TRUE, And, Formula, Literal, Not, Or, Truth, Variable
from nesy_gedi.logic.formula import Constant as Number
from nesy_gedi.logic.hybrid import extract_circuit
from nesy_gedi.logic.structure import find_violations

Table = np.ndarray
"""Truth in every world: booleans, axis ``v`` runs over the values of variable ``v``."""


def new_formula(sizes: Sequence[int]) -> Formula:
    """An empty formula over variables with ``sizes`` values."""
    return Formula([Variable(f"v{k}", (Number(1 / size),) * size) for k, size in enumerate(sizes)])


def literal_table(sizes: Sequence[int], variable: int, mask: int) -> Table:
    values = np.array([bool(mask >> k & 1) for k in range(sizes[variable])])
    axes = [-1 if k == variable else 1 for k in range(len(sizes))]
    return np.broadcast_to(values.reshape(axes), tuple(sizes))


def truth_tables(formula: Formula, roots: Iterable[int]) -> dict[int, Table]:
    """The truth of every node below ``roots``, read off the nodes one by one."""
    sizes = tuple(len(variable.weights) for variable in formula.variables)
    tables: dict[int, Table] = {}
    for number in formula.reachable(roots):
        node = formula.nodes[number]
        if isinstance(node, Truth):
            tables[number] = np.full(sizes, node.value)
        elif isinstance(node, Literal):
            tables[number] = literal_table(sizes, node.variable, node.mask)
        elif isinstance(node, Not):
            tables[number] = ~tables[node.child]
        else:
            join = np.logical_and if isinstance(node, And) else np.logical_or
            tables[number] = join.reduce([tables[child] for child in node.children])
    return tables


def false_sums(formula: Formula, roots: Iterable[int]) -> set[int]:
    """The nodes below ``roots`` where adding or multiplying the children's probabilities is wrong."""
    tables = truth_tables(formula, roots)
    wrong = set()
    for number, node in ((k, formula.nodes[k]) for k in tables):
        if isinstance(node, Or) and sum(tables[child].astype(int) for child in node.children).max() > 1:
            wrong.add(number)
        if isinstance(node, And):
            scopes = [formula.scopes[child] for child in node.children]
            if sum(scopes) != int(np.bitwise_or.reduce(scopes)):
                wrong.add(number)
    return wrong


def probability(table: Table, distributions: Sequence[Tensor]) -> Tensor:
    """Sum over the worlds where ``table`` is true; distributions are (values, batch), the result is (batch,)."""
    letters = string.ascii_lowercase[: len(distributions)]
    joint = torch.einsum(",".join(f"{x}Z" for x in letters) + f"->{letters}Z", *distributions)
    return (joint * torch.from_numpy(table.copy()).to(joint.dtype).unsqueeze(-1)).flatten(0, -2).sum(0)


@dataclass(frozen=True)
class Built:
    """A formula that grew under a strategy, every node beside its truth as it was meant.

    Attributes:
        sizes: number of values of each variable.
        nodes: (node number, truth) in the order of construction.
    """

    formula: Formula
    sizes: tuple[int, ...]
    nodes: list[tuple[int, Table]]

    @property
    def roots(self) -> list[int]:
        return [node for node, _ in self.nodes[-4:]]

    @property
    def meant(self) -> list[Table]:
        return [table for _, table in self.nodes[-4:]]


@st.composite
def built_formulas(draw: st.DrawFn, max_variables: int = 6, max_steps: int = 22) -> Built:
    """Formulas grown from literals by conjunctions, disjunctions and negations of earlier nodes."""
    sizes = tuple(draw(st.lists(st.sampled_from([2, 2, 2, 3, 4]), min_size=1, max_size=max_variables)))
    formula = new_formula(sizes)
    nodes: list[tuple[int, Table]] = [
        (FALSE, np.zeros(sizes, dtype=bool)),
        (TRUE, np.ones(sizes, dtype=bool)),
    ]
    for variable, size in enumerate(sizes):
        for mask in draw(st.lists(st.integers(1, (1 << size) - 1), min_size=1, max_size=2)):
            nodes.append((formula.literal(variable, mask), literal_table(sizes, variable, mask)))
    for _ in range(draw(st.integers(2, max_steps))):
        kind = draw(st.sampled_from(["and", "or", "and", "or", "not"]))
        # Constants are rare: folding them leaves little of a formula.
        picked = st.integers(0 if draw(st.integers(0, 19)) == 0 else 2, len(nodes) - 1)
        own = [nodes[k] for k in draw(st.lists(picked, min_size=1, max_size=1 if kind == "not" else 4))]
        numbers, tables = [n for n, _ in own], [t for _, t in own]
        if kind == "not":
            nodes.append((formula.negate(numbers[0]), ~tables[0]))
        elif kind == "and":
            nodes.append((formula.conjoin(numbers), np.logical_and.reduce(tables)))
        else:
            nodes.append((formula.disjoin(numbers), np.logical_or.reduce(tables)))
    return Built(formula, sizes, nodes)


def to_circuit(formula: Formula, roots: Sequence[int], budget: Budget | None = None) -> tuple[Formula, list[int]]:
    """What the compilation of a query form does with a ground formula."""
    violating = {violation.node for violation in find_violations(formula, roots)}
    made = extract_circuit(formula, list(roots), violating, budget or Budget())
    return made.formula, made.roots


def input_rows(sizes: Sequence[int]) -> Callable[[int, int], int]:
    """Input rows of a plan, variable by variable."""
    first = np.cumsum([0, *sizes])
    return lambda variable, value: int(first[variable]) + value


def plan_of(formula: Formula, roots: Sequence[int], sizes: Sequence[int]) -> Plan:
    return Plan(formula, roots, input_rows(sizes), sum(sizes))


def random_logits(sizes: Sequence[int], batch: int, *, scale: float = 1.0, seed: int = 0) -> list[Tensor]:
    """One leaf of shape (values, batch) a variable."""
    generator = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(size, batch, generator=generator)).requires_grad_() for size in sizes]
