"""One query form answered by both engines on the same random distributions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nesy_gedi.logic.deepproblog import DeepProbLogEngine, as_deepproblog
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import NeuralInput, Reasoner

Logits = Mapping[NeuralInput, Tensor]
"""Leaves of shape (batch, K)."""


def random_logits(inputs: Collection[NeuralInput], batch: int, seed: int) -> Logits:
    generator = torch.Generator().manual_seed(seed)
    return {item: torch.randn(batch, len(item.domain), generator=generator).requires_grad_() for item in inputs}


def log_probabilities(logits: Logits) -> dict[object, Tensor]:
    return {(item.network, *item.slots): x.log_softmax(1) for item, x in logits.items()}


def deepproblog_answers(program: Program, form: QueryForm, logits: Logits, batch: int) -> list[dict[str, Tensor]]:
    """Answer -> probability, one mapping a row."""
    # An "image" is the pair (slot, row), so that a network can look up what to say about it.
    images = {s: torch.stack([torch.full((batch,), k), torch.arange(batch)], 1) for k, s in enumerate(form.slots)}

    def distribute(network: str, pairs: Tensor) -> Tensor:
        said = []
        domain = program.networks[network]
        for slot, row in pairs.tolist():
            found = [
                x for item, x in logits.items() if (item.network, item.slots) == (network, (form.slots[int(slot)],))
            ]
            # What the circuit does not ask for makes no difference: anything will do.
            row_logits = found[0][int(row)] if found else torch.zeros(len(domain))
            said.append(as_deepproblog(row_logits.softmax(0)[None], domain))
        return torch.cat(said)

    return DeepProbLogEngine(program, form, distribute)(images)


def largest_gaps(own: Tensor, reference: Tensor, logits: Logits) -> tuple[float, float]:
    """The largest difference between values, and between gradients of a random combination of them by logits."""
    weights = torch.randn(own.shape, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((x * weights).sum(), list(logits.values()), allow_unused=True, materialize_grads=True)
        if x.requires_grad
        else [torch.zeros_like(x) for x in logits.values()]
        for x in (own, reference)
    ]
    gradient = max((float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)), default=0.0)
    return float((own - reference).detach().abs().max()), gradient


def compare_with_deepproblog(
    program: Program, form: str, *, slots: Collection[str] | None = None, batch: int = 2, seed: int = 0
) -> tuple[float, float]:
    """The largest differences between values and between gradients by logits."""
    reasoner = Reasoner(program, form, slots=slots)
    logits = random_logits(reasoner.inputs, batch, seed)
    own = reasoner(log_probabilities(logits), batch=batch).exp()
    found = deepproblog_answers(program, reasoner.form, logits, batch)
    for row in found:
        unknown = {answer for answer, p in row.items() if answer not in reasoner.answers and float(p) > 0.0}
        assert not unknown, f"answers that only the reference has: {unknown}"
    zero = torch.zeros(())
    reference = torch.stack([torch.stack([row.get(a, zero).to(own.dtype) for a in reasoner.answers]) for row in found])
    return largest_gaps(own, reference, logits)
