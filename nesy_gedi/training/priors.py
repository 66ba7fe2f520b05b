"""How frequent the symbols are: as a recipe says, or judged by the answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nesy_gedi.data import Queries
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.objectives import find_objective
from nesy_gedi.objectives.gedi import PRIOR_SUM_TOLERANCE
from nesy_gedi.training.recipe import COTRAINED
from nesy_gedi.training.task import Task

ITERATIONS = 500
"""Of expectation maximisation, at most."""

CHANGE = 1e-6
"""It has converged where no probability changes by more."""


def check_priors(task: Task) -> None:
    """Refuse priors that are none, or that nothing takes.

    Args:
        task: with a planned recipe.

    Raises:
        RecipeError: numbers that are no distribution over a network's domain, a prior for an objective that has none or
            for values that are given, or one that the answers cannot tell.
    """
    recipe = task.recipe
    what, cotrained = recipe.cotraining, recipe.method in COTRAINED
    taken = not cotrained or find_objective(what.objective).own_clusters
    keys = [f"networks.{name}.prior" for name, network in recipe.networks.items() if network.prior]
    if cotrained and what.prior != "uniform":
        keys.append("cotraining.prior")
    for name, network in recipe.networks.items():
        if network.prior:
            _check_distribution(task, name, network.prior)
    if keys and not taken:
        raise RecipeError(f"{what.objective} has no prior", where=keys[0], hint="leave it out, or co-train gedi")
    if cotrained and not all(task.network(name).prior for name in task.networks):
        _refuse_evidence(task, what.prior)


def _check_distribution(task: Task, name: str, prior: tuple[float, ...]) -> None:
    where = f"networks.{name}.prior"
    if name not in task.networks:
        raise RecipeError(
            f"{name} perceives nothing: its values are given with each query", where=where, hint="leave it out"
        )
    domain = task.program.networks[name]
    whole = all(0.0 <= share < math.inf for share in prior) and abs(sum(prior) - 1.0) <= PRIOR_SUM_TOLERANCE
    if len(prior) != len(domain) or not whole:
        fault = f"{len(prior)} numbers for {len(domain)} symbols" if whole else f"they sum to {sum(prior):.6g}, not 1"
        if any(not share >= 0.0 for share in prior):
            fault = f"{min(prior)} is no probability"
        raise RecipeError(
            f"the prior of {name} is no distribution over its domain: {fault}",
            where=where,
            hint=f"give a probability for each of: {', '.join(domain)}",
        )


def _refuse_evidence(task: Task, kind: str) -> None:
    """Under evidence images are no independent draws."""
    if kind != "uniform" and task.reasoner.circuit.evidence != TRUE:
        raise RecipeError(
            f"the program states evidence, so that there is no {kind} prior",
            where="cotraining.prior",
            hint='choose "uniform", or give one: networks.NET.prior',
        )


def cotraining_priors(task: Task, queries: Queries) -> dict[str, Tensor]:
    """The priors of the objective beside the answers, where it has some: what a network's recipe gives, else what
    ``cotraining.prior`` says.

    Args:
        task: with a planned recipe.
        queries: observed answers.

    Returns:
        network -> probabilities (K,) float64, on the CPU; empty where the objective has none.

    Raises:
        RecipeError: as :func:`symbol_priors`.
    """
    what = task.recipe.cotraining
    if not find_objective(what.objective).own_clusters:
        return {}
    given = {name: task.network(name).prior for name in task.networks if task.network(name).prior}
    found = {name: torch.tensor(prior, dtype=torch.float64) for name, prior in given.items()}
    return found if len(found) == len(task.networks) else symbol_priors(task, queries, what.prior) | found


def symbol_priors(task: Task, queries: Queries, kind: str) -> dict[str, Tensor]:
    """The frequencies of each network's symbols.

    Every image of a network is taken as an independent draw from the same distribution over symbols. One step of
    expectation maximisation (Dempster, Laird and Rubin, 1977) from uniform is what the program implies where nothing else
    is known; many of them climb to a stationary point of the likelihood of the answers, which equal frequencies may be
    already (as of xor). Where two symbols take part in the same answers, these say nothing about their ratio, which stays
    as it was.

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
    _refuse_evidence(task, kind)
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
