"""Objectives by name."""

from __future__ import annotations

import pytest

from nesy_gedi.errors import UsageError
from nesy_gedi.objectives import OBJECTIVES, Gedi, find_objective

NAMES = ["gedi", "falcon", "swav", "dino", "simclr", "byol", "simsiam", "barlow_twins", "vicreg", "dissl", "cissl"]


def test_the_names() -> None:
    assert list(OBJECTIVES) == NAMES
    assert all(kind.name == name for name, kind in OBJECTIVES.items())


def test_a_name_finds_its_objective() -> None:
    assert find_objective("gedi") is Gedi


@pytest.mark.parametrize(("wrong", "meant"), [("gedy", "gedi"), ("barlow", "barlow_twins"), ("SimCLR", "simclr")])
def test_an_unknown_name_is_refused_with_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"there is no objective {wrong}") as caught:
        find_objective(wrong)
    assert caught.value.hint is not None
    assert "valid: barlow_twins, byol" in caught.value.hint
    if wrong.islower():
        assert f"did you mean {meant}?" in caught.value.hint
