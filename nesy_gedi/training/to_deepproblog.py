"""What this package has trained, as deepproblog's own ``Network`` and ``Model``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.logic.deepproblog import MISREAD, as_deepproblog, has_misread_probabilities
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.program import BERNOULLI_DOMAIN, Program
from nesy_gedi.training.restoring import restore_run
from nesy_gedi.training.runs import open_run

if TYPE_CHECKING:
    from deepproblog.model import Model
    from deepproblog.network import Network

    from nesy_gedi.training.training import Trained

EVIDENCE = {"evidence/1", "evidence/2"}


def as_deepproblog_network(
    perception: nn.Module,
    name: str,
    *,
    bernoulli: bool | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> Network:
    """A perception behind the interface of deepproblog's networks, asked batch by batch.

    Its module takes the stacked images (batch, channels, height, width) of a tensor source, uint8 in 0..255 or float in
    [0, 1]: pixels are normalised inside, so the source must not do so. It returns probabilities (batch, K) with their
    gradient, and for a Bernoulli predicate the one probability (batch, 1) of ``true``. Weights are shared, not copied.

    Args:
        perception: a :class:`~nesy_gedi.networks.perception.Perception`, or any module from images to log-probabilities
            (batch, K) with an attribute ``domain``.
        name: of the network in the program.
        bernoulli: whether the program asks it as ``nn(net, [X]) :: p(X)``; where not given, whether its domain is
            ``(false, true)``.
        optimizer, scheduler: deepproblog's own, for training there.

    Raises:
        UsageError: a Bernoulli network whose domain is another.
    """
    from deepproblog.network import Network

    domain = tuple(getattr(perception, "domain", ()))
    if bernoulli and domain != BERNOULLI_DOMAIN:
        raise UsageError(
            f"the network has the domain [{', '.join(domain)}], a Bernoulli network has [false, true]",
            where=f"network {name}",
            hint="leave bernoulli out",
        )
    module = Probabilities(perception, bernoulli=domain == BERNOULLI_DOMAIN if bernoulli is None else bernoulli)
    return Network(module, name, optimizer=optimizer, scheduler=scheduler, batching=True)


class Probabilities(nn.Module):
    """Images (batch, ...) to probabilities in deepproblog's layout.

    Attributes:
        perception: what is asked.
    """

    def __init__(self, perception: nn.Module, *, bernoulli: bool) -> None:
        super().__init__()
        self.perception = perception
        self.bernoulli = bernoulli

    def forward(self, *images: Tensor) -> Tensor:
        return as_deepproblog(self.perception(*images).exp(), bernoulli=self.bernoulli)


def deepproblog_model(
    run: Trained | str | Path,
    *,
    cache: bool = True,
    trusted: bool = False,
    encoders: Mapping[str, str] | None = None,
) -> Model:
    """A deepproblog ``Model`` of a run: its program, its networks, its learned probabilities, and the exact engine.

    Add the tensor sources that queries name with ``model.add_tensor_source``. What the program observes - a network whose
    recipe says ``observed`` - is given in queries as a symbol of its domain, where an image would be.

    Args:
        run: what :func:`~nesy_gedi.training.training.train` or ``evaluate`` has returned, or the folder of a run.
        cache: keep deepproblog's circuits. It answers wrongly where two slots of a cached query hold one image.
        trusted: let the run's program and its encoders load files and Python modules, where ``run`` is a folder.
        encoders: network -> encoder in place of the run's, where ``run`` is a folder; naming it again lets its Python be
            imported.

    Raises:
        UsageError: the program states evidence, which deepproblog ignores; it learns the probabilities of a disjunction
            with a body, which deepproblog misreads; or an ensemble was trained, whose members deepproblog cannot ask.
        RunError: no run, a damaged checkpoint, or another program.
    """
    from deepproblog.engines import ExactEngine
    from deepproblog.model import Model
    from deepproblog.network import Network

    if isinstance(run, str | Path):
        task, networks = restore_run(open_run(Path(run)), encoders=encoders, trusted=trusted)
    else:
        task, networks = run.task, run.networks
    program = task.program
    _refuse(program, task.recipe.ensemble.members)
    made = [
        as_deepproblog_network(networks[name], name, bernoulli=program.is_bernoulli(name))
        if name in networks
        else Network(_Observed(domain, program.is_bernoulli(name)), name)
        for name, domain in program.networks.items()
    ]
    model = Model(program.source.expanded, made, load=False)
    model.parameters = _learned(program, task.reasoner.learned)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells that it caches
        model.set_engine(ExactEngine(model), cache=cache)
    model.eval()
    return model


def _learned(program: Program, learned: LearnedProbabilities) -> list[float]:
    """The learned probabilities head by head, as deepproblog numbers them."""
    with torch.no_grad():
        return [
            float(learned(group, torch.float64)[head].exp())
            for group, what in enumerate(program.parameters)
            for head, is_learned in enumerate(what.learned)
            if is_learned
        ]


class _Observed(nn.Module):
    """A symbol that is given in the place of an image, as certain as it is."""

    def __init__(self, domain: tuple[str, ...], bernoulli: bool) -> None:
        super().__init__()
        self.domain = domain
        self.bernoulli = bernoulli

    def forward(self, symbol: object) -> Tensor:
        if str(symbol) not in self.domain:
            raise UsageError(f"{symbol} is no symbol of [{', '.join(self.domain)}]", hint="give one of them")
        certain = torch.zeros(len(self.domain))
        certain[self.domain.index(str(symbol))] = 1.0
        return as_deepproblog(certain[None], bernoulli=self.bernoulli)[0]


def _refuse(program: Program, members: int) -> None:
    if EVIDENCE & program.signatures:
        raise UsageError(
            "deepproblog ignores evidence/1 without saying so",
            where=program.source.name,
            hint="ask with Reasoner, which conditions on it",
        )
    if has_misread_probabilities(program.clauses):
        raise UsageError(MISREAD, where=program.source.name, hint="ask with Reasoner, which reads them")
    if members > 1:
        raise UsageError(
            f"{members} members of an ensemble answer together, and deepproblog asks one network a predicate",
            where=program.source.name,
            hint="train with ensemble.members = 1 to take a run to deepproblog",
        )
