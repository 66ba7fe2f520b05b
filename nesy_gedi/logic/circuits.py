"""Levelled evaluation of a decomposable, deterministic formula: the whole batch at once, in log space.

A plan sorts the nodes by level into one buffer of shape ``(rows, batch)``. A level is a handful of dense operations:
gathers and one reduction for each run of nodes of the same kind and a similar number of children. The backward pass runs
over the transposed plan, so it gathers too and never scatters with conflicts: results do not depend on the order of threads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.logic.formula import Formula
from nesy_gedi.logic.lowering import FALSE_ROW, FIRST_INPUT_ROW, TRUE_ROW, Lowering, runs

PADDING_FACTOR = 1.5
"""A run of nodes is padded to its largest number of children while that costs at most this factor in memory, or"""

PADDING_ROWS = 128
"""this many rows: a further tensor operation takes as long as some rows more."""

IMPOSSIBLE = -1e30
"""Stands for log 0 within a circuit, far below every log-probability: sums and differences of it are never NaN."""

ROWS_AT_ONCE = 1024
"""Children of a block, or terms of a gather: more are taken in turn, so that memory stays near the size of the result."""

STEEPEST_LOG_SLOPE = 0.9
"""Slopes of a negation end at the largest number to this power, so that sums of them are finite."""


@dataclass(frozen=True)
class Block:
    """Nodes of one kind and level in rows ``start..stop``, evaluated together.

    Attributes:
        kind: ``and``, ``or`` or ``not``.
        children: row numbers, shape ``(nodes * arity,)``, padded with the neutral row.
        factors: further rows, whose values are added to those of ``children``; each of the same shape.
        edges: where this block's children begin among the edges (``or`` and ``not`` have a weight for each edge).
    """

    kind: str
    start: int
    stop: int
    arity: int
    children: Tensor
    factors: tuple[Tensor, ...]
    edges: int

    @property
    def edge_range(self) -> slice:
        return slice(self.edges, self.edges + self.children.shape[0])

    def to(self, device: torch.device) -> Block:
        factors = tuple(factor.to(device) for factor in self.factors)
        return replace(self, children=self.children.to(device), factors=factors)


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

    def to(self, device: torch.device) -> Gather:
        return replace(self, terms=self.terms.to(device), rows=None if self.rows is None else self.rows.to(device))


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
        within: whether products may be computed within the sums that they belong to; else every node has a row.
    """

    def __init__(
        self,
        formula: Formula,
        roots: Sequence[int],
        row_of: Callable[[int, int], int],
        inputs: int,
        *,
        within: bool = True,
    ) -> None:
        self.inputs = inputs
        self.rows = FIRST_INPUT_ROW + inputs
        self.edges = 0
        self.unread = False  # whether there are inputs that nothing depends on
        nodes = Lowering(formula, roots, row_of, within=within)
        row = dict(nodes.given)
        self.levels = [Level() for _ in range(1 + max(nodes.level.values(), default=0))]
        for (level, kind, _), members in groupby(sorted(nodes.kind, key=nodes.sort_key), key=nodes.alike):
            for run in _padded(list(members), lambda n: len(nodes.children[n])):
                self.levels[level].blocks.append(self._block(kind, run, nodes, row))
        root_rows = [row[nodes.node[root]] for root in roots]
        self.roots = torch.tensor(root_rows, dtype=torch.long)
        self._add_gathers({row[number]: level for number, level in nodes.level.items()}, root_rows)

    def _block(self, kind: str, run: list[int], nodes: Lowering, row: dict[int, int]) -> Block:
        arity = max(len(nodes.children[n]) for n in run)
        columns: list[list[int]] = [[] for _ in range(max(map(nodes.factors, run)))]
        neutral = (TRUE_ROW if kind == "and" else FALSE_ROW, *(TRUE_ROW for _ in columns[1:]))
        for number in run:
            own = [[row[factor] for factor in product] for product in nodes.children[number]]
            for product in [*own, *([neutral] * (arity - len(own)))]:
                for k, column in enumerate(columns):
                    column.append(product[k] if k < len(product) else TRUE_ROW)
            row[number] = self.rows
            self.rows += 1
        children, *factors = map(torch.tensor, columns)
        block = Block(kind, self.rows - len(run), self.rows, arity, children, tuple(factors), self.edges)
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
                for column in (block.children, *block.factors):
                    for k, child in enumerate(column.tolist()):
                        own = block.start + k // block.arity
                        terms[child].append(own if block.kind == "and" else self.rows + block.edges + k)
        for k, root in enumerate(root_rows):
            terms[root].append(self.rows + self.edges + k)
        by_level: dict[int, list[int]] = defaultdict(list)
        for row in range(FIRST_INPUT_ROW, self.rows):
            if row in terms:
                by_level[level_of.get(row, 0)].append(row)
        self.unread = any(row not in terms for row in range(FIRST_INPUT_ROW, FIRST_INPUT_ROW + self.inputs))
        for number, members in by_level.items():
            members.sort(key=lambda r: (len(terms[r]), r))
            for run in _padded(members, lambda r: len(terms[r])):
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
            Level([block.to(device) for block in level.blocks], [gather.to(device) for gather in level.gathers])
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
        return self.of_blocks([log_p.T], log_p.shape[1], log_p.dtype).T

    def of_blocks(self, blocks: Sequence[Tensor], batch: int, dtype: torch.dtype) -> Tensor:
        """As :meth:`__call__`, without the copies that it takes to put the inputs of several networks together.

        Args:
            blocks: the inputs in order, of shapes ``(batch, k)`` and, last, ``(k,)`` where they are the same for all rows.
            dtype: float32 or float64, in which the circuit is evaluated.

        Returns:
            Shape ``(batch, roots)``.
        """
        result: Tensor = _Evaluate.apply(self, batch, dtype, *blocks)
        return result


def _padded(members: list[int], size: Callable[[int], int]) -> Sequence[list[int]]:
    return list(runs(members, size, factor=PADDING_FACTOR, spare=PADDING_ROWS, most=ROWS_AT_ONCE))


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, batch: int, dtype: torch.dtype, *blocks: Tensor) -> Tensor:
        values = plan.roots.new_empty((plan.rows, batch), dtype=dtype)
        values[FALSE_ROW] = IMPOSSIBLE
        values[TRUE_ROW] = 0.0
        inputs = values[FIRST_INPUT_ROW : FIRST_INPUT_ROW + plan.inputs]
        own = [block for block in blocks if block.dim() == 2]
        shared = [block for block in blocks if block.dim() == 1]
        width = sum(block.shape[1] for block in own)
        if own:
            inputs[:width] = (own[0] if len(own) == 1 else torch.cat(own, 1)).T
        if shared:
            inputs[width:] = torch.cat(shared)[:, None]
        inputs.clamp_min_(IMPOSSIBLE)
        weights = values.new_empty(plan.edges, batch) if any(ctx.needs_input_grad) else None
        for level in plan.levels:
            for run in level.blocks:
                if weights is None or run.kind == "and":
                    children = values.index_select(0, run.children)
                else:  # where the weights of the edges will stand
                    children = torch.index_select(values, 0, run.children, out=weights[run.edge_range])
                for factor in run.factors:
                    children += values.index_select(0, factor)
                children = children.view(run.stop - run.start, run.arity, batch)
                out = values[run.start : run.stop]
                if run.kind == "and":
                    torch.sum(children, 1, out=out)
                elif run.kind == "or":
                    _log_or(children, out)
                else:
                    _log_not(children, out, differentiable=weights is not None)
        roots = values.index_select(0, plan.roots)
        roots.masked_fill_(roots < IMPOSSIBLE / 2, -torch.inf)
        ctx.plan = plan
        ctx.kinds = [(block.dim(), block.shape[-1], block.dtype) for block in blocks]
        ctx.save_for_backward(roots, weights)
        return roots.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            total = _gather_gradients(ctx.plan, gradient.T, *ctx.saved_tensors)
            inputs = total[FIRST_INPUT_ROW : FIRST_INPUT_ROW + ctx.plan.inputs].T.contiguous()
        found: list[Tensor | None] = []
        start = 0
        for (dimensions, width, dtype), needed in zip(ctx.kinds, ctx.needs_input_grad[3:], strict=True):
            if needed:
                with torch.no_grad():
                    own = inputs[:, start : start + width]
                    own = (own if dimensions == 2 else own.sum(0)).to(dtype)
                found.append(_DifferentiatedOnce.apply(own.requires_grad_()) if torch.is_grad_enabled() else own)
            else:
                found.append(None)
            start += width
        return None, None, None, *found


class _DifferentiatedOnce(torch.autograd.Function):
    """Marks a gradient. PyTorch's own ``once_differentiable`` takes it for a constant where the loss is linear."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise NotImplementedError("a circuit can be differentiated once, not twice")


def _gather_gradients(plan: Plan, gradient: Tensor, roots: Tensor, weights: Tensor) -> Tensor:
    """The gradient with respect to the inputs, among the rows of a buffer, from ``gradient`` with respect to the roots."""
    batch = gradient.shape[1]
    total = roots.new_empty(plan.rows + plan.edges + len(plan.roots), batch)
    if plan.unread:
        total[: FIRST_INPUT_ROW + plan.inputs] = 0.0
    else:
        total[FALSE_ROW] = 0.0  # what sums are padded with
    total[plan.rows + plan.edges :] = torch.where(roots == -torch.inf, 0.0, gradient)
    edges = total[plan.rows : plan.rows + plan.edges]
    for level in reversed(plan.levels):
        for gather in level.gathers:
            terms = total.index_select(0, gather.terms)
            terms = terms.view(len(gather.terms) // gather.arity, gather.arity, batch)
            if gather.arity == 1 and gather.rows is None:
                total[gather.start : gather.stop] = terms[:, 0]
            elif gather.rows is None:
                torch.sum(terms, 1, out=total[gather.start : gather.stop])
            else:
                total[gather.rows] = terms.sum(1)
        for block in level.blocks:
            if block.kind != "and":
                weight = weights[block.edge_range].view(block.stop - block.start, block.arity, batch)
                own = total[block.start : block.stop].unsqueeze(1)
                torch.mul(weight, own, out=edges[block.edge_range].view_as(weight))
    return total


def _log_or(children: Tensor, out: Tensor) -> None:
    """log of a sum; each child is replaced by its share of the sum, which is the weight of its edge."""
    largest = children.amax(1)
    shares = torch.softmax(children, 1, out=children)
    torch.sub(largest, shares.amax(1).log_(), out=out)


def _log_not(children: Tensor, out: Tensor, *, differentiable: bool) -> None:
    """log(1 - exp(x)), accurate at both ends (Maechler, "Accurately Computing log(1 - exp(-|a|))", 2012).

    The child is replaced by the slope, where it is needed.
    """
    x = children[:, 0].clamp_max(0.0)
    near_one = x > -0.6931471805599453
    torch.where(near_one, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)), out=out).clamp_min_(IMPOSSIBLE)
    if differentiable:
        # Below the smallest normal number the slope would be inf, and inf * 0 is NaN on the way down.
        steepest = STEEPEST_LOG_SLOPE * math.log(torch.finfo(out.dtype).max)
        children.copy_(-torch.exp((x - out).clamp_max(steepest)).unsqueeze(1))
