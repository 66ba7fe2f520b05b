"""``assignment.json`` of a run: which symbol each cluster stands for, and how sure that is. Written and read here alone."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_json
from nesy_gedi.training.runs import ProgramRun

ROW_SUM = 1e-3
"""How far a row of the posterior may sum from one."""

IN_RESULT = ("networks", "gap", "exact", "near_ties", "labels_to_ask", "query_to_ask", "unlikely", "sentences")
"""Its keys that a run's result repeats."""


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
        asked: the answers that were asked for, as :func:`~nesy_gedi.training.asking.with_asked` takes them.
        sentences: what a person should know.
        alternatives: those of them that only spell out other assignments which fit as well.
        answers, labels: how many were observed.
        unlikely: whether the answers are unlikely under every assignment.
        pretraining: network -> the folder, seen from the run, that its clusters come from.
        time: part of the work -> seconds, over all sessions of the run.
        document: the file as it is.
    """

    networks: Mapping[str, AssignedNetwork]
    log_likelihood: float
    gap: float | None
    exact: bool
    near_ties: int
    more_near_ties: bool
    labels_to_ask: tuple[AskedLabel, ...]
    asked: tuple[int, ...]
    sentences: tuple[str, ...]
    alternatives: tuple[str, ...]
    answers: int
    labels: int
    unlikely: bool
    pretraining: Mapping[str, str]
    time: Mapping[str, float]
    document: Mapping[str, Any]

    @property
    def settled(self) -> bool:
        """Whether it is proven that no other assignment fits about as well."""
        return self.exact and self.near_ties == 1 and not self.more_near_ties

    def in_result(self) -> dict[str, Any]:
        """What the run's result says of it."""
        return {key: self.document[key] for key in IN_RESULT}


def write_record(run: ProgramRun, document: dict[str, Any], domains: Mapping[str, tuple[str, ...]]) -> AssignmentRecord:
    """Keep an assignment.

    Args:
        document: as the file is to be.
        domains: network -> symbols, of the run's program.

    Raises:
        ValueError, KeyError, TypeError: what :func:`read_record` would call damaged.
    """
    record = _read(document, domains, ())
    write_json(run.assignment_file, document)
    return record


def read_record(
    run: ProgramRun, domains: Mapping[str, tuple[str, ...]], needed: Collection[str] = ()
) -> AssignmentRecord | None:
    """The assignment of a run; None where it has none.

    Args:
        domains: network -> symbols, of the run's program.
        needed: networks that it must be about.

    Raises:
        RunError: the file is damaged.
    """
    if not run.assignment_file.exists():
        return None
    try:
        return _read(json.loads(run.assignment_file.read_text(encoding="utf-8")), domains, needed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else error
        raise RunError(
            f"assignment.json is damaged: {what}",
            where=str(run.path),
            hint="restore it, or move it away: an unfinished run finds the symbols again, a finished one is shown without it",
        ) from error


def _read(found: Any, domains: Mapping[str, tuple[str, ...]], needed: Collection[str]) -> AssignmentRecord:
    for key in IN_RESULT:
        _need(key in _object(found), f"there is no {key!r}")
    networks = {name: _network(name, what, domains) for name, what in _object(found["networks"]).items()}
    for name in needed:
        _need(name in networks, f"it says nothing of {name}")
    asked = tuple(_array(found.get("asked", []), int))
    _need(min(asked, default=0) >= 0, "it asked for a query with a negative number")
    pretraining = _object(found["pretraining"])
    for name in networks:
        _need(isinstance(pretraining[name], str), f"it does not say where the clusters of {name} come from")
    return AssignmentRecord(
        networks=networks,
        log_likelihood=_number(found["log_likelihood"]),
        gap=None if found["gap"] is None else _number(found["gap"]),
        exact=bool(found["exact"]),
        near_ties=int(found["near_ties"]),
        more_near_ties=bool(found["more_near_ties"]),
        labels_to_ask=tuple(_asked(label, networks) for label in _array(found["labels_to_ask"], dict)),
        asked=asked,
        sentences=tuple(_array(found["sentences"], str)),
        alternatives=tuple(_array(found.get("alternatives", []), str)),
        answers=int(found["answers"]),
        labels=int(found["labels"]),
        unlikely=bool(found["unlikely"]),
        pretraining=pretraining,
        time={part: _number(seconds) for part, seconds in _object(found["time"]).items()},
        document=found,
    )


def _asked(label: dict[str, Any], networks: Mapping[str, AssignedNetwork]) -> AskedLabel:
    symbols = tuple(_array(label.get("symbols", []), str))
    asked = AskedLabel(str(label["network"]), label["cluster"], tuple(_array(label["typical"], int)), symbols)
    _need(asked.network in networks, f"a label is asked for of {asked.network}, which is not among its networks")
    clusters = len(networks[asked.network].symbols)
    _need(type(asked.cluster) is int and 0 <= asked.cluster < clusters, f"there is no cluster {asked.cluster}")
    return asked


def _network(name: str, what: Any, domains: Mapping[str, tuple[str, ...]]) -> AssignedNetwork:
    _need(name in domains, f"the program has no network {name}")
    domain = domains[name]
    _need(tuple(what["domain"]) == domain, f"the domain of {name} is not the program's")
    clusters = int(what["clusters"])
    _need(clusters > 0, f"{name} has {clusters} clusters")
    rows = tuple(tuple(map(_number, _array(row, (int, float)))) for row in _array(what["posterior"], list))
    sums = [sum(row) if len(row) == len(domain) and min(row) >= 0.0 else math.nan for row in rows]
    are_distributions = len(rows) == clusters and all(abs(total - 1.0) < ROW_SUM for total in sums)
    _need(are_distributions, f"the posterior of {name} is no distribution")
    maps = [what["map"], *([] if what["runner_up"] is None else [what["runner_up"]])]
    for each in maps:
        _need(len(_array(each, str)) == clusters, f"{name} has {clusters} clusters, but a map of {len(each)}")
        _need(set(each) <= set(domain), f"a map of {name} has a symbol that is not in its domain")
    _need(clusters != len(domain) or set(maps[0]) == set(domain), f"the map of {name} leaves a symbol out")
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
