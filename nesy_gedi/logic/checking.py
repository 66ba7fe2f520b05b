"""Two engines on one circuit: probabilities and gradients of its answers, compared on random distributions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.errors import BudgetError, EngineError, did_you_mean
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.engines import UnknownAnswerError
from nesy_gedi.logic.reasoner import Reasoner

PEERS = ("deepproblog", "exact", "klay")
"""Engines that are exact, so that any two of them must agree."""

TOLERANCE = 1e-6
"""Probabilities and gradients of two engines may differ by so much of the largest one of the same answer: double
precision leaves far less, single precision, in which learned probabilities are kept, a little less."""

SMALLEST = 1e-30
"""Below this, what is largest is taken for zero, and differences count as they are over it."""

ROWS = 4
"""Random distributions that are compared: in the last but one, some symbols are impossible; in the last, all are certain."""

MAX_ANSWERS = 200
"""So many answers are compared at most, evenly spread."""

SECONDS = 60.0
"""A comparison may take so long by default."""

Logits = Mapping[NeuralInput, Tensor]
"""Leaves of shape (rows, K); -inf for what is impossible."""


@dataclass(frozen=True)
class Gap:
    """The largest difference of its kind.

    Attributes:
        size: as a share of the largest value, or gradient, that the answer has in any row; infinite where one side is NaN.
        answer: as text.
        row: number of the distribution, None for the gradient of a learned probability, which sums over them.
    """

    size: float = 0.0
    answer: str = ""
    row: int | None = None


@dataclass(frozen=True)
class Check:
    """How far an engine is from its peer.

    Attributes:
        engine, peer: their names.
        answers: number of answers that were compared.
        of: number of answers.
        rows: distributions.
        value, gradient: the largest differences of probabilities, and of their gradients with respect to the networks'
            logits and to learned probabilities' logits.
        unknown: what is said of an answer that one side alone derives; nothing else was compared then.
        stopped: whether time ran out before all that should have been were.
    """

    engine: str
    peer: str
    answers: int
    of: int
    rows: int
    value: Gap
    gradient: Gap
    unknown: str = ""
    stopped: bool = False
    tolerance: float = TOLERANCE

    @property
    def agrees(self) -> bool:
        return not self.unknown and self.value.size <= self.tolerance and self.gradient.size <= self.tolerance

    def sentences(self) -> list[str]:
        """The result in words."""
        if self.unknown:
            return [f"{self.engine} and {self.peer} disagree: {self.unknown}"]
        verdict = "agree within" if self.agrees else "disagree by more than"
        what = f"{self.answers} of {self.of} answers on {self.rows} random distributions"
        lines = [f"{self.engine} and {self.peer} {verdict} {self.tolerance:g}: {what}"]
        for name, gap in (("probabilities", self.value), ("gradients", self.gradient)):
            place = f", answer {gap.answer}" if gap.answer else ""
            row = f", distribution {gap.row + 1}" if gap.row is not None else ""
            lines.append(f"largest difference of {name}: {gap.size:.2g}{place}{row}")
        if self.answers < self.of:
            why = "time ran out" if self.stopped else f"at most {self.answers} are, evenly spread"
            lines.append(f"not all answers were compared: {why}")
        return lines

    def document(self) -> dict[str, Any]:
        """For JSON; a difference that is infinite is null."""

        def number(size: float) -> float | None:
            return size if size < float("inf") else None

        return {
            "engine": self.peer,
            "answers": self.answers,
            "largest_difference": number(self.value.size),
            "largest_gradient_difference": number(self.gradient.size),
            "agrees": self.agrees,
            "rows": self.rows,
            "tolerance": self.tolerance,
            "complete": self.answers == self.of,
        }


def find_peer(name: str) -> str:
    """The name of an exact engine.

    Raises:
        EngineError: it is none.
    """
    if name not in PEERS:
        raise EngineError(f"there is no exact engine {name!r} to check with", hint=did_you_mean(name, PEERS))
    return name


def check(
    reasoner: Reasoner,
    peer: str,
    *,
    rows: int = ROWS,
    seed: int = 0,
    seconds: float = SECONDS,
    max_answers: int = MAX_ANSWERS,
) -> Check:
    """Compare a reasoner with the same one on another engine, in double precision.

    Args:
        peer: name of the other engine.
        rows: distributions, at least two: see ``ROWS``.
        seed: of the distributions.
        seconds: no further answer is compared after these. What an engine does at once is not cut short, but a
            BudgetError that a timer raises meanwhile ends the comparison in the same way.
        max_answers: that are compared.

    Raises:
        EngineError: the peer is missing, or cannot answer this form.
        BudgetError: the time is over before a single answer was compared.
    """
    deadline = time.monotonic() + seconds
    other = reasoner.with_engine(find_peer(peer))
    logits = random_logits(reasoner.inputs, rows, seed)
    inputs = log_probabilities(logits)
    names = (reasoner.engine, peer)
    leaves = [*logits.values(), *reasoner.learned.parameters()]
    value, gradient, done = Gap(), Gap(), 0
    asked = spread(len(reasoner.answers), max_answers)
    whole = _Columns(other, inputs, rows)
    own = reasoner(inputs, batch=rows).exp()
    try:
        for column in asked:
            if time.monotonic() > deadline:
                break
            answer, reference = reasoner.answers[column], whole(column)
            value = max(value, _value_gap(own[:, column], reference, answer), key=_size)
            gradient = max(gradient, _gradient_gap(own[:, column], reference, leaves, answer), key=_size)
            done += 1
    except BudgetError:  # raised from outside, while an answer was under way
        if not done:
            raise
    except UnknownAnswerError as error:
        gap = Gap(error.probability, error.answer)
        return Check(*names, done, len(reasoner.answers), rows, gap, gradient, unknown=error.message)
    if not done:
        raise BudgetError(
            f"{seconds:g} s were over before an answer could be compared",
            where=f"check with {peer}",
            hint="allow more seconds, or ask a smaller query form",
        )
    return Check(*names, done, len(reasoner.answers), rows, value, gradient, stopped=done < len(asked))


class _Columns:
    """Probabilities (rows,) of one answer after the other; all are computed at once where the engine does so anyway."""

    def __init__(self, reasoner: Reasoner, inputs: Mapping[object, Tensor], rows: int) -> None:
        self.reasoner, self.inputs, self.rows = reasoner, inputs, rows
        self.all: Tensor | None = None

    def __call__(self, column: int) -> Tensor:
        if self.all is None:
            if (one := self.reasoner.alone(self.inputs, column, batch=self.rows)) is not None:
                return one.exp()
            self.all = self.reasoner(self.inputs, batch=self.rows).exp()
        return self.all[:, column]


def random_logits(inputs: Sequence[NeuralInput], rows: int, seed: int) -> Logits:
    """Logits in double precision: standard normal; in the last row but one about half of the symbols are impossible, in
    the last all but one."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for item in inputs:
        drawn = torch.randn(rows, len(item.domain), generator=generator, dtype=torch.float64)
        if rows > 1:
            likeliest = drawn == drawn.max(1, keepdim=True).values
            impossible = torch.zeros_like(likeliest)
            impossible[-2] = drawn[-2] < 0.0
            impossible[-1] = True
            drawn = drawn.masked_fill(impossible & ~likeliest, -torch.inf)
        found[item] = drawn.requires_grad_()
    return found


def log_probabilities(logits: Logits) -> dict[object, Tensor]:
    """What a reasoner is given: (network, slots) -> log-probabilities (rows, K)."""
    return {(item.network, *item.slots): x.log_softmax(1) for item, x in logits.items()}


def largest_gaps(own: Tensor, reference: Tensor, leaves: Sequence[Tensor], answers: Sequence[str]) -> tuple[Gap, Gap]:
    """The largest differences of two tables of probabilities (rows, answers), and of the gradients of their columns."""
    value, gradient = Gap(), Gap()
    for column, answer in enumerate(answers):
        both = own[:, column], reference[:, column]
        value = max(value, _value_gap(*both, answer), key=_size)
        gradient = max(gradient, _gradient_gap(*both, leaves, answer), key=_size)
    return value, gradient


def _value_gap(own: Tensor, reference: Tensor, answer: str) -> Gap:
    gaps = _gaps(own, reference, _scale([own, reference]))
    return Gap(float(gaps.max()), answer, int(gaps.argmax())) if gaps.numel() else Gap()


def _gradient_gap(own: Tensor, reference: Tensor, leaves: Sequence[Tensor], answer: str) -> Gap:
    """Of the gradients of two columns (rows,) with respect to logits (rows, K) and vectors that all rows share."""
    both = [_gradients(column, leaves) for column in (own, reference)]
    scale = _scale([gradient for each in both for gradient in each])
    found = Gap()
    for one, other in zip(*both, strict=True):
        gaps = _gaps(one, other, scale)
        if gaps.numel() and float(gaps.max()) > found.size:
            found = Gap(float(gaps.max()), answer, int(gaps.amax(1).argmax()) if gaps.dim() == 2 else None)
    return found


def spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` numbers, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return [round(k * (count - 1) / max(limit - 1, 1)) for k in range(limit)]


def _gradients(column: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    if not (column.requires_grad and leaves):  # it depends on none of them
        return [torch.zeros_like(leaf) for leaf in leaves]
    # A row of the column depends on the same row of the logits alone, so the sum keeps them apart.
    return torch.autograd.grad(column.sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)


def _scale(tensors: Sequence[Tensor]) -> float:
    """The largest finite entry, at least ``SMALLEST``."""
    largest = [float(x.detach().abs().nan_to_num(nan=0.0, posinf=0.0).max()) for x in tensors if x.numel()]
    return max([SMALLEST, *largest])


def _gaps(one: Tensor, other: Tensor, scale: float) -> Tensor:
    gaps = (one.detach().double() - other.detach().double()).abs() / scale
    return gaps.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _size(gap: Gap) -> float:
    return gap.size
