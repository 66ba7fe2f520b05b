"""An encoder of several inputs sees inputs of one shape with the same weights, and how they relate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nesy_gedi.errors import DataError
from nesy_gedi.networks.batches import in_batches
from nesy_gedi.networks.perception import Perception
from nesy_gedi.networks.several_inputs import JoinedEncoder

SHAPES = ((1, 2, 2), (3,), (1, 2, 2))


def joined() -> JoinedEncoder:
    torch.manual_seed(0)
    return JoinedEncoder(SHAPES, lambda shape: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), width=7)


def inputs(count: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, *shape, generator=generator) for shape in SHAPES]


def test_inputs_of_one_shape_share_an_encoder() -> None:
    encoder, (first, point, second) = joined(), inputs()
    assert len(encoder.encoders) == 2
    parts = [encoder.encoders[0](first), encoder.encoders[1](point), encoder.encoders[0](second)]
    torch.testing.assert_close(encoder(first, point, second), encoder.together(torch.cat(parts, 1)))


def test_statistics_of_batches_are_not_those_of_black_images() -> None:
    made: list[nn.BatchNorm1d] = []

    def make(shape: tuple[int, ...]) -> nn.Module:
        made.append(nn.BatchNorm1d(3))
        return made[-1]

    encoder = JoinedEncoder(((3,), (3,)), make)
    assert (len(made), int(made[0].num_batches_tracked or 0), encoder.training) == (1, 0, True)


def test_each_input_is_standardised_for_itself() -> None:
    class Sums(nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return torch.stack([first.sum(1), second.sum(1)], 1)

    means, stds = (torch.tensor([1.0, 2.0]), torch.tensor([4.0])), (torch.ones(2), torch.tensor([2.0]))
    network = Perception(Sums(), None, ("a", "b"), image_shape=((2,), (1,)), mean=means, std=stds)
    assert network.image_shapes == ((2,), (1,))
    assert network.image_shape is None
    seen = network.features(torch.tensor([[3.0, 3.0]]), torch.tensor([[10.0]]))
    assert seen.tolist() == [[3.0, 3.0]]
    assert set(dict(network.named_buffers())) == {"mean", "std", "mean_1", "std_1"}
    pair = (torch.randn(2000, 2), torch.randn(2000, 1))
    torch.testing.assert_close(in_batches(network, pair), network(*pair).detach())


def test_another_number_of_inputs_is_refused() -> None:
    network = Perception(nn.Linear(2, 2), None, ("a", "b"), image_shape=(2,))
    with pytest.raises(DataError, match="2 inputs, the network takes 1"):
        network(torch.zeros(1, 2), torch.zeros(1, 2))
    assert network.image_shapes == ((2,),)
    assert set(dict(network.named_buffers())) == {"mean", "std"}
