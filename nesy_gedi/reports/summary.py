"""The beginning of a run's report, as a notebook shows it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from nesy_gedi.metrics import CONCEPT_METRICS
from nesy_gedi.reports.inspection import Inspection
from nesy_gedi.reports.maps_section import verdict
from nesy_gedi.reports.page import number, table


def summary(inspection: Inspection) -> str:
    """What was learned, whether its symbols are right, and where the run is: HTML without styles of its own."""
    trained = inspection.trained
    document, metrics = trained.document, trained.document["metrics"]
    networks = metrics["networks"]
    shown = [metric for metric in CONCEPT_METRICS if metric.key in metrics]
    rows = [[escape(name), *(number(networks[name].get(metric.key), ".4f") for metric in shown)] for name in networks]
    parts = [
        f"<h3>{escape(Path(document['program']).stem)} on {escape(document['data'])}</h3>",
        f"<p>{metrics['answer_accuracy']:.2%} of {metrics['queries']} test answers are right.</p>",
        verdict(inspection),
        table(["network", *(metric.label for metric in shown)], rows) if networks else "",
        f"<p><code>{escape(document['run'])}</code></p>",
    ]
    return "\n".join(part for part in parts if part)
