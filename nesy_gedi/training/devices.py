"""Devices and precision, through Lightning Fabric."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import DoublePrecision

from nesy_gedi.errors import UsageError
from nesy_gedi.training.processes import ALONE, Processes, Together, backend_for

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
"""The names of Fabric that networks train well with and that need no further package."""


def choose_device(name: str) -> str:
    """Resolve ``auto | cpu | cuda | cuda:N | mps`` to a device that is there.

    Raises:
        UsageError: an unknown name, or a device that is missing.
    """
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("there is no mps device here", where="--device", hint="use --device cpu or auto")
        return name
    if match := re.fullmatch(r"cuda(?::(\d+))?", name):
        number = int(match[1] or 0)
        if number >= torch.cuda.device_count():
            raise UsageError(
                f"there is no {name}: {torch.cuda.device_count()} CUDA devices found", where="--device", hint="use auto"
            )
        return f"cuda:{number}"
    raise UsageError(f"unknown device {name}", where="--device", hint="valid: auto, cpu, cuda, cuda:N, mps")


def choose_devices(name: str, count: int) -> str:
    """As :func:`choose_device`, for ``count`` processes on this machine: the device of the first, each of the others has the
    next one.

    Raises:
        UsageError: as there, or fewer devices than processes.
    """
    chosen = choose_device(name)
    if count == 1 or chosen == "cpu":
        return chosen
    if name not in ("auto", "cuda") or chosen == "mps":
        raise UsageError(
            f"{name} is one device, not {count}", where="--devices", hint="use --device cpu or cuda, or one process"
        )
    if count > (there := torch.cuda.device_count()):
        raise UsageError(
            f"{count} processes need as many GPUs, {there} found", where="--devices", hint="use fewer, or --device cpu"
        )
    return chosen


def make_fabric(device: str, precision: str, processes: Processes = ALONE) -> Fabric:
    """A Fabric on a device from :func:`choose_devices`.

    Args:
        processes: that are there already; of several, each takes the device of its number.

    Raises:
        UsageError: a precision that Fabric does not know, or whose package is missing.
    """
    accelerator, _, number = device.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric suggests faster settings that change results
        try:
            how: dict[str, Any] = {"plugins": [_Double()]} if precision == "64-true" else {"precision": precision}
            if processes.count == 1:
                return Fabric(accelerator=accelerator, devices=[int(number)] if number else 1, **how)
            fabric = Fabric(
                accelerator=accelerator,
                devices=processes.local_count,
                num_nodes=processes.count // processes.local_count,
                strategy=Together(processes, backend_for(device)),
                **how,
            )
            fabric.launch()
            return fabric
        except (ValueError, ImportError) as error:
            raise UsageError(
                f"cannot compute with precision {precision}: {error}",
                where="training.precision",
                hint=f"valid: {', '.join(PRECISIONS)}",
            ) from error


class _Double(DoublePrecision):
    """Networks in float64 whose circuits are, too: Fabric would round what they return to float32."""

    def convert_output(self, data: Any) -> Any:
        return data
