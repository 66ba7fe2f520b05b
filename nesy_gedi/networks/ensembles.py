"""Several networks side by side as one: each sees the images for itself, and together they return their average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError


class EnsembleEncoder(nn.Module):
    """Encoders side by side: features (batch, d) of each, one after the other, (batch, M d).

    Args:
        members: M encoders of the same width.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features (batch, M d) of images, as each member takes them."""
        return torch.cat([member(*inputs) for member in self.members], 1)


class EnsembleHead(nn.Module):
    """A head for each member of an :class:`EnsembleEncoder`; their average is what the ensemble says.

    Args:
        members: M heads from features (batch, d) to logits (batch, K).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Tensor) -> Tensor:
        """Log of the members' mean probabilities (batch, K), rows normalised, of features (batch, M d)."""
        return log_average(self.log_probabilities(features))

    def log_probabilities(self, features: Tensor) -> Tensor:
        """What each member says for itself: (M, batch, K), rows normalised, of features (batch, M d)."""
        parts = features.chunk(len(self.members), 1)
        logits = torch.stack([head(part) for head, part in zip(self.members, parts, strict=True)])
        return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), 2)


def log_average(log_p: Tensor) -> Tensor:
    """Log of the mean over the first dimension of probabilities: (M, ...) log-probabilities to (...).

    Exact where the mean would be zero in floating point; -inf, with a gradient of zero, where all M are.
    """
    # The gradient of logsumexp is not a number where all its entries are -inf.
    impossible = (log_p == -torch.inf).all(0)
    average = torch.logsumexp(log_p.masked_fill(impossible, 0.0), 0) - math.log(len(log_p))
    return average.masked_fill(impossible, -torch.inf)


def side_by_side(members: Sequence[tuple[nn.Module, nn.Module | None]]) -> tuple[nn.Module, nn.Module | None]:
    """One encoder and one head of all members; of a single one, its own.

    Args:
        members: encoder and head of each, with weights of their own. The heads of several return logits.

    Raises:
        UsageError: several members without heads, or whose encoders are one and the same module.
    """
    if len(members) == 1:
        return members[0]
    encoders, heads = zip(*members, strict=True)
    if any(head is None for head in heads):
        raise UsageError("each member of an ensemble needs a head", hint='set head = "linear"')
    if len({id(encoder) for encoder in encoders}) < len(members):
        raise UsageError(
            "the encoder is the same module each time it is made, so that members of an ensemble would share its weights",
            hint="let the factory make a new one at every call",
        )
    return EnsembleEncoder(encoders), EnsembleHead(heads)
