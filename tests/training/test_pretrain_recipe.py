"""Pretraining recipes: which tables apply, what is refused, and that a written one reads back equal."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_pretraining import CLUSTERS, DIGITS, FEATURES, POINTS, REFINE

from nesy_gedi.data.cards import card_names
from nesy_gedi.errors import RecipeError, UsageError
from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.training.pretrain_recipe import (
    PretrainRecipe,
    StageRecipe,
    check_pretrain_recipe,
    default_recipe,
    load_pretrain_recipe,
)
from nesy_gedi.training.recipe_files import write_recipe


def load(tmp_path: Path, text: str, **arguments: Any) -> PretrainRecipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_pretrain_recipe(path, **arguments)


# -- the default -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["digits", "mnist", "moons", "circles"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_default_recipe_is_whole_for_every_objective_and_data_set(objective: str, source: str) -> None:
    recipe = load_pretrain_recipe(overrides={"objective": objective, "data.source": source})
    check_pretrain_recipe(recipe)
    assert (recipe.objective, recipe.data.source) == (objective, source)
    assert recipe.network.encoder == ("mlp" if source in ("moons", "circles") else "conv")
    first = next(iter(recipe.active_stages().values()))
    assert recipe.objective_of(first) == objective


def test_the_default_recipe_has_tables_only_for_names_that_there_are() -> None:
    tables = tomllib.loads(default_recipe().read_text(encoding="utf-8"))["when"]
    known = {*OBJECTIVES, *card_names(), *(f"{objective}-{data}" for objective in OBJECTIVES for data in card_names())}
    assert set(tables) <= known


# -- conditions --------------------------------------------------------------------------------------------------------

CONDITIONAL = """
objective = "byol"
[stages.features]
epochs = 1
batch_size = 1
hidden = 1
output = 1
[when.simclr.stages.features]
epochs = 2
batch_size = 2
hidden = 2
[when.moons.stages.features]
batch_size = 3
hidden = 3
[when.simclr-moons.stages.features]
hidden = 4
"""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, (1, 1, 1, 1)),
        ({"objective": "simclr"}, (2, 2, 2, 1)),
        ({"data.source": "moons"}, (1, 3, 3, 1)),
        ({"objective": "simclr", "data.source": "moons"}, (2, 3, 4, 1)),
        ({"objective": "simclr", "data.source": "moons", "stages.features.hidden": 9}, (2, 3, 9, 1)),
        ({"objective": "simclr", "stages.features": {"output": 7, "epochs": 8}}, (8, 2, 2, 7)),
    ],
)
def test_tables_of_objective_data_and_both(tmp_path: Path, overrides: Any, expected: tuple[int, ...]) -> None:
    stage = load(tmp_path, CONDITIONAL, overrides=overrides).stages["features"]
    assert (stage.epochs, stage.batch_size, stage.hidden, stage.output) == expected


def test_a_table_may_hold_a_part_of_what_belongs_together(tmp_path: Path) -> None:
    text = """
    sequence = ["features", "clusters"]
    [stages.features]
    [stages.clusters]
    objective = "gedi"
    trains = "head"
    [stages.more]
    [when.moons]
    sequence = ["features", "more", "clusters"]
    [when.moons.stages.clusters]
    initial = "kmeans"
    [when.digits.stages.clusters]
    initial = "previous"
    epochs = 0
    [when.gedi.stages.clusters]
    epochs = 0
    """
    recipe = load(tmp_path, text)
    check_pretrain_recipe(recipe)
    assert recipe.stages["clusters"].epochs == 0
    assert list(load(tmp_path, text, overrides={"data.source": "moons"}).active_stages()) == [
        "features",
        "more",
        "clusters",
    ]


def test_the_sequence_chooses_and_orders_stages() -> None:
    recipe = replace(DIGITS, stages={"a": FEATURES, "b": FEATURES, "c": CLUSTERS})
    assert list(recipe.active_stages()) == ["a", "b", "c"]
    chosen = replace(recipe, sequence=("b", "c"))
    assert list(chosen.active_stages()) == ["b", "c"]
    check_pretrain_recipe(chosen)


# -- refused -----------------------------------------------------------------------------------------------------------


def test_an_unknown_objective_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no objective falkon") as caught:
        load_pretrain_recipe(overrides={"objective": "falkon"})
    assert "did you mean falcon?" in str(caught.value)
    for key in ("objective", "stages.features.objective"):
        with pytest.raises(RecipeError, match=r"there is no objective sim_clr; did you mean simclr\?") as caught:
            load(tmp_path, f"seed = 1\n{key} = 'sim_clr'")
        assert caught.value.where == f"{tmp_path / 'recipe.toml'}:2"


IMPOSSIBLE = [
    ("seed", "-1", "seed must be in 0.."),
    ("seed", str(2**63), "seed must be in 0.."),
    ("data.limit", "-1", "data.limit must be zero or more, not -1"),
    ("network.features", "-1", "features must be zero or more, not -1"),
    ("network.width", "-2", "width must be zero or more, not -2"),
    ("stages.s.epochs", "-1", "epochs must be zero or more, not -1"),
    ("stages.s.clusters", "-1", "clusters must be zero or more, not -1"),
    ("stages.s.clusters", "1", "one cluster says nothing"),
    ("stages.s.axes", "-1", "axes must be zero or more, not -1"),
    ("stages.s.weight_decay", "-0.1", "weight_decay must be zero or more, not -0.1"),
    ("stages.s.weight_decay", "inf", "weight_decay must be zero or more, not inf"),
    ("stages.s.learning_rate", "0", "learning_rate must be positive, not 0"),
    ("stages.s.learning_rate", "nan", "learning_rate must be positive, not nan"),
    ("stages.s.neighbours", "0", "neighbours must be positive, not 0"),
    ("stages.s.restarts", "0", "restarts must be positive, not 0"),
    ("stages.s.passes", "0", "passes must be positive, not 0"),
    ("stages.s.batch_size", "0", "batch_size must be positive, not 0"),
    ("stages.s.hidden", "0", "hidden must be positive, not 0"),
    ("stages.s.output", "0", "output must be positive, not 0"),
    ("stages.s.trains", "'heads'", "there is no trains heads; did you mean head?"),
    ("stages.s.views", "'neighbors'", "there is no views neighbors; did you mean neighbours?"),
    ("stages.s.initial", "'k-means'", "there is no initial k-means; did you mean kmeans?"),
]


@pytest.mark.parametrize(("key", "value", "message"), IMPOSSIBLE)
def test_impossible_value(tmp_path: Path, key: str, value: str, message: str) -> None:
    for text, line in ((f"{key} = {value}", 1), (f"\n[when.mnist]\n{key} = {value}", 3)):
        with pytest.raises(RecipeError) as caught:
            load(tmp_path, text)
        assert message in caught.value.message
        assert caught.value.where == f"{tmp_path / 'recipe.toml'}:{line}"
        assert caught.value.excerpt == f"    {key} = {value}"


def stages(**given: StageRecipe) -> PretrainRecipe:
    return replace(DIGITS, stages=given)


REFUSED = {
    "no stages": (stages(), "the recipe has no stages", "stages"),
    "a head first": (stages(a=CLUSTERS), "the first stage must train the encoder", "stages.a.trains"),
    "a head first in sequence": (
        replace(stages(a=FEATURES, b=CLUSTERS), sequence=("b", "a")),
        "the first stage must train the encoder",
        "stages.b.trains",
    ),
    "no head at last": (stages(a=CLUSTERS, b=FEATURES), "the first stage must train the encoder", "stages.a.trains"),
    "an encoder without clusters at last": (stages(a=FEATURES), "falcon has no linear one", "stages.a"),
    "a stage that is not there": (replace(DIGITS, sequence=("nowhere",)), "sequence names nowhere", "sequence"),
    "a stage twice": (replace(DIGITS, sequence=("features",) * 2), "sequence names features", "sequence"),
    "k-means of an encoder": (
        stages(a=replace(FEATURES, initial="kmeans"), b=CLUSTERS),
        'initial = "kmeans" needs trains = "head"',
        "stages.a.initial",
    ),
    "no epochs of nothing": (
        stages(a=FEATURES, b=replace(CLUSTERS, epochs=0)),
        "epochs must be positive where nothing else makes the head",
        "stages.b.epochs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_recipe_that_cannot_be_run_is_refused(case: str) -> None:
    recipe, message, where = REFUSED[case]
    with pytest.raises(RecipeError, match=message) as caught:
        check_pretrain_recipe(recipe)
    assert caught.value.where == where


# -- round trip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        PretrainRecipe(),
        DIGITS,
        POINTS,
        replace(
            DIGITS,
            seed=2**63 - 1,
            precision="bf16-mixed",
            sequence=("z", "a"),
            stages={
                "z": replace(FEATURES, prior=(0.25, 0.75), constants={"epsilon": 1e-16, "queue": 3, "form": "tanh"}),
                "m": REFINE,
                "a": CLUSTERS,
            },
        ),
    ],
)
def test_what_is_written_reads_back_equal_and_in_order(tmp_path: Path, recipe: PretrainRecipe) -> None:
    again = load(tmp_path, write_recipe(recipe))
    assert again == recipe
    assert list(again.stages) == list(recipe.stages)
    assert list(again.active_stages()) == list(recipe.active_stages())
