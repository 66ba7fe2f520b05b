"""Further answers that are asked for: of the queries that tell most of what clusters mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.telling_queries import most_telling
from nesy_gedi.data import Queries
from nesy_gedi.errors import RunError
from nesy_gedi.training.splits import Splits, draw_further
from nesy_gedi.training.task import Task

LOOKED_AT = 5000
"""Of so many queries those are chosen whose answers are asked for."""


@dataclass(frozen=True, eq=False)
class Unanswered:
    """Queries whose answers can be asked for.

    Attributes:
        queries: with the answers that they will have, at which nothing looks before.
        clusters: of each input in the reasoner's order, (n, inputs) int64; symbols where these are given.
        log_confidence: that these are its clusters, (n,).
    """

    task: Task
    queries: Queries
    clusters: Tensor
    log_confidence: Tensor

    def choose(self, maps: Sequence[Maps]) -> int | None:
        """The query whose answer tells most of ``maps`` apart, by number; None where none tells any apart."""
        given = {item.network for item in self.task.observed}
        return most_telling(self.task.reasoner, maps, self.clusters, self.log_confidence, given)


def find_unanswered(task: Task, splits: Splits, perceive: Callable[[str, Tensor], Tensor]) -> Unanswered:
    """Queries over the same images as the training queries, the same for every run with the recipe's seed.

    Args:
        perceive: name of a network and images (n, ...) -> log-probabilities over clusters (n, c), on the CPU.
    """
    queries = draw_further(task, splits.train).first(LOOKED_AT)
    columns, log_confidence = [], torch.zeros(len(queries))
    for item in task.reasoner.inputs:
        if item in task.observed:
            columns.append(queries.observed[:, task.observed.index(item)])
            continue
        log_q = perceive(item.network, queries.images.take(queries.index[:, task.slots.index(item.slots[0])]))
        best, cluster = log_q.max(1)
        columns.append(cluster)
        log_confidence += best
    return Unanswered(task, queries, torch.stack(columns, 1), log_confidence)


def with_asked(task: Task, splits: Splits, numbers: Sequence[int]) -> Splits:
    """The splits with the answers that a run has asked for among the training queries.

    Args:
        numbers: from :meth:`Unanswered.choose`.

    Raises:
        RunError: there are not so many queries to ask.
    """
    if not numbers:
        return splits
    others = draw_further(task, splits.train)
    if max(numbers) >= len(others):
        raise RunError(
            f"assignment.json is damaged: query {max(numbers)} was asked for, of {len(others)}", hint="restore the file"
        )
    return replace(splits, train=joined(splits.train, others, numbers))


def joined(train: Queries, other: Queries, numbers: Sequence[int]) -> Queries:
    """Queries and those of ``other``, over the same images, with these numbers."""
    rows = torch.tensor(numbers, dtype=torch.int64)
    return Queries(
        train.images,
        torch.cat([train.index, other.index[rows]]),
        torch.cat([train.answers, other.answers[rows]]),
        torch.cat([train.observed, other.observed[rows]]),
    )
