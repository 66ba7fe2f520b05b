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
from nesy_gedi.logic.posteriors import posterior
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


def explain_inputs(circuit: ChoiceCircuit, rows: Tensor, target: Tensor | int | None, inputs: int) -> Explanation:
    """As :func:`explain`, of the first ``inputs`` choices alone: all that the others may be is summed over.

    A world says of each fact of the program, too, whether it holds. Where noise is spread over many of them, each world is
    improbable, and the most probable one need not have the symbols that are. To find these exactly is far harder than a
    world (Park and Darwiche, "Complexity Results and Approximation Strategies for MAP Explanations", JAIR 2004); taken are
    the symbols of the most probable world, or those that are the most probable one by one, whichever together are more so.
    Their probability is exact.
    """
    world = explain(circuit, rows, target)
    if inputs == len(circuit.sizes):
        return world
    asked = answer_columns(target, circuit.answers, rows.shape[1], rows.device)
    log_p = circuit.spread(rows)
    own = sum(circuit.sizes[:inputs])
    found = world.values[:, :inputs]
    each = [share.argmax(1) for share in posterior(circuit, rows, target)[:inputs]]
    together = torch.stack(each, 1).masked_fill((found < 0).any(1, keepdim=True), -1) if each else found

    def joint(values: Tensor) -> Tensor:
        where = values.T.clamp_min(0) + circuit.first.to(log_p.device)[:inputs, None]
        # Certain, for what a branch leaves open counts as one there; how probable they are comes in afterwards.
        certain = torch.full_like(log_p[:own], -torch.inf).scatter(0, where, 0.0)
        given = circuit.plan(log_p.device)(torch.cat([certain, log_p[own:]])).gather(0, asked[None])[0]
        return (given + log_p.gather(0, where).sum(0)).masked_fill((values < 0).any(1), -torch.inf)

    first, second = joint(found), joint(together)
    better = second > first
    log_joint = torch.where(better, second, first)
    total = circuit.plan(log_p.device)(log_p).gather(0, asked[None])[0]
    values = torch.where(better[:, None], together, found)
    return Explanation(values, log_joint, log_joint - total.masked_fill(log_joint == -torch.inf, 0.0))


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
