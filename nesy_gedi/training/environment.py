"""What a run was made with: versions, the machine, and where its data was."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    *("nesy-gedi", "torch", "torchvision", "numpy", "scipy", "scikit-learn"),
    *("problog", "pysdd", "lightning-fabric", "safetensors", "timm"),
)


def describe_environment(
    data_dir: Path | None,
    device: str,
    shape: tuple[int, ...],
    processes: int = 1,
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
) -> dict[str, Any]:
    """What environment.json says of any run.

    Args:
        data_dir: the folder that was named for the data.
        device: what computes.
        shape: (channels, height, width) of the images, or (d,) of points.
        processes: that train together.
        shapes: network -> the shape of each of its inputs; None where there is one network, of images.
    """
    return {
        "data_dir": str(data_dir.resolve()) if data_dir is not None else None,
        "device": device,
        "image_shape": shape,
        **({} if shapes is None else {"image_shapes": shapes}),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed_packages(),
    }


def installed_packages() -> dict[str, str | None]:
    """The packages that matter to a result, with their versions; None where one is not installed."""
    return {name: _version(name) for name in PACKAGES}


def read_shape(sizes: Any) -> tuple[int, ...]:
    """What environment.json says of the shape of an image, a sequence or a point.

    Raises:
        TypeError, ValueError: something else.
    """
    shape = tuple(int(size) for size in sizes)
    if len(shape) not in (1, 2, 3) or min(shape) < 1:
        raise ValueError(f"{shape} is the shape of no image or point")
    return shape


def read_shapes(stated: Any, arguments: Mapping[str, int]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """What it says of the inputs of networks.

    Args:
        arguments: network -> how many inputs it has.

    Raises:
        KeyError, TypeError, ValueError: a network that it does not name, or something else than its shapes.
    """
    found = {name: tuple(read_shape(shape) for shape in stated[name]) for name in arguments}
    for name, count in arguments.items():
        if len(found[name]) != count:
            raise ValueError(f"{name} has {count} inputs, not {len(found[name])}")
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
