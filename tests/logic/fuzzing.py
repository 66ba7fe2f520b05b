"""How many examples a property is tried on."""

from __future__ import annotations

import os

from hypothesis import settings

FUZZ = int(os.environ.get("NESY_GEDI_FUZZ", "0"))
"""``NESY_GEDI_FUZZ=2000`` draws that many new examples for each property in place of the fixed ones."""


def examples(usually: int) -> settings:
    """Settings of a property that is tried on ``usually`` examples."""
    return settings(max_examples=FUZZ or usually)
