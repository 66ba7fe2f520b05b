"""What the metrics refuse: shapes that do not fit, numbers that are not finite, too little to measure."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nesy_gedi.errors import DataError, DistributionError

ROW_SUM_TOLERANCE = 1e-3
"""How far a row's probabilities may sum from one, beside what rounding of the logarithms explains."""


def finite_matrix(values: Tensor, name: str = "features", least: int = 2) -> Tensor:
    """``values`` of shape (n, d) on the CPU, without gradient, in float64.

    Raises:
        DataError: not (n, d) with n at least ``least`` and d at least 1, or values that are not finite.
    """
    if values.dim() != 2 or len(values) < least or values.shape[1] == 0:
        raise DataError(
            f"{name} have shape {tuple(values.shape)}, expected (n, d) with n at least {least}",
            hint="give one row a sample; flatten feature maps with flatten(1)",
        )
    return _finite(values, name)


def finite_views(embeddings: Tensor, least: int = 1) -> Tensor:
    """Embeddings of shape (n, views, d) on the CPU, without gradient, in float64.

    Raises:
        DataError: not (n, views, d) with n at least 2 and ``least`` views, or values that are not finite.
    """
    if embeddings.dim() != 3 or len(embeddings) < 2 or embeddings.shape[1] < least or embeddings.shape[2] == 0:
        raise DataError(
            f"embeddings have shape {tuple(embeddings.shape)}, "
            f"expected (n, views, d) with n at least 2 and views at least {least}",
            hint="stack the views of each sample: torch.stack([first, second], 1)",
        )
    return _finite(embeddings, "embeddings")


def _finite(values: Tensor, name: str) -> Tensor:
    values = values.detach().to("cpu", torch.float64)
    if bool(values.sum().isfinite()):  # one pass; a sum that overflows is looked at more closely
        return values
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise DataError(
            f"{bad} of {values.numel()} values of the {name} are NaN or infinite",
            hint="lower the learning rate, or look for an overflow in half precision",
        )
    return values


def whole_numbers(values: Tensor, shape: tuple[int, ...], below: int | None, name: str) -> Tensor:
    """``values`` as int64 on the CPU: labels, clusters or indices.

    Raises:
        DataError: another shape, another type than integers, or values outside [0, below).
    """
    if tuple(values.shape) != shape:
        raise DataError(
            f"{name} have shape {tuple(values.shape)}, expected {shape}", hint="give them for all samples, in one order"
        )
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise DataError(
            f"{name} are of type {values.dtype}, expected integers",
            hint="convert whole numbers with .long(), probabilities with .argmax(1)",
        )
    values = values.detach().to("cpu", torch.int64)
    if values.numel() and (int(values.min()) < 0 or (below is not None and int(values.max()) >= below)):
        valid = "at least 0" if below is None else f"between 0 and {below - 1}"
        raise DataError(
            f"{name} lie between {int(values.min())} and {int(values.max())}, expected {valid}",
            hint="count from 0, and leave out samples without one",
        )
    return values


def log_distributions(log_probabilities: Tensor) -> Tensor:
    """Log-probabilities of shape (n, c), rows normalised, as probabilities on the CPU, at least in float32.

    Raises:
        DistributionError: not (n, c) with n at least 1 and c at least 2, NaN, or rows that do not sum to one.
    """
    if log_probabilities.dim() != 2 or len(log_probabilities) == 0 or log_probabilities.shape[1] < 2:
        raise DistributionError(
            f"log-probabilities have shape {tuple(log_probabilities.shape)}, expected (n, clusters) with two or more",
            hint="give one row a sample, with the log-probability of each cluster",
        )
    values = log_probabilities.detach().cpu()
    if not values.is_floating_point():
        raise DistributionError(
            f"log-probabilities are of type {values.dtype}, expected floating point",
            hint="give log-probabilities, not the clusters themselves",
        )
    # Rounding log p by a share eps changes p by eps p |log p|: together by eps times the entropy, log c at most.
    tolerance = ROW_SUM_TOLERANCE + torch.finfo(values.dtype).eps * math.log(values.shape[1])
    probabilities = (values if values.dtype == torch.float64 else values.float()).exp()
    sums = probabilities.sum(1, keepdim=True, dtype=torch.float64)
    bad = ~((sums - 1).abs() <= tolerance)  # NaN is bad as well
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise DistributionError(
            f"the probabilities of row {row} sum to {float(sums[row]):.6g}, expected 1",
            hint="give log-probabilities: torch.log_softmax(logits, 1)",
        )
    return probabilities.div_(sums.to(probabilities.dtype))  # of one type: mixed division is many times slower
