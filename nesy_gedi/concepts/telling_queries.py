"""Which query's answer would tell apart the assignments that are still possible?"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.statements import LeftOpen, listing
from nesy_gedi.logic.reasoner import Reasoner

QUERIES_TRIED = 4096
"""Combinations of clusters that are tried in the search for a telling query; of more, as many at random."""

ANSWERS_SHOWN = 4
"""So many answers that are expected of a query are written out."""

CERTAIN = 1e-6
"""Nats. An answer is expected where it costs no more."""


def next_query(reasoner: Reasoner, left: LeftOpen) -> dict[str, Any] | None:
    """A query over clusters whose answer tells maps apart, where there is one: the answers that the maps expect of it
    differ, of as many of them as possible.

    Args:
        left: from :func:`left_open`.

    Returns:
        ``query``: the form of the query; ``inputs``: of each its ``network``, ``slots``, ``cluster`` and the ``symbol`` that
        the assignment has it for; ``answers``: what each of the maps expects, that of the assignment first;
        ``settles``: whether any answer leaves one map; ``sentence``: all this for people.
    """
    sizes = [len(left.maps[0][item.network]) for item in reasoner.inputs if item.network in left.maps[0]]
    if left.settled or len(sizes) != len(reasoner.inputs) or not sizes:
        return None  # given inputs would have to be chosen too
    if math.prod(sizes) <= QUERIES_TRIED:
        tried = torch.tensor(list(product(*(range(size) for size in sizes))))
    else:
        generator = torch.Generator().manual_seed(0)
        tried = torch.stack([torch.randint(size, (QUERIES_TRIED,), generator=generator) for size in sizes], 1)
    expected, different = _different(reasoner, left.maps, tried)
    best = int(different.argmax())
    if int(different[best]) < 2:
        return None
    shown = [
        {
            "network": item.network,
            "slots": list(item.slots),
            "cluster": cluster,
            "symbol": item.domain[left.maps[0][item.network][cluster]],
        }
        for item, cluster in zip(reasoner.inputs, tried[best].tolist(), strict=True)
    ]
    clusters = listing([f"{', '.join(each['slots'])} of cluster {each['cluster']}" for each in shown])
    answers = [reasoner.answers[k] for k in expected[best].tolist()]
    settles = int(different[best]) == len(left.maps) and not left.more
    distinct = list(dict.fromkeys(answers))
    more = len(distinct) - ANSWERS_SHOWN
    named = listing([*distinct[:ANSWERS_SHOWN], f"{more} more"] if more > 1 else distinct, "or")
    return {
        "query": reasoner.form.text,
        "inputs": shown,
        "answers": answers,
        "settles": settles,
        "sentence": f"Or one more answer {'settles it' if settles else 'rules some of them out'}: of a query with {clusters}. "
        f"Is it {named}?",
    }


def most_telling(
    reasoner: Reasoner, maps: Sequence[Maps], clusters: Tensor, log_confidence: Tensor, given: Collection[str] = ()
) -> int | None:
    """The query whose answer tells most maps apart.

    Args:
        maps: any of which may be right.
        clusters: of each query's inputs, in the reasoner's order, (n, inputs) int64; symbols where these are given.
        log_confidence: that these are its clusters, (n,): of queries that tell as much the most certain is taken.
        given: networks whose symbols are given.

    Returns:
        Its row; None where none tells any maps apart.
    """
    known = {item.network: tuple(range(len(item.domain))) for item in reasoner.inputs if item.network in given}
    tried, kind = clusters.unique(dim=0, return_inverse=True)
    chosen = torch.randperm(len(tried), generator=torch.Generator().manual_seed(0))[:QUERIES_TRIED]
    different = torch.zeros(len(tried), dtype=torch.int64)
    different[chosen] = _different(reasoner, [{**each, **known} for each in maps], tried[chosen])[1]
    most = int(different.max())
    if most < 2:
        return None
    return int(log_confidence.masked_fill(different[kind] < most, -torch.inf).argmax())


def _different(reasoner: Reasoner, maps: Sequence[Maps], clusters: Tensor) -> tuple[Tensor, Tensor]:
    """The answers that maps expect of combinations of clusters (rows, inputs), (rows, maps); and how many different ones,
    (rows,), 0 where some map expects none."""
    expected = torch.stack([_expected(reasoner, each, clusters) for each in maps], 1)
    possible = (expected >= 0).all(1)
    return expected, torch.tensor([len(set(row)) for row in expected.tolist()]).masked_fill(~possible, 0)


def _expected(reasoner: Reasoner, maps: Maps, clusters: Tensor) -> Tensor:
    """The most likely answer (rows,) of each combination of clusters (rows, inputs) under a map; -1 where there is none."""
    inputs: dict[object, Tensor] = {}
    for k, item in enumerate(reasoner.inputs):
        symbols = torch.tensor(maps[item.network])[clusters[:, k]]
        rows = torch.full((len(clusters), len(item.domain)), -torch.inf, dtype=torch.float64)
        inputs[item.network, *item.slots] = rows.scatter_(1, symbols[:, None], 0.0)
    with torch.no_grad():
        value, answer = reasoner(inputs).max(1)
    likely: Tensor = answer.masked_fill(value < -CERTAIN, -1)
    return likely
