"""Torch data sets of the user's own, read once into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nesy_gedi.data.arrays import ATTRIBUTE, channels_last, grey_levels, make_labels
from nesy_gedi.data.decoding import ReadOptions, common_shape, is_grey, to_pixels
from nesy_gedi.data.image_sets import (
    TEST_SEED,
    GivenQueries,
    ImageSet,
    ImageSplits,
    Labels,
    Observations,
    Reading,
    split_test,
    test_count,
)
from nesy_gedi.data.resizing import resize
from nesy_gedi.errors import DataError

_ITEMS = "give items (image, label), or (input, ..., input, answer)"


def from_dataset(
    dataset: Any,
    *,
    test: Any = None,
    attribute: str = ATTRIBUTE,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    limit: int = 0,
    image_shape: tuple[int, ...] = (),
    name: str = "",
) -> ImageSplits:
    """Any torch ``Dataset`` - or iterable - as training and test data.

    Items are ``(image, label)``; an image alone, which has no label; or tuples of inputs with what was observed of them,
    ``(input, ..., input, answer)`` or ``((input, ...), answer)``, which become :attr:`ImageSplits.given`. Inputs are
    pictures of PIL, grey levels (height, width) or (channels, height, width) - tensors of bytes, or floats in [0, 1], not
    normalised; arrays may have their channels last - points (d,), or sequences (length, d) of floats.

    Args:
        test: the same for the test; a fixed fifth of ``dataset`` where None.
        attribute: what labels say; they are integers or text, -1 and "" unknown, or such a label for each attribute.
        classes: names of the classes of integer labels; by default those that the data set itself names.
        columns: names of the inputs and answers of tuples, as in a query form; by order where empty.
        limit: items that are read of each, at most; 0 for all.
        image_shape: as in :class:`ReadOptions`.
        name: for messages; that of the data set's type where empty.

    Raises:
        DataError: items of several forms or shapes, or a data set without items.
    """
    ReadOptions(image_shape)
    name = name or type(dataset).__name__
    sources = {"train": dataset} | ({} if test is None else {"test": test})
    items = {split: _items(each, limit, f"{name} ({split})") for split, each in sources.items()}
    slots = _inputs_of(items["train"][0])
    for split, each in items.items():
        for number, item in enumerate(each):
            if _inputs_of(item) != slots:
                raise DataError(
                    f"item {number} of {split} has another form than the first: {_form(item)}",
                    where=name,
                    hint=_ITEMS,
                )
    if slots:
        return _tuples(items, slots, tuple(columns), image_shape, name)
    inputs = {split: [item[0] if isinstance(item, tuple) else item for item in each] for split, each in items.items()}
    images = dict(zip(inputs, _stack(list(inputs.values()), image_shape, name), strict=True))
    labels: dict[str, dict[str, Labels]] = {split: {} for split in items}
    if isinstance(items["train"][0], tuple):
        named = classes if classes is not None else _own_classes(dataset)
        told = {split: [_label_of(item[1], attribute) for item in each] for split, each in items.items()}
        for key in told["train"][0]:
            values = {split: [label.get(key, -1) for label in each] for split, each in told.items()}
            integers = all(isinstance(value, int) for each in values.values() for value in each)
            own = named if key == attribute and (classes is not None or integers) else None
            for split, made in make_labels(values, own, key).items():
                labels[split][key] = made
    sets = {split: ImageSet(images[split], labels[split]) for split in items}
    train, held = (sets["train"], sets["test"]) if "test" in sets else split_test(sets["train"])
    return ImageSplits(name, train, held, reading=Reading("torch data set"))


def _items(dataset: Any, limit: int, where: str) -> list[Any]:
    items = []
    for item in _told(dataset, limit, where):
        if isinstance(item, list):
            item = tuple(item)
        if isinstance(item, tuple) and len(item) == 1:
            item = item[0]
        items.append(item)
    if not items:
        raise DataError("the data set has no items", where=where, hint=_ITEMS)
    return items


def _told(dataset: Any, limit: int, where: str) -> Iterator[Any]:
    """The items; where the data set raises an exception, the error says at which."""
    number, items = 0, _iterate(dataset, limit)
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # whatever the data set raises
            raise DataError(
                f"item {number} cannot be read: {type(error).__name__}: {error}",
                where=where,
                hint="give a torch data set, or leave the item out: torch.utils.data.Subset",
            ) from error
        yield item
        number += 1


def _iterate(dataset: Any, limit: int) -> Iterator[Any]:
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        for number in range(min(len(dataset), limit) if limit else len(dataset)):
            yield dataset[number]  # a map-style data set may not end its own iteration
        return
    for number, item in enumerate(dataset):
        if limit and number >= limit:
            return
        yield item


def _inputs_of(item: Any) -> int:
    """How many inputs a tuple with an answer has; 0 for a single image, with or without a label."""
    if not isinstance(item, tuple):
        return 0
    if isinstance(item[0], (tuple, list)):
        return len(item[0])
    return len(item) - 1 if len(item) > 2 else 0


def _form(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"({', '.join(map(_form, item))})"
    return f"{type(item).__name__}{list(item.shape)}" if isinstance(item, (Tensor, np.ndarray)) else type(item).__name__


def _tuples(
    items: Mapping[str, Sequence[Any]], slots: int, columns: tuple[str, ...], image_shape: tuple[int, ...], name: str
) -> ImageSplits:
    nested = isinstance(items["train"][0][0], (tuple, list))
    inputs: dict[str, list[list[Any]]] = {}
    values: dict[str, list[tuple[str, ...]]] = {}
    for split, each in items.items():
        inputs[split] = [list(item[0] if nested else item[:-1]) for item in each]
        values[split] = [
            tuple(text for part in (item[1:] if nested else item[-1:]) for text in _answer(part)) for item in each
        ]
    width = len(values["train"][0])
    if any(len(row) != width for each in values.values() for row in each):
        raise DataError("answers have several lengths", where=name, hint="give each item as many values")
    if columns and len(columns) != slots + width:
        raise DataError(
            f"{len(columns)} columns are named, items have {slots + width}", where=name, hint="name them all"
        )
    splits = list(items)
    by_column = [
        _stack([[row[column] for row in inputs[split]] for split in splits], image_shape, name)
        for column in range(slots)
    ]
    index: dict[str, Tensor] = {}
    shapes = list(dict.fromkeys(tuple(column[0].shape[1:]) for column in by_column))
    parts: dict[str, list[Tensor]] = {}
    for number, split in enumerate(splits):
        index[split] = torch.empty((len(items[split]), slots), dtype=torch.int64)
        parts[split] = []
        start = 0
        for shape in shapes:
            members = [k for k, column in enumerate(by_column) if tuple(column[0].shape[1:]) == shape]
            for k in members:
                index[split][:, k] = torch.arange(start, start + len(items[split]))
                start += len(items[split])
            parts[split].append(torch.cat([by_column[k][number] for k in members]))
    whole = {split: ImageSet(each[0], {}, tuple(each[1:])) for split, each in parts.items()}
    observed = {
        split: Observations(index[split], tuple(values[split]), tuple(range(len(items[split])))) for split in splits
    }
    if "test" not in whole:
        total = len(items["train"])
        if total < 2:
            raise DataError("one item is too few for training and test", where=name, hint="give two or more")
        drawn = torch.randperm(total, generator=torch.Generator().manual_seed(TEST_SEED))
        chosen = {"test": drawn[: test_count(total)].sort()[0], "train": drawn[test_count(total) :].sort()[0]}
        everything, all_rows = whole["train"], observed["train"]
        for split, rows in chosen.items():
            whole[split], observed[split] = _rows(everything, all_rows, rows)
    given = GivenQueries(columns[:slots], columns[slots:], name, observed["train"], None, observed["test"])
    return ImageSplits(name, whole["train"], whole["test"], given, Reading("torch data set"))


def _rows(images: ImageSet, observed: Observations, rows: Tensor) -> tuple[ImageSet, Observations]:
    """These rows, with the images that they use."""
    index = observed.index[rows]
    position = torch.full((len(images),), -1)
    parts, start, filled = [], 0, 0
    for part in (images.images, *images.others):
        used = index[(index >= start) & (index < start + len(part))].unique()
        position[used] = torch.arange(filled, filled + len(used))
        parts.append(part[used - start])
        start, filled = start + len(part), filled + len(used)
    values = tuple(observed.values[k] for k in rows.tolist())
    return ImageSet(parts[0], {}, tuple(parts[1:])), Observations(position[index], values, tuple(rows.tolist()))


def _answer(value: Any) -> tuple[str, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(text for part in value for text in _answer(part))
    if isinstance(value, (Tensor, np.ndarray)):
        return tuple(text for part in np.asarray(value).reshape(-1).tolist() for text in _answer(part))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return (str(value).lower(),)  # as Prolog writes it
    return (str(value),)


def _label_of(label: Any, attribute: str) -> dict[str, int | str]:
    if isinstance(label, Mapping):
        return {str(key): _plain(value) for key, value in label.items()}
    return {attribute: _plain(label)}


def _plain(label: Any) -> int | str:
    if isinstance(label, (Tensor, np.ndarray)) and label.ndim == 0:
        label = label.item()
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, (int, str)):
        return int(label) if isinstance(label, bool) else label
    raise DataError(f"a label is {_form(label)}, expected an integer or text", hint=_ITEMS)


def _own_classes(dataset: Any) -> list[str] | None:
    """The class names that a data set states, as torchvision's do; its MNIST says ``0 - zero`` for 0."""
    while hasattr(dataset, "dataset"):  # a subset
        dataset = dataset.dataset
    own = getattr(dataset, "classes", None)
    if not isinstance(own, (list, tuple)) or not own or not all(isinstance(each, str) for each in own):
        return None
    if all(each.startswith(f"{number} - ") for number, each in enumerate(own)):
        return [str(number) for number in range(len(own))]
    return list(own)


def _stack(groups: Sequence[Sequence[Any]], image_shape: tuple[int, ...], name: str) -> list[Tensor]:
    """Inputs of one kind, in groups, each as one tensor."""
    if isinstance(groups[0][0], Image.Image):
        pictures = [each for group in groups for each in group]
        if not all(isinstance(each, Image.Image) for each in pictures):
            raise DataError("some inputs are pictures, others are not", where=name, hint="give all inputs one type")
        sizes = [(each.height, each.width, is_grey(each)) for each in pictures]
        shape = common_shape(sizes, image_shape)
        return [torch.from_numpy(np.stack([to_pixels(each, shape) for each in group])) for group in groups]
    stacked = []
    for group in groups:
        arrays = [np.asarray(each.detach().cpu()) if isinstance(each, Tensor) else np.asarray(each) for each in group]
        if len(shapes := {each.shape for each in arrays}) > 1:
            raise DataError(
                f"inputs have several shapes: {', '.join(map(str, sorted(shapes)[:3]))}",
                where=name,
                hint="resize them in the data set, or give pictures of PIL with image_shape",
            )
        stacked.append(_tensor(np.stack(arrays), not isinstance(group[0], Tensor), name))
    if len({tuple(each.shape[1:]) for each in stacked}) > 1:
        raise DataError("training and test inputs have several shapes", where=name, hint="give them one shape")
    return [resize(each, image_shape) for each in stacked] if image_shape else stacked


def _tensor(array: np.ndarray, channels_may_be_last: bool, name: str) -> Tensor:
    if array.dtype.kind not in "uifb":
        raise DataError(f"inputs are {array.dtype}, expected numbers or pictures", where=name, hint=_ITEMS)
    if array.ndim == 2 or (array.ndim == 3 and array.dtype.kind == "f"):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4:
        raise DataError(
            f"an input has the shape {array.shape[1:]}", where=name, hint="give images (channels, height, width)"
        )
    if channels_may_be_last and (array.shape[3] in (1, 3) or channels_last(array.shape)):
        array = array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(grey_levels(array, f"inputs of {name}")))
