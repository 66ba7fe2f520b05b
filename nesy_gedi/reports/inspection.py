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
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import NesyGediError, RunError
from nesy_gedi.reports.learned_map import (
    LearnedMap,
    describe_few,
    describe_mixing,
    describe_nearest,
    describe_optimal,
    describe_unlabelled,
    named,
)
from nesy_gedi.reports.readings import NetworkReading, read_images
from nesy_gedi.training.assignment_record import AssignmentRecord, read_record
from nesy_gedi.training.runs import VERSION, PretrainingRun, is_pretraining, open_pretraining, open_run
from nesy_gedi.training.shown import knows_symbols, sharing_images, shown_by_queries
from nesy_gedi.training.training import Trained, evaluate

MIXED = 0.05
"""By how much more answers than of networks with unrelated mistakes must be right to say that the mistakes go together."""

CERTAIN = 1e-3
"""An answer with a probability this near to one is the only one."""

QUERIES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Inspection:
    """A finished run, measured.

    Attributes:
        trained: the run in memory.
        readings: network -> what it makes of the test images.
        optimal_maps: the maps that answer everything right that training shows; None where nobody knows what it shows.
        nearest_map: which of them is most like the learned one; None where one of them is not known.
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
    optimal_maps: OptimalMaps | None
    nearest_map: Nearest | None
    tuples_answered_wrong: int | None
    training_images: ImageSet
    assignment: AssignmentRecord | None
    pretrainings: Mapping[tuple[str, ...], PretrainingRun]
    mixing_not_counted: tuple[tuple[str, ...], ...]
    answer_accuracy_unmixed: float | None

    @property
    def learned_maps(self) -> dict[str, LearnedMap]:
        """The learned map of each network that has one."""
        return {name: each.learned for name, each in self.readings.items() if each.learned is not None}

    @property
    def known(self) -> bool:
        """Whether it is known of all networks what their symbols mean."""
        return len(self.learned_maps) == len(self.readings)

    @property
    def follows(self) -> float:
        """Share of the images, over all networks, that are read as the learned map says."""
        counts = [(each.follows, int(each.counts.sum())) for each in self.learned_maps.values()]
        return sum(share * count for share, count in counts) / max(1, sum(count for _, count in counts))

    @property
    def settled(self) -> bool:
        """Whether what training observed leaves one way of reading the symbols, as far as was looked."""
        if self.assignment is not None:
            return self.assignment.settled
        found = self.optimal_maps
        return found is not None and found.count == ONE and not self.mixing_not_counted

    @property
    def right(self) -> bool:
        """Whether the symbols mean what they should, by nearly all test images of them all."""
        return self.known and self._nearly_right and all(each.kind == "right" for each in self.learned_maps.values())

    @property
    def _nearly_right(self) -> bool:
        return self.nearest_map is None or self.nearest_map.identity

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if not self.learned_maps:
            return "Whether the symbols are right is not known: no test image is labelled"
        if not self.known:
            return f"Whether the symbols of {named(self._unlabelled)} are right is not known: no test image is labelled for it"
        if self.right:
            return f"The symbols are right{'' if self.settled else ', but training does not settle them'}"
        if self._nearly_right and all(each.kind in ("right", "blurred") for each in self.learned_maps.values()):
            return "The symbols are right in part"
        return "The symbols are not what they should be"

    def statements(self) -> list[str]:
        """The verdict in plain words: each network's symbols, the shortcut that was learned, what else would fit."""
        actual = self.trained.document["metrics"]["answer_accuracy"]
        unmixed, found = self.answer_accuracy_unmixed, self.optimal_maps
        said = [
            each.learned.statement() if each.learned is not None else describe_unlabelled(name, len(each.inputs))
            for name, each in self.readings.items()
        ]
        said += [few for name, each in self.learned_maps.items() if (few := describe_few(name, each.counts.tolist()))]
        if self.nearest_map is not None and self.tuples_answered_wrong is not None and found is not None:
            said.append(describe_nearest(self.nearest_map, found, self.tuples_answered_wrong, self.follows))
        if unmixed is not None and actual - unmixed > MIXED:
            said.append(describe_mixing(unmixed, actual))
        if found is None:
            return [
                *said,
                "Which other ways of reading the symbols would fit the training answers was not counted: it takes training "
                "images whose symbols are known. nesy-gedi shortcuts counts them for a list of tuples.",
            ]
        said.append(describe_optimal(found, self.mixing_not_counted))
        if (
            not self.right
            and self.known
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

    @property
    def _unlabelled(self) -> list[str]:
        return [name for name in self.readings if name not in self.learned_maps]


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
    readings = {name: read_images(trained, name, values) for name, values in measured.items()}
    maps = {name: each.learned for name, each in readings.items() if each.learned is not None}
    found: OptimalMaps | None = None
    nearest: Nearest | None = None
    wrong: int | None = None
    if knows_symbols(task, training):
        learned = {name: each.reads for name, each in maps.items()}
        with task.answering():
            shown = shown_by_queries(task, training).tuples(task)
            found = list_optimal_maps(shown)
            if len(maps) == len(readings):
                wrong = shown.changed(learned)
        if wrong is not None:
            nearest = nearest_map(learned, {name: each.counts for name, each in maps.items()}, found)
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
        _unmixed_accuracy(trained) if mixing and len(maps) == len(readings) else None,
    )


def document_of(inspection: Inspection, report: Path) -> dict[str, Any]:
    """What ``--json`` prints.

    Args:
        report: where the report has been written.
    """
    found, near = inspection.optimal_maps, inspection.nearest_map
    document = inspection.trained.document
    nearest = (
        None
        if near is None or found is None
        else {
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
    )
    return {
        "version": VERSION,
        **{key: document[key] for key in ("program", "run", "seed", "data", "metrics", "learned")},
        "headline": inspection.headline,
        "statements": inspection.statements(),
        "concepts": [concept for name in inspection.readings for concept in _concepts(inspection, name)],
        "confusion": {name: document["metrics"]["networks"][name]["confusion"] for name in inspection.readings},
        "learned_map": {
            name: None if each.learned is None else each.learned.as_text() for name, each in inspection.readings.items()
        },
        "verdicts": {
            name: None
            if each.learned is None
            else {"kind": each.learned.kind, "follows": each.learned.follows, "accuracy": each.learned.accuracy}
            for name, each in inspection.readings.items()
        },
        "nearest_map": nearest,
        "nearest_shortcut": None if near is None or near.identity else nearest,
        "optimal_maps": None
        if found is None
        else {
            "count": found.count.lower,
            "exact": found.exact,
            "log10": found.count.log10,
            "one_to_one": found.one_to_one.lower,
            "tuples": found.tuples,
            "family": found.family,
            "mixing_not_counted": [list(names) for names in inspection.mixing_not_counted],
            "answer_accuracy_unmixed": inspection.answer_accuracy_unmixed,
        },
        "calibration": {
            name: None if each.calibration is None else each.calibration.as_json()
            for name, each in inspection.readings.items()
        },
        "assignment": None if inspection.assignment is None else dict(inspection.assignment.document),
        "pretraining": {name: str(run.path) for names, run in inspection.pretrainings.items() for name in names},
        "report": str(report),
    }


def _concepts(inspection: Inspection, name: str) -> list[dict[str, Any]]:
    """One entry for each symbol of a network: shares are of all test images, as far as they are in the domain; what compares
    with true symbols is None where no image is labelled."""
    reading = inspection.readings[name]
    learned, known = reading.learned, reading.truth[reading.truth != UNKNOWN]
    assigned = None if inspection.assignment is None else inspection.assignment.networks.get(name)
    entries = []
    for number, symbol in enumerate(reading.domain):
        taken = reading.predicted == number
        read, share = (UNSEEN, None) if learned is None else (learned.reads[number], learned.shares[number])
        entries.append(
            {
                "network": name,
                "symbol": symbol,
                "clusters": None if assigned is None else assigned.clusters_of(symbol),
                "share": float(taken.float().mean()),
                "true_share": float((known == number).float().mean()) if len(known) else None,
                "confidence": float(reading.probabilities[taken, number].mean()) if bool(taken.any()) else None,
                "read_as": None if read == UNSEEN else reading.domain[read],
                "read_as_share": None if read == UNSEEN else share,
            }
        )
    return entries


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
        truth = task.truth(name, queries)
        if bool((truth == UNKNOWN).any()):
            return None
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
