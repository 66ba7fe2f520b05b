"""What every report is made of: a page that needs nothing from the network and runs no script, and its tables."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
.wide { overflow-x: auto; }
.confusion td { min-width: 2.2rem; text-align: center; border: 1px solid #eee; }
.confusion thead th { text-align: center; }
.confusion .right { font-weight: bold; outline: 2px solid #2171b5; outline-offset: -2px; }
.words th, .words td { text-align: left; }
.gallery th, .gallery td { text-align: left; vertical-align: middle; } .gallery img { display: block; }
.note { color: #555; } pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
.box { border: 1px solid #bbb; border-left-width: .5rem; padding: .5rem 1rem; margin: 1rem 0; }
.box p { margin: 0; } .box.bad { border-color: #b2182b; } .box.good { border-color: #2171b5; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; } figcaption { color: #555; font-size: .9em; } figcaption strong { color: #1b1b1b; }
svg { max-width: 100%; height: auto; }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
.beside > div { max-width: 100%; } .beside p { max-width: 29rem; }
.gallery .note { font-size: .85em; }
@media print {
  body { font-size: 12px; margin: 0; max-width: none; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .wide { overflow: visible; } .gallery img { max-width: 7rem; height: auto; }
  th, td { padding: .15rem .3rem; }
  pre { white-space: pre-wrap; } tr, svg, img, figure, .box, .beside > * { break-inside: avoid; }
  h1, h2, h3 { break-after: avoid; }
}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document of ``parts``, HTML already; empty ones are left out. The title is text."""
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML already; ``kind`` is the class that styles the table."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def bullets(items: Iterable[str], kind: str = "") -> str:
    """A list of items that are HTML already."""
    return f'<ul class="{kind}">' + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def verbatim(text: str) -> str:
    """Text as it is, in type of one width."""
    return f"<pre>{escape(text)}</pre>"


def number(value: float | None, form: str) -> str:
    """A number as text; a dash where there is none, or NaN."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def confusion_table(
    counts: Sequence[Sequence[int]],
    rows: Sequence[str],
    columns: Sequence[str],
    right: Collection[tuple[int, int]],
) -> str:
    """Counts, each on a background as strong as its share of the row.

    Args:
        counts: (rows, columns).
        rows, columns: their names, as text.
        right: the cells (row, column) where counts belong: blue, bold and framed; all others are red.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = ""
    for row, values in enumerate(counts):
        total = max(1, sum(values))
        cells = ""
        for column, count in enumerate(values):
            belongs = (row, column) in right
            colour = "33, 113, 181" if belongs else "203, 24, 29"
            kind = ' class="right"' if belongs else ""
            cells += f'<td{kind} style="background: rgba({colour}, {0.75 * count / total:.3f})">{count or ""}</td>'
        body += f"<tr><th>{escape(rows[row])}</th>{cells}</tr>"
    return (
        f'<div class="wide"><table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
