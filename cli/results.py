"""A result document in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nesy_gedi.cli.output import print_table
from nesy_gedi.metrics import CONCEPT_METRICS, Metric


def print_result(document: dict[str, Any], report: Path | None = None) -> None:
    """Accuracies, where the time went, and - last - the run folder."""
    from nesy_gedi.reports.learned_map import describe_few

    metrics = document["metrics"]
    click.echo(
        f"{document['program']} on {document['data']}, seed {document['seed']}, {metrics['queries']} test queries"
    )
    click.echo(f"  answers right     {metrics['answer_accuracy']:.4f}")
    values = {name: [m[metric.key] for metric in CONCEPT_METRICS] for name, m in metrics["networks"].items()}
    # A network of which nothing is known has no row: one of dashes says less than the sentence below.
    rows = [[name, *map(_shown, known)] for name, known in values.items() if any(v is not None for v in known)]
    if rows:
        click.echo("  concepts, never aligned unless it says so:")
        print_table(rows, ["network", *(metric.label for metric in CONCEPT_METRICS)])
    for name, m in metrics["networks"].items():
        if m["confusion"] is None:
            click.echo(f"  symbols of {name}: no test image is labelled, so nothing says what it should see")
        elif few := describe_few(name, [sum(row) for row in m["confusion"]]):
            click.echo(f"  {few}")
    if (outside := metrics.get("outside")) is not None:
        click.echo(f"  {outside['tuples']} tuples outside the support, {_accuracies(outside)}")
        if (seen := outside["seen_answers"]) is not None:
            click.echo(f"  of these with answers that the support has, {_accuracies(seen)}")
    print_learned(document)
    spent = document["time"]
    network, logic, total = spent["network_s"], spent["logic_s"], spent["total_s"]
    step = max(network + logic, 1e-9)
    click.echo(
        f"time {total:.1f} s: network {network:.1f} s, circuit {logic:.1f} s ({logic / step:.1%} of a step), "
        f"grounding {spent['grounding_s']:.2f} s"
    )
    _print_place(document, report)


def print_learned(document: dict[str, Any]) -> None:
    """The program's learned probabilities, the last of each for "none of its heads"."""
    for label, probabilities in document.get("learned", {}).items():
        click.echo(f"  learned: {label}: {', '.join(f'{p:.4f}' for p in probabilities)}")


def _accuracies(figures: dict[str, Any]) -> str:
    return (
        f"{figures['queries']} queries: answers right {figures['answer_accuracy']:.4f}, "
        f"concepts {figures['concept_accuracy']:.4f}, aligned {figures['aligned_concept_accuracy']:.4f}"
    )


def print_pretraining(document: dict[str, Any], report: Path | None = None) -> None:
    """What the clusters and features are worth, what has collapsed, and - last - the run folder."""
    from nesy_gedi.metrics.clustering import CLUSTERING_METRICS

    metrics = document["metrics"]
    click.echo(
        f"{document['objective']} on {document['data']}, seed {document['seed']}: {document['clusters']} clusters, "
        f"{document['images']['test']} test images, no label used"
    )
    _print_values(metrics, CLUSTERING_METRICS)
    _print_probes(metrics)
    print_collapse(document["collapse"], document["warnings"])
    click.echo(f"time {document['time']['total_s']:.1f} s")
    _print_place(document, report)


def _print_place(document: dict[str, Any], report: Path | None) -> None:
    """The report where there is one and, on the last line, the run folder: scripts read it there."""
    if report is not None and report.exists():
        click.echo(f"report: {report}")
    click.echo(document["run"])


def print_dry_pretraining(document: dict[str, Any]) -> None:
    """The sizes of a dry run, its stages, and the effective recipe."""
    shape = " x ".join(map(str, document["image_shape"]))
    facts = {
        "objective": document["objective"],
        "data": f"{document['data']}: {document['train']} training, {document['test']} test images of {shape}",
        "clusters": document["clusters"],
        "encoder": f"{document['parameters']} parameters",
        "device": document["device"],
    }
    for key, value in facts.items():
        click.echo(f"{key:<12} {value}")
    click.echo()
    columns = ("objective", "trains", "epochs", "steps", "batch_size", "clusters", "parameters", "first_loss")
    rows = [[name, *(_shown(stage[column]) for column in columns)] for name, stage in document["stages"].items()]
    print_table(rows, ["stage", *(column.replace("_", " ") for column in columns)])
    click.echo(f"\n{document['recipe']}".rstrip())


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def print_diagnosis(document: dict[str, Any]) -> None:
    """Every network's features, clusters and collapse."""
    from nesy_gedi.metrics.clustering import CLUSTERING_METRICS
    from nesy_gedi.metrics.symptoms import IDEALISED

    for name, found in document["networks"].items():
        click.echo(f"{name} on {found['images']} test images of {document['data']}")
        if "ami" in found["metrics"]:
            click.echo("clusters:")
            _print_values(found["metrics"], CLUSTERING_METRICS)
        click.echo("features:")
        _print_probes(found["metrics"])
        _print_values(found["idealised"], IDEALISED)
        print_collapse(found["collapse"], found["warnings"], "test images")


def print_collapse(values: dict[str, float], warnings: list[str], images: str = "training images") -> None:
    """Every diagnostic with what good and bad look like; then what has collapsed."""
    from nesy_gedi.metrics.symptoms import DIAGNOSTICS

    click.echo(f"collapse, on {images}:")
    _print_values(values, DIAGNOSTICS)
    for sentence in warnings:
        click.echo(f"  ! {sentence}")
    if not warnings:
        click.echo("  no collapse")


def _print_probes(metrics: dict[str, Any]) -> None:
    if metrics["linear_probe"] is None:
        click.echo("  no image is labelled, so that nothing is compared with classes")
        return
    click.echo(
        f"  probes with {metrics['probe_labels']} labels: linear {metrics['linear_probe']:.4f}, "
        f"neighbours {metrics['neighbour_probe']:.4f}"
    )


def _print_values(values: dict[str, Any], metrics: Sequence[Metric]) -> None:
    shown = [(m, values[m.key]) for m in metrics if m.key in values]
    rows = [[f"  {m.label}", "-" if value is None else f"{value:.4f}", m.meaning] for m, value in shown]
    print_table(rows, ["", "", ""])
