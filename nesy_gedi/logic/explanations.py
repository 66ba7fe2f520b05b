"""The most probable world in which an answer holds: which symbols explain it.

Most probable explanation by maximising over the circuit in place of summing (Darwiche, "Modeling and Reasoning with
Bayesian Networks", 2009, section 12.3). Branches that mention different choices are comparable only together with the
best of what they leave open. Every choice is therefore scaled so that its most probable value weighs one: then what is
left open contributes nothing, in any branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nesy_gedi.logic.choices import ChoiceCircuit, answer_columns, node_values, pieces
from nesy_gedi.logic.traces import trace


@dataclass(frozen=True, eq=False)
class Explanation:
    """The most probable world of every row of a batch.

    Attributes:
        values: the value that each choice takes, whole numbers of shape ``(batch, len(choices))`` in the order of
            ``Reasoner.choices``, which begin with the network's inputs; -1 where the answer is impossible.
        log_probability: log-probability of this world in nats, shape ``(batch,)``; -inf where the answer is impossible.
        log_posterior: its log-probability given the answer and the evidence, shape ``(batch,)``.

    Both are differentiable: the world is kept, its probability changes.
    """

    values: Tensor
    log_probability: Tensor
    log_posterior: Tensor


def explain(circuit: ChoiceCircuit, rows: Tensor, target: Tensor | int | None) -> Explanation:
    """The most probable worlds of ``target``; ``rows`` are the reasoner's inputs, shape (inputs, batch).

    Raises:
        UsageError: ``target`` is no column of an answer.
        BudgetError: a negation could not be compiled away within the budget.
    """
    batch, device = rows.shape[1], rows.device
    asked = answer_columns(target, circuit.answers, batch, device)
    log_p = circuit.spread(rows)
    plan = circuit.positive_plan(device)
    with torch.no_grad():
        found = [_likeliest(circuit, log_p[:, part], asked[part]) for part in pieces(batch, plan.rows)]
    values = torch.cat([each for each, _ in found]) if found else asked.new_empty(0, len(circuit.sizes))
    possible = torch.cat([each for _, each in found]) if found else asked.new_empty(0, dtype=torch.bool)
    where = values.T.clamp_min(0) + circuit.first.to(device)[:, None]
    joint = torch.where(possible, log_p.gather(0, where).sum(0), -torch.inf)
    total = circuit.plan(device)(log_p).gather(0, asked[None])[0]
    return Explanation(values, joint, joint - total.masked_fill(~possible, 0.0))


def _likeliest(circuit: ChoiceCircuit, log_p: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the most probable worlds, (batch, choices), and which rows have any."""
    plan = circuit.positive_plan(log_p.device)
    lowest = torch.finfo(log_p.dtype).min  # -inf - -inf would be NaN
    scaled = [own - own.amax(0).clamp_min(lowest) for own in circuit.split(log_p)]
    values = node_values(plan, torch.cat(scaled) if scaled else log_p, highest=True)
    roots = plan.roots[asked]
    columns = torch.arange(log_p.shape[1], device=log_p.device)
    reached = trace(plan, values, roots, columns, lambda alternatives: alternatives.argmax(1))
    possible = values[roots, columns] > -torch.inf
    taken = [
        torch.where(met.any(0), met.byte().argmax(0), own.argmax(0))
        for met, own in zip(circuit.split(reached), circuit.split(log_p), strict=True)
    ]
    world = torch.stack(taken, 1) if taken else torch.empty(len(asked), 0, dtype=torch.long, device=log_p.device)
    return world.masked_fill(~possible[:, None], -1), possible
