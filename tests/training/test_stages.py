"""Stages: what a step does to a teacher, which head is kept, what is folded, and random numbers of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from small_pretraining import BATCH, CLUSTERS, DIGITS, FEATURES, POINTS, REFINE, copies, make_setting, with_objective
from torch import Tensor

from nesy_gedi.data import ImageSplits, load_images
from nesy_gedi.errors import RecipeError
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.encoder_stage import EncoderStage
from nesy_gedi.training.head_stage import HeadStage
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, StageRecipe
from nesy_gedi.training.stages import Setting, Stage, encode, find_neighbours, look_at, own_random_numbers, pick

ROWS = torch.arange(BATCH)


def setting(digits: ImageSplits, fabric: Fabric, **stages: StageRecipe) -> Setting:
    return make_setting(replace(DIGITS, stages=stages), digits, fabric)


def step(stage: Stage, fabric: Fabric, progress: float, rows: Tensor = ROWS) -> dict[str, float]:
    stage.train()
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(stage.parameters(), lr=0.01, weight_decay=0.0))
    return stage.step(rows, optimizer, fabric, Clock(), progress)


def teacher_and_student(stage: EncoderStage) -> tuple[list[np.ndarray], list[np.ndarray]]:
    method = stage.best.method
    assert method.teacher is not None
    student = [*method.perception.parameters(), *method.projector.parameters()]
    return [[p.detach().numpy().copy() for p in each] for each in (list(method.teacher.parameters()), student)]  # type: ignore[return-value]


# -- encoders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["byol", "dino"])
@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_after_a_step_the_teacher_is_the_average_with_the_new_student(
    digits: ImageSplits, fabric: Fabric, name: str, progress: float
) -> None:
    stage = EncoderStage(make_setting(with_objective(name), digits, fabric), "features", 0, 0)
    stage.begin(None)
    for _ in range(2):
        before, old = teacher_and_student(stage)
        step(stage, fabric, progress)
        after, new = teacher_and_student(stage)
        coefficient = 1.0 - 0.1 * (math.cos(math.pi * progress) + 1.0) / 2.0
        for t0, t1, s1 in zip(before, after, new, strict=True):
            np.testing.assert_allclose(t1, coefficient * t0 + (1.0 - coefficient) * s1, rtol=1e-4, atol=1e-7)
        assert any(not np.array_equal(s0, s1) for s0, s1 in zip(old, new, strict=True))
        assert any(not np.array_equal(t0, t1) for t0, t1 in zip(before, after, strict=True))
    teacher = stage.best.method.teacher
    assert teacher is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())
    optimised = {id(parameter) for parameter in stage.parameters()}
    assert optimised.isdisjoint(id(parameter) for parameter in teacher.parameters())


def test_encoders_side_by_side_begin_apart_and_the_best_is_kept(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, features=replace(FEATURES, restarts=3))
    stage = EncoderStage(made, "features", 0, 0)
    kernels = [next(learner.method.perception.encoder.parameters()) for learner in stage.learners]
    assert not torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[1], kernels[2])
    stage.state.get_buffer("recent").copy_(torch.tensor([3.0, 2.0, 1.0]))
    best = copies(stage.learners[2].method.perception)
    stage.finish()
    assert all(torch.equal(tensor, best[name]) for name, tensor in made.perception.state_dict().items())


def test_the_best_encoder_has_the_lowest_running_loss(digits: ImageSplits, fabric: Fabric) -> None:
    stage = EncoderStage(setting(digits, fabric, features=replace(FEATURES, restarts=2)), "features", 0, 0)
    first = step(stage, fabric, 0.0)["loss"]
    recent = stage.state.get_buffer("recent").clone()
    assert first == pytest.approx(float(recent.min()))
    second = step(stage, fabric, 0.5)["loss"]
    moved = stage.state.get_buffer("recent")
    losses = 2.0 * moved - recent  # of two steps the plain mean
    assert second == pytest.approx(float(losses[int(moved.argmin())]), rel=1e-3)
    assert stage.best is stage.learners[int(moved.argmin())]


def test_restarts_of_a_later_stage_keep_the_encoder(digits: ImageSplits, fabric: Fabric) -> None:
    stage = EncoderStage(setting(digits, fabric, a=FEATURES, b=replace(FEATURES, restarts=2)), "b", 1, 2)
    one, other = (learner.method.perception.encoder for learner in stage.learners)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    projectors = [next(learner.method.projector.parameters()) for learner in stage.learners]
    assert not torch.equal(*projectors)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_an_encoder_goes_on_with_the_clusters_of_the_stage_before(
    digits: ImageSplits, fabric: Fabric, temperature: float
) -> None:
    refine = replace(REFINE, constants={"temperature": temperature})
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, initial="kmeans", axes=0), c=refine)
    head = HeadStage(made, "b", 1, 2)
    head.begin(None)
    features = encode(made.perception, digits.test.images)
    expected = head.own_log_probabilities(features)
    head.finish()
    stage = EncoderStage(made, "c", 2, 4)
    stage.begin(head)
    found = stage.own_log_probabilities(features)
    assert expected is not None
    assert found is not None
    assert torch.allclose(found.exp(), expected.exp(), atol=1e-4)


@pytest.mark.parametrize("other", [{}, {"neighbours": 4}, {"axes": 2}])
def test_neighbours_that_a_head_stage_found_are_those_that_an_encoder_would_find(
    digits: ImageSplits, fabric: Fabric, other: dict[str, int]
) -> None:
    made = setting(digits, fabric, a=FEATURES, b=CLUSTERS, c=replace(REFINE, **{"axes": CLUSTERS.axes, **other}))
    head = HeadStage(made, "b", 1, 2)
    head.begin(None)
    head.finish()
    known = head.known_neighbours(made.recipe.stages["c"])
    assert (known is None) == bool(other)
    stage = EncoderStage(made, "c", 2, 4)
    stage.begin(head)
    settings = stage.settings
    expected = find_neighbours(stage.perception, stage.inputs, settings.neighbours, settings.axes)
    assert torch.equal(stage.state.get_buffer("neighbours").long(), expected)


def test_an_encoder_cannot_go_on_with_a_head_that_nobody_fitted(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(REFINE, views="augmentation"))
    before = EncoderStage(made, "a", 0, 0)
    before.finish()
    for earlier in (None, before):
        with pytest.raises(RecipeError, match="cannot go on with the head of the stage before") as caught:
            EncoderStage(made, "b", 1, 2).begin(earlier)
        assert caught.value.where == "stages.b.initial"


def test_clusters_of_another_number_do_not_reach_the_perception(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, clusters=14), c=replace(REFINE, clusters=14))
    stage = HeadStage(made, "b", 1, 2)
    stage.begin(None)
    stage.finish()
    assert stage.head is not None
    assert stage.head.out_features == 14
    assert made.perception(digits.test.images[:3]).shape == (3, 10)
    EncoderStage(made, "c", 2, 4).begin(stage)  # and yet the next stage can go on with them


def test_samples_stay_around_the_points(fabric: Fabric) -> None:
    points = load_images("moons")
    stage = EncoderStage(make_setting(POINTS, points, fabric), "features", 0, 0)
    stage.begin(None)
    sampler = stage.best.sampler
    assert sampler is not None
    start = sampler.buffer.clone()
    step(stage, fabric, 0.0)
    low, high = (float(bound) for bound in points.train.images[: POINTS.data.limit].aminmax())
    width = high - low
    assert bool((sampler.buffer >= low - 0.2 * width).all())
    assert bool((sampler.buffer <= high + 0.2 * width).all())
    assert int((sampler.buffer != start).any(1).sum()) == BATCH


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("axes", [6, 0])
def test_the_folded_head_equals_the_head_on_the_axes(
    digits: ImageSplits, fabric: Fabric, temperature: float, axes: int
) -> None:
    head = replace(CLUSTERS, axes=axes, restarts=1, constants={"temperature": temperature})
    made = setting(digits, fabric, a=FEATURES, b=head)
    stage = HeadStage(made, "b", 1, 2)
    stage.begin(None)
    stage.finish()
    width = encode(made.perception, digits.train.images[:2]).shape[1]
    features = 3.0 * torch.randn(40, width)  # any, not only those of images
    on_axes = (features.double() @ stage.state.get_buffer("axes").double()).numpy()
    weight, bias = (parameter.detach().double().numpy() for parameter in stage.heads[0].parameters())
    logits = (on_axes @ weight.T + bias) / temperature
    assert stage.head is made.perception.head
    assert stage.head is not None
    found = stage.head(features).detach().double().numpy()
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())


def gedi_loss(first: np.ndarray, second: np.ndarray) -> float:
    """INV + PRIOR of two views' logits, with a uniform prior."""
    p1, p2 = (np.exp(z - z.max(1, keepdims=True)) for z in (first, second))
    p1, p2 = p1 / p1.sum(1, keepdims=True), p2 / p2.sum(1, keepdims=True)
    invariance = -((p2 * np.log(p1)).sum(1) + (p1 * np.log(p2)).sum(1)).mean() / 2
    return float(invariance - (np.log(p1.mean(0)).mean() + np.log(p2.mean(0)).mean()) / 2)


def test_of_heads_side_by_side_the_one_with_the_lowest_loss_is_kept(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, restarts=4))
    stage = HeadStage(made, "b", 1, 2)
    stage.begin(None)
    with torch.no_grad():
        for head in stage.heads:  # apart enough for the choice of views not to matter
            head.weight.mul_(3.0)
    neighbours = stage.state.get_buffer("neighbours").long()
    losses = []
    for head in stage.heads:
        logits = head(stage.features).detach().double().numpy()
        losses.append(np.mean([gedi_loss(logits, logits[neighbours[:, k]]) for k in range(neighbours.shape[1])]))
    order = np.argsort(losses)
    assert losses[order[1]] - losses[order[0]] > 0.02
    assert stage.best_head() is stage.heads[int(order[0])]


def test_a_collapse_is_told_in_words_and_by_name(digits: ImageSplits, fabric: Fabric) -> None:
    stage = HeadStage(setting(digits, fabric, clusters=StageRecipe(objective="gedi", trains="head")), "clusters", 0, 0)
    stage.begin(None)
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.zero_()
    line, _ = stage.measure({"loss": 1.0})
    assert len(line["warnings"]) == len(line["symptoms"])
    (sentence,) = [text for text in line["warnings"] if text.startswith("uniform saddle: ")]
    told = line["symptoms"][line["warnings"].index(sentence)]
    assert told == {"name": "uniform saddle", "diagnostic": "mutual_information"}


def test_a_head_stage_leaves_the_encoder_alone(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=CLUSTERS)
    before = copies(made.perception.encoder)
    stage = HeadStage(made, "b", 1, 2)
    stage.begin(None)
    step(stage, fabric, 0.0)
    stage.measure({"loss": 1.0})
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.perception.encoder.state_dict().items())


def test_neighbours_are_the_nearest_by_cosine(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, axes=0, neighbours=3))
    stage = HeadStage(made, "b", 1, 2)
    stage.begin(None)
    features = encode(made.perception, stage.inputs).double().numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    third = np.sort(similarity, 1)[:, -3]
    found = np.take_along_axis(similarity, stage.state.get_buffer("neighbours").long().numpy(), 1)
    assert bool((found >= third[:, None] - 1e-5).all())


def test_own_clusters_are_those_of_the_stage_before(fabric: Fabric) -> None:
    """GEDI's own clusters are linear in the features, so that a head can say the same."""
    points = load_images("moons")
    recipe = replace(
        POINTS,
        stages={
            "features": replace(POINTS.stages["features"], restarts=1, constants={"temperature": 0.2}),
            "clusters": replace(CLUSTERS, initial="previous", epochs=0, axes=0),
        },
    )
    made = make_setting(recipe, points, fabric)
    before = EncoderStage(made, "features", 0, 0)
    before.begin(None)
    before.finish()
    stage = HeadStage(made, "clusters", 1, 2)
    stage.begin(before)
    features = encode(made.perception, stage.inputs)
    expected, found = (each.own_log_probabilities(features) for each in (before, stage))
    assert expected is not None
    assert found is not None
    assert float((expected.exp() - found.exp()).abs().max()) < 0.05
    assert float(expected.exp().amax(1).std()) > 1e-3  # it says something


def test_own_clusters_need_a_distribution_of_as_many(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, initial="previous"))
    falcon = EncoderStage(made, "a", 0, 0)  # has twelve clusters of its own
    simclr = EncoderStage(make_setting(with_objective("simclr"), digits, fabric), "features", 0, 0)
    for before in (None, falcon, simclr):
        with pytest.raises(RecipeError, match="the stage before has no distribution over 10 clusters") as caught:
            HeadStage(made, "b", 1, 2).begin(before)
        assert caught.value.where == "stages.b.initial"


@pytest.mark.parametrize("name", ["simclr", "vicreg", "falcon", "byol", "dino", "dissl", "generative"])
def test_only_gedi_trains_a_head_by_itself(digits: ImageSplits, fabric: Fabric, name: str) -> None:
    # As wide as there are clusters, so that nothing else is in the way.
    head = replace(CLUSTERS, objective=name, output=10, constants={"epsilon": 1e-3} if name == "falcon" else {})
    if name == "generative":
        head = replace(CLUSTERS, constants={"generative": 1.0})
    made = setting(digits, fabric, a=FEATURES, b=head)
    with pytest.raises(RecipeError, match="cannot train a linear clustering head by itself") as caught:
        HeadStage(made, "b", 1, 2)
    assert caught.value.where == "stages.b.objective"


# -- shared ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "batch", "right"), [(96, 1, False), (33, 2, False), (32, 2, True), (33, 3, True), (96, 96, True)]
)
def test_no_batch_may_be_smaller_than_the_objective_can_use(
    digits: ImageSplits, fabric: Fabric, images: int, batch: int, right: bool
) -> None:
    recipe = with_objective("simclr")
    recipe = replace(
        recipe,
        data=replace(recipe.data, limit=images),
        stages={"features": replace(FEATURES, batch_size=batch), "clusters": CLUSTERS},
    )
    made = make_setting(recipe, digits, fabric)
    if right:
        EncoderStage.make_objective(made, "features")
    else:
        with pytest.raises(RecipeError, match="simclr needs batches of at least 2") as caught:
            EncoderStage.make_objective(made, "features")
        assert caught.value.where == "stages.features.batch_size"


def test_more_neighbours_than_images_are_refused(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=replace(CLUSTERS, neighbours=DIGITS.data.limit))
    with pytest.raises(RecipeError, match="96 images do not have 96 neighbours each") as caught:
        HeadStage.make_objective(made, "b")
    assert caught.value.where == "stages.b.neighbours"


def test_neighbours_are_picked_at_random_from_the_own_ones() -> None:
    neighbours = torch.arange(20).reshape(5, 4)
    rows = torch.tensor([3, 0, 3]).repeat(200)
    picked = pick(neighbours, rows)
    assert bool((picked // 4 == rows).all())
    assert set(picked.tolist()) == {0, 1, 2, 3, 12, 13, 14, 15}


def test_looking_draws_no_random_numbers_and_changes_no_statistics(digits: ImageSplits, fabric: Fabric) -> None:
    made = setting(digits, fabric, a=FEATURES, b=CLUSTERS)
    made.perception.train()
    before, state = copies(made.perception), torch.get_rng_state()
    looks = [look_at(made.perception, digits.train.images[:20], made.recipe.augmentation, 5) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(looks[0].views, looks[1].views)
    assert not torch.equal(looks[0].views[:, 0], looks[0].views[:, 1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.perception.state_dict().items())
    assert made.perception.training


def test_own_random_numbers_depend_on_the_seed_alone() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.rand(3)
        with own_random_numbers(seed, torch.device("cpu")):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_constants_of_a_recipe_reach_the_steps(digits: ImageSplits, fabric: Fabric) -> None:
    recipe: PretrainRecipe = with_objective("falcon")
    stage = EncoderStage(make_setting(recipe, digits, fabric), "features", 0, 0)
    assert int(stage.objective.get_buffer("batch_size")) == BATCH
    losses = step(stage, fabric, 0.0)
    assert losses.keys() == {"loss", "invariance", "prior"}
    assert losses["loss"] == pytest.approx(losses["invariance"] + losses["prior"], rel=1e-5)
