"""A result document in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nesy_gedi.cli.output import print_table
from nesy_gedi.metrics import CONCEPT_METRICS


def print_result(document: dict[str, Any], report: Path | None = None) -> None:
    """Accuracies, where the time went, and - last - the run folder."""
    metrics = document["metrics"]
    click.echo(
        f"{document['program']} on {document['data']}, seed {document['seed']}, {metrics['queries']} test queries"
    )
    click.echo(f"  answers right     {metrics['answer_accuracy']:.4f}")
    rows = [[name, *(f"{m[metric.key]:.4f}" for metric in CONCEPT_METRICS)] for name, m in metrics["networks"].items()]
    click.echo("  concepts, never aligned unless it says so:")
    print_table(rows, ["network", *(metric.label for metric in CONCEPT_METRICS)])
    for label, probabilities in document.get("learned", {}).items():
        click.echo(f"  learned: {label}: {', '.join(f'{p:.4f}' for p in probabilities)}")
    spent = document["time"]
    network, logic, total = spent["network_s"], spent["logic_s"], spent["total_s"]
    step = max(network + logic, 1e-9)
    click.echo(
        f"time {total:.1f} s: network {network:.1f} s, circuit {logic:.1f} s ({logic / step:.1%} of a step), "
        f"grounding {spent['grounding_s']:.2f} s"
    )
    if report is not None and report.exists():
        click.echo(f"report: {report}")
    click.echo(document["run"])
