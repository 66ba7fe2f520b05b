"""Which approximation an engine's name asks for, and what a command shows of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nesy_gedi.errors import UsageError, did_you_mean
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.topk import SYMBOLS_KEPT, TopK
from nesy_gedi.logic.world_sampling import CONFIDENCE, WORLDS_DRAWN, Sampler, estimate_share

APPROXIMATIONS = {"topk": SYMBOLS_KEPT, "sample": WORLDS_DRAWN}
"""Names of engines, each with the number that may follow it after a colon."""

WORLDS_TRIED = 5
"""How many worlds are drawn to tell what one costs."""


def read_engine(text: str) -> tuple[str, int]:
    """The name and the number of an approximate engine: ``topk:3``, ``sample:1000``, or a name alone.

    Raises:
        UsageError: there is no such engine, or what follows the colon is no whole number from 1.
    """
    name, colon, number = text.partition(":")
    if name not in APPROXIMATIONS:
        raise UsageError(
            f"there is no approximate engine {name}", where="engine", hint=did_you_mean(name, APPROXIMATIONS)
        )
    if not colon:
        return name, APPROXIMATIONS[name]
    if not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise UsageError(
            f"{number or 'nothing'} is not a whole number from 1", where=f"engine {text}", hint=f"for example {name}:3"
        )
    return name, int(number)


def approximate(
    program: Program, form: str | QueryForm, engine: str, *, budget: Budget | None = None
) -> TopK | Sampler:
    """The approximation of ``form`` that ``engine`` names, such as ``topk:3`` or ``sample:1000``.

    Raises:
        UsageError: there is no such engine, or the form does not fit the program.
        ProgramError: grounding failed.
        BudgetError: it is too large even so.
    """
    name, number = read_engine(engine)
    return (
        TopK(program, form, number, budget=budget) if name == "topk" else Sampler(program, form, number, budget=budget)
    )


@dataclass(frozen=True)
class Approximation:
    """What is known of an approximation before it meets images, where nothing is known of any: the worst case.

    Attributes:
        query: the form.
        engine: its name with its number.
        exact: whether it is exact after all, since nothing is ever dropped.
        answers: how many answers were met.
        nodes: of a restricted circuit; 0 for samples, which have none.
        edges: likewise.
        dropped: probability that is not looked at with uniform distributions; None for samples.
        standard_error: the largest that an estimated probability can have; None for bounds.
        half_width: half of the widest interval; None for bounds.
        ground_s: seconds for a combination of kept symbols, or for a world.
    """

    query: str
    engine: str
    exact: bool
    answers: int
    nodes: int
    edges: int
    dropped: float | None
    standard_error: float | None
    half_width: float | None
    ground_s: float

    def document(self) -> dict[str, Any]:
        """The entry of this form in ``nesy-gedi ground --json``."""
        shown = {key: value for key, value in vars(self).items() if value is not None}
        return shown | {"method": "approximate", "compile_s": 0.0}

    def lines(self) -> list[str]:
        """What ``nesy-gedi ground`` says of this form."""
        if self.dropped is not None:
            bound = (
                "every symbol of every image is kept: exact"
                if self.exact
                else f"up to {self.dropped:.3g} of the probability is dropped (where images are uniform), and is the width "
                "of the bounds"
            )
            return [
                f"{self.query}: approximate ({self.engine}), proven bounds",
                bound,
                f"{self.answers} answers, {self.nodes} nodes, {self.edges} edges in {self.ground_s:.2f} s for each "
                "combination of kept symbols",
            ]
        return [
            f"{self.query}: approximate ({self.engine}), estimates",
            f"standard error at most {self.standard_error:.2g}; intervals at {CONFIDENCE:.0%} at most +-{self.half_width:.2g}",
            f"{self.ground_s:.3f} s for each world that is new",
        ]


def describe(engine: TopK | Sampler) -> Approximation:
    """Try an approximation where nothing is known of any image.

    Raises:
        ProgramError: grounding failed.
        BudgetError: a restricted circuit is too large.
    """
    nothing: dict[object, Tensor] = {
        (item.network, *item.slots): torch.full(
            (1, len(item.domain)), 1.0 / len(item.domain), dtype=torch.float64
        ).log()
        for item in engine.inputs
    }
    started = time.perf_counter()
    if isinstance(engine, TopK):
        (answers,) = engine.answers(nothing)
        seconds = time.perf_counter() - started
        nodes, edges = engine.size(nothing)
        dropped = float(engine.dropped(nothing))
        text = f"topk:{engine.k}"
        return Approximation(
            engine.form.text, text, engine.exact, len(answers), nodes, edges, dropped, None, None, seconds
        )
    few = Sampler(engine.program, engine.form, WORLDS_TRIED, budget=engine.budget, validate=False)
    started = time.perf_counter()
    (sampled,) = few.answers(nothing, torch.Generator().manual_seed(0))
    seconds = (time.perf_counter() - started) / WORLDS_TRIED
    half = estimate_share(engine.n // 2, engine.n)
    return Approximation(
        query=engine.form.text,
        engine=f"sample:{engine.n}",
        exact=False,
        answers=len(sampled.answers),
        nodes=0,
        edges=0,
        dropped=None,
        standard_error=0.5 / engine.n**0.5,
        half_width=(half.upper - half.lower) / 2,
        ground_s=seconds,
    )
