"""What is tried before a pretraining, and that trying leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_pretraining import DIGITS, POINTS, copies, pretrain_small, with_objective, with_stage
from torch import Tensor, nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import RecipeError, UsageError
from nesy_gedi.networks.perception import EncoderError
from nesy_gedi.training.preparation import check_encoder, dry_run, find_images
from nesy_gedi.training.pretrain_recipe import PretrainRecipe
from nesy_gedi.training.pretrained import make_perception
from nesy_gedi.training.recipe_files import write_recipe


class Draws(nn.Module):
    """Batch statistics, and random numbers in any mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.norm.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        self.norm.get_buffer("seen").add_(1)
        normalised: Tensor = self.norm(images.flatten(1))
        return normalised + torch.rand(64)


def perception_of(encoder: nn.Module, width: int, images: Tensor) -> Any:
    perception = make_perception(DIGITS, images.shape[1:], images, 10, trusted=False)
    perception.encoder, perception.head = encoder, nn.Linear(width, 10)
    return perception


@pytest.mark.parametrize("training", [True, False])
def test_trying_an_encoder_leaves_no_trace(digits: ImageSplits, training: bool) -> None:
    images = digits.train.images[:50]
    perception = perception_of(Draws(), 64, images).train(training)
    before, random = copies(perception), torch.get_rng_state()
    check_encoder(perception, images, "mine", batch=20)
    assert perception.training == perception.encoder.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in perception.state_dict().items())
    assert float(perception.encoder.norm.seen) == 0
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("classes", "said", "hint"),
    [
        (("1", "2", "1"), "1 is named twice", "name it once"),
        (("1", "22"), "22 is no class of class", "did you mean 2? valid: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (("1",), "one class leaves nothing to tell apart", "name two or more"),
    ],
)
def test_classes_that_cannot_be_chosen(classes: tuple[str, ...], said: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find_images(replace(DIGITS, data=replace(DIGITS.data, classes=classes)), None, False)
    assert (caught.value.message, caught.value.where, caught.value.hint) == (said, "data.classes", hint)


class Changes(nn.Module):
    """Returns something else of a batch while it learns, or of images with ink."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Any:
        features = images.flatten(1)
        if self.change == "width in training" and self.training:
            return features[:, :9]
        if self.change == "not finite in training" and self.training:
            return features / 0.0
        if self.change == "width":
            return features[:, :9]
        if self.change == "fails" and self.training:
            raise RuntimeError("no gradient here")
        return features


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("width", UsageError, "9 features an image, but 64 of black images"),
        ("width in training", UsageError, "9 features an image, but 64 of black images"),
        ("not finite in training", EncoderError, "not finite, of 20 of 20 images"),
        ("fails", UsageError, "RuntimeError: no gradient here"),
    ],
)
def test_encoders_that_change(digits: ImageSplits, change: str, error: type[Exception], message: str) -> None:
    images = digits.train.images[:50]
    perception = perception_of(Changes(change), 64, images)
    with pytest.raises(error, match=message) as caught:
        check_encoder(perception, images, "mine", batch=20)
    assert getattr(caught.value, "where", None) == "encoder mine"
    if "training" in change or change == "fails":  # which is not looked at where nothing is trained
        check_encoder(perception, images, "mine")


@pytest.mark.parametrize(
    "recipe",
    [DIGITS, POINTS, with_objective("byol"), with_stage(DIGITS, "clusters", initial="kmeans", epochs=0)],
    ids=["falcon", "points", "byol", "kmeans"],
)
def test_a_dry_run_goes_through_every_stage(recipe: PretrainRecipe, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    document = dry_run(recipe, device="cpu")
    assert list(document["stages"]) == list(recipe.active_stages())
    assert document["recipe"] == write_recipe(recipe)
    for name, stage in recipe.active_stages().items():
        found = document["stages"][name]
        assert found["objective"] == recipe.objective_of(stage)
        assert found["steps"] == 3 * stage.passes  # of 96 images in batches of 32
        assert (found["first_loss"] is None) == (stage.epochs == 0)
        assert found["parameters"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_sees_the_first_batch_of_training(tmp_path: Path) -> None:
    recipe = with_stage(with_objective("simclr"), "features", epochs=1, batch_size=96, learning_rate=1e-9)
    loss = dry_run(recipe, device="cpu")["stages"]["features"]["first_loss"]
    lines = pretrain_small(tmp_path / "run", recipe).run.read_metrics()
    # The same weights and images; the views are drawn for them in another order.
    assert loss == pytest.approx(lines[0]["train_loss"], rel=0.05)
