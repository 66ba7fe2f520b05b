"""More clusters than symbols: a row-stochastic map P(symbol | cluster), fitted by expectation maximisation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nesy_gedi.concepts.inputs import KnownSymbols, LabelledImages, LogProbabilities, read_known, read_observations
from nesy_gedi.concepts.local_search import LocalSearch
from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import PairTables
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.logic.reasoner import Reasoner

RESTARTS = 10
MAX_STEPS = 300

CONVERGED = 1e-7
"""Nats an observation. A step that gains less is the last one."""

SMOOTHING = 0.1
"""How much of each row of the first start is spread over all symbols; zero would stay zero."""


@dataclass(frozen=True)
class SoftAssignment:
    """The likeliest row-stochastic map that was found; not proven to be the best.

    Attributes:
        weights: network -> P(symbol | cluster), shape (clusters, symbols), float64, rows sum to one.
        log_likelihood: of all observations, in nats; an impossible one costs ``-LOG_PROBABILITY_FLOOR``.
        history: log-likelihood before each step and after the last; never falls but by rounding.
        maps: network -> for each cluster its most probable symbol.
        rounded_log_likelihood: of these ``maps``.
        restarts: how many starts this is the best of.
        converged: whether it stopped because steps had become small.
        exact: False, always: expectation maximisation climbs, it does not prove.
    """

    weights: Mapping[str, Tensor] = field(repr=False)
    log_likelihood: float
    history: tuple[float, ...] = field(repr=False)
    maps: Mapping[str, tuple[int, ...]]
    rounded_log_likelihood: float
    restarts: int
    converged: bool
    exact: bool = False

    def apply(self, network: str, log_q: Tensor) -> Tensor:
        """Log-probabilities of symbols (..., symbols) from those of clusters (..., clusters)."""
        return apply_weights(log_q, self.weights[network])


def apply_weights(log_q: Tensor, weights: Tensor) -> Tensor:
    """Log-probabilities of symbols (..., symbols) from those of clusters (..., clusters); differentiable.

    Args:
        log_q: shape (..., clusters).
        weights: P(symbol | cluster), shape (clusters, symbols), rows sum to one.
    """
    return (log_q[..., None] + weights.to(log_q).log()).logsumexp(-2)


def assign_softly(
    reasoner: Reasoner,
    log_q: LogProbabilities,
    answers: Tensor,
    *,
    given: LogProbabilities | None = None,
    labels: LabelledImages | None = None,
    fixed: KnownSymbols | None = None,
    restarts: int = RESTARTS,
    steps: int = MAX_STEPS,
    seconds: float = 60.0,
    seed: int = 0,
) -> SoftAssignment:
    """Fit P(symbol | cluster) to the observations; arguments as for :func:`~nesy_gedi.concepts.assignment.assign`.

    Args:
        restarts: starts; the first is the best many-to-one map of a local search, the others are random.
        steps: at most so many of each.
        seconds: no further step begins after that.

    Raises:
        UsageError: as for ``assign``; or the program states evidence, under which expectation maximisation does not
            climb.
        DataError: answers or labels that do not fit, or nothing observed.
        DistributionError: rows that are no distributions.
    """
    deadline = time.perf_counter() + seconds
    if restarts < 1 or steps < 1 or not seconds > 0.0:
        raise UsageError(
            f"{restarts} restarts of {steps} steps in {seconds} seconds", hint="all three have to be positive"
        )
    if reasoner.circuit.evidence != TRUE:
        raise UsageError(
            "the program states evidence, so a step of expectation maximisation need not climb",
            where=reasoner.program.source.name,
            hint='use assign with kind="many_to_one"',
        )
    observations = read_observations(reasoner, log_q, answers, given or {}, labels or {}, "many_to_one")
    base = read_known(observations, fixed or {})
    if not observations.count:
        raise DataError("nothing is observed: no answers and no labels", hint="pass answers or labels")
    fits = []
    for start in _starts(observations, base, restarts, seed, deadline):
        fits.append(_climb(reasoner, observations, base, start, steps, deadline))
        if time.perf_counter() > deadline:
            break
    weights, history, converged = max(fits, key=lambda fit: fit[1][-1])
    rounded = torch.cat([value.argmax(1) for value in weights])
    return SoftAssignment(
        weights={u.network: value for u, value in zip(observations.unknowns, weights, strict=True)},
        log_likelihood=history[-1],
        history=tuple(history),
        maps={u.network: tuple(rounded[u.columns].tolist()) for u in observations.unknowns},
        rounded_log_likelihood=float(observations.log_likelihood(rounded[None])),
        restarts=len(fits),
        converged=converged,
    )


def _starts(observations: Observations, base: Tensor, count: int, seed: int, deadline: float) -> list[list[Tensor]]:
    with torch.no_grad():
        tables = PairTables(observations, base, deadline)
        local = LocalSearch(observations, tables, seed=seed, deadline=deadline)
        local.run()
    best = torch.tensor(max(local.evaluated, key=local.evaluated.__getitem__))
    generator = torch.Generator().manual_seed(seed)
    starts = []
    for number in range(count):
        start = []
        for unknown in observations.unknowns:
            symbols = len(unknown.domain)
            if number == 0:
                hard = torch.nn.functional.one_hot(best[unknown.columns], symbols).double()
                start.append((1.0 - SMOOTHING) * hard + SMOOTHING / symbols)
            else:
                # Uniform over the simplex.
                drawn = torch.rand(unknown.clusters, symbols, generator=generator, dtype=torch.float64)
                start.append(torch.nn.functional.normalize(-drawn.clamp_min(1e-12).log(), p=1.0, dim=1))
        starts.append(start)
    return starts


def _climb(
    reasoner: Reasoner, observations: Observations, base: Tensor, weights: list[Tensor], steps: int, deadline: float
) -> tuple[list[Tensor], list[float], bool]:
    """Expectation maximisation from ``weights``: the last weights, the log-likelihoods on the way, converged."""
    for value, unknown in zip(weights, observations.unknowns, strict=True):
        known = base[unknown.columns]
        value[known != UNKNOWN] = torch.nn.functional.one_hot(known[known != UNKNOWN], value.shape[1]).double()
    history: list[float] = []
    smallest = CONVERGED * observations.count
    while True:
        log_likelihood, counts = _expect(reasoner, observations, weights)
        history.append(log_likelihood)
        if len(history) > 1 and history[-1] - history[-2] < smallest:
            return weights, history, True
        if len(history) > steps or time.perf_counter() > deadline:
            return weights, history, False
        # A cluster that is never seen keeps its row. Known rows stay as they are: they have a single symbol.
        weights = [
            torch.where(count.sum(1, True) > 0.0, count / count.sum(1, True).clamp_min(1e-300), old)
            for count, old in zip(counts, weights, strict=True)
        ]


def _expect(reasoner: Reasoner, observations: Observations, weights: list[Tensor]) -> tuple[float, list[Tensor]]:
    """The log-likelihood, and how often each cluster stands for each symbol, in expectation."""
    total = 0.0
    counts = [torch.zeros_like(value) for value in weights]
    numbers = {unknown.network: k for k, unknown in enumerate(observations.unknowns)}
    if len(observations.answers):
        device = next(reasoner.buffers()).device
        blocks: list[Tensor] = []
        for item in observations.inputs:
            mapped = (
                item.rows if item.unknown is None else apply_weights(item.rows, weights[numbers[item.unknown.network]])
            )
            blocks.append(mapped.to(device).requires_grad_())
        keys = [(asked.network, *asked.slots) for asked in reasoner.inputs]
        with torch.enable_grad():
            result = reasoner(dict(zip(keys, blocks, strict=True)), batch=len(observations.answers))
            found = result.expand(len(observations.answers), -1)
            log_p = found.gather(1, observations.answers.to(device)[:, None])[:, 0]
            possible = log_p > -torch.inf
            # Without a network the answers do not depend on the weights.
            slopes = torch.autograd.grad(log_p[possible].sum(), blocks) if blocks else ()
        total += float(log_p.detach().where(possible, torch.tensor(LOG_PROBABILITY_FLOOR, device=device)).sum())
        for item, block, slope in zip(observations.inputs, blocks, slopes, strict=True):
            if item.unknown is not None:
                share = _posterior_share(block.detach().cpu(), slope.cpu(), possible.cpu())
                number = numbers[item.unknown.network]
                counts[number] += weights[number] * (item.rows.exp().T @ share)
    for label in observations.labels:
        number = numbers[label.unknown.network]
        log_p = apply_weights(label.rows, weights[number]).gather(1, label.symbols[:, None])[:, 0]
        possible = log_p > -torch.inf
        total += float(log_p.clamp_min(LOG_PROBABILITY_FLOOR).where(possible, LOG_PROBABILITY_FLOOR).sum())
        share = torch.zeros(len(log_p), weights[number].shape[1], dtype=torch.float64)
        share.scatter_(1, label.symbols[:, None], torch.where(possible, (-log_p).exp(), 0.0)[:, None])
        counts[number] += weights[number] * (label.rows.exp().T @ share)
    return total, counts


def _posterior_share(log_p: Tensor, slope: Tensor, possible: Tensor) -> Tensor:
    """P(symbol | answer) / P(symbol) from the gradient of log P(answer), shape (n, symbols).

    A circuit need not mention an image where its symbol does not matter. There the posterior is the prior, and the
    gradient lacks just that part: it does not sum to one.
    """
    p = log_p.exp()
    unmentioned = 1.0 - slope.sum(1, True)
    share = torch.where(p > 0.0, slope / p.clamp_min(math.ulp(0.0)), 0.0) + unmentioned
    return share.clamp_min(0.0) * possible[:, None]
