"""What happens when the memory of a device runs out: the batch is computed in pieces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from nesy_gedi.errors import NesyGediWarning, RunError
from nesy_gedi.training.processes import ALONE, Processes

T = TypeVar("T")


class Pieces:
    """In how many pieces a step's batch is computed: one, until memory runs out; then twice as many, and so on.

    Gradients are added up over the pieces, so that the step is that of the whole batch - but for batch normalisation, whose
    statistics are those of a piece.

    Args:
        what: the items of a batch, in words.
        key: of the recipe, that makes batches smaller.
    """

    def __init__(self, what: str, key: str) -> None:
        self.what = what
        self.key = key
        self.count = 1

    def run(
        self,
        rows: Tensor,
        compute: Callable[[Tensor, int, int], T],
        clear: Callable[[], object],
        processes: Processes = ALONE,
    ) -> list[T]:
        """What ``compute`` returns of each piece.

        Args:
            rows: of the batch.
            compute: given a piece's rows, its number and how many there are; adds to the gradients.
            clear: forgets the gradients.
            processes: that must take the same pieces; where there are several, memory that runs out is an error.

        Raises:
            RunError: there is not memory enough for one item, or several processes train together.
        """
        while True:
            clear()
            pieces = rows.tensor_split(min(self.count, len(rows)))
            try:
                return [compute(piece, number, len(pieces)) for number, piece in enumerate(pieces)]
            except torch.OutOfMemoryError as error:
                if len(pieces) >= len(rows) or processes.count > 1:
                    raise RunError(
                        f"the memory of the device is too small for {len(pieces[0])} {self.what} at once",
                        where=self.key,
                        hint=f"lower {self.key}" if len(rows) > 1 else "use smaller networks",
                    ) from error
            # Not before the error is gone, which holds on to what was computed.
            _free()
            self.count = 2 * len(pieces)
            warnings.warn(
                f"the memory of the device ran out: batches of {len(rows)} {self.what} are computed in {self.count} pieces "
                f"whose gradients are added up; batch normalisation sees a piece at a time. A lower {self.key} avoids this",
                NesyGediWarning,
                stacklevel=2,
            )


def in_batches_that_fit(count: int, size: int, compute: Callable[[Tensor], T]) -> Iterator[tuple[Tensor, T]]:
    """What ``compute`` makes of the rows 0 to ``count``, so many at once as fit into memory, at most ``size``.

    Raises:
        RunError: there is not memory enough for one row.
    """
    begin = 0
    while begin < count:
        rows = torch.arange(begin, min(begin + size, count))
        found: list[T] = []
        try:
            found.append(compute(rows))
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise RunError(
                    "the memory of the device is too small for one query",
                    hint="use smaller networks, or --device cpu",
                ) from error
        if not found:
            _free()
            size = -(-len(rows) // 2)
            warnings.warn(
                f"the memory of the device ran out: {size} queries are measured at once in place of {len(rows)}",
                NesyGediWarning,
                stacklevel=2,
            )
            continue
        yield rows, found[0]
        begin += len(rows)


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
