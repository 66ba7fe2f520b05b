"""What the documentation says, runs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from nesy_gedi.cli.main import commands
from nesy_gedi.training.recipe import NetworkRecipe, Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", text)
        for page in PAGES
        for number, (found, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if found == language
    ]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in blocks("python")])
def test_python_blocks_run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_commands_exist_with_their_options() -> None:
    lines = [line.removeprefix("$ ") for _, text in blocks("") for line in text.splitlines()]
    called = [line.split() for line in lines if line.removeprefix("$ ").startswith("nesy-gedi ")]
    assert called
    for _, name, *arguments in called:
        command = commands.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_linked_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("part", ["logic", "networks", "concepts", "training", "reports"])
def test_the_architecture_page_names_every_module(part: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [path.name for path in sorted((ROOT / "nesy_gedi" / part).glob("*.py")) if path.name != "__init__.py"]
    assert not [name for name in modules if f"`{name}`" not in page]


def test_documented_recipe_keys_are_the_defaults() -> None:
    """All tables, each with all keys: a key that is new fails here until recipes.md says what it is."""
    (text,) = [text for name, text in blocks("toml") if name.startswith("recipes.md")]
    documented = {name: table for name, table in tomllib.loads(text).items() if name != "when"}
    recipe = dataclasses.asdict(Recipe(networks={"NAME": NetworkRecipe()}))
    assert documented == tomllib.loads(tomli_w.dumps(recipe))


def test_readme_begins_with_the_two_commands() -> None:
    begin = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    assert [line.split("#")[0].strip() for line in begin.strip().splitlines()] == ["make train", "make test"]
