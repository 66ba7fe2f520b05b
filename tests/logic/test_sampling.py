"""Sampled worlds: the right ones, as often as they are probable."""

from __future__ import annotations

import pytest
import torch
from enumeration import Case, cases, enumerate_reasoner
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from reasoning import COLOURS, reasoner, rows
from scipy.stats import chi2
from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.logic import choices as choices_module
from nesy_gedi.logic.sampling import draw, sample_worlds

N = 1500
"""Worlds a row; each test below draws some hundred thousand."""

UNLIKELY = 1e-7
"""How improbable counts may be; there are thousands of rows, and their seeds are fixed."""

RAREST = 5.0
"""Worlds that are expected less often than this are counted together (Cochran's rule for the chi-square test)."""


def surprise(counts: Tensor, expected: Tensor) -> float:
    """The probability of counts at least as far from ``expected`` (Pearson's chi-square test)."""
    frequent = expected >= RAREST
    counts = torch.cat([counts[frequent], counts[~frequent].sum()[None]])
    expected = torch.cat([expected[frequent], expected[~frequent].sum()[None]])
    kept = expected > 0.5
    if int(kept.sum()) < 2:
        return 1.0
    statistic = ((counts - expected).square() / expected)[kept].sum()
    return float(chi2.sf(float(statistic), int(kept.sum()) - 1))


def follows(case: Case, worlds: Tensor, answer: int) -> None:
    """Whether ``worlds`` (batch, n, choices) come from the distribution given ``answer``."""
    given = case.every.conditional(answer)
    for row in range(worlds.shape[0]):
        if case.every.total(answer)[row] == 0.0:
            assert (worlds[row] == -1).all()
            continue
        number = case.every.number(worlds[row])
        assert (given[number, row] > 0.0).all(), "an impossible world was drawn"
        counts = torch.bincount(number, minlength=len(given)).double()
        assert surprise(counts, given[:, row] * worlds.shape[1]) > UNLIKELY


@examples(60)
@given(cases(max_variables=4), st.integers(0, 2**20))
def test_worlds_are_as_frequent_as_they_are_probable(case: Case, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for answer in (*range(case.circuit.answers), None):
        worlds = sample_worlds(case.circuit, case.rows, answer, N, generator)
        follows(case, worlds, case.circuit.answers if answer is None else answer)


def test_the_test_of_counts_can_fail() -> None:
    expected = torch.tensor([0.5, 0.3, 0.2]) * N
    assert surprise(torch.tensor([0.5, 0.3, 0.2]) * N, expected) > 0.99
    assert surprise(torch.tensor([0.4, 0.4, 0.2]) * N, expected) < UNLIKELY


def test_a_program_with_networks_learned_probabilities_and_evidence() -> None:
    text = (
        COLOURS
        + "t(0.3)::w. 0.6::v. evidence(\\+both). both :- w, v.\nq(X, Y, same) :- colour(X, C), colour(Y, C), \\+ w."
    )
    made = reasoner(text + "\nq(X, Y, other) :- colour(X, C), \\+ colour(Y, C), v.", "q(X, Y, A)")
    log_p = {("net", "X"): rows(2, 3), ("net", "Y"): rows(2, 3, seed=1)}
    every = enumerate_reasoner(made, log_p)
    for answer in (*range(len(made.answers)), None):
        worlds = made.sample(log_p, answer, n=4000, generator=torch.Generator().manual_seed(1))
        case = Case(made._choice_circuit, torch.empty(0), every)
        follows(case, worlds, len(made.answers) if answer is None else answer)
        held = made.holds(worlds)
        if answer is not None:
            assert held[..., answer].all()
        else:
            exact = made(log_p).exp()
            error = (exact * (1 - exact) / 4000).sqrt()
            assert ((held.double().mean(1) - exact).abs() < 5 * error).all()


@pytest.mark.parametrize(("batch", "n"), [(1, 1), (1, 50), (100, 1), (100, 7), (3, 0)])
def test_shapes(batch: int, n: int) -> None:
    made = reasoner(COLOURS + "q(X, Y) :- colour(X, C), colour(Y, C).", "q(X, Y)")
    given = {"X": rows(batch, 3), "Y": rows(batch, 3, seed=1)}
    worlds = made.sample(given, torch.zeros(batch, dtype=torch.long), n=n)
    assert worlds.shape == (batch, n, 2)
    assert torch.equal(worlds[..., 0], worlds[..., 1])
    assert made.holds(worlds).shape == (batch, n, 1)
    assert made.holds(worlds).all()


def test_a_generator_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reasoner(COLOURS + "q(X, Y) :- colour(X, C), \\+ colour(Y, C).", "q(X, Y)")
    given = {"X": rows(5, 3), "Y": rows(5, 3, seed=1)}

    def drawn(seed: int) -> Tensor:
        return made.sample(given, 0, n=30, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    before = torch.random.get_rng_state()
    drawn(0)
    assert torch.equal(before, torch.random.get_rng_state())
    monkeypatch.setattr(choices_module, "CELLS_AT_ONCE", 200)
    cut = drawn(0)
    assert made.holds(cut).all()
    assert cut.shape == (5, 30, 2)


def test_impossible_rows_have_no_world() -> None:
    made = reasoner(COLOURS + "q(X, yes) :- colour(X, red).\nq(X, no) :- \\+ colour(X, red).", "q(X, A)")
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf], [-torch.inf, 0.0, -torch.inf]])
    worlds = made.sample({"X": certain}, made.index("yes"), n=3)
    assert worlds.tolist() == [[[0]] * 3, [[-1]] * 3]
    assert made.holds(worlds)[..., made.index("yes")].tolist() == [[True] * 3, [False] * 3]
    assert not made.holds(worlds)[1].any()


def test_draw_never_takes_what_has_no_weight() -> None:
    weights = torch.tensor([[-torch.inf, 0.0, -torch.inf], [0.0, -torch.inf, -800.0]]).repeat(20_000, 1)
    for dtype in (torch.float32, torch.float64):
        taken = draw(weights.to(dtype), torch.Generator().manual_seed(0))
        assert (taken[::2] == 1).all()
        assert (taken[1::2] == 0).all()


@pytest.mark.parametrize(
    "worlds",
    [torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 1), torch.full((2, 1), 3)],
    ids=["too-many", "float", "no-such-value"],
)
def test_worlds_of_another_program_are_refused(worlds: Tensor) -> None:
    made = reasoner(COLOURS + "q(X) :- colour(X, red).", "q(X)")
    with pytest.raises(UsageError, match="values of 1 choices") as caught:
        made.holds(worlds)
    assert caught.value.hint


def test_a_negative_number_of_worlds_is_refused() -> None:
    made = reasoner(COLOURS + "q(X) :- colour(X, red).", "q(X)")
    with pytest.raises(UsageError, match="cannot draw -1 worlds"):
        made.sample({"X": rows(1, 3)}, n=-1)
