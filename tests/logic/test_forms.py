"""Query forms: which variables are images, which are the answer, and what several goals ask together."""

from __future__ import annotations

import pytest

from nesy_gedi.errors import UsageError
from nesy_gedi.logic.forms import SLOT, network_arguments, read_form
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

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


SUMS = "s([], 0).\ns([X|T], S) :- digit(X, A), s(T, R), S is A + R.\nsquare(N, M) :- M is N * N.\n"


class TestSeveralGoals:
    @pytest.mark.parametrize(
        ("form", "slots", "outputs"),
        [
            pytest.param("digit(X, D), set(X)", "X", "D", id="one image, two networks"),
            pytest.param("digit(X, D), digit(Y, E)", "XY", "DE", id="two answers"),
            pytest.param("digit(X, D), digit(Y, D)", "XY", "D", id="a join"),
            pytest.param("digit(X, D), square(D, M)", "X", "DM", id="an answer that is read on"),
            pytest.param("digit(Y, D), s([X, Y, Z], S)", "YXZ", "DS", id="order of appearance"),
            pytest.param("s([A, B], S), s([B, C], T), set(D).", "ABCD", "ST", id="lists"),
            pytest.param("(digit(X, D), set(Y)), set(Z)", "XYZ", "D", id="in brackets"),
            pytest.param("set(X), set(Y)", "XY", "", id="no output"),
        ],
    )
    def test_slots_and_outputs(self, form: str, slots: str, outputs: str) -> None:
        found = read_form(Program(NETWORKS + SUMS), form)
        assert (found.slots, found.outputs, found.text) == (tuple(slots), tuple(outputs), form)

    def test_slots_may_be_named(self) -> None:
        form = read_form(Program(NETWORKS + SUMS), "digit(X, D), square(K, M)", slots=["X", "K"])
        assert (form.slots, form.outputs) == (("X", "K"), ("D", "M"))
        with pytest.raises(UsageError, match="N is not a variable"):
            read_form(Program(NETWORKS + SUMS), "digit(X, D), square(K, M)", slots=["N"])

    def test_one_goal_stands_for_all_by_a_rule(self) -> None:
        form = read_form(Program(NETWORKS + SUMS), "digit(X, D), s([X, Y], S)")
        (rule,) = form.rules()
        assert form.goal().signature == rule.head.signature
        assert [str(argument) for argument in form.goal().args] == [f"{SLOT}(X)", f"{SLOT}(Y)", "D", "S"]
        assert [str(argument) for argument in rule.head.args] == ["X", "Y", "D", "S"]
        assert str(rule.body) == "digit(X,D), s([X, Y],S)"

    def test_one_goal_needs_no_rule(self) -> None:
        form = read_form(Program(NETWORKS), "digit(X, D)")
        assert form.rules() == ()
        assert form.goal().signature == "digit/2"

    @pytest.mark.parametrize("name", ["'$query'", "'$\\'query'"])
    def test_the_rule_meets_no_predicate_of_the_program(self, name: str) -> None:
        program = Program(NETWORKS + f"{name}(X, 7) :- set(X).\n")
        assert Reasoner(program, "digit(X, D), digit(X, D)").answers == ("0", "1", "2")
        assert Reasoner(program, f"{name}(X, D), set(X)").answers == ("7",)


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
        ("text", "what"),
        [
            ("digit(X, D).\nset(X)", "several statements"),
            ("digit(X, D) :- set(X)", "a rule"),
            ("digit(X, D); set(X)", "a disjunction"),
            ("set(Y), (digit(X, D); set(X))", "digit(X,D); set(X) is a disjunction"),
            ("set(X) -> digit(X, D)", "an if-then"),
            ("\\+ set(X)", "a negation"),
            ("set(Y), \\+ set(X)", "a negation"),
            ("set(Y), not(set(X))", "a negation"),
            ("0.3::digit(X, D)", "no goal"),
            ("set(X), 0.3::digit(X, D)", "no goal"),
            ("X", "X is no goal"),
            ("set(X), Y", "Y is no goal"),
            ("set(X), 3", "3 is no goal"),
            ("set(X), [X]", "no goal"),
        ],
    )
    def test_anything_but_goals(self, text: str, what: str) -> None:
        with pytest.raises(UsageError, match="one goal or several joined by commas") as raised:
            read_form(Program(NETWORKS), text)
        assert what in raised.value.message
        assert raised.value.where == text
        assert raised.value.hint

    @pytest.mark.parametrize("text", ["", "  ", ".", "% digit(X, D)"])
    def test_nothing(self, text: str) -> None:
        with pytest.raises(UsageError, match="the query form is empty") as raised:
            read_form(Program(NETWORKS), text)
        assert raised.value.where
        assert "for example addition(X, Y, Sum)" in str(raised.value.hint)

    def test_an_unknown_predicate_among_several(self) -> None:
        with pytest.raises(UsageError, match="no predicate digt/2") as raised:
            read_form(Program(NETWORKS), "set(X), digt(X, D)")
        assert raised.value.where == "query form set(X), digt(X, D)"
        assert "did you mean digit/2?" in str(raised.value.hint)

    @pytest.mark.parametrize("text", ["digit(X, D", "digit(X,, D)", "'digit", "set(X),", "set(X), digit(Y, D"])
    def test_a_syntax_error(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a query form") as raised:
            read_form(Program(NETWORKS), text)
        assert raised.value.where == text

    @pytest.mark.parametrize("text", ["digit(X, _)", "digit(_, D)", "digit(f(_), D)", "set(X), digit(X, _)"])
    def test_a_variable_without_a_name(self, text: str) -> None:
        with pytest.raises(UsageError, match="without a name"):
            read_form(Program(NETWORKS), text)
