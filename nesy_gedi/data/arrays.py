"""Arrays to labelled images, points or sequences: from Python, and from ``.npz`` files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.data.decoding import ReadOptions
from nesy_gedi.data.image_sets import UNKNOWN, ImageSet, ImageSplits, Labels, Reading, split_test
from nesy_gedi.data.names import natural
from nesy_gedi.data.resizing import resize
from nesy_gedi.errors import DataError, did_you_mean

ATTRIBUTE = "class"
"""What ``labels`` say, unless they name attributes."""

_SPLITS = {"train": "train", "test": "test", "val": "train", "validation": "train"}
_SHORT = {"x": "images", "y": "labels"}
_EXPECTED = "images and labels, or train_images, train_labels, test_images and test_labels"

Values = Any
"""A NumPy array, a tensor, or nested lists."""


def from_arrays(
    images: Values,
    labels: Values | Mapping[str, Values] | None = None,
    *,
    test_images: Values | None = None,
    test_labels: Values | Mapping[str, Values] | None = None,
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    image_shape: tuple[int, ...] = (),
    name: str = "arrays",
) -> ImageSplits:
    """Arrays in memory as training and test images.

    Args:
        images: grey levels (n, height, width), (n, height, width, channels) or (n, channels, height, width), integers in
            0..255 or, of four dimensions, floats in [0, 1]; points (n, d), or sequences (n, length, d) of floats.
        labels: a class for each, as integers or text, or such an array for each attribute; -1 and "" are unknown.
        test_images, test_labels: the same for the test; where left out a fixed fifth of ``images``, stratified.
        classes: class names; of integer labels class ``k`` is ``classes[k]``. By default the values that occur.
        image_shape: as in :class:`ReadOptions`.
        name: for messages.

    Raises:
        DataError: shapes, types or lengths that do not fit together.
    """
    parts = {"train": (images, labels)} | ({} if test_images is None else {"test": (test_images, test_labels)})
    told = {split: _by_attribute(each) for split, (_, each) in parts.items()}
    named = _by_attribute(classes)
    return _assemble({split: each for split, (each, _) in parts.items()}, told, named, image_shape, name)


def read_npz(path: Path, options: ReadOptions, name: str | None = None) -> ImageSplits:
    """Arrays of a ``.npz`` file, which is never unpickled; see ``docs/data.md`` for their names.

    Raises:
        DataError: a damaged file, arrays of objects, or as :func:`from_arrays`.
    """
    arrays = _open(path)
    images: dict[str, Any] = {}
    labels: dict[str, dict[str, Any]] = {}
    classes: dict[str, Any] = {}
    try:
        for key, array in arrays.items():
            split, what = _split_key(key)
            if what == "images":
                images[key] = array
            elif what == "classes" or what.endswith("_classes"):
                classes[what.removesuffix("classes").removesuffix("_") or ATTRIBUTE] = array
            else:
                labels.setdefault(split, {})[ATTRIBUTE if what == "labels" else what] = array
        return _from_keys(images, labels, classes, options, name or str(path))
    except DataError as error:
        raise DataError(error.message, where=error.where or str(path), hint=error.hint) from error


def _from_keys(
    images: dict[str, Any],
    labels: dict[str, dict[str, Any]],
    classes: dict[str, Any],
    options: ReadOptions,
    name: str,
) -> ImageSplits:
    by_split: dict[str, list[Any]] = {}
    for key, array in images.items():
        by_split.setdefault(_split_key(key)[0], []).append(as_inputs(array, key))
    if not by_split:
        found = ", ".join(sorted({key for each in labels.values() for key in each})) or "none"
        raise DataError(f"there are no images among its arrays: {found}", hint=f"name them {_EXPECTED}")
    if "" in by_split and len(by_split) > 1:
        raise DataError(f"it has {' and '.join(images)}: are the images split or not?", hint=f"name arrays {_EXPECTED}")
    if stray := sorted(labels.keys() - by_split.keys()):
        raise DataError(f"it has labels of {stray[0] or 'all'}, but no images of them", hint=f"name arrays {_EXPECTED}")
    # what is for validation is for training here: each run sets its own aside
    joined: dict[str, Any] = {}
    told: dict[str, dict[str, Any]] = {}
    for split, (array,) in by_split.items():
        own, to = labels.get(split, {}), _SPLITS.get(split, "train")
        for attribute, values in own.items():
            if np.ndim(values) == 0 or len(values) != len(array):
                count = "one" if np.ndim(values) == 0 else len(values)
                what = "_".join(filter(None, [split, "labels" if attribute == ATTRIBUTE else attribute]))
                raise DataError(
                    f"{what} has {count} labels for {len(array)} images", hint="give one label an image, in their order"
                )
        if to not in joined:
            joined[to], told[to] = array, own
            continue
        if own.keys() != told[to].keys() or joined[to].shape[1:] != array.shape[1:]:
            raise DataError(f"{split} has other attributes or shapes than {to}", hint="give all splits the same")
        joined[to] = torch.cat([joined[to], array])
        told[to] = {key: np.concatenate([_flat(told[to][key]), _flat(own[key])]) for key in own}
    if "train" not in joined:
        raise DataError("it has images for the test alone", hint=f"name arrays {_EXPECTED}")
    splits = _assemble(joined, told, classes, options.image_shape, name)
    return replace(splits, reading=Reading("arrays"))


def _open(path: Path) -> dict[str, np.ndarray]:
    hint = "save arrays of numbers or text with numpy.savez(FILE, images=images, labels=labels)"
    arrays = {}
    key = ""
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise DataError("this is a single array, not a .npz file", where=str(path), hint=hint)
        with content:
            for key in content.files:
                arrays[key] = content[key]
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), hint="check its path") from error
    except DataError:
        raise
    except Exception as error:  # a damaged archive makes its reader raise anything
        if "allow_pickle" in str(error) and key:
            message = f"array {key} holds Python objects, which are never unpickled"
            hint = f"save it as numbers or text: numpy.asarray({key}, dtype=numpy.uint8), or dtype=str for names"
        else:
            message = f"this is no .npz file that can be read: {str(error).splitlines()[0] if str(error) else 'it ends early'}"
        raise DataError(message, where=str(path), hint=hint) from error
    return arrays


def _split_key(key: str) -> tuple[str, str]:
    """``train_images`` and ``x_train`` are ``("train", "images")``, ``shape`` is ``("", "shape")``."""
    first, _, rest = key.partition("_")
    before, _, last = key.rpartition("_")
    split, what = (
        (first, rest) if first in _SPLITS and rest else (last, before) if last in _SPLITS and before else ("", key)
    )
    return split, _SHORT.get(what, what)


def _by_attribute(values: Any) -> dict[str, Any]:
    if values is None:
        return {}
    return dict(values) if isinstance(values, Mapping) else {ATTRIBUTE: values}


def _assemble(
    images: Mapping[str, Any],
    labels: Mapping[str, Mapping[str, Any]],
    classes: Mapping[str, Any],
    image_shape: tuple[int, ...],
    name: str,
) -> ImageSplits:
    inputs = {
        split: as_inputs(array, f"{split} images" if len(images) > 1 else "images") for split, array in images.items()
    }
    if image_shape:
        inputs = {split: resize(each, image_shape) for split, each in inputs.items()}
    if len({each.shape[1:] for each in inputs.values()}) > 1:
        shapes = " and ".join(f"{split} {tuple(each.shape[1:])}" for split, each in inputs.items())
        raise DataError(f"images of several shapes: {shapes}", hint="give training and test images one shape")
    first = labels.get("train", {})
    for split in inputs:
        if labels.get(split, {}).keys() != first.keys():
            raise DataError(
                f"training images have the attributes {', '.join(first) or 'none'}, "
                f"test images {', '.join(labels.get(split, {})) or 'none'}",
                hint="label both, or neither",
            )
    if stray := sorted(classes.keys() - first.keys()):
        raise DataError(f"there are classes of {stray[0]}, but no labels", hint=did_you_mean(stray[0], first))
    found: dict[str, dict[str, Labels]] = {split: {} for split in inputs}
    for attribute in first:
        columns = {split: labels[split][attribute] for split in inputs}
        for split, told in make_labels(columns, classes.get(attribute), attribute).items():
            found[split][attribute] = told
    sets = {split: ImageSet(inputs[split], found[split]) for split in inputs}
    train, test = (sets["train"], sets["test"]) if "test" in sets else split_test(sets["train"])
    return ImageSplits(name, train, test)


def make_labels(columns: Mapping[str, Values], classes: Sequence[str] | None, attribute: str) -> dict[str, Labels]:
    """The labels of one attribute for each split, over the same classes: the given ones, else all values that occur, in
    natural order. -1 and "" are unknown.

    Raises:
        DataError: values that are neither integers nor text, or no class.
    """
    flat = {split: _flat(values) for split, values in columns.items()}
    texts = {split: _as_text(each, attribute, classes) for split, each in flat.items()}
    if classes is None:
        names = tuple(sorted({text for each in texts.values() for text in each} - {""}, key=natural))
    else:
        names = tuple(map(str, classes))
    if len(set(names)) < len(names):
        raise DataError(f"a class of {attribute} is named twice: {', '.join(names)}", hint="name each class once")
    number = {name: k for k, name in enumerate(names)} | {"": UNKNOWN}
    for each in texts.values():
        if wrong := [text for text in each if text not in number]:
            raise DataError(f"{wrong[0]!r} is no class of {attribute}", hint=did_you_mean(wrong[0], names))
    return {
        split: Labels(names, torch.tensor([number[text] for text in each], dtype=torch.int64))
        for split, each in texts.items()
    }


def _flat(values: Values) -> np.ndarray:
    array = as_array(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _as_text(values: np.ndarray, attribute: str, classes: Sequence[str] | None) -> list[str]:
    """The name of each value's class; "" where it is unknown."""
    if values.ndim != 1:
        raise DataError(
            f"labels of {attribute} have the shape {values.shape}, expected one a row",
            hint="turn one-hot rows into classes with labels.argmax(1)",
        )
    if values.dtype.kind in "US":
        return [text.decode() if isinstance(text, bytes) else str(text).strip() for text in values.tolist()]
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise DataError(
            f"labels of {attribute} are {values.dtype}, expected integers or text",
            hint="save names with numpy.asarray(labels, dtype=str)",
        )
    numbers = values.astype(np.int64).tolist()
    if numbers and min(numbers) < UNKNOWN:
        raise DataError(f"a label of {attribute} is {min(numbers)}", hint="number classes from 0; -1 is unknown")
    if classes is None:
        return ["" if number == UNKNOWN else str(number) for number in numbers]
    if numbers and max(numbers) >= len(classes):
        raise DataError(
            f"a label of {attribute} is {max(numbers)}, but there are {len(classes)} class names",
            hint="name every class, in the order of the labels",
        )
    return ["" if number == UNKNOWN else str(classes[number]) for number in numbers]


def as_array(values: Values) -> np.ndarray:
    """A NumPy array of numbers or text.

    Raises:
        DataError: rows of several lengths, or Python objects.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu().numpy())
    array: np.ndarray
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError("rows have several lengths", hint="give all of them one shape") from error
    if array.dtype == object:
        raise DataError(
            "values are Python objects, expected numbers or text", hint="give all of them one type and shape"
        )
    return array


def as_inputs(values: Values, what: str = "images") -> Tensor:
    """Images (n, channels, height, width) uint8; points (n, d) and sequences (n, length, d) float32.

    Raises:
        DataError: another shape, or values that are no grey levels.
    """
    array = as_array(values)
    if array.dtype.kind not in "uifb":
        raise DataError(
            f"{what} are {array.dtype}, expected numbers", hint="give grey levels as uint8, vectors as float32"
        )
    if array.ndim == 2 or (array.ndim == 3 and array.dtype.kind == "f"):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        if channels_last(array.shape):
            array = array.transpose(0, 3, 1, 2)
    else:
        raise DataError(
            f"{what} have the shape {array.shape}",
            hint="expected (n, height, width), (n, height, width, channels) or (n, channels, height, width), for points "
            "(n, d), for sequences (n, length, d)",
        )
    if array.shape[1] not in (1, 3, 4):
        raise DataError(
            f"{what} have {array.shape[1]} channels", hint="expected 1 (grey), 3 (colour) or 4 (transparent)"
        )
    levels = grey_levels(array, what)
    if levels.shape[1] == 4:  # over white
        opaque = levels[:, 3:].astype(np.float32) / 255
        levels = np.rint(levels[:, :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(levels))


def channels_last(shape: Sequence[int]) -> bool:
    """Whether images of this shape, of four dimensions, have their channels last: a size of 1 or 3 tells, else one of 4."""
    for sizes in ((1, 3), (4,)):
        if shape[1] in sizes or shape[3] in sizes:
            return shape[1] not in sizes
    return False


def grey_levels(array: np.ndarray, what: str) -> np.ndarray:
    """``array`` as uint8: bytes, integers in 0..255, 16 bits (scaled), truth values, floats in [0, 1].

    Raises:
        DataError: anything else.
    """
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    low, high = array.min(), array.max()
    expected = "give grey levels in 0..255 as uint8, or in [0, 1] as floats; networks normalise by themselves"
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{what} have pixels that are not finite", hint=expected)
    if low >= 0 and array.dtype.kind == "f" and high <= 1:
        return np.asarray(np.rint(array * 255), dtype=np.uint8)
    if low >= 0 and high <= 255 and (array.dtype.kind != "f" or bool((array == np.rint(array)).all())):
        return array.astype(np.uint8)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    raise DataError(f"{what} have pixels in {low:g}..{high:g}", hint=expected)
