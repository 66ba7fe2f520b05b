"""The reader of recipes, on tables of its own: conditions that follow from one another, and values of several kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nesy_gedi.errors import RecipeError
from nesy_gedi.training.recipe_files import Fault, read_recipe, write_recipe


@dataclass(frozen=True)
class Step:
    size: int = 1
    weights: tuple[float, ...] = ()
    constants: Mapping[str, float | int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    name: str = "plain"
    place: str = "home"
    steps: Mapping[str, Step] = field(default_factory=dict)


def faults(plan: Plan) -> Iterator[Fault]:
    for name, step in plan.steps.items():
        if step.size < 1:
            yield ("steps", name, "size"), f"size must be positive, not {step.size}"


def read(tmp_path: Path, text: str, **overrides: Any) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(
        Plan,
        path,
        faults=faults,
        conditions=lambda plan: {plan.name, plan.place, f"{plan.name}-{plan.place}"},
        overrides={key.replace("__", "."): value for key, value in overrides.items()},
    )


CONDITIONS = """
[steps.a]
size = 1
[when.away]
name = "quick"
[when.away.steps.a]
size = 2
[when.quick.steps.a]
size = 3
[when.quick-away.steps.a]
size = 4
[when.quick-away.steps.b]
size = 5
"""


def test_a_table_may_decide_which_later_ones_hold(tmp_path: Path) -> None:
    assert read(tmp_path, CONDITIONS).steps == {"a": Step(1)}
    assert read(tmp_path, CONDITIONS, name="quick").steps == {"a": Step(3)}
    away = read(tmp_path, CONDITIONS, place="away")
    assert (away.name, away.steps) == ("quick", {"a": Step(4), "b": Step(5)})


def test_what_is_given_wins_over_the_names_that_tables_give(tmp_path: Path) -> None:
    away = read(tmp_path, CONDITIONS, place="away", name="plain")
    assert (away.name, away.steps) == ("plain", {"a": Step(2)})
    away = read(tmp_path, CONDITIONS, place="away", steps__a__size=9)
    assert (away.name, away.steps) == ("quick", {"a": Step(9), "b": Step(5)})


def test_a_table_cannot_decide_about_earlier_ones(tmp_path: Path) -> None:
    text = '[steps.a]\nsize = 1\n[when.quick.steps.a]\nsize = 3\n[when.home]\nname = "quick"\n'
    plan = read(tmp_path, text)
    assert (plan.name, plan.steps) == ("quick", {"a": Step(1)})


def test_constants_keep_their_kinds(tmp_path: Path) -> None:
    text = "[steps.a]\nweights = [1, 0.5]\nconstants = { a = 1, b = 1.5, c = 'x', d = true }"
    step = read(tmp_path, text).steps["a"]
    assert step.weights == (1.0, 0.5)
    assert all(type(weight) is float for weight in step.weights)
    assert step.constants == {"a": 1, "b": 1.5, "c": "x", "d": True}
    assert [type(value) for value in step.constants.values()] == [int, float, str, bool]


def test_constants_are_merged_by_name(tmp_path: Path) -> None:
    text = "[steps.a.constants]\na = 1\nb = 2\n[when.away.steps.a.constants]\nb = 3\nc = 4"
    assert read(tmp_path, text, place="away").steps["a"].constants == {"a": 1, "b": 3, "c": 4}


WRONG = [
    ("[steps.a]\nconstants = { a = [1] }", 2, "steps.a.constants.a is a number or a whole number or a string"),
    ("[steps.a.constants]\nb = { c = 1 }", 2, "steps.a.constants.b is a number or a whole number or a string"),
    ("[steps.a]\nweights = ['x']", 2, "steps.a.weights is a list of numbers, not a list"),
    ("[steps.a]\nweights = 0.5", 2, "steps.a.weights is a list of numbers, not the number 0.5"),
    ("[steps.a]\nsize = 1\n[when.away.steps.a]\nsize = 0", 4, "size must be positive, not 0"),
    ("[steps.a]\nconstants = 3", 2, "steps.a.constants is a table, not the number 3"),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG)
def test_mistakes_have_their_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text)
    assert caught.value.message.startswith(message)
    assert caught.value.where == f"{tmp_path / 'plan.toml'}:{line}"


def test_the_order_of_tables_is_kept(tmp_path: Path) -> None:
    names = ["zebra", "ape", "mole", "bear"]
    plan = read(tmp_path, "".join(f"[steps.{name}]\nsize = 2\n" for name in names))
    again = read(tmp_path, write_recipe(plan))
    assert again == plan
    assert list(again.steps) == list(plan.steps) == names


@pytest.mark.parametrize(
    ("text", "given", "hint"),
    [
        ("name = 3", {}, 'leave it out for the default, "plain"'),
        ("[steps.a]\nsize = 0", {}, "leave it out for the default, 1"),
        ("[when.away.steps.a]\nsize = 0", {}, "leave it out for the default, 1"),
        ("[steps.a]\nweights = 3", {}, "leave it out for the default, []"),
        ("steps = 3", {}, None),
        ("", {"name": 3}, "leave it out to keep what the recipe says"),
        ("[steps.a]\nsize = 5", {"steps__a__size": 0}, "leave it out to keep what the recipe says"),
    ],
)
def test_what_to_do_about_a_wrong_value(tmp_path: Path, text: str, given: dict[str, Any], hint: str | None) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text, **given)
    assert caught.value.hint == hint
