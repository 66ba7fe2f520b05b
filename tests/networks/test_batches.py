"""Many images seen batch by batch are seen as together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.networks import batches
from nesy_gedi.networks.batches import in_batches


@pytest.mark.parametrize("training", [True, False])
def test_images_in_batches_are_what_they_are_together(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    monkeypatch.setattr(batches, "IMAGES_BATCH", 4)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)).train(training)
    images = torch.randn(10, 1, 2, 2)
    found = in_batches(network, images)
    assert network.training == training
    assert not found.requires_grad
    torch.testing.assert_close(found, network.eval()(images))
    sizes: list[int] = []

    def first(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch[:, 0, 0, :1]

    assert torch.equal(in_batches(network, images, first), images[:, 0, 0, :1])
    assert sizes == [4, 4, 2]
