"""Labelled images: what is drawn, what is read, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import SMALL, addition
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits, load_images
from nesy_gedi.errors import DataError, RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.labels import LABELLED_BATCH, Labelled, absolute_label, parse_label, read_labels, told_symbols
from nesy_gedi.training.recipe import NetworkRecipe, load_recipe
from nesy_gedi.training.task import Task


def labelled(*entries: str, images: ImageSet, seed: int = 3) -> Labelled:
    task = Task(addition(), replace(SMALL, seed=seed, networks={"digit_net": NetworkRecipe(labels=entries)}))
    return read_labels(task, images)["digit_net"]


def save(pixels: np.ndarray, name: str, mode: str | None = None) -> str:
    Image.fromarray(pixels, mode).save(name)
    return name


def rows_of(images: Tensor, pool: Tensor) -> list[int]:
    """Where in the pool each image stands."""
    return [int((pool == image).flatten(1).all(1).nonzero()[0, 0]) for image in images]


# -- by count ----------------------------------------------------------------------------------------------------------


def test_so_many_training_images_of_each_symbol(digits: ImageSplits) -> None:
    pool = digits.train
    found = labelled("3=2", " 7 = 1 ", "0=0", images=pool)
    assert found.symbols.tolist() == [3, 3, 7]
    rows = rows_of(found.images, pool.images)
    assert len(set(rows)) == 3
    assert pool.labels["class"].index[rows].tolist() == [3, 3, 7]


def test_the_same_seed_draws_the_same_images(digits: ImageSplits) -> None:
    one, other, third = (labelled("3=5", images=digits.train, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_no_image_is_drawn_twice(digits: ImageSplits) -> None:
    pool = digits.train.subset((digits.train.labels["class"].index == 3).nonzero()[:10, 0])
    found = labelled("3=6", "3=4", images=pool)
    assert sorted(rows_of(found.images, pool.images)) == list(range(10))
    with pytest.raises(DataError, match="5 images of 3 were asked for, there are 4"):
        labelled("3=6", "3=5", images=pool)


def test_no_labels_at_all(digits: ImageSplits) -> None:
    task = Task(addition(), replace(SMALL, networks={"digit_net": NetworkRecipe(labels=("3=0",))}))
    assert read_labels(task, digits.train) == {}
    assert read_labels(Task(addition(), SMALL), digits.train) == {}


def test_symbols_that_classes_stand_for(shapes: ImageSplits) -> None:
    """Both circles and squares are no warning signs."""
    found = find_program("crossing")
    recipe = load_recipe(
        found.recipe, overrides={"networks.sign_net.labels": ["false=30", "true=2"], "method": "answers"}
    )
    told = read_labels(Task(Program.load(found.path), recipe), shapes.train)
    assert list(told) == ["sign_net"]
    classes = shapes.train.labels["shape"]
    shown = [classes.classes[classes.index[row]] for row in rows_of(told["sign_net"].images, shapes.train.images)]
    assert set(shown[:30]) == {"circle", "square"}
    assert shown[30:] == ["triangle", "triangle"]


# -- from files --------------------------------------------------------------------------------------------------------


def test_a_grey_file_of_the_right_size_is_what_it_is(digits: ImageSplits) -> None:
    image = digits.train.images[5, 0].numpy()
    found = labelled(f"4={save(image, 'four.png')}", "4=1", images=digits.train)
    assert found.images.dtype == torch.uint8
    assert found.symbols.tolist() == [4, 4]
    assert torch.equal(found.images[0, 0], digits.train.images[5, 0])


def test_a_coloured_file_becomes_grey(digits: ImageSplits) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = labelled(f"4={save(colours, 'four.png')}", images=digits.train).images[0, 0].float()
    luma = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found.numpy() - luma).max() <= 1.0


def test_a_grey_file_becomes_coloured(shapes: ImageSplits) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    found = find_program("crossing")
    labels = [f"true={save(grey, 'sign.png')}"]
    recipe = load_recipe(found.recipe, overrides={"networks.sign_net.labels": labels})
    image = read_labels(Task(Program.load(found.path), recipe), shapes.train)["sign_net"].images[0]
    assert image.shape == (3, 16, 16)
    assert all(np.array_equal(channel.numpy(), grey) for channel in image)


def test_a_file_of_another_size_is_resized(digits: ImageSplits) -> None:
    large = np.zeros((40, 24), dtype=np.uint8)
    large[:20] = 200  # the upper half is bright
    image = labelled(f"4={save(large, 'four.png')}", images=digits.train).images[0, 0]
    assert image.shape == (8, 8)
    assert bool((image[:3] > 190).all())
    assert bool((image[5:] < 10).all())


def test_sixteen_bits_a_pixel_keep_their_brightness(digits: ImageSplits) -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    image = labelled(f"4={save(deep, 'four.png')}", images=digits.train).images[0, 0]
    assert np.array_equal(image.numpy(), (deep.astype(int) + 128) // 257)


def test_a_photograph_is_turned_as_it_was_taken(digits: ImageSplits) -> None:
    upright = np.zeros((8, 8), dtype=np.uint8)
    upright[:, :4] = 200
    made = Image.fromarray(upright)
    made.getexif()[0x0112] = 3  # upside down
    exif = made.getexif()
    made.save("four.png", exif=exif)
    image = labelled("4=four.png", images=digits.train).images[0, 0]
    assert bool((image[:, 4:] == 200).all())


def test_a_jpeg_is_read_too(digits: ImageSplits) -> None:
    name = save(np.full((8, 8), 90, dtype=np.uint8), "four.jpg")
    assert int(labelled(f"4={name}", images=digits.train).images[0].float().mean()) == 90


def test_a_file_is_found_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = absolute_label("4 = four.png")
    monkeypatch.chdir(tmp_path.parent)
    assert entry == f"4={tmp_path / 'four.png'}"
    for kept in ("4=2", "4", "=4", "4=", entry):
        assert absolute_label(kept) == kept


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "error", "said", "hint"),
    [
        (("3",), RecipeError, "expected SYMBOL=COUNT or SYMBOL=FILE, found '3'", "3=2"),
        (("3=",), RecipeError, "expected SYMBOL=COUNT or SYMBOL=FILE", "3=three.png"),
        (("=2",), RecipeError, "expected SYMBOL=COUNT or SYMBOL=FILE", "3=2"),
        (("12=1",), RecipeError, "12 is not in the domain", "did you mean"),
        (("3=1000",), DataError, "1000 images of 3 were asked for, there are", "fewer"),
        (("3=absent.png",), DataError, "there is no such file", "PNG or JPEG"),
        (("3=-2",), DataError, "there is no such file", "or a number"),
        (("3=.",), DataError, "this is a folder", "PNG or JPEG"),
        (("3=text.png",), DataError, "this is no image that can be read", "PNG or JPEG"),
        (("3=same.png", "4=./same.png"), DataError, "is told to be 3 and 4", "leave one out"),
    ],
)
def test_refused(digits: ImageSplits, entries: tuple[str, ...], error: type[DataError], said: str, hint: str) -> None:
    Path("text.png").write_text("no image", encoding="utf-8")
    save(np.zeros((8, 8), dtype=np.uint8), "same.png")
    with pytest.raises(error) as caught:
        labelled(*entries, images=digits.train)
    assert said in caught.value.message
    assert str(caught.value.where).startswith("networks.digit_net.labels")
    assert hint in str(caught.value.hint)


def test_the_same_file_may_be_named_twice(digits: ImageSplits) -> None:
    name = save(np.zeros((8, 8), dtype=np.uint8), "same.png")
    assert labelled(f"3={name}", f"3={Path(name).resolve()}", images=digits.train).symbols.tolist() == [3, 3]


def test_points_have_no_image_files() -> None:
    text = "nn(net, [X], C, [outer, inner]) :: point(X, C).\nsame(X, Y) :- point(X, C), point(Y, C).\n"
    points = load_images("moons").train
    names = points.labels["class"].classes
    recipe = replace(SMALL, query="same(X, Y)", networks={"net": NetworkRecipe(labels=("outer=x.png",))})
    task = Task(Program(text.replace("outer, inner", ", ".join(names))), recipe)
    entries = (f"{names[0]}=x.png",)
    task.recipe = replace(recipe, networks={"net": NetworkRecipe(labels=entries)})
    with pytest.raises(DataError, match=r"data of shape \(2,\) is no image") as caught:
        read_labels(task, points)
    assert "number" in str(caught.value.hint)
    task.recipe = replace(recipe, networks={"net": NetworkRecipe(labels=(f"{names[0]}=3",))})
    assert read_labels(task, points)["net"].images.shape == (3, 2)


def test_a_network_that_perceives_nothing_has_no_labels(digits: ImageSplits) -> None:
    found = find_program("multi_addition")
    recipe = load_recipe(found.recipe, overrides={"networks.target_net.labels": ["3=1"]})
    with pytest.raises(RecipeError, match="target_net perceives nothing") as caught:
        read_labels(Task(Program.load(found.path), recipe), digits.train)
    assert caught.value.where == "networks.target_net.labels"


# -- in a step ---------------------------------------------------------------------------------------------------------


def test_a_step_looks_at_a_batch_of_many_labels(digits: ImageSplits) -> None:
    few = Labelled(digits.train.images[:LABELLED_BATCH], torch.arange(LABELLED_BATCH))
    state = torch.get_rng_state()
    assert few.some() is few
    assert torch.equal(torch.get_rng_state(), state)
    many = Labelled(digits.train.images[: 2 * LABELLED_BATCH], torch.arange(2 * LABELLED_BATCH))
    some = many.some()
    assert len(some) == LABELLED_BATCH
    assert len(set(some.symbols.tolist())) == LABELLED_BATCH
    assert torch.equal(some.images, many.images[some.symbols])


# -- what an entry says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ("3=2", ("3", 2)),
        (" 3 = 007 ", ("3", 7)),
        ("3=00", ("3", 0)),
        ("3=a=b.png", ("3", Path("a=b.png"))),
        ("3=-1", ("3", Path("-1"))),
        ("3", None),
        ("3=", None),
        ("=2", None),
        ("", None),
    ],
)
def test_an_entry_is_a_count_or_a_file(entry: str, label: tuple[str, int | Path] | None) -> None:
    assert parse_label(entry) == label


def test_only_labels_of_some_image_tell_a_symbol() -> None:
    networks = {"digit_net": NetworkRecipe(labels=("3=2", "4=0", "5=00", " 6 = six.png "))}
    assert told_symbols(Task(addition(), replace(SMALL, networks=networks)), "digit_net") == {3, 6}
