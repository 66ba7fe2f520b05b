"""Views against single-image references: exact copies for whole-pixel moves, and torchvision for the affine maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from nesy_gedi.data import Augmentation, augment
from nesy_gedi.errors import DataError, UsageError

NOTHING = {"shift": 0.0, "scale": 0.0, "rotation": 0.0, "shear": 0.0, "noise": 0.0}
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 16, 16), (2, 9, 14)]


def only(**strengths: object) -> Augmentation:
    return Augmentation(**(NOTHING | strengths))  # type: ignore[arg-type]


def some_images(count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def drawn(count: int, seed: int) -> np.ndarray:
    """(6, count) in -1..1: what the generator gives for shift x and y, scale, rotation, shear and flip."""
    torch.manual_seed(seed)
    return torch.rand(6, count).double().numpy() * 2 - 1


def views(images: torch.Tensor, augmentation: Augmentation, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return augment(images, augmentation)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_strength_nothing_changes(shape: tuple[int, int, int]) -> None:
    images = some_images(5, shape)
    assert only() == Augmentation.none()
    view = augment(images, Augmentation.none())
    assert view.dtype == torch.float32
    assert torch.equal(view, images.float() / 255.0)
    points = torch.randn(5, 2)
    assert torch.equal(augment(points, Augmentation.for_points(0.0)), points)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_view_is_torchvisions_affine_map_of_its_own_image(shape: tuple[int, int, int]) -> None:
    images = some_images(12, shape)
    across, down, scale, rotation, shear, _ = drawn(12, seed=3)
    view = views(images, Augmentation(noise=0.0), seed=3)
    for i, image in enumerate(images):
        expected = reference.affine(
            image.double() / 255.0,
            angle=15.0 * rotation[i],
            translate=[0.2 * across[i] * shape[2], 0.2 * down[i] * shape[1]],  # type: ignore[list-item]
            scale=1.0 + 0.2 * scale[i],
            shear=[-math.degrees(math.atan(0.3 * shear[i])), 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        np.testing.assert_allclose(view[i].numpy(), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_strong_maps_are_torchvisions_too(shape: tuple[int, int, int]) -> None:
    images = some_images(8, shape)
    across, down, scale, rotation, shear, flip = drawn(8, seed=4)
    view = views(images, Augmentation(shift=0.6, scale=0.7, rotation=180.0, shear=1.2, noise=0.0, flip=True), seed=4)
    assert {bool(value < 0) for value in flip} == {True, False}
    for i, image in enumerate(images):
        original = image.double() / 255.0
        expected = reference.affine(
            reference.horizontal_flip(original) if flip[i] < 0 else original,
            angle=180.0 * rotation[i],
            translate=[0.6 * across[i] * shape[2], 0.6 * down[i] * shape[1]],  # type: ignore[list-item]
            scale=1.0 + 0.7 * scale[i],
            shear=[-math.degrees(math.atan(1.2 * shear[i])), 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        np.testing.assert_allclose(view[i].numpy(), expected.numpy(), atol=1e-4)


def test_a_shift_is_bilinear_and_black_beyond_the_border() -> None:
    images = some_images(6, (1, 10, 12))
    across, down = 0.25 * drawn(6, seed=5)[:2]
    view = views(images, only(shift=0.25), seed=5)
    for i, image in enumerate(images.double().numpy()[:, 0] / 255.0):
        padded = np.pad(image, 8)
        x, y = across[i] * 12, down[i] * 10
        left, top = math.floor(x), math.floor(y)
        expected = np.zeros((10, 12))
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = abs(1 - dx - (x - left)) * abs(1 - dy - (y - top))
            rows, columns = np.arange(10) - top - dy + 8, np.arange(12) - left - dx + 8
            expected += weight * padded[np.ix_(rows, columns)]
        np.testing.assert_allclose(view[i, 0].numpy(), expected, atol=1e-5)


def test_flip_alone_mirrors_about_half_of_the_images() -> None:
    images = some_images(400, (3, 6, 5))
    view = views(images, only(flip=True), seed=6)
    plain = images.float() / 255.0
    kept = (view - plain).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (view - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert bool((kept ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250  # five standard deviations


def test_the_centre_of_mass_moves_by_the_drawn_shift_both_ways() -> None:
    images = torch.zeros(2000, 1, 21, 21)
    images[:, :, 10, 10] = 1.0
    view = views(images, only(shift=0.2), seed=7)[:, 0].double()
    axis = torch.arange(21.0).double() - 10
    x, y = (view.sum(1) * axis).sum(1), (view.sum(2) * axis).sum(1)
    for moved in (x, y):
        # uniform in -4.2 .. 4.2 pixels
        assert float(moved.abs().max()) == pytest.approx(4.2, abs=0.05)
        assert float(moved.mean()) == pytest.approx(0.0, abs=0.25)
        assert float(moved.std()) == pytest.approx(8.4 / math.sqrt(12), rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 0.1


def test_scale_alone_changes_the_area_as_drawn() -> None:
    images = torch.zeros(50, 1, 41, 41)
    images[:, :, 12:29, 12:29] = 1.0
    factor = 1.0 + 0.2 * drawn(50, seed=8)[2]
    area = views(images, only(scale=0.2), seed=8).sum((1, 2, 3)).double().numpy()
    np.testing.assert_allclose(area, 17**2 * factor**2, rtol=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_floats_and_memory_layouts_give_the_same_view(shape: tuple[int, int, int]) -> None:
    images = some_images(7, shape)
    augmentation = Augmentation(colour=0.3, flip=True)
    expected = views(images, augmentation, seed=9)
    assert torch.equal(views(images.float() / 255.0, augmentation, seed=9), expected)
    assert torch.allclose(views(images.double() / 255.0, augmentation, seed=9), expected, atol=1e-5)
    channels_last = (images.float() / 255.0).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(views(channels_last, augmentation, seed=9), expected, atol=1e-6)
    transposed = images.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(views(transposed, augmentation, seed=9), expected)
    assert views(images.half(), augmentation, seed=9).dtype == torch.float32


def test_the_global_generator_decides() -> None:
    images = some_images(4, (1, 8, 8))
    first, again, other = (views(images, Augmentation(), seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(augment(images, Augmentation()), first)
    second = augment(images, Augmentation())  # the state has moved on
    assert not torch.equal(second, first)


def test_images_of_a_batch_are_changed_independently() -> None:
    image = some_images(1, (1, 12, 12))
    batch = image.expand(64, -1, -1, -1)
    for augmentation in (only(shift=0.2), only(scale=0.2), only(rotation=15.0), only(shear=0.3), only(noise=0.1)):
        view = views(batch, augmentation, seed=10)
        assert len(view.flatten(1).unique(dim=0)) == 64
    # the other images do not matter
    changed = torch.cat([batch[:5], some_images(59, (1, 12, 12))])
    assert torch.equal(views(changed, Augmentation(), seed=11)[:5], views(batch, Augmentation(), seed=11)[:5])


def test_the_input_is_left_alone() -> None:
    images = torch.rand(4, 1, 8, 8)
    points = torch.randn(4, 2)
    before, points_before = images.clone(), points.clone()
    for augmentation in (only(), only(noise=0.2), only(colour=0.3), Augmentation()):
        view = augment(images, augmentation)
        assert view.data_ptr() != images.data_ptr()
        assert torch.equal(images, before)
    augment(points, Augmentation.for_points())
    assert torch.equal(points, points_before)


def test_noise_is_gaussian_with_its_strength() -> None:
    images = torch.full((200, 1, 10, 10), 0.5)
    noise = views(images, only(noise=0.05), seed=12) - 0.5
    assert float(noise.mean()) == pytest.approx(0.0, abs=2e-3)
    assert float(noise.std()) == pytest.approx(0.05, rel=0.03)
    inside = (noise.abs() < 0.05).double().mean()
    assert float(inside) == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.015)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_noise_never_leaves_the_range(level: float) -> None:
    view = views(torch.full((50, 1, 10, 10), level), only(noise=0.4), seed=13)
    assert float(view.min()) >= 0.0
    assert float(view.max()) <= 1.0
    at_the_bound = (view == level).double().mean()
    assert float(at_the_bound) == pytest.approx(0.5, abs=0.03)  # half of the noise is cut off, none is folded back


@given(
    st.sampled_from(SHAPES),
    st.builds(
        Augmentation,
        shift=st.floats(0, 1),
        scale=st.floats(0, 0.99),
        rotation=st.floats(0, 180),
        shear=st.floats(0, 3),
        noise=st.floats(0, 2),
        flip=st.booleans(),
        colour=st.floats(0, 0.99),
    ),
)
def test_views_are_images(shape: tuple[int, int, int], augmentation: Augmentation) -> None:
    view = augment(some_images(3, shape), augmentation)
    assert view.shape == (3, *shape)
    assert view.dtype == torch.float32
    assert bool(((view >= 0.0) & (view <= 1.0)).all())  # false for NaN


@pytest.mark.parametrize("shape", [(3, 6, 6), (1, 6, 6)])
def test_colour_jitter_is_torchvisions_brightness_contrast_and_saturation(shape: tuple[int, int, int]) -> None:
    # mid-grey images, so that torchvision's clamping after every step does nothing
    images = some_images(10, shape).double() / 255.0 * 0.2 + 0.4
    torch.manual_seed(14)
    brightness, contrast, saturation = 1.0 + 0.3 * (torch.rand(3, 10).double().numpy() * 2 - 1)
    view = views(images, only(colour=0.3), seed=14)
    for i, image in enumerate(images):
        expected = reference.adjust_brightness(image, brightness[i])
        expected = reference.adjust_contrast(expected, contrast[i])
        if shape[0] == 3:
            expected = reference.adjust_saturation(expected, saturation[i])
        np.testing.assert_allclose(view[i].numpy(), expected.numpy(), atol=2e-4)  # torchvision rounds its weights


def test_points_get_noise_alone() -> None:
    points = torch.tensor([[100.0, -3.0]]).expand(20000, 2)
    noise = (views(points, Augmentation.for_points(), seed=15) - points).double()
    assert noise.mean(0).tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
    assert noise.std(0).tolist() == pytest.approx([0.03, 0.03], rel=0.03)
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.03
    assert augment(points.double(), Augmentation.for_points()).dtype == torch.float32


@pytest.mark.parametrize("augmentation", [Augmentation(), only(colour=0.1), only(flip=True), only(shear=0.1)])
def test_points_cannot_be_augmented_like_images(augmentation: Augmentation) -> None:
    with pytest.raises(UsageError, match="points can be augmented with noise alone") as caught:
        augment(torch.zeros(4, 2), augmentation)
    assert "Augmentation.for_points()" in str(caught.value.hint)


def test_no_images_give_no_views() -> None:
    assert augment(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), Augmentation(colour=0.1)).shape == (0, 1, 8, 8)
    assert augment(torch.zeros(0, 2), Augmentation.for_points()).shape == (0, 2)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 8, 8, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(4, 2, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 8, dtype=torch.int64),
    ],
)
def test_images_of_another_kind(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"not \w+ of shape"):
        augment(images, Augmentation())


@pytest.mark.parametrize(
    ("strengths", "message", "hint"),
    [
        ({"shift": 1.1}, "shift cannot be 1.1", "from 0 to 1"),
        ({"shift": -0.1}, "shift cannot be -0.1", "from 0 to 1"),
        ({"scale": 1.0}, "scale cannot be 1.0", "from 0 to below 1"),
        ({"rotation": 181.0}, "rotation cannot be 181.0", "from 0 to 180"),
        ({"shear": math.inf}, "shear cannot be inf", "of 0 or more"),
        ({"noise": math.nan}, "noise cannot be nan", "of 0 or more"),
        ({"colour": -1}, "colour cannot be -1", "from 0 to below 1"),
        ({"noise": "much"}, "noise must be a number, not 'much'", None),
        ({"scale": True}, "scale must be a number, not True", None),
        ({"flip": 1}, "flip must be true or false, not 1", None),
    ],
)
def test_impossible_strengths(strengths: dict[str, object], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        Augmentation(**strengths)  # type: ignore[arg-type]
    assert message in caught.value.message
    if hint:
        assert hint in str(caught.value.hint)
