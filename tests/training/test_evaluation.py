"""Measuring: on networks whose every mistake is known, each figure is worked out by hand."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_runs import ADDITION
from torch import Tensor, nn

from nesy_gedi.data import ImageSet, Labels, Outside, Queries
from nesy_gedi.logic.program import Program
from nesy_gedi.training import evaluation
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import measure, perceive, validate
from nesy_gedi.training.recipe import NetworkRecipe, Recipe
from nesy_gedi.training.task import Task

CPU = torch.device("cpu")
CARRY = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
nn(told_net, [T], D, [0..9]) :: told(T, D).
sum(X, Y, T, U) :- digit(X, A), digit(Y, B), S is A + B, C is S mod 10, D is S // 10, told(T, C), told(U, D).
"""


class Reads(nn.Module):
    """Reads the number in an image's first pixel and calls it by ``names``, with some confidence."""

    def __init__(self, names: list[int], confidence: float = 0.91) -> None:
        super().__init__()
        self.names = torch.tensor(names)
        self.confidence = confidence
        self.modes: list[bool] = []
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        self.sizes.append(len(images))
        rest = (1 - self.confidence) / 9
        p = torch.full((len(images), 10), rest).scatter_(
            1, self.names[images[:, 0, 0, 0].long()][:, None], self.confidence
        )
        return p.log()


def numbers(count: int) -> ImageSet:
    """``count`` images of each number, which stands in their first pixel."""
    values = torch.arange(10).repeat(count)
    images = torch.zeros(len(values), 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = values.to(torch.uint8)
    return ImageSet(images, {"class": Labels(tuple("0123456789"), values)})


def set_up(
    text: str, query: str, names: list[int], slots: int, **recipe: object
) -> tuple[Task, nn.ModuleDict, Queries]:
    task = Task(Program(text), Recipe(query=query, **recipe))  # type: ignore[arg-type]
    index = torch.arange(60).view(-1, slots) * 7 % 30  # every image twice, neighbours far apart
    return task, nn.ModuleDict({"digit_net": Reads(names)}), task.label(numbers(3), index, 0)


TRUE_NAMES = list(range(10))
SWAPPED = [1, 0, *range(2, 10)]
MERGED = [0, 0, *range(2, 10)]


@pytest.fixture(params=[512, 30, 7, 1])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Nothing depends on the size of a batch."""
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", request.param)
    return int(request.param)


def test_all_right(batch: int) -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", TRUE_NAMES, 2)
    found = measure(task, networks, queries, CPU)
    assert found["queries"] == 30
    for key, value in (("answer_accuracy", 1), ("concept_accuracy", 1), ("aligned_concept_accuracy", 1), ("ami", 1)):
        assert found[key] == pytest.approx(value), key
    assert found["concept_ece"] == pytest.approx(1 - 0.91, abs=1e-6)
    assert found["networks"]["digit_net"]["confusion"] == (6 * torch.eye(10)).long().tolist()
    reads = networks["digit_net"]
    assert reads.modes == [False] * -(-30 // batch)  # type: ignore[comparison-overlap]
    assert sum(reads.sizes) == 60  # type: ignore[arg-type]


@pytest.mark.parametrize(("names", "aligned"), [(SWAPPED, 1.0), (MERGED, 0.9)])
def test_some_wrong(batch: int, names: list[int], aligned: float) -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", names, 2)
    called = torch.tensor(names)
    true = queries.images.labels["class"].index[queries.index]
    right = (called[true].sum(1) == true.sum(1)).double().mean()
    assert 0 < float(right) < 1
    found = measure(task, networks, queries, CPU)
    assert found["answer_accuracy"] == pytest.approx(float(right))
    assert validate(task, networks, queries, CPU)["answer_accuracy"] == pytest.approx(float(right))
    wrong = sum(k != name for k, name in enumerate(names))
    assert found["concept_accuracy"] == pytest.approx(1 - wrong / 10)
    assert found["aligned_concept_accuracy"] == pytest.approx(aligned)
    assert (found["ami"] == pytest.approx(1.0)) == (aligned == 1.0)
    assert found["concept_ece"] == pytest.approx(abs(1 - wrong / 10 - 0.91), abs=1e-6)
    confusion = found["networks"]["digit_net"]["confusion"]
    assert [row.index(6) for row in confusion] == names  # rows are true


def test_observed_values_count_all_together(batch: int) -> None:
    recipe = {"networks": {"told_net": NetworkRecipe(observed=True)}}
    task, networks, queries = set_up(CARRY, "sum(X, Y, T, U)", MERGED, 2, **recipe)
    called = torch.tensor(MERGED)[queries.images.labels["class"].index[queries.index]].sum(1)
    told = torch.stack([called % 10, called // 10], 1)
    right = (told == queries.observed).all(1)
    assert 0 < int(right.sum()) < int((told == queries.observed).any(1).sum())  # in some only one of two is right
    for found in (measure(task, networks, queries, CPU), validate(task, networks, queries, CPU)):
        assert found["answer_accuracy"] == pytest.approx(float(right.double().mean()))


def test_validation_loss_is_the_mean_over_queries(batch: int) -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", SWAPPED, 2)
    p = networks["digit_net"](queries.images.images).exp().double()
    losses = []
    for (x, y), column in zip(queries.index.tolist(), queries.answers.tolist(), strict=True):
        total = int(task.reasoner.answers[column])
        chance = sum(float(p[x, a] * p[y, total - a]) for a in range(10) if 0 <= total - a <= 9)
        losses.append(-math.log(chance))
    assert validate(task, networks, queries, CPU)["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_measuring_changes_nothing() -> None:
    task, _, queries = set_up(ADDITION, "addition(X, Y, S)", TRUE_NAMES, 2)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 10), nn.BatchNorm1d(10), nn.Dropout(0.5), nn.LogSoftmax(1))

    class Floats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.layers(images.float() / 255)
            return result

    networks = nn.ModuleDict({"digit_net": Floats()}).train()
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    random = torch.get_rng_state()
    first, second = measure(task, networks, queries, CPU), measure(task, networks, queries, CPU)
    validate(task, networks, queries, CPU)
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in networks.state_dict().items())
    assert all(parameter.grad is None for parameter in networks.parameters())


def test_gradients_stay_on_for_the_caller_between_batches() -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", TRUE_NAMES, 2)
    looks = evaluation._batches(networks, queries, lambda rows: perceive(task, networks, queries, rows, CPU))
    for _, log_p in looks:
        assert torch.is_grad_enabled()
        assert not log_p["digit_net"].requires_grad


def test_each_image_is_perceived_in_its_slot() -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", TRUE_NAMES, 2)
    rows = torch.tensor([4, 17, 2])
    seen = perceive(task, networks, queries, rows, CPU)["digit_net"]
    assert seen.shape == (3, 2, 10)
    assert seen.argmax(2).tolist() == queries.images.labels["class"].index[queries.index[rows]].tolist()


def test_means_over_networks() -> None:
    text = ADDITION.replace("digit(Y, B)", "number(Y, B)") + "nn(number_net, [X], Y, [0..9]) :: number(X, Y).\n"
    task = Task(Program(text), Recipe(query="addition(X, Y, S)"))
    queries = task.label(numbers(3), torch.arange(30)[:, None].repeat(1, 2), 0)
    networks = nn.ModuleDict({"digit_net": Reads(TRUE_NAMES), "number_net": Reads(MERGED, 0.64)})
    found = measure(task, networks, queries, CPU)
    assert found["networks"].keys() == {"digit_net", "number_net"}
    for key in ("concept_accuracy", "aligned_concept_accuracy", "ami", "concept_ece"):
        each = [figures[key] for figures in found["networks"].values()]
        assert each[0] != each[1]
        assert found[key] == pytest.approx(sum(each) / 2)


def test_outside_the_support(batch: int) -> None:
    task, networks, inside = set_up(ADDITION, "addition(X, Y, S)", MERGED, 2)
    pairs = torch.tensor([[0, 3], [2, 3], [1, 3], [1, 1], [0, 1]])  # images 0 and 1 are both read as 0
    queries = task.label(numbers(1), pairs, 0)
    seen = torch.tensor([True, False, True, False, False])
    found = measure(task, networks, replace(inside, outside=Outside(queries, 4, seen)), CPU)
    outside = found.pop("outside")
    assert found == measure(task, networks, inside, CPU)
    assert (outside["queries"], outside["tuples"], outside["answer_accuracy"]) == (5, 4, 2 / 5)
    assert outside["concept_accuracy"] == pytest.approx(6 / 10)
    some = outside.pop("seen_answers")
    assert (some["queries"], some["answer_accuracy"], some["concept_accuracy"]) == (2, 1 / 2, 3 / 4)
    assert some.keys() == outside.keys() - {"tuples"} == found.keys()
    assert measure(task, networks, replace(inside, outside=Outside(queries, 4, ~seen & seen)), CPU)["outside"][
        "seen_answers"
    ] is None  # fmt: skip


def test_what_is_undefined_is_none_and_left_out_of_means() -> None:
    text = ADDITION.replace("digit(Y, B)", "number(Y, B)") + "nn(number_net, [X], Y, [0..9]) :: number(X, Y).\n"
    task = Task(Program(text), Recipe(query="addition(X, Y, S)"))
    queries = task.label(numbers(3), torch.arange(30)[:, None].repeat(1, 2), 0)
    networks = nn.ModuleDict({"digit_net": Reads(TRUE_NAMES), "number_net": Reads(MERGED)})
    found = measure(task, networks, queries, CPU)
    assert [found["networks"][name]["error_auroc"] for name in networks] == [None, 0.5]
    assert found["error_auroc"] == 0.5
    networks["number_net"] = Reads(TRUE_NAMES)
    assert measure(task, networks, queries, CPU)["error_auroc"] is None


def test_details_of_a_known_network() -> None:
    task, networks, queries = set_up(ADDITION, "addition(X, Y, S)", SWAPPED, 2)
    found = measure(task, networks, queries, CPU)
    assert found["concept_gap"] == pytest.approx(0.2)
    assert found["concept_collapse"] == 0.0
    entropy = -0.91 * math.log(0.91) - 0.09 * math.log(0.01)
    assert found["concept_entropy"] == pytest.approx(entropy, abs=1e-6)
    assert found["marginal_divergence"] == pytest.approx(0.0, abs=1e-6)  # swapping keeps the frequencies
    learned = found["networks"]["digit_net"]["learned_map"]
    assert learned == {str(k): str(name) for k, name in enumerate(SWAPPED)}
    merged = measure(task, nn.ModuleDict({"digit_net": Reads(MERGED)}), queries, CPU)
    assert merged["concept_collapse"] == pytest.approx(0.1)
    # Zeros and ones are read as 0 with 0.91, all others as 0 with 0.01; nothing is ever read as 1 but with 0.01.
    seen = torch.tensor([0.2 * 0.91 + 0.8 * 0.01, 0.01, *[0.1 * 0.91 + 0.9 * 0.01] * 8]).double()
    assert merged["marginal_divergence"] == pytest.approx(float((seen * (seen / 0.1).log()).sum()), abs=1e-6)


def test_a_symbol_that_does_not_occur_has_no_reading() -> None:
    task, networks, _ = set_up(ADDITION, "addition(X, Y, S)", TRUE_NAMES, 2)
    queries = task.label(numbers(1), torch.tensor([[1, 2], [2, 2]]), 0)
    learned = measure(task, networks, queries, CPU)["networks"]["digit_net"]["learned_map"]
    assert [symbol for symbol, reading in learned.items() if reading is not None] == ["1", "2"]
    assert json.loads(json.dumps(learned)) == learned


def test_clock() -> None:
    clock = Clock()
    time.sleep(0.02)
    clock.lap("one")
    time.sleep(0.01)
    clock.start()
    clock.lap("two")
    clock.lap("one")
    assert 0.02 <= clock.seconds["one"] < 1
    assert clock.seconds["two"] < 0.01
    assert set(clock.seconds) == {"one", "two"}


def test_the_clock_waits_for_a_gpu_when_it_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    made: list[Event] = []

    class Event:
        """Reached a quarter of a second after the one before."""

        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            self.number = len(made)
            made.append(self)

        def record(self, stream: str) -> None:
            assert stream == "stream of cuda:1"

        def synchronize(self) -> None:
            waited.append(self.number)

        def elapsed_time(self, later: Event) -> float:
            assert waited  # not before the last has been reached
            return 250.0 * (later.number - self.number)

    def never(*_: Any) -> None:
        raise AssertionError("the clock waits for all that the GPU does")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", never)
    clock = Clock(torch.device("cuda:1"))
    for part in ("one", "two", "one"):
        clock.lap(part)
    assert waited == []
    assert clock.seconds == {"one": 0.5, "two": 0.25}
    assert waited == [3]
    clock.start()
    clock.lap("two")
    assert clock.seconds == {"one": 0.5, "two": 0.5}
    assert waited == [3, 5]
    Clock(CPU).lap("one")
    assert len(made) == 6
