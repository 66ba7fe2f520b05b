"""What a run was made with: versions, the machine, and where its data was."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    *("nesy-gedi", "torch", "torchvision", "numpy", "scipy", "scikit-learn"),
    *("problog", "pysdd", "lightning-fabric", "safetensors"),
)


def describe_environment(
    data_dir: Path | None, device: str, shape: tuple[int, ...], processes: int = 1
) -> dict[str, Any]:
    """What environment.json says of any run.

    Args:
        data_dir: the folder that was named for the data.
        device: what computes.
        shape: (channels, height, width) of the images, or (d,) of points.
        processes: that train together.
    """
    return {
        "data_dir": str(data_dir.resolve()) if data_dir is not None else None,
        "device": device,
        "image_shape": shape,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
