"""Distributions of neural predicates in, log-probability of every answer out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nesy_gedi.errors import AnswerError, DistributionError, NesyGediWarning, UsageError, did_you_mean
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.compilation import Circuit, compile_form, same_number
from nesy_gedi.logic.forms import QueryForm, read_form
from nesy_gedi.logic.formula import TRUE, Constant, Learned, Neural, values_of
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.sdd import Budget

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may sum from one; for half precision it is ``HALF_SUM_TOLERANCE`` times epsilon."""

HALF_SUM_TOLERANCE = 4
"""Kept in half precision, log-probabilities down to -16 are off by four epsilon at most."""

LOG_PROBABILITY_FLOOR = -100.0
"""Stands for log 0 in a loss, so that the loss of an impossible answer is finite."""


class NeuralInput(NamedTuple):
    """What a reasoner asks of a network: its distribution over ``domain`` for the images in ``slots``."""

    network: str
    slots: tuple[str, ...]
    domain: tuple[str, ...]


class Reasoner(nn.Module):
    """Exact inference for one query form, batch-wide and differentiable.

    Args:
        program: a DeepProbLog program.
        form: for example ``"addition(X, Y, Sum)"``.
        slots: which variables of the form are images; found from the program when not given.
        cache: where to look up and keep the circuit; pass ``None`` to make it anew.
        validate: check at every call that rows sum to one.

    Attributes:
        answers: the answers that can be derived, as text; index ``i`` is column ``i`` of the result.
        inputs: the distributions that are asked for, in order.
        learned: the program's learned probabilities ``t(_)``.

    Raises:
        UsageError: the form does not fit the program.
        ProgramError: grounding failed.
        BudgetError: the circuit is too large.
    """

    _constants: Tensor

    def __init__(
        self,
        program: Program,
        form: str | QueryForm,
        *,
        slots: Collection[str] | None = None,
        cache: GroundingCache | None = None,
        budget: Budget | None = None,
        validate: bool = True,
    ) -> None:
        super().__init__()
        self.program = program
        self.form = form if isinstance(form, QueryForm) else read_form(program, form, slots)
        self.validate = validate
        self.circuit: Circuit = compile_form(program, self.form, cache=cache, budget=budget)
        self._set_up(self.circuit)

    @classmethod
    def of_circuit(cls, program: Program, circuit: Circuit) -> Reasoner:
        """A reasoner over a circuit that is already there, for example of the program's own queries."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.program = program
        made.form = QueryForm("query", (), ())
        made.validate = True
        made.circuit = circuit
        made._set_up(circuit)
        return made

    def _set_up(self, circuit: Circuit) -> None:
        self.answers = circuit.answers
        self.learned = LearnedProbabilities(self.program.parameters)
        roots = [*circuit.roots, *([circuit.evidence] if circuit.evidence != TRUE else [])]
        # Only what the circuit mentions is asked for: an image that cannot change the answer needs no network.
        mentioned = list(values_of(reduce(or_, (circuit.formula.scopes[root] for root in roots), 0)))
        used = {
            (weight.network, weight.inputs): weight
            for number in mentioned
            for weight in circuit.formula.variables[number].weights
            if isinstance(weight, Neural)
        }
        order = {slot: k for k, slot in enumerate(self.form.slots)}
        asked = sorted(used.values(), key=lambda w: (w.network, [order.get(slot, -1) for slot in w.inputs], w.inputs))
        self.inputs = tuple(NeuralInput(w.network, w.inputs, self.program.networks[w.network]) for w in asked)
        first: dict[tuple[object, ...], int] = {}
        rows = 0
        for item in self.inputs:
            first[item.network, item.slots] = rows
            rows += len(item.domain)
        for group, what in enumerate(self.program.parameters):
            first[(group,)] = rows
            rows += len(what.heads)
        constants: dict[Constant, int] = {}

        def row_of(variable: int, value: int) -> int:
            weight = circuit.formula.variables[variable].weights[value]
            if isinstance(weight, Neural):
                return first[weight.network, weight.inputs] + weight.entry
            if isinstance(weight, Learned):
                return first[(weight.group,)] + weight.entry
            assert isinstance(weight, Constant)
            return rows + constants.setdefault(weight, len(constants))

        # Every constant must have its row before the plan fixes how many there are.
        for number in mentioned:
            for value in range(len(circuit.formula.variables[number].weights)):
                row_of(number, value)
        self._plan = Plan(circuit.formula, roots, row_of, rows + len(constants))
        self._plans: dict[torch.device, Plan] = {torch.device("cpu"): self._plan}
        logs = [constant.log() for constant in constants]
        self.register_buffer("_constants", torch.tensor(logs, dtype=torch.float64).reshape(-1, 1), persistent=False)
        self._index = {answer: k for k, answer in enumerate(self.answers)}

    def forward(self, log_p: Tensor | Mapping[object, Tensor], *, batch: int | None = None) -> Tensor:
        """Log-probability of every answer.

        Args:
            log_p: log-probabilities over each network's domain, rows normalised. Either one tensor of shape
                ``(batch, len(inputs), K)`` in the order of ``inputs`` (``(batch, K)`` for a single one), or a mapping from
                slot name - or from ``(network, slot, ...)``, where several networks read a slot - to a tensor of shape
                ``(batch, K)``.
            batch: batch size when no distribution is given, for a program that asks no network.

        Returns:
            Shape ``(batch, len(answers))``; -inf for an answer that is impossible. With ``evidence/1`` in the program
            these are conditional probabilities.

        Raises:
            DistributionError: a missing input, a wrong shape, a NaN, or a row that does not sum to one.
        """
        roots = self._roots(log_p, batch)
        if self.circuit.evidence == TRUE:
            return roots
        joint, evidence = roots[:, :-1], roots[:, -1:]
        # Where the evidence is impossible, so is everything: -inf rather than -inf - -inf.
        return joint - evidence.masked_fill(evidence == -torch.inf, 0.0)

    def log_evidence(self, log_p: Tensor | Mapping[object, Tensor], *, batch: int | None = None) -> Tensor:
        """Log-probability of the program's evidence, shape ``(batch,)``; zero where it states none."""
        roots = self._roots(log_p, batch)
        return roots.new_zeros(len(roots)) if self.circuit.evidence == TRUE else roots[:, -1]

    def _roots(self, log_p: Tensor | Mapping[object, Tensor], batch: int | None) -> Tensor:
        blocks = self._collect(log_p)
        # Where the circuit asks no network, what was given still says how many rows are wanted.
        given = blocks or ([log_p] if isinstance(log_p, Tensor) else list(log_p.values()))
        size = given[0].shape[0] if given else (batch or 1)
        like = given[0] if given else self._constants
        dtype = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
        rows = [block.to(dtype).T for block in blocks]
        rows += [self.learned(g, dtype)[:, None].expand(-1, size) for g in range(len(self.program.parameters))]
        rows.append(self._constants.to(dtype).expand(-1, size))
        inputs = torch.cat(rows)
        if inputs.shape[1] == 0:  # there is nothing to evaluate, and nothing's gradient is nothing
            return inputs.sum(0)[:, None].expand(0, len(self._plan.roots))
        return self._plan_on(like.device)(inputs).T

    @property
    def depth(self) -> int:
        """Levels of the circuit: how many steps an evaluation takes one after the other."""
        return self._plan.depth

    def index(self, answer: object) -> int:
        """The column of ``answer``.

        Raises:
            AnswerError: the program cannot derive it.
        """
        text = str(answer)
        if text not in self._index:
            if (other := same_number(text, self.answers)) is not None:
                warnings.warn(
                    f"{self.form.text}: the answer {text} never holds, but {other} does; the program computes with "
                    "another number type (use // for whole numbers)",
                    NesyGediWarning,
                    stacklevel=2,
                )
            raise AnswerError(
                f"the program cannot derive the answer {text}",
                where=f"{self.program.source.name}, {self.form.text}",
                hint=did_you_mean(text, self.answers if len(self.answers) <= 30 else [*self.answers[:29], "..."]),
            )
        return self._index[text]

    def nll(self, log_p: Tensor | Mapping[object, Tensor], target: Tensor) -> Tensor:
        """Mean negative log-likelihood of observed answers.

        Args:
            log_p: as for :meth:`forward`.
            target: columns of the observed answers, shape ``(batch,)``.

        Returns:
            A scalar in nats, finite: an impossible answer costs ``-LOG_PROBABILITY_FLOOR``.

        Raises:
            DistributionError: as :meth:`forward`, or a batch without any query.
        """
        return nll(self(log_p), target)

    def _plan_on(self, device: torch.device) -> Plan:
        if device not in self._plans:
            self._plans[device] = self._plan.to(device)
        return self._plans[device]

    def _collect(self, log_p: Tensor | Mapping[object, Tensor]) -> list[Tensor]:
        if isinstance(log_p, Tensor):
            if log_p.dim() == 2 and len(self.inputs) == 1:
                log_p = log_p[:, None]
            if log_p.dim() != 3 or log_p.shape[1] != len(self.inputs):
                raise DistributionError(
                    f"expected log-probabilities of shape (batch, {len(self.inputs)}, K), found {tuple(log_p.shape)}",
                    where=self.form.text,
                )
            found = list(log_p.unbind(1))
        else:
            found = [self._lookup(log_p, item) for item in self.inputs]
        for item, tensor in zip(self.inputs, found, strict=True):
            self._check(item, tensor, found[0])
        return found

    def _lookup(self, log_p: Mapping[object, Tensor], item: NeuralInput) -> Tensor:
        full = (item.network, *item.slots)
        if full in log_p:
            return log_p[full]
        short = item.slots[0] if len(item.slots) == 1 else item.slots
        if short in log_p:
            if sum(other.slots == item.slots for other in self.inputs) > 1:
                raise UsageError(
                    f"several networks read {', '.join(item.slots)}", where=self.form.text, hint=f"use the key {full}"
                )
            return log_p[short]
        raise DistributionError(
            f"no distribution of {item.network} for {', '.join(item.slots)}",
            where=self.form.text,
            hint=f"given: {', '.join(str(key) for key in log_p)}",
        )

    def _check(self, item: NeuralInput, tensor: Tensor, first: Tensor) -> None:
        name = f"{item.network}({', '.join(item.slots)})"
        if tensor.dim() != 2 or tensor.shape[1] != len(item.domain):
            raise DistributionError(
                f"network {item.network} has {tensor.shape[-1] if tensor.dim() else 0} outputs, its domain has "
                f"{len(item.domain)} symbols: expected log-probabilities of shape (batch, {len(item.domain)}), found "
                f"{tuple(tensor.shape)}",
                where=name,
                hint="make the network's last layer as wide as the domain in the program",
            )
        if tensor.shape[0] != first.shape[0]:
            raise DistributionError(f"batch of {tensor.shape[0]} beside a batch of {first.shape[0]}", where=name)
        if self.validate:
            check_rows(tensor, name)


def check_rows(log_p: Tensor, name: str) -> None:
    """Refuse rows that are not distributions.

    Raises:
        DistributionError: a row holds NaN or does not sum to one.
    """
    exact = log_p.dtype in (torch.float32, torch.float64)
    tolerance = ROW_SUM_TOLERANCE if exact else HALF_SUM_TOLERANCE * torch.finfo(log_p.dtype).eps
    sums = (log_p.detach() if exact else log_p.detach().float()).exp().sum(-1)
    wrong = ~((sums - 1.0).abs() <= tolerance)
    if bool(wrong.any()):
        raise DistributionError(
            f"a row of probabilities sums to {float(sums[wrong][0]):.6g}, not 1",
            where=f"network {name}",
            hint="end the network with log_softmax, or declare what it returns (logits, probabilities)",
        )


def nll(log_answers: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of ``target`` (batch,) under ``log_answers`` (batch, answers), finite.

    Raises:
        DistributionError: a batch without any query.
    """
    if len(target) == 0:
        raise DistributionError("the batch holds no query: there is no mean loss", hint="leave empty batches out")
    observed = log_answers.gather(1, target[:, None])
    # Only the impossible is capped: an answer that is merely improbable must still teach.
    return -torch.where(observed == -torch.inf, LOG_PROBABILITY_FLOOR, observed).mean()
