"""The report of a run: one HTML file that needs nothing from the network and runs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from nesy_gedi.files import write_text
from nesy_gedi.metrics import CONCEPT_METRICS
from nesy_gedi.reports.gallery import Symbol, look
from nesy_gedi.reports.plots import learning_curves
from nesy_gedi.training.training import Trained

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
.confusion td { min-width: 2.2rem; text-align: center; border: 1px solid #eee; }
.gallery th, .gallery td { text-align: left; vertical-align: middle; } .gallery img { display: block; }
.note { color: #555; } pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
svg { max-width: 100%; height: auto; }
"""


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
        domain = trained.task.program.networks[network]
        parts += [
            f"<h2>{escape(network)}</h2>",
            "<p>What the network sees (columns) when it looks at each true symbol (rows), counted over test queries. "
            "A filled diagonal is good; a filled column off the diagonal is a wrong symbol.</p>",
            _confusion_table(values["confusion"], domain),
            _gallery(look(trained, network)),
        ]
    parts += ["<h2>Program</h2>", f"<pre>{escape(trained.task.program.source.text)}</pre>"]
    parts += ["<h2>Recipe</h2>", f"<pre>{escape(trained.run.recipe_file.read_text(encoding='utf-8'))}</pre>"]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _metrics_table(networks: dict[str, dict[str, Any]]) -> str:
    rows = [
        [escape(name), *(f"{values[metric.key]:.4f}" for metric in CONCEPT_METRICS)]
        for name, values in networks.items()
    ]
    meanings = "".join(f"<li><strong>{metric.label}</strong>: {metric.meaning}</li>" for metric in CONCEPT_METRICS)
    return (
        _table(["network", *(metric.label for metric in CONCEPT_METRICS)], rows) + f'<ul class="note">{meanings}</ul>'
    )


def _learned(learned: dict[str, list[float]]) -> str:
    if not learned:
        return ""
    rows = [[escape(label), ", ".join(f"{p:.4f}" for p in values)] for label, values in learned.items()]
    return "<h3>Learned probabilities</h3>" + _table(["disjunction", "probabilities (the last: none of them)"], rows)


def _confusion_table(confusion: list[list[int]], domain: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(symbol)}</th>" for symbol in domain)
    body = ""
    for true, row in enumerate(confusion):
        total = max(1, sum(row))
        cells = ""
        for seen, count in enumerate(row):
            strength = 0.75 * count / total
            colour = f"rgba(33, 113, 181, {strength:.3f})" if seen == true else f"rgba(203, 24, 29, {strength:.3f})"
            cells += f'<td style="background: {colour}">{count or ""}</td>'
        body += f"<tr><th>{escape(domain[true])}</th>{cells}</tr>"
    return f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _gallery(symbols: Sequence[Symbol]) -> str:
    rows = []
    for symbol in symbols:
        confidence = "-" if math.isnan(symbol.confidence) else f"{symbol.confidence:.3f}"
        pictures = [
            f'<img src="{data}" alt="{kind} images of {escape(symbol.name)}">' if data else "none"
            for kind, data in (
                ("typical", symbol.typical),
                ("uncertain", symbol.uncertain),
                ("confused", symbol.confused),
            )
        ]
        share = f"{symbol.share:.1%} (truly {symbol.true_share:.1%})"
        rows.append([f"<strong>{escape(symbol.name)}</strong>", share, confidence, *pictures])
    header = ["symbol", "share", "confidence", "most typical", "least certain", "taken for it, but is not"]
    return _table(header, rows, "gallery")
