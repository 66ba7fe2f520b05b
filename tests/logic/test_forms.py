"""Query forms: which variables are images, which are the answer."""

from __future__ import annotations

import pytest

from nesy_gedi.errors import UsageError
from nesy_gedi.logic.forms import SLOT, network_arguments, read_form
from nesy_gedi.logic.program import Program

NETWORKS = """
:- use_module(library(lists)).
nn(net, [I], D, [0..2]) :: digit(I, D).
nn(flag, [I]) :: set(I).
"""


def slots(rules: str, form: str) -> tuple[str, ...]:
    found = read_form(Program(NETWORKS + rules), form)
    assert not set(found.slots) & set(found.outputs)
    return found.slots


@pytest.mark.parametrize(
    ("rules", "form", "expected"),
    [
        pytest.param("s(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.", "s(A, B, C)", "AB", id="plain"),
        pytest.param("s(S, X) :- digit(X, S).", "s(S, X)", "X", id="answer first"),
        pytest.param("", "digit(X, D)", "X", id="neural predicate itself"),
        pytest.param("", "set(X)", "X", id="no output"),
        pytest.param("s(X, R) :- d(X, R).\nd(X, R) :- digit(X, R).", "s(X, R)", "X", id="through a rule"),
        pytest.param(
            "s([], 0).\ns([X|T], S) :- digit(X, A), s(T, R), S is A + R.", "s([A, B, C], S)", "ABC", id="list"
        ),
        pytest.param(
            "s([], R, R).\ns([X|T], Q, R) :- digit(X, A), P is Q + A, s(T, P, R).", "s([A, B], 0, S)", "AB", id="acc"
        ),
        pytest.param(
            "odd(X, R) :- even(X, R).\neven(X, R) :- set(X), odd(X, R).\nodd(_, n).", "odd(X, R)", "X", id="mutual"
        ),
        pytest.param("h(L, D) :- member(X, L), digit(X, D).", "h([A, B], D)", "AB", id="member"),
        pytest.param(
            "h(L, N) :- findall(X, (member(X, L), set(X)), F), length(F, N).", "h([A, B], N)", "AB", id="findall"
        ),
        pytest.param("h(X, R) :- (set(X), R = a ; R = b).", "h(X, R)", "X", id="disjunction"),
        pytest.param("h(X, no) :- \\+ set(X).", "h(X, R)", "X", id="negation"),
        pytest.param("h(X, R) :- (set(X) -> R = a ; R = b).", "h(X, R)", "X", id="if then else"),
        pytest.param("h(X, R) :- once(digit(X, R)).", "h(X, R)", "X", id="once"),
        pytest.param("h(X, R) :- call(digit(X, R)).", "h(X, R)", "X", id="call"),
        pytest.param("h(P, R) :- P = pair(X, _), digit(X, R).", "h(pair(A, B), R)", "AB", id="unification"),
        pytest.param("h(P, R) :- P =.. [_, X], digit(X, R).", "h(f(A), R)", "A", id="univ"),
        pytest.param(
            "nn(n, [X], Y, [a, b]) :: first([X|_], Y).", "first([A, B], R)", "AB", id="structure in a neural head"
        ),
        pytest.param("nn(n, [X], Y, [a, b]) :: first(L, Y) :- L = [X|_].", "first([A, B], R)", "AB", id="neural body"),
        pytest.param("nn(n, [X, Y], R, [a, b]) :: same(R, X, Y).", "same(R, A, B)", "AB", id="two inputs"),
        pytest.param("0.3::h(X) :- digit(X, 1).", "h(X)", "X", id="probabilistic rule"),
        pytest.param("0.3::h(X, a); 0.4::h(X, b) :- digit(X, 1).", "h(X, R)", "X", id="annotated disjunction"),
        pytest.param("h(X, R) :- digit(X, D), name(D, R).\nname(0, zero).", "h(X, R)", "X", id="lookup of the answer"),
        pytest.param("h(N, R) :- name(N, R).\nname(0, zero).", "h(N, R)", "", id="no network"),
    ],
)
def test_slots_are_found(rules: str, form: str, expected: str) -> None:
    assert slots(rules, form) == tuple(expected)


def test_slots_and_outputs_keep_the_order_of_the_form() -> None:
    program = Program(NETWORKS + "s(Q, X, R, Y) :- digit(X, Q), digit(Y, R).")
    form = read_form(program, "s(Q, Second, R, First)")
    assert form.slots == ("Second", "First")
    assert form.outputs == ("Q", "R")


def test_a_variable_in_two_places_is_one_slot() -> None:
    form = read_form(Program(NETWORKS + "s(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B."), "s(X, X, S)")
    assert form.slots == ("X",)
    assert str(form.goal().args[0]) == str(form.goal().args[1])


def test_the_goal_has_slots_as_constants_and_outputs_free() -> None:
    program = Program(NETWORKS + "s([], 0).\ns([X|T], S) :- digit(X, A), s(T, R), S is A + R.")
    goal = read_form(program, "s([A, B], S).").goal()
    assert [str(argument) for argument in goal.args] == [f"[{SLOT}(A), {SLOT}(B)]", "S"]


def test_network_arguments_by_position() -> None:
    program = Program(NETWORKS + "s(X, S) :- digit(X, S).\nt(S, X) :- s(X, S).")
    assert network_arguments(program) == {("digit/2", 0), ("set/1", 0), ("s/2", 0), ("t/2", 1)}


class TestExplicitSlots:
    RULES = "h(K, R) :- image(K, X), digit(X, R).\nimage(1, i)."

    def test_replace_what_is_found(self) -> None:
        form = read_form(Program(NETWORKS + self.RULES), "h(K, R)", slots=["K"])
        assert (form.slots, form.outputs) == (("K",), ("R",))
        assert read_form(Program(NETWORKS + self.RULES), "h(K, R)", slots=[]).outputs == ("K", "R")

    def test_must_be_in_the_form(self) -> None:
        with pytest.raises(UsageError, match="Kay is not a variable of the query form") as raised:
            read_form(Program(NETWORKS + self.RULES), "h(K, R)", slots=["Kay"])
        assert "K" in str(raised.value.hint)


class TestRefused:
    def test_an_unknown_predicate_with_the_nearest(self) -> None:
        with pytest.raises(UsageError, match="no predicate additon/3") as raised:
            read_form(Program(NETWORKS + "addition(X, Y, 0)."), "additon(X, Y, S)")
        assert "did you mean addition/3?" in str(raised.value.hint)

    def test_another_number_of_arguments(self) -> None:
        with pytest.raises(UsageError, match="no predicate digit/3") as raised:
            read_form(Program(NETWORKS), "digit(X, Y, S)")
        assert "digit/2" in str(raised.value.hint)

    @pytest.mark.parametrize(
        "text", ["digit(X, D). set(X)", "digit(X, D) :- set(X)", "0.3::digit(X, D)", "\\+ set(X)", "X"]
    )
    def test_anything_but_one_goal(self, text: str) -> None:
        with pytest.raises(UsageError, match="one goal"):
            read_form(Program(NETWORKS), text)

    @pytest.mark.parametrize("text", ["digit(X, D", "digit(X,, D)", "'digit"])
    def test_a_syntax_error(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a query form") as raised:
            read_form(Program(NETWORKS), text)
        assert raised.value.where == text

    @pytest.mark.parametrize("text", ["digit(X, _)", "digit(_, D)", "digit(f(_), D)"])
    def test_a_variable_without_a_name(self, text: str) -> None:
        with pytest.raises(UsageError, match="without a name"):
            read_form(Program(NETWORKS), text)
