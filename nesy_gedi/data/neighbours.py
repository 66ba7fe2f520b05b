"""Exact nearest neighbours of every point among all the others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nesy_gedi.errors import DataError, UsageError, did_you_mean

METRICS = ("cosine", "euclidean")

BLOCK_VALUES = 2**24
"""Without ``block``, as many similarities are held at a time: 64 MiB, 128 MiB in float64."""

FEW_DIMENSIONS = 16
"""Up to here float64 costs little, and points may lie so densely that float32 would confuse them."""

_GROUP = 64  # columns that share one maximum: fewer make more maxima to sort, more make longer groups to search


def nearest_neighbours(features: Tensor, k: int, *, metric: str = "cosine", block: int | None = None) -> Tensor:
    """The ``k`` nearest other points of each point, nearest first.

    All pairs are compared, ``block`` rows at a time; nothing is approximated. Similarities are matrix products in the
    features' precision (at least float32; float64 in :data:`FEW_DIMENSIONS` or fewer), so points whose distances
    differ by less than its rounding may swap. Of equally near points the one with the lower index comes first. A
    point itself is left out, its duplicates are not. A point of zero length has cosine similarity 0 to all others.

    Memory: about ``1.1 * block * n`` values, at most six times that where k is a large share of n, and four float64
    copies of the features.

    Args:
        features: (n, d) float, all finite; computed on their device.
        k: number of neighbours, from 1 to n - 1.
        metric: ``cosine`` or ``euclidean``.
        block: rows compared at a time; by default as many as hold :data:`BLOCK_VALUES` similarities, at least 16.

    Returns:
        (n, k) int64, the neighbours' indices.

    Raises:
        UsageError: an unknown metric, or a ``k`` or ``block`` out of range.
        DataError: features of another shape or type, or not finite.
    """
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric}", hint=did_you_mean(metric, METRICS))
    if features.ndim != 2 or not features.is_floating_point():
        raise DataError(
            "neighbours need float features of shape (n, d), not "
            f"{str(features.dtype).removeprefix('torch.')} of shape {tuple(features.shape)}",
            hint="flatten images with images.flatten(1).float()",
        )
    count = len(features)
    if not 1 <= k < count:
        raise UsageError(
            f"cannot find {k} neighbours of each of {count} points",
            hint=f"choose a number from 1 to {count - 1}" if count > 1 else "give at least two points",
        )
    if block is not None and block < 1:
        raise UsageError(f"cannot compare blocks of {block} rows", hint="choose a block of 1 or more")
    if not bool(features.isfinite().all()):
        raise DataError("the features hold values that are not finite", hint="check the network that gave them")

    rows, columns = _factors(features.detach(), metric)
    block = min(count, block or max(16, BLOCK_VALUES // count))
    # One buffer for all blocks: fresh memory costs as much as filling it. Columns past the last stay -inf.
    similarity = rows.new_full((block, -(-count // _GROUP) * _GROUP), -torch.inf)
    found = torch.empty(count, k, dtype=torch.int64, device=features.device)
    for start in range(0, count, block):
        here = rows[start : start + block]
        part = similarity[: len(here)]
        torch.mm(here, columns.T, out=part[:, :count])
        part.diagonal(start).fill_(-torch.inf)  # the points themselves
        found[start : start + block] = _nearest(part, k)
    return found


def _factors(features: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """``(rows, columns)``, both (n, d) or (n, d + 1): the larger ``rows[i] @ columns[j]``, the nearer is j to i."""
    few = features.shape[1] <= FEW_DIMENSIONS
    dtype = torch.float64 if few or features.dtype == torch.float64 else torch.float32
    exact = features.double()
    if metric == "cosine":
        unit = F.normalize(exact, dim=1, eps=torch.finfo(exact.dtype).tiny).to(dtype)
        return unit, unit
    # |x - y|² is least where x·y - |y|²/2 is greatest. Shorter vectors leave less to cancel; the median is one of the
    # data's own values and the factor a power of two, so that differences of integers stay exact.
    centred = exact - exact.median(0).values
    centred /= torch.exp2(torch.frexp(centred.abs().max()).exponent.double())
    columns = torch.cat([centred, -0.5 * centred.square().sum(1, keepdim=True)], 1)
    return F.pad(centred, (0, 1), value=1.0).to(dtype), columns.to(dtype)


def _nearest(similarity: Tensor, k: int) -> Tensor:
    """(rows, k) columns of the largest values of ``similarity`` (rows, a multiple of the group size), largest first.

    The k largest lie within the k groups of columns with the largest maxima: were one of them in another group, each
    of those k groups would hold a larger one (or an equal one further left). So most columns are seen only once.
    """
    grouped = similarity.unflatten(1, (-1, _GROUP))
    groups = _largest(grouped.amax(2), min(k, grouped.shape[1]))
    candidates = grouped.gather(1, groups[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    places = _largest(candidates, k)
    places = places.gather(1, candidates.gather(1, places).sort(dim=1, descending=True, stable=True).indices)
    return groups.gather(1, places // _GROUP) * _GROUP + places % _GROUP


def _largest(values: Tensor, k: int) -> Tensor:
    """(rows, k) columns of the k largest values of each row, from left to right; of equal values the leftmost."""
    if values.shape[1] == k:
        return torch.arange(k, device=values.device).expand(len(values), k)
    best, columns = values.topk(k + 1, 1)
    columns = columns[:, :k].sort(1).values
    # topk takes any of several equal values
    undecided = (best[:, k - 1] == best[:, k]).nonzero().flatten()
    if len(undecided):
        bound, tied = best[undecided, k - 1, None], values[undecided]
        above, equal = tied > bound, tied == bound
        chosen = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
        columns[undecided] = chosen.nonzero()[:, 1].view(-1, k)
    return columns
