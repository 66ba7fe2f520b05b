"""Values and gradients against deepproblog's exact engine, on random distributions."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from bridge import compare_with_deepproblog
from tolerances import DEEPPROBLOG

from nesy_gedi.logic.program import Program

BUNDLED = sorted(Path(str(entry)) for entry in files("nesy_gedi.programs").iterdir() if entry.name.endswith(".pl"))

# The digits of two numbers, most significant first. Five symbols keep three digits within deepproblog's reach.
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


def recipe(path: Path) -> dict:
    return tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))


def observed_networks(path: Path) -> list[str]:
    return [name for name, network in recipe(path).get("networks", {}).items() if network.get("observed")]


def test_all_bundled_programs_are_compared() -> None:
    assert {path.stem for path in BUNDLED} >= {"addition", "crossing", "multi_addition", "naming"}


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_a_bundled_program_with_the_form_of_its_recipe(path: Path) -> None:
    program = Program.load(path)
    assert_parity(compare_with_deepproblog(program, recipe(path)["query"], one_hot=observed_networks(path)))


@pytest.mark.parametrize("digits", [1, 3])
def test_multi_addition_of_other_lengths(digits: int) -> None:
    path = next(path for path in BUNDLED if path.stem == "multi_addition")
    lists = [", ".join(f"{name}{k}" for k in range(digits + (name == "Z"))) for name in "XYZ"]
    form = f"multi_addition({', '.join(f'[{names}]' for names in lists)})"
    assert_parity(compare_with_deepproblog(Program.load(path), form, one_hot=["target_net"]))


@pytest.mark.parametrize(("digits", "highest"), [(2, 9), (3, 3)])
def test_addition_of_numbers(digits: int, highest: int) -> None:
    lists = [", ".join(f"{name}{k}" for k in range(digits)) for name in "XY"]
    form = f"addition({', '.join(f'[{names}]' for names in lists)}, Sum)"
    assert_parity(compare_with_deepproblog(Program(NUMBERS.replace("HIGHEST", str(highest))), form, batch=1))


def test_the_comparison_notices_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from nesy_gedi.logic import circuits

    exact = circuits._log_or

    def off(children, out, edge):
        exact(children, out, edge)
        out.add_(1e-4)

    monkeypatch.setattr(circuits, "_log_or", off)
    value, _ = compare_with_deepproblog(Program(NUMBERS.replace("HIGHEST", "3")), "addition([X], [Y], Sum)")
    assert value > DEEPPROBLOG
