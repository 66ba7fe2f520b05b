"""Batches of none and of very many, and inputs of half precision."""

from __future__ import annotations

import pytest
import torch
from reasoning import reasoner, rows

from nesy_gedi.errors import DistributionError

DIGIT = "nn(net, [X], D, [0..9]) :: digit(X, D).\n"
ADDITION = DIGIT + "addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B."
GIVEN = (
    DIGIT
    + "0.3 :: rain.\nwet(X) :- rain, digit(X, 1).\nwet(X) :- digit(X, 2).\nevidence(rain).\nsays(X, D) :- digit(X, D)."
)


@pytest.mark.parametrize(("program", "form"), [(ADDITION, "addition(X, Y, Sum)"), (GIVEN, "says(X, D)")])
def test_an_empty_batch_has_no_answers_and_no_gradient(program: str, form: str) -> None:
    made = reasoner(program, form)
    given = {slot: rows(3, 10)[:0].requires_grad_() for slot in made.form.slots}
    found = made(given)
    assert found.shape == (0, len(made.answers))
    found.sum().backward()
    assert all(block.grad is not None for block in given.values())
    assert made.log_evidence(given).shape == (0,)
    with pytest.raises(DistributionError, match="the batch holds no query") as caught:
        made.nll(given, torch.empty(0, dtype=torch.long))
    assert caught.value.hint


def test_a_batch_of_a_hundred_thousand() -> None:
    """Each row is what it is by itself."""
    made = reasoner(ADDITION, "addition(X, Y, Sum)")
    given = {slot: rows(100_000, 10, seed=k).float().requires_grad_() for k, slot in enumerate("XY")}
    found = made(given)
    found[:, 7].mean().backward()
    some = torch.arange(0, 100_000, 9973)
    alone = {slot: block.detach()[some].requires_grad_() for slot, block in given.items()}
    expected = made(alone)
    torch.testing.assert_close(found[some], expected)
    expected[:, 7].sum().backward()
    for slot, block in alone.items():
        whole = given[slot].grad
        assert whole is not None
        torch.testing.assert_close(whole[some] * 100_000, block.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_half_precision_goes_in_and_circuits_are_single(dtype: torch.dtype, near: float) -> None:
    """As under autocast: the loss and every intermediate value are float32, gradients return as they were given."""
    made = reasoner(ADDITION, "addition(X, Y, Sum)")
    exact = {slot: rows(16, 10, seed=k).requires_grad_() for k, slot in enumerate("XY")}
    half = {slot: block.detach().to(dtype).requires_grad_() for slot, block in exact.items()}
    target = torch.arange(16)
    answers = made(half)
    assert answers.dtype == torch.float32
    # Exactly what the rounded inputs say: nothing is rounded after them.
    made.validate = False
    single = made({slot: block.detach().float() for slot, block in half.items()})
    assert torch.equal(answers, single)
    made.nll(exact, target).backward()
    loss = made.nll(half, target)
    assert loss.dtype == torch.float32
    loss.backward()
    for slot, block in half.items():
        assert block.grad is not None
        assert block.grad.dtype == dtype
        torch.testing.assert_close(block.grad.double(), exact[slot].grad, atol=near, rtol=near)
