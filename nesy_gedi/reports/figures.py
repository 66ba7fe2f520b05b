"""The figures of a run's report as matplotlib figures, each drawn when it is first looked at."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from nesy_gedi.reports.curves import StageLines, draw_losses, readable
from nesy_gedi.reports.inspection import Inspection
from nesy_gedi.reports.plots import draw_learning_curves, plain
from nesy_gedi.reports.reliability import draw_reliability

TYPICAL = 10
"""Images of each symbol."""


class Figures(Mapping[str, Figure]):
    """Figures by name. In a notebook each shows itself; ``figures["learning_curves"].savefig("curves.pdf")`` keeps one.

    ``learning_curves``, ``loss_terms`` where an objective was trained beside the answers, and for each network
    ``confusion_NETWORK`` and ``reliability_NETWORK``, where true symbols are known, and ``typical_NETWORK``, where there are
    images to show.
    """

    def __init__(self, draw: Mapping[str, Callable[[], Figure]]) -> None:
        self._draw = dict(draw)
        self._drawn: dict[str, Figure] = {}

    def __getitem__(self, name: str) -> Figure:
        if name not in self._draw:
            raise KeyError(f"{name}; there are {', '.join(self._draw)}")
        if name not in self._drawn:
            figure = self._draw[name]()
            # IPython knows how to show pyplot's figures; this one is none of them.
            figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
            self._drawn[name] = figure
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._draw)

    def __len__(self) -> int:
        return len(self._draw)

    def __repr__(self) -> str:
        return f"Figures({', '.join(self)})"


def figures_of(inspection: Inspection) -> Figures:
    """Those of a run that has been inspected."""
    draw: dict[str, Callable[[], Figure]] = {}
    lines = readable(inspection.trained.run.read_metrics())
    if lines:
        draw["learning_curves"] = partial(draw_learning_curves, lines)
    if any(line.get("terms") for line in lines):
        draw["loss_terms"] = partial(draw_losses, StageLines("answers and objective", lines), 0)
    domains = inspection.trained.task.program.networks
    for name, values in inspection.trained.document["metrics"]["networks"].items():
        reading = inspection.readings[name]
        if (counts := values.get("confusion")) is not None:
            draw[f"confusion_{name}"] = partial(draw_confusion, counts, domains[name])
        if reading.calibration is not None:
            draw[f"reliability_{name}"] = partial(draw_reliability, reading.calibration)
        if len(reading.inputs) == 1 and reading.inputs[0].dim() == 4:
            draw[f"typical_{name}"] = partial(draw_typical, reading.inputs[0], reading.probabilities, domains[name])
    return Figures(draw)


def draw_confusion(counts: Sequence[Sequence[int]], domain: Sequence[str]) -> Figure:
    """What each true symbol (rows) is read as (columns).

    Args:
        counts: (K, K).
        domain: the K symbols.
    """
    table = torch.tensor(counts)
    shares = table / table.sum(1, keepdim=True).clamp_min(1)
    size = max(2.5, 0.42 * len(domain) + 1.0)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in table.nonzero().tolist():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(int(table[row, column])), ha="center", va="center", fontsize=8, color=colour)
    names = [plain(name) for name in domain]
    axes.set_xticks(range(len(domain)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(domain)), names)
    axes.set(xlabel="read as", ylabel="true symbol")
    return figure


def draw_typical(images: Tensor, probabilities: Tensor, domain: Sequence[str]) -> Figure:
    """For each symbol the images that are read as it, the surest first.

    Args:
        images: (n, channels, height, width) uint8.
        probabilities: of the symbols, (n, K).
        domain: the K symbols.
    """
    confidence, read = probabilities.max(1)
    across = min(2, len(domain))
    down = math.ceil(len(domain) / across)
    figure = Figure(figsize=(8.0, 0.3 + 0.75 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    for number, name in enumerate(domain):
        members = (read == number).nonzero()[:, 0]
        chosen = images[members[confidence[members].argsort(descending=True)[:TYPICAL]].to(images.device)].cpu()
        grid[number].set_title(f"{plain(name)}{'' if len(chosen) else ': none'}", fontsize=9, loc="left")
        if len(chosen):
            grid[number].imshow(_strip(chosen).numpy(), cmap="gray", vmin=0, vmax=255)
    return figure


def _strip(images: Tensor) -> Tensor:
    """Images side by side, :data:`TYPICAL` wide whatever their number: (height, width) or (height, width, 3)."""
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    missing = TYPICAL - len(shown)
    blank = torch.full((missing, *shown.shape[1:]), 255, dtype=shown.dtype)
    row = torch.cat([shown, blank]).permute(2, 0, 3, 1).flatten(1, 2)
    return row.squeeze(-1).contiguous()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
