"""Goals that differ in their images alone: copied, and equal to what would have been derived."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tolerances import EXACT

from nesy_gedi.logic import renaming
from nesy_gedi.logic.problog_engine import Engine
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.renaming import MOST_SLOTS, Renaming

DIGIT = "nn(net, [X], D, [0..3]) :: digit(X, D).\n"

PROGRAMS = {
    "products": (DIGIT + "p(X, Y, S) :- digit(X, A), digit(Y, B), S is A * B.\nq(A, B, C, S, T) :- p(A, B, S), p(B, C, T).",
                 "q(A, B, C, S, T)"),
    "the same image twice": (DIGIT + "p(X, Y, S) :- digit(X, A), digit(Y, B), S is A - B.\n"
                             "q(A, B, S, T) :- p(A, B, S), p(A, A, T).", "q(A, B, S, T)"),
    "images compared": (DIGIT + "same(X, Y, yes) :- X == Y. same(X, Y, no) :- X \\== Y.\n"
                        "p(X, Y, S) :- same(X, Y, S), digit(X, 1). p(X, Y, none) :- \\+ digit(X, 1), digit(Y, _).\n"
                        "q(A, B, C, S, T, U) :- p(A, B, S), p(B, C, T), p(C, C, U).", "q(A, B, C, S, T, U)"),
    "noise of an image": (DIGIT + "0.2::noisy(X). 0.3::broken.\n"
                          "p(X, D) :- digit(X, D), \\+ noisy(X), \\+ broken. p(X, none) :- noisy(X). p(X, none) :- broken.\n"
                          "q(A, B, S, T) :- p(A, S), p(B, T).", "q(A, B, S, T)"),
    "learned": (DIGIT + "t(0.2)::flip(X); t(0.3)::keep(X).\np(X, D) :- keep(X), digit(X, D). p(X, 9) :- \\+ keep(X).\n"
                "q(A, B, S, T) :- p(A, S), p(B, T).", "q(A, B, S, T)"),
    "open results": (DIGIT + "p(X, f(X, D)) :- digit(X, D), D > 1.\nq(A, B, S) :- p(A, f(A, D)), p(B, f(B, E)), S is D + E.",
                     "q(A, B, S)"),
    "circular": (DIGIT + "e(X, Y) :- digit(X, A), digit(Y, B), A < B.\nin(Y, [Y|_]). in(Y, [_|Ys]) :- in(Y, Ys).\n"
                 "r(X, Y, _) :- e(X, Y). r(X, Z, Ys) :- in(Y, Ys), r(X, Y, Ys), e(Y, Z).\n"
                 "q(A, B, C, yes) :- r(A, C, [A, B, C]), r(B, C, [B, A, C]).\n"
                 "q(A, B, C, no) :- \\+ r(A, B, [A, B, C]), digit(C, 0).", "q(A, B, C, S)"),
}  # fmt: skip


def reasoner(name: str) -> Reasoner:
    text, form = PROGRAMS[name]
    return Reasoner(Program(text), form)


def answers(made: Reasoner) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_p = {
        slot: torch.randn(3, 4, generator=generator, dtype=torch.float64).log_softmax(1)
        for slot in sorted({item.slots[0] for item in made.inputs})
    }
    return dict(zip(made.answers, made(log_p).exp().T.detach(), strict=True))


@pytest.mark.parametrize("name", PROGRAMS)
def test_copies_say_what_would_have_been_derived(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[bool] = []
    look_up = Renaming.results_like

    def counted(self: Renaming, goal: Any, target: Any) -> Any:
        found = look_up(self, goal, target)
        copied.append(found is not None)
        return found

    monkeypatch.setattr(Renaming, "results_like", counted)
    own = answers(reasoner(name))
    assert any(copied)
    monkeypatch.setattr(Renaming, "results_like", lambda *_: None)
    derived = answers(reasoner(name))
    assert own.keys() == derived.keys()
    for answer, p in derived.items():
        torch.testing.assert_close(own[answer], p, atol=EXACT, rtol=0.0)


def steps(text: str, form: str, monkeypatch: pytest.MonkeyPatch) -> int:
    taken = 0
    evaluate = Engine.eval

    def counted(self: Engine, *args: Any, **options: Any) -> Any:
        nonlocal taken
        taken += 1
        return evaluate(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "eval", counted)
        Reasoner(Program(text), form)
    return taken


PAIRS = DIGIT + "p(X, Y, S) :- digit(X, A), digit(Y, B), S is A * B.\nq(A, B, C, D, S, T) :- p(A, B, S), p(C, D, T)."


def test_a_goal_is_derived_once_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    one = steps(PAIRS.replace("p(C, D, T)", "T = S, digit(C, 0), digit(D, 0)"), "q(A, B, C, D, S, T)", monkeypatch)
    two = steps(PAIRS, "q(A, B, C, D, S, T)", monkeypatch)
    # Seven products of the first pair ask for those of the second, a fact for each; its sixteen sums are not computed again.
    assert two - one < 16


@pytest.mark.parametrize("rule", ["X @< Y", "sort([X, Y], [X, _])"])
def test_where_the_order_of_names_may_matter_every_goal_is_derived(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Any] = []
    look_up = Renaming.results_like

    def kept(self: Renaming, goal: Any, target: Any) -> Any:
        if (found := look_up(self, goal, target)) is not None:
            copied.append(goal[0])
        return found

    monkeypatch.setattr(Renaming, "results_like", kept)
    text = DIGIT + f"p(X, Y, first) :- {rule}, digit(X, 1).\np(X, Y, S) :- digit(X, 0), digit(Y, S).\n"
    Reasoner(Program(text + "q(A, B, S, T) :- p(A, B, S), p(B, A, T)."), "q(A, B, S, T)")
    assert "p" not in copied


def test_goals_about_many_images_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    shape = renaming._shape

    def counted(term: Any, slots: dict[str, int], variables: dict[int | None, int]) -> Any:
        found = shape(term, slots, variables)
        seen.append(len(slots))
        return found

    monkeypatch.setattr(renaming, "_shape", counted)
    bits = "nn(net, [X], D, [0, 1]) :: bit(X, D).\nodd([], 0).\nodd([X|Xs], P) :- bit(X, D), odd(Xs, Q), P is (D + Q) mod 2."
    names = ", ".join(f"X{k}" for k in range(3 * MOST_SLOTS))
    made = Reasoner(Program(bits), f"odd([{names}], P)")
    assert len(made.inputs) == 3 * MOST_SLOTS
    assert max(seen) == MOST_SLOTS + 1


def test_goals_inside_findall_are_copied_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # findall/3 grounds its goal into a formula of its own.
    text = (
        "nn(m, [X], Y, [0, 1]) :: digit(X, Y).\nnn(b, [X]) :: odd(X).\n:- use_module(library(lists)).\n"
        "q(X, Y, K) :- odd(X), odd(Y), findall(I, (member(I, [X, Y]), digit(I, 1), odd(I)), M), length(M, K).\n"
    )
    made = Reasoner(Program(text), "q(X, Y, K)")
    log_p = {
        ("m", "X"): torch.tensor([[0.9, 0.1]], dtype=torch.float64).log(),
        ("m", "Y"): torch.tensor([[0.4, 0.6]], dtype=torch.float64).log(),
        ("b", "X"): torch.tensor([[0.7, 0.3]], dtype=torch.float64).log(),
        ("b", "Y"): torch.tensor([[0.2, 0.8]], dtype=torch.float64).log(),
    }
    both = 0.3 * 0.8
    expected = [both * 0.9 * 0.4, both * (0.1 * 0.4 + 0.9 * 0.6), both * 0.1 * 0.6]
    assert made(log_p)[0].exp().tolist() == pytest.approx(expected, abs=EXACT)
