"""Engines: what turns log-probabilities of values into those of answers. All answer the same :class:`Request`.

``exact`` is this package's own :class:`~nesy_gedi.logic.circuits.Plan`; the others are peers to compare it with, or to
use in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor

from nesy_gedi.errors import EngineError, did_you_mean
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.compilation import Circuit
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.formula import Constant, Learned, Neural
from nesy_gedi.logic.program import Program

DEFAULT = "exact"
"""The engine where none is named."""


class Engine(Protocol):
    """Evaluates the roots of a request; differentiable once.

    Attributes:
        depth: how many steps an evaluation takes one after the other; 0 where it has no such number.
    """

    @property
    def depth(self) -> int: ...

    def __call__(self, log_p: Tensor) -> Tensor:
        """Log-probabilities of the roots, shape (roots, batch), from those of the inputs, (inputs, batch).

        Both are float32 or float64 and may be -inf. Where a root is impossible its gradient is zero.
        """
        ...

    def to(self, device: torch.device) -> Engine:
        """This engine for inputs on ``device``."""
        ...


@dataclass(frozen=True)
class Request:
    """What is asked of an engine.

    Attributes:
        program, form, circuit: as the reasoner has them.
        roots: nodes of the circuit's formula: its answers, then the evidence, where there is any.
        first: input row of the first value of what is asked of a network, ``(network, slots)``, and of a group of learned
            probabilities, ``(number,)``.
        constants: the probabilities that the program states, in their order below these.
        rows: number of inputs.
    """

    program: Program
    form: QueryForm
    circuit: Circuit
    roots: tuple[int, ...]
    first: Mapping[tuple[object, ...], int]
    constants: Mapping[Constant, int]
    rows: int

    def row_of(self, variable: int, value: int) -> int:
        """The input row that holds the log-probability of a variable's value."""
        weight = self.circuit.formula.variables[variable].weights[value]
        if isinstance(weight, Neural):
            return self.first[weight.network, weight.inputs] + weight.entry
        if isinstance(weight, Learned):
            return self.first[(weight.group,)] + weight.entry
        return self.rows - len(self.constants) + self.constants[weight]


class UnknownAnswerError(EngineError):
    """An engine that grounds the program by itself derives an answer that the circuit does not have.

    Attributes:
        answer, probability: what it derives.
    """

    def __init__(self, engine: str, answer: str, probability: float, request: Request) -> None:
        super().__init__(
            f"{engine} gives the answer {answer} a probability of {probability:.6g}, and the circuit has no such answer",
            where=f"{request.program.source.name}, {request.form.text}",
            hint="one of the two is wrong: please report the program",
        )
        self.answer = answer
        self.probability = probability


EngineMaker = Callable[[Request], Engine]


def _exact(request: Request) -> Engine:
    return Plan(request.circuit.formula, request.roots, request.row_of, request.rows)


def _imported(module: str, name: str) -> EngineMaker:
    """A maker whose module is imported when it is asked: peers are large, and one is optional."""

    def make(request: Request) -> Engine:
        made: Engine = getattr(import_module(f"nesy_gedi.logic.{module}"), name)(request)
        return made

    return make


ENGINES: dict[str, EngineMaker] = {
    "exact": _exact,
    "klay": _imported("klaycircuits", "KlayEngine"),
    "deepproblog": _imported("deepproblog", "DeepProbLogPeer"),
}
"""Engines by name."""


APPROXIMATE = ("topk", "sample")
"""Names of engines that :mod:`nesy_gedi.logic.approximation` makes, which do not answer a :class:`Request`."""


def find_engine(spec: str) -> EngineMaker:
    """The engine that ``spec`` names.

    Raises:
        EngineError: there is none of this name. That its package is missing is found when it is made.
    """
    if spec.partition(":")[0] in APPROXIMATE:
        raise EngineError(
            f"{spec} gives bounds or estimates of the answers that it is asked for, and no distribution over all of them",
            where="engine",
            hint="nesy-gedi ground --engine topk:3 shows what they are worth; in Python they are TopK and Sampler",
        )
    if spec not in ENGINES:
        raise EngineError(f"there is no engine {spec!r}", hint=did_you_mean(spec, ENGINES))
    return ENGINES[spec]
