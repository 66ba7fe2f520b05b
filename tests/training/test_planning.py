"""What a recipe leaves open, and what is made of it."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_pretraining import DIGITS, pretrain_small, with_stage
from small_runs import ADDITION, SMALL, addition
from small_symbols import CLUSTERED, FOUR, OVERRIDES, with_cotraining, with_network, with_overrides

from nesy_gedi.data import ImageSplits, load_images
from nesy_gedi.data.views import Augmentation
from nesy_gedi.errors import NesyGediError, RecipeError, RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.planning import FEW, LEFT_OPEN, is_left_open, plan, pretraining_of, with_absolute_paths
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.recipe import CotrainingRecipe, DataRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task

AUTO = replace(SMALL, method="auto", networks={}, data=DataRecipe(train=30, validation=16, test=16))


def planned(recipe: Recipe, images: ImageSplits, text: str = ADDITION) -> Recipe:
    task = Task(addition(text), recipe)
    return plan(task, task.queries(images))


def bundled(name: str, images: ImageSplits, **overrides: Any) -> tuple[Task, Splits]:
    found = find_program(name)
    task = Task(Program.load(found.path), load_recipe(found.recipe, overrides=overrides))
    return task, task.queries(images)


def again(recipe: Recipe, images: ImageSplits, text: str = ADDITION) -> Recipe:
    """The plan of a plan."""
    return planned(recipe, images, text)


# -- the method --------------------------------------------------------------------------------------------------------


def test_few_answers_ask_for_clusters(digits: ImageSplits) -> None:
    pool = len(Task(addition(), AUTO).queries(digits).pool)
    most = math.ceil(FEW * pool / 2) - 1  # of two images each, less than half of the pool's
    for count, method in ((1, "clusters"), (most, "clusters"), (most + 1, "answers"), (0, "answers")):
        found = planned(replace(AUTO, data=replace(AUTO.data, train=count)), digits)
        assert found.method == method, count
        assert found.cotraining.objective == ("gedi" if method == "clusters" else "")


def test_an_objective_is_cotrained_where_answers_are_many(digits: ImageSplits) -> None:
    many = replace(with_cotraining(AUTO, objective="simclr"), data=replace(AUTO.data, train=0))
    assert planned(many, digits).method == "cotraining"
    few = planned(with_cotraining(AUTO, objective="simclr"), digits)
    assert (few.method, few.cotraining.objective) == ("clusters", "simclr")


@pytest.mark.parametrize("method", ["answers", "cotraining", "clusters", "assignment"])
def test_a_method_that_is_named_is_taken(method: str, digits: ImageSplits) -> None:
    for count in (30, 0):
        found = planned(replace(AUTO, method=method, data=replace(AUTO.data, train=count)), digits)
        assert found.method == method
        assert again(found, digits) == found


def test_several_networks_are_not_clustered_unasked(shapes: ImageSplits) -> None:
    task, splits = bundled("naming", shapes, **{"data.train": 20})
    assert plan(task, splits).method == "answers"
    task, splits = bundled("naming", shapes, **{"data.train": 20, "method": "clusters"})
    found = plan(task, splits)
    assert {name: network.clusters for name, network in found.networks.items()} == {
        "shape_net": 3,
        "colour_net": 3,
        "filled_net": 2,
    }


@pytest.mark.parametrize("network", [NetworkRecipe(head="none", features=10), NetworkRecipe(output="probabilities")])
def test_what_cannot_begin_as_clusters_learns_from_answers(network: NetworkRecipe, digits: ImageSplits) -> None:
    recipe = replace(AUTO, networks={"digit_net": network})
    assert planned(recipe, digits).method == "answers"
    with pytest.raises(RecipeError, match="clusters need a linear head") as caught:
        planned(replace(recipe, method="clusters"), digits)
    assert 'method = "answers"' in str(caught.value.hint)


def test_points_learn_from_answers_unless_asked_otherwise() -> None:
    points = load_images("moons")
    names = ", ".join(points.train.labels["class"].classes)
    text = f"nn(net, [X], C, [{names}]) :: point(X, C).\nsum(X, Y, S) :- point(X, A), point(Y, B), S is A + B.\n"
    recipe = Recipe(
        query="sum(X, Y, S)",
        data=DataRecipe("moons", train=20, validation=8, test=8),
        networks={"net": NetworkRecipe(encoder="mlp", features=16)},
    )
    assert planned(recipe, points, text).method == "answers"
    found = planned(replace(recipe, method="cotraining"), points, text)
    assert found.cotraining.augmentation == Augmentation.for_points()
    assert again(found, points, text) == found
    own = replace(found, cotraining=replace(found.cotraining, augmentation=Augmentation.for_points(0.2)))
    assert planned(own, points, text) == own
    moved = replace(found.cotraining, augmentation=Augmentation(shift=0.1))
    with pytest.raises(RecipeError, match="points can be augmented with noise alone") as caught:
        planned(replace(found, cotraining=moved), points, text)
    assert caught.value.where == "cotraining.augmentation"
    noisy = replace(recipe, training=replace(recipe.training, augmentation=Augmentation.for_points(0.2)))
    assert planned(noisy, points, text).training == noisy.training
    turned = replace(recipe, training=replace(recipe.training, augmentation=replace(Augmentation.none(), rotation=5.0)))
    with pytest.raises(RecipeError, match="points can be augmented with noise alone") as caught:
        planned(turned, points, text)
    assert caught.value.where == "training.augmentation"
    task = Task(Program(text), replace(recipe, method="clusters"))
    pretraining = pretraining_of(task, "net", points.train)
    assert not pretraining.augmentation.moves
    assert (pretraining.network.encoder, pretraining.network.features) == ("mlp", 16)


def test_what_is_left_open_is_planned(digits: ImageSplits) -> None:
    def value(recipe: Recipe, key: str) -> Any:
        found: Any = recipe
        for part in key.replace("*", "digit_net").split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        return found

    before = replace(AUTO, networks={"digit_net": NetworkRecipe()}, cotraining=CotrainingRecipe(batch_size=64))
    after = planned(before, digits)
    for key in LEFT_OPEN:
        named = key.replace("*", "digit_net")
        assert is_left_open(named, value(before, key))
        assert not is_left_open(named, value(after, key))
    assert not is_left_open("cotraining.weight", 0)


def test_a_prior_that_answers_cannot_tell_is_refused_before_training(digits: ImageSplits) -> None:
    text = FOUR + "\n0.3 :: rain.\nwet :- rain.\nevidence(wet).\naddition(X, Y, 9) :- digit(X, 2), rain.\n"
    with pytest.raises(RecipeError, match="the program states evidence") as caught:
        planned(with_cotraining(prior="estimated"), digits, text)
    assert caught.value.where == "cotraining.prior"
    given = with_cotraining(with_network(prior=(0.25, 0.25, 0.25, 0.25)), prior="estimated")
    assert planned(given, digits, text).cotraining.prior == "estimated"


# -- the networks ------------------------------------------------------------------------------------------------------


def test_networks_are_those_of_the_pretraining(digits: ImageSplits) -> None:
    found = planned(CLUSTERED, digits, FOUR).networks["digit_net"]
    own = load_pretrain_recipe(overrides={"data.source": "digits", **OVERRIDES}).network
    assert (found.encoder, found.features, found.width, found.normalisation) == (
        own.encoder, own.features, own.width, own.normalisation
    )  # fmt: skip
    assert (found.head, found.clusters, found.weights) == ("clusters", 4, "")


def test_a_plan_holds_for_the_pretraining_and_for_itself(digits: ImageSplits) -> None:
    for recipe in (CLUSTERED, with_network(encoder="mlp", features=12, width=20), with_network(clusters=7)):
        found = planned(recipe, digits, FOUR)
        assert again(found, digits, FOUR) == found
        network = found.networks["digit_net"]
        own = pretraining_of(Task(addition(FOUR), found), "digit_net", digits.train)
        assert (own.network.encoder, own.network.features, own.network.width, own.network.normalisation) == (
            network.encoder, network.features, network.width, network.normalisation
        )  # fmt: skip


def test_the_encoder_that_a_network_names_is_kept(digits: ImageSplits) -> None:
    found = planned(with_network(encoder="mlp", features=12, width=20), digits, FOUR).networks["digit_net"]
    assert (found.encoder, found.features, found.width) == ("mlp", 12, 8)  # the overrides' width wins over all
    assert planned(with_network(normalisation="none"), digits, FOUR).networks["digit_net"].normalisation == "none"
    found = planned(with_network(encoder="own.package:factory"), digits, FOUR).networks["digit_net"]
    assert found.encoder == "own.package:factory"
    assert "own" not in sys.modules


def test_classes_outside_the_domain_are_left_out(digits: ImageSplits) -> None:
    found = pretraining_of(Task(addition(FOUR), CLUSTERED), "digit_net", digits.train)
    assert found.data.classes == ("0", "1", "2", "3")
    assert pretraining_of(Task(addition(), AUTO), "digit_net", digits.train).data.classes == ()


def test_several_classes_of_a_symbol_have_a_cluster_each(shapes: ImageSplits) -> None:
    task, splits = bundled("crossing", shapes, method="clusters", **{"data.train": 20})
    networks = plan(task, splits).networks
    assert {name: network.clusters for name, network in networks.items()} == {"light_net": 3, "sign_net": 3}
    assert pretraining_of(task, "sign_net", shapes.train).data.attribute == "shape"


@pytest.mark.parametrize("where", ["networks", "overrides"])
def test_more_clusters_than_symbols(where: str, digits: ImageSplits) -> None:
    recipe = with_network(clusters=7) if where == "networks" else with_overrides(stages__settle__clusters=7)
    found = planned(recipe, digits, FOUR)
    assert found.networks["digit_net"].clusters == 7
    stages = pretraining_of(Task(addition(FOUR), found), "digit_net", digits.train).stages
    assert {name: stage.clusters for name, stage in stages.items()} == {
        "features": 32, "clusters": 7, "refine": 7, "settle": 7
    }  # fmt: skip


def test_each_attempt_has_a_seed_of_its_own(digits: ImageSplits) -> None:
    for seed in (3, 2**63 - 1):
        task = Task(addition(FOUR), replace(CLUSTERED, seed=seed))
        seeds = [pretraining_of(task, "digit_net", digits.train, attempt).seed for attempt in range(3)]
        assert seeds[0] == seed
        assert len(set(seeds)) == 3


def test_neighbours_are_views_where_features_were_pretrained(pretrained: Pretrained, digits: ImageSplits) -> None:
    assert planned(CLUSTERED, digits, FOUR).cotraining.views == "neighbours"
    fresh = replace(SMALL, method="cotraining")
    assert planned(fresh, digits).cotraining.views == "augmentation"
    adopted = adopt_pretrained(replace(fresh, networks={"digit_net": NetworkRecipe(encoder=str(pretrained.run.path))}))
    assert planned(adopted, digits).cotraining.views == "neighbours"
    assert planned(with_cotraining(adopted, views="augmentation"), digits).cotraining.views == "augmentation"


def test_cotraining_is_longer_with_more_queries_than_a_step_holds(digits: ImageSplits) -> None:
    left_open = with_cotraining(epochs=0, queries=40)  # of 40 training queries
    epochs = planned(left_open, digits, FOUR).cotraining.epochs
    assert planned(with_cotraining(left_open, queries=39), digits, FOUR).cotraining.epochs > epochs > 0
    assert planned(with_cotraining(left_open, epochs=3), digits, FOUR).cotraining.epochs == 3


def test_what_was_pretrained_is_cotrained_faster(digits: ImageSplits) -> None:
    cotrained = replace(SMALL, method="cotraining")
    assert (
        planned(CLUSTERED, digits, FOUR).cotraining.learning_rate
        > planned(cotrained, digits).cotraining.learning_rate
        > 0.0
    )
    assert planned(with_cotraining(cotrained, learning_rate=0.5), digits).cotraining.learning_rate == 0.5


def test_symbols_are_kept_balanced_where_little_else_holds_them(digits: ImageSplits) -> None:
    few, many = with_cotraining(queries=40), with_cotraining(queries=39)  # of 40 training queries
    cotrained = replace(SMALL, method="cotraining", cotraining=many.cotraining)
    assert planned(few, digits, FOUR).cotraining.constants["prior_weight"] > 1.0
    assert planned(many, digits, FOUR).cotraining.constants == {}
    assert planned(cotrained, digits).cotraining.constants["prior_weight"] > 1.0
    given = with_cotraining(few, constants={"prior_weight": 2.0})
    assert planned(given, digits, FOUR).cotraining.constants == {"prior_weight": 2.0}
    assert planned(with_cotraining(cotrained, objective="falcon"), digits).cotraining.constants == {}


# -- weights that are there already ------------------------------------------------------------------------------------


def test_adopted_weights_are_the_clusters(pretrained: Pretrained, digits: ImageSplits) -> None:
    recipe = adopt_pretrained(replace(AUTO, networks={"digit_net": NetworkRecipe(encoder=str(pretrained.run.path))}))
    found = planned(recipe, digits)
    assert found.method == "clusters"
    network = found.networks["digit_net"]
    assert (network.head, network.clusters, network.weights) == ("clusters", 10, str(pretrained.run.path.resolve()))


def test_a_plan_needs_the_weights_only_once(pretrained: Pretrained, digits: ImageSplits, tmp_path: Path) -> None:
    recipe = replace(AUTO, networks={"digit_net": NetworkRecipe(weights=str(pretrained.run.path))})
    found = planned(recipe, digits)
    gone = replace(found.networks["digit_net"], weights=str(tmp_path / "gone"))
    gone_recipe = replace(found, networks={"digit_net": gone})
    assert planned(gone_recipe, digits) == gone_recipe
    with pytest.raises(RunError, match="not a pretraining run"):
        planned(replace(recipe, networks={"digit_net": NetworkRecipe(weights=str(tmp_path / "gone"))}), digits)


def test_no_python_of_a_pretraining_is_imported(pretrained: Pretrained, digits: ImageSplits, tmp_path: Path) -> None:
    """A folder from elsewhere may name any module as its encoder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("recipe.toml", "environment.json", "perception.safetensors", "stages.json"):
        (folder / name).write_bytes((pretrained.run.path / name).read_bytes())
    text = (folder / "recipe.toml").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(
        text.replace('encoder = "conv"', 'encoder = "antigravity:fly"'), encoding="utf-8"
    )
    recipe = replace(AUTO, method="clusters", networks={"digit_net": NetworkRecipe(weights=str(folder))})
    assert planned(recipe, digits).networks["digit_net"].clusters == 10
    assert "antigravity" not in sys.modules


def test_too_few_clusters_are_features_alone(digits: ImageSplits, tmp_path: Path) -> None:
    few = pretrain_small(tmp_path / "few", with_stage(DIGITS, "clusters", clusters=8))
    recipe = adopt_pretrained(replace(AUTO, networks={"digit_net": NetworkRecipe(encoder=str(few.run.path))}))
    assert planned(recipe, digits).method == "answers"
    with pytest.raises(RecipeError, match="8 clusters cannot stand for the 10 symbols of digit_net") as caught:
        planned(replace(recipe, method="clusters"), digits)
    assert "at least as many clusters" in str(caught.value.hint)
    other = replace(recipe.networks["digit_net"], clusters=12)
    with pytest.raises(RecipeError, match="the pretraining has 8 clusters, not 12"):
        planned(replace(recipe, method="clusters", networks={"digit_net": other}), digits)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "said", "where"),
    [
        (with_overrides(stages__settle__clusters=3), "3 clusters cannot stand for the 4", "networks.digit_net"),
        (
            with_overrides(with_network(clusters=6), stages__settle__clusters=5),
            "the pretraining has 5 clusters, not 6",
            "networks.digit_net.clusters",
        ),
        (with_overrides(stages__setle__epochs=1), "the recipe has no stage setle", "pretraining.overrides"),
        (with_overrides(stages__settle__epoch=1), "unknown key epoch", "pretraining.overrides"),
        (with_overrides(stages__features__trains="head"), "the first stage must train", "stages.features.trains"),
        (with_network(prior=(0.5, 0.5)), "2 numbers for 4 symbols", "networks.digit_net.prior"),
        (with_network(prior=(0.5, 0.5, 0.5, 0.5)), "they sum to 2, not 1", "networks.digit_net.prior"),
        (with_network(prior=(1.5, -0.5, 0.0, 0.0)), "-0.5 is no probability", "networks.digit_net.prior"),
        (with_network(prior=(float("nan"), 0.5, 0.5, 0.0)), "is no probability", "networks.digit_net.prior"),
        (
            with_cotraining(with_network(prior=(0.25, 0.25, 0.25, 0.25)), objective="simclr"),
            "simclr has no prior",
            "networks.digit_net.prior",
        ),
        (
            with_network(replace(CLUSTERED, method="answers"), head="clusters", clusters=7, weights="somewhere"),
            "which of the 4 symbols each of 7 clusters stands for is not known",
            "networks.digit_net.clusters",
        ),
        *(
            (
                with_cotraining(replace(CLUSTERED, method=method), objective="gedi"),
                f'method = "{method}" has no objective beside the answers, not gedi',
                "cotraining.objective",
            )
            for method in ("answers", "assignment")
        ),
        (with_cotraining(objective="simclr", prior="estimated"), "simclr has no prior", "cotraining.prior"),
        (with_cotraining(batch_size=5000), "fewer than a batch of 5000", "cotraining.batch_size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(recipe: Recipe, said: str, where: str, digits: ImageSplits) -> None:
    with pytest.raises(NesyGediError) as caught:
        planned(recipe, digits, FOUR)
    assert said in caught.value.message
    assert where in str(caught.value.where)
    assert caught.value.hint


def test_a_prior_is_taken_where_there_is_one(digits: ImageSplits) -> None:
    for prior in ((0.25, 0.25, 0.25, 0.25), (0.7, 0.1, 0.2, 0.0)):
        recipe = with_network(prior=prior)
        assert planned(recipe, digits, FOUR).networks["digit_net"].prior == prior


def test_values_that_are_given_have_no_prior(digits: ImageSplits) -> None:
    task, splits = bundled("multi_addition", digits, **{"data.train": 20, "networks.target_net.prior": [1.0]})
    with pytest.raises(RecipeError, match="target_net perceives nothing"):
        plan(task, splits)


def test_an_observed_network_is_left_alone(digits: ImageSplits) -> None:
    task, splits = bundled("multi_addition", digits, **{"data.train": 20})
    found = plan(task, splits)
    assert found.method == "clusters"
    assert found.networks["target_net"] == NetworkRecipe(observed=True)


# -- paths -------------------------------------------------------------------------------------------------------------


def test_paths_hold_from_anywhere(tmp_path: Path) -> None:
    recipe = with_network(labels=("3=2", "3=three.png"))
    recipe = replace(recipe, pretraining=replace(recipe.pretraining, recipe="own.toml"))
    found = with_absolute_paths(recipe)
    assert found.networks["digit_net"].labels == ("3=2", f"3={tmp_path / 'three.png'}")
    assert found.pretraining.recipe == str(tmp_path / "own.toml")
    assert with_absolute_paths(found) == found
    assert with_absolute_paths(CLUSTERED) == CLUSTERED


def test_a_recipe_of_ones_own(tmp_path: Path, digits: ImageSplits) -> None:
    (tmp_path / "own.toml").write_text(
        '[network]\nwidth = 4\n[stages.only]\nobjective = "gedi"\nclusters = 6\n', encoding="utf-8"
    )
    recipe = replace(CLUSTERED, pretraining=replace(CLUSTERED.pretraining, recipe="own.toml", overrides={}))
    network = planned(recipe, digits, FOUR).networks["digit_net"]
    assert (network.width, network.clusters) == (4, 6)
    missing = replace(CLUSTERED, pretraining=replace(CLUSTERED.pretraining, recipe="absent.toml"))
    with pytest.raises(RecipeError, match="cannot read the recipe") as caught:
        planned(missing, digits, FOUR)
    assert "absent.toml" in str(caught.value.where)


def test_planning_draws_no_random_numbers(digits: ImageSplits) -> None:
    task = Task(addition(FOUR), CLUSTERED)
    splits = task.queries(digits)
    state = torch.get_rng_state()
    plan(task, splits)
    assert torch.equal(torch.get_rng_state(), state)
    # An objective with prototypes and a decoder are both made to see whether they can be.
    drawn = Task(addition(FOUR), with_cotraining(objective="swav", reconstruction=1.0))
    plan(drawn, splits)
    assert torch.equal(torch.get_rng_state(), state)
