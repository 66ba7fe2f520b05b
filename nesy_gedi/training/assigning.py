"""Which symbol each cluster of a run's networks stands for: answers and labels in, ``assignment.json`` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import NEAR_TIE, Assignment, Maps, apply_map, assign
from nesy_gedi.concepts.inputs import LabelledImages
from nesy_gedi.concepts.statements import alternatives, left_open, statements
from nesy_gedi.concepts.telling_queries import next_query
from nesy_gedi.data import ImageSplits, Queries
from nesy_gedi.logic.distributions import one_hot_log
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.networks.batches import in_batches
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.asking import Unanswered, find_unanswered, joined
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.runs import VERSION
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task

UNLIKELY = 0.2
"""Of what answers cost where images say nothing. Where they surely cost more under the best assignment, clusters mix
symbols. No answer counts for more than that: one image that is misread with confidence says little of the others."""

DOUBTFUL = math.log(10_000.0)
"""Nats. While answers may be asked for, maps that are so nearly as likely as the best are told apart, too: an image that its
cluster misreads with confidence makes the right map cost about as much."""

ACCIDENTS = 1e-3
"""Of so many answers both images may be misread and the answer be right all the same."""

IMAGES = 8000
"""So many in answers settle any assignment that answers can: of long sums fewer are looked at."""

TYPICAL = 8
"""Training images shown of a cluster whose label would help."""

LOOKED_AT = 5000
"""Of so many of them they are the most typical."""


@dataclass(frozen=True, eq=False)
class AssignmentInputs:
    """What pretraining and assignment need of a run.

    Attributes:
        task, splits, labelled: as they are trained on.
        data_dir: where data sets are.
        device: from :func:`~nesy_gedi.training.devices.choose_device`.
        trusted: networks whose encoder may import Python.
        listener, stop: as for :func:`~nesy_gedi.training.training.train`.
        images: all of the data, so that a pretraining need not read it again; None where it has to.
    """

    task: Task
    splits: Splits
    labelled: Mapping[str, Labelled]
    data_dir: Path | None
    device: str
    trusted: tuple[str, ...]
    listener: Listener
    stop: Callable[[], bool]
    images: ImageSplits | None = None


def assign_clusters(inputs: AssignmentInputs, perceptions: Mapping[str, Perception]) -> dict[str, Any]:
    """The likeliest assignment under the answers and labels, as ``assignment.json`` tells it. While it leaves anything open,
    further answers are asked for, as many as the recipe allows."""
    task, device = inputs.task, torch.device(inputs.device)

    def perceive(network: str, images: Tensor) -> Tensor:
        return _perceive(perceptions[network], images, device)

    labels = {name: (perceive(name, told.images), told.symbols) for name, told in inputs.labelled.items()}
    task.reasoner.to("cpu")
    queries = inputs.splits.train.first(min(task.recipe.pretraining.answers, max(1, IMAGES // len(task.slots))))
    observed = _observe(task, queries, perceive)
    found = _search(observed, labels)
    asked: list[int] = []
    unanswered: Unanswered | None = None
    while len(asked) < task.recipe.pretraining.ask:
        left = left_open(_search(observed, labels, DOUBTFUL))
        if left.settled:
            break
        unanswered = unanswered or find_unanswered(task, inputs.splits, perceive)
        number = unanswered.choose(left.maps)
        if number is None or number in asked:  # what it has been told says nothing more
            break
        asked.append(number)
        observed = _observe(task, joined(queries, unanswered.queries, asked), perceive)
        found = _search(observed, labels)
    unlabelled, of_answers = found, found.log_likelihood
    if labels:
        unlabelled = _search(observed, {})
        known = {name: dict(enumerate(symbols)) for name, symbols in found.maps.items()}
        of_answers = observed.search(fixed=known).log_likelihood
    costs = _costs(observed, unlabelled)
    findings = _AssignmentFindings(
        found,
        unlabelled,
        of_answers,
        _disagreeing(found, labels),
        _unlikely(**costs),
        costs,
        len(observed.answers),
        asked,
    )
    document = _document(inputs, findings, perceptions)
    task.reasoner.to(device)
    return document


@dataclass(frozen=True, eq=False)
class Observed:
    """Answers, and what was seen and given with them.

    Attributes:
        log_q: (network, slot) -> log-probabilities over clusters (n, c).
        given: (network, slot) -> log-probabilities over symbols (n, K).
        answers: columns of ``task.reasoner.answers``, (n,).
    """

    task: Task
    log_q: Mapping[tuple[str, ...], Tensor]
    given: Mapping[tuple[str, ...], Tensor]
    answers: Tensor

    def search(self, **more: Any) -> Assignment:
        """The best assignment; ``more`` as for :func:`~nesy_gedi.concepts.assignment.assign`."""
        seconds = self.task.recipe.pretraining.seconds
        return assign(
            self.task.reasoner, self.log_q, self.answers, given=self.given, kind="fitting", seconds=seconds, **more
        )

    def log_likelihoods(self, maps: Maps, *, certain: bool = False) -> Tensor:
        """Of each answer where clusters stand for these symbols, (n,), in nats, floored.

        Args:
            certain: each image is of its likeliest cluster.
        """

        return self.infer(self.symbols_under(maps, certain=certain)).gather(1, self.answers[:, None])[:, 0]

    def symbols_under(self, maps: Maps, *, certain: bool = False) -> Callable[[str, Tensor], Tensor]:
        """What images are where clusters stand for these symbols, as :meth:`infer` takes it."""

        def see(network: str, log_q: Tensor) -> Tensor:
            if certain:
                log_q = one_hot_log(log_q.argmax(1), log_q.shape[1], torch.float64)
            return apply_map(log_q, maps[network], len(self.task.program.networks[network]))

        return see

    @torch.no_grad()
    def infer(self, see: Callable[[str, Tensor], Tensor]) -> Tensor:
        """Log-probabilities of all answers, (n, answers), floored.

        Args:
            see: name of a network and log-probabilities of clusters (n, c) -> of symbols (n, K).
        """
        inputs: dict[object, Tensor] = {}
        inputs.update(self.given.items())
        inputs.update({key: see(key[0], log_q) for key, log_q in self.log_q.items()})
        log_p: Tensor = self.task.reasoner(inputs)
        return log_p.clamp_min(LOG_PROBABILITY_FLOOR)


def _search(observed: Observed, labels: LabelledImages, tolerance: float = NEAR_TIE) -> Assignment:
    """The best assignment. Where its lead over the next is an accident of misread images, the next counts as near it."""
    found = observed.search(labels=labels, tolerance=tolerance)
    if found.runner_up is None or len(found.near_ties) > 1 or not _is_accident(observed, found):
        return found
    return observed.search(labels=labels, tolerance=found.gap * (1.0 + 1e-9))


def _is_accident(observed: Observed, found: Assignment) -> bool:
    """Whether what clusters most likely are tells the best assignment from the next by no answer, or by hardly more than the
    next from the best. Then only images that their clusters misread do, which of many answers are enough for any likelihood."""
    assert found.runner_up is not None
    best, rival = (observed.log_likelihoods(maps, certain=True) for maps in (found.maps, found.runner_up))
    mine, theirs = best > LOG_PROBABILITY_FLOOR, rival > LOG_PROBABILITY_FLOOR
    if bool((mine & theirs & ((best - rival).abs() > 1e-6)).any()):
        return False  # rules are random: answers may tell without excluding anything
    lead = observed.log_likelihoods(found.maps) - observed.log_likelihoods(found.runner_up)
    if found.gap - float(lead.sum()) > NEAR_TIE:
        return False  # labels tell
    ahead, behind = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return ahead - behind <= max(math.sqrt(2.0 * behind), ACCIDENTS * len(best))


def _observe(task: Task, queries: Queries, perceive: Callable[[str, Tensor], Tensor]) -> Observed:
    log_q: dict[tuple[str, ...], Tensor] = {}
    for item in task.seen:
        shown = queries.images.take(queries.index[:, task.slots.index(item.slots[0])])
        log_q[item.network, *item.slots] = perceive(item.network, shown)
    given: dict[tuple[str, ...], Tensor] = {
        (item.network, *item.slots): one_hot_log(queries.observed[:, k], len(item.domain), torch.float64)
        for k, item in enumerate(task.observed)
    }
    return Observed(task, log_q, given, queries.answers)


@dataclass(frozen=True, eq=False)
class _AssignmentFindings:
    """What the answers say.

    Attributes:
        found, unlabelled: the assignment, and that without labels.
        of_answers: log-likelihood of the answers alone under ``found``.
        disagreeing: of each label that ``found`` does not follow, the symbol told and the one that is found.
        unlikely: the answers are unlikely under every assignment.
        costs: as :func:`_costs` returns them.
        answers: how many there were.
        asked: those of them that were asked for, as :func:`~nesy_gedi.training.asking.with_asked` takes them.
    """

    found: Assignment
    unlabelled: Assignment
    of_answers: float
    disagreeing: list[tuple[str, str]]
    unlikely: bool
    costs: dict[str, Tensor]
    answers: int
    asked: list[int]


def _costs(observed: Observed, found: Assignment) -> dict[str, Tensor]:
    """What answers cost, (n,) nats each: ``best``, under an assignment, and at most ``chance``, where every symbol is as
    probable as any other; ``certain``, so bounded and on average, where each image's symbol is certain: programs may be
    random."""

    def uniform(name: str, values: Tensor) -> Tensor:
        size = len(found.domains[name])
        return torch.full((len(values), size), -math.log(size), dtype=torch.float64)

    certain = observed.infer(observed.symbols_under(found.maps, certain=True))
    chance, column = -observed.infer(uniform), observed.answers[:, None]
    return {
        "best": (-observed.infer(found.apply)).minimum(chance).gather(1, column)[:, 0],
        "certain": (certain.exp() * (-certain).minimum(chance)).sum(1),
        "chance": chance.gather(1, column)[:, 0],
    }


def _unlikely(best: Tensor, certain: Tensor, chance: Tensor) -> bool:
    """Whether answers cost too much, by more than one standard error: a few of them may have met the few images that
    good clusters misread."""
    most = float((chance - certain).mean())
    share = float((best - certain).mean()) / most if most > 0 else 0.0
    bounded = min(max(share, 0.0), 1.0)
    return share - math.sqrt(bounded * (1.0 - bounded) / len(best)) > UNLIKELY


def _disagreeing(found: Assignment, labels: Mapping[str, tuple[Tensor, Tensor]]) -> list[tuple[str, str]]:
    """The labels whose symbols are improbable under an assignment, each with the likeliest symbol."""
    pairs = []
    for name, (log_q, symbols) in labels.items():
        log_p = found.apply(name, log_q)
        wrong = log_p.gather(1, symbols[:, None])[:, 0] < log_p.amax(1) - NEAR_TIE
        domain = found.domains[name]
        likeliest = log_p.argmax(1)
        pairs += [(domain[int(symbols[k])], domain[int(likeliest[k])]) for k in wrong.nonzero()[:, 0]]
    return pairs


def _document(
    inputs: AssignmentInputs,
    findings: _AssignmentFindings,
    perceptions: Mapping[str, Perception],
) -> dict[str, Any]:
    found, left = findings.found, left_open(findings.found)
    labels = sum(len(each) for each in inputs.labelled.values())
    typical = {name: _typical(inputs, name, perceptions[name]) for name in {network for network, _ in left.labels}}
    asked = [
        {
            "network": network,
            "cluster": cluster,
            "symbols": [found.domains[network][k] for k in left.candidates[network, cluster]],
            "typical": typical[network][cluster],
        }
        for network, cluster in left.labels
    ]
    query = next_query(inputs.task.reasoner, left)
    return {
        "version": VERSION,
        "networks": {
            name: {
                "clusters": len(perception.domain),
                "map": list(found.symbols(name)),
                "runner_up": None
                if found.runner_up is None
                else [found.domains[name][k] for k in found.runner_up[name]],
                "posterior": found.posterior[name].tolist(),
                "domain": list(found.domains[name]),
                "uninformed": [cluster for network, cluster in found.uninformed if network == name],
            }
            for name, perception in perceptions.items()
        },
        "log_likelihood": found.log_likelihood,
        "runner_up_log_likelihood": None if found.runner_up is None else found.log_likelihood - found.gap,
        "gap": found.gap if math.isfinite(found.gap) else None,
        "exact": found.exact,
        "near_ties": len(left.maps),
        "more_near_ties": left.more,
        "labels_to_ask": asked,
        "query_to_ask": query,
        "unlikely": findings.unlikely,
        "nats_an_answer": {what: float(cost.mean()) for what, cost in findings.costs.items()},
        "sentences": statements(
            found,
            left,
            answers=findings.answers,
            asked=len(findings.asked),
            labels=labels,
            contradiction=findings.unlabelled.log_likelihood - findings.of_answers,
            disagreeing=findings.disagreeing,
            unlikely=findings.unlikely,
            query=query,
        ),
        "alternatives": alternatives(found, left),
        "answers": findings.answers,
        "asked": findings.asked,
        "labels": labels,
        "seconds": found.seconds,
    }


def _typical(inputs: AssignmentInputs, network: str, perception: Perception) -> list[list[int]]:
    """For each cluster the training images (positions in the training queries' set) that are most certainly of it."""
    pool = inputs.splits.pool
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(inputs.task.recipe.seed))[:LOOKED_AT]
    log_q = _perceive(perception, pool.images[drawn], torch.device(inputs.device))
    return drawn[log_q.topk(min(TYPICAL, len(drawn)), dim=0).indices].T.tolist()


def _perceive(perception: Perception, images: Tensor, device: torch.device) -> Tensor:
    """Log-probabilities over clusters (n, c) of images, on the CPU."""
    return in_batches(perception.to(device), images.cpu())
