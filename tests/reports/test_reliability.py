"""The reliability diagram."""

from __future__ import annotations

import pytest
import torch

from nesy_gedi.metrics.calibration import calibrate
from nesy_gedi.reports.reliability import reliability_diagram


@pytest.mark.parametrize("confidence", [[1.0, 1.0], [0.5, 0.7], []])
def test_the_diagram_is_drawn_of_certain_networks_and_of_no_image_too(confidence: list[float]) -> None:
    first = torch.tensor(confidence, dtype=torch.float64)
    found = calibrate(torch.stack([first, 1.0 - first], 1), torch.arange(len(confidence)))
    drawn = reliability_diagram(found, "of <net>")
    assert drawn.startswith('<svg role="img" aria-label="of &lt;net&gt;"')
    assert "as confident as right" in drawn
