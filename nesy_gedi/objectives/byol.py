"""BYOL: predict an averaged teacher's embedding of the other view (Grill et al.)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import cosine_momentum, mean_cosine


def bootstrap(prediction: Tensor, target: Tensor) -> Tensor:
    """(1/n) Σ_i ‖p_i/‖p_i‖ - t_i/‖t_i‖‖² = 2 - 2 mean cos(p_i, t_i) for two (n, d), no gradient to the target; [0, 4]."""
    return 2.0 - 2.0 * mean_cosine(prediction, target.detach())


class Byol(Objective):
    """L = (2 - 2 cos(pred1, teacher2)) + (2 - 2 cos(pred2, teacher1)), averaged over the batch.

    Source: Grill et al., "Bootstrap your own latent", NeurIPS 2020, arXiv 2006.07733, equation 2, both orders summed.

    Takes ``prediction`` and ``momentum``, (n, d) each, made unit here. No cluster distribution.

    Collapse: none is visible in the loss: a constant output costs 0, the least there is. The predictor and the slow
    teacher keep training away from it; without them, or a batch norm, it collapses. Nothing acts on dimensional
    collapse, and clusters are unknown to it.

    Args:
        ema: coefficient of the teacher's average at the start, rising to 1 as a cosine; .99, for short training (the
            paper: .996 for 1000 epochs, .99 for 300).

    Raises:
        UsageError: a coefficient outside [0, 1].
    """

    name: ClassVar[str] = "byol"
    comparable: ClassVar[bool] = False

    def __init__(self, *, ema: float = 0.99) -> None:
        super().__init__()
        check_number(self.name, "ema", ema, minimum=0.0, maximum=1.0)
        self.ema = ema

    @property
    def takes(self) -> tuple[str, ...]:
        return ("prediction", "momentum")

    def momentum(self, progress: float) -> float:
        check_number(self.name, "progress", progress, minimum=0.0, maximum=1.0)
        return cosine_momentum(self.ema, progress)

    def _terms(self, prediction: Pair, momentum: Pair) -> dict[str, Tensor]:
        return {"bootstrap": bootstrap(prediction[0], momentum[1]) + bootstrap(prediction[1], momentum[0])}
