"""What one network of a finished run makes of the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.metrics.calibration import Calibration, calibrate
from nesy_gedi.reports.learned_map import LearnedMap, learned_map
from nesy_gedi.training.evaluation import probabilities_of
from nesy_gedi.training.perceptions import inputs_of
from nesy_gedi.training.training import Trained


@dataclass(frozen=True, eq=False)
class NetworkReading:
    """What one network makes of the test images.

    Attributes:
        domain: its symbols.
        inputs: what it looked at, a tensor (n, ...) for each of its inputs: all test images of its kind; of a network with
            several inputs those that the test queries show together.
        probabilities: of the symbols, (n, K), for each of these.
        truth: (n,) int64, the symbol of each; ``UNKNOWN`` where nobody has told it.
        learned: its learned map; None where no image of the test queries is labelled.
        calibration: over the images of the test queries whose symbol is known; likewise.
    """

    domain: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    probabilities: Tensor
    truth: Tensor
    learned: LearnedMap | None
    calibration: Calibration | None

    @property
    def predicted(self) -> Tensor:
        """The symbol that each image is read as, (n,) int64."""
        return self.probabilities.argmax(1)


def read_images(trained: Trained, name: str, values: Mapping[str, Any]) -> NetworkReading:
    """What the network ``name`` makes of the test images of a run.

    Args:
        values: its metrics.
    """
    task, queries = trained.task, trained.queries
    domain, images, count = task.program.networks[name], queries.images, task.arguments(name)
    parts, shown = inputs_of(task, images, queries.index)[name], queries.index[:, task.columns(name)].flatten()
    truth = task.symbols(name, images)
    if count == 1 and images.others:  # they are numbered from the first of their kind on
        kinds = (images.images, *images.others)
        kind = next(k for k, each in enumerate(kinds) if each is parts[0])
        start = sum(len(each) for each in kinds[:kind])
        truth, shown = truth[start : start + len(parts[0])], shown - start
    elif count > 1:  # what they show together
        columns = [queries.index[:, task.columns(name, k)].flatten() for k in range(count)]
        parts = tuple(images.take(column) for column in columns)
        shown = torch.arange(len(shown))
        truth = torch.full((len(shown),), UNKNOWN)
    probabilities = probabilities_of(trained.networks[name], *parts)
    if values["confusion"] is None:
        return NetworkReading(domain, parts, probabilities, truth, None, None)
    known = shown[truth[shown] != UNKNOWN]
    learned = learned_map(name, domain, values["confusion"])
    return NetworkReading(domain, parts, probabilities, truth, learned, calibrate(probabilities[known], truth[known]))
