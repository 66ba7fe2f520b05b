"""Projectors: their layers, averages over space, and DINO's cosines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nesy_gedi.networks.projectors import DinoProjector, SpatialMean, mlp


def test_a_head_before_the_average_equals_the_head_on_it() -> None:
    pool = SpatialMean((3, 2, 5))
    head = nn.Linear(3, 4).double()
    maps = torch.randn(7, 3, 2, 5, dtype=torch.float64)
    on_average = maps.numpy().mean((2, 3)) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(pool.before(head)(maps.flatten(1)).detach().numpy(), on_average, rtol=1e-10)
    np.testing.assert_allclose(pool(maps.flatten(1)).numpy(), maps.numpy().mean((2, 3)), rtol=1e-12)


def test_a_head_before_the_average_leaves_the_given_one_alone() -> None:
    head = nn.Linear(3, 4)
    weight = head.weight.detach().clone()
    spread = SpatialMean((3, 2, 2)).before(head)
    assert torch.equal(head.weight, weight)
    with torch.no_grad():
        spread.bias.add_(1.0)
    assert not torch.equal(head.bias, spread.bias)


def test_logits_of_dino_are_cosines_with_the_prototypes() -> None:
    head = DinoProjector(6, 16, 4, 5).double()
    features = 3.0 * torch.randn(8, 6, dtype=torch.float64)
    bottleneck = head.layers(features).detach().numpy()
    prototypes = head.prototypes.detach().numpy()
    lengths = np.linalg.norm(bottleneck, axis=1)[:, None] * np.linalg.norm(prototypes, axis=1)
    np.testing.assert_allclose(head(features).detach().numpy(), bottleneck @ prototypes.T / lengths, rtol=1e-9)


def test_logits_of_dino_do_not_depend_on_the_length_of_prototypes() -> None:
    head = DinoProjector(6, 16, 4, 5).double()
    features = torch.randn(8, 6, dtype=torch.float64)
    before = head(features).detach()
    with torch.no_grad():
        head.prototypes.mul_(torch.tensor([0.1, 1.0, 2.0, 30.0, 5.0], dtype=torch.float64)[:, None])
    np.testing.assert_allclose(head(features).detach().numpy(), before.numpy(), rtol=1e-9)
    assert float(before.abs().max()) <= 1.0


def kinds(network: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in network]


@pytest.mark.parametrize(("normalised", "end"), [(False, []), (True, ["BatchNorm1d"])])
def test_layers_of_a_perceptron(normalised: bool, end: list[str]) -> None:
    made = mlp((6, 8, 9, 4), normalise_output=normalised)
    assert kinds(made) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", *end]
    assert made(torch.randn(5, 6)).shape == (5, 4)
    # What a batch normalisation subtracts needs no bias before it.
    assert [layer.bias is None for layer in made if isinstance(layer, nn.Linear)] == [True, True, normalised]
    if end:
        assert not made[-1].affine


def test_a_normalised_output_has_mean_zero_and_variance_one() -> None:
    projector = mlp((6, 8, 4), normalise_output=True).double()
    projected = projector(torch.randn(64, 6, dtype=torch.float64)).detach().numpy()
    np.testing.assert_allclose(projected.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(projected.var(0), 1.0, rtol=1e-3)
