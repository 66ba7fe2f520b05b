"""The report of a program's run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from nesy_gedi.files import write_text
from nesy_gedi.metrics import CONCEPT_METRICS
from nesy_gedi.reports.gallery import Group, gallery_table, look, probabilities_of
from nesy_gedi.reports.page import bullets, confusion_table, number, page, table, verbatim
from nesy_gedi.reports.plots import learning_curves, scatter
from nesy_gedi.training.training import Trained


def write_report(trained: Trained) -> Path:
    """Write ``report.html`` into the run folder.

    Returns:
        Its path.
    """
    write_text(trained.run.report_file, render(trained))
    return trained.run.report_file


def render(trained: Trained) -> str:
    """The report as HTML."""
    document, metrics = trained.document, trained.document["metrics"]
    title = f"{Path(document['program']).stem} on {document['data']}"
    right = f"{metrics['answer_accuracy']:.2%} of {metrics['queries']} test answers are right"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">seed {document["seed"]} &middot; {escape(trained.task.reasoner.form.text)} &middot; '
        f"circuit of {trained.task.reasoner.circuit.size()[0]} nodes &middot; best epoch {document['best_epoch']}</p>",
        f"<p><strong>{right}</strong> (answers can be right with wrong symbols, so look at the concepts).</p>",
        "<h2>Concepts</h2>",
        _metrics_table(metrics["networks"]),
        _learned(document["learned"]),
        "<h2>Learning</h2>",
        learning_curves(trained.run.read_metrics()),
    ]
    for network, values in metrics["networks"].items():
        parts += _network(trained, network, values["confusion"])
    parts += ["<h2>Program</h2>", verbatim(trained.task.program.source.text)]
    parts += ["<h2>Recipe</h2>", verbatim(trained.run.recipe_file.read_text(encoding="utf-8"))]
    return page(title, parts)


def _network(trained: Trained, network: str, confusion: list[list[int]]) -> list[str]:
    domain = trained.task.program.networks[network]
    images = trained.queries.images.images
    return [
        f"<h2>{escape(network)}</h2>",
        "<p>What the network sees (columns) when it looks at each true symbol (rows), counted over test queries. "
        "A filled diagonal is good; a filled column off the diagonal is a wrong symbol.</p>",
        confusion_table(confusion, domain, domain, {(k, k) for k in range(len(domain))}),
        _gallery(look(trained, network), pictures=images.dim() == 4),
        _points(trained, network, images) if images.dim() == 2 else "",
    ]


def _points(trained: Trained, network: str, points: Tensor) -> str:
    domain = trained.task.program.networks[network]
    predicted = probabilities_of(trained.networks[network], points).argmax(1)
    truth = trained.task.symbols(network, trained.queries.images)
    names = [f"symbol {name}" for name in domain]
    return scatter(points, {"symbol seen": (predicted, names), "true symbol": (truth, names)})


def _metrics_table(networks: dict[str, dict[str, Any]]) -> str:
    rows = [
        [escape(name), *(f"{values[metric.key]:.4f}" for metric in CONCEPT_METRICS)]
        for name, values in networks.items()
    ]
    meanings = [f"<strong>{metric.label}</strong>: {metric.meaning}" for metric in CONCEPT_METRICS]
    return table(["network", *(metric.label for metric in CONCEPT_METRICS)], rows) + bullets(meanings, "note")


def _learned(learned: dict[str, list[float]]) -> str:
    if not learned:
        return ""
    rows = [[escape(label), ", ".join(f"{p:.4f}" for p in values)] for label, values in learned.items()]
    return "<h3>Learned probabilities</h3>" + table(["disjunction", "probabilities (the last: none of them)"], rows)


def _gallery(symbols: Sequence[Group], *, pictures: bool) -> str:
    rows = [
        [
            f"<strong>{escape(symbol.name)}</strong>",
            f"{symbol.share:.1%} (truly {symbol.true_share:.1%})",
            number(symbol.confidence, ".3f"),
        ]
        for symbol in symbols
    ]
    return gallery_table(["symbol", "share", "confidence"], rows, symbols, "taken for it, but is not", pictures)
