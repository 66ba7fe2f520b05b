"""Answers that are asked for: where those that are there leave an assignment open, and as few as settle it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import addition
from small_symbols import CLUSTERED, FOUR, train_symbols, with_network
from torch import Tensor

from nesy_gedi.data import ImageSplits, load_images
from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.training.asking import find_unanswered, with_asked
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.splits import Splits, draw_further
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, evaluate

ENOUGH = 6


def asking(recipe: Recipe, answers: int, ask: int) -> Recipe:
    data = replace(recipe.data, train=answers)
    return replace(recipe, data=data, pretraining=replace(recipe.pretraining, ask=ask))


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretraining, with which a run takes no time."""
    return train_symbols(tmp_path_factory.mktemp("through") / "run").run.pretraining_folder / "digit_net"


@pytest.fixture(scope="module")
def assigned(clusters: Path) -> Recipe:
    return replace(with_network(CLUSTERED, encoder=str(clusters)), method="assignment")


@pytest.fixture(scope="module")
def asked(assigned: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with two answers, which may ask for more."""
    return train_symbols(tmp_path_factory.mktemp("asked") / "run", asking(assigned, 2, ENOUGH))


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images("digits")


def test_what_is_open_is_settled_with_fewer_answers_than_allowed(
    asked: Trained, assigned: Recipe, tmp_path: Path
) -> None:
    without = train_symbols(tmp_path / "run", asking(assigned, 2, 0))
    assert without.document["assignment"]["near_ties"] > 1
    found = json.loads(asked.run.assignment_file.read_text(encoding="utf-8"))
    assert found["near_ties"] == 1
    assert 0 < len(found["asked"]) < ENOUGH
    assert found["answers"] == 2 + len(found["asked"])
    assert f"{len(found['asked'])} of {found['answers']} answer" in found["sentences"][0]
    assert asked.document["metrics"]["concept_accuracy"] > 0.8


def test_no_more_are_asked_for_than_allowed(assigned: Recipe, tmp_path: Path) -> None:
    one = train_symbols(tmp_path / "run", asking(assigned, 2, 1))
    assert len(json.loads(one.run.assignment_file.read_text(encoding="utf-8"))["asked"]) == 1


def test_nothing_is_asked_where_nothing_is_open(assigned: Recipe, tmp_path: Path) -> None:
    settled = train_symbols(tmp_path / "run", asking(assigned, 40, 3))
    found = json.loads(settled.run.assignment_file.read_text(encoding="utf-8"))
    assert (found["asked"], found["answers"]) == ([], 40)
    assert "asked for" not in " ".join(found["sentences"])


def test_they_are_training_queries_from_then_on(asked: Trained, digits: ImageSplits) -> None:
    found = json.loads(asked.run.assignment_file.read_text(encoding="utf-8"))
    own = asked.task.queries(digits)
    further = draw_further(asked.task, own.train)
    for trained in (asked, evaluate(asked.run.path), train_symbols(None, asked.run.recipe(), resume=asked.run.path)):
        train = trained.splits.train
        assert len(train) == found["answers"]
        assert torch.equal(train.index[:2], own.train.index)
        assert torch.equal(train.index[2:], further.index[found["asked"]])
        assert torch.equal(train.answers[2:], further.answers[found["asked"]])
    pool = own.pool
    sums = asked.task.symbols("digit_net", pool)[train.index].sum(1)
    assert [asked.task.reasoner.answers[k] for k in train.answers.tolist()] == [str(each) for each in sums.tolist()]


def test_training_sees_them(clusters: Path, tmp_path: Path) -> None:
    told: list[int] = []

    class Facts(Listener):
        def started(self, facts: Mapping[str, Any]) -> None:
            told.append(facts["train"])

    recipe = asking(with_network(CLUSTERED, encoder=str(clusters)), 2, ENOUGH)
    trained = train_symbols(tmp_path / "run", recipe, listener=Facts())
    assert told == [len(trained.splits.train)]
    assert told[0] > 2


def perfect(task: Task, splits: Splits) -> Callable[[str, Tensor], Tensor]:
    """Each image in the cluster of its symbol."""

    def perceive(network: str, images: Tensor) -> Tensor:
        rows = (splits.pool.images[None] == images[:, None]).flatten(2).all(2).int().argmax(1)
        symbols = task.symbols(network, splits.pool)[rows]
        width = len(task.program.networks[network])
        return torch.full((len(images), width), -9.0, dtype=torch.float64).scatter(1, symbols[:, None], -0.001)

    return perceive


def test_a_query_is_chosen_by_its_clusters(digits: ImageSplits) -> None:
    task = Task(addition(FOUR), CLUSTERED)
    splits = task.queries(digits)
    unanswered = find_unanswered(task, splits, perfect(task, splits))
    assert unanswered.log_confidence.tolist() == pytest.approx([-0.002] * len(unanswered.clusters))
    sums = unanswered.clusters.sum(1).tolist()
    assert [task.reasoner.answers[k] for k in unanswered.queries.answers.tolist()] == [str(each) for each in sums]
    number = unanswered.choose([{"digit_net": (0, 1, 2, 3)}, {"digit_net": (0, 2, 1, 3)}])
    assert number is not None
    chosen = sorted(unanswered.clusters[number].tolist())
    assert chosen not in ([0, 0], [0, 3], [1, 2], [3, 3])  # whose sums are the same under both


def test_only_the_support_can_be_asked_for(digits: ImageSplits) -> None:
    recipe = replace(CLUSTERED, data=replace(CLUSTERED.data, train=8, validation=8, test=8, support=("0 1", "2 3")))
    task = Task(addition(FOUR), recipe)
    splits = task.queries(digits)
    unanswered = find_unanswered(task, splits, perfect(task, splits))
    assert {tuple(row) for row in unanswered.clusters.tolist()} == {(0, 1), (2, 3)}
    assert unanswered.choose([{"digit_net": (0, 1, 2, 3)}, {"digit_net": (1, 0, 3, 2)}]) is None


def test_values_that_are_given_are_those_of_the_query(digits: ImageSplits) -> None:
    """A sum beside the images, and whether it is theirs: known values do not need a network."""
    told = FOUR + "nn(told_net, [S], N, [0..6]) :: told(S, N).\nright(X, Y, S) :- addition(X, Y, N), told(S, N).\n"
    networks = {**CLUSTERED.networks, "told_net": NetworkRecipe(observed=True)}
    task = Task(addition(told), replace(CLUSTERED, query="right(X, Y, S)", networks=networks))
    splits = task.queries(digits)
    unanswered = find_unanswered(task, splits, perfect(task, splits))
    columns = {item.network: k for k, item in enumerate(task.reasoner.inputs) if item in task.observed}
    assert torch.equal(unanswered.clusters[:, columns["told_net"]], unanswered.queries.observed[:, 0])


def test_queries_that_were_not_there_to_be_asked_are_refused(digits: ImageSplits) -> None:
    task = Task(addition(FOUR), CLUSTERED)
    splits = task.queries(digits)
    assert with_asked(task, splits, ()) is splits
    with pytest.raises(RunError, match=r"assignment\.json is damaged: query 99999 was asked for"):
        with_asked(task, splits, (1, 99999))


@pytest.mark.parametrize("wrong", [[-1], ["1"], [1.5], 3])
def test_a_damaged_record(asked: Trained, wrong: object, tmp_path: Path) -> None:
    shutil.copytree(asked.run.path, tmp_path / "copy")
    run = open_run(tmp_path / "copy")
    document = json.loads(run.assignment_file.read_text(encoding="utf-8")) | {"asked": wrong}
    run.assignment_file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(RunError, match=r"assignment\.json is damaged"):
        evaluate(run.path).splits  # noqa: B018


@pytest.mark.parametrize("method", ["answers", "cotraining"])
def test_a_method_without_clusters_asks_for_nothing(method: str, tmp_path: Path) -> None:
    recipe = replace(asking(CLUSTERED, 40, 2), method=method)
    with pytest.raises(RecipeError, match=f'method = "{method}" assigns no clusters') as caught:
        train_symbols(tmp_path / "run", recipe)
    assert caught.value.where == "pretraining.ask"
    assert "clusters" in str(caught.value.hint)
    assert not (tmp_path / "run").exists()
