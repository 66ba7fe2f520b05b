"""Two engines on one circuit: probabilities and gradients of its answers, compared on random distributions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.errors import BudgetError, EngineError, did_you_mean
from nesy_gedi.logic.reasoner import NeuralInput, Reasoner

PEERS = ("deepproblog", "exact", "klay")
"""Engines that are exact, so that any two of them must agree."""

TOLERANCE = 1e-6
"""Probabilities and gradients of two engines may differ by so much, absolute: double precision leaves far less, single
precision, in which learned probabilities are kept, a little less."""

ROWS = 4
"""Random distributions that are compared: in the last but one, some symbols are impossible; in the last, all are certain."""

MAX_ANSWERS = 200
"""Gradients are compared for so many answers at most, evenly spread."""

SECONDS = 60.0
"""A comparison may take so long by default."""

Logits = Mapping[NeuralInput, Tensor]
"""Leaves of shape (rows, K); -inf for what is impossible."""


@dataclass(frozen=True)
class Gap:
    """The largest difference of its kind.

    Attributes:
        size: absolute; infinite where one side is NaN.
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
        answers: number of answers whose gradients were compared; probabilities of all were.
        of: number of answers.
        rows: distributions.
        value, gradient: the largest differences of probabilities, and of their gradients with respect to the networks'
            logits and to learned probabilities' logits.
        unknown: what one side alone says, where that is why they disagree.
        stopped: whether time ran out before all these gradients were compared.
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
        seconds: no further gradient is compared after these. What one engine does at once is not cut short.
        max_answers: whose gradients are compared.

    Raises:
        EngineError: the peer is missing, or cannot answer this form.
        BudgetError: the time is over before a single gradient was compared.
    """
    deadline = time.monotonic() + seconds
    other = reasoner.with_engine(find_peer(peer))
    logits = random_logits(reasoner.inputs, rows, seed)
    inputs = log_probabilities(logits)
    names = (reasoner.engine, peer)
    try:
        own, reference = (each(inputs, batch=rows).exp() for each in (reasoner, other))
    except EngineError as error:
        if not hasattr(error, "probability"):
            raise
        of = len(reasoner.answers)
        gap = Gap(float(error.probability), str(getattr(error, "answer", "")))
        return Check(*names, 0, of, rows, gap, Gap(), unknown=error.message)
    asked = spread(len(reasoner.answers), max_answers)
    leaves = [*logits.values(), *reasoner.learned.parameters()]
    value = largest(own, reference, reasoner.answers)
    gradient, done = Gap(), 0
    for column in asked:
        if time.monotonic() > deadline:
            break
        found = gradient_gap(own[:, column], reference[:, column], leaves, rows)
        if found.size > gradient.size:
            gradient = Gap(found.size, reasoner.answers[column], found.row)
        done += 1
    if not done:
        raise BudgetError(
            f"{seconds:g} s were over before a gradient could be compared",
            where=f"check with {peer}",
            hint="allow more seconds, or ask a smaller query form",
        )
    return Check(*names, done, len(reasoner.answers), rows, value, gradient, stopped=done < len(asked))


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


def largest(own: Tensor, reference: Tensor, answers: Sequence[str]) -> Gap:
    """The largest difference of two tables (rows, answers), NaN counted as infinite."""
    gaps = _gaps(own, reference)
    if not gaps.numel():
        return Gap()
    row, column = divmod(int(gaps.argmax()), gaps.shape[1])
    return Gap(float(gaps[row, column]), answers[column], row)


def gradient_gap(own: Tensor, reference: Tensor, leaves: Sequence[Tensor], rows: int) -> Gap:
    """The largest difference of the gradients of two columns (rows,) with respect to ``leaves``, those with ``rows``
    rows row by row."""
    pairs = zip(leaves, *(_gradients(column, leaves) for column in (own, reference)), strict=True)
    found = Gap()
    for leaf, one, other in pairs:
        gaps = _gaps(one, other)
        by_row = gaps.dim() == 2 and len(gaps) == rows and leaf.requires_grad and leaf.dim() == 2
        if gaps.numel() and float(gaps.max()) > found.size:
            found = Gap(float(gaps.max()), row=int(gaps.max(1).values.argmax()) if by_row else None)
    return found


def spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` numbers, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return [round(k * (count - 1) / (limit - 1)) for k in range(limit)]


def _gradients(column: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    if not (column.requires_grad and leaves):  # it depends on none of them
        return [torch.zeros_like(leaf) for leaf in leaves]
    # A row of the column depends on the same row of the logits alone, so the sum keeps them apart.
    return torch.autograd.grad(column.sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)


def _gaps(one: Tensor, other: Tensor) -> Tensor:
    return (one.detach().double() - other.detach().double()).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
