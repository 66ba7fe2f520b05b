"""The report of a program's run: one page for ``train`` and ``inspect``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.files import write_text
from nesy_gedi.metrics import CONCEPT_DETAILS, CONCEPT_METRICS
from nesy_gedi.reports.assignment_section import assignment_section
from nesy_gedi.reports.collapse_section import collapse_section, health
from nesy_gedi.reports.curves import Line, StageLines, by_stage, loss_curves, readable
from nesy_gedi.reports.gallery import gallery_table, groups_by_symbol
from nesy_gedi.reports.inspection import Inspection, inspect
from nesy_gedi.reports.learned_map import describe_unlabelled
from nesy_gedi.reports.maps_section import maps_section, verdict
from nesy_gedi.reports.page import bullets, confusion_table, number, page, table, verbatim
from nesy_gedi.reports.plots import learning_curves, scatter
from nesy_gedi.reports.readings import NetworkReading
from nesy_gedi.reports.reliability import reliability_diagram
from nesy_gedi.training.runs import PretrainingRun
from nesy_gedi.training.training import Trained

DRAWN = 3
"""Points of more coordinates are not drawn: two of them would show little."""


def write_report(trained: Trained) -> Path:
    """Write ``report.html`` into the run folder.

    Returns:
        Its path.
    """
    write_text(trained.run.report_file, render(inspect(trained)))
    return trained.run.report_file


def render(inspection: Inspection) -> str:
    """The report as HTML."""
    trained = inspection.trained
    document, metrics = trained.document, trained.document["metrics"]
    title = f"{Path(document['program']).stem} on {document['data']}"
    facts = [f"seed {document['seed']}", escape(trained.task.reasoner.form.text)]
    facts += [f"learning: {escape(trained.task.recipe.method)}", f"best epoch {document['best_epoch']}"]
    facts.insert(2, f"circuit of {trained.task.reasoner.circuit.size()[0]} nodes")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{" &middot; ".join(facts)}</p>',
        f"<p><strong>{metrics['answer_accuracy']:.2%} of {metrics['queries']} test answers are right</strong> (answers can "
        "be right with wrong symbols, so look at the concepts).</p>",
        verdict(inspection),
        "<h2>Concepts</h2>",
        *_concepts(metrics),
        _learned(document["learned"]),
        "<h2>Learned symbols</h2>",
        *maps_section(inspection),
    ]
    if inspection.assignment is not None:
        parts += ["<h2>Assignment</h2>", *assignment_section(inspection.assignment, inspection.training_images)]
    for network, values in metrics["networks"].items():
        parts += _network(inspection, network, values["confusion"])
    parts += ["<h2>Learning</h2>", *_learning(readable(trained.run.read_metrics()))]
    for networks, run in inspection.pretrainings.items():
        parts += _pretraining(networks, run)
    parts += ["<h2>Program</h2>", verbatim(trained.task.program.source.text)]
    parts += ["<h2>Recipe</h2>", verbatim(trained.run.recipe_file.read_text(encoding="utf-8"))]
    return page(title, parts)


def _concepts(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of every network, inside and outside the support."""
    groups = [("", metrics)]
    if (outside := metrics.get("outside")) is not None:
        groups.append((", outside", outside))
        if (seen := outside["seen_answers"]) is not None:
            groups.append((", outside, seen answers", seen))
    measured = [values for _, figures in groups for values in figures["networks"].values()]
    shown = [
        metric
        for metric in (*CONCEPT_METRICS, *CONCEPT_DETAILS)
        if any(values.get(metric.key) is not None for values in measured)
    ]
    rows = [
        [escape(name) + where, *(number(values[metric.key], ".4f") for metric in shown)]
        for where, figures in groups
        for name, values in figures["networks"].items()
    ]
    parts = [f'<div class="wide">{table(["network", *(metric.label for metric in shown)], rows)}</div>']
    if outside is not None:
        parts.append(
            f"<p>Outside: {outside['tuples']} combinations of symbols that training never shows; "
            f"{outside['answer_accuracy']:.2%} of {outside['queries']} answers are right there.</p>"
        )
    return [*parts, bullets([f"<strong>{metric.label}</strong>: {metric.meaning}" for metric in shown], "note")]


def _learned(learned: Mapping[str, Sequence[float]]) -> str:
    if not learned:
        return ""
    rows = [[escape(label), ", ".join(f"{p:.4f}" for p in values)] for label, values in learned.items()]
    return "<h3>Learned probabilities</h3>" + table(["disjunction", "probabilities (the last: none of them)"], rows)


def _network(inspection: Inspection, network: str, confusion: list[list[int]] | None) -> list[str]:
    reading = inspection.readings[network]
    domain, images = reading.domain, reading.inputs[0]
    parts = [
        f"<h2>{escape(network)}</h2>",
        _gallery(inspection, network),
        _points(reading) if len(reading.inputs) == 1 and images.dim() == 2 and images.shape[1] <= DRAWN else "",
    ]
    if confusion is None or reading.calibration is None:
        said = escape(describe_unlabelled(network, len(reading.inputs)))
        return [*parts, f'<p class="note">{said} There is no confusion table and no calibration.</p>']
    diagram = reliability_diagram(reading.calibration, f"reliability diagram of {network}")
    return [
        *parts,
        '<div class="beside"><div><h3>Confusion</h3><p>What each true symbol (rows) is read as (columns), counted '
        "over test queries. A filled diagonal is good; a full cell off the diagonal is a wrong symbol.</p>",
        confusion_table(confusion, domain, domain, {(k, k) for k in range(len(domain))}),
        f"</div><div><h3>Calibration</h3><p>Expected calibration error <strong>{reading.calibration.ece:.4f}</strong>: how far "
        "confidence is from the share read right, on average; 0 is best. Bars below the line are overconfident.</p>"
        f"{diagram}</div></div>",
    ]


def _gallery(inspection: Inspection, network: str) -> str:
    reading = inspection.readings[network]
    images, several = reading.inputs[0], len(reading.inputs) > 1
    assigned = None if inspection.assignment is None else inspection.assignment.networks.get(network)
    groups = groups_by_symbol(images, reading.probabilities, reading.truth, reading.domain)
    rows = []
    for group in groups:
        clusters = [] if assigned is None else [", ".join(map(str, assigned.clusters_of(group.name))) or "none"]
        truly = "" if math.isnan(group.true_share) else f"<br>(truly {group.true_share:.1%})"
        share = f"{group.share:.1%}{truly}"
        rows.append([f"<strong>{escape(group.name)}</strong>", *clusters, share, number(group.confidence, ".3f")])
    header = ["symbol", *([] if assigned is None else ["clusters"]), "share", "confidence"]
    pictures = images.dim() == 4 and not several
    what = "inputs that test queries show together" if several else "test images" if pictures else "test points"
    said = f"What the network makes of all {len(images)} {what}, by what it reads them as."
    said += "" if pictures else " These have no pictures." if several else " Points have no pictures."
    odd = "most confused: read as it, but is not" if bool((reading.truth != UNKNOWN).any()) else ""
    return f"<p>{said}</p>" + gallery_table(header, rows, groups, odd, pictures)


def _points(reading: NetworkReading) -> str:
    names = [f"symbol {name}" for name in reading.domain]
    shown = {"symbol seen": (reading.predicted, names)}
    if bool((reading.truth != UNKNOWN).all()):
        shown["true symbol"] = (reading.truth, names)
    return scatter(reading.inputs[0], shown)


def _learning(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return ['<p class="note">No epoch of training: the networks are as they began.</p>']
    parts = [learning_curves(lines)]
    if any(line.get("terms") for line in lines):
        parts += [
            "<h3>Terms of the loss</h3><p>An objective was trained beside the answers; each on a scale of its own.</p>",
            loss_curves(StageLines("answers and objective", list(lines)), 0),
        ]
    return parts


def _pretraining(networks: Sequence[str], run: PretrainingRun) -> list[str]:
    """What became of the clusters that networks began from."""
    document = run.result() or {}
    unit = "points" if len(run.image_shape()) == 1 else "images"
    stages = by_stage(
        [line for line in readable(run.read_metrics()) if {"stage", "collapse", "train_loss"} <= line.keys()]
    )
    metrics, collapse, warnings = (document.get(key) for key in ("metrics", "collapse", "warnings"))
    accuracy = metrics.get("aligned_accuracy") if isinstance(metrics, dict) else None
    measured = collapse.items() if isinstance(collapse, dict) else ()
    last = {key: value for key, value in measured if isinstance(value, (int, float))}
    found = (
        f" {accuracy:.2%} of the test {unit} are in the cluster of their class, after the best one-to-one naming."
        if isinstance(accuracy, float)
        else ""
    )
    return [
        f"<h2>Pretraining of {escape(', '.join(networks))}</h2>",
        f"<p>Clusters learned without labels, in {escape(run.path.name)}.{found}</p>",
        health(list(map(str, warnings))) if isinstance(warnings, list) else "",
        *(collapse_section(stages, last, unit) if stages else []),
    ]
