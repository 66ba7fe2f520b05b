"""GEDI: joint generative and discriminative training (Sansone and Manhaeve)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import balance, symmetric_cross_entropy

PRIOR_SUM_TOLERANCE = 1e-4
"""How far a given prior may sum from one."""


def energy(logits: Tensor) -> Tensor:
    """E(x) = -log Σ_j exp z_j(x), the energy of p(x) ∝ exp(-E(x)): (n, c) logits -> (n,), low on data."""
    return -torch.logsumexp(logits, 1)


def generative(data: Tensor, samples: Tensor) -> Tensor:
    """GEN = mean E(data) - mean E(samples), whose gradient is that of -log p(data).

    Args:
        data: (n, c) logits of images.
        samples: (m, c) logits of samples of the current p(x), which carry no gradient themselves.
    """
    return energy(data).mean() - energy(samples).mean()


class Gedi(Objective):
    """L = λ_gen GEN + λ_inv INV + λ_prior PRIOR, the negative of a lower bound on the data's log-likelihood.

    GEN is :func:`generative`, PRIOR :func:`~nesy_gedi.objectives.terms.balance`, and INV = ½ [CE(p1, p2) + CE(p2, p1)].

    Source: Sansone and Manhaeve, "GEDI: Generative and discriminative training for self-supervised learning", arXiv
    2212.13425; "Learning symbolic representations through joint generative and discriminative training", arXiv
    2304.11357; "A Bayesian unification of self-supervised clustering and energy-based models", TMLR 2025, arXiv
    2401.00873. The mean form, symmetrised; the released code sums its prior term over clusters and uses one order of
    the views. GEN is estimated as in JEM (Grathwohl et al., ICLR 2020, arXiv 1912.03263).

    Takes ``projection`` (n, clusters), logits but for the temperature; with ``generative > 0`` also ``energy``, what
    :meth:`logits` makes of the projections of data and of samples (by
    :class:`~nesy_gedi.objectives.sgld.SgldSampler`, from the energy of the same :meth:`logits`).

    Optimum of INV + PRIOR: one-hot, the same for both views, balanced as π; INV = 0, PRIOR = H(π) = log c if uniform.

    Collapse: PRIOR prevents that of clusters, GEN that of the representation (it is off by default, and PRIOR with INV
    already gives a constant output the larger loss); nothing here acts on dimensional or intracluster collapse.

    The uniform output is a saddle. Near it, for projections z with mean zero over the batch, the descent direction of INV is
    λ_inv z / (n c T²): weak logits grow slowly where c is large, and ``temperature`` is what speeds them up. An output
    that is exactly the same for all images has no direction at all; no loss of p alone does, so the encoder's
    initialisation must differ between images. PRIOR holds the batch mean at π when λ_prior >= λ_inv.

    Args:
        clusters: c.
        generative: λ_gen; 0, since the paper's gain by it is on toy data, and samples cost (toy data there: 1).
        invariance: λ_inv; 1, the bound itself (toy data: 50).
        prior_weight: λ_prior; 1, the bound itself (toy data: 10).
        prior: (c,) probabilities π; None for uniform. A buffer, replaced by :meth:`update_prior`.
        magnitude: λ_mag of a further term with GEN, mean E(data)² + mean E(samples)², that keeps energies from growing
            without bound (Du and Mordatch, NeurIPS 2019, arXiv 1903.08689, α); 0 is the paper's bound.
        temperature: T, divides the projection in :meth:`logits`; 1 as in the papers (the released code
            without GEN: 0.1).

    Raises:
        UsageError: fewer than two clusters, a negative weight, a temperature that is not positive, or a prior that is
        not a distribution over the clusters.
    """

    name: ClassVar[str] = "gedi"
    own_clusters: ClassVar[bool] = True
    # GEN's value is no bound: it says how far the chains lag behind, not how good the density is.
    unranked: ClassVar[frozenset[str]] = frozenset({"generative", "magnitude"})
    prior: Tensor

    def __init__(
        self,
        clusters: int,
        *,
        generative: float = 0.0,
        invariance: float = 1.0,
        prior_weight: float = 1.0,
        prior: Tensor | None = None,
        magnitude: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(clusters=clusters, width=clusters)
        check_number(self.name, "generative", generative, minimum=0.0)
        check_number(self.name, "invariance", invariance, minimum=0.0)
        check_number(self.name, "prior_weight", prior_weight, minimum=0.0)
        check_number(self.name, "magnitude", magnitude, minimum=0.0)
        if magnitude > 0 and generative == 0:
            raise UsageError(
                "magnitude does nothing without the generative term", where=self.name, hint="set generative above 0 too"
            )
        check_number(self.name, "temperature", temperature, above=0.0)
        self.generative = generative
        self.invariance = invariance
        self.prior_weight = prior_weight
        self.magnitude = magnitude
        self.temperature = temperature
        self.register_buffer("prior", torch.full((clusters,), 1.0 / clusters))
        if prior is not None:
            self.update_prior(prior)

    @property
    def takes(self) -> tuple[str, ...]:
        return ("projection", "energy") if self.generative > 0 else ("projection",)

    def update_prior(self, prior: Tensor) -> None:
        """Replace π by probabilities (clusters,).

        Raises:
            UsageError: not a distribution over the clusters.
        """
        hint = f"give {self.clusters} probabilities, or none for a uniform prior"
        if tuple(prior.shape) != (self.clusters,):
            raise UsageError(
                f"a prior of shape {tuple(prior.shape)}, expected ({self.clusters},)", where=self.name, hint=hint
            )
        total = float(prior.double().sum())
        if not (abs(total - 1.0) <= PRIOR_SUM_TOLERANCE and bool((prior >= 0).all())):
            what = f"holds {float(prior.min()):.6g}" if bool((prior < 0).any()) else f"sums to {total:.6g}, not 1"
            raise UsageError(f"a prior that is not a distribution: it {what}", where=self.name, hint=hint)
        self.prior.copy_(prior.double() / total)

    def logits(self, projection: Tensor) -> Tensor:
        return projection / self.temperature

    def _terms(self, projection: Pair, **logits: Pair) -> dict[str, Tensor]:
        log_p1, log_p2 = (torch.log_softmax(self.logits(view), 1) for view in projection)
        found = {
            "invariance": self.invariance * symmetric_cross_entropy(log_p2, log_p1),
            "prior": self.prior_weight * balance(log_p1, log_p2, self.prior.to(log_p1.dtype)),
        }
        if "energy" in logits:
            found["generative"] = self.generative * generative(*logits["energy"])
            if self.magnitude:
                squares = [energy(each).square().mean() for each in logits["energy"]]
                found["magnitude"] = self.magnitude * torch.stack(squares).sum()
        return found
