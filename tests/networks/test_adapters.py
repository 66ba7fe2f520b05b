"""Images adapted to an encoder: size, colour and normalisation, by a fixed linear map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.adapters import LUMA, Adapted, resizing_matrix
from nesy_gedi.networks.encoders import ConvEncoder


def adapted(given: tuple[int, ...], takes: tuple[int, ...], images: Tensor, **arguments: list[float]) -> Tensor:
    return Adapted(nn.Flatten(), given, takes, **arguments).to(images.dtype).adapt(images)


@pytest.mark.parametrize(("given", "takes"), [((8, 8), (32, 32)), ((28, 20), (9, 13)), ((5, 5), (7, 3))])
def test_a_resize_is_that_of_torch(given: tuple[int, int], takes: tuple[int, int]) -> None:
    images = torch.rand(3, 2, *given, dtype=torch.float64)
    expected = functional.interpolate(images, size=takes, mode="bilinear", align_corners=False, antialias=True)
    found = adapted((2, *given), (2, *takes), images)
    assert torch.allclose(found, expected, atol=1e-6)  # the matrix is kept in float32


def test_flat_images_stay_as_they_are() -> None:
    """The rows of each matrix sum to one, also at the borders."""
    for before, after in ((8, 32), (28, 5), (1, 4)):
        assert torch.allclose(resizing_matrix(before, after).sum(1), torch.ones(after), atol=1e-6)


def test_grey_is_repeated_and_colour_becomes_luma() -> None:
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(adapted((1, 4, 4), (3, 4, 4), grey), grey.repeat(1, 3, 1, 1))
    expected = sum(weight * colour[:, k : k + 1] for k, weight in enumerate(LUMA))
    assert torch.allclose(adapted((3, 4, 4), (1, 4, 4), colour), torch.as_tensor(expected))
    assert torch.allclose(adapted((3, 4, 4), (1, 4, 4), grey.repeat(1, 3, 1, 1)), grey)


def test_channels_are_standardised_after_they_are_there() -> None:
    grey = torch.rand(2, 1, 4, 4)
    found = adapted((1, 4, 4), (3, 4, 4), grey, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0])
    assert torch.allclose(found[:, 2:], (grey - 0.3) / 4.0)


def test_a_state_dict_brings_all_of_it_back() -> None:
    images = torch.rand(4, 3, 8, 8)
    first = Adapted(ConvEncoder((1, 16, 12), 8), (3, 8, 8), (1, 16, 12), mean=[0.4], std=[0.5]).eval()
    second = Adapted(ConvEncoder((1, 16, 12), 8), (3, 8, 8), (1, 16, 12)).eval()
    assert not torch.equal(first(images), second(images))
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(images), second(images))


def test_the_map_of_an_encoder_is_still_known() -> None:
    assert Adapted(ConvEncoder((1, 8, 8), 0), (1, 4, 4), (1, 8, 8)).map_shape == (64, 2, 2)
    assert Adapted(nn.Flatten(), (1, 4, 4), (1, 8, 8)).map_shape is None


def test_the_sentence_says_what_is_done() -> None:
    said = Adapted(nn.Flatten(), (1, 8, 8), (3, 32, 32), mean=[0.5] * 3, std=[0.25] * 3).sentence()
    assert said.startswith("resized from 8x8 to 32x32, repeated to colour, normalised by the encoder's mean 0.5,")
    assert Adapted(nn.Flatten(), (3, 8, 8), (1, 8, 8)).sentence() == "turned grey"


@pytest.mark.parametrize(
    ("given", "takes", "message"),
    [((2,), (3, 8, 8), "cannot be adapted"), ((4, 8, 8), (3, 8, 8), "4 channels cannot be adapted")],
)
def test_what_cannot_be_adapted_is_refused(given: tuple[int, ...], takes: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Adapted(nn.Flatten(), given, takes)


@pytest.mark.parametrize(("before", "after"), [(5, 8), (8, 32), (28, 9), (33, 1)])
def test_the_matrix_is_that_of_a_tent_as_wide_as_a_pixel_of_the_smaller_size(before: int, after: int) -> None:
    scale = before / after
    width = max(1.0, scale)  # without antialiasing, pixels between two neighbours would be left out
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(before, dtype=torch.float64) + 0.5
    tent = (1.0 - (pixels - centres[:, None]).abs() / width).clamp_min(0.0)
    assert torch.allclose(resizing_matrix(before, after).double(), tent / tent.sum(1, keepdim=True), atol=5e-6)
