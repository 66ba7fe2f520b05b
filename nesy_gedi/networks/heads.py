"""Heads: features of shape (batch, d) to one output a symbol."""

from __future__ import annotations

import torch
from torch import nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import features_fault

HEADS = ("linear", "clusters", "none")

PROBES = 3
"""Images that an encoder is tried with; of fewer, an encoder that mixes up rows may return as many."""


def make_head(kind: str, encoder: nn.Module, image_shape: tuple[int, ...], symbols: int) -> nn.Module | None:
    """The head that a recipe names, as wide as the domain.

    Args:
        kind: ``linear``; ``clusters``, the same with weights that come later; or ``none`` where the encoder's output
            already has a value for each symbol.
        encoder: tells the number of features; it is asked with empty images.
        image_shape: (channels, height, width); (d,) for points.
        symbols: size of the domain.

    Raises:
        UsageError: an unknown kind, or an encoder that does not take such images.
    """
    if kind == "none":
        return None
    if kind not in ("linear", "clusters"):
        raise UsageError(f"there is no head {kind}", hint=f"valid: {', '.join(HEADS)}")
    was_training = encoder.training
    encoder.eval()  # one image is too few for batch statistics
    try:
        with torch.no_grad():
            features = encoder(torch.zeros(PROBES, *image_shape))
    except Exception as error:  # whatever the user's encoder raises
        raise UsageError(
            f"the encoder does not take images of shape {image_shape}: {type(error).__name__}: {error}",
            hint="choose another encoder or resize",
        ) from error
    finally:
        encoder.train(was_training)
    if fault := features_fault(features, PROBES):
        raise UsageError(fault[0], hint=fault[1])
    return nn.Linear(features.shape[1], symbols)
