"""The same query form answered by deepproblog's exact engine, as an independent reference."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from deepproblog.engines import ExactEngine
from deepproblog.model import Model
from deepproblog.network import Network
from deepproblog.query import Query
from problog.logic import Constant, Term
from torch import Tensor, nn

from nesy_gedi.logic.compilation import answer_text
from nesy_gedi.logic.forms import SLOT, QueryForm
from nesy_gedi.logic.program import BERNOULLI_DOMAIN, Program

_SOURCE = "image"

Distribute = Callable[[str, Tensor], Tensor]
"""(network, images of shape (n, ...)) -> probabilities of shape (n, K) in deepproblog's layout."""


class DeepProbLogEngine:
    """deepproblog's exact engine with its circuit cache on, one query at a time.

    Args:
        program: the program; a learned probability takes its initial value.
        form: the query form; outputs are left free.
        distribute: what a network says about an image. Gradients flow through it.
    """

    def __init__(self, program: Program, form: QueryForm, distribute: Distribute) -> None:
        self.program = program
        self.form = form
        networks = [Network(_Asked(name, distribute), name, batching=True) for name in program.networks]
        with contextlib.redirect_stdout(sys.stderr):
            self.model = Model(program.source.expanded, networks, load=False)
            for rule in form.rules():
                self.model.program.add_clause(rule)
            self.model.set_engine(ExactEngine(self.model), cache=True)
        self._images: dict[tuple[int, int], Tensor] = {}
        self.model.tensor_sources[_SOURCE] = self
        names = {Term(SLOT, Term(slot)): Term(f"slot_{k}") for k, slot in enumerate(form.slots)}
        self._goal = _replace(form.goal(), names)

    def __getitem__(self, key: tuple[Constant, Constant]) -> Tensor:
        return self._images[int(key[0]), int(key[1])]

    def __call__(
        self, images: Mapping[str, Tensor], answer: Mapping[str, str] | None = None
    ) -> list[dict[str, Tensor]]:
        """Probabilities of the answers of each query.

        Args:
            images: slot -> images, shape ``(batch, ...)``.
            answer: values for the outputs, so that only this answer is asked for.

        Returns:
            For each query answer -> probability (a scalar with gradient).
        """
        goal = self._goal if answer is None else self._goal.apply({k: _constant(v) for k, v in answer.items()})
        size = len(next(iter(images.values())))
        queries = []
        for item in range(size):
            substitution = {}
            for k, slot in enumerate(self.form.slots):
                self._images[k, item] = images[slot][item]
                substitution[Term(f"slot_{k}")] = Term("tensor", Term(_SOURCE, Constant(k), Constant(item)))
            queries.append(Query(goal, substitution))
        results = self.model.solve(queries)
        self._images.clear()
        return [self._read(result.result) for result in results]

    def _read(self, result: Mapping[Term, Any]) -> dict[str, Tensor]:
        return {answer_text(self.form, term): torch.as_tensor(value) for term, value in result.items()}


class _Asked(nn.Module):
    """A deepproblog network module that hands the question on."""

    def __init__(self, name: str, distribute: Distribute) -> None:
        super().__init__()
        self.name = name
        self.distribute = distribute

    def forward(self, images: Tensor) -> Tensor:
        return self.distribute(self.name, images)


def as_deepproblog(probabilities: Tensor, domain: tuple[str, ...]) -> Tensor:
    """A row in deepproblog's layout: a Bernoulli network returns the one probability of ``true``."""
    return probabilities[:, 1:] if domain == BERNOULLI_DOMAIN else probabilities


def _replace(term: Term, names: Mapping[Term, Term]) -> Term:
    if term in names:
        return names[term]
    if isinstance(term, Term) and term.args:
        return term.with_args(
            *(_replace(argument, names) if isinstance(argument, Term) else argument for argument in term.args)
        )
    return term


def _constant(text: str) -> Term:
    try:
        return Constant(int(text))
    except ValueError:
        return Term(text)
