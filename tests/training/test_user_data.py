"""Data that a person brings, trained on from end to end: answers without a label, inputs of several kinds, pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from given_data import ADDITION, MIXED, SAME, mixed, pairs, program, unlabelled_sums
from small_runs import tensors, untimed
from small_symbols import COTRAINING, FOUR, OVERRIDES

from nesy_gedi.data import Augmentation, ImageSet, ImageSplits, Labels
from nesy_gedi.errors import DataError, NesyGediError, RecipeError, RunError, UsageError
from nesy_gedi.metrics import CONCEPT_DETAILS, CONCEPT_METRICS
from nesy_gedi.reports.html import write_report
from nesy_gedi.training.diagnosis import diagnose_encoder
from nesy_gedi.training.evaluation import measure, probabilities_of
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.perceptions import inputs_of, make_perceptions, shapes_of
from nesy_gedi.training.planning import plan
from nesy_gedi.training.recipe import NetworkRecipe, PretrainingRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.shown import foretell, shown_by_queries
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, dry_run, evaluate, train

SUMS = Recipe(query="addition(X, Y, Sum)", method="answers", training=TrainingRecipe(epochs=12, learning_rate=0.004))
SIGNED = Recipe(
    query="signed(P, X, N)",
    networks={"side_net": NetworkRecipe(encoder="mlp", features=16), "digit_net": NetworkRecipe(features=32)},
    training=TrainingRecipe(epochs=10, learning_rate=0.005),
)
ALIKE = Recipe(query="alike(X, Y, S)", training=TrainingRecipe(epochs=5, learning_rate=0.004))


@pytest.fixture(scope="module")
def data(digits: ImageSplits) -> ImageSplits:
    return unlabelled_sums(digits)


@pytest.fixture(scope="module")
def trained(data: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(program(ADDITION), SUMS, data, device="cpu", out=tmp_path_factory.mktemp("sums") / "run")


@pytest.fixture(scope="module")
def kinds(digits: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(program(MIXED), SIGNED, mixed(digits), device="cpu", out=tmp_path_factory.mktemp("mixed") / "run")


@pytest.fixture(scope="module")
def alike(digits: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(program(SAME), ALIKE, pairs(digits), device="cpu", out=tmp_path_factory.mktemp("same") / "run")


# -- answers without a label -------------------------------------------------------------------------------------------


def test_digits_are_learned_from_given_sums_alone(trained: Trained, digits: ImageSplits) -> None:
    metrics = trained.document["metrics"]
    assert metrics["answer_accuracy"] > 0.85
    seen = probabilities_of(trained.networks["digit_net"], digits.test.images).argmax(1)
    assert float((seen == digits.test.labels["class"].index).float().mean()) > 0.9


def test_what_compares_with_labels_is_null(trained: Trained) -> None:
    written = json.loads(trained.run.result_file.read_text(encoding="utf-8"))
    for found in (written["metrics"], written["metrics"]["networks"]["digit_net"]):
        null = {key for key, value in found.items() if value is None}
        compared = {metric.key for metric in (*CONCEPT_METRICS, *CONCEPT_DETAILS)} - {"concept_entropy"}
        assert null == compared | ({"confusion", "learned_map"} if "confusion" in found else set())
    assert written["metrics"]["networks"]["digit_net"]["labelled"] == 0
    assert (written["data"], trained.run.recipe().data.source) == ("mine", "in memory")


def test_metrics_are_those_of_the_known_images(trained: Trained, digits: ImageSplits) -> None:
    def measured(told: torch.Tensor, rows: torch.Tensor) -> dict[str, Any]:
        images = ImageSet(digits.test.images, {"class": Labels(digits.test.labels["class"].classes, told)})
        queries = replace(trained.queries, images=images, index=trained.queries.index[rows])
        queries = replace(queries, answers=queries.answers[rows], observed=queries.observed[rows])
        found = measure(trained.task, trained.networks, queries, torch.device("cpu"))
        return dict(found["networks"]["digit_net"])

    true, index = digits.test.labels["class"].index, trained.queries.index
    known = torch.ones(len(true), dtype=torch.bool)
    known[index[50:].flatten()] = False
    rows = known[index].all(1).nonzero()[:, 0]
    assert 5 < len(rows) < 60
    partly = measured(true.masked_fill(~known, -1), torch.arange(len(index)))
    assert partly["labelled"] == int(known[index].sum())
    seen = probabilities_of(trained.networks["digit_net"], digits.test.images).argmax(1)
    right = (seen == true)[index][known[index]]
    assert partly["concept_accuracy"] == pytest.approx(float(right.float().mean()))
    whole = measured(true, rows)
    assert whole["labelled"] == 2 * len(rows)


def test_what_training_shows_is_not_known(trained: Trained) -> None:
    assert foretell(trained.task, trained.splits.train) is None
    with pytest.raises(DataError, match="what the queries should show digit_net is not known"):
        shown_by_queries(trained.task, trained.splits.train)


def test_few_given_answers_begin_with_clusters(digits: ImageSplits) -> None:
    task = Task(program(ADDITION), replace(SUMS, method="auto"))
    planned = plan(task, task.queries(unlabelled_sums(digits, train=60)))
    assert (planned.method, planned.networks["digit_net"].clusters) == ("clusters", 10)
    assert plan(task, task.queries(unlabelled_sums(digits, train=500))).method == "answers"


def test_clusters_are_pretrained_and_assigned_by_given_answers(digits: ImageSplits, tmp_path: Path) -> None:
    recipe = replace(
        SUMS,
        method="clusters",
        networks={},
        pretraining=PretrainingRecipe(overrides=OVERRIDES, attempts=1),
        cotraining=replace(COTRAINING, epochs=1),
    )
    found = train(program(FOUR), recipe, unlabelled_sums(digits, 80, 60, 4), device="cpu", out=tmp_path / "run")
    assert found.document["metrics"]["answer_accuracy"] > 0.6  # the commonest sum is a quarter
    pretraining = json.loads((tmp_path / "run/pretraining/digit_net/result.json").read_text(encoding="utf-8"))
    assert pretraining["metrics"]["ami"] is None
    assert pretraining["clusters"] == 4
    assert "stands for" in write_report(found).read_text(encoding="utf-8")


def test_labels_are_not_drawn_from_images_without(data: ImageSplits) -> None:
    task = Task(program(ADDITION), replace(SUMS, networks={"digit_net": NetworkRecipe(labels=("3=2",))}))
    with pytest.raises(DataError, match="nobody has labelled an image"):
        read_labels(task, data.train)


# -- data in memory ----------------------------------------------------------------------------------------------------


def test_a_run_on_data_in_memory_is_continued_with_it(trained: Trained, data: ImageSplits, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 20

    with pytest.raises(NesyGediError, match="stopped"):
        train(program(ADDITION), SUMS, data, device="cpu", out=tmp_path / "run", stop=stop)
    again = train(program(ADDITION), SUMS, data, device="cpu", resume=tmp_path / "run")
    assert untimed(again.document)["metrics"] == untimed(trained.document)["metrics"]
    one, other = tensors(again.run, "last"), tensors(trained.run, "last")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_on_data_in_memory_is_measured_with_it(trained: Trained, data: ImageSplits) -> None:
    again = evaluate(trained.run.path, data, device="cpu")
    assert again.document["metrics"] == trained.document["metrics"]
    assert again.document["data"] == "mine"
    assert evaluate(trained.run.path, source="digits", device="cpu").document["metrics"]["concept_accuracy"] > 0.9


def test_a_run_on_data_in_memory_is_nothing_without_it(
    trained: Trained, data: ImageSplits, digits: ImageSplits
) -> None:
    path = trained.run.path
    for work in (
        lambda: evaluate(path, device="cpu"),
        lambda: train(program(ADDITION), trained.run.recipe(), resume=path, device="cpu"),
        lambda: diagnose_encoder(path, device="cpu"),
    ):
        with pytest.raises(RunError, match="the data of this run was in memory"):
            work()
    with pytest.raises(RunError, match="begun with other data"):
        train(program(ADDITION), SUMS, unlabelled_sums(digits, train=400), resume=path, device="cpu")
    with pytest.raises(UsageError, match="in this process alone"):
        train(program(ADDITION), SUMS, data, devices=2, device="cpu")


def test_a_dry_run_of_data_in_memory(data: ImageSplits) -> None:
    document = dry_run(program(ADDITION), SUMS, data, device="cpu")
    assert (document["train"], document["validation"], document["test"]) == (450, 50, 100)


# -- inputs of several kinds -------------------------------------------------------------------------------------------


def test_each_network_reads_inputs_of_its_kind(kinds: Trained, digits: ImageSplits) -> None:
    assert kinds.document["metrics"]["answer_accuracy"] > 0.9
    assert kinds.task.recipe.method == "answers"
    environment = kinds.run.environment()
    assert environment["image_shapes"] == {"digit_net": [[1, 8, 8]], "side_net": [[2]]}
    assert environment["image_shape"] == [1, 8, 8]
    again = evaluate(kinds.run.path, mixed(digits), device="cpu")
    assert again.document["metrics"] == kinds.document["metrics"]


def test_statistics_are_those_of_the_kind(digits: ImageSplits) -> None:
    images = mixed(digits)
    task = Task(program(MIXED), SIGNED)
    inputs = inputs_of(task, images.train, task.queries(images).train.index)
    networks = make_perceptions(task, shapes_of(inputs), inputs)
    points = images.train.others[0]
    torch.testing.assert_close(networks["side_net"].mean, points.mean(0))
    torch.testing.assert_close(networks["digit_net"].mean, (images.train.images / 255.0).mean((0, 2, 3)))


def test_an_older_run_has_one_shape(kinds: Trained, tmp_path: Path) -> None:
    for name in ("recipe.toml", "program.pl", "environment.json"):
        (tmp_path / name).write_text((kinds.run.path / name).read_text(encoding="utf-8"), encoding="utf-8")
    run, networks = open_run(tmp_path), {"digit_net": 1, "side_net": 1}
    assert run.image_shapes(networks) == {"digit_net": ((1, 8, 8),), "side_net": ((2,),)}
    environment = run.environment()
    run.environment_file.write_text(json.dumps(environment | {"image_shapes": {"digit_net": [[1, 8]]}}))
    with pytest.raises(RunError, match="image_shapes"):
        run.image_shapes(networks)
    del environment["image_shapes"]
    run.environment_file.write_text(json.dumps(environment))
    assert run.image_shapes(networks) == dict.fromkeys(networks, ((1, 8, 8),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "cotraining"}, "but the inputs are of several kinds"),
        ({"method": "clusters"}, "but the inputs are of several kinds"),
        ({"training": TrainingRecipe(augmentation=Augmentation())}, "points can be augmented with noise alone"),
    ],
)
def test_what_takes_one_set_of_images_is_refused(digits: ImageSplits, changes: dict[str, Any], message: str) -> None:
    task = Task(program(MIXED), replace(SIGNED, **changes))
    with pytest.raises(RecipeError, match=message):
        plan(task, task.queries(mixed(digits)))


def test_one_network_is_not_shown_several_kinds(digits: ImageSplits) -> None:
    images = mixed(digits)
    assert images.given is not None
    wrong = images.given.train.index.clone()
    wrong[7, 1] = wrong[7, 0]
    given = replace(images.given, train=replace(images.given.train, index=wrong))
    with pytest.raises(DataError, match="inputs of several shapes") as caught:
        Task(program(MIXED), SIGNED).queries(replace(images, given=given))
    assert caught.value.where == "mine.csv, network digit_net"


def test_a_network_is_tested_on_what_it_learns_from(digits: ImageSplits) -> None:
    images = mixed(digits)
    other = replace(images, test=replace(images.test, others=(torch.zeros(60, 3),)))
    with pytest.raises(DataError, match=r"side_net would learn from inputs of shape \(2,\)"):
        Task(program(MIXED), SIGNED).queries(other)


# -- networks with several inputs --------------------------------------------------------------------------------------


def test_a_network_looks_at_two_images_together(alike: Trained, digits: ImageSplits) -> None:
    assert alike.document["metrics"]["answer_accuracy"] > 0.85
    assert alike.task.arguments("same_net") == 2
    assert (alike.task.columns("same_net"), alike.task.columns("same_net", 1)) == ([0], [1])
    assert alike.run.environment()["image_shapes"] == {"same_net": [[1, 8, 8], [1, 8, 8]]}
    assert alike.document["metrics"]["networks"]["same_net"]["confusion"] is None
    again = evaluate(alike.run.path, pairs(digits), device="cpu")
    assert again.document["metrics"] == alike.document["metrics"]


def test_a_network_of_pairs_is_not_diagnosed(alike: Trained) -> None:
    with pytest.raises(DataError, match="same_net looks at several inputs together"):
        diagnose_encoder(alike.run.path, source="digits", device="cpu")


def test_queries_about_pairs_are_not_drawn(digits: ImageSplits) -> None:
    with pytest.raises(DataError, match="same_net should see: it looks at several inputs together"):
        Task(program(SAME), ALIKE).queries(digits)


def test_pairs_make_no_one_set_of_images(digits: ImageSplits) -> None:
    task = Task(program(SAME), replace(ALIKE, method="cotraining"))
    with pytest.raises(RecipeError, match="same_net looks at 2 inputs together"):
        plan(task, task.queries(pairs(digits)))


def test_an_ensemble_looks_at_pairs(digits: ImageSplits) -> None:
    recipe = replace(ALIKE, ensemble=replace(ALIKE.ensemble, members=2))
    assert dry_run(program(SAME), recipe, pairs(digits), device="cpu")["first_loss"] > 0.0
