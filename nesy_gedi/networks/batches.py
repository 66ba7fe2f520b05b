"""A network's outputs of more images than fit into one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

IMAGES_BATCH = 1024
"""Images at once, without gradient."""


@torch.no_grad()
def in_batches(
    network: nn.Module, images: Tensor | Sequence[Tensor], see: Callable[..., Tensor] | None = None
) -> Tensor:
    """What a network makes of images, batch by batch, in evaluation mode.

    Args:
        images: (n, ...), on any device; of a network with several inputs, one tensor for each.
        see: what is computed of a batch on the network's device; the network's output where not given.

    Returns:
        (n, ...), on the images' device, without gradient.
    """
    tensors = (*network.parameters(), *network.buffers())
    inputs = [images] if isinstance(images, Tensor) else list(images)
    device = tensors[0].device if tensors else inputs[0].device
    was_training = network.training
    network.eval()
    batches = zip(*(each.split(IMAGES_BATCH) for each in inputs), strict=True)
    seen = [(see or network)(*(each.to(device) for each in batch)).to(inputs[0].device) for batch in batches]
    network.train(was_training)
    return torch.cat(seen)
