"""Which symbol does each cluster stand for? The map under which the observed answers are most likely, proven.

Networks that have been pretrained by clustering give distributions over clusters. What is left is a discrete unknown:
a map from clusters to the program's symbols, for all networks at once. :func:`assign` finds the best one under the
program's own circuit, its runner-up, and every map that the observations cannot tell from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nesy_gedi.concepts.ambiguity import separating_places, symbol_posterior
from nesy_gedi.concepts.inputs import KnownSymbols, LabelledImages, LogProbabilities, read_known, read_observations
from nesy_gedi.concepts.local_search import LocalSearch
from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import PairTables
from nesy_gedi.concepts.search import BranchAndBound, Found, branching_order
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.reasoner import Reasoner

NEAR_TIE = math.log(20.0)
"""Nats. A map whose likelihood is within a factor of 20 of the best is one that the observations do not rule out."""

MAX_NEAR_TIES = 64
"""So many near-tied maps are listed."""

TABLES_SHARE = 0.5
"""Of the time, at most, for what guides the search: without time to search, it guides nothing."""

KINDS = ("fitting", "many_to_one", "one_to_one")

HARDLY_SEEN = 0.01
"""Clusters expected less often than this among all observed images are assigned last (see ``uninformed``)."""

Maps = Mapping[str, tuple[int, ...]]
"""network -> for each cluster the index of its symbol."""


@dataclass(frozen=True)
class NearTie:
    """A map that the observations do not rule out.

    Attributes:
        log_likelihood: in nats.
        uninformed: as in :class:`Assignment`, given what the other clusters stand for in this map.
    """

    maps: Maps
    log_likelihood: float
    uninformed: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Assignment:
    """The best map of every network, and how sure it is.

    Attributes:
        maps: network -> for each cluster the index of its symbol.
        log_likelihood: of all observations, in nats; each is floored at ``LOG_PROBABILITY_FLOOR``.
        runner_up: the second best maps, None where there is only one.
        gap: nats from the best to the runner-up, inf where there is none.
        least_gap: proven: every other map is at least so much worse. Equal to ``gap`` where the runner-up is proven to
            be the second best; negative where the best is not proven to be the best.
        exact: whether the best and the near ties are proven; otherwise the budget was too small.
        bound: no map is likelier than this; equal to ``log_likelihood`` where the best is proven.
        near_ties: all maps within the tolerance of the best, best first, the best among them.
        more_near_ties: there are more of them than listed.
        posterior: network -> P(symbol | cluster) over the near ties, shape (clusters, symbols), float64.
        labels_to_ask: (network, cluster): being told these clusters' symbols leaves one of the listed near ties.
        fewest_labels: whether it is proven that fewer labels do not do.
        uninformed: (network, cluster) that are hardly ever seen, in the best map. Their order makes no difference of
            ``search.INDIFFERENCE`` nats, so one stands for all of them: other orders are neither runner-up nor near tie.
        domains: network -> its symbols.
        nodes: partial maps that were looked at.
        seconds: how long it took.
    """

    maps: Maps
    log_likelihood: float
    runner_up: Maps | None
    gap: float
    least_gap: float
    exact: bool
    bound: float
    near_ties: tuple[NearTie, ...]
    more_near_ties: bool
    posterior: Mapping[str, Tensor] = field(repr=False)
    labels_to_ask: tuple[tuple[str, int], ...]
    fewest_labels: bool
    uninformed: tuple[tuple[str, int], ...]
    domains: Mapping[str, tuple[str, ...]] = field(repr=False)
    nodes: int
    seconds: float

    def symbols(self, network: str) -> tuple[str, ...]:
        """For each cluster its symbol, as the program writes it."""
        return tuple(self.domains[network][symbol] for symbol in self.maps[network])

    def apply(self, network: str, log_q: Tensor) -> Tensor:
        """Log-probabilities of symbols (..., symbols) from those of clusters (..., clusters)."""
        return apply_map(log_q, self.maps[network], len(self.domains[network]))


def assign(
    reasoner: Reasoner,
    log_q: LogProbabilities,
    answers: Tensor,
    *,
    given: LogProbabilities | None = None,
    labels: LabelledImages | None = None,
    fixed: KnownSymbols | None = None,
    kind: Literal["one_to_one", "many_to_one", "fitting"] = "one_to_one",
    seconds: float = 10.0,
    tolerance: float = NEAR_TIE,
    max_near_ties: int = MAX_NEAR_TIES,
    seed: int = 0,
) -> Assignment:
    """The maps from clusters to symbols that make the observations most likely.

    Args:
        reasoner: the program's circuit; its learned probabilities are taken as they are.
        log_q: (network, slot, ...) -> log-probabilities over the network's clusters, shape (n, c), rows normalised.
        answers: observed answers as columns of ``reasoner.answers``, shape (n,).
        given: inputs whose symbols are known, (network, slot, ...) -> log-probabilities over the domain, shape (n, K).
        labels: labelled images, network -> (log-probabilities over clusters (m, c), indices of symbols (m,)); each adds
            log P(symbol | image).
        fixed: known parts of the maps, network -> {cluster: index of its symbol}.
        kind: ``one_to_one`` for as many clusters as symbols; ``many_to_one`` for more: every map is then
            considered, also one that leaves a symbol without a cluster; ``fitting`` for each network the one of these
            that its number of clusters asks for.
        seconds: when to stop. What is known by then is returned, with ``exact`` and ``least_gap`` to say what is proven.
        tolerance: nats within which a map counts as near-tied.
        max_near_ties: how many of them are listed at most.
        seed: of the search for a good beginning; the result does not depend on it where it is exact.

    Raises:
        UsageError: an option out of range, an unknown network or slot, fixed symbols that contradict each other, or
            fewer clusters than symbols.
        DataError: answers or labels that do not fit, or nothing observed at all.
        DistributionError: rows that are no distributions.
    """
    started = time.perf_counter()
    _check_options(kind, seconds, tolerance, max_near_ties)
    observations = read_observations(reasoner, log_q, answers, given or {}, labels or {}, kind)
    base = read_known(observations, fixed or {})
    if not observations.count and not fixed:
        raise DataError("nothing is observed: no answers and no labels", hint="pass answers, labels or fixed symbols")
    with torch.no_grad():
        found = _search(observations, base, started + seconds, tolerance, max_near_ties, seed)
    return _report(observations, found, tolerance, max_near_ties, started)


def _check_options(kind: str, seconds: float, tolerance: float, max_near_ties: int) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of map: {kind}", hint=f"valid: {', '.join(KINDS)}")
    if not seconds > 0.0:
        raise UsageError(f"the budget is {seconds} seconds", hint="give the search some time, for example seconds=10")
    if not 0.0 <= tolerance < math.inf:
        raise UsageError(f"the tolerance is {tolerance} nats", hint="pass a finite number that is not negative")
    if max_near_ties < 1:
        raise UsageError(f"max_near_ties is {max_near_ties}", hint="pass at least 1")


def _search(
    observations: Observations, base: Tensor, deadline: float, tolerance: float, max_near_ties: int, seed: int
) -> Found:
    now = time.perf_counter()
    tables = PairTables(observations, base, now + TABLES_SHARE * (deadline - now))
    unseen = (observations.mass() < HARDLY_SEEN) & (base == UNKNOWN)
    search = BranchAndBound(
        observations,
        tables,
        branching_order(observations, tables, unseen),
        known=int((base != UNKNOWN).sum()),
        unseen=int(unseen.sum()),
        tolerance=tolerance,
        keep=max_near_ties + 1,
        deadline=deadline,
    )
    local = LocalSearch(observations, tables, seed=seed, deadline=deadline)
    local.run()
    good = torch.tensor(sorted(local.evaluated, key=lambda row: -local.evaluated[row])[: max_near_ties + 1])
    # One order stands for every order of the clusters that are hardly seen.
    good = search.complete(good.masked_fill(unseen, UNKNOWN)).unique(dim=0)
    search.offer(good, observations.log_likelihood(good))
    return search.run()


def _report(
    observations: Observations, found: Found, tolerance: float, max_near_ties: int, started: float
) -> Assignment:
    best = found.log_likelihoods[0]
    count = sum(value >= best - tolerance for value in found.log_likelihoods)
    listed = min(count, max_near_ties)
    maps = found.maps[:listed]
    places, fewest = separating_places(maps)
    places_of = {u.offset + k: (u.network, k) for u in observations.unknowns for k in range(u.clusters)}
    posterior = {}
    for unknown in observations.unknowns:
        own = [row[unknown.columns] for row in maps]
        spread = [
            [place - unknown.offset for place in unseen if places_of[place][0] == unknown.network]
            for unseen in found.unseen[:listed]
        ]
        posterior[unknown.network] = symbol_posterior(
            own, found.log_likelihoods[:listed], len(unknown.domain), spread, unknown.one_to_one
        )
    gap = best - found.log_likelihoods[1] if len(found.maps) > 1 else math.inf
    left = found.open_bound if found.open_bound is not None else -math.inf
    return Assignment(
        maps=_by_network(observations, found.maps[0]),
        log_likelihood=best,
        runner_up=_by_network(observations, found.maps[1]) if len(found.maps) > 1 else None,
        gap=gap,
        least_gap=min(gap, best - left),
        exact=left < best - tolerance,
        bound=max(best, left),
        near_ties=tuple(
            NearTie(_by_network(observations, row), value, tuple(places_of[place] for place in sorted(unseen)))
            for row, value, unseen in zip(maps, found.log_likelihoods, found.unseen, strict=False)
        ),
        more_near_ties=count > max_near_ties,
        posterior=posterior,
        labels_to_ask=tuple(places_of[place] for place in places),
        fewest_labels=fewest,
        uninformed=tuple(places_of[place] for place in sorted(found.unseen[0])),
        domains={unknown.network: unknown.domain for unknown in observations.unknowns},
        nodes=found.nodes,
        seconds=time.perf_counter() - started,
    )


def _by_network(observations: Observations, row: tuple[int, ...]) -> Maps:
    return {unknown.network: row[unknown.columns] for unknown in observations.unknowns}


def apply_map(log_q: Tensor, mapping: tuple[int, ...], symbols: int) -> Tensor:
    """Log-probabilities of symbols from those of clusters; differentiable.

    Args:
        log_q: shape (..., clusters).
        mapping: for each cluster the index of its symbol.
        symbols: size of the domain.

    Returns:
        Shape (..., symbols); -inf for a symbol without a cluster.
    """
    order = sorted(range(len(mapping)), key=mapping.__getitem__)
    if [mapping[cluster] for cluster in order] == list(range(symbols)):
        return log_q[..., torch.tensor(order, device=log_q.device)]
    empty = log_q.new_full(log_q.shape[:-1], -torch.inf)
    parts = [[cluster for cluster in order if mapping[cluster] == symbol] for symbol in range(symbols)]
    return torch.stack([log_q[..., part].logsumexp(-1) if part else empty for part in parts], -1)
