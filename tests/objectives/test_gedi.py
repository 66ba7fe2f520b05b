"""GEDI: parity, optimum, saddle, prior, and the generative term on a toy distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, constant_outputs, random_pair, softmax
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.objectives import Gedi
from nesy_gedi.objectives.gedi import energy
from nesy_gedi.objectives.sgld import SgldSampler

C = 4


def one_hot_logits(n: int, c: int, strength: float = 500.0) -> Tensor:
    """Row i says cluster i mod c; the other probabilities are exactly zero in float64."""
    return strength * torch.eye(c, dtype=torch.float64).repeat(n // c, 1)


def reference(z1: np.ndarray, z2: np.ndarray, prior: np.ndarray, inv: float, weight: float) -> float:
    p1, p2 = softmax(z1), softmax(z2)
    n = len(p1)
    invariance = 0.0
    for i in range(n):
        invariance -= (p2[i] @ np.log(p1[i]) + p1[i] @ np.log(p2[i])) / (2 * n)
    balance = -(prior @ np.log(p1.mean(0)) + prior @ np.log(p2.mean(0))) / 2
    return inv * invariance + weight * balance


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", [None, [0.5, 0.25, 0.125, 0.125], [0.75, 0.25, 0.0, 0.0]])
def test_agrees_with_the_reference(seed: int, prior: list[float] | None) -> None:
    torch.manual_seed(seed)
    pair = random_pair(9, C)
    objective = Gedi(C, invariance=0.6, prior_weight=1.7, prior=None if prior is None else torch.tensor(prior))
    expected = reference(*arrays(pair), np.array(prior or [0.25] * C), 0.6, 1.7)
    assert objective(projection=pair).item() == pytest.approx(expected, rel=1e-12)


def test_the_generative_term_agrees_with_the_reference() -> None:
    data, samples = random_pair(6, C)
    objective = Gedi(C, generative=0.3, temperature=2.0)
    found = objective.terms(projection=random_pair(6, C), energy=(data, samples))["generative"]
    lse = [np.log(np.exp(z.numpy()).sum(1)).mean() for z in (data, samples)]
    assert found.item() == pytest.approx(0.3 * (lse[1] - lse[0]), rel=1e-12)


def test_energy_is_minus_the_log_of_the_unnormalised_density() -> None:
    logits = torch.randn(5, C, dtype=torch.float64)
    np.testing.assert_allclose((-energy(logits)).exp().numpy(), np.exp(logits.numpy()).sum(1), rtol=1e-12)


def test_energy_is_taken_only_with_the_generative_term() -> None:
    assert Gedi(C).takes == ("projection",)
    assert Gedi(C, generative=0.1).takes == ("projection", "energy")


@pytest.mark.parametrize("c", [2, 4, 8])
def test_the_optimum_is_log_c_with_certain_balanced_equal_views(c: int) -> None:
    z = one_hot_logits(2 * c, c)
    terms = Gedi(c).terms(projection=(z, z))
    assert terms["invariance"].item() == pytest.approx(0.0, abs=1e-12)
    assert terms["prior"].item() == pytest.approx(math.log(c))


def test_the_optimum_follows_a_skewed_prior() -> None:
    prior = torch.tensor([0.5, 0.25, 0.25])
    z = 500.0 * torch.eye(3, dtype=torch.float64)[[0, 0, 1, 2]]
    assert Gedi(3, prior=prior)(projection=(z, z)).item() == pytest.approx(1.5 * math.log(2))


def test_no_random_logits_are_below_the_optimum() -> None:
    for scale in (0.1, 1.0, 10.0):
        assert Gedi(C)(projection=random_pair(16, C, scale)).item() > math.log(C)


def test_a_collapsed_output_costs_more_than_the_optimum() -> None:
    uniform = Gedi(C)(**constant_outputs(Gedi(C), torch.zeros(C, dtype=torch.float64)))
    assert uniform.item() == pytest.approx(2 * math.log(C))
    # All in one cluster with logit a over the rest: PRIOR = log(e^a + c - 1) - a/c, large as a is.
    row = torch.tensor([50.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert Gedi(C)(**constant_outputs(Gedi(C), row)).item() == pytest.approx(50.0 * 3 / 4)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_descent_leaves_the_uniform_saddle_at_the_rate_of_the_squared_temperature(temperature: float) -> None:
    n = 16
    deviation = 1e-7 * temperature * torch.randn(n, C, dtype=torch.float64)
    deviation -= deviation.mean(0)
    deviation -= deviation.mean(1, keepdim=True)
    z = deviation.clone().requires_grad_(True)
    Gedi(C, invariance=0.7, temperature=temperature)(projection=(z, z)).backward()
    expected = 0.7 * deviation / (n * C * temperature**2)
    torch.testing.assert_close(-z.grad, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_descent_from_weak_logits_comes_near_the_optimum_with_all_clusters_in_use() -> None:
    z = (0.01 * torch.randn(32, C, dtype=torch.float64)).requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=0.1)
    objective = Gedi(C, prior_weight=2.0)
    for _ in range(150):
        optimiser.zero_grad()
        objective(projection=(z, z)).backward()
        optimiser.step()
    # The start has 3 log c, the optimum 2 log c; rows that are certain no longer move to even out the clusters.
    assert objective(projection=(z, z)).item() < 2.2 * math.log(C)
    assert int(torch.bincount(z.argmax(1), minlength=C).min()) > 0


def test_log_probabilities_are_those_of_the_logits() -> None:
    z = torch.randn(5, C, dtype=torch.float64)
    found = Gedi(C, temperature=0.5).log_probabilities(z).exp()
    np.testing.assert_allclose(found.numpy(), softmax(z.numpy() / 0.5), rtol=1e-12)


NO_PRIORS = {
    "it sums to 0.9, not 1": [0.5, 0.4],
    "it holds -0.5": [1.5, -0.5],
    "sums to nan": [float("nan"), 1.0],
    r"of shape \(3,\), expected \(2,\)": [0.5, 0.25, 0.25],
}


@pytest.mark.parametrize("message", NO_PRIORS)
def test_a_prior_must_be_a_distribution(message: str) -> None:
    prior = torch.tensor(NO_PRIORS[message])
    with pytest.raises(UsageError, match=message):
        Gedi(2, prior=prior)
    objective = Gedi(2)
    with pytest.raises(UsageError, match=message):
        objective.update_prior(prior)
    assert objective.prior.tolist() == [0.5, 0.5]


def test_an_updated_prior_is_used_and_saved() -> None:
    objective, restored = Gedi(2), Gedi(2)
    objective.update_prior(torch.tensor([0.75, 0.25], dtype=torch.float64))
    restored.load_state_dict(objective.state_dict())
    pair = random_pair(6, 2)
    expected = reference(*arrays(pair), np.array([0.75, 0.25]), 1.0, 1.0)
    assert objective(projection=pair).item() == pytest.approx(expected)
    assert restored(projection=pair).item() == pytest.approx(expected)


def test_the_magnitude_term_is_the_weighted_mean_of_squared_energies() -> None:
    objective = Gedi(C, generative=2.0, magnitude=0.25)
    first, second, data, samples = (torch.randn(6, C, dtype=torch.float64) for _ in range(4))
    squares = [np.square(np.log(np.exp(x.numpy()).sum(1))).mean() for x in (data, samples)]
    terms = objective.terms(projection=(first, second), energy=(data, samples))
    assert terms["magnitude"].item() == pytest.approx(0.25 * sum(squares))
    assert set(terms) == {"invariance", "prior", "generative", "magnitude"}
    assert "magnitude" not in Gedi(C, generative=2.0).terms(projection=(first, second), energy=(data, samples))
    with pytest.raises(UsageError, match="magnitude does nothing without the generative term"):
        Gedi(C, magnitude=0.25)


def test_the_generative_terms_rank_no_runs() -> None:
    objective = Gedi(C, generative=1.0, magnitude=0.1)
    terms = objective.terms(projection=random_pair(6, C), energy=random_pair(6, C))
    assert terms.keys() - objective.unranked == {"invariance", "prior"}
    assert terms.keys() >= objective.unranked


def test_the_generative_term_moves_samples_to_the_data() -> None:
    """A ring in the plane: chains that start anywhere in a square end near it, and its energy is below the square's."""
    angle = 2 * math.pi * torch.rand(256)
    data = torch.stack([angle.cos(), angle.sin()], 1)
    network = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    objective = Gedi(2, generative=1.0, invariance=0.0, prior_weight=0.0)
    sampler = SgldSampler((2,), size=512, steps=10, step_size=0.1, noise=0.1, bounds=(-2.0, 2.0))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(250):
        samples = sampler.sample(lambda x: energy(objective.logits(network(x))), 256)
        noisy = data + 0.03 * torch.randn_like(data)
        projection, fake = network(noisy), objective.logits(network(samples))
        optimiser.zero_grad()
        objective(projection=(projection, projection), energy=(objective.logits(projection), fake)).backward()
        optimiser.step()
    anywhere = torch.empty(512, 2).uniform_(-2, 2)
    far = (sampler.grid(512).norm(dim=1) - 1).abs().mean()
    assert float(far) < 0.5 * float((anywhere.norm(dim=1) - 1).abs().mean())
    with torch.no_grad():
        assert energy(network(data)).mean() < energy(network(anywhere)).mean()
