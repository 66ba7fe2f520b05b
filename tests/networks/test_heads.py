"""Heads: of each kind as wide as the domain, and clusters that stand for symbols."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.heads import SMOOTHING, TEMPERATURE, ClusterHead, make_head, prototype_head

SHAPE = (1, 4, 4)


def encoder(features: int = 5) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, features))


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


class TestClusterHead:
    SYMBOLS = (2, 0, 1, 2, 2, 0)

    def head(self) -> ClusterHead:
        made = ClusterHead(5, 6, 3)
        made.assign(torch.tensor(self.SYMBOLS))
        return made

    def test_a_symbol_is_as_probable_as_its_clusters_together(self) -> None:
        head, features = self.head().double(), torch.randn(40, 5, dtype=torch.float64) * 3
        with torch.no_grad():
            found = head(features).exp().numpy()
            logits = head.linear(features).numpy()
        table = np.full((6, 3), SMOOTHING / 3)
        table[range(6), self.SYMBOLS] += 1 - SMOOTHING
        np.testing.assert_allclose(found, softmax(logits) @ table, rtol=1e-6)  # the table is kept in single precision
        np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-6)

    def test_before_it_is_assigned_it_says_nothing(self) -> None:
        with torch.no_grad():
            found = ClusterHead(5, 6, 3)(torch.randn(7, 5)).exp()
        torch.testing.assert_close(found, torch.full((7, 3), 1 / 3))

    def test_assigned_again_the_last_map_holds(self) -> None:
        head, features = self.head(), torch.randn(9, 5)
        head.assign(torch.tensor([0, 0, 0, 1, 1, 2]))
        other = ClusterHead(5, 6, 3)
        other.assign(torch.tensor([0, 0, 0, 1, 1, 2]))
        other.linear.load_state_dict(head.linear.state_dict())
        assert torch.equal(head(features), other(features))

    def test_one_cluster_a_symbol_is_a_linear_head(self) -> None:
        head, features = ClusterHead(5, 4, 4), torch.randn(30, 5)
        head.assign(torch.tensor([2, 0, 3, 1]))
        with torch.no_grad():
            found, logits = head(features), head.linear(features)
        expected = logits.log_softmax(1)[:, [1, 3, 0, 2]]
        torch.testing.assert_close(found.exp(), expected.exp(), atol=1e-6, rtol=0.0)

    @pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
    def test_values_and_gradients_are_finite_however_sure_it_is(self, scale: float) -> None:
        head = self.head()
        features = torch.randn(20, 5).mul_(scale).requires_grad_()
        log_p = head(features)
        assert bool(log_p.isfinite().all())
        assert log_p.min().item() >= np.log(SMOOTHING / 3) - 1e-3
        (-log_p[torch.arange(20), torch.arange(20) % 3]).mean().backward()
        for tensor in (features.grad, *(parameter.grad for parameter in head.parameters())):
            assert tensor is not None
            assert bool(tensor.isfinite().all())

    def test_its_gradient_is_that_of_differences(self) -> None:
        head = self.head().double()
        features = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(head, (features,))

    def test_the_map_is_kept_with_the_weights_and_not_learned(self) -> None:
        head, other = self.head(), ClusterHead(5, 6, 3)
        assert {name for name, _ in head.named_parameters()} == {"linear.weight", "linear.bias"}
        other.load_state_dict(head.state_dict())
        features = torch.randn(8, 5)
        assert torch.equal(head(features), other(features))

    def test_half_precision_stays_near(self) -> None:
        head, features = self.head(), torch.randn(20, 5)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            half = head(features)
        torch.testing.assert_close(half.float().exp(), head(features).exp(), atol=0.02, rtol=0.0)


class TestPrototypes:
    """Against the nearest-mean classifier, written out in NumPy."""

    @staticmethod
    def shots(per_symbol: list[int], scale: float = 1.0, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(4)
        symbols = torch.repeat_interleave(torch.arange(len(per_symbol)), torch.tensor(per_symbol))
        symbols = symbols[torch.randperm(len(symbols), generator=generator)]
        features = torch.randn(len(symbols), 6, generator=generator) + 2.0 * torch.eye(6)[symbols % 6]
        return scale * features + offset, symbols

    @pytest.mark.parametrize("per_symbol", [[1, 1, 1, 1], [3, 3, 3, 3], [1, 5, 2, 9]])
    @pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 0.0), (40.0, 100.0)])
    def test_the_nearest_mean_is_the_likeliest(self, per_symbol: list[int], scale: float, offset: float) -> None:
        features, symbols = self.shots(per_symbol, scale, offset)
        head = prototype_head(features, symbols, 4)
        assert type(head) is nn.Linear
        means = np.stack([features.double().numpy()[symbols.numpy() == k].mean(0) for k in range(4)])
        between = [((a - b) ** 2).sum() for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
        asked = self.shots([50, 50, 50, 50], scale, offset)[0]
        distances = ((asked.double().numpy()[:, None] - means[None]) ** 2).sum(2)
        logits = -distances / (TEMPERATURE * np.mean(between))
        expected = np.exp(logits - logits.max(1, keepdims=True))
        expected /= expected.sum(1, keepdims=True)
        with torch.no_grad():
            found = head(asked).softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=5e-3 if offset else 1e-4)
        assert (found.argmax(1) == distances.argmin(1)).mean() > 0.99

    def test_a_prototype_itself_is_that_sure_of_its_symbol(self) -> None:
        """Two symbols: an image like one of them is 1 / TEMPERATURE nats likelier of it, whatever the features' scale."""
        features = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        head = prototype_head(features, torch.tensor([1, 0]), 2)
        with torch.no_grad():
            logits = head(features)
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], torch.tensor([1.0, -1.0]) / TEMPERATURE)

    def test_one_symbol_alone(self) -> None:
        head = prototype_head(torch.ones(2, 3), torch.tensor([0, 0]), 1)
        assert bool(head.weight.isfinite().all())

    def test_in_double_precision_it_is_exact_and_so_is_its_gradient(self) -> None:
        features, symbols = (each.double() if each.is_floating_point() else each for each in self.shots([2, 2, 2]))
        head = prototype_head(features, symbols, 3)
        assert head.weight.dtype == torch.float64
        asked = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(head, (asked,))
        means = torch.stack([features[symbols == k].mean(0) for k in range(3)])
        squared = torch.cdist(asked, means).square()
        apart = torch.cdist(means, means).square().sum() / 6
        expected = torch.log_softmax(-squared / (TEMPERATURE * apart), 1)
        torch.testing.assert_close(head(asked).log_softmax(1), expected, rtol=1e-10, atol=1e-10)
        assert all(parameter.requires_grad and parameter.is_leaf for parameter in head.parameters())

    @pytest.mark.parametrize("symbols", [[0, 0, 1, 1], [1, 2, 2, 1], [0, 1, 2, 3]])
    def test_every_symbol_has_one(self, symbols: list[int]) -> None:
        with pytest.raises(UsageError, match="prototypes need features of each of 3 symbols"):
            prototype_head(torch.randn(4, 5), torch.tensor(symbols), 3)

    def test_symbols_that_look_the_same(self) -> None:
        with pytest.raises(UsageError, match="the labelled images of all symbols have the same features") as caught:
            prototype_head(torch.full((3, 5), 0.3), torch.tensor([0, 1, 2]), 3)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "clusters", "expected"),
    [
        ("linear", 0, nn.Linear),
        ("linear", 7, nn.Linear),
        ("clusters", 0, nn.Linear),
        ("clusters", 4, nn.Linear),
        ("clusters", 7, ClusterHead),
        ("prototypes", 0, nn.Linear),
        ("prototypes", 7, nn.Linear),
    ],
)
def test_each_kind(kind: str, clusters: int, expected: type[nn.Module]) -> None:
    head = make_head(kind, encoder(), SHAPE, 4, clusters)
    assert type(head) is expected
    assert isinstance(head, nn.Module)
    assert head(torch.zeros(3, 5)).shape == (3, 4)


def test_none_is_none() -> None:
    assert make_head("none", encoder(4), SHAPE, 4) is None


def test_an_unknown_kind() -> None:
    with pytest.raises(UsageError, match="there is no head deep") as caught:
        make_head("deep", encoder(), SHAPE, 4)
    assert caught.value.hint == "valid: linear, clusters, prototypes, none"


def test_an_encoder_that_does_not_take_the_images() -> None:
    with pytest.raises(UsageError, match=r"does not take images of shape \(3, 9, 9\)"):
        make_head("linear", encoder(), (3, 9, 9), 4)


def test_the_encoder_is_left_as_it_was() -> None:
    made = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5)).train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    make_head("linear", made, SHAPE, 4)
    assert made.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
