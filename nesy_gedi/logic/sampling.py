"""Exact samples of worlds, and what holds in a world.

A circuit is followed down from its root: of a disjunction one branch is drawn in proportion to its probability, and
what no branch mentions is drawn from its prior. Because branches exclude each other and parts are independent, the
worlds come out with exactly their probabilities given the root.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nesy_gedi.logic.choices import ChoiceCircuit, answer_columns, node_values, pieces
from nesy_gedi.logic.traces import trace


def sample_worlds(
    circuit: ChoiceCircuit, rows: Tensor, target: Tensor | int | None, n: int, generator: torch.Generator | None
) -> Tensor:
    """Values of choices in ``n`` worlds a row, shape (batch, n, choices); -1 where ``target`` is impossible.

    Raises:
        UsageError: ``target`` is no column of an answer.
        BudgetError: a negation could not be compiled away within the budget.
    """
    batch, device = rows.shape[1], rows.device
    asked = answer_columns(target, circuit.answers, batch, device)
    with torch.no_grad():
        log_p = circuit.spread(rows)
        plan = circuit.positive_plan(device)
        worlds = torch.empty(batch * n, len(circuit.sizes), dtype=torch.long, device=device)
        for part in pieces(batch, plan.rows):
            own, values = log_p[:, part], node_values(plan, log_p[:, part])
            roots = plan.roots[asked[part]]
            for some in pieces((part.stop - part.start) * n, plan.rows):
                columns = torch.arange(some.start, some.stop, device=device).div(n, rounding_mode="floor")
                into = slice(part.start * n + some.start, part.start * n + some.stop)
                worlds[into] = _draw_worlds(circuit, own, values, roots[columns], columns, generator)
    return worlds.view(batch, n, len(circuit.sizes))


def _draw_worlds(
    circuit: ChoiceCircuit,
    log_p: Tensor,
    values: Tensor,
    roots: Tensor,
    columns: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """One world for each of ``columns``, shape (worlds, choices)."""
    plan = circuit.positive_plan(log_p.device)
    reached = trace(plan, values, roots, columns, lambda alternatives: draw(alternatives, generator))
    worlds = torch.empty(len(columns), len(circuit.sizes), dtype=torch.long, device=log_p.device)
    for k, (met, own) in enumerate(zip(circuit.split(reached), circuit.split(log_p), strict=True)):
        worlds[:, k] = met.byte().argmax(0)
        (free,) = (~met.any(0)).nonzero(as_tuple=True)
        worlds[free, k] = draw(own[:, columns[free]].T, generator)
    return worlds.masked_fill((values[roots, columns] == -torch.inf)[:, None], -1)


def draw(log_weights: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One alternative of every row in proportion to its weight, never one of weight zero.

    Args:
        log_weights: shape (k, alternatives), in nats, not necessarily normalised.
        generator: where randomness comes from; PyTorch's own when not given.

    Returns:
        Whole numbers of shape (k,). In a row without any weight the last alternative, which means nothing.
    """
    highest = log_weights.amax(1, keepdim=True).clamp_min(torch.finfo(log_weights.dtype).min)
    ends = (log_weights - highest).double().exp().cumsum(1)
    device = log_weights.device if generator is None else generator.device
    point = torch.rand(len(ends), 1, dtype=torch.float64, generator=generator, device=device).to(ends.device)
    total = ends[:, -1:]
    # Strictly below the end, whatever the rounding, or an alternative without weight could be hit.
    point = torch.minimum(point * total, torch.nextafter(total, torch.zeros_like(total)))
    return (ends <= point).sum(1).clamp_max(ends.shape[1] - 1)


def holding(circuit: ChoiceCircuit, worlds: Tensor) -> Tensor:
    """Which answers hold in worlds: booleans of shape (..., answers) for values of shape (..., choices)."""
    flat = worlds.reshape(math.prod(worlds.shape[:-1]), len(circuit.sizes))
    plan = circuit.plan(worlds.device)
    found = torch.empty(len(flat), circuit.answers, dtype=torch.bool, device=worlds.device)
    for part in pieces(len(flat), plan.rows):
        values = flat[part].T
        log_p = torch.full((plan.inputs, values.shape[1]), -torch.inf, device=worlds.device)
        log_p.scatter_(0, values.clamp_min(0) + circuit.first.to(worlds.device)[:, None], 0.0)
        with torch.no_grad():
            holds = plan(log_p)[: circuit.answers] > -torch.inf
        found[part] = (holds & (values >= 0).all(0)).T
    return found.view(*worlds.shape[:-1], circuit.answers)
