"""Levelled evaluation of a decomposable, deterministic formula: the whole batch at once, in log space.

A plan sorts the nodes by level into one buffer of shape ``(rows, batch)``. A level is a handful of dense operations:
one gather and one reduction for each run of nodes of the same kind and a similar number of children. The backward
pass runs over the transposed plan, so it gathers too and never scatters with conflicts: results do not depend on the
order of threads.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.logic.formula import And, Formula, Literal, Not, Truth, children_of, values_of

FALSE_ROW = 0
TRUE_ROW = 1
FIRST_INPUT_ROW = 2

PADDING_FACTOR = 1.5
"""A run of nodes is padded to its largest number of children while that costs at most this factor in memory."""

STEEPEST_LOG_SLOPE = 0.9
"""Slopes of a negation end at the largest number to this power, so that sums of them are finite."""


@dataclass(frozen=True)
class Block:
    """Nodes of one kind and level in rows ``start..stop``, evaluated together.

    Attributes:
        kind: ``and``, ``or`` or ``not``.
        children: row numbers, shape ``(nodes * arity,)``, padded with the neutral row.
        edges: where this block's children begin among the edges (``or`` and ``not`` have a weight for each edge).
    """

    kind: str
    start: int
    stop: int
    arity: int
    children: Tensor
    edges: int

    @property
    def edge_range(self) -> slice:
        return slice(self.edges, self.edges + self.children.shape[0])


@dataclass(frozen=True)
class Gather:
    """Rows of one level whose gradients are sums of about equally many terms.

    Attributes:
        rows: the rows, or None where they are all of ``start..stop``.
        terms: rows of the gradient buffer to add, shape ``(nodes * arity,)``, padded with ``FALSE_ROW``.
    """

    rows: Tensor | None
    start: int
    stop: int
    arity: int
    terms: Tensor


@dataclass
class Level:
    """Nodes whose longest path to an input has the same length; level 0 holds the inputs."""

    blocks: list[Block] = field(default_factory=list)
    gathers: list[Gather] = field(default_factory=list)


class Plan:
    """How to evaluate the roots of a formula.

    Args:
        formula: decomposable and deterministic below ``roots`` (see :mod:`nesy_gedi.logic.structure`).
        roots: node numbers.
        row_of: for a variable and one of its values the index of its log-probability among the inputs.
        inputs: number of inputs.
    """

    def __init__(self, formula: Formula, roots: Sequence[int], row_of: Callable[[int, int], int], inputs: int) -> None:
        self.inputs = inputs
        self.rows = FIRST_INPUT_ROW + inputs
        self.edges = 0
        nodes = _Lowering(formula, roots, row_of)
        row = dict(nodes.given)
        self.levels = [Level() for _ in range(1 + max(nodes.level.values(), default=0))]
        for (level, kind), members in groupby(sorted(nodes.kind, key=nodes.sort_key), key=nodes.level_and_kind):
            for run in _runs(list(members), lambda n: len(nodes.children[n])):
                self.levels[level].blocks.append(self._block(kind, run, nodes, row))
        root_rows = [row[nodes.node[root]] for root in roots]
        self.roots = torch.tensor(root_rows, dtype=torch.long)
        self._add_gathers({row[number]: level for number, level in nodes.level.items()}, root_rows)

    def _block(self, kind: str, run: list[int], nodes: _Lowering, row: dict[int, int]) -> Block:
        arity = max(len(nodes.children[n]) for n in run)
        neutral = TRUE_ROW if kind == "and" else FALSE_ROW
        children: list[int] = []
        for number in run:
            own = [row[child] for child in nodes.children[number]]
            children += own + [neutral] * (arity - len(own))
            row[number] = self.rows
            self.rows += 1
        block = Block(kind, self.rows - len(run), self.rows, arity, torch.tensor(children), self.edges)
        if kind != "and":
            self.edges += len(children)
        return block

    def _add_gathers(self, level_of: dict[int, int], root_rows: list[int]) -> None:
        """Find the terms of each row's gradient in a buffer of (rows, edges, roots).

        A conjunction passes its own gradient on; disjunctions and negations pass it on along weighted edges.
        """
        terms: dict[int, list[int]] = defaultdict(list)
        for level in self.levels:
            for block in level.blocks:
                for k, child in enumerate(block.children.tolist()):
                    passed_on = block.start + k // block.arity if block.kind == "and" else self.rows + block.edges + k
                    terms[child].append(passed_on)
        for k, root in enumerate(root_rows):
            terms[root].append(self.rows + self.edges + k)
        by_level: dict[int, list[int]] = defaultdict(list)
        for row in range(FIRST_INPUT_ROW, self.rows):
            if row in terms:
                by_level[level_of.get(row, 0)].append(row)
        for number, members in by_level.items():
            members.sort(key=lambda r: (len(terms[r]), r))
            for run in _runs(members, lambda r: len(terms[r])):
                arity = max(len(terms[r]) for r in run)
                run.sort()
                padded = [t for r in run for t in terms[r] + [FALSE_ROW] * (arity - len(terms[r]))]
                start, stop = run[0], run[-1] + 1
                rows = None if stop - start == len(run) else torch.tensor(run)
                self.levels[number].gathers.append(Gather(rows, start, stop, arity, torch.tensor(padded)))

    @property
    def depth(self) -> int:
        """Number of levels above the inputs."""
        return len(self.levels) - 1

    def to(self, device: torch.device) -> Plan:
        """This plan with its index tensors on ``device``."""
        moved = object.__new__(Plan)
        moved.__dict__.update(self.__dict__)
        moved.roots = self.roots.to(device)
        moved.levels = [
            Level(
                [replace(block, children=block.children.to(device)) for block in level.blocks],
                [
                    replace(g, terms=g.terms.to(device), rows=None if g.rows is None else g.rows.to(device))
                    for g in level.gathers
                ],
            )
            for level in self.levels
        ]
        return moved

    def __call__(self, log_p: Tensor) -> Tensor:
        """Log-probabilities of the roots.

        Args:
            log_p: log-probabilities of the inputs, shape ``(inputs, batch)``, float32 or float64; -inf is allowed.

        Returns:
            Shape ``(roots, batch)``. Differentiable once. For rows that come out of a (log-)softmax the gradient is
            that of the posterior: with respect to an input it is the posterior probability of its value given the
            root, up to a multiple of its probability, which a softmax cancels. Where the root is impossible it is zero.
        """
        result: Tensor = _Evaluate.apply(log_p, self)
        return result


class _Lowering:
    """The formula with literals spelled out: a set of values is a disjunction of inputs."""

    def __init__(self, formula: Formula, roots: Sequence[int], row_of: Callable[[int, int], int]) -> None:
        self.given: dict[int, int] = {}  # constants and inputs -> row
        self.kind: dict[int, str] = {}
        self.children: dict[int, tuple[int, ...]] = {}
        self.level: dict[int, int] = {}
        self.node: dict[int, int] = {}  # formula node -> lowered node; an input is minus its row
        self.parents: Counter[int] = Counter()
        for number in formula.reachable(roots):
            what = formula.nodes[number]
            self.node[number] = number
            if isinstance(what, Truth):
                self.given[number] = TRUE_ROW if what.value else FALSE_ROW
            elif isinstance(what, Literal):
                rows = [FIRST_INPUT_ROW + row_of(what.variable, value) for value in values_of(what.mask)]
                self.given.update({-row: row for row in rows})
                if len(rows) == 1:
                    self.node[number] = -rows[0]
                else:
                    self._define(number, "or", tuple(-row for row in rows))
            else:
                kind = "and" if isinstance(what, And) else "not" if isinstance(what, Not) else "or"
                self._define(number, kind, tuple(self.node[child] for child in children_of(what)))

    def _define(self, number: int, kind: str, children: tuple[int, ...]) -> None:
        self.kind[number] = kind
        self.children[number] = children
        self.level[number] = 1 + max(self.level.get(child, 0) for child in children)
        self.parents.update(children)

    def level_and_kind(self, number: int) -> tuple[int, str]:
        return self.level[number], self.kind[number]

    def sort_key(self, number: int) -> tuple[int, str, int, int, int]:
        return *self.level_and_kind(number), len(self.children[number]), self.parents[number], number


def _runs(members: list[int], size: Callable[[int], int]) -> Iterator[list[int]]:
    """Cut ``members``, ascending in size, into runs whose padding costs at most ``PADDING_FACTOR``."""
    run: list[int] = []
    total = 0
    for member in members:
        if run and size(member) * (len(run) + 1) > PADDING_FACTOR * (total + size(member)):
            yield run
            run, total = [], 0
        run.append(member)
        total += size(member)
    if run:
        yield run


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_p: Tensor, plan: Plan) -> Tensor:
        batch = log_p.shape[1]
        values = log_p.new_empty(plan.rows, batch)
        values[FALSE_ROW] = -torch.inf
        values[TRUE_ROW] = 0.0
        values[FIRST_INPUT_ROW : FIRST_INPUT_ROW + plan.inputs] = log_p
        weights = log_p.new_empty(plan.edges, batch) if ctx.needs_input_grad[0] else None
        for level in plan.levels:
            for block in level.blocks:
                children = values.index_select(0, block.children).view(-1, block.arity, batch)
                out = values[block.start : block.stop]
                edge = None if weights is None or block.kind == "and" else weights[block.edge_range].view_as(children)
                if block.kind == "and":
                    torch.sum(children, 1, out=out)
                elif block.kind == "or":
                    _log_or(children, out, edge)
                else:
                    _log_not(children, out, edge)
        roots = values.index_select(0, plan.roots)
        ctx.plan = plan
        ctx.save_for_backward(roots, weights)
        return roots

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        with torch.no_grad():
            result = _gather_gradients(ctx.plan, gradient, *ctx.saved_tensors)
        return _DifferentiatedOnce.apply(result.requires_grad_()) if torch.is_grad_enabled() else result, None


class _DifferentiatedOnce(torch.autograd.Function):
    """Marks a gradient. PyTorch's own ``once_differentiable`` takes it for a constant where the loss is linear."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise NotImplementedError("a circuit can be differentiated once, not twice")


def _gather_gradients(plan: Plan, gradient: Tensor, roots: Tensor, weights: Tensor) -> Tensor:
    """The gradient with respect to the inputs from ``gradient`` with respect to the roots."""
    batch = gradient.shape[1]
    total = gradient.new_empty(plan.rows + plan.edges + len(plan.roots), batch)
    total[: FIRST_INPUT_ROW + plan.inputs] = 0.0
    total[plan.rows + plan.edges :] = gradient.masked_fill(roots == -torch.inf, 0.0)
    edges = total[plan.rows : plan.rows + plan.edges]
    for level in reversed(plan.levels):
        for gather in level.gathers:
            terms = total.index_select(0, gather.terms).view(-1, gather.arity, batch)
            if gather.rows is None:
                torch.sum(terms, 1, out=total[gather.start : gather.stop])
            else:
                total[gather.rows] = terms.sum(1)
        for block in level.blocks:
            if block.kind != "and":
                weight = weights[block.edge_range].view(-1, block.arity, batch)
                own = total[block.start : block.stop].unsqueeze(1)
                torch.mul(weight, own, out=edges[block.edge_range].view_as(weight))
    return total[FIRST_INPUT_ROW : FIRST_INPUT_ROW + plan.inputs]


def _log_or(children: Tensor, out: Tensor, edge: Tensor | None) -> None:
    """log of a sum; an edge's weight is its child's share of the sum, zero where the sum is zero."""
    torch.logsumexp(children, 1, out=out)
    if edge is not None:
        # Subtracting the lowest finite number keeps exp(-inf) = 0 where the sum itself is -inf.
        torch.sub(children, out.clamp_min(torch.finfo(out.dtype).min).unsqueeze(1), out=edge)
        edge.exp_()


def _log_not(children: Tensor, out: Tensor, edge: Tensor | None) -> None:
    """log(1 - exp(x)), accurate at both ends (Maechler, "Accurately Computing log(1 - exp(-|a|))", 2012)."""
    x = children[:, 0].clamp_max(0.0)
    near_one = x > -0.6931471805599453
    torch.where(near_one, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)), out=out)
    if edge is not None:
        # Below the smallest normal number the slope would be inf, and inf * 0 is NaN on the way down.
        steepest = STEEPEST_LOG_SLOPE * math.log(torch.finfo(out.dtype).max)
        edge.copy_(-torch.exp((x - out).clamp_max(steepest)).unsqueeze(1))
