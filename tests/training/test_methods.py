"""Methods: the heads and the teacher that each objective gets, and what a recipe may say about it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import RecipeError, UsageError
from nesy_gedi.networks.encoders import make_encoder
from nesy_gedi.networks.perception import Perception
from nesy_gedi.networks.projectors import SpatialMean
from nesy_gedi.objectives import OBJECTIVES, Gedi
from nesy_gedi.objectives.objective import Objective
from nesy_gedi.training.methods import Method, make_objective
from nesy_gedi.training.pretrain_recipe import StageRecipe

OUTPUT, CLUSTERS, CHANNELS = 16, 6, 8
STAGE = StageRecipe(batch_size=24, hidden=12, output=OUTPUT)


def objective(name: str, stage: StageRecipe = STAGE, **constants: Any) -> Objective:
    given = {"epsilon": 1e-3} | constants if name == "falcon" else constants
    changed = StageRecipe(**{**vars(stage), "constants": given})
    return make_objective(changed, name, CLUSTERS, 0, "stages.s")


def perception(features: int = 0) -> Perception:
    """Of 8x8 images; without features it returns a map of CHANNELS channels and several places."""
    encoder = make_encoder("conv", (1, 8, 8), features, width=CHANNELS // 2, trusted=False)
    width = features or math.prod(encoder.map_shape)  # type: ignore[arg-type]
    return Perception(encoder, nn.Linear(width, CLUSTERS), [str(k) for k in range(CLUSTERS)], image_shape=(1, 8, 8))


def method(name: str, features: int = 0, *, pool: bool = True, **constants: Any) -> Method:
    seen = perception(features)
    width = seen.features(torch.zeros(2, 1, 8, 8)).shape[1]
    return Method(seen, objective(name, **constants), width, STAGE.hidden, OUTPUT, pool=pool)


def pair(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, 8, 8), torch.rand(n, 1, 8, 8)


# -- parts -------------------------------------------------------------------------------------------------------------

NEEDS = {
    "gedi": set(),
    "falcon": set(),
    "swav": set(),
    "simclr": set(),
    "barlow_twins": set(),
    "vicreg": set(),
    "dino": {"momentum"},
    "byol": {"prediction", "momentum"},
    "simsiam": {"prediction"},
    "dissl": {"student"},
    "cissl": {"student"},
}


def test_every_objective_is_tested() -> None:
    assert NEEDS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.parametrize("features", [0, 10])
def test_each_part_is_there_exactly_where_the_objective_takes_it(name: str, features: int) -> None:
    made = method(name, features)
    there = {"prediction": made.predictor, "student": made.student, "momentum": made.teacher}
    assert {part for part, module in there.items() if module is not None} == NEEDS[name]
    outputs = made(*pair())
    assert outputs.keys() == set(made.objective.takes)
    width = made.objective.width or OUTPUT
    assert all(view.shape == (6, width) for both in outputs.values() for view in both)
    loss = made.objective(**outputs)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    frozen = {"perception.head.weight", "perception.head.bias"}
    learning = {n for n, p in made.named_parameters() if p.grad is not None}
    assert learning == {n for n, p in made.named_parameters() if p.requires_grad and n not in frozen}
    assert not any(n.startswith("teacher") for n in learning)


def test_outputs_belong_to_their_views() -> None:
    made = method("byol").eval()
    first, second = pair()
    outputs = made(first, second)
    for images, k in ((first, 0), (second, 1)):
        projected = made.project(made.perception.features(images))
        assert torch.allclose(outputs["prediction"][k], made.predictor(projected), atol=1e-6)  # type: ignore[misc]
        assert torch.allclose(outputs["momentum"][k], projected, atol=1e-6)  # the teacher begins as the student


def test_a_map_is_averaged_over_space_only_where_asked_for() -> None:
    images = torch.rand(5, 1, 8, 8)
    pooled, whole, narrow = method("gedi"), method("gedi", pool=False), method("gedi", 10)
    assert isinstance(pooled.pool, SpatialMean)
    assert pooled.projector.in_features == CHANNELS
    assert whole.projector.in_features == whole.perception.features(images).shape[1] > CHANNELS
    assert narrow.projector.in_features == 10  # narrow features are no map
    shape = pooled.perception.encoder.map_shape
    average = pooled.perception.features(images).unflatten(1, shape).mean((2, 3))  # type: ignore[arg-type]
    assert torch.allclose(pooled.project(pooled.perception.features(images)), pooled.projector(average), atol=1e-5)


# -- the teacher -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["byol", "dino"])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.999])
def test_the_teacher_is_the_exact_average_of_students(name: str, progress: float) -> None:
    made = method(name, ema=0.9).double()
    assert made.teacher is not None
    student = [*made.perception.parameters(), *made.projector.parameters()]
    expected = [parameter.detach().numpy().copy() for parameter in made.teacher.parameters()]
    assert all(np.array_equal(t, s.detach().numpy()) for t, s in zip(expected, student, strict=True))
    coefficient = 1.0 - (1.0 - 0.9) * (math.cos(math.pi * progress) + 1.0) / 2.0
    for _ in range(3):
        with torch.no_grad():
            for parameter in student:
                parameter.add_(torch.randn_like(parameter))
        made.update_teacher(progress)
        expected = [
            coefficient * t + (1.0 - coefficient) * s.detach().numpy() for t, s in zip(expected, student, strict=True)
        ]
        for found, average in zip(made.teacher.parameters(), expected, strict=True):
            np.testing.assert_allclose(found.detach().numpy(), average, rtol=1e-12, atol=1e-14)


def test_the_teacher_shares_nothing_with_the_student() -> None:
    made = method("byol")
    assert made.teacher is not None
    assert not any(parameter.requires_grad for parameter in made.teacher.parameters())
    own = {parameter.data_ptr() for parameter in made.teacher.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in [*made.perception.parameters(), *made.projector.parameters()])
    assert not any(both.requires_grad for both in made(*pair())["momentum"])


def test_without_a_teacher_there_is_nothing_to_update() -> None:
    made = method("simclr")
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.update_teacher(0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


# -- the head that is handed over --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "pool"), [(0, True), (0, False), (10, True)])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_own_head_is_the_distribution_of_gedi_on_the_encoders_features(
    features: int, pool: bool, temperature: float
) -> None:
    made = method("gedi", features, pool=pool, temperature=temperature).eval()
    seen = made.perception.features(torch.rand(5, 1, 8, 8))
    head = made.own_head()
    assert head is not None
    expected = made.objective.log_probabilities(made.project(seen))
    assert torch.allclose(torch.log_softmax(head(seen), 1), expected, atol=1e-5)


def test_others_have_no_linear_head() -> None:
    assert [name for name in OBJECTIVES if method(name).own_head() is not None] == ["gedi"]


# -- objectives of a stage ---------------------------------------------------------------------------------------------


def test_an_objective_is_made_from_its_stage() -> None:
    falcon = objective("falcon", beta=0.5)
    assert int(falcon.get_buffer("batch_size")) == STAGE.batch_size
    assert (falcon.clusters, falcon.width, getattr(falcon, "beta")) == (CLUSTERS, OUTPUT, 0.5)  # noqa: B009
    assert torch.equal(falcon.get_buffer("codes"), objective("falcon").get_buffer("codes"))
    swav = objective("swav", queue=7)
    assert (swav.clusters, swav.width, swav.get_buffer("queue").shape[1]) == (CLUSTERS, OUTPUT, 7)
    assert (objective("dino").clusters, objective("dissl").width) == (CLUSTERS, CLUSTERS)
    assert [objective(name).clusters for name in ("simclr", "byol", "simsiam", "vicreg")] == [None] * 4
    prior = StageRecipe(batch_size=24, prior=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1))
    gedi = make_objective(prior, "gedi", CLUSTERS, 0, "stages.s")
    assert isinstance(gedi, Gedi)
    assert gedi.prior.tolist() == pytest.approx(list(prior.prior))


@pytest.mark.parametrize(
    ("name", "constant", "nearest"),
    [("gedi", "invarience", "invariance"), ("byol", "emma", "ema"), ("falcon", "epsilom", "epsilon")],
)
def test_an_unknown_constant_is_told_the_nearest(name: str, constant: str, nearest: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} has no constant {constant}") as caught:
        objective(name, **{constant: 1.0})
    assert caught.value.where == "stages.s.constants"
    assert f"did you mean {nearest}?" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["batch_size", "codes", "seed", "dimension", "self"])
def test_what_the_stage_decides_is_no_constant(name: str) -> None:
    with pytest.raises(RecipeError, match=f"falcon has no constant {name}") as caught:
        objective("falcon", **{name: 3})
    assert name not in str(caught.value.hint).replace("did you mean", "").split("valid: ")[1].split(", ")


def test_an_objective_without_constants_says_so() -> None:
    with pytest.raises(RecipeError, match="simsiam has no constant width"):
        objective("simsiam", width=3)


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("falcon", {"constants": {"epsilon": 1 / CLUSTERS}}, "falcon: epsilon cannot be"),
        ("gedi", {"constants": {"temperature": 0.0}}, "gedi: temperature cannot be 0"),
        ("gedi", {"prior": (0.5, 0.6, 0.0, 0.0, 0.0, 0.0)}, "gedi: a prior that is not a distribution"),
        ("gedi", {"prior": (0.5, 0.5)}, r"gedi: a prior of shape \(2,\)"),
        ("simclr", {"prior": (0.5, 0.5)}, "simclr has no prior"),
    ],
)
def test_what_cannot_be_is_refused_with_its_stage(name: str, stage: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_objective(StageRecipe(**stage), name, CLUSTERS, 0, "stages.s")
    assert str(caught.value.where).startswith("stages.s")
    assert caught.value.hint
