"""Figures as text that does not change while the numbers do not."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def svg_text(figure: Figure, salt: str) -> str:
    """A figure as SVG; ``salt`` tells its identifiers from those of other figures on a page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()
