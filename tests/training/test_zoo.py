"""The program zoo: each bundled program is whole - page, recipe, circuit - and its recipe teaches something in seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nesy_gedi.data import describe
from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.training import Trained, train

PAGES = Path(__file__).parents[2] / "docs" / "programs"
NAMES = [program.name for program in bundled_programs()]

SECTIONS = ["What it shows", "The program", "The data", "Its shortcuts", "What to expect"]

LIMIT = 120.0
"""Seconds that a recipe may take on one core."""

ANSWERS = {"method": "answers"}
"""In place of a pretraining, which takes longer than all others here."""

SHORT: dict[str, tuple[dict[str, Any], float]] = {
    "addition": ({"training.epochs": 4}, 0.5),
    "comparison": ({"training.epochs": 3, "data.train": 1400}, 0.2),
    "crossing": ({"training.epochs": 2}, 0.3),
    "diagnosis": ({"training.epochs": 2}, 0.5),
    "hierarchy": ({"training.epochs": 3, "data.train": 1400}, 0.3),
    "mnist_evenodd": ({"training.epochs": 25, **ANSWERS}, 0.2),
    "mnist_half": ({"training.epochs": 25, **ANSWERS}, 0.3),
    "multi_addition": ({"training.epochs": 7}, 0.5),
    "naming": ({"training.epochs": 2, "data.train": 1200, "data.test": 300}, 0.4),
    "noisy_addition": ({"training.epochs": 6}, 0.4),
    "parity": ({"training.epochs": 10}, 0.3),
    "path": ({"training.epochs": 4, "data.train": 600}, 0.3),
    "poker": ({"training.epochs": 3, "data.train": 1200}, 0.4),
    "product": ({"training.epochs": 4}, 0.4),
    "sorting": ({"training.epochs": 3, "data.train": 1200}, 0.4),
    "subtraction": ({"training.epochs": 6}, 0.4),
    "urn": ({"training.epochs": 3}, 0.05),
    "xor": ({"training.epochs": 8}, 0.3),
}
"""A shortened recipe, and by how much answers are to be better than the most frequent one always. The two others are
trained by test_generated_tasks.py."""


def short(name: str, out: Path) -> Trained:
    found = find_program(name)
    overrides, _ = SHORT[name]
    return train(Program.load(found.path), load_recipe(found.recipe, overrides=overrides), device="cpu", out=out)


def test_all_are_trained_by_some_test() -> None:
    assert len(NAMES) >= 20
    assert sorted([*SHORT, "kandinsky", "traffic"]) == NAMES


@pytest.mark.parametrize("name", SHORT)
def test_a_short_training_beats_the_most_frequent_answer(tmp_path: Path, name: str) -> None:
    trained = short(name, tmp_path / "run")
    queries = trained.queries
    rows = torch.cat([queries.answers[:, None], queries.observed], 1)
    most_frequent = float(rows.unique(dim=0, return_counts=True)[1].max() / len(rows))
    _, margin = SHORT[name]
    assert trained.document["metrics"]["answer_accuracy"] > most_frequent + margin


@pytest.mark.parametrize("name", NAMES)
def test_every_program_has_its_page(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n\n")
    assert describe(load_recipe(find_program(name).recipe).data.source).status == "embedded"
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert f"```console\n$ nesy-gedi train {name}\n```" in text
    quoted = re.findall(r"^```prolog\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert quoted == [find_program(name).path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_run_is_within_two_minutes(name: str) -> None:
    """The table that benchmarks/zoo.py has written: its last column are the seconds of the slowest run."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    table = re.search(rf"<!-- zoo-{name}: begin -->(.*?)<!-- zoo-{name}: end -->", text, re.DOTALL)
    assert table is not None
    header, _, row = [line for line in table[1].splitlines() if line.startswith("|")]
    figures = dict(zip(header.split("|")[1:-1], row.split("|")[1:-1], strict=True))
    assert 0.0 < float(figures[" slowest "]) < LIMIT
    assert "failed" not in row


def test_every_page_is_of_a_program() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == NAMES
