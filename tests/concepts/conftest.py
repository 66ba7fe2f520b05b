"""Sums of digits below four, and an assignment that two of them leave open."""

from __future__ import annotations

import pytest
from every_map import addition, observed

from nesy_gedi.concepts.assignment import Assignment
from nesy_gedi.logic.reasoner import Reasoner


@pytest.fixture(scope="module")
def made() -> Reasoner:
    return addition(4)


@pytest.fixture(scope="module")
def open_one(made: Reasoner) -> Assignment:
    """0 + 3 and 1 + 2: four maps."""
    return observed(made, [(0, 0), (1, 2), (3, 0)], 4)
