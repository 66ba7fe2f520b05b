"""The figures of shortcuts.py: accuracy by number of answers, and every seed of every method, task by task."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from svg import svg_text

STYLES = (
    ("#d55e00", "s"),
    ("#e69f00", "^"),
    ("#56b4e9", "D"),
    ("#0072b2", "o"),
    ("#009e73", "v"),
    ("#cc79a7", "P"),
    ("#000000", "X"),
)
"""Colour and marker of curves: what colour says, the marker says too."""

DOT_COLOUR = "#0072b2"


@dataclass(frozen=True)
class Curve:
    """A method: number of answers -> accuracies, a seed each.

    Attributes:
        style: its place in STYLES, the same in every figure.
    """

    name: str
    style: int
    points: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Dots:
    """A method: accuracies, a seed each."""

    name: str
    values: Sequence[float]


def draw_curves(curves: Sequence[Curve], across: str, up: str) -> str:
    """The figure as SVG text: dots are seeds, lines join their medians."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    counts = sorted({count for curve in curves for count in curve.points})
    for place, curve in enumerate(curves):
        colour, marker = STYLES[curve.style]
        known = {count: values for count, values in sorted(curve.points.items()) if values}
        shift = 1.0 + 0.03 * (place - (len(curves) - 1) / 2)  # dots of one count stand side by side
        for count, values in known.items():
            axes.plot([count * shift] * len(values), values, marker, color=colour, markersize=3.5, alpha=0.45)
        medians = [statistics.median(values) for values in known.values()]
        places = [count * shift for count in known]
        axes.plot(places, medians, "-", marker=marker, color=colour, markersize=6, linewidth=1.4, label=curve.name)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel=across, ylabel=up, ylim=(0, 1.02))
    axes.grid(axis="y", color="0.92")
    axes.legend(frameon=False, fontsize=8, loc="center right")
    return svg_text(figure, "few-sums")


def draw_dots(panels: Mapping[str, Sequence[Dots]], across: str) -> str:
    """The figure as SVG text: a panel for each task, a row for each method; dots are seeds, bars are medians."""
    columns = min(2, len(panels))
    titles = list(panels)
    lines = [titles[k : k + columns] for k in range(0, len(titles), columns)]
    heights = [0.8 + 0.2 * max(len(panels[title]) for title in line) for line in lines]
    figure = Figure(figsize=(5.4 * columns, sum(heights) + 0.4), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for line, row in zip(lines, grid, strict=True):
        for axes in row[len(line) :]:
            axes.set_axis_off()
        for title, axes in zip(line, row, strict=False):
            for place, dots in enumerate(panels[title]):
                axes.plot(dots.values, [place] * len(dots.values), "o", color=DOT_COLOUR, markersize=4, alpha=0.5)
                if dots.values:
                    axes.plot([statistics.median(dots.values)], [place], "|", color="0.1", markersize=10)
            axes.set_yticks(range(len(panels[title])), [dots.name for dots in panels[title]], fontsize=7)
            axes.set(xlim=(-0.02, 1.02), ylim=(len(panels[title]) - 0.4, -0.6))
            axes.set_title(title, fontsize=9)
            axes.tick_params(axis="x", labelsize=7)
            axes.grid(axis="both", color="0.93")
            axes.set_axisbelow(True)
    figure.supxlabel(across, fontsize=8)
    return svg_text(figure, "shortcuts")
