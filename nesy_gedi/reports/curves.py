"""Curves of a pretraining run over its epochs, stage by stage, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nesy_gedi.reports.plots import plain, to_svg, whole_epochs

Line = Mapping[str, Any]
"""One line of ``metrics.jsonl``."""

STYLES = (("-", "."), ("--", "x"), (":", "^"), ("-.", "s"))
"""Line and marker of the stages, in turn."""

MARKED_EPOCHS = 40
"""Above this many epochs a curve has no markers: they would hide it."""

OPEN_ENDED = frozenset({"effective_rank", "participation_ratio", "prior_divergence", "mutual_information"})
"""Diagnostics that are no share, so that their axis does not end at 1."""

WARNING: dict[str, Any] = {"marker": "v", "color": "#b2182b", "linestyle": "none", "clip_on": False}
BOUNDARY: dict[str, Any] = {"color": "0.6", "linestyle": (0, (1, 2)), "linewidth": 1}
PANEL = (3.6, 2.0)
"""Inches of a small figure."""


class StageLines(NamedTuple):
    """The epochs of one stage, in their order."""

    name: str
    lines: list[Line]


NUMBERS = ("train_loss", "validation_loss", "validation_answer_accuracy", "aligned_accuracy")
TABLES = ("terms", "collapse", "seconds")


def readable(lines: Sequence[Line]) -> list[Line]:
    """The lines up to the first that holds something else than a run writes: what a person has edited is not drawn."""
    return list(takewhile(_is_readable, lines))


def _is_readable(line: Line) -> bool:
    def is_number(value: object) -> bool:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))

    tables = [line.get(key, {}) for key in TABLES]
    symptoms = line.get("symptoms", [])
    return (
        all(is_number(line.get(key)) for key in NUMBERS)
        and all(isinstance(table, dict) and all(map(is_number, table.values())) for table in tables)
        and isinstance(symptoms, list)
        and all(isinstance(each, dict) and {"name", "diagnostic"} <= each.keys() for each in symptoms)
    )


def by_stage(lines: Sequence[Line]) -> list[StageLines]:
    """The lines of a run, cut where a stage follows another."""
    return [StageLines(str(name), list(group)) for name, group in groupby(lines, key=lambda line: line["stage"])]


def loss_curves(stage: StageLines, number: int) -> str:
    """:func:`draw_losses` as SVG text."""
    return to_svg(draw_losses(stage, number), f"loss of stage {stage.name} and its terms")


def draw_losses(stage: StageLines, number: int) -> Figure:
    """Loss of the stage with that number and the terms that it is the sum of, each on a scale of its own."""
    names = list(dict.fromkeys(name for line in stage.lines for name in line.get("terms", {})))
    values = {"loss": [line["train_loss"] for line in stage.lines]}
    if len(names) > 1:
        values |= {name: [line.get("terms", {}).get(name, math.nan) for line in stage.lines] for name in names}
    figure = Figure(figsize=(2.9 * max(3, len(values)), 2.2), layout="constrained")
    grid = figure.subplots(1, max(3, len(values)), squeeze=False)[0]
    for axes, (name, series) in zip(grid, values.items(), strict=False):
        axes.plot([line["epoch"] for line in stage.lines], series, **_style(number, len(series)))
        axes.set_title(name.replace("_", " "), fontsize=9)
        _finish(axes)
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    return figure


def accuracy_curve(stages: Sequence[StageLines]) -> str:
    """Share of training images in the cluster of their class; empty where no stage has a cluster for each class."""
    return _curve(stages, "aligned_accuracy", lambda line: line)


def diagnostic_curve(stages: Sequence[StageLines], key: str) -> str:
    """One collapse diagnostic, with a triangle wherever it raised a warning; empty where it was never measured."""
    return _curve(stages, key, lambda line: line["collapse"])


def style_legend(stages: Sequence[StageLines], *, warnings: bool) -> str:
    """What the lines of all curves stand for."""
    handles = [
        Line2D([], [], label=plain(f"stage {stage.name}"), **_style(number, 1)) for number, stage in enumerate(stages)
    ]
    if len(stages) > 1:
        handles.append(Line2D([], [], **BOUNDARY, label="next stage begins"))
    if warnings and _raised(stages, "name"):
        handles.append(Line2D([], [], **WARNING, label="raised a warning"))
    figure = Figure(figsize=(1.9 * max(2, len(handles)), 0.35))
    figure.legend(handles=handles, loc="center left", ncols=len(handles), frameon=False, fontsize=9, handlelength=3)
    return to_svg(figure, "legend of the curves")


def warning_times(stages: Sequence[StageLines]) -> str:
    """Which warnings were raised after which epochs; empty where there were none."""
    names = _raised(stages, "name")
    if not names:
        return ""
    figure = Figure(figsize=(9, 0.9 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    for row, epochs in enumerate(names.values()):
        axes.plot(epochs, [row] * len(epochs), **WARNING)
    axes.set(yticks=range(len(names)), yticklabels=list(names), ylim=(len(names) - 0.5, -0.5))
    _all_epochs(axes, stages)
    _finish(axes)
    return to_svg(figure, "epochs after which warnings were raised")


def _curve(stages: Sequence[StageLines], key: str, values_of: Callable[[Line], Line]) -> str:
    if not any(key in values_of(line) for stage in stages for line in stage.lines):
        return ""
    figure = Figure(figsize=PANEL, layout="constrained")
    axes = figure.subplots()
    for number, stage in enumerate(stages):
        epochs = [line["epoch"] for line in stage.lines]
        values = [values_of(line).get(key, math.nan) for line in stage.lines]
        axes.plot(epochs, values, **_style(number, len(values)))
    if raised := _raised(stages, "diagnostic").get(key):  # along the upper edge, where they hide no curve
        axes.plot(raised, [1.0] * len(raised), transform=axes.get_xaxis_transform(), **WARNING)
    top = axes.get_ylim()[1] if key in OPEN_ENDED else 1.0
    axes.set_ylim(-0.05 * top, 1.1 * top)
    _all_epochs(axes, stages)
    _finish(axes)
    return to_svg(figure, f"{key.replace('_', ' ')} over epochs")


def _raised(stages: Sequence[StageLines], by: str) -> dict[str, list[int]]:
    """After which epochs warnings were raised, by their ``name`` or their ``diagnostic``, each in order."""
    found: dict[str, list[int]] = {}
    for line in (line for stage in stages for line in stage.lines):
        for value in dict.fromkeys(symptom[by] for symptom in line.get("symptoms", ())):
            found.setdefault(value, []).append(line["epoch"])
    return found


def _all_epochs(axes: Axes, stages: Sequence[StageLines]) -> None:
    """The x axis holds the whole run; dotted lines divide the stages."""
    first, last = stages[0].lines[0]["epoch"], stages[-1].lines[-1]["epoch"]
    margin = max(0.5, 0.03 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    for stage in stages[:-1]:
        axes.axvline(stage.lines[-1]["epoch"] + 0.5, **BOUNDARY)


def _style(number: int, points: int) -> dict[str, Any]:
    line, marker = STYLES[number % len(STYLES)]
    shown = marker if points <= MARKED_EPOCHS else None
    return {"color": f"C{number}", "linestyle": line, "marker": shown, "markersize": 5}


def _finish(axes: Axes) -> None:
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(labelsize=8)
    whole_epochs(axes)
