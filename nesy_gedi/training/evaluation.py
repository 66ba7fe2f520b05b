"""Measure a trained task on queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import DataError, DistributionError
from nesy_gedi.logic.likelihood import nll
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
from nesy_gedi.networks.batches import in_batches
from nesy_gedi.networks.ensembles import log_average
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.memory import in_batches_that_fit
from nesy_gedi.training.task import Task

T = TypeVar("T")

EVALUATION_BATCH = 512
"""Queries at once."""


def perceive(
    task: Task,
    networks: nn.ModuleDict | Mapping[str, Callable[..., Tensor]],
    queries: Queries,
    rows: Tensor,
    device: torch.device,
) -> dict[str, Tensor]:
    """Log-probabilities of what each network sees in ``rows`` of ``queries``.

    Args:
        networks: name -> images (n, ...) to log-probabilities (n, K), or to those of M members (M, n, K); of a network
            with several inputs, from as many tensors.

    Returns:
        network -> (batch, slots of that network, K). All slots go through the network at once. Of members
        (M batch, slots, K): all rows by the first, then all by the second ...

    Raises:
        DataError: images of another shape than the network expects.
        DistributionError: what a network returns is no distribution over its domain.
    """
    seen: dict[str, Tensor] = {}
    for name in task.networks:
        read = [queries.index[rows][:, task.columns(name, k)] for k in range(task.arguments(name))]
        try:
            # Where the images are on the device already, nothing is waited for.
            log_p = networks[name](*(queries.images.take(index.reshape(-1)).to(device) for index in read))
            seen[name] = log_p.reshape(-1, read[0].shape[1], log_p.shape[-1])
        except (DataError, DistributionError) as error:
            raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
    return seen


def probabilities_of(perception: nn.Module, *inputs: Tensor) -> Tensor:
    """What a :class:`~nesy_gedi.networks.perception.Perception` makes of images (n, channels, height, width) or points
    (n, d), a tensor for each of its inputs: probabilities (n, symbols), on the CPU."""
    return in_batches(perception, inputs).exp()


def validate(
    task: Task,
    networks: nn.ModuleDict,
    queries: Queries,
    device: torch.device,
    *,
    members: int = 1,
    terms: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda log_p: {},
) -> dict[str, float]:
    """What answers alone can tell, as means over queries.

    Args:
        members: of each network, as :func:`perceive` takes them; their answer is the average of theirs.
        terms: of what the networks see, whatever else is to be averaged, by name.

    Returns:
        ``loss``, the negative log-likelihood in nats, and ``answer_accuracy``; ``members_loss``, the loss of a single
        member on average, where there are several; and the terms.
    """
    totals: dict[str, float] = defaultdict(float)
    count = 0

    def look(rows: Tensor) -> tuple[int, dict[str, float]]:
        log_p = perceive(task, networks, queries, rows, device)
        target = queries.answers[rows].to(device)
        answers = task.reasoner(task.observe(log_p, queries.observed[rows].repeat(members, 1)))
        together = _average(answers, members)
        means = {"loss": nll(together, target), **terms(log_p)}
        if members > 1:
            means["members_loss"] = nll(answers, target.repeat(members))
        # Where nothing is observed beside the answer, these are the predictions already.
        right = _right(task, log_p, queries, rows, members) if task.observed else together.argmax(1) == target
        return int(right.sum()), {name: float(mean) for name, mean in means.items()}

    for rows, (right, means) in _batches(networks, queries, look):
        count += right
        for name, mean in means.items():
            totals[name] += mean * len(rows)
    return {"answer_accuracy": count / len(queries)} | {name: total / len(queries) for name, total in totals.items()}


def measure(
    task: Task,
    networks: nn.ModuleDict,
    queries: Queries,
    device: torch.device,
    clock: Clock | None = None,
    *,
    members: int = 1,
) -> dict[str, Any]:
    """All metrics of ``queries``: accuracy of answers, and what the concepts of each network mean.

    Args:
        members: of each network, as :func:`perceive` takes them. Metrics of concepts are those of their average, the
            answer is the average of theirs. Computed from the average of symbols instead, it would be wrong where the
            program asks how symbols go together: of two models of which each reads a bit as the other's opposite, both
            get every xor right, and their average bit none.

    Returns:
        ``answer_accuracy``; all of ``CONCEPT_METRICS`` and ``CONCEPT_DETAILS`` as means over networks,
        ``concept_accuracy`` never aligned, None where undefined for each; under ``networks`` the same for each with its
        ``confusion`` (true rows, predicted columns) and its ``learned_map`` (true symbol -> the one that it is mostly read
        as; None where it does not occur), and with ``labelled``, how many of the symbols seen are known: all that compares
        with them is None where none is, and else over these; ``queries``, their number.

        Where training is restricted to a support, all this once more under ``outside`` for queries outside it, with
        the number of different ``tuples``, and under ``outside.seen_answers`` for those of them whose answer the
        support has, too (None where there is none).
    """
    clock = clock or Clock()
    found = _figures(task, _predict(task, networks, queries, device, clock, members))
    if (outside := queries.outside) is not None:
        predictions = _predict(task, networks, outside.queries, device, clock, members)
        found["outside"] = {
            **_figures(task, predictions),
            "tuples": outside.tuples,
            "seen_answers": _figures(task, predictions.rows(outside.seen_answer))
            if bool(outside.seen_answer.any())
            else None,
        }
    return found


class _Predictions(NamedTuple):
    """What the networks make of n queries.

    Attributes:
        right: whether the answer is, (n,) bool.
        probabilities: network -> (n, slots of that network, K).
        truth: network -> (n, slots of that network).
    """

    right: Tensor
    probabilities: dict[str, Tensor]
    truth: dict[str, Tensor]

    def rows(self, chosen: Tensor) -> _Predictions:
        probabilities = {name: block[chosen] for name, block in self.probabilities.items()}
        return _Predictions(
            self.right[chosen], probabilities, {name: true[chosen] for name, true in self.truth.items()}
        )


def _predict(
    task: Task, networks: nn.ModuleDict, queries: Queries, device: torch.device, clock: Clock, members: int
) -> _Predictions:
    right: list[Tensor] = []
    seen: dict[str, list[Tensor]] = defaultdict(list)
    clock.start()

    def look(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        log_p = perceive(task, networks, queries, rows, device)
        clock.lap("network")
        right = _right(task, log_p, queries, rows, members)
        clock.lap("logic")
        return right, {name: _average(block, members).cpu() for name, block in log_p.items()}

    for _, (correct, averages) in _batches(networks, queries, look):
        right.append(correct)
        for name, block in averages.items():
            seen[name].append(block)
    truth = {name: task.truth(name, queries) for name in task.networks}
    return _Predictions(torch.cat(right), {name: torch.cat(blocks).exp() for name, blocks in seen.items()}, truth)


def _figures(task: Task, predictions: _Predictions) -> dict[str, Any]:
    by_network = {
        name: _concepts(
            predictions.probabilities[name].flatten(0, 1),
            predictions.truth[name].flatten(),
            task.program.networks[name],
        )
        for name in task.networks
    }
    means: dict[str, float | None] = {}
    for key, _, _ in (*CONCEPT_METRICS, *CONCEPT_DETAILS):
        defined = [values[key] for values in by_network.values() if values[key] is not None]
        means[key] = sum(defined) / len(defined) if defined else None
    right = int(predictions.right.sum()) / len(predictions.right)
    return {"answer_accuracy": right, **means, "queries": len(predictions.right), "networks": by_network}


def _concepts(probabilities: Tensor, truth: Tensor, domain: tuple[str, ...]) -> dict[str, Any]:
    """The metrics of one network: ``probabilities`` (n, K) of images whose symbols are ``truth`` (n,), as far as they are
    known."""
    known = truth != UNKNOWN
    entropy = float(concept_entropy(probabilities).mean())
    if not bool(known.any()):
        names = [metric.key for metric in (*CONCEPT_METRICS, *CONCEPT_DETAILS)]
        nothing = dict.fromkeys([*names, "confusion", "learned_map"])
        return nothing | {"concept_entropy": entropy, "labelled": 0}
    if not bool(known.all()):
        probabilities, truth = probabilities[known], truth[known]
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(truth, predicted, len(domain))
    reads, _ = empirical_map(confusion)
    return {
        "concept_accuracy": concept_accuracy(confusion),
        "aligned_concept_accuracy": aligned_concept_accuracy(confusion),
        "ami": adjusted_mutual_information(truth, predicted),
        "concept_ece": expected_calibration_error(probabilities, truth),
        "concept_collapse": concept_collapse(confusion),
        "concept_gap": concept_gap(confusion),
        "concept_entropy": entropy,
        "marginal_divergence": marginal_divergence(probabilities, truth),
        "error_auroc": error_auroc(probabilities, truth),
        "confusion": confusion.tolist(),
        "learned_map": {
            symbol: None if read < 0 else domain[read] for symbol, read in zip(domain, reads.tolist(), strict=True)
        },
        "labelled": len(truth),
    }


def _batches(networks: nn.ModuleDict, queries: Queries, look: Callable[[Tensor], T]) -> Iterator[tuple[Tensor, T]]:
    """What ``look`` returns of the rows of one batch after another, without gradient."""
    networks.eval()

    @torch.no_grad()
    def quietly(rows: Tensor) -> T:
        return look(rows)

    return in_batches_that_fit(len(queries), EVALUATION_BATCH, quietly)


def _average(log_p: Tensor, members: int) -> Tensor:
    """Of members whose rows follow one another: (M batch, ...) to (batch, ...)."""
    return log_p if members == 1 else log_average(log_p.unflatten(0, (members, -1)))


def _right(task: Task, log_p: dict[str, Tensor], queries: Queries, rows: Tensor, members: int) -> Tensor:
    best, values = task.predict(log_p, members=members)
    return (best.cpu() == queries.answers[rows]) & (values.cpu() == queries.observed[rows]).all(1)
