"""Recipes whose data is at a path, and how they say that it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nesy_gedi.data import ReadOptions, load_images
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.planning import pretraining_of, with_absolute_paths
from nesy_gedi.training.preparation import find_images
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe, with_absolute_source
from nesy_gedi.training.recipe import DataRecipe, Recipe, check_recipe, load_recipe
from nesy_gedi.training.task import Task

SUMS = "nn(net, [X], Y, [0, 1]) :: digit(X, Y).\nsum(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("digits", "digits"), ("./digits", "digits"), ("own/a.csv", "own/a.csv"), ("a.npz", "a.npz"), ("../b/", "../b")],
)
def test_paths_become_absolute_and_names_stay(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    told = source if source == expected == "digits" else str((tmp_path / "work" / expected).resolve())
    assert with_absolute_paths(load_recipe(None, source=source)).data.source == told
    pretraining = load_pretrain_recipe(overrides={"data.source": source})
    assert with_absolute_source(pretraining).data.source == told


def test_a_folder_that_is_there_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert with_absolute_paths(load_recipe(None, source="photos")).data.source == str(tmp_path / "photos")
    assert with_absolute_paths(load_recipe(None, source="photo")).data.source == "photo"


@pytest.mark.parametrize("shape", [[5], [0, 3], [2, 8, 8], [1, 2, 3, 4]])
def test_impossible_shapes_are_refused_with_their_key(shape: list[int]) -> None:
    for load in (load_recipe, load_pretrain_recipe):
        with pytest.raises(RecipeError, match=r"data\.image_shape must be \[height, width\]"):
            load(None, overrides={"data.image_shape": shape})
    with pytest.raises(RecipeError, match=r"data\.image_shape"):
        check_recipe(Recipe(data=DataRecipe(image_shape=tuple(shape))))


def test_how_data_is_read_is_said_once(tmp_path: Path) -> None:
    """A run's own pretraining reads the same images in the same way."""
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((40, 9, 9), dtype=np.uint8), labels=np.arange(40) % 2)
    overrides = {"data.image_shape": [3, 6, 6], "data.skip_unreadable": True}
    recipe = load_recipe(None, source=str(path), overrides={"query": "sum(X, Y, S)", **overrides})
    assert recipe.data.options() == ReadOptions((3, 6, 6), True)
    program = tmp_path / "sum.pl"
    program.write_text(SUMS, encoding="utf-8")
    task = Task(Program.load(program), recipe)
    images = load_images(path, options=recipe.data.options())
    pretraining = pretraining_of(task, "net", images.train)
    assert pretraining.data.options() == recipe.data.options()
    assert find_images(pretraining, None, False).train.shape == (3, 6, 6)
