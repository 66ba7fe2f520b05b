"""Reconstruction beside the answers: what it adds to a step, where it is kept, and that it separates what answers leave
open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from small_cotraining import (
    SMALL,
    STEPS,
    assert_same,
    cotrained,
    gradients,
    make_work,
    of,
    one_step,
    perception_of,
    run,
    unnormalised,
)
from small_runs import addition, once, tensors
from small_symbols import CLUSTERED, FOUR, train_symbols, with_cotraining
from torch import Tensor

from nesy_gedi.data import ImageSplits, load_images
from nesy_gedi.errors import Interrupted, RecipeError, RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.decoders import SymbolDecoder
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.planning import plan
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.reconstruction import make_decoder
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import evaluate, train

RECONSTRUCTED = cotrained(reconstruction=2.0)


def decoder_of(work: Any) -> SymbolDecoder:
    assert work.decoder is not None
    decoder: SymbolDecoder = work.decoder
    return decoder


def unexplained(log_p: Tensor, pictures: Tensor, images: Tensor, pool: Tensor) -> Tensor:
    """Of one network: the expectation over its symbols, without the decoder's own loss."""
    squared = (images[:, None] - pictures[None]).square().flatten(2).sum(2)
    return (log_p.exp() * squared).sum(1).mean() / (pool - pool.mean(0)).square().flatten(1).sum(1).mean()


# -- a step ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["gedi", "simclr"])
def test_its_gradient_is_added_to_the_step(objective: str, digits: ImageSplits, fabric: Fabric) -> None:
    rows = torch.arange(20)
    without = make_work(unnormalised(objective=objective, views="augmentation"), digits, fabric)
    work = make_work(unnormalised(objective=objective, views="augmentation", reconstruction=3.0), digits, fabric)
    plain, losses = one_step(without, fabric, rows), one_step(work, fabric, rows)
    base, found = gradients(perception_of(without)), gradients(perception_of(work))

    perception, decoder = perception_of(work), decoder_of(work)
    images = work.images.float() / 255.0
    pictures = decoder(torch.arange(4)[:, None])
    loss = unexplained(perception(work.images[rows]), pictures, images[rows], images)
    parameters = dict(perception.named_parameters())
    own = torch.autograd.grad(3.0 * loss, [*parameters.values(), *decoder.parameters()])
    for (name, _), gradient in zip(parameters.items(), own, strict=False):
        torch.testing.assert_close(found[name], base[name] + gradient, rtol=1e-3, atol=1e-5)
    for parameter, gradient in zip(decoder.parameters(), own[len(parameters) :], strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert losses["reconstruction"] == pytest.approx(loss.item(), rel=1e-4)
    assert losses["loss"] == pytest.approx(plain["loss"] + 3.0 * loss.item(), rel=1e-4)
    assert "reconstruction" not in plain


def test_it_stands_alone_beside_an_objective_of_no_weight(digits: ImageSplits, fabric: Fabric) -> None:
    work = make_work(cotrained(weight=0.0, reconstruction=2.0), digits, fabric)
    losses = one_step(work, fabric, torch.arange(16))
    assert losses["loss"] == pytest.approx(losses["answers"] + 2.0 * losses["reconstruction"], rel=1e-5)


def test_it_is_learned_with_the_networks(digits: ImageSplits, fabric: Fabric) -> None:
    work = make_work(RECONSTRUCTED, digits, fabric)
    parameters = list(work.parameters())
    assert all(any(each is parameter for each in parameters) for parameter in decoder_of(work).parameters())
    assert len({id(each) for each in parameters}) == len(parameters)
    assert make_work(SMALL, digits, fabric).decoder is None


def test_what_is_off_changes_nothing(tmp_path: Path) -> None:
    on_disk = tensors(run(tmp_path / "one", cotrained(reconstruction=0.0)).run, "last")
    assert not any(".objective.objective." in name for name in on_disk)


# -- several networks, points ------------------------------------------------------------------------------------------


def small_program(name: str, **overrides: Any) -> tuple[Program, Recipe]:
    found = find_program(name)
    given = {"method": "cotraining", "data.train": 20, "data.validation": 8, "data.test": 8}
    sizes = {"epochs": 1, "steps": 2, "batch_size": 16, "reconstruction": 1.0}
    given |= {f"cotraining.{key}": value for key, value in sizes.items()}
    return Program.load(found.path), load_recipe(found.recipe, overrides=given | overrides)


def test_an_image_has_the_symbols_of_all_networks(shapes: ImageSplits, fabric: Fabric) -> None:
    program, recipe = small_program("naming")
    work = make_work(recipe, shapes, fabric, program=program)
    decoder = decoder_of(work)
    assert decoder.sizes == tuple(len(program.networks[name]) for name in work.task.networks)
    assert sorted(decoder.sizes) == [2, 3, 3]
    assert decoder(torch.tensor([[1, 1, 1]])).shape == (1, *shapes.train.shape)
    one_step(work, fabric, torch.arange(16))
    for name in work.task.networks:
        assert all(bool(gradient.isfinite().all()) for gradient in gradients(perception_of(work, name)).values())


def test_points_are_reconstructed_too(tmp_path: Path) -> None:
    program, recipe = small_program("traffic", **{"data.source": "traffic"})
    trained = train(program, recipe, out=tmp_path / "run", device="cpu")
    (line,) = trained.run.read_metrics()
    assert 0.0 < line["terms"]["reconstruction"] < 3.0
    points = load_images("traffic").train.shape
    assert tensors(trained.run, "last")["model.objective.objective.mean"].shape == points


def test_more_symbols_than_can_be_told_apart(digits: ImageSplits, tmp_path: Path) -> None:
    text = (
        "".join(f"nn(net_{k}, [X], Y, [0..9]) :: digit_{k}(X, Y).\n" for k in range(4))
        + "same(X) :- digit_0(X, A), digit_1(X, A), digit_2(X, A), digit_3(X, A).\n"
    )
    recipe = replace(
        RECONSTRUCTED, query="same(X)", networks={f"net_{k}": NetworkRecipe(features=8, width=2) for k in range(4)}
    )
    with pytest.raises(RecipeError, match="10000 combinations of symbols are too many") as caught:
        train(Program(text, name="same.pl"), recipe, out=tmp_path / "run", device="cpu")
    assert caught.value.where == "cotraining.reconstruction"
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


# -- what is planned ---------------------------------------------------------------------------------------------------


def planned(recipe: Recipe, digits: ImageSplits) -> Recipe:
    task = Task(addition(FOUR), recipe)
    return plan(task, task.queries(digits))


def test_it_asks_for_cotraining_where_the_method_is_open(digits: ImageSplits) -> None:
    many = replace(RECONSTRUCTED, method="auto", data=DataRecipe(train=400, validation=16, test=16))
    assert planned(many, digits).method == "cotraining"
    assert planned(many, digits).cotraining.objective == "gedi"
    assert planned(replace(many, cotraining=SMALL.cotraining), digits).method == "answers"


@pytest.mark.parametrize("method", ["answers", "assignment"])
def test_methods_without_a_pool_refuse_it(method: str, digits: ImageSplits) -> None:
    with pytest.raises(RecipeError, match=f'method = "{method}" reconstructs no images') as caught:
        planned(replace(RECONSTRUCTED, method=method), digits)
    assert caught.value.where == "cotraining.reconstruction"


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none(weight: float) -> None:
    with pytest.raises(RecipeError, match="reconstruction must be zero or more"):
        Task(addition(FOUR), cotrained(reconstruction=weight))


def test_no_decoder_where_none_is_asked_for(digits: ImageSplits) -> None:
    assert make_decoder(Task(addition(FOUR), SMALL), digits.train.images) is None


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "weight", "number"), [("gedi", 0.0, 2), ("byol", 1.0, STEPS + 3)])
def test_an_interrupted_run_ends_as_it_would_have(objective: str, weight: float, number: int, tmp_path: Path) -> None:
    recipe = cotrained(of(objective), reconstruction=2.0, weight=weight)
    through = run(tmp_path / "through", recipe)
    with pytest.raises(Interrupted):
        run(tmp_path / "run", recipe, stop=once(number))
    assert_same(run(None, recipe, resume=tmp_path / "run"), through)
    kept = {name for name in tensors(through.run, "last") if name.startswith("model.objective.objective.")}
    assert {name.rsplit(".", 2)[-2] for name in kept if "layers" in name} == {"0", "2"}
    assert evaluate(through.run.path, device="cpu").document["metrics"] == through.document["metrics"]


def test_a_run_that_begins_with_clusters(tmp_path: Path) -> None:
    trained = train_symbols(tmp_path / "run", with_cotraining(CLUSTERED, reconstruction=1.0))
    terms = [line["terms"] for line in trained.run.read_metrics()]
    assert all(each.keys() == {"answers", "invariance", "prior", "reconstruction"} for each in terms)
    assert terms[-1]["reconstruction"] < terms[0]["reconstruction"]
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == trained.document["metrics"]


def test_half_precision(tmp_path: Path) -> None:
    def first(precision: str) -> float:
        recipe = replace(RECONSTRUCTED, training=replace(RECONSTRUCTED.training, precision=precision))
        trained = run(tmp_path / precision, recipe)
        kept = tensors(trained.run, "last")["model.objective.objective.layers.0.weight"]
        assert kept.dtype == torch.float32
        value: float = trained.run.read_metrics()[0]["terms"]["reconstruction"]
        return value

    assert first("bf16-mixed") == pytest.approx(first("32-true"), rel=0.05)


def test_the_checkpoint_of_a_run_without_it_is_refused(digits: ImageSplits, fabric: Fabric) -> None:
    with_it, without = make_work(RECONSTRUCTED, digits, fabric), make_work(SMALL, digits, fabric)
    for one, other in ((with_it, without), (without, with_it)):
        with pytest.raises(RunError, match=r"the checkpoint does not fit the objective: .* decoder"):
            one.restore(other.tensors())


def test_its_name_can_be_no_networks(digits: ImageSplits) -> None:
    text = FOUR.replace("digit_net", "objective")
    with pytest.raises(RecipeError, match="cannot be named 'objective'"):
        Task(addition(text), replace(RECONSTRUCTED, networks={}))
