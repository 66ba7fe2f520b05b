"""Engines by name, and what is said of them."""

from __future__ import annotations

import json

import pytest
from approximate import FOUR_DIGITS, NAIVE

from nesy_gedi.errors import NesyGediWarning, UsageError
from nesy_gedi.logic.approximation import APPROXIMATIONS, approximate, describe, read_engine
from nesy_gedi.logic.budget import WAYS_OUT
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.topk import TopK
from nesy_gedi.logic.world_sampling import Sampler

ADDITION = "nn(net, [X], D, [0..4]) :: digit(X, D).\naddition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B."


def test_names_and_numbers() -> None:
    assert read_engine("topk:2") == ("topk", 2)
    assert read_engine("sample") == ("sample", APPROXIMATIONS["sample"])
    made = approximate(Program(ADDITION), "addition(X, Y, S)", "topk:2")
    assert isinstance(made, TopK)
    assert made.k == 2
    drawn = approximate(Program(ADDITION), "addition(X, Y, S)", "sample:7")
    assert isinstance(drawn, Sampler)
    assert drawn.n == 7


@pytest.mark.parametrize("text", ["topk:", "topk:0", "topk:-1", "topk:two", "sample:1.5", "topk:²", "top", ""])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_engine(text)


def test_the_hint_names_engines_that_there_are() -> None:
    asked = [word.strip(",") for word in WAYS_OUT.split() if ":" in word]
    assert [read_engine(text)[0] for text in asked] == ["topk", "sample"]


def test_bounds_say_what_they_drop() -> None:
    found = describe(approximate(Program(NAIVE), FOUR_DIGITS, "topk:1"))
    assert found.dropped == pytest.approx(1 - 1e-8)
    document = found.document()
    assert {"query", "answers", "nodes", "edges", "method", "ground_s", "compile_s"} <= set(document)
    assert (document["method"], document["engine"], document["exact"]) == ("approximate", "topk:1", False)
    json.dumps(document)
    first, second, _ = found.lines()
    assert first == f"{FOUR_DIGITS}: approximate (topk:1), proven bounds"
    assert second.startswith("up to 1 of the probability is dropped")


def test_bounds_that_drop_nothing_say_so() -> None:
    with pytest.warns(NesyGediWarning, match="exact"):
        found = describe(approximate(Program(ADDITION), "addition(X, Y, S)", "topk:5"))
    assert found.exact
    assert found.dropped == 0.0
    assert found.answers == 9
    assert found.lines()[1] == "every symbol of every image is kept: exact"


def test_estimates_say_how_wrong_they_may_be() -> None:
    found = describe(approximate(Program(ADDITION), "addition(X, Y, S)", "sample:100"))
    assert found.standard_error == 0.05
    assert 0.12 < found.half_width < 0.15
    assert "dropped" not in found.document()
    assert "standard error at most 0.05; intervals at 99%" in found.lines()[1]
    json.dumps(found.document())
