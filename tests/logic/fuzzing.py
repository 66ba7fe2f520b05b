"""How many examples a property is tried on."""

from __future__ import annotations

import os

from hypothesis import settings

FUZZ = int(os.environ.get("NESY_GEDI_FUZZ", "0"))
"""``NESY_GEDI_FUZZ=2000`` draws that many new examples for each property in place of the fixed ones."""

SOAK = bool(os.environ.get("NESY_GEDI_SOAK"))

SHARE = 0.3
"""Of the examples of each property, in ``make test``."""


def examples(usually: int) -> settings:
    """Settings of a property that ``make soak`` tries on ``usually`` examples, and ``make test`` on a share of them."""
    return settings(max_examples=FUZZ or (usually if SOAK else max(10, round(SHARE * usually))))
