"""Linear clustering heads that are fitted, not trained: from k-means, or from another cluster distribution."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KMEANS_SAMPLES = 10_000
"""Features that k-means looks at."""

KMEANS_STARTS = 5
"""Starts of k-means++, of which the one with the lowest inertia is kept."""

DISTILLING_STEPS = 100
"""Largest number of L-BFGS iterations."""


@torch.no_grad()
def principal_axes(features: Tensor, axes: int) -> Tensor:
    """The directions (d, axes) of the largest second moments of features (n, d), scaled so that a coordinate's mean
    square is one on average.

    Not centred: cosines between features stay what they were, up to what the axes left out hold.
    """
    moments = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
    for chunk in features.split(4096):
        chunk = chunk.double()
        moments += chunk.T @ chunk
    values, directions = torch.linalg.eigh(moments / len(features))
    scale = values[-axes:].clamp_min(0.0).mean().sqrt().clamp_min(torch.finfo(features.dtype).tiny)
    scaled: Tensor = directions[:, -axes:].flip(1) / scale
    return scaled.to(features.dtype)


@torch.no_grad()
def scaled(head: nn.Linear, factor: float) -> nn.Linear:
    """A head with ``factor`` times the logits."""
    found = copy.deepcopy(head)
    for parameter in found.parameters():
        parameter.mul_(factor)
    return found


@torch.no_grad()
def fit_kmeans(head: nn.Linear, features: Tensor, seed: int) -> None:
    """Set a linear softmax head to the posterior of a mixture of equal spherical Gaussians at k-means' centres.

    With centres m_j and variance s² a dimension within clusters, the posterior's logits are
    m_j x / s² - |m_j|² / (2 s²), which is linear.

    Args:
        head: (d -> clusters).
        features: (n, d).
        seed: of the sample and of k-means.
    """
    from sklearn.cluster import KMeans  # takes over a second to import

    generator = torch.Generator().manual_seed(seed)
    sample = features.cpu()[torch.randperm(len(features), generator=generator)[:KMEANS_SAMPLES]].double()
    found = KMeans(head.out_features, n_init=KMEANS_STARTS, random_state=seed % 2**32).fit(sample.numpy())
    centres = torch.from_numpy(found.cluster_centers_)
    variance = max(found.inertia_ / sample.numel(), 1e-12)
    head.weight.copy_(centres / variance)
    head.bias.copy_(-centres.square().sum(1) / (2.0 * variance))


def distil(head: nn.Linear, features: Tensor, log_probabilities: Tensor) -> None:
    """Fit a linear softmax head to soft targets by maximum likelihood (multinomial logistic regression).

    Args:
        head: (d -> clusters).
        features: (n, d).
        log_probabilities: (n, clusters), the distribution to imitate.
    """
    target = log_probabilities.exp()
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(target.mean(0).clamp_min(torch.finfo(target.dtype).tiny).log())
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=DISTILLING_STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(features), target)
        value.backward()
        return value

    optimizer.step(loss)
