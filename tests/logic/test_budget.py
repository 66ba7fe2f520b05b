"""Budgets of exact inference: what goes past them is named, and what was being done."""

from __future__ import annotations

import time

import pytest
import torch
from worlds import new_formula

from nesy_gedi.errors import BudgetError
from nesy_gedi.logic import budget as budget_module
from nesy_gedi.logic.budget import WAYS_OUT, Budget, Watch
from nesy_gedi.logic.hybrid import extract_circuit
from nesy_gedi.logic.marginals import Marginals
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.structure import find_violations

NAIVE = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
number([], N, N).
number([X|Xs], Before, N) :- digit(X, D), Next is D + 10 * Before, number(Xs, Next, N).
addition(Xs, Ys, Sum) :- number(Xs, 0, A), number(Ys, 0, B), Sum is A + B.
"""
LONG = "addition([A0, A1, A2, A3], [B0, B1, B2, B3], Sum)"
SHORT = "addition([A0], [B0], Sum)"


def refused(text: str, form: str, limits: Budget) -> BudgetError:
    with pytest.raises(BudgetError) as raised:
        Reasoner(Program(text, name="sum.pl"), form, budget=limits)
    return raised.value


class TestGrounding:
    def test_a_naive_sum_of_long_numbers_ends_in_time(self) -> None:
        started = time.monotonic()
        error = refused(NAIVE, LONG, Budget(seconds=1.0))
        assert time.monotonic() - started < 10.0
        assert error.where == f"sum.pl, {LONG}"
        assert "went past the budget of 1 s" in error.message
        assert error.message.startswith("grounding number([")
        assert "multi_addition.pl" in str(error.hint)
        assert "--engine topk:3" in str(error.hint)

    def test_nodes(self) -> None:
        error = refused(NAIVE, SHORT, Budget(nodes=50))
        assert error.message == "grounding addition([A0], [B0], _) went past the budget of 50 nodes"

    def test_an_endless_recursion_ends(self) -> None:
        error = refused(
            "nn(net, [X], D, [0, 1]) :: bit(X, D).\np(X, N) :- M is N + 1, p(X, M).\nq(X, R) :- p(X, 0), bit(X, R).",
            "q(X, R)",
            Budget(seconds=0.5),
        )
        assert "grounding p(X, " in error.message

    def test_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = iter(float(step) * 1e9 for step in range(1_000_000))
        monkeypatch.setattr(budget_module, "_memory", lambda: next(taken))
        error = refused(NAIVE, "addition([A0, A1], [B0, B1], Sum)", Budget(gigabytes=2.0))
        assert "went past the budget of 2 GB" in error.message

    def test_memory_of_this_process(self) -> None:
        before = budget_module._memory()
        kept = torch.zeros(50_000_000)
        assert budget_module._memory() - before > 0.5 * kept.numel() * 4

    def test_a_program_of_a_million_rules_ends(self) -> None:
        # They are only read in time where the budget does not count reading; what is asked of them is not all.
        error = refused(
            "nn(net, [X], D, [0..9]) :: digit(X, D).\nstep(N, M) :- M is N + 1.\n"
            "walk(X, N, N) :- N >= 1000000.\nwalk(X, N, Z) :- N < 1000000, digit(X, _), step(N, M), walk(X, M, Z).\n"
            "q(X, Z) :- walk(X, 0, Z).",
            "q(X, Z)",
            Budget(seconds=1.0),
        )
        assert error.message.startswith("grounding ")

    def test_what_fits_is_answered(self) -> None:
        assert len(Reasoner(Program(NAIVE), SHORT, budget=Budget(nodes=10_000, seconds=60.0)).answers) == 19

    def test_plain_programs(self) -> None:
        with pytest.raises(BudgetError, match="grounding p"):
            answer_queries(Program("p(N) :- M is N + 1, p(M).\nquery(p(0))."), budget=Budget(seconds=0.3))

    def test_marginals(self) -> None:
        made = Reasoner(Program(NAIVE), SHORT)
        with pytest.raises(BudgetError, match="nodes"):
            Marginals(made, ["digit(A0, D)"], budget=Budget(nodes=5))


def test_what_is_compiled_is_named() -> None:
    formula = new_formula((2, 2, 2))
    one, two, three = (formula.literal(k, 1) for k in range(3))
    pairs = [formula.plain_and(pair) for pair in ([one, two], [two, three], [one, three])]
    root = formula.plain_or(pairs)
    violating = {violation.node for violation in find_violations(formula, [root])}
    assert violating
    with pytest.raises(BudgetError) as raised:
        extract_circuit(formula, [root], violating, Watch(Budget(nodes=1), "coins.pl, p(X)"))
    assert raised.value.where == "coins.pl, p(X)"
    assert raised.value.message == "branching on the values of choices went past the budget of 1 nodes"


def test_a_watch_counts_only_what_is_too_much() -> None:
    watch = Watch(Budget(nodes=3, seconds=60.0), "here", hint="do less")
    for _ in range(1000):
        watch.step(3, lambda: "this is not asked for")
    with pytest.raises(BudgetError) as raised:
        watch.step(4, lambda: "counting")
    assert str(raised.value) == "here: counting went past the budget of 3 nodes\nhint: do less"
    assert watch.rest().nodes == 3
    assert watch.rest().seconds < 60.0
    assert WAYS_OUT.endswith("--engine sample:1000")


@pytest.mark.soak
def test_ten_thousand_symbols() -> None:
    text = "nn(net, [X], S, [0..9999]) :: shows(X, S).\nparity(X, P) :- shows(X, S), P is S mod 2."
    made = Reasoner(Program(text), "parity(X, P)")
    given = torch.full((2, 10_000), 1e-4, dtype=torch.float64).log()
    assert made(given).exp().tolist() == [pytest.approx([0.5, 0.5])] * 2


@pytest.mark.parametrize("batch", [0, 1, 100_000])
def test_batches_of_any_size(batch: int) -> None:
    made = Reasoner(Program(NAIVE), SHORT)
    given = torch.zeros(batch, 2, 10).log_softmax(2).requires_grad_()
    found = made(given)
    assert found.shape == (batch, 19)
    found.sum().backward()
    assert given.grad is not None
    assert given.grad.shape == given.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reasoned_with_in_single(dtype: torch.dtype) -> None:
    made = Reasoner(Program(NAIVE), SHORT)
    given = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    given = given.log_softmax(2).to(dtype).requires_grad_()
    found = made(given)
    assert found.dtype == torch.float32
    found.logsumexp(1).sum().backward()
    assert given.grad is not None
    assert given.grad.dtype == dtype
