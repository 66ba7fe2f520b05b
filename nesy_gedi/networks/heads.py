"""Heads: features of shape (batch, d) to one output a symbol."""

from __future__ import annotations

import torch
from torch import nn

from nesy_gedi.errors import UsageError

HEADS = ("linear", "none")


def make_head(kind: str, encoder: nn.Module, image_shape: tuple[int, int, int], symbols: int) -> nn.Module | None:
    """The head that a recipe names, as wide as the domain.

    Args:
        kind: ``linear``, or ``none`` where the encoder's output already has a value for each symbol.
        encoder: tells the number of features; it is asked with an empty image.
        image_shape: (channels, height, width).
        symbols: size of the domain.

    Raises:
        UsageError: an unknown kind, or an encoder that does not take such images.
    """
    if kind == "none":
        return None
    if kind != "linear":
        raise UsageError(f"there is no head {kind}", hint=f"valid: {', '.join(HEADS)}")
    was_training = encoder.training
    encoder.eval()  # one image is too few for batch statistics
    try:
        with torch.no_grad():
            features = encoder(torch.zeros(1, *image_shape))
    except Exception as error:  # whatever the user's encoder raises
        raise UsageError(
            f"the encoder does not take images of shape {image_shape}: {error}", hint="choose another encoder or resize"
        ) from error
    finally:
        encoder.train(was_training)
    if not isinstance(features, torch.Tensor) or features.dim() != 2:
        found = f"shape {tuple(features.shape)}" if isinstance(features, torch.Tensor) else type(features).__name__
        raise UsageError(
            f"the encoder returns features of {found}, expected shape (batch, d)",
            hint="end it with torch.nn.Flatten()",
        )
    return nn.Linear(features.shape[1], symbols)
