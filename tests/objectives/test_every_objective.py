"""What holds for every objective."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from objective_cases import CASES, WIDTH, Case, constant_outputs, random_outputs
from torch import Tensor

from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.objectives.objective import Objective, Pair

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
SWAV = {"swav", "swav, queue"}  # its target depends on the projection without gradient


def mapped(outputs: dict[str, Pair], change: Callable[[Tensor], Tensor]) -> dict[str, Pair]:
    return {name: (change(first), change(second)) for name, (first, second) in outputs.items()}


def differentiable(outputs: dict[str, Pair]) -> dict[str, Pair]:
    return mapped(outputs, lambda x: x.detach().clone().requires_grad_(True))


def state_of(objective: Objective) -> dict[str, Tensor]:
    return copy.deepcopy(objective.state_dict())


def assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert torch.equal(values, second[name]), name


def test_every_registered_objective_is_tested_here() -> None:
    assert {type(case.make()) for case in CASES.values()} == set(OBJECTIVES.values())


@every
def test_the_loss_is_the_sum_of_finite_scalar_terms(case: Case) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    terms = copy.deepcopy(objective).terms(**outputs)
    assert terms
    assert all(term.shape == () and term.dtype == torch.float64 and term.isfinite() for term in terms.values())
    torch.testing.assert_close(objective(**outputs), sum(terms.values()))


@pytest.mark.parametrize("name", [name for name in CASES if name not in SWAV])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    case = CASES[name]
    objective = case.make().eval()
    outputs = random_outputs(objective, n=5)
    learning = [x.requires_grad_(True) for output in case.learns for x in outputs[output]]

    def loss(*values: Tensor) -> Tensor:
        pairs = {output: (values[2 * k], values[2 * k + 1]) for k, output in enumerate(case.learns)}
        return objective(**{**outputs, **pairs})

    assert torch.autograd.gradcheck(loss, learning)


@every
def test_gradient_reaches_both_views_of_what_learns_and_nothing_else(case: Case) -> None:
    objective = case.make()
    outputs = differentiable(random_outputs(objective))
    objective(**outputs).backward()
    for name, pair in outputs.items():
        for view in pair:
            reached = view.grad is not None and bool((view.grad.abs() > 0).any())
            assert reached == (name in case.learns), name


@every
def test_the_views_may_change_places(case: Case) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    swapped = {name: pair if name == "energy" else pair[::-1] for name, pair in outputs.items()}
    expected = copy.deepcopy(objective)(**outputs)
    torch.testing.assert_close(objective(**swapped), expected)


@every
def test_the_order_of_the_batch_does_not_matter(case: Case) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    order = torch.randperm(8)
    expected = copy.deepcopy(objective)(**outputs)
    torch.testing.assert_close(objective(**mapped(outputs, lambda x: x[order])), expected)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.columns])
def test_the_names_of_clusters_or_dimensions_do_not_matter(name: str) -> None:
    objective = CASES[name].make()
    outputs = random_outputs(objective)
    order = torch.tensor([2, 0, 3, 1])
    expected = copy.deepcopy(objective)(**outputs)
    torch.testing.assert_close(objective(**mapped(outputs, lambda x: x[:, order])), expected)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_outputs_have_finite_losses_and_gradients(case: Case, dtype: torch.dtype) -> None:
    objective = case.make()
    signs = random_outputs(objective)
    outputs = differentiable(mapped(signs, lambda x: (6e4 * x.sign()).to(dtype)))
    loss = objective(**outputs)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    if dtype == torch.float16 and objective.name == "vicreg":
        return  # its gradient grows with the embeddings, and has no place in float16
    assert all(bool(view.grad.isfinite().all()) for name in case.learns for view in outputs[name])


@every
def test_half_precision_outputs_lose_no_more_than_their_rounding(case: Case) -> None:
    objective = case.make()
    rounded = mapped(random_outputs(objective), lambda x: x.to(torch.bfloat16))
    expected = copy.deepcopy(objective)(**mapped(rounded, lambda x: x.double()))
    torch.testing.assert_close(objective(**rounded).double(), expected, rtol=1e-4, atol=1e-5)


@every
def test_autocast_changes_nothing(case: Case) -> None:
    objective = case.make()
    outputs = mapped(random_outputs(objective), lambda x: x.float())
    expected = copy.deepcopy(objective)(**outputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective(**outputs), expected)


@every
def test_outputs_of_zeros_have_a_finite_loss_and_gradient(case: Case) -> None:
    objective = case.make()
    row = torch.zeros(objective.width or WIDTH, dtype=torch.float64)
    outputs = differentiable(constant_outputs(objective, row))
    loss = objective(**outputs)
    loss.backward()
    assert loss.isfinite()
    assert all(bool(view.grad.isfinite().all()) for name in case.learns for view in outputs[name])


@every
def test_the_state_continues_exactly(case: Case) -> None:
    objective, restored = case.make(), case.make()
    for _ in range(3):
        objective(**random_outputs(objective))
    restored.load_state_dict(state_of(objective))
    for _ in range(2):
        outputs = random_outputs(objective)
        assert torch.equal(objective(**outputs), restored(**outputs))
    assert_same_state(objective.state_dict(), restored.state_dict())


@every
def test_evaluation_leaves_the_state_alone(case: Case) -> None:
    objective = case.make().eval()
    before = state_of(objective)
    objective(**random_outputs(objective))
    assert_same_state(objective.state_dict(), before)


@every
def test_training_draws_no_random_numbers(case: Case) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    before = torch.get_rng_state()
    objective(**outputs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.make().clusters])
@pytest.mark.parametrize("n", [1, 7])
def test_log_probabilities_are_normalised_and_each_row_is_its_own(name: str, n: int) -> None:
    objective = CASES[name].make()
    projection = random_outputs(objective, n=9)["projection"][0]
    found = objective.log_probabilities(projection[:n])
    assert found.shape == (n, objective.clusters)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(found, objective.log_probabilities(projection)[:n])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.make().clusters])
def test_a_projection_of_another_width_has_no_log_probabilities(name: str) -> None:
    with pytest.raises(DataError, match=rf"expected \(n, {WIDTH}\)"):
        CASES[name].make().log_probabilities(torch.zeros(3, WIDTH + 1))


@pytest.mark.parametrize("name", ["simclr", "byol", "simsiam", "barlow_twins", "vicreg", "cissl"])
def test_without_clusters_there_are_no_log_probabilities(name: str) -> None:
    objective = CASES[name].make()
    assert objective.clusters is None
    with pytest.raises(UsageError, match=f"{name}: has no cluster distribution"):
        objective.log_probabilities(torch.zeros(3, WIDTH))


@every
def test_only_objectives_with_a_teacher_have_its_momentum(case: Case) -> None:
    objective = case.make()
    path = [objective.momentum(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    if "momentum" in objective.takes:
        assert path == sorted(path)
        assert path[0] == objective.ema
        assert path[2] == pytest.approx((1 + path[0]) / 2)
        assert path[3] == 1.0
    else:
        assert path == [None] * 4


@every
@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan")])
def test_progress_is_a_share(case: Case, progress: float) -> None:
    with pytest.raises(UsageError, match="progress cannot be"):
        case.make().schedule(progress)


BAD_PAIRS = {
    "expected at least 2": lambda a, b: (a[:1], b[:1]),
    "two of the same shape": lambda a, b: (a, b[:-1]),
    "not a pair of float tensors": lambda a, b: (a, b.long()),
    "same shape": lambda a, b: (a[None], b[None]),
}


@every
@pytest.mark.parametrize("message", BAD_PAIRS)
def test_malformed_outputs_are_refused(case: Case, message: str) -> None:
    objective = case.make()
    outputs = {name: BAD_PAIRS[message](*pair) for name, pair in random_outputs(objective).items()}
    with pytest.raises(DataError, match=message) as caught:
        objective(**outputs)
    assert caught.value.where == objective.name
    assert caught.value.hint


def test_one_tensor_is_not_a_pair() -> None:
    with pytest.raises(DataError, match="not a pair"):
        CASES["simclr"].make()(projection=torch.zeros(8, WIDTH))


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_and_named(case: Case, value: float) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    last = objective.takes[-1]
    outputs[last][1][3, 2] = value
    with pytest.raises(DataError, match=f"{objective.name}: {last} holds values that are not finite"):
        objective(**outputs)


@every
def test_missing_and_unknown_outputs_are_refused(case: Case) -> None:
    objective = case.make()
    outputs = random_outputs(objective)
    with pytest.raises(UsageError, match="does not take embedding"):
        objective(**outputs, embedding=outputs[objective.takes[0]])
    missing = objective.takes[-1]
    del outputs[missing]
    with pytest.raises(UsageError, match=f"{missing} is missing"):
        objective(**outputs)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.make().width])
def test_outputs_of_another_width_are_refused(name: str) -> None:
    objective = CASES[name].make()
    outputs = mapped(random_outputs(objective), lambda x: x[:, 1:])
    with pytest.raises(DataError, match=f"is {WIDTH - 1} wide, expected {WIDTH}"):
        objective(**outputs)


@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if set(case.make().takes) > {"projection"} - {"energy"}]
)
def test_outputs_of_different_batches_are_refused(name: str) -> None:
    objective = CASES[name].make()
    outputs = random_outputs(objective)
    last = objective.takes[-1]
    outputs[last] = tuple(x[:-1] for x in outputs[last])
    if last == "energy":
        assert objective(**outputs).isfinite()
    else:
        with pytest.raises(DataError, match=f"{last} has 7 rows, expected 8"):
            objective(**outputs)


BAD_SETTINGS = [
    ("gedi", {"clusters": 1}, "clusters cannot be 1, expected a whole number at least 2"),
    ("gedi", {"clusters": 2.5}, "clusters cannot be 2.5"),
    ("gedi", {"clusters": 3, "invariance": -1.0}, "invariance cannot be -1, expected a number at least 0"),
    ("gedi", {"clusters": 3, "generative": float("nan")}, "generative cannot be nan"),
    ("gedi", {"clusters": 3, "prior_weight": float("inf")}, "prior_weight cannot be inf"),
    ("gedi", {"clusters": 3, "temperature": 0.0}, "temperature cannot be 0, expected a number above 0"),
    ("falcon", {"dimension": 0, "codes": 4, "batch_size": 8}, "dimension cannot be 0"),
    ("falcon", {"dimension": 4, "codes": 1, "batch_size": 8}, "clusters cannot be 1"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 1}, "batch_size cannot be 1"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 8, "epsilon": 0.25}, "epsilon cannot be 0.25"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 8, "epsilon": 0.0}, "epsilon cannot be 0"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 8, "beta": -1.0}, "beta cannot be -1"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 8, "seed": -1}, "seed cannot be -1"),
    ("falcon", {"dimension": 4, "codes": 4, "batch_size": 8, "form": "l3"}, "did you mean l2"),
    ("swav", {"dimension": 4, "prototypes": 1}, "clusters cannot be 1"),
    ("swav", {"dimension": 4, "prototypes": 3, "temperature": -0.1}, "temperature cannot be -0.1"),
    ("swav", {"dimension": 4, "prototypes": 3, "epsilon": 0.0}, "epsilon cannot be 0"),
    ("swav", {"dimension": 4, "prototypes": 3, "iterations": 0}, "iterations cannot be 0"),
    ("swav", {"dimension": 4, "prototypes": 3, "queue": -1}, "queue cannot be -1"),
    ("dino", {"clusters": 1}, "clusters cannot be 1"),
    ("dino", {"clusters": 3, "student_temperature": 0.0}, "student_temperature cannot be 0"),
    ("dino", {"clusters": 3, "teacher_temperature": 0.0}, "teacher_temperature cannot be 0"),
    ("dino", {"clusters": 3, "first_teacher_temperature": 0.0}, "first_teacher_temperature cannot be 0"),
    ("dino", {"clusters": 3, "warm_up": 1.5}, "warm_up cannot be 1.5"),
    ("dino", {"clusters": 3, "centre_momentum": 1.0}, "centre_momentum cannot be 1, expected a number at least 0 and"),
    ("dino", {"clusters": 3, "ema": 1.1}, "ema cannot be 1.1"),
    ("simclr", {"temperature": 0.0}, "temperature cannot be 0"),
    ("byol", {"ema": -0.1}, "ema cannot be -0.1"),
    ("barlow_twins", {"redundancy": -1.0}, "redundancy cannot be -1"),
    ("vicreg", {"invariance": -1.0}, "invariance cannot be -1"),
    ("vicreg", {"variance": -1.0}, "variance cannot be -1"),
    ("vicreg", {"covariance": -1.0}, "covariance cannot be -1"),
    ("dissl", {"clusters": 1}, "clusters cannot be 1"),
    ("dissl", {"clusters": 3, "teacher_temperature": 0.0}, "teacher_temperature cannot be 0"),
    ("dissl", {"clusters": 3, "student_temperature": 0.0}, "student_temperature cannot be 0"),
    ("dissl", {"clusters": 3, "maximality": -1.0}, "maximality cannot be -1"),
    ("dissl", {"clusters": 3, "invariance": -1.0}, "invariance cannot be -1"),
    ("cissl", {"temperature": 0.0}, "temperature cannot be 0"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD_SETTINGS)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        OBJECTIVES[name](**settings)
    assert caught.value.where == name or settings.get("form")
    assert caught.value.hint
