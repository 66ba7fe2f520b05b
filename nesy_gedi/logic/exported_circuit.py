"""A reasoner's circuit in plain operations, which other programs can run: it needs nothing of this package at run time.

A :class:`~nesy_gedi.logic.circuits.Plan` writes into one buffer and has a backward pass of its own, which no exporter can
follow. Here the same blocks of the same levels are gathers, sums, maxima, exponentials and logarithms, of which ONNX has
all. Rows that no later level reads are left behind, so that a deep circuit costs no more memory than it has live rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nesy_gedi.logic.circuits import IMPOSSIBLE, Block, Plan
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.logic.lowering import FALSE_ROW, FIRST_INPUT_ROW, TRUE_ROW
from nesy_gedi.logic.reasoner import Reasoner


@dataclass(frozen=True)
class _Step:
    """One block: its tables are buffers of the circuit, ``t<number>_0`` and on, of shape (nodes, arity)."""

    kind: str
    tables: tuple[str, ...]


@dataclass(frozen=True)
class _Level:
    """Blocks that read the rows of the levels below, and, where some rows are not read again, those that are kept."""

    steps: tuple[_Step, ...]
    kept: str | None


class ExportedCircuit(nn.Module):
    """Log-probabilities of a reasoner's answers from those of its inputs, for inference alone.

    Learned probabilities and those that the program states are constants: what they are now is what they stay. Evidence
    of the program is conditioned on, as by the reasoner.

    Args:
        reasoner: whose circuit is taken; any engine evaluates the same.
        dtype: float32 or float64, in which the circuit computes and its inputs come.

    Attributes:
        inputs: the distributions that are asked for, in the order of the arguments.
        answers: the answers as text; column ``i`` of the result is that of answer ``i``.
    """

    constants: Tensor
    ends: Tensor
    roots: Tensor

    def __init__(self, reasoner: Reasoner, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inputs: tuple[NeuralInput, ...] = reasoner.inputs
        self.answers = reasoner.answers
        self.conditional = reasoner.circuit.evidence != TRUE
        with torch.no_grad():
            learned = [reasoner.learned(group, dtype).cpu() for group in range(len(reasoner.program.parameters))]
        constants = torch.cat([*learned, reasoner.stated.to("cpu", dtype)])
        # The two rows that every plan begins with, then the inputs, then what is the same for all rows.
        self.register_buffer("constants", constants.clamp_min(IMPOSSIBLE))
        self.register_buffer("ends", torch.tensor([IMPOSSIBLE, 0.0], dtype=dtype))
        assert (FALSE_ROW, TRUE_ROW, FIRST_INPUT_ROW) == (0, 1, 2)
        self._levels = self._lay_out(reasoner.plan())

    def _lay_out(self, plan: Plan) -> tuple[_Level, ...]:
        """Number the rows that are alive after each level, and register every table in these numbers."""
        blocks = [level.blocks for level in plan.levels if level.blocks]
        alive: list[int] = list(range(FIRST_INPUT_ROW + plan.inputs))
        needed_later: list[set[int]] = [set(plan.roots.tolist())]
        for level in reversed(blocks):
            needed_later.append(needed_later[-1] | {row for block in level for row in _reads(block)})
        needed_later.reverse()  # entry k: what level k and those above it read
        levels: list[_Level] = []
        for number, level in enumerate(blocks):
            place = {row: k for k, row in enumerate(alive)}
            steps: list[_Step] = []
            for block in level:
                names: list[str] = []
                for column in (block.children, *block.factors):
                    name = f"t{number}_{len(steps)}_{len(names)}"
                    table = torch.tensor([place[row] for row in column.tolist()], dtype=torch.long)
                    self.register_buffer(name, table.view(block.stop - block.start, block.arity))
                    names.append(name)
                steps.append(_Step(block.kind, tuple(names)))
            kept = [row for row in alive if row in needed_later[number + 1]]
            keeps = None if len(kept) == len(alive) else f"kept{number}"
            if keeps is not None:
                self.register_buffer(keeps, torch.tensor([place[row] for row in kept], dtype=torch.long))
            levels.append(_Level(tuple(steps), keeps))
            alive = [*kept, *(row for block in level for row in range(block.start, block.stop))]
        place = {row: k for k, row in enumerate(alive)}
        self.register_buffer("roots", torch.tensor([place[row] for row in plan.roots.tolist()], dtype=torch.long))
        return tuple(levels)

    def forward(self, *log_p: Tensor) -> Tensor:
        """Log-probability of every answer.

        Args:
            log_p: one tensor of log-probabilities (batch, K) for each of ``inputs``, in their order, in this circuit's
                dtype; -inf is allowed. A circuit without inputs takes any one tensor (batch, ...), for the batch size.

        Returns:
            (batch, answers), -inf for an answer that is impossible.
        """
        batch = log_p[0].shape[0]
        shared = torch.cat([self.ends, self.constants])[:, None].expand(-1, batch)
        given = [block.clamp_min(IMPOSSIBLE).T for block in log_p] if self.inputs else []
        rows = torch.cat([shared[:FIRST_INPUT_ROW], *given, shared[FIRST_INPUT_ROW:]])
        for level in self._levels:
            found = [self._run(step, rows) for step in level.steps]
            below = rows if level.kept is None else rows.index_select(0, getattr(self, level.kept))
            rows = torch.cat([below, *found])
        roots = rows.index_select(0, self.roots).T
        # A number far below every log-probability stands for log 0 within, so that no difference of two is NaN.
        result = _with_infinities(roots)
        if not self.conditional:
            return result
        evidence = roots[:, -1:]
        return result[:, :-1] - torch.where(evidence < IMPOSSIBLE / 2, torch.zeros_like(evidence), evidence)

    def _run(self, step: _Step, rows: Tensor) -> Tensor:
        """The block's nodes (nodes, batch)."""
        tables = [getattr(self, name) for name in step.tables]
        children = _gather(rows, tables[0])
        for table in tables[1:]:
            children = children + _gather(rows, table)
        if step.kind == "and":
            return children.sum(1)
        return log_sum(children) if step.kind == "or" else log_not(children[:, 0])


def log_sum(terms: Tensor) -> Tensor:
    """log of the sum over dimension 1 of exponentials; terms are finite, log 0 being :data:`IMPOSSIBLE`."""
    largest = terms.amax(1, keepdim=True)
    return (largest + (terms - largest).exp().sum(1, keepdim=True).log()).squeeze(1)


def log_not(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, accurate at both ends, of exponentials and logarithms alone: ONNX has no expm1 and no
    log1p.

    With u = exp(x) rounded, ``(u - 1) x / log(u)`` is expm1(x), and with w = 1 - u rounded, ``log(w) u / (1 - w)`` is
    -log1p(-u), both to a few units in the last place: Kahan's, in Higham, "Accuracy and Stability of Numerical Algorithms"
    (2002), section 1.14.1. Each half is taken where it is accurate, as Maechler, "Accurately Computing log(1 - exp(-|a|))"
    (2012), has it.
    """
    x = x.clamp_max(0.0)
    u = x.exp()
    one = torch.ones_like(u)
    is_one = u == 1.0
    ratio = x / torch.where(is_one | (u == 0.0), one * 0.5, u).log()
    # As exp(x) rounds to one, expm1(x) is x.
    left = torch.where(is_one, -x, (1.0 - u) * ratio)
    near_one = torch.where(left <= 0.0, one * IMPOSSIBLE, torch.where(left <= 0.0, one, left).log())
    w = 1.0 - u
    exact = w == 1.0
    safe = torch.where(exact | (w <= 0.0), one * 0.5, w)
    near_zero = torch.where(exact, -u, safe.log() * u / (1.0 - safe))
    return torch.where(x > -0.6931471805599453, near_one, near_zero)


def log_mean(log_p: Sequence[Tensor]) -> Tensor:
    """Log of the mean of several tensors of probabilities of one shape, given and returned as logarithms; -inf where all
    are."""
    stacked = torch.stack([each.clamp_min(IMPOSSIBLE) for each in log_p], 1)
    return _with_infinities(log_sum(stacked) - torch.tensor(float(len(log_p)), dtype=stacked.dtype).log())


def _with_infinities(values: Tensor) -> Tensor:
    return torch.where(values < IMPOSSIBLE / 2, torch.full_like(values, -torch.inf), values)


def _gather(rows: Tensor, table: Tensor) -> Tensor:
    """Rows (nodes, arity, batch) of a table (nodes, arity) of row numbers."""
    return rows.index_select(0, table.flatten()).view(table.shape[0], table.shape[1], -1)


def _reads(block: Block) -> list[int]:
    return [row for column in (block.children, *block.factors) for row in column.tolist()]
