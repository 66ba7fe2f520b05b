"""SimCLR: contrast each image's two views with all other images (Chen et al.)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import similarities


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """-(1/2n) Σ_a log[exp(cos(a, a⁺)/T) / Σ_{b ≠ a} exp(cos(a, b)/T)] over all 2n embeddings a, a⁺ the other view's.

    Args:
        first: (n, d) embeddings of any length.
        second: of the other view.
        temperature: T.

    Returns:
        Scalar, above 0; log(2n - 1) when all embeddings are the same.
    """
    n = len(first)
    both = torch.cat([first, second])
    itself = torch.eye(2 * n, dtype=torch.bool, device=both.device)
    logits = similarities(both, both, temperature).masked_fill(itself, -torch.inf)
    positive = torch.cat([logits.diagonal(n), logits.diagonal(-n)])
    return (torch.logsumexp(logits, 1) - positive).mean()


class SimClr(Objective):
    """InfoNCE among 2n unit embeddings, each view's positive being the other view (NT-Xent).

    Source: Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020, arXiv 2002.05709, equation 1.

    Takes ``projection``: (n, d), made unit here. No cluster distribution. Cost and memory grow as n².

    Collapse: prevents that of the representation (a constant output costs log(2n - 1), the most that views which agree
    can cost); dimensional collapse in part; knows nothing of clusters, so that it may split one.

    Args:
        temperature: T; .2 as in maintained implementations (the paper tunes it: .1 on ImageNet, .5 on CIFAR-10).

    Raises:
        UsageError: a temperature that is not positive.
    """

    name: ClassVar[str] = "simclr"

    def __init__(self, *, temperature: float = 0.2) -> None:
        super().__init__()
        check_number(self.name, "temperature", temperature, above=0.0)
        self.temperature = temperature

    def _terms(self, projection: Pair) -> dict[str, Tensor]:
        return {"contrast": info_nce(*projection, self.temperature)}
