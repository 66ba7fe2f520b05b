"""Measure a trained task on queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import DataError, DistributionError
from nesy_gedi.logic.reasoner import nll
from nesy_gedi.metrics import CONCEPT_METRICS
from nesy_gedi.metrics.calibration import expected_calibration_error
from nesy_gedi.metrics.clustering import adjusted_mutual_information
from nesy_gedi.metrics.concepts import aligned_concept_accuracy, concept_accuracy, confusion_matrix
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.task import Task

EVALUATION_BATCH = 512


def perceive(
    task: Task, networks: nn.ModuleDict, queries: Queries, rows: Tensor, device: torch.device
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
        ``answer_accuracy``; ``concept_accuracy`` (never aligned), ``aligned_concept_accuracy``, ``ami`` and
        ``concept_ece`` as means over networks; under ``networks`` the same for each with its ``confusion`` (true
        rows, predicted columns); ``queries``, their number.
    """
    clock = clock or Clock()
    right = 0.0
    seen: dict[str, list[Tensor]] = defaultdict(list)
    truth: dict[str, list[Tensor]] = defaultdict(list)
    true_symbols = {name: task.symbols(name, queries.images) for name in task.networks}
    clock.start()
    for rows, log_p in _batches(task, networks, queries, device):
        clock.lap("network")
        right += float(_right(task, log_p, queries, rows).sum())
        clock.lap("logic")
        for name, block in log_p.items():
            seen[name].append(block.flatten(0, 1).cpu())
            truth[name].append(true_symbols[name][queries.index[rows][:, task.columns(name)]].flatten())
    by_network: dict[str, dict[str, Any]] = {}
    for name in task.networks:
        probabilities, true = torch.cat(seen[name]).exp(), torch.cat(truth[name])
        predicted = probabilities.argmax(1)
        confusion = confusion_matrix(true, predicted, len(task.program.networks[name]))
        by_network[name] = {
            "concept_accuracy": concept_accuracy(confusion),
            "aligned_concept_accuracy": aligned_concept_accuracy(confusion),
            "ami": adjusted_mutual_information(true, predicted),
            "concept_ece": expected_calibration_error(probabilities, true),
            "confusion": confusion.tolist(),
        }
    means = {key: sum(values[key] for values in by_network.values()) / len(by_network) for key, _, _ in CONCEPT_METRICS}
    return {"answer_accuracy": right / len(queries), **means, "queries": len(queries), "networks": by_network}


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
