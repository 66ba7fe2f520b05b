"""What is in data: numbers of inputs, classes and answers, pixels, and images that training and test share."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.data.image_sets import UNKNOWN, ImageSet, ImageSplits

_AT_ONCE = 4096  # images whose pixels are counted


def summarise(images: ImageSplits) -> dict[str, Any]:
    """Everything countable, as one JSON-ready object.

    Returns:
        ``train`` and ``test``, numbers of inputs; ``inputs``, for each kind its ``shape``, its numbers, and ``mean`` and
        ``std`` of the training split (of each channel with pixels in [0, 1], of all numbers of points and sequences);
        ``counts``, attribute -> class -> split -> number; ``unlabelled``, attribute -> split -> number; ``shared``, how many
        test inputs are training inputs, too; ``rows`` and ``answers`` of a table by split, None where there is none;
        ``skipped`` files and ``dropped`` rows; ``cache``.
    """
    splits = {"train": images.train, "test": images.test}
    given = images.given
    return {
        "name": images.name,
        "kind": images.reading.kind,
        "train": len(images.train),
        "test": len(images.test),
        "image_shape": list(images.train.shape),
        "classes": {attribute: len(labels.classes) for attribute, labels in images.train.labels.items()},
        "inputs": [_kind(train, test) for train, test in zip(_parts(images.train), _parts(images.test), strict=True)],
        "counts": {attribute: _classes(splits, attribute) for attribute in images.train.labels},
        "unlabelled": {
            attribute: {split: int((each.labels[attribute].index == UNKNOWN).sum()) for split, each in splits.items()}
            for attribute in images.train.labels
        },
        "shared": len(set(_digests(images.train)) & set(_digests(images.test))),
        "columns": None if given is None else {"inputs": list(given.inputs), "values": list(given.outputs)},
        "rows": None if given is None else {split: len(each) for split, each in _observed(images)},
        "answers": None if given is None else _answers(images),
        "skipped": list(images.reading.skipped),
        "dropped": images.reading.dropped,
        "cache": None if images.reading.cache is None else str(images.reading.cache),
    }


def _parts(images: ImageSet) -> tuple[Tensor, ...]:
    return (images.images, *images.others)


def _kind(train: Tensor, test: Tensor) -> dict[str, Any]:
    mean, std = _moments(train)
    return {"shape": list(train.shape[1:]), "train": len(train), "test": len(test), "mean": mean, "std": std}


def _moments(inputs: Tensor) -> tuple[list[float] | None, list[float] | None]:
    """Mean and standard deviation, of images for each channel with pixels in [0, 1]."""
    if not inputs.numel():
        return None, None
    if inputs.ndim < 4:
        return [round(inputs.double().mean().item(), 6)], [round(inputs.double().std(correction=0).item(), 6)]
    channels = inputs.shape[1]
    counts = np.zeros((channels, 256))
    for some in inputs.cpu().split(_AT_ONCE):
        for channel in range(channels):
            counts[channel] += np.bincount(some[:, channel].flatten().numpy(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    levels = np.arange(256) / 255
    mean = share @ levels
    variance = (share * (levels - mean[:, None]) ** 2).sum(1)
    return [round(float(each), 6) for each in mean], [round(math.sqrt(each), 6) for each in variance]


def _classes(splits: dict[str, ImageSet], attribute: str) -> dict[str, dict[str, int]]:
    counts = {}
    for split, images in splits.items():
        index = images.labels[attribute].index
        counts[split] = torch.bincount(
            index[index != UNKNOWN], minlength=len(images.labels[attribute].classes)
        ).tolist()
    names = splits["train"].labels[attribute].classes
    return {name: {split: each[k] for split, each in counts.items()} for k, name in enumerate(names)}


def _digests(images: ImageSet) -> Iterator[bytes]:
    for part in _parts(images):
        shape = repr(tuple(part.shape[1:])).encode()
        for each in part.cpu().numpy():
            yield hashlib.blake2b(each.tobytes(), digest_size=16, person=shape[:16]).digest()


def _observed(images: ImageSplits) -> Iterator[tuple[str, Any]]:
    assert images.given is not None
    for split in ("train", "validation", "test"):
        if (observed := getattr(images.given, split)) is not None:
            yield split, observed


def _answers(images: ImageSplits) -> dict[str, dict[str, dict[str, int]]]:
    """Column -> value -> split -> number of rows, the most frequent value first."""
    assert images.given is not None
    columns = len(images.given.train.values[0]) if images.given.train.values else 0
    names = images.given.outputs or [str(k + 1) for k in range(columns)]
    found: dict[str, dict[str, dict[str, int]]] = {}
    for column, name in enumerate(names):
        counts = {split: Counter(row[column] for row in each.values) for split, each in _observed(images)}
        total: Counter[str] = sum(counts.values(), Counter())
        found[name] = {
            value: {split: each[value] for split, each in counts.items()} for value, _ in total.most_common()
        }
    return found
