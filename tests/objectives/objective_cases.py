"""Every objective in small, random outputs for it, and the few NumPy functions that the references share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nesy_gedi.objectives import (
    BarlowTwins,
    Byol,
    Cissl,
    Dino,
    Dissl,
    Falcon,
    Gedi,
    SimClr,
    SimSiam,
    Swav,
    VicReg,
)
from nesy_gedi.objectives.objective import Objective, Pair

WIDTH = 4
"""Of all outputs below; a power of two, so that 1/WIDTH is exact."""


@dataclass(frozen=True)
class Case:
    """One objective in small.

    Args:
        make: a new one; its own parameters differ from call to call.
        learns: the outputs that receive a gradient.
        columns: renaming the columns of all outputs alike leaves the loss as it is.
    """

    make: Callable[[], Objective]
    learns: tuple[str, ...] = ("projection",)
    columns: bool = True


CASES = {
    "gedi": Case(lambda: Gedi(WIDTH, invariance=0.7, prior_weight=1.3)),
    "gedi, generative": Case(lambda: Gedi(WIDTH, generative=0.5, temperature=0.5), ("projection", "energy")),
    "falcon, l2": Case(lambda: Falcon(WIDTH, 3, batch_size=16, epsilon=1e-3), columns=False),
    "falcon, tanh": Case(lambda: Falcon(WIDTH, 6, batch_size=16, form="tanh", epsilon=1e-3, beta=0.5), columns=False),
    "swav": Case(lambda: Swav(WIDTH, 3), columns=False),
    "swav, queue": Case(lambda: Swav(WIDTH, 3, queue=10), columns=False),
    "dino": Case(lambda: Dino(WIDTH)),
    "simclr": Case(lambda: SimClr()),
    "byol": Case(lambda: Byol(), ("prediction",)),
    "simsiam": Case(lambda: SimSiam(), ("prediction",)),
    "barlow_twins": Case(lambda: BarlowTwins()),
    "vicreg": Case(lambda: VicReg()),
    "dissl": Case(lambda: Dissl(WIDTH), ("projection", "student")),
    "cissl": Case(lambda: Cissl(), ("projection", "student")),
}


def random_pair(n: int, width: int = WIDTH, scale: float = 1.0) -> Pair:
    """Two float64 tensors (n, width), the second a noisy copy of the first."""
    first = scale * torch.randn(n, width, dtype=torch.float64)
    return first, first + 0.5 * scale * torch.randn(n, width, dtype=torch.float64)


def random_outputs(objective: Objective, n: int = 8, scale: float = 1.0) -> dict[str, Pair]:
    """What the objective takes, as wide as it wants it."""
    return {name: random_pair(n, objective.width or WIDTH, scale) for name in objective.takes}


def constant_outputs(objective: Objective, row: Tensor, n: int = 8) -> dict[str, Pair]:
    """The same row for every image and view."""
    return {name: (row.repeat(n, 1), row.repeat(n, 1)) for name in objective.takes}


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def arrays(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    return pair[0].detach().numpy(), pair[1].detach().numpy()
