"""What every self-supervised objective is: named loss terms of two views, and sometimes a cluster distribution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nesy_gedi.errors import DataError, UsageError, did_you_mean

Pair = tuple[Tensor, Tensor]
"""The same thing for both views; row i of one belongs to row i of the other."""

OUTPUTS = {
    "projection": "the projector's output",
    "prediction": "the predictor's output, made from the projection",
    "student": "the output of a second, linear head on the encoder's features",
    "momentum": "the projection by the averaged teacher, without gradient",
    "energy": "logits of data and of samples, as Objective.logits makes them; their rows need not belong together",
}
"""What an objective may take."""


class Objective(nn.Module, ABC):
    """A loss of two views of the same images.

    Args:
        clusters: size of the objective's own cluster distribution; None where it has none.
        width: the width that outputs must have; None where any will do.

    Raises:
        UsageError: fewer than two clusters, or a width below one.
    """

    name: ClassVar[str]
    smallest_batch: ClassVar[int] = 2
    comparable: ClassVar[bool] = True
    """Whether of two runs that with the lower loss is likely the better one: not where collapse has the lowest."""
    own_clusters: ClassVar[bool] = False
    """Whether the projection is the logits of a linear head, whose clusters have a prior: they may be symbols."""
    unranked: ClassVar[frozenset[str]] = frozenset()
    """Terms that are left out when the losses of two runs are compared."""
    refuses_nan: bool = True
    """Whether :meth:`terms` looks for values that are not finite, for which a GPU is waited for. Where False, the terms are
    not finite either, and whoever reads them must look."""

    def __init__(self, *, clusters: int | None = None, width: int | None = None) -> None:
        super().__init__()
        if clusters is not None:
            check_number(self.name, "clusters", clusters, minimum=2, whole=True)
        if width is not None:
            check_number(self.name, "dimension", width, minimum=1, whole=True)
        self.clusters = clusters
        self.width = width

    @property
    def takes(self) -> tuple[str, ...]:
        """Which of :data:`OUTPUTS` :meth:`terms` wants, by keyword."""
        return ("projection",)

    def terms(self, **outputs: Pair) -> dict[str, Tensor]:
        """The named, already weighted terms; they may be negative.

        Args:
            outputs: one pair of float tensors of shape (n, d) for each name in :attr:`takes`. Lower precisions than
                float32 are raised to it, whatever autocast says.

        Returns:
            name -> scalar.

        Raises:
            UsageError: outputs that are missing or unknown.
            DataError: outputs of a wrong shape, too small a batch, or values that are not finite.
        """
        self._check(outputs)
        full = {name: (at_least_float32(first), at_least_float32(second)) for name, (first, second) in outputs.items()}
        with _no_autocast(full[self.takes[0]][0]):
            return self._terms(**full)

    def forward(self, **outputs: Pair) -> Tensor:
        """The sum of the terms, a scalar; arguments and errors as :meth:`terms`."""
        return torch.stack(tuple(self.terms(**outputs).values())).sum()

    def log_probabilities(self, projection: Tensor) -> Tensor:
        """Log cluster distribution (n, clusters), rows normalised, of a projection (n, d); any n.

        Raises:
            UsageError: the objective has no cluster distribution.
            DataError: a projection of the wrong shape.
        """
        if self.clusters is None:
            raise UsageError(
                "has no cluster distribution of its own, expected an objective that clusters",
                where=self.name,
                hint="fit a clustering head on the encoder's features",
            )
        if projection.dim() != 2 or projection.shape[1] != self.width:
            raise DataError(
                f"a projection of shape {tuple(projection.shape)}, expected (n, {self.width})",
                where=self.name,
                hint="make the projector's last layer that wide",
            )
        full = at_least_float32(projection)
        with _no_autocast(full):
            return torch.log_softmax(self.logits(full), 1)

    def logits(self, projection: Tensor) -> Tensor:
        """Logits (n, clusters) of the cluster distribution; projection (n, d) of float32 or float64."""
        return projection

    def schedule(self, progress: float) -> None:
        """Set what changes during training; ``progress`` goes from 0 to 1. Call it before each step."""
        check_number(self.name, "progress", progress, minimum=0.0, maximum=1.0)

    def momentum(self, progress: float) -> float | None:
        """Coefficient of the teacher's moving average at ``progress``; None where there is no teacher."""
        return None

    @abstractmethod
    def _terms(self, *args: Any, **outputs: Any) -> dict[str, Tensor]:
        """The terms of checked outputs, each a keyword named as in :attr:`takes`."""

    def _check(self, outputs: dict[str, Pair]) -> None:
        for name in self.takes:
            if name not in outputs:
                raise UsageError(
                    f"{name} is missing: {OUTPUTS[name]}, for both views",
                    where=self.name,
                    hint=f"takes: {', '.join(self.takes)}",
                )
        for name in outputs:
            if name not in self.takes:
                raise UsageError(f"does not take {name}", where=self.name, hint=did_you_mean(name, self.takes))
        shapes = {name: self._pair_shape(name, outputs[name]) for name in self.takes}
        rows, width = shapes[self.takes[0]]
        for name, (found_rows, found_width) in shapes.items():
            if found_width != (self.width or width):
                raise DataError(
                    f"{name} is {found_width} wide, expected {self.width or width}",
                    where=self.name,
                    hint="make the last layer of its head that wide",
                )
            if name != "energy" and found_rows != rows:
                raise DataError(
                    f"{name} has {found_rows} rows, expected {rows} as in {self.takes[0]}",
                    where=self.name,
                    hint="make all outputs from the same images",
                )
        if not self.refuses_nan:
            return
        # The largest magnitude is infinite or NaN as soon as one value is; one answer from the device for all outputs.
        finite = [torch.linalg.vector_norm(x.detach(), torch.inf).isfinite() for pair in outputs.values() for x in pair]
        if not bool(torch.stack(finite).all()):
            faulty = [name for name, pair in outputs.items() if not all(bool(torch.isfinite(x).all()) for x in pair)]
            raise DataError(
                f"{', '.join(faulty)} holds values that are not finite",
                where=self.name,
                hint="lower the learning rate, or look for the layer that made them",
            )

    def _pair_shape(self, name: str, pair: Pair) -> tuple[int, int]:
        hint = "pass one tensor for each view of the same images"
        if len(pair) != 2 or not all(isinstance(x, Tensor) and x.is_floating_point() for x in pair):
            raise DataError(f"{name} is not a pair of float tensors", where=self.name, hint=hint)
        first, second = (tuple(x.shape) for x in pair)
        if first != second or len(first) != 2:
            raise DataError(
                f"{name} of shapes {first} and {second}, expected two of the same shape (n, d)",
                where=self.name,
                hint=hint,
            )
        rows, width = first
        if rows < self.smallest_batch:
            raise DataError(
                f"{name} of a batch of {rows}, expected at least {self.smallest_batch}",
                where=self.name,
                hint="take larger batches, and drop the last one when it is small",
            )
        return rows, width


def check_number(
    where: str,
    name: str,
    value: float,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse a setting outside of its range; NaN and infinities always.

    Raises:
        UsageError: with the setting's name, its value and its range.
    """
    limits = (
        (minimum, "at least", lambda limit: value >= limit),
        (above, "above", lambda limit: value > limit),
        (maximum, "at most", lambda limit: value <= limit),
        (below, "below", lambda limit: value < limit),
    )
    given = [(limit, words, holds) for limit, words, holds in limits if limit is not None]
    valid = math.isfinite(value) and (not whole or value == int(value)) and all(h(limit) for limit, _, h in given)
    if not valid:
        kind = "a whole number" if whole else "a number"
        ranges = " and ".join(f"{words} {limit:g}" for limit, words, _ in given)
        raise UsageError(
            f"{name} cannot be {value:g}, expected {kind} {ranges}".rstrip(),
            where=where,
            hint=f"change {name}, or leave it out for its default where it has one",
        )


def at_least_float32(values: Tensor) -> Tensor:
    """``values`` as float32, or float64 where they are: losses of half precision lose small differences."""
    return values if values.dtype == torch.float64 else values.float()


def _no_autocast(values: Tensor) -> torch.autocast:
    """Matrix products inside a loss keep the precision of ``values``."""
    return torch.autocast(values.device.type, enabled=False)
