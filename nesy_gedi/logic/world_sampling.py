"""Estimates of answers from worlds that are drawn at random, with a stated error.

Each world draws every annotated disjunction that the program asks - of the networks, of learned and of written
probabilities - from its own distribution, so the share of the worlds that yield an answer is an unbiased estimate of its
probability, with the standard error sqrt(p (1 - p) / n). The interval beside it is Clopper and Pearson's ("The use of
confidence or fiducial limits illustrated in the case of the binomial", Biometrika 1934): it holds the true probability
with at least the stated confidence, whatever p and n are, also where no world yields the answer. It holds for one answer of
one row at a time, not for all of them together.

With evidence, worlds that contradict it are rejected. Given how many are left, these are independent draws from the
conditional distribution, so all of the above holds with their number in place of n.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from scipy.stats import beta
from torch import Tensor, nn

from nesy_gedi.errors import ProgramError, UsageError
from nesy_gedi.logic.budget import WAYS_OUT, Budget
from nesy_gedi.logic.deciding import DecidedGrounding
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.forms import QueryForm, read_form
from nesy_gedi.logic.given import Given, Reading, find_inputs
from nesy_gedi.logic.likelihood import mean_nll
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.worlds import Question, World, WorldTree

WORLDS_DRAWN = 1000
"""How many worlds are drawn for each row."""

CONFIDENCE = 0.99
"""How often at least an interval holds the true probability."""


class Estimate(NamedTuple):
    """An estimated probability, its standard error, and an interval that holds the true one with ``CONFIDENCE``."""

    probability: float
    standard_error: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"about {self.probability:.4g} (between {self.lower:.4g} and {self.upper:.4g} at {CONFIDENCE:.0%})"


def estimate_share(hits: int, draws: int) -> Estimate:
    """The probability behind ``hits`` among ``draws`` independent draws, at least one."""
    share, tail = hits / draws, (1.0 - CONFIDENCE) / 2
    lower = float(beta.ppf(tail, hits, draws - hits + 1)) if hits else 0.0
    upper = float(beta.ppf(1.0 - tail, hits + 1, draws - hits)) if hits < draws else 1.0
    return Estimate(share, math.sqrt(share * (1.0 - share) / draws), lower, upper)


@dataclass(frozen=True)
class RowSample:
    """What the worlds of one row yield.

    Attributes:
        answers: answer -> estimate, the likeliest first. Empty where no world agrees with the evidence.
        unseen: the greatest probability, at ``CONFIDENCE``, of an answer that no world yields.
        drawn: how many worlds.
        accepted: how many of them agree with the evidence; all, where the program states none.
    """

    answers: dict[str, Estimate]
    unseen: float
    drawn: int
    accepted: int

    def __str__(self) -> str:
        if not self.accepted:
            return f"nothing is known: none of {self.drawn} worlds agrees with the evidence"
        shown = "; ".join(f"{text}: {estimate}" for text, estimate in self.answers.items())
        return f"estimated from {self.accepted} worlds of {self.drawn}: {shown}; any other at most {self.unseen:.3g}"


@dataclass(frozen=True)
class Estimates:
    """Estimated log-probabilities of observed answers.

    Attributes:
        log_p: logarithms of the estimates, shape ``(batch,)``; -inf where no world yields the answer. Differentiable.
        standard_error: of the estimated probabilities, shape ``(batch,)``; of the logarithm it is this over the
            probability. Zero where all worlds agree: then only the interval says something.
        lower: logarithms of the lower ends of the intervals, shape ``(batch,)``.
        upper: likewise of the upper ends.
        drawn: worlds drawn for each row.
        accepted: worlds of each row that agree with the evidence, shape ``(batch,)``.
    """

    log_p: Tensor
    standard_error: Tensor
    lower: Tensor
    upper: Tensor
    drawn: int
    accepted: Tensor

    @property
    def missed(self) -> Tensor:
        """Rows that teach nothing: no world yields the answer, shape ``(batch,)``."""
        return self.log_p == -torch.inf

    def nll(self) -> Tensor:
        """Mean negative log-likelihood in nats; a missed answer costs ``-LOG_PROBABILITY_FLOOR`` without a gradient."""
        return mean_nll(self.log_p)

    def __str__(self) -> str:
        if not len(self.log_p):
            return "no rows"
        return (
            f"estimates, not exact: {self.drawn} worlds a row (at least {int(self.accepted.min())} accepted), standard "
            f"error up to {float(self.standard_error.max()):.2g}, intervals at {CONFIDENCE:.0%}; "
            f"{int(self.missed.sum())} of {len(self.log_p)} answers in no world"
        )


class _Leaf(NamedTuple):
    """A world that some draws of a row end in."""

    answers: frozenset[str]
    evidence: bool
    times: int
    trail: _Trail | None


class _Trail(NamedTuple):
    """The last decision of a path, and those before."""

    before: _Trail | None
    question: Question
    value: int


class Sampler(nn.Module):
    """Estimates for one query form from worlds that are drawn at random; never exact in silence.

    Worlds are evaluated by ProbLog once and remembered over rows and batches, so confident rows cost little.

    Gradients: that of log P(a) is the mean of the gradient of log p(w) over the worlds w that yield a, the score, less
    the same mean over all worlds that agree with the evidence where there is some. It is an estimate: by the logit of
    a symbol it is the share q of the accepted worlds that show the symbol, minus its probability. Given that m worlds
    yield the answer, they are m independent draws from the posterior, so this is unbiased with the variance
    q (1 - q) / m. Where none does the gradient is zero: an answer that is rarely drawn teaches rarely.

    Args:
        program: a DeepProbLog program.
        form: for example ``"addition([A, B], [C, D], Sum)"``.
        n: worlds drawn for each row.
        slots: which variables of the form are images; found from the program when not given.
        budget: limits of the evaluation of each world.
        validate: check at every call that rows sum to one.

    Attributes:
        inputs: the distributions that are asked for, as far as they are known before there are any.
        learned: the program's learned probabilities ``t(_)``.

    Raises:
        UsageError: the form does not fit the program, or n is less than 1.
        ProgramError: the program cannot be evaluated.
    """

    def __init__(
        self,
        program: Program,
        form: str | QueryForm,
        n: int = WORLDS_DRAWN,
        *,
        slots: Collection[str] | None = None,
        budget: Budget | None = None,
        validate: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise UsageError(f"n is how many worlds are drawn, not {n}", where="n", hint="for example n=1000")
        self.program = program
        self.form = form if isinstance(form, QueryForm) else read_form(program, form, slots)
        self.n = n
        self.validate = validate
        self.learned = LearnedProbabilities(program.parameters)
        self.budget = budget or Budget()
        grounds = DecidedGrounding(program, self.form, self.budget, hint=WAYS_OUT)
        self.inputs: tuple[NeuralInput, ...] = tuple(find_inputs(grounds))
        self._tree = WorldTree(grounds)

    def answers(
        self,
        log_p: Tensor | Mapping[object, Tensor],
        generator: torch.Generator | None = None,
        *,
        batch: int | None = None,
    ) -> list[RowSample]:
        """For each row the answers that its worlds yield, with their errors. ``log_p`` as for the reasoner.

        Raises:
            DistributionError: a missing input, a wrong shape, a NaN, or a row that does not sum to one.
            ProgramError: the program cannot be evaluated in some world.
        """
        found = []
        for leaves in self._draw(self._given(log_p, batch), generator):
            accepted = sum(leaf.times for leaf in leaves if leaf.evidence)
            hits: Counter[str] = Counter()
            for leaf in leaves:
                hits.update(dict.fromkeys(leaf.answers if leaf.evidence else (), leaf.times))
            best = sorted(hits.items(), key=lambda item: (-item[1], item[0]))
            answers = {text: estimate_share(count, accepted) for text, count in best}
            unseen = estimate_share(0, accepted).upper if accepted else 1.0
            found.append(RowSample(answers, unseen, self.n, accepted))
        return found

    def estimate(
        self,
        log_p: Tensor | Mapping[object, Tensor],
        answers: Sequence[object],
        generator: torch.Generator | None = None,
        *,
        batch: int | None = None,
    ) -> Estimates:
        """Estimates of the log-probability of one observed answer a row.

        Args:
            log_p: as for :class:`nesy_gedi.Reasoner`.
            answers: one a row, as text or number.
            generator: where the randomness comes from, on the CPU; PyTorch's own when not given.
            batch: how many rows, where the program asks no network.

        Raises:
            DistributionError: a missing input, a wrong shape, a NaN, or a row that does not sum to one.
            ProgramError: no world of a row agrees with the evidence, or the program cannot be evaluated in some world.
        """
        given = self._given(log_p, batch)
        if len(answers) != given.size:
            raise UsageError(f"{len(answers)} answers for a batch of {given.size}", where=self.form.text)
        score = _Score(given, self.learned)
        found: list[Estimate] = []
        accepted: list[int] = []
        for row, (answer, leaves) in enumerate(zip(answers, self._draw(given, generator), strict=True)):
            agreeing = [leaf for leaf in leaves if leaf.evidence]
            yielding = [leaf for leaf in agreeing if str(answer) in leaf.answers]
            accepted.append(sum(leaf.times for leaf in agreeing))
            if not agreeing:
                raise ProgramError(
                    f"none of {self.n} worlds of row {row} agrees with the evidence",
                    where=f"{self.program.source.name}, {self.form.text}",
                    hint="draw more worlds (a larger n), or ask for bounds from the likeliest symbols",
                )
            hits = sum(leaf.times for leaf in yielding)
            found.append(estimate_share(hits, accepted[-1]))
            if hits:
                score.add(row, yielding, 1.0 / hits)
                if self._tree.grounds.has_evidence:
                    score.add(row, agreeing, -1.0 / accepted[-1])
        total = score.total()
        share, error, lower, upper = torch.tensor(found, dtype=torch.float64).reshape(-1, 4).to(total).unbind(1)
        log_share = share.log() + (total - total.detach())  # the value is the estimate, the gradient is the score
        return Estimates(log_share, error, lower.log(), upper.log(), self.n, torch.tensor(accepted, dtype=torch.long))

    forward = estimate

    def nll(
        self,
        log_p: Tensor | Mapping[object, Tensor],
        answers: Sequence[object],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean negative log-likelihood in nats, estimated; :meth:`Estimates.nll` says what it does with misses."""
        return self.estimate(log_p, answers, generator).nll()

    def _given(self, log_p: Tensor | Mapping[object, Tensor], batch: int | None) -> Given:
        return Given(self.program, self.form, self.inputs, log_p, batch=batch, validate=self.validate)

    def _draw(self, given: Given, generator: torch.Generator | None) -> list[list[_Leaf]]:
        """For each row the worlds that its draws end in."""
        distributions: dict[Reading | int, Tensor] = {}

        def distribution(question: Question, row: int) -> Tensor:
            source = question.source
            if isinstance(source, float):
                return torch.tensor([1.0 - source, source], dtype=torch.float64)
            if source not in distributions:
                log_p = _log_p(source, given, self.learned, torch.float64)
                distributions[source] = log_p.detach().double().exp().cpu()
            return distributions[source][row]

        def likeliest(row: int, question: Question) -> int:
            return int(distribution(question, row).argmax())

        found: list[list[_Leaf]] = []
        for row in range(given.size):
            self._tree.trim()
            leaves: list[_Leaf] = []
            pending: list[tuple[World, int, _Trail | None]] = [(self._tree.root, self.n, None)]
            while pending:
                world, count, trail = pending.pop()
                if not world.visited:
                    path = {step.question.point: step.value for step in _steps(trail)}
                    self._tree.visit(path, partial(likeliest, row))
                if world.question is None:
                    assert world.outcome is not None
                    leaves.append(_Leaf(world.outcome.answers, world.outcome.evidence, count, trail))
                    continue
                drawn = distribution(world.question, row).multinomial(count, replacement=True, generator=generator)
                for value, times in enumerate(drawn.bincount().tolist()):
                    if times:
                        pending.append((world.child(value), times, _Trail(trail, world.question, value)))
            found.append(leaves)
        return found


def _log_p(source: Reading | int, given: Given, learned: LearnedProbabilities, dtype: torch.dtype) -> Tensor:
    """Log-probabilities of a question's values, shape ``(batch, K)``."""
    return learned(source, dtype).expand(given.size, -1) if isinstance(source, int) else given(source)


def _steps(trail: _Trail | None) -> Iterator[_Trail]:
    while trail is not None:
        yield trail
        trail = trail.before


class _Score:
    """A weighted sum of the log-probabilities of worlds, row by row, as a function of what they were drawn from."""

    def __init__(self, given: Given, learned: LearnedProbabilities) -> None:
        self._given = given
        self._learned = learned
        self._weights: defaultdict[Reading | int, defaultdict[tuple[int, int], float]] = defaultdict(
            lambda: defaultdict(float)
        )

    def add(self, row: int, leaves: Sequence[_Leaf], weight: float) -> None:
        """Add the log-probabilities of ``leaves`` to the sum of ``row``."""
        for leaf in leaves:
            for step in _steps(leaf.trail):
                if not isinstance(step.question.source, float):
                    self._weights[step.question.source][row, step.value] += weight * leaf.times

    def total(self) -> Tensor:
        """Shape ``(batch,)``."""
        size = self._given.size
        parts: list[Tensor] = []
        for source, weights in self._weights.items():
            log_p = _log_p(source, self._given, self._learned, torch.get_default_dtype())
            rows, values = torch.tensor(list(weights), device=log_p.device).unbind(1)
            # Only entries that were drawn: an impossible one would be 0 * -inf.
            chosen = log_p[rows, values] * torch.tensor(list(weights.values()), dtype=log_p.dtype, device=log_p.device)
            parts.append(chosen.new_zeros(size).index_add(0, rows, chosen))
        if not parts:
            return torch.zeros(size)
        total = parts[0]
        for part in parts[1:]:
            total = total + part.to(total)
        return total
