"""The report of a pretraining run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nesy_gedi.files import write_text
from nesy_gedi.metrics.clustering import CLUSTERING_METRICS
from nesy_gedi.reports.clusters import cluster, clusters_section
from nesy_gedi.reports.collapse_section import collapse_section, health, panel, sentence
from nesy_gedi.reports.curves import (
    StageLines,
    accuracy_curve,
    by_stage,
    loss_curves,
    style_legend,
)
from nesy_gedi.reports.gallery import sheet
from nesy_gedi.reports.page import bullets, number, page, table, verbatim
from nesy_gedi.reports.plots import samples_over_data
from nesy_gedi.training.evaluation import probabilities_of
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.stages import labels_of

PROBES = (
    (
        "linear_probe",
        "linear probe",
        "share that a linear classifier of the features gets right, told {labels}; 1 is best",
    ),
    (
        "neighbour_probe",
        "neighbour probe",
        "share that the nearest neighbours' majority gets right, told {labels}; 1 is best",
    ),
)


def write_pretraining_report(pretrained: Pretrained) -> Path:
    """Write ``report.html`` into the run folder.

    Returns:
        Its path.
    """
    write_text(pretrained.run.report_file, render(pretrained))
    return pretrained.run.report_file


def render(pretrained: Pretrained) -> str:
    """The report as HTML."""
    document, test = pretrained.document, pretrained.images.test
    labels = labels_of(test, pretrained.recipe.data.attribute)
    accuracy = document["metrics"]["aligned_accuracy"]
    title = f"{document['objective']} on {document['data']}"
    unit = "points" if len(test.shape) == 1 else "images"
    stages = by_stage(pretrained.run.read_metrics())
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(document, pretrained.recipe.data.attribute, unit),
        f"<p>{document['clusters']} clusters were learned <strong>without any label</strong>; none of {unit} that they could "
        "be compared with has one.</p>"
        if accuracy is None
        else f"<p><strong>{accuracy:.2%}</strong> of {document['images']['test']} test {unit} "
        f"are in the cluster of their class, after the best one-to-one naming of {document['clusters']} clusters that "
        "were learned <strong>without any label</strong>.</p>",
        health(document["warnings"]),
        "<h2>Result</h2>",
        _metrics_table(document["metrics"], unit),
        "<h2>Stages</h2>",
        _stages_table(pretrained, stages),
        "<h2>Learning</h2>",
        *_learning(stages),
        "<h2>Collapse</h2>",
        *collapse_section(stages, document["collapse"], unit),
        "<h2>Clusters</h2>",
        *clusters_section(cluster(test.images, probabilities_of(pretrained.perception, test.images), labels), unit),
        _samples(pretrained),
        "<h2>Recipe</h2>",
        verbatim(pretrained.run.recipe_file.read_text(encoding="utf-8")),
    ]
    return page(title, parts)


def _facts(document: Mapping[str, Any], attribute: str, unit: str) -> str:
    facts = [f"seed {document['seed']}", f"{document['images']['train']} training {unit}"]
    if attribute != "class":
        facts.append(f"compared with the attribute {escape(attribute)}")
    facts += [f"device {escape(document['device'])}", f"{document['time']['total_s']:.1f} s"]
    return f'<p class="note">{" &middot; ".join(facts)}</p>'


def _metrics_table(metrics: Mapping[str, Any], unit: str) -> str:
    rows = [
        [f"<strong>{metric.label}</strong>", number(metrics[metric.key], ".4f"), metric.meaning]
        for metric in CLUSTERING_METRICS
    ]
    told = f"{metrics['probe_labels']} labels of training {unit}"
    rows += [
        [f"<strong>{label}</strong>", number(metrics[key], ".4f"), meaning.format(labels=told)]
        for key, label, meaning in PROBES
    ]
    return (
        table(["metric", "value", "meaning"], rows, "words")
        + '<p class="note">The probes say what a little supervision would find in the features; the other metrics are '
        "of clusters that were learned without labels, which are used here to measure alone.</p>"
    )


def _stages_table(pretrained: Pretrained, stages: Sequence[StageLines]) -> str:
    recipe, own = pretrained.recipe, pretrained.document["stages"]
    labels = labels_of(pretrained.images.train, recipe.data.attribute)
    classes = 0 if labels is None else len(labels.classes)
    with_outliers = any("outlier_auroc" in found for found in own.values())
    seconds = _seconds(stages)
    rows = []
    for name, settings in recipe.active_stages().items():
        found = own.get(name, {})
        clusters = str(settings.clusters or classes) if CLUSTERING_METRICS[0].key in found else "-"
        rows.append(
            [
                escape(name),
                escape(recipe.objective_of(settings)),
                "encoder" if settings.trains == "all" else "head",
                str(settings.epochs),
                number(seconds.get(name), ".1f"),
                clusters,
                *(number(found.get(metric.key), ".4f") for metric in CLUSTERING_METRICS),
                *([number(found.get("outlier_auroc"), ".4f")] if with_outliers else []),
            ]
        )
    header = ["stage", "objective", "trains", "epochs", "seconds", "clusters"]
    header += [metric.label for metric in CLUSTERING_METRICS] + ["outlier AUROC"] * with_outliers
    notes = ["What each stage's own clusters are worth on the test split; a dash where a stage has none."]
    if with_outliers:
        notes.append(
            "Outlier AUROC: how well the density of the generative term tells test data from uniform noise; 0.5 is "
            "guessing, 1 is best."
        )
    earlier = [
        f"after {escape(name)}: {sentence(warning)}"
        for name in list(own)[:-1]
        for warning in own[name].get("warnings", [])
    ]
    return f'<div class="wide">{table(header, rows)}</div><p class="note">{" ".join(notes)}</p>' + (
        f"<p>Warnings of earlier stages:</p>{bullets(earlier)}" if earlier else ""
    )


def _seconds(stages: Sequence[StageLines]) -> dict[str, float]:
    """Time of each stage; lines count from the start of the run."""
    found, before = {}, 0.0
    for stage in stages:
        now = sum(stage.lines[-1].get("seconds", {}).values())
        found[stage.name], before = now - before, now
    return found


def _learning(stages: Sequence[StageLines]) -> list[str]:
    if not stages:
        return ['<p class="note">No epoch was written down.</p>']
    parts = [
        "<p>The training loss (lower is better) and the terms that it is the sum of, as means over each epoch.</p>"
    ]
    parts.append(style_legend(stages, warnings=False))
    for position, stage in enumerate(stages):
        first, last = stage.lines[0]["epoch"], stage.lines[-1]["epoch"]
        which = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        parts += [f"<h3>Stage {escape(stage.name)}, {which}</h3>", loss_curves(stage, position)]
    if curve := accuracy_curve(stages):
        parts += [
            "<h3>Accuracy of clusters</h3>",
            '<div class="panels">'
            + panel(
                curve,
                "aligned accuracy",
                "share of training data in the cluster of its class; 1 is best. Labels are used for this picture "
                "alone, never for learning. Stages with another number of clusters than classes are left out",
            )
            + "</div>",
        ]
    return parts


def _samples(pretrained: Pretrained) -> str:
    file = pretrained.run.samples_file
    if not file.exists():
        return ""
    samples, data = load_file(file)["samples"].float(), pretrained.images.test.images
    title = "<h2>Samples</h2><p>What the generative term takes for likely data: states of its sampler.</p>"
    if samples.dim() == 2:
        return title + samples_over_data(data, samples)
    pixels = (samples.clamp(0.0, 1.0) * 255).round().byte()
    return title + f'<img src="{sheet(pixels, math.isqrt(len(pixels)))}" alt="samples of the generative term">'
