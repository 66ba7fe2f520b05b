"""CISSL: contrast with asymmetric heads, so that clusters are linearly separable (Dubois et al.)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import similarities


def asymmetric_info_nce(student: Pair, teacher: Pair, temperature: float) -> Tensor:
    """-(1/2n) Σ_a ½ [log q(a | a) + log q(a⁺ | a)], q(b | a) = softmax_b(cos(s_a, t_b)/T) over all 2n teachers b.

    Half of the target's mass is on the embedding itself and half on the other view's: heads differ, so that the first
    is no trivial match.

    Args:
        student: (n, d) embeddings of both views by the one head, of any length.
        teacher: by the other head.
        temperature: T.

    Returns:
        Scalar, above log 2; log(2n) when all embeddings are the same.
    """
    n = len(student[0])
    log_q = torch.log_softmax(similarities(torch.cat(student), torch.cat(teacher), temperature), 1)
    positive = torch.cat([log_q.diagonal(n), log_q.diagonal(-n)])
    return -(log_q.diagonal() + positive).mean() / 2


class Cissl(Objective):
    """InfoNCE from a linear student's to a perceptron teacher's embeddings, target mass ½ on itself, ½ on its positive.

    Source: Dubois, Hashimoto, Ermon and Liang, "Improving self-supervised learning by characterizing idealized
    representations", NeurIPS 2022, arXiv 2209.06235, and its released code.

    Takes ``projection``, the teacher's embeddings (n, d), and ``student``, those of a linear head; made unit here. No
    cluster distribution. Cost and memory grow as n².

    Deviation: the heads are not here, and those that pretraining makes are not the released ones, which both end in a
    batch normalisation. Its teacher ends in a linear layer, with batch normalisation between layers alone, and its
    student is a linear layer.

    Collapse: prevents that of the representation (a constant output costs log(2n), the optimum is near log 2) and
    dimensional collapse in part; knows nothing of clusters.

    Args:
        temperature: T; .07 in the released code.

    Raises:
        UsageError: a temperature that is not positive.
    """

    name: ClassVar[str] = "cissl"

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__()
        check_number(self.name, "temperature", temperature, above=0.0)
        self.temperature = temperature

    @property
    def takes(self) -> tuple[str, ...]:
        return ("projection", "student")

    def _terms(self, projection: Pair, student: Pair) -> dict[str, Tensor]:
        return {"contrast": asymmetric_info_nce(student, projection, self.temperature)}
