"""Figures as SVG text, without a display. Whatever a colour says, a marker, a line's style or a word says too."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

MARKERS = "ox^sDv*P<>"
"""Of groups of points, in turn."""

NO_PICTURE = '<p class="note">There is no picture of points with one coordinate.</p>'

POINTS_SHOWN = 1000
"""Points in a scatter plot; each is an element of the page."""

LEGEND_ENTRIES = 12
"""Above this many groups a scatter plot has no room for their names."""


def learning_curves(lines: Sequence[Mapping[str, Any]]) -> str:
    """:func:`draw_learning_curves` as SVG text."""
    return to_svg(draw_learning_curves(lines), "learning curves")


def draw_learning_curves(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and accuracy of answers over epochs, from the lines of ``metrics.jsonl``.

    Where an objective was trained beside the answers, the training loss is that of the answers alone.
    """
    epochs = [line["epoch"] for line in lines]
    figure = Figure(figsize=(9, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    training = [line.get("terms", {}).get("answers", line.get("train_loss", math.nan)) for line in lines]
    validation = [line.get("validation_loss", math.nan) for line in lines]
    loss.plot(epochs, training, marker=".", label="training")
    loss.plot(epochs, validation, marker="x", linestyle="--", label="validation")
    loss.set(
        xlabel="epoch", ylabel="negative log-likelihood (nats)", yscale="log", title="Loss of answers (lower is better)"
    )
    loss.legend()
    right = [line.get("validation_answer_accuracy", math.nan) for line in lines]
    accuracy.plot(epochs, right, marker="x", linestyle="--", color="C1")
    for axes in (loss, accuracy):
        whole_epochs(axes)
    accuracy.set(xlabel="epoch", ylim=(0, 1.02), title="Validation answers right (1 is best)")
    return figure


def scatter(points: Tensor, partitions: Mapping[str, tuple[Tensor, Sequence[str]]]) -> str:
    """Points of the plane, once for each way of naming them, side by side.

    Args:
        points: (n, d), of which two coordinates and at most :data:`POINTS_SHOWN` points are drawn, the first ones.
        partitions: title -> (number of each point's group (n,), names of the groups).

    Returns:
        An ``<svg>`` element; a sentence where points have one coordinate.
    """
    if points.shape[1] < 2:
        return NO_PICTURE
    x, y = points[:POINTS_SHOWN, 0].numpy(), points[:POINTS_SHOWN, 1].numpy()
    figure = Figure(figsize=(4.8 * len(partitions), _height(points, 4.2)), layout="constrained")
    grid = figure.subplots(1, len(partitions), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, (groups, names)) in zip(grid, partitions.items(), strict=True):
        shown = groups[:POINTS_SHOWN].numpy()
        for number, name in enumerate(names):
            inside = shown == number
            if not inside.any():
                continue
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(x[inside], y[inside], marker, color=f"C{number % 10}", label=plain(name), markersize=4, alpha=0.7)
        axes.set(title=title, aspect="equal", xlabel="first coordinate")
        if len(names) <= LEGEND_ENTRIES:
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, frameon=False)
    grid[0].set_ylabel("second coordinate")
    return to_svg(figure, "points by " + " and by ".join(partitions))


def samples_over_data(data: Tensor, samples: Tensor) -> str:
    """Samples (m, d) of a generative term over data (n, d), drawn as in :func:`scatter`; those that are farther away
    than the data is wide are counted instead."""
    if data.shape[1] < 2:
        return NO_PICTURE
    low, high = data[:, :2].amin(0), data[:, :2].amax(0)
    margin = 0.5 * float((high - low).max())
    near = ((samples[:, :2] >= low - margin) & (samples[:, :2] <= high + margin)).all(1)
    figure = Figure(figsize=(6.5, _height(data, 5.5) + 1), layout="constrained")
    axes = figure.subplots()
    axes.plot(*data[:POINTS_SHOWN, :2].T.numpy(), ".", color="0.75", markersize=4, label="data")
    axes.plot(*samples[near, :2].T.numpy(), "x", color="C3", markersize=6, label="samples")
    axes.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate")
    if far := int((~near).sum()):
        axes.set_title(f"{far} of {len(samples)} samples lie outside this picture", fontsize=9)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    return to_svg(figure, "samples over data")


def _height(points: Tensor, width: float) -> float:
    """Inches that axes of equal scales, ``width`` wide, need for ``points`` (n, d) with title and legend."""
    across, up = (float(points[:, k].max() - points[:, k].min()) for k in range(2))
    return 1.2 + width * min(1.5, max(0.3, up / across if across > 0 else 1.0))


def whole_epochs(axes: Axes) -> None:
    """Epochs on the x axis are whole numbers, also where there is a single one."""
    low, high = axes.get_xlim()
    if high - low < 1.0:
        axes.set_xlim(round((low + high) / 2) - 0.5, round((low + high) / 2) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))


def plain(text: str) -> str:
    """Text that is drawn as it is, not read as mathematics."""
    return text.replace("$", r"\$")


def to_svg(figure: Figure, label: str) -> str:
    """The figure as an ``<svg>`` element that can stand in a page; ``label`` says what it shows where it is not seen."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return re.sub(
        r"^.*?<svg", f'<svg role="img" aria-label="{escape(label)}"', buffer.getvalue(), count=1, flags=re.DOTALL
    )
