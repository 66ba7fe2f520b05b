"""Ensembles of networks: what the members say is what they would say alone, and together they say its average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.ensembles import EnsembleEncoder, EnsembleHead, log_average, side_by_side
from nesy_gedi.networks.perception import Perception

MEMBERS, FEATURES, SYMBOLS = 3, 5, 4
DOMAIN = tuple("abcd")
IMAGES = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def member() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, FEATURES), nn.ReLU())
    return encoder, nn.Linear(FEATURES, SYMBOLS)


def ensemble() -> tuple[list[tuple[nn.Module, nn.Module]], Perception]:
    """Members, and a network of them."""
    torch.manual_seed(1)
    members = [member() for _ in range(MEMBERS)]
    encoder, head = side_by_side(members)
    return members, Perception(encoder, head, DOMAIN, image_shape=(1, 2, 2))


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def log(probabilities: list[list[float]], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(probabilities, dtype=dtype).log()


# -- the average -------------------------------------------------------------------------------------------------------


def test_the_head_is_the_average_of_its_members() -> None:
    heads = [nn.Linear(FEATURES, SYMBOLS, dtype=torch.float64) for _ in range(MEMBERS)]
    features = torch.randn(7, MEMBERS * FEATURES, dtype=torch.float64) * 3
    with torch.no_grad():
        found, apart = EnsembleHead(heads)(features), EnsembleHead(heads).log_probabilities(features)
    expected = []
    for k, head in enumerate(heads):
        own = features.numpy()[:, k * FEATURES : (k + 1) * FEATURES]
        expected.append(softmax(own @ head.weight.detach().numpy().T + head.bias.detach().numpy()))
    assert apart.shape == (MEMBERS, 7, SYMBOLS)
    np.testing.assert_allclose(apart.exp().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(found.exp().numpy(), np.mean(expected, axis=0), rtol=1e-12)


def test_what_is_impossible_for_one_is_possible_if_another_thinks_so() -> None:
    found = log_average(log([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5]]))
    torch.testing.assert_close(found.exp(), torch.tensor([0.25, 0.0, 0.75], dtype=torch.float64))
    assert found[1] == -torch.inf


def test_the_average_does_not_underflow() -> None:
    """e^-400 is zero in either precision."""
    tiny = torch.tensor([[-400.0, 0.0], [-402.0, 0.0]])
    assert float(log_average(tiny)[0]) == pytest.approx(-400.0 + math.log((1 + math.exp(-2.0)) / 2), abs=1e-4)


def test_gradient_of_the_average() -> None:
    log_p = torch.randn(MEMBERS, 5, SYMBOLS, dtype=torch.float64).log_softmax(2).requires_grad_()
    assert torch.autograd.gradcheck(log_average, log_p)


def test_gradient_of_the_head() -> None:
    head = EnsembleHead([nn.Linear(2, 3) for _ in range(2)]).double()
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: head(x), features)
    assert torch.autograd.gradcheck(lambda x: head.log_probabilities(x), features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_have_finite_gradients(dtype: torch.dtype) -> None:
    log_p = log([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5]], dtype).requires_grad_()
    # Only what is possible is looked at, as the loss of observed answers does.
    torch.log_softmax(log_average(log_p)[None], 1)[0, [0, 2]].sum().backward()
    assert log_p.grad is not None
    assert bool(log_p.grad.isfinite().all())
    assert log_p.grad[:, 1].tolist() == [0.0, 0.0]
    assert log_p.grad[0, 0] == 0.0
    assert log_p.grad[1, 0] != 0.0


def test_half_precision_features_become_single() -> None:
    head = EnsembleHead([nn.Linear(2, 3) for _ in range(2)]).to(torch.bfloat16)
    found = head(torch.randn(4, 4, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4))


# -- as a network ------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_one_perception() -> None:
    members, together = ensemble()
    alone = [Perception(encoder, head, DOMAIN, image_shape=(1, 2, 2))(IMAGES).exp() for encoder, head in members]
    torch.testing.assert_close(together(IMAGES).exp(), torch.stack(alone).mean(0))
    assert together.features(IMAGES).shape == (6, MEMBERS * FEATURES)


def test_members_look_alike_but_differ() -> None:
    _, together = ensemble()
    assert isinstance(together.encoder, EnsembleEncoder)
    first, second = (dict(each.named_parameters()) for each in list(together.encoder.members)[:2])
    assert [tensor.shape for tensor in first.values()] == [tensor.shape for tensor in second.values()]
    assert not any(torch.equal(first[name], second[name]) for name in first)


def test_every_member_learns() -> None:
    _, together = ensemble()
    together(IMAGES)[:, 0].sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in together.parameters())


# -- side by side ------------------------------------------------------------------------------------------------------


def test_a_single_member_stays_what_it_is() -> None:
    alone = member()
    assert side_by_side([alone]) is alone
    assert side_by_side([(alone[0], None)]) == (alone[0], None)


def test_members_need_heads() -> None:
    with pytest.raises(UsageError, match="needs a head"):
        side_by_side([(member()[0], None), member()])


def test_members_need_weights_of_their_own() -> None:
    encoder, head = member()
    with pytest.raises(UsageError, match="the same module each time") as caught:
        side_by_side([(encoder, head), (encoder, member()[1])])
    assert "factory" in str(caught.value.hint)
