"""How shortcut_counting.py shows what it measures: its words, tables of growth, and the figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from record import markdown_table
from shortcut_figures import STYLES
from svg import svg_text

from nesy_gedi.concepts.map_counting import Count
from nesy_gedi.concepts.repairs import AnswerRepair, LabelRepair

EXPLANATION = """\
`python benchmarks/shortcut_counting.py` on {machine}. One thread; the process had {share:.0%} of a core. A count begins with \
the program's circuit, of which it first asks the answer to every reading; reading, grounding and compiling the program are \
*program*, measured once. Every number of seconds is the median of {runs} runs, or of fewer that take a second. Numbers of \
maps of more than a million are rounded, 10^x of very many; all are exact within {budget:.0f} s but those *at least*. With \
several draws, seeds 0 to n - 1, the median is followed by the worst in brackets, and every draw's number of maps is shown, \
seed by seed, where they differ."""

KNOWN_TEXT = """\
### Published counts

All four counts in one number of seconds. Each is the published one (5 digits' joint is not published), and that of brute \
force where there are at most {maps:,} maps to try, one-to-one counts included."""

SYMBOLS_TEXT = """\
### Growth with the number of symbols

Additions of two symbols 0 to K - 1, one shared map. Brute force tries all K^K maps, block by block in numpy, each pair on \
the maps that are left; the table of answers is given to it, and it counts maps and one-to-one maps at once. Its counts are \
ours wherever it ran. It was not tried where it would take over {budget:.0f} s, a size's draws together ({ended})."""

PAIRS_TEXT = """\
### Growth with the observed answers

Additions of two symbols 0 to {last}; pairs are drawn with repetition, seeds 0 to {seeds}."""

REPAIRS_TEXT = """\
### Repairs

The fewest labels, or further answers, that leave the identity alone, and the seconds until that is proven or, after \
{proving:.1f} s, greedily found; the right columns are for one-to-one maps, which clusters leave. Counted again with \
what is asked for, each leaves one map. Numbers of labels of half and even-odd are the published ones."""


@dataclass(frozen=True)
class Measured:
    """One draw.

    Attributes:
        at: number of symbols, or of observed pairs.
        brute_force: seconds of both counts; None where it was not tried.
    """

    support: str
    family: str
    at: int
    seed: int
    count: Count
    one_to_one: Count
    seconds: float
    one_to_one_seconds: float
    brute_force: float | None = None


def number(found: Count) -> str:
    """As tables show it."""
    if found.lower < 10**6:
        text = f"{found.lower:,}"
    elif found.lower < 10**15:
        text = f"{found.lower:.2e}".replace("e+", "e")
    else:
        text = f"10^{found.log10:.2f}"
    return text if found.exact else f"at least {text}"


def size_of(found: LabelRepair | AnswerRepair) -> str:
    asked = found.labels if isinstance(found, LabelRepair) else found.tuples
    if asked is None:
        return "none do" if found.proven else "not found"
    return f"{len(asked)}" if found.proven else f"{len(asked)} (not proven)"


def growth_table(first: str, done: Sequence[Measured], ready: Mapping[int, float] | None = None) -> str:
    """A row for each number of symbols or pairs.

    Args:
        ready: number of symbols -> seconds until the circuit is; with these there is brute force, too.
    """
    rows = []
    for at in dict.fromkeys(each.at for each in done):
        own = [each for each in done if each.at == at]
        brute = [each.brute_force for each in own if each.brute_force is not None]
        row = [f"{at:,}", several(each.count for each in own), several(each.one_to_one for each in own)]
        row += [middle(each.seconds for each in own), middle(each.one_to_one_seconds for each in own)]
        if ready is not None:
            row += [middle(brute) if brute else "-", f"{ready[at]:.2f}"]
        rows.append(row)
    header = [first, "maps", "one to one", "maps: seconds", "one to one: seconds"]
    return markdown_table(
        [*header, *([] if ready is None else ["brute force, both: seconds", "program, seconds"])], rows
    )


def several(counts: Iterable[Count]) -> str:
    """Every draw's; one where all are equal."""
    found = [number(each) for each in counts]
    return found[0] if len(set(found)) == 1 else "; ".join(found)


def middle(seconds: Iterable[float]) -> str:
    """The median, and the worst of several draws."""
    every = list(seconds)

    def shown(value: float) -> str:
        return f"{value:.3f}" if value >= 0.01 else f"{value:.5f}"

    return shown(statistics.median(every)) + (f" ({shown(max(every))})" if len(every) > 1 else "")


@dataclass(frozen=True)
class Curve:
    """Number of symbols or pairs -> seconds, a draw each.

    Attributes:
        style: its place in STYLES.
        reference: whether it is brute force, which is dashed.
    """

    name: str
    style: int
    points: Mapping[int, Sequence[float]]
    reference: bool = False


def curve(
    name: str, style: int, done: Sequence[Measured], of: Callable[[Measured], float | None], reference: bool = False
) -> Curve:
    points: dict[int, list[float]] = {}
    for each in done:
        if (seconds := of(each)) is not None:
            points.setdefault(each.at, []).append(seconds)
    return Curve(name, style, points, reference)


def draw(symbols: Sequence[Measured], pairs: Sequence[Measured], size: int) -> str:
    """The figure as SVG text.

    Args:
        symbols: growth with the number of symbols.
        pairs: growth with the number of observed pairs, of ``size`` symbols.
    """
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    supports = list(dict.fromkeys(each.support for each in symbols))
    of_support = [[each for each in symbols if each.support == support] for support in supports]
    brute = [
        curve(f"{support}, brute force", place, own, lambda each: each.brute_force, True)
        for place, (support, own) in enumerate(zip(supports, of_support, strict=True))
    ]
    ours = [
        curve(support, place, own, lambda each: each.seconds)
        for place, (support, own) in enumerate(zip(supports, of_support, strict=True))
    ]
    straight = [
        curve(support, place, own, lambda each: each.one_to_one_seconds)
        for place, (support, own) in enumerate(zip(supports, of_support, strict=True))
    ]
    draw_panel(panels[0], "all maps", "number of symbols K", [*ours, *brute])
    draw_panel(panels[1], "one-to-one maps alone", "number of symbols K", [*straight, *brute])
    by_pairs = []
    for place, family in enumerate(dict.fromkeys(each.family for each in pairs)):
        own = [each for each in pairs if each.family == family]
        by_pairs.append(curve(family, 3 + 2 * place, own, lambda each: each.seconds))
        by_pairs.append(curve(f"{family}, one to one", 4 + 2 * place, own, lambda each: each.one_to_one_seconds))
    draw_panel(panels[2], f"K = {size}, random pairs", "observed pairs, drawn with repetition", by_pairs)
    for axes in panels[:2]:
        axes.set_xticks(range(2, max(each.at for each in symbols) + 1, 2))
    panels[2].set_xscale("log")
    counts = sorted({each.at for each in pairs})
    panels[2].set_xticks(counts, [str(at) for at in counts])
    panels[2].minorticks_off()
    panels[0].set_ylabel("seconds")
    return svg_text(figure, "shortcut-counting")


def draw_panel(axes: Axes, title: str, across: str, curves: Sequence[Curve]) -> None:
    """Dots are draws, lines join their medians; what colour says, the marker says too."""
    for each in curves:
        colour, marker = STYLES[each.style]
        line, filled = ("--", "white") if each.reference else ("-", colour)
        places = sorted(each.points)
        dots = [(at, seconds) for at in places for seconds in each.points[at]]
        axes.plot(*zip(*dots, strict=True), linestyle="", marker=marker, color=colour, markersize=2.5, alpha=0.4)
        medians = [statistics.median(each.points[at]) for at in places]
        axes.plot(
            places,
            medians,
            line,
            marker=marker,
            color=colour,
            markerfacecolor=filled,
            markersize=5,
            linewidth=1.3,
            label=each.name,
        )
    axes.set_yscale("log")
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(across, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1)
