"""FALCON, also CPLearn: clustering against a frozen code book (Sansone, Lebailly and Tuytelaars)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from scipy.linalg import hadamard
from torch import Tensor

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.objectives.objective import Objective, Pair, check_number
from nesy_gedi.objectives.terms import balance, reverse_prior, symmetric_cross_entropy, unit

FORMS = ("l2", "tanh")
"""The paper's text and the released code, by what they do to a projection."""


def code_book(dimension: int, codes: int, seed: int) -> Tensor:
    """W in {-1, +1} of shape (dimension, codes), one code a column, drawn by ``seed`` alone.

    Orthogonal where that is possible and known: columns of a Sylvester-Hadamard matrix with random row signs, for a
    dimension that is a power of two and at most as many codes. Independent fair signs otherwise, nearly orthogonal in
    high dimension.
    """
    generator = torch.Generator().manual_seed(seed)
    if codes <= dimension and dimension & (dimension - 1) == 0:
        columns = torch.randperm(dimension, generator=generator)[:codes]
        signs = 2.0 * torch.randint(2, (dimension, 1), generator=generator) - 1.0
        return signs * torch.from_numpy(hadamard(dimension)).float()[:, columns]
    return 2.0 * torch.randint(2, (dimension, codes), generator=generator) - 1.0


def log_odds(codes: int, epsilon: float) -> float:
    """log((1 - ε (c - 1)) / ε): the logit of a matched code over the others that leaves each of those ε."""
    return math.log1p(-epsilon * (codes - 1)) - math.log(epsilon)


def l2_form(log_p1: Tensor, log_p2: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's text: CE(p, p') and -Σ_j q_j log p̄_j with q uniform, both averaged over the two orders of views.

    Args:
        log_p1: (n, c) log-probabilities of one view.
        log_p2: of the other.

    Returns:
        The invariance and the prior term, scalars; the second is at least log c.
    """
    uniform = log_p1.new_full((log_p1.shape[1],), 1.0 / log_p1.shape[1])
    invariance = symmetric_cross_entropy(log_p1, log_p2)
    return invariance, balance(log_p1, log_p2, uniform)


def tanh_form(log_p1: Tensor, log_p2: Tensor) -> tuple[Tensor, Tensor]:
    """The released code: ½ Σ_v CE and ½ Σ_v KL(p̄_v ‖ U); arguments and returns as :func:`l2_form`, at least 0 both."""
    invariance = symmetric_cross_entropy(log_p2, log_p1)
    return invariance, (reverse_prior(log_p1) + reverse_prior(log_p2)) / 2


class Falcon(Objective):
    """L = β CE(p, p') + PRIOR with p = softmax(h W / τ), τ = f / (√n log((1 - ε (c - 1)) / ε)), W frozen signs.

    Source: Sansone, Lebailly and Tuytelaars, "Failure-proof non-contrastive self-supervised learning", ICML 2025, arXiv
    2410.04959, and its released code. Two forms, which differ in h and in the prior:

    - ``l2``, the text: h = √(f/n) z/‖z‖, PRIOR = -Σ_j q_j log p̄_j, q uniform. The order of views is averaged.
    - ``tanh``, the code: h = tanh(z), PRIOR = KL(p̄ ‖ U), averaged over views. Sharper by √n; with f of 64-128 it
      starts near one-hot: prefer ``l2``, or ε of 1e-3 for few codes.

    Takes ``projection``: (n, f), the output of Linear and BatchNorm; h is made here. n inside τ is the stored training
    batch size, so that probabilities are the same at any evaluation batch size.

    Optimum of ``l2`` with orthogonal codes: each row along one code, all codes used alike; a matched code has
    probability 1 - ε (c - 1), each other one ε, and PRIOR = log c.

    Collapse: by the paper's analysis (for its assumptions, c much larger than n among them) none of the
    representation, of dimensions, of clusters or within clusters; measure it. PRIOR acts on that of clusters, and the
    frozen, nearly orthogonal codes on the rest.

    Args:
        dimension: f.
        codes: c; the released code has f 2048, c 16384.
        batch_size: n of training (released code: 64).
        form: ``l2`` or ``tanh``.
        epsilon: ε, probability left to each unmatched code; 1e-8 as released; below 1/c.
        beta: β, weight of invariance; 1 as released.
        seed: draws the code book; no other random state is touched.

    Raises:
        UsageError: a number out of range, ε >= 1/c, or an unknown form.
    """

    name: ClassVar[str] = "falcon"
    codes: Tensor
    batch_size: Tensor

    def __init__(
        self,
        dimension: int,
        codes: int,
        *,
        batch_size: int,
        form: str = "l2",
        epsilon: float = 1e-8,
        beta: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(clusters=codes, width=dimension)
        check_number(self.name, "batch_size", batch_size, minimum=self.smallest_batch, whole=True)
        check_number(self.name, "epsilon", epsilon, above=0.0, below=1.0 / codes)
        check_number(self.name, "beta", beta, minimum=0.0)
        check_number(self.name, "seed", seed, minimum=0, whole=True)
        if form not in FORMS:
            raise UsageError(f"there is no form {form}", where=self.name, hint=did_you_mean(form, FORMS))
        self.form = form
        self.beta = beta
        self.log_odds = log_odds(codes, epsilon)
        check_number(self.name, "log((1 - epsilon (codes - 1)) / epsilon)", self.log_odds, above=0.0)
        self.register_buffer("codes", code_book(dimension, codes, seed))
        self.register_buffer("batch_size", torch.tensor(batch_size))

    def logits(self, projection: Tensor) -> Tensor:
        root_n = self.batch_size.to(projection.dtype).sqrt()
        f = projection.shape[1]
        h = math.sqrt(f) / root_n * unit(projection) if self.form == "l2" else projection.tanh()
        return h @ self.codes.to(projection.dtype) * (root_n * self.log_odds / f)

    def _terms(self, projection: Pair) -> dict[str, Tensor]:
        log_p1, log_p2 = (torch.log_softmax(self.logits(view), 1) for view in projection)
        invariance, prior = (l2_form if self.form == "l2" else tanh_form)(log_p1, log_p2)
        return {"invariance": self.beta * invariance, "prior": prior}
