"""SwAV: swapped prediction of balanced cluster assignments (Caron et al.)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nesy_gedi.objectives.objective import Objective, Pair, at_least_float32, check_number
from nesy_gedi.objectives.terms import unit


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Balanced assignments Q ∝ diag(u) exp(s/ε) diag(v) by Sinkhorn-Knopp, in log space.

    Each iteration gives every cluster the same mass, then every row the mass one.

    Args:
        scores: (n, c), larger is closer.
        epsilon: weight of the entropy; small is near one-hot.
        iterations: at least one.

    Returns:
        (n, c) probabilities without gradient, rows sum to one, columns to n/c in the limit; float32 at least.
    """
    log_q = at_least_float32(scores) / epsilon
    for _ in range(iterations):
        log_q = log_q - torch.logsumexp(log_q, 0, keepdim=True)
        log_q = log_q - torch.logsumexp(log_q, 1, keepdim=True)
    return log_q.exp()


def swapped_prediction(assignment: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """-(1/n) Σ_i Σ_j q_ij log softmax(s_i / T)_j: the assignment q of one view predicted from the other's scores.

    Args:
        assignment: (n, c) probabilities.
        scores: (n, c) cosines.
        temperature: T.
    """
    return -(assignment * torch.log_softmax(scores / temperature, 1)).sum(1).mean()


class Swav(Objective):
    """L = ½ [CE(q1, softmax(s2/T)) + CE(q2, softmax(s1/T))], s cosines to c prototypes, q = sinkhorn(s), no gradient.

    Source: Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", NeurIPS 2020,
    arXiv 2006.09882, equations 1 to 3; averaged over the two views as in the released code.

    Takes ``projection``: (n, dimension) of any length, made unit here. Prototypes are parameters of this module, made
    unit in each forward pass; the optimiser must see them. The paper keeps them frozen in the first epoch;
    pretraining here does not, since the first of two epochs would be half of its features stage.

    Optimum with as many orthonormal prototypes as dimensions, one image each: log(e^{1/T} + c - 1) - q/T with
    q = e^{1/ε}/(e^{1/ε} + c - 1).

    Collapse: the balanced assignment prevents that of the representation and of clusters (a constant output costs at
    least log c); not that of dimensions nor within clusters. Needs n not much smaller than c, or a queue.

    Args:
        dimension: width of the projection; 128 in the paper.
        prototypes: c; 3000 in the paper.
        temperature: T; .1 in the paper.
        epsilon: ε of Sinkhorn; .05 in the paper.
        iterations: of Sinkhorn; 3 in the paper.
        queue: how many past embeddings of each view join the assignment once so many have been seen; 0, none (the
            paper: 3840 for batches of 256). Part of the state; grows in training mode only.

    Raises:
        UsageError: a number out of range.
    """

    name: ClassVar[str] = "swav"
    queue: Tensor
    queued: Tensor

    def __init__(
        self,
        dimension: int,
        prototypes: int,
        *,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
    ) -> None:
        super().__init__(clusters=prototypes, width=dimension)
        check_number(self.name, "temperature", temperature, above=0.0)
        check_number(self.name, "epsilon", epsilon, above=0.0)
        check_number(self.name, "iterations", iterations, minimum=1, whole=True)
        check_number(self.name, "queue", queue, minimum=0, whole=True)
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.prototypes = nn.Parameter(unit(torch.randn(prototypes, dimension)))
        self.register_buffer("queue", torch.zeros(2, queue, dimension))
        self.register_buffer("queued", torch.tensor(0))

    def logits(self, projection: Tensor) -> Tensor:
        return self._scores(unit(projection)) / self.temperature

    def _scores(self, embeddings: Tensor) -> Tensor:
        return embeddings @ unit(self.prototypes.to(embeddings.dtype)).T

    def _terms(self, projection: Pair) -> dict[str, Tensor]:
        embeddings = [unit(view) for view in projection]
        scores = [self._scores(view) for view in embeddings]
        q1, q2 = self._assignments(scores)
        if self.training:
            self._enqueue(embeddings)
        swapped = swapped_prediction(q1, scores[1], self.temperature)
        return {"swapped": (swapped + swapped_prediction(q2, scores[0], self.temperature)) / 2}

    @torch.no_grad()
    def _assignments(self, scores: list[Tensor]) -> list[Tensor]:
        n, size = len(scores[0]), self.queue.shape[1]
        if size > 0 and int(self.queued) == size:
            past = [self._scores(view.to(scores[0].dtype)) for view in self.queue]
            scores = [torch.cat(both) for both in zip(scores, past, strict=True)]
        return [sinkhorn(view, self.epsilon, self.iterations)[:n] for view in scores]

    @torch.no_grad()
    def _enqueue(self, embeddings: list[Tensor]) -> None:
        """The newest first, the oldest forgotten."""
        size = self.queue.shape[1]
        if size == 0:
            return
        newest = torch.stack(embeddings).to(self.queue.dtype)
        self.queue.copy_(torch.cat([newest, self.queue], 1)[:, :size])
        self.queued.add_(newest.shape[1]).clamp_(max=size)
