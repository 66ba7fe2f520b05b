"""The sampler: exact dynamics, stationary spread, buffer, resuming, and the guards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.objectives.sgld import SgldSampler


def bowl(x: Tensor) -> Tensor:
    """½ ‖x‖² of each sample."""
    return x.square().flatten(1).sum(1) / 2


def still(x: Tensor) -> Tensor:
    return 0.0 * bowl(x)


def test_without_noise_it_is_gradient_descent() -> None:
    sampler = SgldSampler((2, 3), size=5, steps=4, step_size=0.25, noise=0.0, reinitialise=0.0, bounds=(-1, 1))
    before = sampler.grid(5)
    found = sampler.sample(bowl, 5)
    expected = before * 0.75**4
    # The chains come in another order; each starts at another value.
    torch.testing.assert_close(found.flatten(1).sort(0).values, expected.flatten(1).sort(0).values)
    torch.testing.assert_close(sampler.grid(5), expected)


def test_noise_keeps_the_stationary_spread() -> None:
    """x <- (1 - α) x + σ ε has variance σ² / (1 - (1 - α)²)."""
    sampler = SgldSampler((1,), size=4000, steps=60, step_size=0.1, noise=0.5, reinitialise=0.0, clip=False)
    variance = float(sampler.sample(bowl, 4000).var())
    assert variance == pytest.approx(0.25 / (1 - 0.81), rel=0.1)


def test_chains_that_are_not_chosen_stay() -> None:
    sampler = SgldSampler((2,), size=20, steps=1, reinitialise=0.0)
    before = sampler.grid(20)
    samples = sampler.sample(bowl, 6)
    changed = (sampler.grid(20) != before).any(1)
    assert int(changed.sum()) == 6
    assert {tuple(row) for row in sampler.grid(20)[changed].tolist()} == {tuple(row) for row in samples.tolist()}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 1000), (0.3, 300)])
def test_chains_start_anew_within_the_bounds(share: float, expected: int) -> None:
    sampler = SgldSampler((1,), size=1000, steps=1, noise=0.0, reinitialise=share, bounds=(2.0, 3.0), clip=False)
    sampler.buffer.fill_(-5.0)
    found = sampler.sample(still, 1000)
    anew = found != -5.0
    assert int(anew.sum()) == pytest.approx(expected, abs=60 if 0 < share < 1 else 0)
    assert bool(((found[anew] >= 2.0) & (found[anew] <= 3.0)).all())


def test_the_buffer_starts_uniform_within_the_bounds() -> None:
    buffer = SgldSampler((3, 2), size=2000, bounds=(-1.0, 3.0)).buffer
    assert buffer.shape == (2000, 3, 2)
    assert float(buffer.min()) >= -1.0
    assert float(buffer.max()) <= 3.0
    assert float(buffer.mean()) == pytest.approx(1.0, abs=0.1)
    assert float(buffer.var()) == pytest.approx(16 / 12, rel=0.1)


def test_no_gradient_stays_on_the_network_or_the_samples() -> None:
    network = nn.Linear(3, 2)
    sampler = SgldSampler((3,), size=8, steps=2)
    with torch.no_grad():  # sampling finds its own gradients anyway
        samples = sampler.sample(lambda x: -network(x).logsumexp(1), 4)
    assert not samples.requires_grad
    assert not sampler.buffer.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_continued_run_draws_the_same_samples() -> None:
    sampler, restored = SgldSampler((2,), size=16, steps=3), SgldSampler((2,), size=16, steps=3)
    sampler.sample(bowl, 4)
    state, random_state = {k: v.clone() for k, v in sampler.state_dict().items()}, torch.get_rng_state()
    expected = [sampler.sample(bowl, 4) for _ in range(3)]
    restored.load_state_dict(state)
    torch.set_rng_state(random_state)
    assert all(torch.equal(restored.sample(bowl, 4), samples) for samples in expected)
    assert torch.equal(restored.buffer, sampler.buffer)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_energies_that_are_not_finite_stop_it_and_spare_the_buffer(value: float) -> None:
    sampler = SgldSampler((2,), size=8, steps=2)
    before = sampler.grid(8)
    with pytest.raises(RunError, match="not finite") as caught:
        sampler.sample(lambda x: bowl(x) + torch.tensor([0.0, value, 0.0]), 3)
    assert caught.value.hint
    assert torch.equal(sampler.grid(8), before)


def test_steps_that_explode_stop_it() -> None:
    sampler = SgldSampler((2,), size=8, steps=30, step_size=1e6, clip=False)
    with pytest.raises(RunError, match="diverged"):
        sampler.sample(bowl, 3)


def test_an_averaged_energy_is_refused() -> None:
    with pytest.raises(UsageError, match=r"energies of shape \(\), expected \(3,\)"):
        SgldSampler((2,), size=8).sample(lambda x: bowl(x).mean(), 3)


@pytest.mark.parametrize("count", [0, 9])
def test_no_more_than_the_buffer_holds(count: int) -> None:
    sampler = SgldSampler((2,), size=8)
    for call in (lambda: sampler.sample(bowl, count), lambda: sampler.grid(count)):
        with pytest.raises(
            UsageError, match=f"count cannot be {count}, expected a whole number at least 1 and at most 8"
        ):
            call()


def test_the_grid_is_a_copy() -> None:
    sampler = SgldSampler((2,), size=8)
    sampler.grid(3).fill_(7.0)
    assert not (sampler.buffer == 7.0).any()


BAD_SETTINGS = [
    ({"size": 0}, "size cannot be 0"),
    ({"steps": 0}, "steps cannot be 0"),
    ({"step_size": 0.0}, "step_size cannot be 0"),
    ({"noise": -1.0}, "noise cannot be -1"),
    ({"reinitialise": 1.5}, "reinitialise cannot be 1.5"),
    ({"bounds": (1.0, 1.0)}, "upper bound cannot be 1, expected a number above 1"),
    ({"bounds": (float("nan"), 1.0)}, "lower bound cannot be nan"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SgldSampler((2,), **settings)


def test_a_shape_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="shape cannot be 0"):
        SgldSampler((1, 0))


def slope(x: Tensor) -> Tensor:
    """Falls without end towards the lower left."""
    return x.flatten(1).sum(1)


def test_chains_stay_within_the_bounds_only_where_they_are_clipped() -> None:
    settings = {"size": 50, "steps": 30, "step_size": 0.1, "noise": 0.0, "reinitialise": 0.0, "bounds": (-1.0, 1.0)}
    assert SgldSampler((2,), **settings).sample(slope, 50).min() == -1.0
    assert SgldSampler((2,), **settings, clip=False).sample(slope, 50).max() < -1.0


def test_a_step_to_infinity_is_no_less_an_error_where_it_would_be_clipped() -> None:
    sampler = SgldSampler((2,), size=5, steps=1, step_size=1e38, noise=0.0, reinitialise=0.0, clip=True)
    with pytest.raises(RunError, match="the sampler diverged"):
        sampler.sample(lambda x: 1e30 * slope(x), 5)
