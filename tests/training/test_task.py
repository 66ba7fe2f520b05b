"""Tasks: the program labels its own queries, and every label agrees with arithmetic written out here."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest
import torch
from small_runs import ADDITION, SMALL

from nesy_gedi.data import ImageSet, ImageSplits, Labels, Queries
from nesy_gedi.errors import AnswerError, DataError, NesyGediError, RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import task as task_module
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.task import Splits, Task, one_hot_log

DIGIT = "nn(digit_net, [X], D, [0..9]) :: digit(X, D).\n"


def bundled(name: str, **overrides: object) -> Task:
    found = find_program(name)
    return Task(Program.load(found.path), load_recipe(found.recipe, overrides=overrides))


def task_of(text: str, query: str, **recipe: object) -> Task:
    return Task(Program(text, name="own.pl"), replace(Recipe(query=query), **recipe))  # type: ignore[arg-type]


def parts(splits: Splits) -> list[Queries]:
    return [splits.train, splits.validation, splits.test]


def names(queries: Queries, attribute: str, column: int) -> list[str]:
    """The class of the image in a slot, query by query."""
    labels = queries.images.labels[attribute]
    return [labels.classes[k] for k in labels.index[queries.index[:, column]].tolist()]


def answers(task: Task, queries: Queries) -> list[str]:
    return [task.reasoner.answers[k] for k in queries.answers.tolist()]


# -- labels ------------------------------------------------------------------------------------------------------------


def test_addition(digits: ImageSplits) -> None:
    task = bundled("addition", **{"data.train": 900})
    splits = task.queries(digits)
    assert [len(queries) for queries in parts(splits)] == [900, 71, 180]
    for queries in parts(splits):
        x, y = names(queries, "class", 0), names(queries, "class", 1)
        assert answers(task, queries) == [str(int(a) + int(b)) for a, b in zip(x, y, strict=True)]
        assert queries.observed.shape == (len(queries), 0)


def test_multi_addition(digits: ImageSplits) -> None:
    task = bundled("multi_addition", **{"data.train": 300})
    assert (task.networks, task.slots) == (("digit_net",), ("X0", "X1", "Y0", "Y1"))
    for queries in parts(task.queries(digits)):
        value = torch.tensor([[int(n) for n in names(queries, "class", column)] for column in range(4)]).T
        total = (value * torch.tensor([1, 10, 1, 10])).sum(1)
        assert queries.observed.tolist() == torch.stack([total % 10, total // 10 % 10, total // 100], 1).tolist()
        assert set(answers(task, queries)) == {"true"}


def act(light: str, sign: str) -> str:
    if light == "red" or (light == "amber" and sign == "triangle"):
        return "stop"
    return "slow" if light == "amber" or sign == "triangle" else "go"


def test_crossing(shapes: ImageSplits) -> None:
    task = bundled("crossing")
    for queries in parts(task.queries(shapes)):
        light, sign = names(queries, "colour", 0), names(queries, "shape", 1)
        assert answers(task, queries) == [act(a, b) for a, b in zip(light, sign, strict=True)]


SOLID = {
    "circle": ("tomato", "sun", "pea"),
    "square": ("brick", "crate", "hedge"),
    "triangle": ("warning", "cone", "tree"),
}


def test_naming(shapes: ImageSplits) -> None:
    task = bundled("naming", **{"data.train": 500})
    assert (len(task.networks), task.slots) == (3, ("X",))
    hollow = {"circle": "ring", "square": "frame", "triangle": "tent"}
    for queries in parts(task.queries(shapes)):
        shape, colour, filled = (names(queries, attribute, 0) for attribute in ("shape", "colour", "filled"))
        expected = [
            SOLID[s][("red", "amber", "green").index(c)] if f == "true" else hollow[s]
            for s, c, f in zip(shape, colour, filled, strict=True)
        ]
        assert answers(task, queries) == expected


def test_an_image_may_stand_in_two_places(digits: ImageSplits) -> None:
    task = task_of(DIGIT + "double(X, S) :- add(X, X, S).\nadd(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.",
                   "double(X, S)")  # fmt: skip
    queries = task.test_queries(digits)
    assert task.slots == ("X",)
    assert answers(task, queries) == [str(2 * int(a)) for a in names(queries, "class", 0)]


NOISY = DIGIT + "0.2 :: step(0); 0.8 :: step(1).\nnext(X, N) :- digit(X, D), step(S), N is (D + S) mod 10."


def test_a_random_program_draws_from_its_distribution(digits: ImageSplits) -> None:
    task = task_of(NOISY, "next(X, N)")
    queries = task.queries(digits).train
    digit = queries.images.labels["class"].index[queries.index[:, 0]]
    steps = (torch.tensor([int(a) for a in answers(task, queries)]) - digit) % 10
    assert set(steps.tolist()) == {0, 1}
    assert float((steps == 1).double().mean()) == pytest.approx(0.8, abs=4 * (0.16 / len(queries)) ** 0.5)
    for value in range(10):  # and independently of the digit
        assert 0 < float((steps[digit == value] == 1).double().mean()) < 1


def test_answers_of_a_random_program_are_drawn_by_seed(digits: ImageSplits) -> None:
    index = torch.arange(100)[:, None]
    task = task_of(NOISY, "next(X, N)")
    one, again, other = (task.label(digits.train, index, seed).answers for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_where_a_random_program_may_fail_the_answers_that_exist_are_drawn(digits: ImageSplits) -> None:
    task = task_of(DIGIT + "0.01 :: awake.\nsay(X, D) :- digit(X, D), awake.", "say(X, D)")
    queries = task.test_queries(digits)
    assert answers(task, queries) == names(queries, "class", 0)


PARITY = DIGIT + "parity(X, Y, even) :- digit(X, A), digit(Y, B), A + B =\\= 7, 0 is (A + B) mod 2."


@pytest.mark.parametrize("batch", [4096, 3])
def test_an_answer_that_cannot_be_derived(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(task_module, "LABELLING_BATCH", batch)
    task = task_of(PARITY, "parity(X, Y, P)")
    labels = digits.train.labels["class"].index
    first = [int((labels == value).nonzero()[0]) for value in range(10)]
    fine = torch.tensor([[first[a], first[b]] for a, b in ((1, 3), (2, 2), (0, 8), (9, 9))])
    assert answers(task, task.label(digits.train, fine, 0)) == ["even"] * 4
    with pytest.raises(AnswerError) as caught:
        task.label(digits.train, torch.cat([fine, torch.tensor([[first[4], first[9]]]), fine]), 0)
    assert caught.value.message == "the program derives no answer when digit_net(X) = 4, digit_net(Y) = 9"
    assert caught.value.where == "own.pl, parity(X, Y, P)"
    with pytest.raises(AnswerError):
        task.queries(digits)


def test_an_observed_value_that_cannot_be(digits: ImageSplits) -> None:
    text = DIGIT + "nn(told_net, [T], D, [0..8]) :: told(T, D).\nsame(X, T) :- digit(X, D), told(T, D)."
    task = task_of(text, "same(X, T)", networks={"told_net": NetworkRecipe(observed=True)})
    with pytest.raises(AnswerError, match=re.escape("digit_net(X) = 9")):
        task.test_queries(digits)


# -- prediction --------------------------------------------------------------------------------------------------------

CARRY = (
    DIGIT
    + "nn(told_net, [T], D, [0..9]) :: told(T, D).\n"
    + "sum(X, Y, T, U) :- digit(X, A), digit(Y, B), S is A + B, C is S mod 10, D is S // 10, told(T, C), told(U, D)."
)


def test_observed_values_are_predicted_by_their_marginals() -> None:
    task = task_of(CARRY, "sum(X, Y, T, U)", networks={"told_net": NetworkRecipe(observed=True)})
    assert [item.slots for item in task.observed] == [("T",), ("U",)]
    log_p = torch.log_softmax(3 * torch.randn(50, 2, 10, generator=torch.Generator().manual_seed(0)).double(), 2)
    best, values = task.predict({"digit_net": log_p})
    assert best.tolist() == [0] * 50
    p = log_p.exp()
    low, high = torch.zeros(50, 10).double(), torch.zeros(50, 10).double()
    for a, b in product(range(10), range(10)):
        joint = p[:, 0, a] * p[:, 1, b]
        low[:, (a + b) % 10] += joint
        high[:, (a + b) // 10] += joint
    assert values.tolist() == torch.stack([low.argmax(1), high.argmax(1)], 1).tolist()
    assert len(values.unique(dim=0)) > 5


def test_prediction_needs_no_gradient_of_the_caller() -> None:
    task = task_of(CARRY, "sum(X, Y, T, U)", networks={"told_net": NetworkRecipe(observed=True)})
    with torch.no_grad():
        _, values = task.predict({"digit_net": one_hot_log(torch.tensor([[7, 8], [0, 3]]), 10, torch.float32)})
    assert values.tolist() == [[5, 1], [3, 0]]
    assert not values.requires_grad


def test_an_answer_is_predicted_by_its_probability() -> None:
    task = task_of(ADDITION, "addition(X, Y, Sum)")
    p = torch.softmax(2 * torch.randn(30, 2, 10, generator=torch.Generator().manual_seed(1)).double(), 2)
    sums = torch.zeros(30, 19).double()
    for a, b in product(range(10), range(10)):
        sums[:, a + b] += p[:, 0, a] * p[:, 1, b]
    best, values = task.predict({"digit_net": p.log()})
    assert [int(task.reasoner.answers[k]) for k in best.tolist()] == sums.argmax(1).tolist()
    assert values.shape == (30, 0)


def test_one_hot() -> None:
    log_p = one_hot_log(torch.tensor([[2, 0]]), 3, torch.float64)
    assert log_p.exp().tolist() == [[[0, 0, 1], [1, 0, 0]]]
    assert log_p.dtype == torch.float64


# -- which images ------------------------------------------------------------------------------------------------------


def used_images(queries: Queries) -> set[bytes]:
    return {queries.images.images[k].numpy().tobytes() for k in queries.index.unique().tolist()}


@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_is_in_two_splits(digits: ImageSplits, seed: int) -> None:
    splits = bundled("addition", seed=seed, **{"data.train": 0, "data.validation": 60}).queries(digits)
    train, validation, test = (used_images(queries) for queries in parts(splits))
    assert (len(splits.train), len(validation), len(test)) == ((1437 - 120) // 2, 120, 360)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(train) == 2 * len(splits.train)  # as many as use no training image twice


def test_the_seed_moves_everything_but_the_test_queries(digits: ImageSplits) -> None:
    one, other = (bundled("addition", seed=seed, **{"data.train": n}).queries(digits) for seed, n in ((0, 50), (1, 9)))
    assert torch.equal(one.test.images.images, other.test.images.images)
    assert torch.equal(one.test.index, other.test.index)
    assert torch.equal(one.test.answers, other.test.answers)
    assert not torch.equal(one.train.index[:9], other.train.index)
    assert used_images(one.validation) != used_images(other.validation)


def test_test_queries_of_a_random_program_are_the_same_too(digits: ImageSplits) -> None:
    one, other = (task_of(NOISY, "next(X, N)", seed=seed).test_queries(digits) for seed in (0, 1))
    assert torch.equal(one.answers, other.answers)


def test_a_smaller_domain_leaves_images_out(digits: ImageSplits) -> None:
    text = "nn(digit_net, [X], D, [3, 1, 7]) :: digit(X, D).\nread(X, D) :- digit(X, D)."
    task = task_of(text, "read(X, D)")
    assert task.symbol_map("digit_net", digits.train).symbol.tolist() == [-1, 1, -1, 0, -1, -1, -1, 2, -1, -1]
    splits = task.queries(digits)
    for queries in parts(splits):
        assert set(names(queries, "class", 0)) == {"1", "3", "7"}
        assert answers(task, queries) == names(queries, "class", 0)
    wanted = sum(int((digits.test.labels["class"].index == value).sum()) for value in (1, 3, 7))
    assert len(splits.test) == wanted


def test_too_few_images(digits: ImageSplits) -> None:
    few = ImageSplits("few", digits.train.subset(range(6)), digits.test)
    task = task_of(ADDITION, "addition(X, Y, Sum)", data=DataRecipe(validation=2))
    assert [len(queries) for queries in parts(task.queries(few))] == [1, 2, 180]
    with pytest.raises(DataError, match="6 images are too few: 6 for validation and 2 for a training query"):
        task_of(ADDITION, "addition(X, Y, Sum)", data=DataRecipe(validation=3)).queries(few)
    with pytest.raises(DataError, match="1 images cannot fill the 2 slots"):
        task.test_queries(ImageSplits("few", digits.train, digits.test.subset([0])))


# -- symbols -----------------------------------------------------------------------------------------------------------


def test_a_map_of_classes_to_symbols(shapes: ImageSplits) -> None:
    task = bundled("crossing")
    assert task.symbol_map("sign_net", shapes.train).symbol.tolist() == [0, 0, 1]
    assert task.symbol_map("light_net", shapes.train).symbol.tolist() == [0, 1, 2]
    shape = shapes.train.labels["shape"].index
    assert task.symbols("sign_net", shapes.train).tolist() == (shape == 2).long().tolist()


@pytest.mark.parametrize(
    ("network", "message", "hint"),
    [
        (NetworkRecipe(attribute="color"), "the images have no attribute color", "did you mean colour?"),
        (NetworkRecipe(), "the images have no attribute class", "valid: colour, filled, shape"),
        (NetworkRecipe("shape", ("true",)), "1 symbols for the 3 classes of shape", "circle, square, triangle"),
        (NetworkRecipe("shape", ("true", "false", "flase")), "flase is not in the domain", "did you mean false?"),
        (NetworkRecipe("shape", ("true",) * 3), "no class of shape is the symbol false", "classes = [...]"),
        (NetworkRecipe("colour"), "no class of colour is the symbol false", "red, amber, green"),
    ],
)
def test_symbols_that_do_not_fit(shapes: ImageSplits, network: NetworkRecipe, message: str, hint: str) -> None:
    task = task_of("nn(net, [X]) :: p(X).\nq(X, yes) :- p(X).\nq(X, no) :- \\+ p(X).", "q(X, A)",
                   networks={"net": network})  # fmt: skip
    with pytest.raises(RecipeError) as caught:
        task.queries(shapes)
    assert caught.value.message == message
    assert hint in str(caught.value.hint)
    assert str(caught.value.where).startswith("networks.net")


def test_attributes_are_checked_where_they_are_used() -> None:
    images = ImageSet(
        torch.zeros(4, 1, 8, 8, dtype=torch.uint8), {"class": Labels(("0", "1"), torch.tensor([0, 1] * 2))}
    )
    task = task_of(ADDITION, "addition(X, Y, Sum)")
    with pytest.raises(RecipeError, match="no class of class is the symbol 2"):
        task.queries(ImageSplits("two", images, images))


# -- programs and recipes that do not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "recipe", "message"),
    [
        (ADDITION, replace(SMALL, networks={"digits_net": NetworkRecipe()}), "a network digits_net that the program"),
        (ADDITION, replace(SMALL, query=""), "no query form"),
        (ADDITION, replace(SMALL, query="subtraction(X, Y, Z)"), "no predicate subtraction/3"),
        (ADDITION, replace(SMALL, slots=("W",)), "W is not a variable of the query form"),
        (ADDITION, replace(SMALL, seed=-1), "seed must be zero or more, not -1"),
        (ADDITION, replace(SMALL, networks={"digit_net": NetworkRecipe(observed=True)}), "no network perceives"),
        (
            "nn(pair_net, [X, Y], D, [a, b]) :: pair(X, Y, D).\nf(X, Y, D) :- pair(X, Y, D).",
            Recipe(query="f(X, Y, D)", networks={"pair_net": NetworkRecipe(observed=True)}),
            "pair_net reads X and Y: its values are not those of one variable",
        ),
    ],
)
def test_no_task(text: str, recipe: Recipe, message: str) -> None:
    with pytest.raises(NesyGediError) as caught:
        Task(Program(text), recipe)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["t", "type", "'my.net'", "training"])
def test_names_that_a_checkpoint_cannot_hold(name: str) -> None:
    with pytest.raises(RecipeError, match="a network that is trained cannot be named"):
        task_of(f"nn({name}, [X], D, [a, b]) :: p(X, D).\nq(X, D) :- p(X, D).", "q(X, D)")
