"""An objective beside the answers: what a step adds up, what it looks at, and that it can be interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from small_cotraining import (
    SMALL,
    STEPS,
    STILL,
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
from small_runs import ADDITION, addition, once, tensors
from small_symbols import FOUR
from torch import Tensor, nn

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import Interrupted, NesyGediError, RecipeError, RunError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.objectives import OBJECTIVES, Gedi
from nesy_gedi.training.answers import model_tensors
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.cotraining import OBJECTIVE_FLOOR, Cotrained, pool
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.labels import Labelled, read_labels
from nesy_gedi.training.recipe import NetworkRecipe, load_recipe
from nesy_gedi.training.stages import encode
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import evaluate, train

# -- what a step adds up -----------------------------------------------------------------------------------------------


def gedi_loss(log_p: Tensor, log_other: Tensor, prior: Tensor) -> Tensor:
    """INV + PRIOR of two views' log-probabilities, as in the paper."""
    p, other = log_p.exp(), log_other.exp()
    invariance = -((p * log_other).sum(1).mean() + (other * log_p).sum(1).mean()) / 2
    balance = -((prior * p.mean(0).log()).sum() + (prior * other.mean(0).log()).sum()) / 2
    return invariance + balance


@pytest.mark.parametrize(
    ("schedule", "progress", "weight"), [("constant", 0.9, 0.7), ("rise", 0.25, 0.175), ("fall", 0.25, 0.525)]
)
def test_gradients_of_answers_objective_and_labels_add_up(
    schedule: str, progress: float, weight: float, digits: ImageSplits, fabric: Fabric
) -> None:
    recipe = unnormalised(weight=0.7, schedule=schedule, views="neighbours", constants={"prior_weight": 1.0})
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    network = replace(recipe.networks["digit_net"], labels=("3=2", "0=1"), prior=tuple(prior.tolist()))
    recipe = replace(recipe, networks={"digit_net": network})
    work = make_work(recipe, digits, fabric)
    rows = torch.arange(20)
    partner = (torch.arange(len(work.images)) * 7 + 1) % len(work.images)
    work.neighbours["digit_net"] = partner[:, None]  # one each: nothing is left to chance
    losses = one_step(work, fabric, rows, progress)
    found = gradients(perception_of(work))

    perception, queries = perception_of(work), work.splits.train
    parameters = dict(perception.named_parameters())
    symbols = perception(queries.images.images[queries.index.flatten()]).view(len(queries), 2, 4)
    p = symbols.exp()
    # P(sum) by adding up over pairs, without the circuit.
    total = torch.stack([sum(p[:, 0, a] * p[:, 1, s - a] for a in range(4) if 0 <= s - a < 4) for s in range(7)], 1)
    sums = torch.tensor([work.task.reasoner.index(s) for s in range(7)]).argsort()[queries.answers]
    answers = -total.gather(1, sums[:, None]).log().mean()
    objective = gedi_loss(perception(work.images[rows]), perception(work.images[partner[rows]]), prior.float())
    told = read_labels(work.task, work.splits.pool)["digit_net"]
    labels = F.nll_loss(perception(told.images), told.symbols)
    expected = torch.autograd.grad(answers + weight * objective + labels, list(parameters.values()))
    assert found.keys() == parameters.keys()
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)
    assert losses["answers"] == pytest.approx(answers.item(), rel=1e-5)
    assert losses["invariance"] + losses["prior"] == pytest.approx(objective.item(), rel=1e-5)
    assert losses["loss"] == pytest.approx((answers + weight * objective + labels).item(), rel=1e-5)


def test_heads_of_another_objective_get_its_gradient(digits: ImageSplits, fabric: Fabric) -> None:
    recipe = unnormalised(objective="simclr", weight=0.5)
    work = make_work(recipe, digits, fabric)
    rows = torch.arange(16)
    one_step(work, fabric, rows)
    each = work.cotrained["digit_net"]
    assert each.method is not None
    found = gradients(each)
    images = work.images[rows]
    loss = 0.5 * each.objective(**each.method(images, images))
    expected = torch.autograd.grad(loss, list(each.method.projector.parameters()))
    names = [f"method.projector.{name}" for name, _ in each.method.projector.named_parameters()]
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    # The perception's head is taught by answers alone.
    queries = work.splits.train
    seen = perception_of(work)(queries.images.images[queries.index.flatten()]).view(len(queries), 2, 4)
    nll = work.task.reasoner.nll(work.task.observe({"digit_net": seen}, queries.observed), queries.answers)
    (own,) = torch.autograd.grad(nll, [cast("nn.Linear", perception_of(work).head).weight])
    torch.testing.assert_close(found["perception.head.weight"], own, rtol=1e-4, atol=1e-6)


# -- GEDI's own distribution -------------------------------------------------------------------------------------------


class Probabilities(nn.Module):
    """What a network returns that is sure: exact zeros."""

    def forward(self, images: Tensor) -> Tensor:
        p = F.one_hot(images.flatten(1).argmax(1) % 4, 4).float()
        p[::2] = 0.25
        return p


@pytest.mark.parametrize("kind", ["linear", "overclustered", "probabilities"])
def test_gedi_sees_the_probabilities_of_the_symbols(kind: str, digits: ImageSplits) -> None:
    shape = digits.train.shape
    encoder: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    head: nn.Module | None = nn.Linear(8, 4)
    if kind == "overclustered":
        head = ClusterHead(8, 6, 4)
        head.assign(torch.tensor([0, 1, 2, 3, 3, 0]))
    if kind == "probabilities":
        encoder, head = Probabilities(), None
    output = "probabilities" if kind == "probabilities" else "logits"
    perception = Perception(encoder, head, "0123", image_shape=shape, output=output)
    objective = Gedi(4)
    both = Cotrained(perception, objective, SMALL.cotraining).eval()
    images = digits.train.images[:30]
    with torch.no_grad():
        seen, outputs = both(images[:10], images[10:20], images[20:])
        expected = perception(images)
        first, second = (objective.log_probabilities(view) for view in outputs["projection"])
    torch.testing.assert_close(seen, expected[:20])
    floored = expected.clamp_min(OBJECTIVE_FLOOR)
    torch.testing.assert_close(torch.cat([first, second]), floored[10:], rtol=1e-5, atol=1e-5)
    assert both.own_parameters() == []
    assert {name for name in both.own_tensors() if not name.startswith("objective.")} == set()


@pytest.mark.parametrize("dead", [-10.0, -40.0])
def test_a_symbol_that_no_image_has_is_pulled_back(dead: float, digits: ImageSplits) -> None:
    """However improbable: the prior's gradient on it, summed over images, is that of one symbol of four."""
    head = nn.Linear(64, 4)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, dead]))
    perception = Perception(nn.Flatten(), head, "0123", image_shape=digits.train.shape)
    objective = Gedi(4, prior_weight=1.0)
    both = Cotrained(perception, objective, SMALL.cotraining).eval()
    _, outputs = both(digits.train.images[:2], digits.train.images[2:32], digits.train.images[32:62])
    objective.terms(**outputs)["prior"].backward()
    assert head.bias.grad is not None
    assert float(head.bias.grad[3]) == pytest.approx(-0.25, rel=1e-3)


@pytest.mark.parametrize(("prior", "expected"), [((), [0.25] * 4), ((0.1, 0.2, 0.3, 0.4), [0.1, 0.2, 0.3, 0.4])])
def test_its_prior_is_the_one_given(
    prior: tuple[float, ...], expected: list[float], digits: ImageSplits, fabric: Fabric
) -> None:
    network = replace(SMALL.networks["digit_net"], prior=prior)
    work = make_work(replace(SMALL, networks={"digit_net": network}), digits, fabric)
    assert work.cotrained["digit_net"].objective.get_buffer("prior").tolist() == pytest.approx(expected)


@pytest.mark.parametrize("where", ["network", "cotraining"])
def test_a_run_takes_its_prior_from_the_recipe(where: str, tmp_path: Path) -> None:
    recipe = cotrained(epochs=1, steps=1, prior="uniform" if where == "network" else "estimated")
    if where == "network":
        recipe = replace(
            recipe, networks={"digit_net": NetworkRecipe(features=16, width=4, prior=(0.7, 0.1, 0.1, 0.1))}
        )
    found = tensors(run(tmp_path / "run", recipe).run, "last")["model.objective.digit_net.objective.prior"].tolist()
    assert sum(found) == pytest.approx(1.0)
    assert found == pytest.approx([0.7, 0.1, 0.1, 0.1]) if where == "network" else max(found) > 0.26


# -- every objective ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_does_a_step_and_is_kept_whole(name: str, digits: ImageSplits, fabric: Fabric) -> None:
    work = make_work(of(name), digits, fabric)
    optimizer: Any = fabric.setup_optimizers(torch.optim.AdamW(work.parameters(), lr=0.01))
    before = {key: tensor.clone() for key, tensor in work.tensors().items()}
    for progress in (0.0, 0.5):
        work.train()
        losses = work.step(torch.arange(16), optimizer, fabric, Clock(), progress)
    assert all(abs(float(value)) < 1e4 for value in losses.values())
    assert losses.keys() > {"loss", "answers"}
    after = work.tensors()
    moved = {key for key, tensor in after.items() if not torch.equal(tensor, before[key])}
    assert "digit_net.head.weight" in moved
    assert any(key.startswith("digit_net.encoder.") for key in moved)
    own = {key for key in after if key.startswith("objective.")}
    learned = {key for key in own if not key.startswith("objective.digit_net.objective.")}
    assert (name == "gedi") == (not learned)
    assert not learned or learned & moved
    each = work.cotrained["digit_net"]
    if each.method is not None and each.method.teacher is not None:  # the average of what it has seen
        assert any(".method.teacher." in key for key in moved)
    other = make_work(of(name), digits, fabric)
    other.restore(after)
    again = other.tensors()
    assert again.keys() == after.keys()
    assert [key for key in after if not torch.equal(again[key], after[key])] == []


def test_the_checkpoint_of_another_objective_is_refused(digits: ImageSplits, fabric: Fabric) -> None:
    for one, other in (("simclr", "byol"), ("gedi", "simclr"), ("vicreg", "gedi")):
        with pytest.raises(RunError, match="the checkpoint does not fit the objective") as caught:
            make_work(of(one), digits, fabric).restore(make_work(of(other), digits, fabric).tensors())
        assert "another recipe" in str(caught.value.hint)
    neighbours = make_work(cotrained(views="neighbours"), digits, fabric)
    with pytest.raises(RunError, match="neighbours"):
        neighbours.restore(make_work(SMALL, digits, fabric).tensors())


# -- the pool and its views --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["all", "queries", "unlabelled"])
def test_the_pool(which: str, digits: ImageSplits) -> None:
    task = Task(addition(FOUR), cotrained(pool=which))
    splits = task.queries(digits)
    shown = set(splits.train.index.flatten().tolist())
    every = set(range(len(splits.pool)))
    rows = {"all": every, "queries": shown, "unlabelled": every - shown}[which]
    assert torch.equal(pool(task, splits).images, splits.pool.images[sorted(rows)])
    validation = {image.numpy().tobytes() for image in splits.validation.images.images}
    assert not validation & {image.numpy().tobytes() for image in pool(task, splits).images}


def test_an_epoch_is_so_many_whole_batches(digits: ImageSplits, fabric: Fabric) -> None:
    work = make_work(cotrained(pool="queries"), digits, fabric)  # 24 images, 48 a step
    order = work.order(torch.Generator().manual_seed(0))
    assert len(order) == len(work) == 16 * STEPS
    assert sorted(order[:24].tolist()) == sorted(order[24:].tolist()) == list(range(24))


def test_neighbours_are_views(digits: ImageSplits, fabric: Fabric) -> None:
    work = make_work(cotrained(augmentation=STILL, views="neighbours"), digits, fabric)
    work.begin()
    found = work.neighbours["digit_net"]
    features = F.normalize(encode(perception_of(work), work.images).double(), dim=1)
    similar = features @ features.T
    similar.fill_diagonal_(-torch.inf)
    assert torch.equal(found.long(), similar.topk(4, dim=1).indices)
    rows = torch.arange(40)
    first, second = work._views(rows)
    pixels = work.images.float() / 255.0
    torch.testing.assert_close(first, pixels[rows])
    for row, view in zip(rows.tolist(), second["digit_net"], strict=True):
        assert any(torch.allclose(view, pixels[k]) for k in found[row].tolist())
    still = make_work(cotrained(augmentation=STILL), digits, fabric)
    still.begin()
    first, second = still._views(rows)
    torch.testing.assert_close(second["digit_net"], first)


def test_several_networks_have_an_objective_each(shapes: ImageSplits, fabric: Fabric, tmp_path: Path) -> None:
    found = find_program("naming")
    overrides = {"method": "cotraining", "data.train": 20, "data.validation": 8, "data.test": 8}
    small = {"epochs": 1, "steps": 2, "batch_size": 16, "views": "neighbours", "neighbours": 3, "pool": "queries"}
    overrides |= {f"cotraining.{key}": value for key, value in small.items()}
    overrides |= {
        f"networks.{name}.{key}": size
        for name in ("shape_net", "colour_net", "filled_net")
        for key, size in (("width", 4), ("features", 8))
    }
    recipe = load_recipe(found.recipe, overrides=overrides)
    trained = train(Program.load(found.path), recipe, out=tmp_path / "run", device="cpu")
    names = tensors(trained.run, "last").keys()
    for network in ("shape_net", "colour_net", "filled_net"):
        assert {f"model.objective.{network}.objective.prior", f"model.objective.{network}.neighbours"} <= names
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == trained.document["metrics"]


# -- whole runs --------------------------------------------------------------------------------------------------------


# After three steps comes the question after the epoch.
@pytest.mark.parametrize(
    ("name", "views", "number"),
    [
        ("gedi", "neighbours", 2),
        ("gedi", "augmentation", STEPS + 1),
        ("simclr", "augmentation", STEPS + 3),
        ("byol", "neighbours", 1),
    ],
)
def test_an_interrupted_run_ends_as_it_would_have(name: str, views: str, number: int, tmp_path: Path) -> None:
    recipe = cotrained(of(name), views=views)
    recipe = replace(recipe, networks={"digit_net": replace(recipe.networks["digit_net"], labels=("3=2",))})
    through = run(tmp_path / "through", recipe)
    with pytest.raises(Interrupted) as caught:
        run(tmp_path / "run", recipe, stop=once(number))
    assert caught.value.hint == f"nesy-gedi train --resume {tmp_path / 'run'}"
    assert_same(run(None, recipe, resume=tmp_path / "run"), through)
    assert evaluate(through.run.path, device="cpu").document["metrics"] == through.document["metrics"]


def test_what_a_run_says(tmp_path: Path) -> None:
    trained = run(tmp_path / "run", SMALL)
    lines = trained.run.read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["terms"].keys() == {"answers", "invariance", "prior"} for line in lines)
    assert all(line["train_loss"] == pytest.approx(sum(line["terms"].values())) for line in lines)
    document = trained.document
    assert document["method"] == "cotraining"
    assert "assignment" not in document
    ranks = [(line["validation_answer_accuracy"], -line["validation_loss"]) for line in lines]
    assert document["best_epoch"] == 1 + ranks.index(max(ranks))
    spent = document["time"]
    assert 0 < spent["network_s"] + spent["logic_s"] < spent["total_s"]
    assert evaluate(trained.run.path, device="cpu").document["best_epoch"] == document["best_epoch"]


@pytest.mark.parametrize("name", ["gedi", "byol"])
def test_half_precision(name: str, tmp_path: Path) -> None:
    recipe = of(name)
    recipe = replace(recipe, training=replace(recipe.training, precision="bf16-mixed"))
    trained = run(tmp_path / "run", recipe)
    assert all(tensor.isfinite().all() for tensor in model_tensors(trained.task, trained.networks).values())
    assert all(parameter.dtype == torch.float32 for parameter in trained.networks.parameters())
    full = run(tmp_path / "full", of(name)).run.read_metrics()
    for half, exact in zip(trained.run.read_metrics(), full, strict=True):
        assert half["train_loss"] == pytest.approx(exact["train_loss"], rel=0.05)
        assert half["train_loss"] != exact["train_loss"]


def test_a_diverging_run_says_what_to_lower_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        run(tmp_path / "run", cotrained(learning_rate=1e30))
    assert "cotraining.learning_rate" in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "error", "said", "where"),
    [
        ({"batch_size": 5000}, RecipeError, "images, fewer than a batch of 5000", "cotraining.batch_size"),
        ({"pool": "queries", "batch_size": 25}, RecipeError, "the pool has 24 images", "cotraining.batch_size"),
        (
            {"views": "neighbours", "pool": "queries", "neighbours": 24},
            RecipeError,
            "the 24 images of the pool do not have 24 neighbours each",
            "cotraining.neighbours",
        ),
        ({"batch_size": 1}, RecipeError, "gedi needs batches of at least 2, not 1", "cotraining.batch_size"),
        ({"constants": {"generative": 0.5}}, RecipeError, "has no sampler", "cotraining.constants"),
        ({"constants": {"temperature": 0.5}}, RecipeError, "have no temperature", "cotraining.constants.temperature"),
        ({"constants": {"invarance": 0.5}}, RecipeError, "gedi has no constant invarance", "cotraining.constants"),
        ({"constants": {"invariance": -1.0}}, UsageError, "invariance cannot be -1", "cotraining"),
        ({"objective": "falcon", "constants": {"epsilon": 0.3}}, UsageError, "falcon", "cotraining"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_before_anything_is_made(
    changes: dict[str, Any], error: type[NesyGediError], said: str, where: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        run(tmp_path / "run", cotrained(**changes))
    assert said in caught.value.message
    assert caught.value.where == where
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir() if path.name != "circuit-cache"] == []


def test_a_teacher_needs_small_steps(tmp_path: Path) -> None:
    recipe = replace(of("byol"), training=replace(SMALL.training, precision="bf16-true"))
    with pytest.raises(RecipeError, match="the teacher of byol moves in steps too small") as caught:
        run(tmp_path / "run", recipe)
    assert caught.value.where == "training.precision"
    assert "bf16-mixed" in str(caught.value.hint)


def test_many_labels_are_looked_at_a_batch_at_a_time(digits: ImageSplits) -> None:
    fabric = make_fabric("cpu", "32-true")
    work = make_work(SMALL, digits, fabric, program=addition(ADDITION))
    pool_images = work.splits.pool
    symbols = work.task.symbols("digit_net", pool_images)
    work.labelled = {"digit_net": Labelled(pool_images.images[:300], symbols[:300])}
    sizes: list[int] = []
    perception_of(work).register_forward_hook(lambda *_: None)
    features = perception_of(work).features
    perception_of(work).features = lambda images: sizes.append(len(images)) or features(images)  # type: ignore[method-assign,assignment,func-returns-value]
    one_step(work, fabric, torch.arange(16))
    assert sizes == [2 * 8 + 128 + 2 * 16]
