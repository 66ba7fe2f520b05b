"""Programs whose networks begin as pretrained perceptions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_pretraining import DIGITS, POINTS, copies, pretrain_small, with_stage
from small_runs import ADDITION, SMALL, addition, once, tensors, train_small, untimed
from torch import nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import Interrupted, RunError, UsageError
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import evaluate, train


def with_network(**changes: Any) -> Recipe:
    return replace(SMALL, networks={"digit_net": NetworkRecipe(**changes)})


def first(recipe: Recipe, digits: ImageSplits) -> nn.Module:
    """The network before the first step."""
    task = Task(addition(), adopt_pretrained(recipe))
    return make_perceptions(task, digits.train.shape, digits.train.images)["digit_net"]


# -- weights -----------------------------------------------------------------------------------------------------------


def test_training_starts_from_the_pretrained_weights(pretrained: Pretrained, digits: ImageSplits) -> None:
    network = first(with_network(encoder=str(pretrained.run.path)), digits)
    found, expected = network.state_dict(), pretrained.perception.state_dict()
    names = [name for name in expected if not name.startswith("head.")]
    assert {"mean", "std"} <= set(names)
    assert all(torch.equal(found[name], expected[name]) for name in names)
    assert not torch.equal(found["head.weight"], expected["head.weight"])  # the domain's head is a new one


def test_a_run_of_no_learning_keeps_the_pretrained_weights(pretrained: Pretrained, tmp_path: Path) -> None:
    recipe = with_network(encoder=str(pretrained.run.path), head="clusters")
    recipe = replace(recipe, training=replace(recipe.training, epochs=1, learning_rate=1e-30))
    trained = train_small(tmp_path / "run", recipe).networks["digit_net"]
    expected = dict(pretrained.perception.named_parameters())
    for name, parameter in trained.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=0.0, atol=1e-20)


def test_the_head_of_the_clusters_is_used_where_asked_for(pretrained: Pretrained, digits: ImageSplits) -> None:
    network = first(with_network(encoder=str(pretrained.run.path), head="clusters"), digits)
    expected = copies(pretrained.perception)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        images = digits.test.images[:20]
        assert torch.equal(network.eval()(images), pretrained.perception.eval()(images))


def test_the_recipe_then_names_architecture_and_weights(pretrained: Pretrained, tmp_path: Path) -> None:
    recipe = with_network(encoder=str(pretrained.run.path), features=7, width=9, head="clusters")
    stored = train_small(tmp_path / "run", recipe).run.recipe().networks["digit_net"]
    own = pretrained.recipe.network
    assert stored == NetworkRecipe(
        encoder=own.encoder,
        head="clusters",
        features=own.features,
        width=own.width,
        normalisation=own.normalisation,
        weights=str(pretrained.run.path.resolve()),
    )


def test_a_relative_folder_is_found_again_from_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted = adopt_pretrained(with_network(encoder=folder.name)).networks["digit_net"]
    monkeypatch.chdir(tmp_path.parent)
    assert Path(adopted.weights).samefile(folder)


# -- without the folder ------------------------------------------------------------------------------------------------


def test_a_run_does_not_need_the_folder_any_more(folder: Path, tmp_path: Path) -> None:
    recipe = with_network(encoder=str(folder))
    through = train_small(tmp_path / "through", recipe)
    with pytest.raises(Interrupted):
        train_small(tmp_path / "run", recipe, stop=once(7))
    shutil.rmtree(folder)
    evaluated = evaluate(through.run.path, device="cpu")
    assert evaluated.document["metrics"] == through.document["metrics"]
    resumed = train_small(None, through.run.recipe(), resume=tmp_path / "run")
    one, other = tensors(resumed.run, "last"), tensors(through.run, "last")
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert untimed(resumed.document) == untimed(through.document)
    again = train_small(None, through.run.recipe(), resume=through.run.path)
    assert again.document == through.document


def test_a_new_run_needs_the_weights(folder: Path, tmp_path: Path) -> None:
    recipe = adopt_pretrained(with_network(encoder=str(folder)))
    shutil.rmtree(folder)
    with pytest.raises(RunError, match="not a pretraining run"):
        train_small(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


# -- refused -----------------------------------------------------------------------------------------------------------


def refuse(tmp_path: Path, recipe: Recipe, kind: type[Exception], message: str, text: str = ADDITION) -> Any:
    with pytest.raises(kind, match=message) as caught:
        train_small(tmp_path / "refused", recipe, text)
    assert not (tmp_path / "refused").exists()
    return caught.value


def test_clusters_of_another_number_are_refused(tmp_path: Path) -> None:
    run = pretrain_small(tmp_path / "other", with_stage(DIGITS, "clusters", clusters=12)).run
    recipe = with_network(encoder=str(run.path), head="clusters")
    error = refuse(tmp_path, recipe, UsageError, "has 12 clusters, the domain 10 symbols")
    assert error.where == "network digit_net"
    assert 'head = "linear"' in str(error.hint)
    train_small(tmp_path / "linear", with_network(encoder=str(run.path)))


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    run = pretrain_small(tmp_path / "moons", POINTS).run
    error = refuse(tmp_path, with_network(encoder=str(run.path)), UsageError, r"of shape \(2,\), not \(1, 8, 8\)")
    assert error.where == "network digit_net"


def test_another_architecture_is_refused(pretrained: Pretrained, tmp_path: Path) -> None:
    recipe = with_network(encoder="conv", features=8, width=4, weights=str(pretrained.run.path))
    error = refuse(tmp_path, recipe, RunError, "the pretrained weights do not fit the encoder")
    assert "features, width and normalisation" in str(error.hint)


def test_an_unfinished_pretraining_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain_small(tmp_path / "begun", stop=once(3))
    recipe = with_network(encoder=str(tmp_path / "begun"))
    error = refuse(tmp_path, recipe, RunError, "the pretraining is not finished")
    assert f"nesy-gedi pretrain --resume {tmp_path / 'begun'}" in str(error.hint)


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "perception.safetensors").write_bytes(b"nothing")
    refuse(tmp_path, with_network(encoder=str(folder)), RunError, "perception.safetensors is damaged")


def test_a_folder_that_is_no_pretraining_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    trained = train_small(tmp_path / "trained").run.path
    for path in (tmp_path / "pictures", trained):
        error = refuse(tmp_path, with_network(encoder=str(path)), UsageError, "is a folder, but not of a pretraining")
        assert error.where == "networks.digit_net.encoder"


def test_a_folder_named_like_a_bundled_encoder_is_no_encoder(tmp_path: Path) -> None:
    (tmp_path / "conv").mkdir()
    recipe = with_network(encoder="conv", features=8)
    assert adopt_pretrained(recipe) == recipe


def test_python_in_a_pretraining_needs_trust(tmp_path: Path) -> None:
    recipe = replace(DIGITS, network=replace(DIGITS.network, encoder="small_pretraining:constant_encoder"))
    recipe = with_stage(recipe, "clusters", views="augmentation")
    run = pretrain_small(tmp_path / "python", recipe, trusted=True).run
    with pytest.raises(UsageError, match="names Python code as an encoder"):
        train(addition(), with_network(encoder=str(run.path)), out=tmp_path / "run", device="cpu")
    train_small(tmp_path / "trusted", with_network(encoder=str(run.path)))
