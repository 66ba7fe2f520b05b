"""Everything that is to be known about what a finished run's networks have learned, measured before it is shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.concepts.map_counting import ONE
from nesy_gedi.concepts.misreadings import UNSEEN
from nesy_gedi.concepts.shortcuts import Nearest, OptimalMaps, is_identity, list_optimal_maps, nearest_map
from nesy_gedi.data import ImageSet
from nesy_gedi.errors import NesyGediError, RunError
from nesy_gedi.metrics.calibration import Calibration, calibrate
from nesy_gedi.reports.learned_map import LearnedMap, describe_mixing, describe_nearest, describe_optimal, learned_map
from nesy_gedi.training.assignment_record import AssignmentRecord, read_record
from nesy_gedi.training.evaluation import probabilities_of
from nesy_gedi.training.runs import VERSION, PretrainingRun, is_pretraining, open_pretraining, open_run
from nesy_gedi.training.shown import sharing_images, shown_by_queries
from nesy_gedi.training.training import Trained, evaluate

MIXED = 0.05
"""By how much more answers than of networks with unrelated mistakes must be right to say that the mistakes go together."""

CERTAIN = 1e-3
"""An answer with a probability this near to one is the only one."""

QUERIES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class NetworkReading:
    """What one network makes of the test images.

    Attributes:
        probabilities: of the symbols, (n, K), for every test image.
        truth: (n,) int64, the symbol of each.
        learned: its learned map.
        calibration: over the images of the test queries.
    """

    probabilities: Tensor
    truth: Tensor
    learned: LearnedMap
    calibration: Calibration

    @property
    def predicted(self) -> Tensor:
        """The symbol that each image is read as, (n,) int64."""
        return self.probabilities.argmax(1)


@dataclass(frozen=True, eq=False)
class Inspection:
    """A finished run, measured.

    Attributes:
        trained: the run in memory.
        readings: network -> what it makes of the test images.
        optimal_maps: the maps that answer everything right that training shows.
        nearest_map: which of them is most like the learned one.
        tuples_answered_wrong: combinations of symbols that training shows whose answer the learned map gets wrong.
        training_images: that training queries drew on.
        assignment: which symbol each cluster stands for; None where the networks did not begin as clusters.
        pretrainings: the pretrainings that networks began from, by the networks that did; those that are gone are left
            out.
        mixing_not_counted: groups of networks that look at the same images, so that shortcuts may mix what these show.
        answer_accuracy_unmixed: share of the test answers that would be right if what each network reads depended on its own
            symbol alone; None where nothing is mixed, values are observed beside the answer, or symbols leave it open.
    """

    trained: Trained
    readings: Mapping[str, NetworkReading]
    optimal_maps: OptimalMaps
    nearest_map: Nearest
    tuples_answered_wrong: int
    training_images: ImageSet
    assignment: AssignmentRecord | None
    pretrainings: Mapping[tuple[str, ...], PretrainingRun]
    mixing_not_counted: tuple[tuple[str, ...], ...]
    answer_accuracy_unmixed: float | None

    @property
    def follows(self) -> float:
        """Share of the images, over all networks, that are read as the learned map says."""
        counts = [(each.learned.follows, int(each.learned.counts.sum())) for each in self.readings.values()]
        return sum(share * count for share, count in counts) / max(1, sum(count for _, count in counts))

    @property
    def settled(self) -> bool:
        """Whether what training observed leaves one way of reading the symbols, as far as was looked."""
        if self.assignment is not None:
            return self.assignment.settled
        return self.optimal_maps.count == ONE and not self.mixing_not_counted

    @property
    def right(self) -> bool:
        """Whether the symbols mean what they should, by nearly all test images of them all."""
        return self.nearest_map.identity and all(each.learned.kind == "right" for each in self.readings.values())

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.right:
            return f"The symbols are right{'' if self.settled else ', but training does not settle them'}"
        if self.nearest_map.identity and all(
            each.learned.kind in ("right", "blurred") for each in self.readings.values()
        ):
            return "The symbols are right in part"
        return "The symbols are not what they should be"

    def statements(self) -> list[str]:
        """The verdict in plain words: each network's symbols, the shortcut that was learned, what else would fit."""
        actual = self.trained.document["metrics"]["answer_accuracy"]
        unmixed, found = self.answer_accuracy_unmixed, self.optimal_maps
        said = [
            *(each.learned.statement() for each in self.readings.values()),
            describe_nearest(self.nearest_map, found, self.tuples_answered_wrong, self.follows),
        ]
        if unmixed is not None and actual - unmixed > MIXED:
            said.append(describe_mixing(unmixed, actual))
        said.append(describe_optimal(found, self.mixing_not_counted))
        if (
            not self.right
            and found.exact
            and found.one_to_one.lower < found.count.lower
            and self._may_begin_as_clusters
        ):
            said.append("Networks that begin as clusters are left with those that are one to one: --method clusters.")
        return said

    @property
    def _may_begin_as_clusters(self) -> bool:
        """Whether clusters would suit, and are not what the networks began from: of points, or of one of several attributes,
        they need not be the symbols."""
        pictures = self.training_images.images.dim() == 4
        return self.assignment is None and pictures and len(self.readings) == 1


def inspect_run(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    trusted: bool = False,
) -> Inspection:
    """Measure a finished run again and find out what its symbols mean.

    Args:
        path: folder of a run of ``nesy-gedi train``.
        data_dir: where data sets are; else where they were when it was trained.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        trusted: let the run's program and its encoders load files and Python modules.

    Raises:
        RunError: no run, a pretraining, an unfinished run, or damaged files.
        DataError: the data is not there.
    """
    path = Path(path)
    if is_pretraining(path):
        raise RunError(
            "this run is a pretraining: it has clusters, but no symbols to inspect",
            where=str(path),
            hint=f"nesy-gedi diagnose {shlex.quote(str(path))}",
        )
    run = open_run(path)
    if "metrics" not in (run.result() or {}):
        damaged = run.result_file.exists()
        raise RunError(
            "result.json is damaged" if damaged else "the run is not finished",
            where=str(path),
            hint=f"{'measure it again' if damaged else 'continue it'}: nesy-gedi train --resume {shlex.quote(str(path))}",
        )
    read_record(run, run.program(trusted=trusted).networks)  # before what takes long
    trained = evaluate(path, data_dir=data_dir, download=download, device=device, trusted=trusted)
    return inspect(trained)


def inspect(trained: Trained) -> Inspection:
    """What a run in memory has learned. Errors as for :func:`inspect_run`."""
    task, run = trained.task, trained.run
    training = trained.splits.train
    measured = trained.document["metrics"]["networks"]
    readings = {name: _read_images(trained, name, values) for name, values in measured.items()}
    learned = {name: each.learned.reads for name, each in readings.items()}
    with task.answering():
        shown = shown_by_queries(task, training).tuples(task)
        found = list_optimal_maps(shown)
        wrong = shown.changed(learned)
    nearest = nearest_map(learned, {name: each.learned.counts for name, each in readings.items()}, found)
    if not wrong and not found.complete:  # it is optimal, whether it is listed or not
        nearest = Nearest(learned, 0.0, (), is_identity(learned))
    assignment = read_record(run, task.program.networks, task.networks)
    mixing = sharing_images(task)
    return Inspection(
        trained,
        readings,
        found,
        nearest,
        wrong,
        training.images,
        assignment,
        _pretrainings(trained, assignment),
        mixing,
        _unmixed_accuracy(trained) if mixing else None,
    )


def document_of(inspection: Inspection, report: Path) -> dict[str, Any]:
    """What ``--json`` prints.

    Args:
        report: where the report has been written.
    """
    found, near = inspection.optimal_maps, inspection.nearest_map
    document = inspection.trained.document
    nearest = {
        "maps": {
            name: {
                symbol: None if read == UNSEEN else found.domains[name][read]
                for symbol, read in zip(found.domains[name], row, strict=True)
            }
            for name, row in near.maps.items()
        },
        "distance": near.distance,
        "identity": near.identity,
        "tuples_answered_wrong": inspection.tuples_answered_wrong,
        "follows": inspection.follows,
    }
    return {
        "version": VERSION,
        **{key: document[key] for key in ("program", "run", "seed", "data", "metrics", "learned")},
        "headline": inspection.headline,
        "statements": inspection.statements(),
        "concepts": [concept for name in inspection.readings for concept in _concepts(inspection, name)],
        "confusion": {name: document["metrics"]["networks"][name]["confusion"] for name in inspection.readings},
        "learned_map": {name: each.learned.as_text() for name, each in inspection.readings.items()},
        "verdicts": {
            name: {"kind": each.learned.kind, "follows": each.learned.follows, "accuracy": each.learned.accuracy}
            for name, each in inspection.readings.items()
        },
        "nearest_map": nearest,
        "nearest_shortcut": None if near.identity else nearest,
        "optimal_maps": {
            "count": found.count.lower,
            "exact": found.exact,
            "log10": found.count.log10,
            "one_to_one": found.one_to_one.lower,
            "tuples": found.tuples,
            "family": found.family,
            "mixing_not_counted": [list(names) for names in inspection.mixing_not_counted],
            "answer_accuracy_unmixed": inspection.answer_accuracy_unmixed,
        },
        "calibration": {name: each.calibration.as_json() for name, each in inspection.readings.items()},
        "assignment": None if inspection.assignment is None else dict(inspection.assignment.document),
        "pretraining": {name: str(run.path) for names, run in inspection.pretrainings.items() for name in names},
        "report": str(report),
    }


def _concepts(inspection: Inspection, name: str) -> list[dict[str, Any]]:
    """One entry for each symbol of a network: shares are of all test images, as far as they are in the domain."""
    reading = inspection.readings[name]
    assigned = None if inspection.assignment is None else inspection.assignment.networks.get(name)
    entries = []
    for number, symbol in enumerate(reading.learned.domain):
        taken = reading.predicted == number
        read, share = reading.learned.reads[number], reading.learned.shares[number]
        entries.append(
            {
                "network": name,
                "symbol": symbol,
                "clusters": None if assigned is None else assigned.clusters_of(symbol),
                "share": float(taken.float().mean()),
                "true_share": float((reading.truth == number).float().mean()),
                "confidence": float(reading.probabilities[taken, number].mean()) if bool(taken.any()) else None,
                "read_as": None if read == UNSEEN else reading.learned.domain[read],
                "read_as_share": None if read == UNSEEN else share,
            }
        )
    return entries


def _read_images(trained: Trained, name: str, values: Mapping[str, Any]) -> NetworkReading:
    images = trained.queries.images
    probabilities = probabilities_of(trained.networks[name], images.images)
    truth = trained.task.symbols(name, images)
    shown = trained.queries.index[:, trained.task.columns(name)].flatten()
    learned = learned_map(name, trained.task.program.networks[name], values["confusion"])
    return NetworkReading(probabilities, truth, learned, calibrate(probabilities[shown], truth[shown]))


@torch.no_grad()
def _unmixed_accuracy(trained: Trained) -> float | None:
    """How many test answers were right if every network made its mistakes whatever else an image shows."""
    task, queries = trained.task, trained.queries
    if task.observed:
        return None
    networks = trained.document["metrics"]["networks"]
    device = next(task.reasoner.buffers()).device
    reads, true = {}, {}
    for name in task.networks:
        counts = torch.tensor(networks[name]["confusion"], dtype=torch.double)
        truth = task.symbols(name, queries.images)[queries.index[:, task.columns(name)]]
        reads[name] = (counts / counts.sum(1, keepdim=True).clamp_min(1)).log()[truth]
        true[name] = torch.eye(len(counts), dtype=torch.double).log()[truth]
    total = 0.0
    for rows in torch.arange(len(queries)).split(QUERIES_AT_ONCE):

        def right(log_p: Mapping[str, Tensor], rows: Tensor = rows) -> Tensor:
            inputs = task.observe(
                {name: block[rows].to(device) for name, block in log_p.items()}, queries.observed[rows]
            )
            found: Tensor = task.reasoner(inputs).exp().cpu().gather(1, queries.answers[rows, None])
            return found

        if float(right(true).min()) < 1.0 - CERTAIN:
            return None
        total += float(right(reads).sum())
    return total / len(queries)


def _pretrainings(trained: Trained, assignment: AssignmentRecord | None) -> dict[tuple[str, ...], PretrainingRun]:
    """The pretrainings that are still there: of the assignment, else those that recipe and document name."""
    stated = dict(trained.document.get("pretraining") or {})
    if assignment is not None:
        stated |= assignment.pretraining
    for name in trained.task.networks:
        if weights := trained.task.network(name).weights:
            stated.setdefault(name, weights)
    found: dict[Path, list[str]] = {}
    for name, place in stated.items():
        folder = trained.run.path / place
        try:
            if is_pretraining(folder):
                found.setdefault(open_pretraining(folder).path, []).append(name)
        except NesyGediError as error:
            raise RunError(error.message, where=str(folder), hint="restore it, or remove the folder") from error
    return {tuple(names): PretrainingRun(path) for path, names in found.items()}
