"""Which program an argument names."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import ADDITION

from nesy_gedi.errors import UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import ProgramFile, bundled_programs, find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task

BUNDLED = list(bundled_programs())
NAMES = [program.name for program in BUNDLED]


@pytest.fixture
def here(workplace: Path) -> Path:
    """A folder with ``addition.pl`` and its recipe, and ``parity.pl`` without one."""
    (workplace / "addition.pl").write_text(ADDITION, encoding="utf-8")
    (workplace / "addition.toml").write_text("seed = 5\n", encoding="utf-8")
    (workplace / "parity.pl").write_text("% Two lines\n%  of comment.\n\n% not this\np(1).\n", encoding="utf-8")
    (workplace / "sub").mkdir()
    return workplace


def test_a_name_is_a_bundled_program(here: Path) -> None:
    found = find_program("addition")  # although addition.pl lies here
    assert found.name == "addition"
    assert found.path.parent != here
    assert load_recipe(found.recipe).query == "addition(X, Y, Sum)"


@pytest.mark.parametrize("argument", ["addition.pl", "./addition.pl", "sub/../addition.pl"])
def test_a_path_is_a_file(here: Path, argument: str) -> None:
    found = find_program(argument)
    assert found.path.samefile(here / "addition.pl")
    assert found.recipe is not None
    assert load_recipe(found.recipe).seed == 5


def test_a_program_without_a_recipe(here: Path) -> None:
    found = find_program(str(here / "parity.pl"))
    assert (found.name, found.recipe) == ("parity", None)
    assert found.summary() == "Two lines of comment."


def test_the_folder_of_a_run_is_no_program(here: Path) -> None:
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/program.pl").write_text("p.", encoding="utf-8")
    with pytest.raises(UsageError, match="it is a folder") as caught:
        find_program("runs/one")
    assert caught.value.hint == f"the program of this run is {Path('runs/one/program.pl')}"


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("aditon", "there is no bundled program aditon", f"did you mean addition? valid: {', '.join(NAMES)}"),
        ("zzz", "there is no bundled program zzz", f"valid: {', '.join(NAMES)}"),
        ("", "there is no bundled program ", f"valid: {', '.join(NAMES)}"),
        ("adition.pl", "there is no such program file", "did you mean addition.pl? valid: addition.pl, parity.pl"),
        ("./addition", "there is no such program file", "did you mean addition.pl? valid: addition.pl, parity.pl"),
        ("sub/", "there is no such program file: it is a folder", "valid: addition.pl, parity.pl"),
        ("nowhere/addition.pl", "there is no such program file", "valid: none"),
    ],
)
def test_nothing_there(here: Path, argument: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_program(argument)
    assert caught.value.message == message
    assert caught.value.hint == hint
    assert caught.value.where == (None if "bundled" in message else argument)


def test_bundled_names_are_sorted() -> None:
    assert sorted(NAMES) == NAMES
    assert {"addition", "crossing", "multi_addition", "naming"} <= set(NAMES)


@pytest.mark.parametrize("program", BUNDLED, ids=NAMES)
@pytest.mark.parametrize("source", [None, "mnist"])
def test_every_bundled_program_has_a_recipe_that_fits_it(program: ProgramFile, source: str | None) -> None:
    assert program.recipe is not None
    assert program.summary()
    task = Task(Program.load(program.path), load_recipe(program.recipe, source=source))
    assert task.networks
