"""What makes a node of a circuit true: one branch of each disjunction, every part of each conjunction.

Such a trace (an induced tree) never meets a choice twice, because the circuit is decomposable, and no two traces hold
in one world, because it is deterministic. The choices that a trace does not meet are free (Choi and Darwiche, "On
Relaxing Determinism in Arithmetic Circuits", 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nesy_gedi.logic.circuits import FIRST_INPUT_ROW, Plan

Pick = Callable[[Tensor], Tensor]
"""From the values of alternatives, shape (k, alternatives), the number of one in every row."""


def trace(plan: Plan, values: Tensor, roots: Tensor, columns: Tensor, pick: Pick) -> Tensor:
    """Follow ``roots`` down to the inputs.

    Args:
        plan: without negations.
        values: of all nodes, shape (rows, batch).
        roots: the row where each trace begins, shape (traces,).
        columns: which column of ``values`` each trace looks at, shape (traces,).
        pick: chooses the branch of a disjunction.

    Returns:
        Which inputs each trace ends at, booleans of shape (inputs, traces). Below a node that is impossible it means
        nothing.
    """
    reached = torch.zeros(plan.rows, len(roots), dtype=torch.bool, device=values.device)
    reached[roots, torch.arange(len(roots), device=values.device)] = True
    for level in reversed(plan.levels):
        for block in level.blocks:
            node, which = reached[block.start : block.stop].nonzero(as_tuple=True)
            if not len(node):
                continue
            children = block.children.view(-1, block.arity)[node]
            if block.kind == "and":
                reached[children, which[:, None]] = True
            else:
                picked = pick(values[children, columns[which][:, None]])
                reached[children.gather(1, picked[:, None])[:, 0], which] = True
    return reached[FIRST_INPUT_ROW : FIRST_INPUT_ROW + plan.inputs]
