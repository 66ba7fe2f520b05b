"""Bounds from the likeliest symbols: they hold, they close, they can be trained with."""

from __future__ import annotations

import math
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from approximate import FORM, FOUR_DIGITS, NAIVE, distributions, exact_answers, programs
from fuzzing import examples
from hypothesis import assume, given, note
from hypothesis import strategies as st
from reasoning import rows
from tolerances import DEEPPROBLOG, EXACT
from torch import Tensor

from nesy_gedi.errors import BudgetError, DistributionError, NesyGediWarning, ProgramError, UsageError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.topk import Bounds, TopK

ADDITION = "nn(net, [X], D, [0..9]) :: digit(X, D).\naddition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B."


def quiet(program: Program, form: str, k: int, **options: object) -> TopK:
    """One that may keep all symbols."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NesyGediWarning)
        return TopK(program, form, k, **options)


@examples(200)
@given(programs(), st.integers(1, 3), st.integers(0, 2**20), st.booleans())
def test_bounds_hold_and_close(text: str, k: int, seed: int, hard: bool) -> None:
    note(text)
    log_p = distributions(1, seed, hard=hard)
    exact = exact_answers(text, log_p, 0)
    assume(exact is not None)
    topk = quiet(Program(text), FORM, k, slots=("X", "Y"))
    (found,) = topk.answers(log_p)
    unseen = float(topk.dropped(log_p))
    for answer, p in exact.items():
        lower, upper = found.get(answer, (0.0, unseen))
        assert lower - DEEPPROBLOG <= p <= upper + DEEPPROBLOG
    for answer, (lower, upper) in found.items():
        assert lower <= upper
        assert lower <= exact.get(answer, 0.0) + DEEPPROBLOG
    if k == 3:
        assert topk.exact
        assert unseen == 0.0
        assert all(lower == upper for lower, upper in found.values())


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "programs").glob("*.pl")), ids=lambda p: p.stem)
def test_bundled_programs_lie_within_their_bounds(path: Path) -> None:
    recipe = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    form = "addition(X, Y, S), product(X, Y, P)" if path.stem == "mnist_evenodd" else recipe["query"]
    program = Program.load(path)
    reasoner = Reasoner(program, form)
    sizes = {(item.network, *item.slots): len(item.domain) for item in reasoner.inputs}
    log_p = {key: rows(2, size, seed=number, scale=2.0) for number, (key, size) in enumerate(sizes.items())}
    exact = reasoner(log_p).exp()
    widths = []
    for k in (1, 2, 10):
        topk = quiet(program, form, k)
        assert set(topk.inputs) == set(reasoner.inputs)
        for row, found in enumerate(topk.answers(log_p)):
            unseen = float(topk.dropped(log_p)[row])
            for answer, p in zip(reasoner.answers, exact[row].tolist(), strict=True):
                lower, upper = found.get(answer, (0.0, unseen))
                assert lower - EXACT <= p <= upper + EXACT
        widths.append(float(topk.dropped(log_p).max()))
    assert widths[0] > 0.0
    assert widths[2] == 0.0


def test_the_bounds_of_the_definition() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 2)
    p, q = rows(1, 10, seed=1, scale=2.0), rows(1, 10, seed=2, scale=2.0)
    kept_p, kept_q = p.exp().topk(2), q.exp().topk(2)
    mass = float(kept_p.values.sum() * kept_q.values.sum())
    inside: dict[int, float] = {}
    for a, x in zip(kept_p.indices[0].tolist(), kept_p.values[0].tolist(), strict=True):
        for b, y in zip(kept_q.indices[0].tolist(), kept_q.values[0].tolist(), strict=True):
            inside[a + b] = inside.get(a + b, 0.0) + x * y
    (found,) = topk.answers({"X": p, "Y": q})
    assert {int(answer): interval for answer, interval in found.items()} == {
        s: (pytest.approx(low, rel=EXACT), pytest.approx(low + 1 - mass, rel=EXACT)) for s, low in inside.items()
    }
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_evidence_bounds_are_reached() -> None:
    """One kept symbol of two; the dropped one may make the answer certain or impossible, as the program likes."""
    text = "nn(net, [X], D, [a, b]) :: d(X, D). 0.5::c. e :- d(img, a), c. e :- d(img, b). evidence(e).\n"
    text += "q(yes) :- d(img, a), c. q(no) :- d(img, b). q(also) :- d(img, b). q(also) :- c."
    topk = TopK(Program(text), "q(A)", 1)
    (found,) = topk.answers({"img": torch.tensor([[0.6, 0.4]]).log()})
    # A = E = 0.3 and d = 0.4: the true values are 0.3 / 0.7 and 1.
    assert found["yes"] == pytest.approx((0.3 / 0.7, 1.0))
    assert found["also"] == pytest.approx((0.3 / 0.7, 1.0))
    assert "no" not in found
    assert float(topk.dropped({"img": torch.tensor([[0.6, 0.4]]).log()})) == pytest.approx(0.4 / 0.7)


def test_impossible_evidence_is_as_in_the_reasoner() -> None:
    text = "nn(net, [X], D, [a, b]) :: d(X, D). e :- d(img, a). evidence(e). q(A) :- d(img, A)."
    log_p = {"img": torch.tensor([[0.0, 1.0]]).log()}
    bounds = TopK(Program(text), "q(A)", 1).bounds(log_p, ["b"])
    assert float(bounds.lower) == float(bounds.upper) == -math.inf


def test_gradients_are_those_of_finite_differences() -> None:
    text = "nn(net, [X], D, [0..3]) :: digit(X, D). t(0.3)::w. e :- digit(img, 0), w. e :- \\+ digit(img, 1). evidence(e).\n"
    text += "q(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B. q(X, Y, 9) :- w, \\+ digit(X, 2)."
    topk = TopK(Program(text), "q(X, Y, S)", 2, validate=False)
    leaves = {name: rows(2, 4, seed=k).requires_grad_() for k, name in enumerate(("X", "Y", "img"))}
    answers = [next(iter(found)) for found in topk.answers(leaves)]
    assert "9" in topk.answers(leaves)[0]

    def value(side: str, which: str) -> Tensor:
        return getattr(topk.bounds(leaves, [which, answers[1]]), side).sum()

    parameter = topk.learned.logits[0]
    for which in ("9", answers[0]):
        for side in ("lower", "upper", "dropped"):
            everything = [*leaves.values(), parameter]
            found = torch.autograd.grad(value(side, which), everything, allow_unused=True, materialize_grads=True)
            for leaf, gradient in zip(leaves.values(), found, strict=False):
                for place in torch.cartesian_prod(torch.arange(2), torch.arange(4)).tolist():
                    step = torch.zeros_like(leaf)
                    step[tuple(place)] = 1e-6
                    with torch.no_grad():
                        leaf += step
                        more = value(side, which)
                        leaf -= 2 * step
                        less = value(side, which)
                        leaf += step
                    assert float(gradient[tuple(place)]) == pytest.approx(float(more - less) / 2e-6, abs=1e-7)


def test_naive_four_digit_sums() -> None:
    """10^8 groundings exactly; confident rows are answered at once, and rightly."""
    digits = torch.randint(10, (3, 8), generator=torch.Generator().manual_seed(0))
    log_p = (9.0 * torch.nn.functional.one_hot(digits, 10)).log_softmax(-1).requires_grad_()
    numbers = (digits.view(-1, 2, 4) * torch.tensor([1000, 100, 10, 1])).sum(2)
    topk = TopK(Program(NAIVE), FOUR_DIGITS, 2)
    assert [item.slots for item in topk.inputs] == [(f"{n}{k}",) for n in "AB" for k in range(4)]
    found = topk.answers(log_p)
    assert [int(next(iter(row))) for row in found] == numbers.sum(1).tolist()
    bounds = topk.bounds(log_p, numbers.sum(1).tolist())
    assert bool((bounds.lower.exp() > 0.99).all())
    assert not bounds.exact.any()
    bounds.nll().backward()
    assert bool(log_p.grad.isfinite().all())
    assert float(log_p.grad.gather(2, digits[..., None]).max()) < 0.0


def test_rows_that_keep_the_same_symbols_share_a_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 2)
    ground, made = topk._grounds.ground, []
    monkeypatch.setattr(topk._grounds, "ground", lambda decide: made.append(1) or ground(decide))
    one = {"X": rows(4, 10, seed=3), "Y": rows(4, 10, seed=4)}
    mixed = {slot: torch.cat([x, x.flip(0)]) for slot, x in one.items()}
    topk.answers(mixed)
    assert len(made) == 4
    topk.answers(one)
    assert len(made) == 4


def test_rows_come_back_in_their_order() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 1)
    shown = torch.tensor([3, 1, 3, 2])
    log_p = {slot: (5.0 * torch.nn.functional.one_hot(shown, 10)).log_softmax(1) for slot in "XY"}
    bounds = topk.bounds(log_p, [6, 2, 6, 5])
    mass = float(log_p["X"][0, 3].exp()) ** 2
    assert bounds.lower.exp().tolist() == pytest.approx([mass, mass, mass, 0.0])
    assert bounds.missed.tolist() == [False, False, False, True]
    assert float(bounds.nll()) == pytest.approx(-(3 * math.log(mass) + LOG_PROBABILITY_FLOOR) / 4)
    assert "1 of 4 answers in no kept world" in str(bounds)


def test_certain_rows_are_exact_and_say_so() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 3)
    log_p = torch.nn.functional.one_hot(torch.tensor([[4, 7]]), 10).double().log().requires_grad_()
    bounds = topk.bounds(log_p, ["11"])
    assert bool(bounds.exact.all())
    assert float(bounds.lower) == float(bounds.upper) == 0.0
    assert str(bounds) == "exact: nothing was dropped"
    (bounds.lower + bounds.upper).sum().backward()
    assert bool(log_p.grad.isfinite().all())


def test_tiny_dropped_mass_keeps_its_digits() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 1)
    log_p = torch.full((1, 10), -60.0)
    log_p[:, 4] = 0.0
    assert float(topk.bounds({"X": log_p, "Y": log_p}, [8]).dropped) == pytest.approx(math.log(18) - 60.0)


def test_single_and_half_precision_and_no_rows() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 2)
    log_p = rows(5, 10).float()
    whole = topk.bounds({"X": log_p, "Y": log_p}, [0] * 5)
    assert whole.lower.dtype == torch.float32
    half = topk.bounds({"X": log_p.half(), "Y": log_p.half()}, [0] * 5)
    assert half.dropped.dtype == torch.float32
    assert torch.allclose(half.dropped, whole.dropped, atol=1e-2)
    none = topk.bounds(torch.zeros(0, 2, 10), [])
    assert none.lower.shape == (0,)
    assert topk.answers(torch.zeros(0, 2, 10)) == []
    assert str(none) == "no rows"


def test_a_program_without_networks() -> None:
    topk = quiet(Program("0.3::a(1); 0.2::a(2). q(X) :- a(X)."), "q(X)", 1)
    assert topk.exact
    assert topk.answers({}, batch=2) == [{"1": pytest.approx((0.3, 0.3)), "2": pytest.approx((0.2, 0.2))}] * 2


def test_an_input_that_is_met_late() -> None:
    """The third image is asked only where the others show 7 and 8, which no probe comes to."""
    text = "nn(net, [X], D, [0..9]) :: d(X, D). q(X, Y, Z, S) :- d(X, 7), d(Y, 8), d(Z, S). q(X, Y, Z, 10) :- d(X, 1)."
    form = "q(X, Y, Z, S)"
    topk = TopK(Program(text), form, 2, slots=("X", "Y", "Z"))
    assert [item.slots for item in topk.inputs] == [("X",), ("Y",)]
    log_p = {slot: rows(6, 10, seed=k) for k, slot in enumerate("XYZ")}
    for slot, symbol in (("X", 7), ("Y", 8)):
        log_p[slot][:3] = (3.0 * torch.nn.functional.one_hot(torch.tensor(symbol), 10)).log_softmax(0)
    exact = Reasoner(Program(text), form, slots=("X", "Y", "Z"))
    wanted = exact(log_p).exp()
    unseen = topk.dropped(log_p).tolist()
    for row, found in enumerate(topk.answers(log_p)):
        for answer, p in zip(exact.answers, wanted[row].tolist(), strict=True):
            lower, upper = found.get(answer, (0.0, unseen[row]))
            assert lower - EXACT <= p <= upper + EXACT
    assert [item.slots for item in topk.inputs] == [("X",), ("Y",), ("Z",)]
    with pytest.raises(DistributionError, match="no distribution of net for Z"):
        TopK(Program(text), form, 2, slots=("X", "Y", "Z")).answers({"X": log_p["X"], "Y": log_p["Y"]})


@pytest.mark.parametrize("k", [0, -1, True, 1.5])
def test_a_k_that_keeps_nothing_is_refused(k: object) -> None:
    with pytest.raises(UsageError, match="how many symbols"):
        TopK(Program(ADDITION), "addition(X, Y, S)", k)  # type: ignore[arg-type]


def test_a_k_that_keeps_everything_says_that_it_is_exact() -> None:
    with pytest.warns(NesyGediWarning, match="keeps every symbol of every network: the result is exact"):
        assert TopK(Program(ADDITION), "addition(X, Y, S)", 10).exact


def test_what_does_not_fit_is_refused() -> None:
    topk = TopK(Program(ADDITION), "addition(X, Y, S)", 2)
    log_p = rows(2, 10)
    with pytest.raises(DistributionError, match="sums to"):
        topk.answers({"X": log_p, "Y": log_p + 1.0})
    with pytest.raises(DistributionError, match="no distribution of net for Y"):
        topk.answers({"X": log_p})
    with pytest.raises(DistributionError, match="has 9 outputs, its domain has 10"):
        topk.answers({"X": log_p, "Y": rows(2, 9)})
    with pytest.raises(DistributionError, match="batch of 3 beside a batch of 2"):
        topk.answers({"X": log_p, "Y": rows(3, 10)})
    with pytest.raises(DistributionError, match="expected log-probabilities of shape"):
        topk.answers(torch.zeros(2, 3, 10))
    with pytest.raises(UsageError, match="1 answers for a batch of 2"):
        topk.bounds({"X": log_p, "Y": log_p}, [3])


def test_one_slot_of_two_networks_needs_both_names() -> None:
    text = "nn(one, [X], D, [a, b]) :: p(X, D). nn(two, [X], D, [a, b]) :: r(X, D). q(X, A) :- p(X, A), r(X, A)."
    topk = TopK(Program(text), "q(X, A)", 1)
    with pytest.raises(UsageError, match="several networks read X"):
        topk.answers({"X": rows(1, 2)})
    assert topk.answers({("one", "X"): rows(1, 2), ("two", "X"): rows(1, 2)})[0]


def test_an_answer_of_another_number_type_is_told() -> None:
    text = "nn(net, [X], D, [0..9]) :: digit(X, D). half(X, H) :- digit(X, D), H is D / 2."
    topk = TopK(Program(text), "half(X, H)", 2)
    with pytest.warns(NesyGediWarning, match=r"no kept world yields 2, but some yield 2\.0"):
        topk.bounds((9.0 * torch.nn.functional.one_hot(torch.tensor([4]), 10)).log_softmax(1), [2])


def test_a_program_that_cannot_be_ground_is_refused() -> None:
    with pytest.raises(ProgramError, match="non-ground"):
        TopK(Program("nn(net, [X], D, [a, b]) :: p(X, D). q(A) :- p(_, A)."), "q(A)", 1)
    with pytest.raises(ProgramError, match="NegativeCycle"):
        TopK(Program("nn(net, [X], D, [a, b]) :: p(X, D). q(X, a) :- p(X, a), \\+ q(X, a)."), "q(X, A)", 1)
    # Only a grounding of what the row keeps meets the fault.
    text = "nn(net, [X], D, [0..9]) :: p(X, D). q(X, Y, S) :- p(X, A), p(Y, B), C is A - B + 9, S is 6 / C."
    topk = TopK(Program(text), "q(X, Y, S)", 1)
    with pytest.raises(ProgramError, match="zero"):
        topk.answers(torch.nn.functional.one_hot(torch.tensor([[0, 9]]), 10).double().log())


def test_too_much_even_so() -> None:
    topk = TopK(Program(NAIVE), FOUR_DIGITS, 3, budget=Budget(nodes=2_000))
    with pytest.raises(BudgetError, match="2,000 nodes") as caught:
        topk.answers(torch.full((1, 8, 10), 0.1).log())
    assert "smaller k" in str(caught.value.hint)
    slow = TopK(Program(NAIVE), FOUR_DIGITS, 9, budget=Budget(seconds=1.0))
    with pytest.raises(BudgetError, match="1 s"):
        slow.answers(torch.full((1, 8, 10), 0.1).log())


def test_one_wide_domain() -> None:
    size = 300
    symbols = f"nn(net, [X], D, [0..{size - 1}]) :: d(X, D). q(X, Y, S) :- d(X, A), d(Y, B), S is A + B."
    topk = TopK(Program(symbols), "q(X, Y, S)", 3)
    log_p = (9.0 * torch.nn.functional.one_hot(torch.tensor([250]), size)).log_softmax(1)
    (found,) = topk.answers({"X": log_p, "Y": log_p})
    assert next(iter(found)) == "500"


def test_bounds_of_nothing_dropped_are_exact() -> None:
    assert str(Bounds(torch.zeros(1), torch.zeros(1), torch.tensor([-torch.inf]))) == "exact: nothing was dropped"
