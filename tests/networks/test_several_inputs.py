"""A perception of several inputs, and an encoder that learns slower or not at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import DataError
from nesy_gedi.networks.encoders import MlpEncoder
from nesy_gedi.networks.perception import Perception, pixel_statistics


class Together(nn.Module):
    """Keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[Tensor, ...] = ()

    def forward(self, image: Tensor, point: Tensor, sequence: Tensor) -> Tensor:
        self.seen = (image, point, sequence)
        return torch.cat([image.flatten(1)[:, :1], point[:, :1]], 1)


SHAPES = ((1, 2, 2), (2,), (4, 3))
IMAGES, POINTS, SEQUENCES = (
    torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8),
    torch.randn(5, 2),
    torch.randn(5, 4, 3),
)


def several() -> tuple[Together, Perception]:
    encoder = Together()
    means, stds = zip(*map(pixel_statistics, (IMAGES, POINTS, SEQUENCES)), strict=True)
    return encoder, Perception(
        encoder,
        None,
        ("a", "b"),
        image_shape=SHAPES[0],
        mean=means,
        std=stds,
        further=SHAPES[1:],
    )


def test_each_input_is_standardised_by_its_own_statistics() -> None:
    encoder, network = several()
    assert network(IMAGES, POINTS, SEQUENCES).shape == (5, 2)
    for seen, dims in zip(encoder.seen, ((0, 2, 3), (0,), (0, 1)), strict=True):
        assert torch.allclose(seen.mean(dims), torch.zeros(1), atol=1e-5)
        assert torch.allclose(seen.std(dims), torch.ones(1), atol=1e-4)
    assert network.image_shapes == SHAPES
    assert network.image_shape == SHAPES[0]


def test_statistics_are_kept_with_the_weights() -> None:
    _, network = several()
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == {
        "mean": (1,),
        "std": (1,),
        "mean_1": (2,),
        "std_1": (2,),
        "mean_2": (3,),
        "std_2": (3,),
    }
    assert not {"mean_1", "std_1"} & set(Perception(nn.Flatten(), None, "ab", image_shape=(2,)).state_dict())


def test_inputs_that_are_not_those_are_refused() -> None:
    _, network = several()
    with pytest.raises(DataError, match="2 inputs, the network expects 3"):
        network(IMAGES, POINTS)
    with pytest.raises(DataError, match="0 inputs"):
        network()
    with pytest.raises(DataError, match="inputs of 5, 4, 5 rows"):
        network(IMAGES, POINTS[:4], SEQUENCES)
    with pytest.raises(DataError, match=r"\(3, 3\), the network expects \(4, 3\) as input 3"):
        network.features(IMAGES, POINTS, SEQUENCES[:, :3])


# -- learning rates ----------------------------------------------------------------------------------------------------


def normalised() -> Perception:
    encoder = nn.Sequential(MlpEncoder((2,), 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    return Perception(encoder, nn.Linear(4, 2), ("a", "b"), image_shape=(2,))


def test_a_frozen_encoder_stays_as_it_is_while_its_head_learns() -> None:
    network = normalised()
    network.set_rate(0.0)
    before = {key: tensor.clone() for key, tensor in network.encoder.state_dict().items()}
    network.train()
    assert network.head.training
    assert not any(module.training for module in network.encoder.modules())
    first, second = (network(POINTS) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    first.sum().backward()
    assert network.head.weight.grad is not None  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in network.encoder.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.encoder.state_dict().items())


def test_a_gradient_of_its_input_goes_through_a_frozen_encoder() -> None:
    network = normalised()
    network.set_rate(0.0)
    points = POINTS.clone().requires_grad_()
    network(points)[:, 0].sum().backward()
    assert points.grad is not None
    assert bool((points.grad != 0.0).any())


def test_another_rate_leaves_the_encoder_learning() -> None:
    network = normalised()
    network.set_rate(0.1)
    assert network.train().encoder.training
    assert all(parameter.requires_grad for parameter in network.parameters())
