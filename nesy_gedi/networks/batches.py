"""A network's outputs of more images than fit into one batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

IMAGES_BATCH = 1024
"""Images at once, without gradient."""


@torch.no_grad()
def in_batches(network: nn.Module, images: Tensor, see: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """What a network makes of images, batch by batch, in evaluation mode.

    Args:
        images: (n, ...), on any device.
        see: what is computed of a batch on the network's device; the network's output where not given.

    Returns:
        (n, ...), on the images' device, without gradient.
    """
    tensors = (*network.parameters(), *network.buffers())
    device = tensors[0].device if tensors else images.device
    was_training = network.training
    network.eval()
    seen = [(see or network)(batch.to(device)).to(images.device) for batch in images.split(IMAGES_BATCH)]
    network.train(was_training)
    return torch.cat(seen)
