"""Values and gradients against deepproblog's exact engine, on random distributions."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from bridge import compare_with_deepproblog
from tolerances import DEEPPROBLOG

from nesy_gedi.logic import circuits
from nesy_gedi.logic.checking import largest_gaps, log_probabilities, random_logits
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

BUNDLED = {
    Path(str(entry)).stem: Path(str(entry))
    for entry in sorted(files("nesy_gedi.programs").iterdir(), key=str)
    if entry.name.endswith(".pl")
}

# The digits of two numbers, most significant first.
NUMBERS = """
nn(net, [X], D, [0..HIGHEST]) :: digit(X, D).
number([], N, N).
number([X|Xs], Before, N) :- digit(X, D), Next is D + 10 * Before, number(Xs, Next, N).
addition(Xs, Ys, Sum) :- number(Xs, 0, A), number(Ys, 0, B), Sum is A + B.
"""


def assert_parity(gaps: tuple[float, float]) -> None:
    value, gradient = gaps
    assert value < DEEPPROBLOG
    assert gradient < DEEPPROBLOG


def recipe_of(path: Path) -> dict[str, object]:
    return tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))


def lists(*lengths: int) -> str:
    """``[X0, X1], [Y0, Y1], ...``"""
    named = zip("XYZ", lengths, strict=False)
    return ", ".join("[" + ", ".join(f"{name}{k}" for k in range(length)) + "]" for name, length in named)


def test_all_bundled_programs_are_compared() -> None:
    assert set(BUNDLED) >= {"addition", "crossing", "multi_addition", "naming"}


@pytest.mark.parametrize("path", BUNDLED.values(), ids=BUNDLED.keys())
def test_a_bundled_program_with_the_form_of_its_recipe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.stem == "multi_addition":
        # Ten symbols for each of seven networks are more than deepproblog compiles in minutes: count to four instead.
        text, count = re.subn(r"\b10\b", "4", text.replace("[0..9]", "[0..3]"))
        assert count == 2
    assert_parity(compare_with_deepproblog(Program(text), str(recipe_of(path)["query"]), max_answers=12))


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_multi_addition_with_observed_sums(digits: int) -> None:
    # deepproblog gets the digits of the sum as constants, we as distributions that are one there.
    text = BUNDLED["multi_addition"].read_text(encoding="utf-8")
    constant = re.sub(r"nn\(target_net.*", "target(D, D).", text)
    assert constant != text
    program, reference_program = Program(text), Program(constant)
    reasoner = Reasoner(program, f"multi_addition({lists(digits, digits, digits + 1)})")
    logits = random_logits([item for item in reasoner.inputs if item.network == "digit_net"], 1, seed=digits)
    for total in (3, 7 * 10 ** (digits - 1), 2 * 10**digits - 2, 2 * 10**digits - 1):
        observed = [int(digit) for digit in reversed(f"{total:0{digits + 1}d}")]
        given = {
            ("target_net", f"Z{k}"): torch.nn.functional.one_hot(torch.tensor([digit]), 10).log().to(torch.float64)
            for k, digit in enumerate(observed)
        }
        own = reasoner(log_probabilities(logits) | given).exp()
        form = f"multi_addition({lists(digits, digits)}, {observed})"
        reference = Reasoner(reference_program, form, engine="deepproblog")(log_probabilities(logits)).exp()
        assert (float(reference) == 0.0) == (total == 2 * 10**digits - 1)
        value, gradient = largest_gaps(own, reference, list(logits.values()), ["true"])
        assert_parity((value.size, gradient.size))


@pytest.mark.parametrize(("digits", "highest"), [pytest.param(2, 9, marks=pytest.mark.soak), (3, 3)])
def test_addition_of_numbers(digits: int, highest: int) -> None:
    # With ten symbols three digits take deepproblog more than a minute.
    program = Program(NUMBERS.replace("HIGHEST", str(highest)))
    assert_parity(compare_with_deepproblog(program, f"addition({lists(digits, digits)}, Sum)", batch=1, max_answers=8))


def test_the_comparison_notices_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = circuits._log_or

    def inexact(children: torch.Tensor, out: torch.Tensor) -> None:
        exact(children, out)
        out.add_(1e-4)

    monkeypatch.setattr(circuits, "_log_or", inexact)
    value, _ = compare_with_deepproblog(Program(NUMBERS.replace("HIGHEST", "3")), "addition([X], [Y], Sum)")
    assert value > DEEPPROBLOG
