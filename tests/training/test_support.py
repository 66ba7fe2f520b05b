"""Reading a support: which tuples it stands for, and every way in which it can be wrong."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_images import classes_of, splits_of

from nesy_gedi.errors import AnswerError, NesyGediError, RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import support as support_module
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe
from nesy_gedi.training.support import has_seen_answer, outside_tuples
from nesy_gedi.training.task import Task

ADDITION = """
nn(digit_net, [X], Y, [0..4]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
TRIPLE = "nn(net, [X], S, [a, b, c]) :: s(X, S).\nsame(X, Y, Z, S, T, U) :- s(X, S), s(Y, T), s(Z, U)."
QUOTED = "nn(net, [X], S, ['no sign', 'it\\'s red', stop]) :: s(X, S).\nread(X, S) :- s(X, S)."
EVEN = ADDITION.replace("[0..4]", "[0..9]") + "even(X, Y, S) :- addition(X, Y, S), 0 is S mod 2.\n"
MIXED = """
nn(light_net, [L], C, [red, green]) :: light(L, C).
nn(sign_net, [S]) :: warning(S).
act(L, S, C, yes) :- light(L, C), warning(S).
act(L, S, C, no) :- light(L, C), \\+ warning(S).
"""


def task_of(text: str, query: str, *support: str, any_order: bool = False, **data: object) -> Task:
    what = DataRecipe(support=support, any_order=any_order, **data)  # type: ignore[arg-type]
    return Task(Program(text, name="own.pl"), Recipe(query, data=what))


def tuples_of(task: Task) -> set[tuple[int, ...]]:
    assert task.support is not None
    found = [tuple(row) for row in task.support.tolist()]
    assert len(found) == len(set(found))
    return set(found)


def test_nothing_is_restricted_unless_asked_for() -> None:
    assert task_of(ADDITION, "addition(X, Y, S)").support is None


def test_symbols_as_the_program_writes_them() -> None:
    assert tuples_of(task_of(ADDITION, "addition(X, Y, S)", "0 0", " 0  1", "4 2")) == {(0, 0), (0, 1), (4, 2)}
    quoted = task_of(QUOTED, "read(X, S)", "stop", "'it\\'s red'", "'no sign'")
    assert tuples_of(quoted) == {(quoted.program.networks["net"].index(s),) for s in quoted.program.networks["net"]}


def test_slot_by_slot_in_the_order_of_the_form() -> None:
    # Inputs are sorted by network; a support is not.
    task = task_of(MIXED.replace("light_net", "z_net"), "act(L, S, C, A)", "green true", "red false")
    assert [concept.network for concept in task.seen] == ["sign_net", "z_net"]
    assert [concept.slots for concept in task.concepts] == [("L",), ("S",)]
    assert tuples_of(task) == {(1, 1), (0, 0)}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=3))
def test_any_order_is_every_order_once(symbols: list[str]) -> None:
    task = task_of(TRIPLE, "same(X, Y, Z, S, T, U)", " ".join(symbols), any_order=True)
    assert tuples_of(task) == {tuple("abc".index(s) for s in order) for order in permutations(symbols)}


def test_any_order_moves_whole_images() -> None:
    text = """
    nn(shape_net, [X], S, [round, square]) :: shape(X, S).
    nn(colour_net, [X], C, [red, blue]) :: colour(X, C).
    look(X, S, C) :- shape(X, S), colour(X, C).
    pair(X, Y, S, C, T, D) :- look(X, S, C), look(Y, T, D).
    """
    task = task_of(text, "pair(X, Y, S, C, T, D)", "round red round blue", "square blue square blue", any_order=True)
    readers = [(concept.network, concept.slots[0]) for concept in task.concepts]
    assert readers == [("shape_net", "X"), ("colour_net", "X"), ("shape_net", "Y"), ("colour_net", "Y")]
    assert tuples_of(task) == {(0, 0, 0, 1), (0, 1, 0, 0), (1, 1, 1, 1)}


# -- wrong -------------------------------------------------------------------------------------------------------------

WRONG = [
    (ADDITION, ("0",), '"0" has 1 symbols; a tuple has 2: digit_net(X), digit_net(Y)', 'for example "0 0"'),
    (ADDITION, ("0 1 2",), '"0 1 2" has 3 symbols; a tuple has 2: digit_net(X), digit_net(Y)', "write for example"),
    (ADDITION, ("",), '"" has 0 symbols; a tuple has 2: digit_net(X), digit_net(Y)', "write for example"),
    (ADDITION, ("0 1", "0 44"), 'in "0 44", 44 is no symbol of digit_net(Y)', "did you mean 4? valid: 0, 1, 2, 3, 4"),
    (ADDITION, ("0 1", "2 2", "0 1"), '"0 1" is in the support twice', "give each tuple once"),
]


@pytest.mark.parametrize(("text", "support", "message", "hint"), WRONG)
def test_wrong_tuples(text: str, support: tuple[str, ...], message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        task_of(text, "addition(X, Y, S)", *support)
    assert caught.value.message == message
    assert hint in str(caught.value.hint)
    assert caught.value.where == "data.support"


def test_the_same_tuple_in_another_order() -> None:
    assert len(tuples_of(task_of(ADDITION, "addition(X, Y, S)", "0 1", "1 0"))) == 2
    with pytest.raises(RecipeError) as caught:
        task_of(ADDITION, "addition(X, Y, S)", "0 1", "1 0", any_order=True)
    assert caught.value.message == '"1 0" is in the support twice: "0 1" in another order'
    assert caught.value.hint == "give each tuple once, in one order"


def test_a_tuple_without_an_answer() -> None:
    assert len(tuples_of(task_of(EVEN, "even(X, Y, S)", "0 2", "1 3"))) == 2
    with pytest.raises(AnswerError) as caught:
        task_of(EVEN, "even(X, Y, S)", "0 2", "1 4")
    assert caught.value.message == "the program derives no answer when digit_net(X) = 1, digit_net(Y) = 4"
    assert caught.value.where == "data.support, even(X, Y, S)"


def test_images_that_cannot_change_places() -> None:
    with pytest.raises(RecipeError) as caught:
        task_of(MIXED, "act(L, S, C, A)", "red true", any_order=True)
    assert caught.value.message == "images of this query cannot change places: L by light_net; S by sign_net"
    assert caught.value.where == "data.any_order"


def test_too_many_orders() -> None:
    form = f"row([{', '.join(f'X{k}' for k in range(9))}], S)"
    text = ADDITION + "row([], 0).\nrow([X|Xs], S) :- digit(X, A), row(Xs, R), S is (A + R) mod 2.\n"
    assert len(tuples_of(task_of(text, form, "0 1 0 0 0 0 0 0 0"))) == 1
    with pytest.raises(RecipeError, match="9 images have too many orders"):
        task_of(text, form, "0 1 0 0 0 0 0 0 0", any_order=True)


def test_outside_of_nothing() -> None:
    with pytest.raises(RecipeError, match=r"nothing lies outside, because data\.support is empty") as caught:
        task_of(ADDITION, "addition(X, Y, S)", outside=10)
    assert caught.value.where == "data.outside"


def test_a_network_that_is_wrong_is_told_first() -> None:
    what = DataRecipe(support=("nothing",))
    with pytest.raises(NesyGediError, match="a network other_net that the program does not have"):
        Task(Program(ADDITION), Recipe("addition(X, Y, S)", data=what, networks={"other_net": NetworkRecipe()}))


# -- outside -----------------------------------------------------------------------------------------------------------


def test_outside_are_all_others_that_have_an_answer() -> None:
    task = task_of(EVEN, "even(X, Y, S)", "0 2", "1 3")
    assert task.support is not None
    others = {tuple(row) for row in outside_tuples(task, task.support).tolist()}
    even = {(a, b) for a in range(10) for b in range(10) if (a + b) % 2 == 0}
    assert others == even - {(0, 2), (1, 3)}


def test_outside_of_a_large_domain_is_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(ADDITION, "addition(X, Y, S)", "0 0", "0 1")
    assert task.support is not None
    every = outside_tuples(task, task.support)
    monkeypatch.setattr(support_module, "OUTSIDE_TUPLES", 24)
    some, again = (outside_tuples(task, task.support) for _ in range(2))
    assert torch.equal(some, again)
    assert 5 < len(some) < len(every) == 23
    assert {tuple(row) for row in some.tolist()} < {tuple(row) for row in every.tolist()}


def test_seen_answers_of_a_random_program_are_those_it_can_have() -> None:
    text = "0.001 :: slip.\n" + ADDITION.replace(
        "Sum is A + B.", "\\+ slip, Sum is A + B.\naddition(X, Y, S) :- digit(X, A), digit(Y, B), slip, S is A + B + 1."
    )
    task = task_of(text, "addition(X, Y, S)", "0 0")
    assert task.support is not None
    queries = task.label(splits_of(1, 1).test, torch.cartesian_prod(torch.arange(4), torch.arange(4)), 0)
    seen = has_seen_answer(task, task.support, queries)
    sums = [int(task.reasoner.answers[k]) for k in queries.answers.tolist()]
    assert seen.tolist() == [total in (0, 1) for total in sums]
    assert set(seen.tolist()) == {True, False}


def test_seen_answers_hold_what_is_observed() -> None:
    text = (
        ADDITION.replace("[0..4]", "[0..9]")
        + "nn(told_net, [T], D, [0..9]) :: told(T, D).\n"
        + "sum(X, Y, T, U) :- addition(X, Y, S), C is S mod 10, D is S // 10, told(T, C), told(U, D).\n"
    )
    data = DataRecipe(support=("1 2", "9 8"), test=2)
    task = Task(
        Program(text), Recipe("sum(X, Y, T, U)", data=data, networks={"told_net": NetworkRecipe(observed=True)})
    )
    test = task.test_queries(splits_of(10, 10))
    assert test.outside is not None
    assert test.outside.tuples == 98
    pairs = classes_of(test.outside.queries)
    assert test.outside.seen_answer.tolist() == [total in (3, 17) for total in pairs.sum(1).tolist()]
    assert replace(test, outside=None).outside is None
