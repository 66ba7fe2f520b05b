"""Every objective as a user runs it: pretrain without labels, and read the figures off the command's JSON.

    python benchmarks/clustering.py --results build/clustering.jsonl             # everything: many hours on two cores
    python benchmarks/clustering.py --results build/clustering.jsonl --seeds 0   # no run: the tables of what is there
    python benchmarks/clustering.py --data digits --objectives falcon,simclr --seeds 2 --dry

Writes README.md, docs/performance.md, docs/objectives.md and docs/clustering.svg. With ``--results`` each finished run is
added to that file at once and is not repeated, so that a long benchmark can be stopped and continued; runs of a recipe
that has changed since are left out, saying so. MNIST is looked for as the command does and left out, saying so, when it
is not there. A run that fails is shown as failed; remove its line from the file to try it again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clustering_figure import Panel, Series, draw
from clustering_runs import NOT_GENERATIVE, ClusteringJob, default_objective, jobs_on, pretrain
from record import ROOT, markdown_table, write_section
from runs import Document, Outcome, Records, median, middle_and_worst, names, seeds_of, tell

from nesy_gedi.data import describe
from nesy_gedi.objectives import OBJECTIVES, find_objective

DATA = ("moons", "circles", "digits", "mnist")
FIGURE = "docs/clustering.svg"
OWN_STAGE = "features"  # in which the encoder learns by the objective that the run is named after


def own(job: ClusteringJob, document: Document) -> dict[str, Any]:
    """What the objective's own stage has come to, without its clusters where these are more than the classes."""
    found: dict[str, Any] = document["stages"][OWN_STAGE]
    if job.recipe(document["seed"]).stages[OWN_STAGE].clusters not in (0, document["clusters"]):
        found = {name: value for name, value in found.items() if name not in document["metrics"]}
    return found


Read = Callable[[ClusteringJob, Document], float | None]


def metric(name: str) -> Read:
    return lambda job, document: document["metrics"][name]


def own_metric(name: str) -> Read:
    return lambda job, document: own(job, document).get(name)


def collapse(name: str) -> Read:
    return lambda job, document: own(job, document)["collapse"].get(name)


OWN_ACCURACY = own_metric("aligned_accuracy")


def values(read: Read, job: ClusteringJob, outcomes: Sequence[Outcome]) -> list[float | None]:
    """Of the runs that were finished."""
    return [read(job, each.document) for each in outcomes if each.document is not None]


def medians(read: Read, job: ClusteringJob, outcomes: Sequence[Outcome], digits: int = 4) -> str:
    return median(values(read, job, outcomes), digits)


def accuracies(read: Read, job: ClusteringJob, outcomes: Sequence[Outcome]) -> list[str]:
    """Of all runs, in the middle and of the worst seed; '-' where there is no such number."""
    found = values(read, job, outcomes)
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return ["-", "-"]
    return middle_and_worst(known, len(outcomes) - len(found), 4)


def seconds_of(outcomes: Sequence[Outcome]) -> list[str]:
    seconds = [each.seconds for each in outcomes]
    return [f"{statistics.median(seconds):.0f}", f"{max(seconds):.0f}"]


def short_row(job: ClusteringJob, outcomes: Sequence[Outcome]) -> list[object]:
    return [
        f"`nesy-gedi pretrain --data {job.data}`",
        seeds_of(outcomes),
        *accuracies(metric("aligned_accuracy"), job, outcomes),
        medians(metric("ami"), job, outcomes),
        f"{medians(metric('nmi'), job, outcomes)} ({medians(metric('nmi_random'), job, outcomes)})",
        medians(metric("linear_probe"), job, outcomes),
        *seconds_of(outcomes),
    ]


SHORT_HEADER = (
    "command",
    "seeds",
    "accuracy, median",
    "worst",
    "AMI",
    "NMI (of random clusters)",
    "linear probe",
    "seconds, median",
    "slowest",
)
FULL_HEADER = (
    "objective",
    "seeds",
    "accuracy, median",
    "worst",
    "own clusters, median",
    "worst",
    "own, by majority",
    *SHORT_HEADER[4:7],
    "center",
    "rank",
    "codes used",
    "intracluster",
    *SHORT_HEADER[7:],
)


def full_row(job: ClusteringJob, outcomes: Sequence[Outcome]) -> list[object]:
    _, seeds, middle, worst, *agreement, spent, slowest = short_row(job, outcomes)
    return [
        job.name,
        seeds,
        middle,
        worst,
        *accuracies(OWN_ACCURACY, job, outcomes),
        medians(own_metric("majority_accuracy"), job, outcomes),
        *agreement,
        medians(collapse("center"), job, outcomes, 2),
        medians(collapse("effective_rank"), job, outcomes, 1),
        medians(collapse("code_usage"), job, outcomes, 2),
        medians(collapse("intracluster"), job, outcomes, 2),
        spent,
        slowest,
    ]


def alone_row(job: ClusteringJob, outcomes: Sequence[Outcome]) -> list[object]:
    """GEDI's own clusters, before the stages that learn from neighbours: a row of its own, to compare with the others."""
    row = full_row(job, outcomes)
    own_agreement: list[object] = [
        medians(own_metric("ami"), job, outcomes),
        f"{medians(own_metric('nmi'), job, outcomes)} ({medians(own_metric('nmi_random'), job, outcomes)})",
    ]
    own_accuracy = row[4:6]
    return [
        "gedi, augmentation views alone",
        row[1],
        *own_accuracy,
        *row[4:7],
        *own_agreement,
        "-",
        *row[10:14],
        "-",
        "-",
    ]


def full_table(done: Sequence[tuple[ClusteringJob, list[Outcome]]]) -> str:
    rows = []
    for job, outcomes in done:
        rows.append(full_row(job, outcomes))
        if job.name == "gedi" and job.data in ("digits", "mnist"):
            rows.append(alone_row(job, outcomes))
    return markdown_table(FULL_HEADER, rows)


EXPLANATION = (
    "Each row is `nesy-gedi pretrain --data DATA --objective OBJECTIVE` over all seeds, in whole processes, start-up "
    "included; *gedi without the generative term* adds `{settings}`. Accuracy is that of the final clusters on test data "
    "after the best one-to-one naming; a run that failed counts as the worst. *Own clusters* are those of the "
    "objective's own stage, before any are learned from neighbours, where it has as many clusters as there are classes. "
    "AMI is corrected for chance; NMI is not, and stands beside that of random clusters. *Center*, *rank*, *codes used* "
    "and *intracluster* are the diagnostics after the objective's own stage. Columns that do not say *worst* or "
    "*slowest* are medians."
)


def panel(data: str, done: Sequence[tuple[ClusteringJob, list[Outcome]]]) -> Panel:
    series = []
    for job, outcomes in done:
        documents = [each.document for each in outcomes if each.document is not None]
        found = [OWN_ACCURACY(job, document) for document in documents]
        series.append(
            Series(
                job.name,
                [document["metrics"]["aligned_accuracy"] for document in documents],
                [value for value in found if value is not None],
                failed=len(outcomes) - len(documents),
            )
        )
    classes = next((each.document["clusters"] for _, outcomes in done for each in outcomes if each.document), None)
    return Panel(data, series, chance=1.0 / classes if classes else 0.0)


def write(done: dict[str, list[tuple[ClusteringJob, list[Outcome]]]], dry: bool) -> None:
    """Tables and figure of everything that was run."""
    where = sorted({each.machine for of_data in done.values() for _, outcomes in of_data for each in outcomes})
    on = f"On {'; and on '.join(where)}."
    short = [
        short_row(*each)
        for data, of_data in done.items()
        for each in of_data
        if each[0].name == default_objective(data)
    ]
    readme = f"{on}\n\n{markdown_table(SHORT_HEADER, short)}\n\n![Accuracy of clusters on test data]({FIGURE})"
    explained = EXPLANATION.format(settings=" ".join(f"--set '{each}'" for each in NOT_GENERATIVE))
    tables = [f"### {data}\n\n{full_table(of_data)}" for data, of_data in done.items()]
    full = "\n\n".join([f"`python benchmarks/clustering.py`. {on} {explained}", *tables])
    print(full)
    if dry:
        return
    (ROOT / FIGURE).write_text(draw([panel(*each) for each in done.items()]), encoding="utf-8")
    write_section("README.md", "clustering", readme)
    write_section("docs/performance.md", "clustering", f"{full}\n\n![Accuracy of clusters]({Path(FIGURE).name})")
    write_section("docs/objectives.md", "clustering", f"![Accuracy of clusters on test data]({Path(FIGURE).name})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objectives", type=names, default=list(OBJECTIVES), metavar="A,B")
    parser.add_argument("--data", type=names, default=list(DATA), metavar="A,B")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="add finished runs here, do not repeat them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run; prints only")
    parser.add_argument("--data-dir")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    for name in options.objectives:
        find_objective(name)
    folder = Path(options.data_dir) if options.data_dir else None
    found = [data for data in options.data if describe(data, folder).status != "missing"]
    for data in set(options.data) - set(found):
        tell(f"{data} was not measured: give --data-dir")
    jobs = [job for data in found for job in jobs_on(data, options.objectives, options.set)]
    records = Records(options.results)
    # Seed by seed, so that a benchmark that is stopped has measured every objective equally often.
    for seed in range(options.seeds):
        for job in jobs:
            if not records.has(job, seed):
                records.add(pretrain(job, seed, options.data_dir))
    done = {}
    for data in DATA:
        of_data = [(job, records.of(job)) for job in jobs_on(data, list(OBJECTIVES), options.set)]
        if measured := [(job, outcomes) for job, outcomes in of_data if outcomes]:
            done[data] = measured
    if not done:
        raise SystemExit("nothing was measured")
    write(done, options.dry or bool(options.set))


if __name__ == "__main__":
    main()
