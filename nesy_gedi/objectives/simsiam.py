"""SimSiam: predict the other view's embedding, with a stopped gradient (Chen and He)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nesy_gedi.objectives.objective import Objective, Pair
from nesy_gedi.objectives.terms import mean_cosine


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """D(p, z) = -(1/n) Σ_i cos(p_i, z_i) for two (n, d), no gradient to z; in [-1, 1]."""
    return -mean_cosine(prediction, target.detach())


class SimSiam(Objective):
    """L = ½ D(pred1, stop(z2)) + ½ D(pred2, stop(z1)), D the negative cosine; in [-1, 1].

    Source: Chen and He, "Exploring simple Siamese representation learning", CVPR 2021, arXiv 2011.10566, equations 1
    to 4.

    Takes ``projection`` z and ``prediction``, (n, d) each, made unit here. No cluster distribution. The paper ends the
    projector with a batch norm without affine parameters.

    Collapse: none is visible in the loss: a constant output costs -1, the least there is. The stopped gradient and the
    predictor keep training away from it, without a guarantee. Nothing acts on dimensional collapse, and clusters are
    unknown to it.
    """

    name: ClassVar[str] = "simsiam"
    comparable: ClassVar[bool] = False

    @property
    def takes(self) -> tuple[str, ...]:
        return ("projection", "prediction")

    def _terms(self, projection: Pair, prediction: Pair) -> dict[str, Tensor]:
        first = negative_cosine(prediction[0], projection[1])
        return {"similarity": (first + negative_cosine(prediction[1], projection[0])) / 2}
