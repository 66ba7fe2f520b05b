"""Rows of a table become queries: columns are matched with variables, text with answers, and what does not fit is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from given_data import ADDITION, program, rows

from nesy_gedi.data import ImageSet, ImageSplits, Labels
from nesy_gedi.data.image_sets import GivenQueries, Observations
from nesy_gedi.errors import DataError, RecipeError
from nesy_gedi.training.planning import plan
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, PretrainingRecipe, Recipe
from nesy_gedi.training.task import Task

IMAGES = ImageSet(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), {})
SUMS = [("0",), ("7",), ("18",)]
WORDS = """
nn(sign_net, [X], S, [stop, 'no entry']) :: sign(X, S).
nn(digit_net, [X], Y, [0..3]) :: digit(X, Y).
read(X, Y, S, [A, B], N) :- sign(X, S), digit(X, A), digit(Y, B), N is A * 0.5.
"""
TOLD = """
nn(digit_net, [X], Y, [0..4]) :: digit(X, Y).
nn(told_net, [T], N, [0..2]) :: told(T, N).
at_least(X, T, Answer) :- digit(X, A), told(T, N), A + N > 5, Answer = more.
at_least(X, T, Answer) :- digit(X, A), told(T, N), A + N =< 5, Answer = less.
"""


def index(count: int, inputs: int = 2) -> torch.Tensor:
    return torch.arange(count * inputs).view(count, inputs) % len(IMAGES)


def table(
    train: Observations, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = (), images: ImageSet = IMAGES
) -> ImageSplits:
    return ImageSplits("mine", images, images, GivenQueries(inputs, outputs, "sums.csv", train, None, train))


def sums(values: list[tuple[str, ...]], **more: tuple[str, ...]) -> ImageSplits:
    return table(rows(index(len(values)), values), **more)


def task_of(text: str = ADDITION, query: str = "addition(X, Y, Sum)", **recipe: object) -> Task:
    return Task(program(text), Recipe(query=query, **recipe))  # type: ignore[arg-type]


def test_columns_without_names_go_by_order() -> None:
    queries = task_of().test_queries(sums(SUMS))
    assert queries.index.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert queries.answers.tolist() == [0, 7, 18]
    assert queries.observed.shape == (3, 0)


def test_columns_with_names_stand_in_any_order() -> None:
    images = sums(SUMS, inputs=("Y", "X"), outputs=("Sum",))
    assert task_of().test_queries(images).index.tolist() == [[1, 0], [3, 2], [5, 4]]


def test_values_are_those_of_the_other_variables_in_the_order_of_the_query() -> None:
    task = task_of(TOLD, "at_least(X, T, Answer)", networks={"told_net": NetworkRecipe(observed=True)})
    queries = task.test_queries(table(rows(index(3, 1), [("2", "more"), ("0", "less"), ("1", "less")])))
    assert [task.reasoner.answers[k] for k in queries.answers] == ["more", "less", "less"]
    assert queries.observed.tolist() == [[2], [0], [1]]
    named = table(rows(index(1, 1), [("less", "1")]), inputs=("X",), outputs=("Answer", "T"))
    queries = task.test_queries(named)
    assert (task.reasoner.answers[int(queries.answers)], queries.observed.tolist()) == ("less", [[1]])


@pytest.mark.parametrize("written", ["7", "07", "7.0", " 7", "+7", "7e0", "7.", ".7e1"])
def test_a_number_is_read_in_any_notation(written: str) -> None:
    assert task_of().test_queries(sums([(written,)])).answers.tolist() == [7]


@pytest.mark.parametrize(
    "row",
    [
        ("'no entry'", "[2, 1]", "1.0"),
        ("no entry", "[2,1]", "1"),
        ("no  entry", "[ 2 ,1 ]", "1.00"),
    ],
)
def test_terms_are_read_as_people_write_them(row: tuple[str, ...]) -> None:
    task = task_of(WORDS, "read(X, Y, S, L, N)")
    queries = task.test_queries(table(rows(index(1), [row])))
    assert task.reasoner.answers[int(queries.answers)] == "'no entry',[2, 1],1.0"


@pytest.mark.parametrize("written", ["2-1-3", "2 - 1 - 3", " 2 -1- 3 "])
def test_blanks_around_operators_say_nothing(written: str) -> None:
    text = "nn(digit_net, [X], Y, [0..9]) :: digit(X, Y). placed(X, 2-1-3) :- digit(X, 0). placed(X, 1-2-3) :- digit(X, 1)."
    task = task_of(text, "placed(X, Places)")
    queries = task.test_queries(table(rows(index(1, 1), [(written,)])))
    assert task.reasoner.answers[int(queries.answers)] == "2-1-3"


@pytest.mark.parametrize(
    ("images", "where", "message", "hint"),
    [
        (sums([("7",), ("19",), ("x",)]), "sums.csv:3", "cannot derive the answer 19 (the first of 2", "did you mean"),
        (sums([("",)]), "sums.csv:2", "the answer that is empty", "valid: 0"),
        (sums(SUMS, inputs=("X", "Z"), outputs=("Sum",)), "sums.csv", "the input column Z is no input", "valid: X, Y"),
        (sums(SUMS, inputs=("X", "Y"), outputs=("sum",)), "sums.csv", "value column sum", "did you mean Sum?"),
        (sums(SUMS, inputs=("X", "X"), outputs=("Sum",)), "sums.csv", "two columns are named X", "leave one out"),
        (sums([("7", "8")]), "sums.csv", "2 value columns, but addition(X, Y, Sum) has 1: Sum", "inputs come first"),
        (sums([("7",), ("7", "8")]), "sums.csv:3", "2 values, the rows before it have 1", "correct the row"),
        (table(rows(index(2, 3), SUMS[:2])), "sums.csv", "3 input columns, but", "inputs come first"),
        (table(rows(index(2, 1), SUMS[:2]), inputs=("X",)), "sums.csv", "no input column Y", "add it"),
        (table(rows(torch.tensor([[0, 30]]), SUMS[:1])), "sums.csv:2", "an input that is not there", "correct"),
        (table(rows(index(0), [])), "sums.csv", "no test row", "give some rows"),
    ],
)
def test_what_does_not_fit_is_named(images: ImageSplits, where: str, message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        task_of().test_queries(images)
    assert caught.value.where == where
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_values_of_an_input_that_is_not_observed() -> None:
    images = table(rows(index(1, 1), [("2", "more")]), inputs=("X",), outputs=("T", "Answer"))
    with pytest.raises(DataError, match="column T holds values, but is an input of at_least") as caught:
        task_of(TOLD, "at_least(X, T, Answer)").test_queries(images)
    assert "--set networks.told_net.observed=true" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("3", "more"), "the value of T is 3, outside its domain"),
        (("0", "more"), "the program never derives the answer more where T = 0"),
    ],
)
def test_a_value_that_cannot_be_is_named(row: tuple[str, ...], message: str) -> None:
    task = task_of(TOLD, "at_least(X, T, Answer)", networks={"told_net": NetworkRecipe(observed=True)})
    with pytest.raises(DataError) as caught:
        task.test_queries(table(rows(index(2, 1), [("2", "more"), row])))
    assert (caught.value.where, caught.value.message) == ("sums.csv:3", message)


# -- splits ------------------------------------------------------------------------------------------------------------

MANY = sums([(str(k % 19),) for k in range(100)])


def test_a_tenth_is_drawn_for_validation() -> None:
    splits = task_of(seed=4).queries(MANY)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (90, 10, 100)
    answers = sorted([*splits.train.answers.tolist(), *splits.validation.answers.tolist()])
    assert answers == sorted(k % 19 for k in range(100))
    assert splits.given
    assert splits.pool is MANY.train
    again, other = (task_of(seed=seed).queries(MANY).validation.answers for seed in (4, 5))
    assert torch.equal(again, splits.validation.answers)
    assert not torch.equal(other, splits.validation.answers)


def test_a_recipe_takes_some_of_the_rows() -> None:
    splits = task_of(data=DataRecipe(train=20, validation=30, test=7)).queries(MANY)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 30, 7)
    assert splits.test.answers.tolist() == list(range(7))
    assert len(task_of(data=DataRecipe(train=1000)).queries(MANY).train) == 90


def test_validation_rows_of_the_data_are_used_as_they_are() -> None:
    assert MANY.given is not None
    given = replace(MANY.given, validation=rows(index(3), SUMS))
    splits = task_of().queries(replace(MANY, given=given))
    assert (len(splits.train), splits.validation.answers.tolist()) == (100, [0, 7, 18])


def test_one_row_is_too_few() -> None:
    with pytest.raises(DataError, match="one row is too few"):
        task_of().queries(sums(SUMS[:1]))


def test_no_queries_are_drawn_from_a_support() -> None:
    with pytest.raises(RecipeError, match=r"sums\.csv says which inputs stand together") as caught:
        task_of(data=DataRecipe(support=("0 0",))).queries(MANY)
    assert caught.value.where == "data.support"


def test_no_further_answers_are_asked_for() -> None:
    task = task_of(method="clusters", pretraining=PretrainingRecipe(ask=3))
    with pytest.raises(RecipeError, match="there are no further ones to ask for"):
        plan(task, task.queries(MANY))


# -- images without labels ---------------------------------------------------------------------------------------------


def test_queries_are_not_drawn_from_images_without_labels() -> None:
    with pytest.raises(DataError, match="cannot answer queries about what digit_net should see: no image is labelled"):
        task_of().queries(ImageSplits("bare", IMAGES, IMAGES))


@pytest.mark.parametrize("labels", [{}, {"class": Labels((), torch.full((30,), -1))}])
def test_nobody_knows_a_symbol(labels: dict[str, Labels]) -> None:
    images = ImageSet(IMAGES.images, labels)
    assert task_of().symbol_map("digit_net", images) is None
    assert task_of().symbols("digit_net", images).tolist() == [-1] * 30


def test_some_symbols_are_known() -> None:
    told = torch.full((30,), -1)
    told[:4] = torch.tensor([2, 0, 1, 2])
    images = ImageSet(IMAGES.images, {"class": Labels(("5", "no digit", "3"), told)})
    assert task_of().symbols("digit_net", images)[:6].tolist() == [3, 5, -1, 3, -1, -1]


def test_a_network_may_say_that_nothing_is_known_of_it() -> None:
    images = ImageSet(IMAGES.images, {"colour": Labels(("red", "blue"), torch.arange(30) % 2)})
    with pytest.raises(RecipeError, match="no attribute class") as caught:
        task_of().symbols("digit_net", images)
    assert 'attribute = ""' in (caught.value.hint or "")
    bare = task_of(networks={"digit_net": NetworkRecipe(attribute="")})
    assert bare.symbols("digit_net", images).tolist() == [-1] * 30
