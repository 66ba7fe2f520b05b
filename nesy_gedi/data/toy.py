"""Points in the plane whose two classes no straight line separates: the smallest data for clustering."""

from __future__ import annotations

import numpy as np
import torch

from nesy_gedi.data.cards import Card
from nesy_gedi.data.image_sets import ImageSet, Labels

NOISE = 0.05  # standard deviation of each coordinate; the moons and the outer circle have radius 1
INNER_RADIUS = 0.5  # of the inner circle


def generate_moons(card: Card, seed: int) -> ImageSet:
    """Two interleaved half circles, class 0 the upper one: all points of the card, (n, 2) float32."""
    from sklearn.datasets import make_moons  # costs a second, and no other data needs it

    return _points(card, *make_moons(card.train + card.test, noise=NOISE, random_state=seed))


def generate_circles(card: Card, seed: int) -> ImageSet:
    """Two concentric circles, class 0 the outer one: all points of the card, (n, 2) float32."""
    from sklearn.datasets import make_circles

    return _points(card, *make_circles(card.train + card.test, noise=NOISE, factor=INNER_RADIUS, random_state=seed))


def _points(card: Card, points: np.ndarray, index: np.ndarray) -> ImageSet:
    labels = Labels(card.attributes["class"], torch.as_tensor(index, dtype=torch.int64))
    return ImageSet(torch.as_tensor(points, dtype=torch.float32), {"class": labels})
