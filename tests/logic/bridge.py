"""One query form answered by both engines on the same random distributions."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from nesy_gedi.logic.deepproblog import DeepProbLogEngine, as_deepproblog
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import NeuralInput, Reasoner


def compare_with_deepproblog(
    program: Program,
    form: str,
    *,
    slots: Collection[str] | None = None,
    batch: int = 2,
    seed: int = 0,
    one_hot: Collection[str] = (),
) -> tuple[float, float]:
    """The largest differences between values and between gradients by logits.

    Args:
        one_hot: networks whose distributions come close to certainty, as an observed digit does.
    """
    reasoner = Reasoner(program, form, slots=slots)
    generator = torch.Generator().manual_seed(seed)
    logits: dict[NeuralInput, Tensor] = {}
    for item in reasoner.inputs:
        drawn = torch.randn(batch, len(item.domain), generator=generator)
        if item.network in one_hot:
            drawn[torch.arange(batch), torch.randint(len(item.domain), (batch,), generator=generator)] += 12.0
        logits[item] = drawn.requires_grad_()
    answers = reasoner({(item.network, *item.slots): x.log_softmax(1) for item, x in logits.items()}).exp()

    # An "image" is the pair (slot, row), so that the reference's networks can look up what to say about it.
    order = reasoner.form.slots
    images = {s: torch.stack([torch.full((batch,), k), torch.arange(batch)], 1) for k, s in enumerate(order)}

    def distribute(network: str, rows: Tensor) -> Tensor:
        said = []
        for slot, row in rows.tolist():
            item = next(i for i in logits if i.network == network and i.slots == (order[int(slot)],))
            said.append(as_deepproblog(logits[item][int(row)].softmax(0)[None], item.domain))
        return torch.cat(said)

    found = DeepProbLogEngine(program, reasoner.form, distribute)(images)
    zero = torch.zeros(())
    reference = torch.stack([torch.stack([row.get(a, zero).double() for a in reasoner.answers]) for row in found])
    assert all(set(row) <= set(reasoner.answers) or not any(map(float, row.values())) for row in found)
    if not logits:
        return float((answers.detach() - reference).abs().max()), 0.0
    weights = torch.randn(answers.shape, generator=generator)
    own, other = (
        torch.autograd.grad((x * weights).sum(), list(logits.values()), allow_unused=True, materialize_grads=True)
        if x.requires_grad
        else [torch.zeros_like(x) for x in logits.values()]
        for x in (answers, reference)
    )
    gap = max(float((a - b).abs().max()) for a, b in zip(own, other, strict=True))
    return float((answers - reference).detach().abs().max()), gap
