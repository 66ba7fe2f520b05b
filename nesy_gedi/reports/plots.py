"""Figures as SVG text, without a display."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def learning_curves(lines: Sequence[dict[str, Any]]) -> str:
    """Loss and accuracy of answers over epochs, from the lines of ``metrics.jsonl``."""
    epochs = [line["epoch"] for line in lines]
    figure = Figure(figsize=(9, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [line["train_loss"] for line in lines], marker=".", label="training")
    loss.plot(epochs, [line["validation_loss"] for line in lines], marker="x", linestyle="--", label="validation")
    loss.set(
        xlabel="epoch", ylabel="negative log-likelihood (nats)", yscale="log", title="Loss of answers (lower is better)"
    )
    loss.legend()
    accuracy.plot(
        epochs, [line["validation_answer_accuracy"] for line in lines], marker="x", linestyle="--", color="C1"
    )
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy.set(xlabel="epoch", ylim=(0, 1.02), title="Validation answers right (1 is best)")
    return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element that can stand in a page."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
