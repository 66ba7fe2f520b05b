"""Perception: whatever a network returns, rows of log-probabilities come out, or an error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.errors import DataError, DistributionError, UsageError
from nesy_gedi.networks.encoders import ConvEncoder, MlpEncoder
from nesy_gedi.networks.heads import make_head
from nesy_gedi.networks.perception import EncoderError, Perception, check_finite, pixel_statistics

DOMAIN = ("a", "b", "c")
SHAPES = [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32)]


class Returns(nn.Module):
    """Gives the same rows for any images."""

    def __init__(self, rows: object) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, images: Tensor) -> Tensor:
        return self.rows


def returning(rows: object, output: str) -> Perception:
    return Perception(Returns(rows), None, DOMAIN, image_shape=(1, 2, 2), output=output)


def blank(count: int) -> Tensor:
    return torch.zeros(count, 1, 2, 2)


def conv(shape: tuple[int, int, int], images: Tensor | None = None) -> Perception:
    torch.manual_seed(1)
    encoder = ConvEncoder(shape, 16)
    mean, std = (None, None) if images is None else pixel_statistics(images)
    head = make_head("linear", encoder, shape, len(DOMAIN))
    return Perception(encoder, head, DOMAIN, image_shape=shape, mean=mean, std=std)


def some_images(shape: tuple[int, int, int], count: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_normalised(shape: tuple[int, int, int]) -> None:
    images = some_images(shape)
    log_p = conv(shape, images)(images)
    assert log_p.shape == (5, 3)
    assert log_p.dtype == torch.float32
    assert torch.allclose(log_p.exp().sum(1), torch.ones(5))


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_and_floats_give_the_same(shape: tuple[int, int, int]) -> None:
    images = some_images(shape)
    network = conv(shape, images).eval()
    assert torch.equal(network(images), network(images.float() / 255.0))
    assert torch.allclose(network(images), network(images.double() / 255.0), atol=1e-6)


def test_pixels_reach_the_encoder_standardised() -> None:
    images = some_images((3, 4, 4), 50)
    seen: list[Tensor] = []

    class Looks(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            seen.append(pixels)
            return pixels.new_zeros(len(pixels), 3)

    mean, std = pixel_statistics(images)
    Perception(Looks(), None, DOMAIN, image_shape=(3, 4, 4), mean=mean, std=std)(images)
    assert torch.allclose(seen[0].mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(seen[0].std((0, 2, 3)), torch.ones(3), atol=1e-5)
    Perception(Looks(), None, DOMAIN, image_shape=(3, 4, 4))(images)
    assert torch.equal(seen[1], images.float() / 255.0)


def test_statistics_of_images_without_contrast() -> None:
    mean, std = pixel_statistics(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean.tolist() == pytest.approx([0.2])
    assert float(std) > 0


def test_points_reach_the_encoder_standardised_per_coordinate() -> None:
    points = torch.randn(60, 2) * torch.tensor([3.0, 0.1]) + torch.tensor([10.0, -5.0])
    mean, std = pixel_statistics(points)
    np.testing.assert_allclose(mean.numpy(), points.numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(std.numpy(), points.numpy().std(0, ddof=1), rtol=1e-5)
    network = Perception(nn.Identity(), None, DOMAIN[:2], image_shape=(2,), mean=mean, std=std)
    standard = (points.numpy() - points.numpy().mean(0)) / points.numpy().std(0, ddof=1)
    expected = standard - np.log(np.exp(standard).sum(1, keepdims=True))
    np.testing.assert_allclose(network(points).numpy(), expected, atol=1e-4)


def test_rows_of_points_are_normalised() -> None:
    encoder = MlpEncoder((2,), 16)
    network = Perception(encoder, make_head("linear", encoder, (2,), 3), DOMAIN, image_shape=(2,))
    log_p = network(torch.randn(5, 2))
    assert log_p.shape == (5, 3)
    assert torch.allclose(log_p.exp().sum(1), torch.ones(5))
    with pytest.raises(DataError) as caught:
        network(torch.randn(5, 3))
    assert caught.value.message == "images of shape (3,), the network expects (2,)"


def test_a_network_of_any_shape_takes_points_and_images() -> None:
    network = Perception(nn.Flatten(), None, ("a", "b", "c", "d"))
    assert network(torch.randn(5, 4)).shape == network(torch.rand(5, 1, 2, 2)).shape == (5, 4)


def test_statistics_of_float_images_are_not_scaled() -> None:
    images = some_images((3, 4, 4), 20)
    for found, expected in zip(pixel_statistics(images.float() / 255.0), pixel_statistics(images), strict=True):
        assert torch.allclose(found, expected)


def test_statistics_are_saved_with_the_weights() -> None:
    shape = (1, 8, 8)
    one, other = conv(shape, some_images(shape)), conv(shape)
    other.load_state_dict(one.state_dict())
    images = some_images(shape)
    assert torch.equal(one.eval()(images), other.eval()(images))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_computes_in_the_precision_of_its_weights(dtype: torch.dtype) -> None:
    images = some_images((1, 8, 8))
    log_p = conv((1, 8, 8), images).to(dtype)(images)
    assert log_p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(log_p.exp().sum(1), torch.ones(5, dtype=log_p.dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_other_integers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=r"expects uint8 in 0\.\.255 or float in \[0, 1\]"):
        conv((1, 8, 8))(some_images((1, 8, 8)).to(dtype))


@pytest.mark.parametrize("shape", [(2, 1, 8, 9), (2, 3, 8, 8), (1, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"the network expects \(1, 8, 8\)"):
        conv((1, 8, 8))(torch.zeros(shape))


def test_each_kind_of_output() -> None:
    logits = [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]
    expected = torch.log_softmax(torch.tensor(logits), 1)
    assert torch.allclose(returning(logits, "logits")(blank(2)), expected)
    assert torch.allclose(returning(expected.tolist(), "log_probabilities")(blank(2)), expected)
    assert torch.allclose(returning(expected.exp().tolist(), "probabilities")(blank(2)), expected, atol=1e-6)


def test_unknown_output() -> None:
    with pytest.raises(UsageError, match="a network cannot return scores") as caught:
        returning([[1.0, 0.0, 0.0]], "scores")
    assert "log_probabilities" in str(caught.value.hint)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[0.1] * 4], [0.1] * 3, [[[0.1]] * 3]])
@pytest.mark.parametrize("output", ["logits", "log_probabilities", "probabilities"])
def test_wrong_width(rows: object, output: str) -> None:
    with pytest.raises(DistributionError, match="its domain has 3 symbols") as caught:
        returning(rows, output)(blank(1))
    assert 'head = "linear"' in str(caught.value.hint)


def test_not_a_tensor() -> None:
    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(DistributionError, match="the network returns tuple"):
        Perception(Pair(), None, DOMAIN, image_shape=(1, 2, 2))(blank(1))


@pytest.mark.parametrize(
    ("rows", "output", "message"),
    [
        ([[0.5, 0.5, 0.0], [0.5, 0.4, 0.0]], "probabilities", "a row sums to 0.9, not 1"),
        ([[1.2, -0.2, 0.0]], "probabilities", "a row holds -0.2"),
        ([[math.nan, 0.5, 0.5]], "probabilities", "a row sums to nan, not 1"),
        ([[0.0, 0.0, 0.0]], "log_probabilities", "a row sums to 3, not 1"),
        ([[math.nan, 0.0, 0.0]], "log_probabilities", "a row sums to nan, not 1"),
    ],
)
def test_rows_that_are_no_distributions(rows: object, output: str, message: str) -> None:
    with pytest.raises(DistributionError) as caught:
        returning(rows, output)(blank(2))
    assert caught.value.message == f"the network declares {output}, but {message}"
    assert "softmax" in str(caught.value.hint)


def test_rounding_is_no_fault() -> None:
    log_p = returning([[0.5, 0.4996, 0.0]], "probabilities")(blank(1))
    assert float(log_p[0, 0].detach()) == pytest.approx(math.log(0.5))


def test_an_exact_zero_is_impossible_and_has_a_safe_gradient() -> None:
    network = returning([[0.25, 0.75, 0.0]], "probabilities")
    log_p = network(blank(1))
    assert log_p[0, 2] == -math.inf
    # The gradient of the circuit is finite where the probability is zero, or zero times infinity: both must vanish.
    log_p.backward(torch.tensor([[1.0, 2.0, math.nan]]))
    assert network.encoder.rows.grad.tolist() == [[4.0, pytest.approx(8 / 3), 0.0]]  # type: ignore[union-attr, operator]


# -- encoders that fail ------------------------------------------------------------------------------------------------


class Gives(nn.Module):
    """Returns what it is told to, or raises it."""

    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, images: Tensor) -> object:
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


NO_FEATURES = [
    ((torch.rand(4, 3), 1), "returns a tuple of 2 (Tensor, int), expected a tensor of features (batch, d)"),
    (None, "returns NoneType, expected a tensor of features (batch, d)"),
    (torch.zeros(4, 3, dtype=torch.int64), "features of type int64, expected float"),
    (torch.zeros(4, 3, dtype=torch.complex64), "features of type complex64, expected float"),
    (torch.zeros(8, 3), "returns 8 rows for 4 images"),
    (torch.zeros(4), "features of shape (4,), expected (batch, d)"),
]


@pytest.mark.parametrize(("what", "message"), NO_FEATURES, ids=[each[1][:40] for each in NO_FEATURES])
def test_an_encoder_without_features_is_wrong_usage_until_it_has_worked(what: object, message: str) -> None:
    encoder = Gives(what)
    network = Perception(encoder, None, DOMAIN, image_shape=(1, 2, 2))
    with pytest.raises(UsageError) as wrong:
        network.features(blank(4))
    assert message in wrong.value.message
    assert wrong.value.hint
    encoder.what = torch.rand(4, 3)
    assert network.features(blank(4)) is encoder.what
    encoder.what = what
    with pytest.raises(EncoderError) as failed:
        network.features(blank(4))
    assert message in failed.value.message
    assert not isinstance(failed.value, UsageError)  # the command line's exit code


@pytest.mark.parametrize("images", [1, 4])
def test_an_exception_is_the_callers_until_the_encoder_has_worked(images: int) -> None:
    encoder = Gives(ValueError("not today"))
    network = Perception(encoder, None, DOMAIN, image_shape=(1, 2, 2))
    for call in (network, network.features):
        with pytest.raises(ValueError, match="not today"):
            call(blank(images))
    encoder.what = torch.rand(images, 3)
    network(blank(images))
    encoder.what = ValueError("not today")
    for call in (network, network.features):
        with pytest.raises(
            EncoderError, match=rf"batch of shape \({images}, 1, 2, 2\): ValueError: not today"
        ) as caught:
            call(blank(images))
        assert caught.value.__cause__ is encoder.what


@pytest.mark.parametrize("rows", [1, 3])
def test_as_many_rows_as_images(rows: int) -> None:
    network = Perception(Gives(torch.rand(rows, 3)), None, DOMAIN)
    with pytest.raises(UsageError, match=f"returns {rows} rows for 2 images"):
        network(blank(2))


def test_whole_numbers_are_no_outputs() -> None:
    with pytest.raises(DistributionError, match="values of type int64, expected float"):
        Perception(Gives(torch.zeros(2, 3, dtype=torch.int64)), None, DOMAIN)(blank(2))


def test_an_error_of_ours_stays_what_it_is() -> None:
    with pytest.raises(DataError, match="as it was"):
        Perception(Gives(DataError("as it was")), None, DOMAIN)(blank(2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_counted(value: float) -> None:
    features = torch.ones(5, 3)
    check_finite(features)
    features[1, 2] = features[3, 0] = features[3, 1] = value
    with pytest.raises(EncoderError, match="not finite, of 2 of 5 images"):
        check_finite(features)
