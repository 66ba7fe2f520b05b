"""How frequent the symbols are, judged by the answers."""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.data import Queries
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.training.task import Task

ITERATIONS = 500
"""Of expectation maximisation, at most."""

CHANGE = 1e-6
"""It has converged where no probability changes by more."""


def symbol_priors(task: Task, queries: Queries, kind: str) -> dict[str, Tensor]:
    """The frequencies of each network's symbols.

    Every image of a network is taken as an independent draw from the same distribution over symbols. One step of
    expectation maximisation (Dempster, Laird and Rubin, 1977) from uniform is what the program implies where nothing else
    is known; its limit is a local maximum of the likelihood of the answers. Where two symbols take part in the same
    answers, these say nothing about their ratio, which stays as it was.

    Args:
        queries: observed answers.
        kind: ``uniform``, ``program`` (one step) or ``estimated`` (the limit).

    Returns:
        network -> probabilities (K,) float64, on the CPU.

    Raises:
        RecipeError: the program states evidence, under which images are no independent draws.
    """
    found = {
        name: torch.full((len(domain),), 1.0 / len(domain), dtype=torch.float64)
        for name, domain in task.program.networks.items()
        if name in task.networks
    }
    if kind == "uniform":
        return found
    if task.reasoner.circuit.evidence != TRUE:
        raise RecipeError(
            f"the program states evidence, so that there is no {kind} prior",
            where="cotraining.prior",
            hint='choose "uniform", or give one: networks.NET.prior',
        )
    observed = torch.cat([queries.answers[:, None], queries.observed], 1)
    distinct, counts = observed.unique(dim=0, return_counts=True)
    for _ in range(1 if kind == "program" else ITERATIONS):
        before, found = found, _step(task, found, distinct, counts)
        if max(float((found[name] - before[name]).abs().max()) for name in found) < CHANGE:
            break
    return found


def _step(task: Task, priors: dict[str, Tensor], observed: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """The expected frequencies of symbols given the answers: the gradient of the log-likelihood with respect to each
    slot's log-probabilities is the posterior of that slot.

    A circuit need not mention a slot where its symbol does not matter. There the posterior is the prior, and the gradient
    lacks just that part: it does not sum to one.
    """
    device = next(task.reasoner.buffers()).device
    log_p = {
        name: prior.to(device).log().expand(len(observed), len(task.columns(name)), -1).clone().requires_grad_()
        for name, prior in priors.items()
    }
    log_answers = task.reasoner(task.observe(log_p, observed[:, 1:]))
    gradients = torch.autograd.grad(log_answers.gather(1, observed[:, :1].to(device)).sum(), list(log_p.values()))
    found = {}
    for (name, prior), gradient in zip(priors.items(), gradients, strict=True):
        slope = gradient.cpu()
        posterior = (slope + (1.0 - slope.sum(2, keepdim=True)) * prior).clamp_min(0.0)
        expected = (posterior * counts[:, None, None]).sum((0, 1))
        found[name] = expected / expected.sum()
    return found
