"""Draws how often a reading is right over how confident it is: a reliability diagram."""

from __future__ import annotations

from matplotlib.figure import Figure

from nesy_gedi.metrics.calibration import Calibration
from nesy_gedi.reports.plots import to_svg


def reliability_diagram(calibration: Calibration, label: str) -> str:
    """:func:`draw_reliability` as SVG text; ``label`` says what it shows."""
    return to_svg(draw_reliability(calibration), label)


def draw_reliability(calibration: Calibration) -> Figure:
    """Accuracy over confidence, with the line where both are equal, above the share of images in each bin."""
    filled = [each for each in calibration.bins if each.count]
    width = calibration.bins[0].high - calibration.bins[0].low
    total = max(1, sum(each.count for each in filled))
    middles = [(each.low + each.high) / 2 for each in filled]
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    heights = [each.accuracy for each in filled]
    upper.bar(middles, heights, 0.92 * width, color="#9ecae1", edgecolor="#2171b5", label="read right")
    upper.plot([0, 1], [0, 1], linestyle="--", color="0.3", linewidth=1, label="as confident as right")
    means = [each.confidence for each in filled]
    dots = {"linestyle": "none", "marker": "o", "color": "#08306b", "markersize": 4, "clip_on": False}
    upper.plot(means, heights, **dots, label="mean confidence")
    upper.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share read right")
    figure.legend(loc="outside upper left", fontsize=8, frameon=False, ncols=3, columnspacing=1.0)
    lower.bar(middles, [each.count / total for each in filled], 0.92 * width, color="0.8", edgecolor="0.4", hatch="///")
    lower.set(ylim=(0, 1.02), ylabel="of images", xlabel="confidence")
    return figure
