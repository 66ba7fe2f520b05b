"""What a pretraining's collapse diagnostics say, as HTML: a verdict, curves and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from nesy_gedi.metrics.symptoms import DIAGNOSTICS
from nesy_gedi.reports.curves import StageLines, diagnostic_curve, style_legend, warning_times
from nesy_gedi.reports.page import bullets, number


def health(warnings: Sequence[str]) -> str:
    """The verdict of a pretraining's ``warnings``."""
    if not warnings:
        return '<div class="box good"><p><strong>No collapse</strong> was found.</p></div>'
    return f'<div class="box bad"><p><strong>Warnings</strong></p>{bullets(map(sentence, warnings))}</div>'


def sentence(warning: str) -> str:
    """A warning as a sentence of a page."""
    return escape(warning[:1].upper() + warning[1:]) + "."


def collapse_section(stages: Sequence[StageLines], last: Mapping[str, float], unit: str) -> list[str]:
    """Curves of all diagnostics and when warnings were raised.

    Args:
        last: the final value of each diagnostic.
        unit: what the data consists of: ``images`` or ``points``.
    """
    curves = {metric: diagnostic_curve(stages, metric.key) for metric in DIAGNOSTICS}
    panels = [
        panel(curve, f"{metric.label} {number(last.get(metric.key), '.3g')}", metric.meaning)
        for metric, curve in curves.items()
        if curve
    ]
    if not panels:
        return ['<p class="note">No diagnostic was written down.</p>']
    times = warning_times(stages)
    return [
        f"<p>Diagnostics of training {unit} after each epoch, without labels. The number is the last value. "
        "A stage has clusters of its own, so that what is said of clusters may jump where one begins.</p>",
        style_legend(stages, warnings=True),
        f'<div class="panels">{"".join(panels)}</div>',
        f"<h3>Warnings over epochs</h3>{times}" if times else '<p class="note">No epoch raised a warning.</p>',
    ]


def panel(curve: str, label: str, meaning: str) -> str:
    """A small figure with what it shows and what that means."""
    return f"<figure>{curve}<figcaption><strong>{escape(label)}</strong>: {escape(meaning)}.</figcaption></figure>"
