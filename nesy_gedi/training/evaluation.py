"""Measure a trained task on queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import DataError, DistributionError
from nesy_gedi.logic.reasoner import nll
from nesy_gedi.metrics import CONCEPT_DETAILS, CONCEPT_METRICS
from nesy_gedi.metrics.calibration import expected_calibration_error
from nesy_gedi.metrics.clustering import adjusted_mutual_information
from nesy_gedi.metrics.concepts import (
    aligned_concept_accuracy,
    concept_accuracy,
    concept_collapse,
    concept_entropy,
    concept_gap,
    confusion_matrix,
    empirical_map,
    error_auroc,
    marginal_divergence,
)
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.task import Task

EVALUATION_BATCH = 512


def perceive(
    task: Task,
    networks: nn.ModuleDict | Mapping[str, Callable[[Tensor], Tensor]],
    queries: Queries,
    rows: Tensor,
    device: torch.device,
) -> dict[str, Tensor]:
    """Log-probabilities of what each network sees in ``rows`` of ``queries``.

    Returns:
        network -> (batch, slots of that network, K). All slots go through the network at once.

    Raises:
        DataError: images of another shape than the network expects.
        DistributionError: what a network returns is no distribution over its domain.
    """
    seen: dict[str, Tensor] = {}
    for name in task.networks:
        index = queries.index[rows][:, task.columns(name)]
        images = queries.images.images[index.reshape(-1)].to(device)
        try:
            seen[name] = networks[name](images).view(*index.shape, -1)
        except (DataError, DistributionError) as error:
            raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
    return seen


def validate(task: Task, networks: nn.ModuleDict, queries: Queries, device: torch.device) -> dict[str, float]:
    """What answers alone can tell: mean negative log-likelihood (nats) and accuracy of the answer."""
    total_loss = right = 0.0
    for rows, log_p in _batches(task, networks, queries, device):
        target = queries.answers[rows].to(device)
        with torch.no_grad():
            answers = task.reasoner(task.observe(log_p, queries.observed[rows]))
            total_loss += float(nll(answers, target)) * len(rows)
        # Where nothing is observed beside the answer, these are the predictions already.
        right += float((_right(task, log_p, queries, rows) if task.observed else answers.argmax(1) == target).sum())
    return {"loss": total_loss / len(queries), "answer_accuracy": right / len(queries)}


def measure(
    task: Task, networks: nn.ModuleDict, queries: Queries, device: torch.device, clock: Clock | None = None
) -> dict[str, Any]:
    """All metrics of ``queries``: accuracy of answers, and what the concepts of each network mean.

    Returns:
        ``answer_accuracy``; all of ``CONCEPT_METRICS`` and ``CONCEPT_DETAILS`` as means over networks,
        ``concept_accuracy`` never aligned, None where undefined for each; under ``networks`` the same for each with its
        ``confusion`` (true rows, predicted columns) and its ``empirical_map`` (true symbol -> the ``symbol`` that it is
        mostly taken for and the ``share``; None where it does not occur); ``queries``, their number.

        Where training is restricted to a support, all this once more under ``outside`` for queries outside it, with
        the number of different ``tuples``, and under ``outside.seen_answers`` for those of them whose answer the
        support has, too (None where there is none).
    """
    clock = clock or Clock()
    found = _figures(task, _look(task, networks, queries, device, clock))
    if (outside := queries.outside) is not None:
        seen = _look(task, networks, outside.queries, device, clock)
        found["outside"] = {
            **_figures(task, seen),
            "tuples": outside.tuples,
            "seen_answers": _figures(task, seen.rows(outside.seen_answer)) if bool(outside.seen_answer.any()) else None,
        }
    return found


class _Seen(NamedTuple):
    """What the networks make of n queries.

    Attributes:
        right: whether the answer is, (n,) bool.
        probabilities: network -> (n, slots of that network, K).
        truth: network -> (n, slots of that network).
    """

    right: Tensor
    probabilities: dict[str, Tensor]
    truth: dict[str, Tensor]

    def rows(self, chosen: Tensor) -> _Seen:
        probabilities = {name: block[chosen] for name, block in self.probabilities.items()}
        return _Seen(self.right[chosen], probabilities, {name: true[chosen] for name, true in self.truth.items()})


def _look(task: Task, networks: nn.ModuleDict, queries: Queries, device: torch.device, clock: Clock) -> _Seen:
    right: list[Tensor] = []
    seen: dict[str, list[Tensor]] = defaultdict(list)
    clock.start()
    for rows, log_p in _batches(task, networks, queries, device):
        clock.lap("network")
        right.append(_right(task, log_p, queries, rows))
        clock.lap("logic")
        for name, block in log_p.items():
            seen[name].append(block.cpu())
    truth = {name: task.symbols(name, queries.images)[queries.index[:, task.columns(name)]] for name in task.networks}
    return _Seen(torch.cat(right), {name: torch.cat(blocks).exp() for name, blocks in seen.items()}, truth)


def _figures(task: Task, seen: _Seen) -> dict[str, Any]:
    by_network = {
        name: _concepts(seen.probabilities[name].flatten(0, 1), seen.truth[name].flatten(), task.program.networks[name])
        for name in task.networks
    }
    means: dict[str, float | None] = {}
    for key, _, _ in (*CONCEPT_METRICS, *CONCEPT_DETAILS):
        defined = [values[key] for values in by_network.values() if values[key] is not None]
        means[key] = sum(defined) / len(defined) if defined else None
    right = int(seen.right.sum()) / len(seen.right)
    return {"answer_accuracy": right, **means, "queries": len(seen.right), "networks": by_network}


def _concepts(probabilities: Tensor, truth: Tensor, domain: tuple[str, ...]) -> dict[str, Any]:
    """The metrics of one network: ``probabilities`` (n, K) of images whose symbols are ``truth`` (n,)."""
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(truth, predicted, len(domain))
    seen_as, share = empirical_map(confusion)
    return {
        "concept_accuracy": concept_accuracy(confusion),
        "aligned_concept_accuracy": aligned_concept_accuracy(confusion),
        "ami": adjusted_mutual_information(truth, predicted),
        "concept_ece": expected_calibration_error(probabilities, truth),
        "concept_collapse": concept_collapse(confusion),
        "concept_gap": concept_gap(confusion),
        "concept_entropy": float(concept_entropy(probabilities).mean()),
        "marginal_divergence": marginal_divergence(probabilities, truth),
        "error_auroc": error_auroc(probabilities, truth),
        "confusion": confusion.tolist(),
        "empirical_map": {
            symbol: None if k < 0 else {"symbol": domain[k], "share": part}
            for symbol, k, part in zip(domain, seen_as.tolist(), share.tolist(), strict=True)
        },
    }


def _batches(
    task: Task, networks: nn.ModuleDict, queries: Queries, device: torch.device
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    networks.eval()
    for begin in range(0, len(queries), EVALUATION_BATCH):
        rows = torch.arange(begin, min(begin + EVALUATION_BATCH, len(queries)))
        with torch.no_grad():  # not around yield: that would switch it off for the caller
            log_p = perceive(task, networks, queries, rows, device)
        yield rows, log_p


def _right(task: Task, log_p: dict[str, Tensor], queries: Queries, rows: Tensor) -> Tensor:
    best, values = task.predict(log_p)
    return (best.cpu() == queries.answers[rows]) & (values.cpu() == queries.observed[rows]).all(1)
