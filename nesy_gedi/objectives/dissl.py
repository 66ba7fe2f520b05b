"""DISSL: distil a balanced, consistent teacher into a linear student (Dubois et al.)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import entropy, log_marginal, swapped_cross_entropy, symmetric_cross_entropy


class Dissl(Objective):
    """L = CE(t, s') - λ H(t̄) + β CE(t, t'), each averaged over both orders of views; no gradient is stopped.

    Source: Dubois, Hashimoto, Ermon and Liang, "Improving self-supervised learning by characterizing idealized
    representations", NeurIPS 2022, arXiv 2209.06235, and its released code.

    Takes ``projection``, the teacher's logits (n, clusters) by a perceptron, and ``student``, those of a linear head,
    so that clusters become linearly separable. The cluster distribution is the teacher's. There is no second network:
    both heads sit on the same features.

    Optimum: -λ log c, when t is one-hot, balanced and the same for both views, and the student agrees.

    Collapse: the entropy prevents that of clusters and of the representation: a constant one-hot output costs 0, a
    constant uniform one (1 + β - λ) log c, both above the optimum. Nothing prevents dimensional or intracluster
    collapse; the paper's ideal representations have the second.

    Args:
        clusters: c; 16384 in the released code.
        teacher_temperature: T_t; .5 in the released code.
        student_temperature: T_s; 1 in the released code.
        maximality: λ; 2.3 in the released code.
        invariance: β; .8 in the released code.

    Raises:
        UsageError: a number out of range.
    """

    name: ClassVar[str] = "dissl"

    def __init__(
        self,
        clusters: int,
        *,
        teacher_temperature: float = 0.5,
        student_temperature: float = 1.0,
        maximality: float = 2.3,
        invariance: float = 0.8,
    ) -> None:
        super().__init__(clusters=clusters, width=clusters)
        check_number(self.name, "teacher_temperature", teacher_temperature, above=0.0)
        check_number(self.name, "student_temperature", student_temperature, above=0.0)
        check_number(self.name, "maximality", maximality, minimum=0.0)
        check_number(self.name, "invariance", invariance, minimum=0.0)
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.maximality = maximality
        self.invariance = invariance

    @property
    def takes(self) -> tuple[str, ...]:
        return ("projection", "student")

    def logits(self, projection: Tensor) -> Tensor:
        return projection / self.teacher_temperature

    def _terms(self, projection: Pair, student: Pair) -> dict[str, Tensor]:
        t1, t2 = (torch.log_softmax(self.logits(view), 1) for view in projection)
        s1, s2 = (torch.log_softmax(view / self.student_temperature, 1) for view in student)
        marginal_entropy = (entropy(log_marginal(t1)) + entropy(log_marginal(t2))) / 2
        return {
            "distillation": swapped_cross_entropy((t1, t2), (s1, s2)),
            "maximality": -self.maximality * marginal_entropy,
            "invariance": self.invariance * symmetric_cross_entropy(t1, t2),
        }
