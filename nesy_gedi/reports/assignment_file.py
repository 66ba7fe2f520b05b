"""Reads ``assignment.json`` of a run: which symbol each cluster stands for, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nesy_gedi.errors import RunError
from nesy_gedi.training.runs import ProgramRun

ROW_SUM = 1e-3
"""How far a row of the posterior may sum from one."""


@dataclass(frozen=True)
class AssignedNetwork:
    """One network's part of an assignment.

    Attributes:
        domain: its symbols.
        symbols: for each cluster its symbol.
        runner_up: the same in the second best assignment; None where there is none.
        posterior: for each cluster the probability of each symbol.
        uninformed: clusters that the answers hardly ever show.
    """

    domain: tuple[str, ...]
    symbols: tuple[str, ...]
    runner_up: tuple[str, ...] | None
    posterior: tuple[tuple[float, ...], ...]
    uninformed: tuple[int, ...]

    def clusters_of(self, symbol: str) -> list[int]:
        """The clusters that stand for ``symbol``."""
        return [cluster for cluster, own in enumerate(self.symbols) if own == symbol]


@dataclass(frozen=True)
class AskedLabel:
    """A cluster whose symbol would settle what is open, and the training images that are most certainly of it."""

    network: str
    cluster: int
    typical: tuple[int, ...]
    symbols: tuple[str, ...]
    """What it may be; empty where the run does not say."""


@dataclass(frozen=True)
class AssignmentRecord:
    """An assignment as a run keeps it.

    Attributes:
        networks: name -> its part.
        log_likelihood: of answers and labels, in nats.
        gap: nats to the runner-up; None where there is no other map.
        exact: whether it is proven to be the best.
        near_ties: assignments that fit about as well, this one among them.
        more_near_ties: whether there are more of them.
        labels_to_ask: what would settle it.
        sentences: what a person should know.
        alternatives: those of them that only spell out other assignments which fit as well.
        answers, labels: how many were observed.
        pretraining: network -> the folder, seen from the run, that its clusters come from.
        document: the file as it is.
    """

    networks: Mapping[str, AssignedNetwork]
    log_likelihood: float
    gap: float | None
    exact: bool
    near_ties: int
    more_near_ties: bool
    labels_to_ask: tuple[AskedLabel, ...]
    sentences: tuple[str, ...]
    alternatives: tuple[str, ...]
    answers: int
    labels: int
    pretraining: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def settled(self) -> bool:
        """Whether it is proven that no other assignment fits about as well."""
        return self.exact and self.near_ties == 1 and not self.more_near_ties


def read_record(run: ProgramRun, domains: Mapping[str, tuple[str, ...]]) -> AssignmentRecord | None:
    """The assignment of a run; None where it has none.

    Args:
        domains: network -> symbols, of the run's program.

    Raises:
        RunError: the file is damaged.
    """
    if not run.assignment_file.exists():
        return None
    try:
        return _read(json.loads(run.assignment_file.read_text(encoding="utf-8")), domains)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else error
        raise RunError(
            f"assignment.json is damaged: {what}",
            where=str(run.path),
            hint="restore the file, or train again; without it, move it away to see the rest",
        ) from error


def _read(found: Any, domains: Mapping[str, tuple[str, ...]]) -> AssignmentRecord:
    _need(isinstance(found, dict), "it holds no object")
    networks = {name: _network(name, what, domains) for name, what in _object(found["networks"]).items()}
    asked = []
    for label in _array(found["labels_to_ask"], dict):
        symbols = tuple(_array(label.get("symbols", []), str))
        own = AskedLabel(str(label["network"]), label["cluster"], tuple(_array(label["typical"], int)), symbols)
        _need(own.network in networks, f"a label is asked for of {own.network}, which is not among its networks")
        clusters = len(networks[own.network].symbols)
        _need(type(own.cluster) is int and 0 <= own.cluster < clusters, f"there is no cluster {own.cluster}")
        asked.append(own)
    return AssignmentRecord(
        networks=networks,
        log_likelihood=_number(found["log_likelihood"]),
        gap=None if found["gap"] is None else _number(found["gap"]),
        exact=bool(found["exact"]),
        near_ties=int(found["near_ties"]),
        more_near_ties=bool(found["more_near_ties"]),
        labels_to_ask=tuple(asked),
        sentences=tuple(_array(found["sentences"], str)),
        alternatives=tuple(_array(found.get("alternatives", []), str)),
        answers=int(found["answers"]),
        labels=int(found["labels"]),
        pretraining={str(name): str(path) for name, path in _object(found.get("pretraining", {})).items()},
        document=found,
    )


def _network(name: str, what: Any, domains: Mapping[str, tuple[str, ...]]) -> AssignedNetwork:
    _need(name in domains, f"the program has no network {name}")
    domain = domains[name]
    _need(tuple(what["domain"]) == domain, f"the domain of {name} is not the program's")
    clusters = int(what["clusters"])
    rows = tuple(tuple(map(_number, _array(row, (int, float)))) for row in _array(what["posterior"], list))
    sums = [sum(row) if len(row) == len(domain) and min(row) >= 0.0 else math.nan for row in rows]
    are_distributions = len(rows) == clusters and all(abs(total - 1.0) < ROW_SUM for total in sums)
    _need(are_distributions, f"the posterior of {name} is no distribution")
    maps = [what["map"], *([] if what["runner_up"] is None else [what["runner_up"]])]
    for each in maps:
        _need(len(_array(each, str)) == clusters, f"{name} has {clusters} clusters, but a map of {len(each)}")
        _need(set(each) <= set(domain), f"a map of {name} has a symbol that is not in its domain")
    uninformed = tuple(_array(what["uninformed"], int))
    _need(all(0 <= cluster < clusters for cluster in uninformed), f"{name} has no such uninformed cluster")
    return AssignedNetwork(domain, tuple(maps[0]), tuple(maps[1]) if len(maps) > 1 else None, rows, uninformed)


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _object(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict), f"expected an object, found {value!r:.60}")
    result: dict[str, Any] = value
    return result


def _array(value: Any, kind: type | tuple[type, ...]) -> list[Any]:
    fits = isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
    _need(fits, f"expected an array of another kind, found {value!r:.60}")
    result: list[Any] = value
    return result


def _number(value: Any) -> float:
    _need(isinstance(value, (int, float)) and math.isfinite(value), f"expected a number, found {value!r:.60}")
    return float(value)
