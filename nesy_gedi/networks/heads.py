"""Heads: features of shape (batch, d) to one output a symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.encoders import features_fault

HEADS = ("linear", "clusters", "prototypes", "none")

PROBES = 3
"""Images that an encoder is tried with; of fewer, an encoder that mixes up rows may return as many."""

TEMPERATURE = 0.3
"""Of a nearest-prototype classifier, as a share of the mean squared distance between prototypes: features have no scale of
their own. Measured on pretrained digits with 1 and 3 shots: unseen images are likeliest at 0.1, but labelled ones are so sure
there that nothing is left to learn from them, and 30 sums end lower by a tenth; from 0.3 to 1 they end alike."""

SMOOTHING = 1e-6
"""Probability that a cluster stands for a symbol that it is not assigned to: log-probabilities and gradients stay finite."""


class ClusterHead(nn.Module):
    """A linear head over clusters, of which there are more than symbols, and the symbol that each stands for.

    Args:
        features: width of the encoder's output.
        clusters: c.
        symbols: K.
    """

    log_map: Tensor

    def __init__(self, features: int, clusters: int, symbols: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, clusters)
        self.register_buffer("log_map", torch.full((clusters, symbols), -math.log(symbols)))

    def assign(self, symbols: Tensor) -> None:
        """Let cluster k stand for the symbol number ``symbols[k]``; (c,) int64."""
        count = self.log_map.shape[1]
        rows = torch.full_like(self.log_map, SMOOTHING / count)
        rows[torch.arange(len(rows)), symbols.to(rows.device)] += 1.0 - SMOOTHING
        self.log_map.copy_(rows.log())

    def forward(self, features: Tensor) -> Tensor:
        """Log-probabilities over symbols (n, K) of features (n, d)."""
        log_q = torch.log_softmax(self.linear(features), 1)
        return torch.logsumexp(log_q[:, :, None] + self.log_map, 1)


def prototype_head(features: Tensor, symbols: Tensor, count: int) -> nn.Linear:
    """The nearest-prototype classifier of a few labelled features, as a linear head.

    Prototypes are the mean features of each symbol, and logits are negative squared Euclidean distances to them, divided
    by a temperature t: Snell et al., "Prototypical Networks for Few-shot Learning" (NeurIPS 2017), where t is 1 since
    features are trained for it. ``-|f - m|^2 / t`` differs from ``2 m.f / t - |m|^2 / t`` by what all symbols share; so
    does what is left where the mean prototype is subtracted, which float32 tells better where features lie far out.

    Args:
        features: (n, d) float.
        symbols: of each, (n,) int64 below ``count``; every symbol has one at least.
        count: K.

    Raises:
        UsageError: a symbol has no features, or all prototypes are the same.
    """
    shots = symbols.bincount(minlength=count)
    if len(shots) != count or not bool(shots.all()):
        raise UsageError(f"prototypes need features of each of {count} symbols", hint="label an image of every symbol")
    sums = features.new_zeros(count, features.shape[1], dtype=torch.float64).index_add_(0, symbols, features.double())
    prototypes = sums / shots[:, None]
    if count > 1:
        apart = 2.0 * (prototypes - prototypes.mean(0)).square().sum() / (count - 1)  # over all pairs of two
    else:
        apart = features.new_ones((), dtype=torch.float64)
    if not float(apart) > 0.0:
        raise UsageError(
            "the labelled images of all symbols have the same features",
            hint="label other images, or use another pretraining",
        )
    head = nn.Linear(features.shape[1], count).to(features)
    with torch.no_grad():
        centre = prototypes.mean(0)
        head.weight.copy_(2.0 * (prototypes - centre) / (TEMPERATURE * apart))
        head.bias.copy_((centre.square().sum() - prototypes.square().sum(1)) / (TEMPERATURE * apart))
    return head


def make_head(
    kind: str,
    encoder: nn.Module,
    image_shape: tuple[int, ...],
    symbols: int,
    clusters: int = 0,
    *,
    further: Sequence[tuple[int, ...]] = (),
) -> nn.Module | None:
    """The head that a recipe names, as wide as the domain.

    Args:
        kind: ``linear``; ``clusters`` or ``prototypes``, the same with weights that come later; or ``none`` where the
            encoder's output already has a value for each symbol.
        encoder: tells the number of features; it is asked with empty images.
        image_shape: (channels, height, width); (d,) for points.
        symbols: size of the domain.
        clusters: of ``clusters``; 0 for as many as symbols.
        further: shapes of the inputs beside the first.

    Raises:
        UsageError: an unknown kind, or an encoder that does not take such images.
    """
    if kind == "none":
        return None
    if kind not in HEADS:
        raise UsageError(f"there is no head {kind}", hint=f"valid: {', '.join(HEADS)}")
    was_training = encoder.training
    encoder.eval()  # one image is too few for batch statistics
    try:
        with torch.no_grad():
            features = encoder(*(torch.zeros(PROBES, *shape) for shape in (image_shape, *further)))
    except Exception as error:  # whatever the user's encoder raises
        told = " and ".join(map(str, (image_shape, *further)))
        raise UsageError(
            f"the encoder does not take images of shape {told}: {type(error).__name__}: {error}",
            hint="let its forward() take batches of them, or choose another encoder",
        ) from error
    finally:
        encoder.train(was_training)
    if fault := features_fault(features, PROBES):
        raise UsageError(fault[0], hint=fault[1])
    if kind == "clusters" and clusters not in (0, symbols):
        return ClusterHead(features.shape[1], clusters, symbols)
    return nn.Linear(features.shape[1], symbols)
