"""DINO: self-distillation from a centred, sharpened teacher (Caron et al.)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import cosine_momentum, swapped_cross_entropy


class Dino(Objective):
    """L = ½ [CE(t1, s2) + CE(t2, s1)], t = softmax((teacher - m)/τ_t), s = softmax(student/τ_s), m a running mean.

    Source: Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, arXiv 2104.14294,
    equations 1 to 4; constants of the released code.

    Takes ``projection``, the student's logits (n, clusters), and ``momentum``, the teacher's. The head is not here: the
    paper's is a three-layer perceptron with a bottleneck of 256 and a weight-normed last layer. The paper freezes that
    layer in the first epoch; pretraining here does not, since the first of two epochs would be half of its features
    stage. The cluster distribution is the student's, at τ_s. The centre m is part of the state, and moves after its
    use, in training mode only.

    Collapse: none is visible in the loss. Centring works against one cluster taking all, a sharp teacher against the
    uniform output; together they prevent that of the representation and of clusters in practice, without a guarantee.
    Nothing acts on dimensional or intracluster collapse.

    Args:
        clusters: 65536 in the paper.
        student_temperature: τ_s; .1 in the paper.
        teacher_temperature: τ_t after the warm-up; .07 in the paper.
        first_teacher_temperature: τ_t at the start, rising linearly; .04 in the paper.
        warm_up: the share of training that the rise takes; .3, that is 30 of 100 epochs in the released recipe.
        centre_momentum: .9 in the paper.
        ema: coefficient of the teacher's average at the start, rising to 1 as a cosine; .996 in the paper.

    Raises:
        UsageError: a number out of range.
    """

    name: ClassVar[str] = "dino"
    comparable: ClassVar[bool] = False
    centre: Tensor

    def __init__(
        self,
        clusters: int,
        *,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        first_teacher_temperature: float = 0.04,
        warm_up: float = 0.3,
        centre_momentum: float = 0.9,
        ema: float = 0.996,
    ) -> None:
        super().__init__(clusters=clusters, width=clusters)
        check_number(self.name, "student_temperature", student_temperature, above=0.0)
        check_number(self.name, "teacher_temperature", teacher_temperature, above=0.0)
        check_number(self.name, "first_teacher_temperature", first_teacher_temperature, above=0.0)
        check_number(self.name, "warm_up", warm_up, minimum=0.0, maximum=1.0)
        check_number(self.name, "centre_momentum", centre_momentum, minimum=0.0, below=1.0)
        check_number(self.name, "ema", ema, minimum=0.0, maximum=1.0)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.first_teacher_temperature = first_teacher_temperature
        self.warm_up = warm_up
        self.centre_momentum = centre_momentum
        self.ema = ema
        self.schedule(0.0)
        self.register_buffer("centre", torch.zeros(clusters))

    @property
    def takes(self) -> tuple[str, ...]:
        return ("projection", "momentum")

    def schedule(self, progress: float) -> None:
        """Set τ_t; it follows from ``progress`` alone, and so is no part of the state."""
        super().schedule(progress)
        share = min(1.0, progress / self.warm_up) if self.warm_up > 0 else 1.0
        first, last = self.first_teacher_temperature, self.teacher_temperature
        self.temperature_now = first + (last - first) * share

    def momentum(self, progress: float) -> float:
        check_number(self.name, "progress", progress, minimum=0.0, maximum=1.0)
        return cosine_momentum(self.ema, progress)

    def logits(self, projection: Tensor) -> Tensor:
        return projection / self.student_temperature

    def _terms(self, projection: Pair, momentum: Pair) -> dict[str, Tensor]:
        s1, s2 = (torch.log_softmax(self.logits(view), 1) for view in projection)
        t1, t2 = (self._targets(view) for view in momentum)
        if self.training:
            self._move_centre(torch.cat(momentum))
        return {"distillation": swapped_cross_entropy((t1, t2), (s1, s2))}

    @torch.no_grad()
    def _targets(self, teacher: Tensor) -> Tensor:
        return torch.log_softmax((teacher - self.centre.to(teacher.dtype)) / self.temperature_now, 1)

    @torch.no_grad()
    def _move_centre(self, teacher: Tensor) -> None:
        """m <- μ m + (1 - μ) mean of the teacher's logits (equation 4)."""
        self.centre.lerp_(teacher.mean(0).to(self.centre.dtype), 1.0 - self.centre_momentum)
