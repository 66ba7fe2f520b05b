"""Networks that begin as the nearest-prototype classifiers of a few labelled images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import ADDITION, SMALL, addition, once, tensors, train_small, untimed
from torch import nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import Interrupted, RecipeError, UsageError
from nesy_gedi.networks.heads import TEMPERATURE
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.prototypes import begin_as_prototypes
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.stages import encode
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import dry_run, evaluate

SHOTS = tuple(f"{k}={1 + k % 3}" for k in range(10))
"""One, two or three labelled images of each digit."""


def from_shots(folder: Path, labels: tuple[str, ...] = SHOTS, **changes: Any) -> Recipe:
    network = NetworkRecipe(encoder=str(folder), head="prototypes", labels=labels)
    return replace(SMALL, networks={"digit_net": network}, **changes)


def still(recipe: Recipe) -> Recipe:
    """With steps too small to be seen."""
    return replace(recipe, training=replace(recipe.training, epochs=1, learning_rate=1e-30))


def blind() -> nn.Module:
    """One's own encoder, for which every image is the same."""
    seeing = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    nn.init.zeros_(seeing[1].weight)
    return seeing


def seeing() -> nn.Module:
    """One's own encoder, which is as it is."""
    return nn.Flatten()


def nearest_mean(features: np.ndarray, shots: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest symbol of each row, and the probabilities at the stated temperature."""
    means = np.stack([shots[symbols == k].mean(0) for k in range(symbols.max() + 1)])
    squared = ((features[:, None] - means[None]) ** 2).sum(2)
    apart = np.mean([((a - b) ** 2).sum() for i, a in enumerate(means) for j, b in enumerate(means) if i != j])
    raised = np.exp(-(squared - squared.min(1, keepdims=True)) / (TEMPERATURE * apart))
    return squared.argmin(1), raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("method", ["answers", "cotraining"])
def test_before_it_learns_it_is_the_nearest_mean(
    method: str, pretrained: Pretrained, digits: ImageSplits, tmp_path: Path
) -> None:
    recipe = still(from_shots(pretrained.run.path, method=method))
    recipe = replace(
        recipe, cotraining=replace(recipe.cotraining, epochs=1, steps=1, batch_size=16, learning_rate=1e-30)
    )
    network = train_small(tmp_path / "run", recipe).networks["digit_net"]
    task = Task(addition(), recipe)
    told = read_labels(task, task.queries(digits).pool)["digit_net"]
    assert np.bincount(told.symbols.numpy()).tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    # Not the trained network's features: a step moves its batch statistics.
    asked = digits.test.images[:200]
    shots, features = (encode(pretrained.perception, each).double().numpy() for each in (told.images, asked))
    nearest, probabilities = nearest_mean(features, shots, told.symbols.numpy())
    with torch.no_grad():
        logits = network.head(torch.from_numpy(features).float())
    np.testing.assert_allclose(logits.softmax(1).numpy(), probabilities, atol=1e-4)
    assert (logits.argmax(1).numpy() == nearest).mean() > 0.99
    truth = digits.test.labels["class"].index[:200].numpy()
    assert (nearest == truth).mean() > 0.3  # a tenth is chance; the pretraining is of two epochs


def test_a_dry_run_begins_there_too(pretrained: Pretrained, tmp_path: Path) -> None:
    recipe = still(from_shots(pretrained.run.path))
    recipe = replace(recipe, training=replace(recipe.training, batch_size=64))  # all queries in one step
    (line,) = train_small(tmp_path / "run", recipe).run.read_metrics()
    found = dry_run(addition(), recipe, device="cpu")["first_loss"]
    assert found == pytest.approx(line["train_loss"], rel=1e-5)


def test_it_is_trained_on_and_stays_a_linear_head(pretrained: Pretrained, tmp_path: Path) -> None:
    begun = train_small(tmp_path / "begun", still(from_shots(pretrained.run.path)))
    trained = train_small(tmp_path / "run", from_shots(pretrained.run.path))
    head = trained.networks["digit_net"].head
    assert type(head) is nn.Linear
    assert not torch.allclose(head.weight, begun.networks["digit_net"].head.weight, atol=1e-4)
    lines = trained.run.read_metrics()
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


def test_a_run_does_not_need_the_folder_any_more(folder: Path, tmp_path: Path) -> None:
    recipe = from_shots(folder)
    through = train_small(tmp_path / "through", recipe)
    assert through.run.recipe().networks["digit_net"].head == "prototypes"
    with pytest.raises(Interrupted):
        train_small(tmp_path / "run", recipe, stop=once(7))
    shutil.rmtree(folder)
    assert evaluate(through.run.path, device="cpu").document["metrics"] == through.document["metrics"]
    resumed = train_small(None, through.run.recipe(), resume=tmp_path / "run")
    one, other = tensors(resumed.run, "last"), tensors(through.run, "last")
    assert [name for name in other if not torch.equal(one[name], other[name])] == []
    assert untimed(resumed.document) == untimed(through.document)
    assert train_small(None, through.run.recipe(), resume=through.run.path).document == through.document


def test_ones_own_encoder_may_be_pretrained(digits: ImageSplits, tmp_path: Path) -> None:
    network = NetworkRecipe(encoder="test_prototypes:seeing", head="prototypes", labels=SHOTS)
    trained = train_small(tmp_path / "run", still(replace(SMALL, networks={"digit_net": network})))
    told = read_labels(trained.task, trained.task.queries(digits).pool)["digit_net"]
    perception = trained.networks["digit_net"]
    shots, features = (encode(perception, each).double().numpy() for each in (told.images, digits.test.images))
    nearest, _ = nearest_mean(features, shots, told.symbols.numpy())
    with torch.no_grad():
        found = perception(digits.test.images).argmax(1).numpy()
    assert (found == nearest).mean() > 0.99
    assert (nearest == digits.test.labels["class"].index.numpy()).mean() > 0.6  # pixels themselves tell digits apart


def test_other_networks_are_left_alone(pretrained: Pretrained, digits: ImageSplits) -> None:
    recipe = from_shots(pretrained.run.path)
    recipe = replace(recipe, networks={"digit_net": replace(recipe.networks["digit_net"], head="linear")})
    task = Task(addition(), adopt_pretrained(recipe))
    networks = make_perceptions(task, digits.train.shape, digits.train.images)
    before = networks["digit_net"].head.weight.clone()
    begin_as_prototypes(task, networks, read_labels(task, digits.train))
    assert torch.equal(networks["digit_net"].head.weight, before)


# -- refused -----------------------------------------------------------------------------------------------------------


def refuse(tmp_path: Path, recipe: Recipe, kind: type[Exception], message: str) -> Any:
    with pytest.raises(kind, match=message) as caught:
        train_small(tmp_path / "refused", recipe, ADDITION)
    assert not (tmp_path / "refused").exists()
    return caught.value


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ((), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (SHOTS[:4] + SHOTS[5:7] + SHOTS[8:], "4, 7"),
        ((*SHOTS[:9], "9=0"), "9"),
    ],
)
def test_symbols_without_a_label_are_named(
    labels: tuple[str, ...], named: str, pretrained: Pretrained, tmp_path: Path
) -> None:
    message = f"no prototypes of symbols without a labelled image: {named}\n"
    error = refuse(tmp_path, from_shots(pretrained.run.path, labels), RecipeError, message)
    assert error.where == "networks.digit_net.labels"
    assert f"--label digit_net:{named.split(', ')[0]}=1" in str(error.hint)


def test_features_that_are_not_pretrained(tmp_path: Path) -> None:
    network = NetworkRecipe(head="prototypes", labels=SHOTS)
    error = refuse(
        tmp_path,
        replace(SMALL, networks={"digit_net": network}),
        RecipeError,
        'head = "prototypes" needs pretrained features',
    )
    assert error.where == "networks.digit_net.head"
    assert "--encoder digit_net=RUN" in str(error.hint)


@pytest.mark.parametrize("method", ["clusters", "assignment"])
def test_methods_that_find_the_meaning_by_themselves(method: str, pretrained: Pretrained, tmp_path: Path) -> None:
    recipe = from_shots(pretrained.run.path, method=method)
    error = refuse(tmp_path, recipe, RecipeError, "prototypes and clusters are two ways to find what symbols look like")
    assert error.where == "networks.digit_net.head"
    assert 'method = "answers"' in str(error.hint)


def test_few_answers_do_not_make_clusters_of_them(pretrained: Pretrained, digits: ImageSplits) -> None:
    recipe = from_shots(pretrained.run.path, method="auto")
    assert dry_run(addition(), recipe, device="cpu")["method"] == "answers"
    linear = replace(recipe, networks={"digit_net": replace(recipe.networks["digit_net"], head="linear")})
    assert dry_run(addition(), linear, device="cpu")["method"] == "clusters"


def test_images_that_look_the_same_to_the_encoder(tmp_path: Path) -> None:
    network = NetworkRecipe(encoder="test_prototypes:blind", head="prototypes", labels=SHOTS)
    error = refuse(
        tmp_path,
        replace(SMALL, networks={"digit_net": network}),
        UsageError,
        "the labelled images of all symbols have the same features",
    )
    assert error.where == "network digit_net"
