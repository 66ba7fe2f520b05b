"""Learned probabilities ``t(_)`` of a program."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.logic.program import SMALLEST_PROBABILITY, ParameterGroup


class LearnedProbabilities(nn.Module):
    """The learned heads of each annotated disjunction as logits, normalised within it.

    Heads with a written-out probability keep it; the learned ones (and "none of them", where the disjunction leaves
    room) share the rest by a softmax.
    """

    def __init__(self, groups: Sequence[ParameterGroup]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        # What is known of a group by number, device and type: made once, as a GPU is waited for where numbers go to it.
        self._known: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        self.logits = nn.ParameterList()
        for group in self.groups:
            free = [max(group.heads[k], SMALLEST_PROBABILITY) for k in self._free(group)]
            self.logits.append(nn.Parameter(torch.tensor(free, dtype=torch.float64).log().float()))

    @staticmethod
    def _free(group: ParameterGroup) -> list[int]:
        heads = [k for k, learned in enumerate(group.learned) if learned]
        return heads + ([len(group.learned)] if group.heads[-1] else [])

    def logits_of(self, number: int, learned: Sequence[float]) -> Tensor:
        """Logits under which the learned heads of one group have these probabilities, and "none" what is left."""
        group = self.groups[number]
        fixed = sum(p for p, is_learned in zip(group.heads, group.learned, strict=False) if not is_learned)
        shares = [*learned, *([1.0 - fixed - sum(learned)] if group.heads[-1] else [])]
        return torch.tensor([max(share, SMALLEST_PROBABILITY) for share in shares], dtype=torch.float64).log().float()

    @contextlib.contextmanager
    def replaced(self, logits: Sequence[Tensor]) -> Iterator[None]:
        """Other logits for a while, one tensor for each group."""
        before = [each.data for each in self.logits]
        try:
            for own, other in zip(self.logits, logits, strict=True):
                own.data = other.to(own.device)
            yield
        finally:
            for own, old in zip(self.logits, before, strict=True):
                own.data = old

    def forward(self, group: int, dtype: torch.dtype) -> Tensor:
        """Log-probabilities of the heads of one group and of "none", shape ``(heads + 1,)``."""
        what = self.groups[group]
        free = self._free(what)
        fixed = sum(p for k, p in enumerate(what.heads) if k not in free)
        shares = torch.log_softmax(self.logits[group].to(dtype), 0) + math.log(max(1.0 - fixed, SMALLEST_PROBABILITY))
        key = (group, shares.device, dtype)
        if key not in self._known:
            result = torch.tensor(
                [math.log(p) if p else -math.inf for p in what.heads], device=shares.device, dtype=dtype
            )
            self._known[key] = result, torch.tensor(free, device=shares.device)
        result, places = self._known[key]
        return result.index_copy(0, places, shares)

    def probabilities(self) -> dict[str, list[float]]:
        """Current probabilities by the text of the clause, the last for "none of its heads"; for reports."""
        found: dict[str, list[float]] = {}
        with torch.no_grad():
            for number, group in enumerate(self.groups):
                again = sum(other.label == group.label for other in self.groups[:number])
                label = f"{group.label} ({again + 1})" if again else group.label
                found[label] = self(number, torch.float64).exp().tolist()
        return found
