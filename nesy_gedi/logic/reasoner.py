"""Distributions of neural predicates in, log-probability of every answer out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

import torch
from torch import Tensor, nn

from nesy_gedi.errors import AnswerError, NesyGediWarning, UsageError, did_you_mean
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.choices import choices_of
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.compilation import Circuit, compile_form, same_number
from nesy_gedi.logic.distributions import NeuralInput, collect
from nesy_gedi.logic.engines import DEFAULT, Engine, Request, find_engine
from nesy_gedi.logic.explanations import Explanation, explain, explain_inputs
from nesy_gedi.logic.folding import fold_constants
from nesy_gedi.logic.forms import QueryForm, read_form
from nesy_gedi.logic.formula import TRUE, Constant, Neural, values_of
from nesy_gedi.logic.likelihood import nll
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.posteriors import posterior
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.sampling import holding, sample_worlds


class Reasoner(nn.Module):
    """Inference for one query form, batch-wide and differentiable.

    Args:
        program: a DeepProbLog program.
        form: for example ``"addition(X, Y, Sum)"``.
        slots: which variables of the form are images; found from the program when not given.
        cache: where to look up and keep the circuit; pass ``None`` to make it anew.
        engine: what evaluates the circuit: ``exact``, or a peer, ``klay`` or ``deepproblog``; see
            :mod:`nesy_gedi.logic.engines`.
        budget: limits of grounding and compiling.
        validate: check at every call that rows sum to one.

    Attributes:
        answers: the answers that can be derived, as text; index ``i`` is column ``i`` of the result.
        inputs: the distributions that are asked for, in order.
        choices: what a world consists of, as far as it matters to the answers and the evidence: first what reads
            ``inputs``, in their order, then the program's own probabilities.
        learned: the program's learned probabilities ``t(_)``.

    Raises:
        UsageError: the form does not fit the program.
        ProgramError: grounding failed.
        BudgetError: the circuit is too large.
        EngineError: there is no such engine, its package is missing, or it cannot answer this form.
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
        engine: str = DEFAULT,
        validate: bool = True,
    ) -> None:
        super().__init__()
        find_engine(engine)  # before what takes long
        self.program = program
        self.form = form if isinstance(form, QueryForm) else read_form(program, form, slots)
        self.validate = validate
        self.budget = budget or Budget()
        self.engine = engine
        self.circuit: Circuit = compile_form(program, self.form, cache=cache, budget=self.budget)
        self._set_up(self.circuit)

    @classmethod
    def of_circuit(cls, program: Program, circuit: Circuit, form: QueryForm | None = None) -> Reasoner:
        """A reasoner over a circuit that is already there, for example of the program's own queries."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.program = program
        made.form = QueryForm("query", (), ()) if form is None else form
        made.validate = True
        made.budget = Budget()
        made.engine = DEFAULT
        made.circuit = circuit
        made._set_up(circuit)
        return made

    def _set_up(self, circuit: Circuit) -> None:
        self.answers = circuit.answers
        self.learned = LearnedProbabilities(self.program.parameters)
        roots = [*circuit.roots, *([circuit.evidence] if circuit.evidence != TRUE else [])]
        # What depends on constants alone is computed now; the choices that a world consists of are all of them.
        formula, folded_roots = fold_constants(circuit.formula, roots)
        folded = replace(circuit, formula=formula, roots=tuple(folded_roots[: len(circuit.roots)]))
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
        # What the program itself states comes last.
        stated = [
            w
            for number in [*mentioned, *range(len(circuit.formula.variables), len(formula.variables))]
            for w in formula.variables[number].weights
            if isinstance(w, Constant)
        ]
        constants = {weight: k for k, weight in enumerate(dict.fromkeys(stated))}
        rows += len(constants)
        self._request = Request(self.program, self.form, folded, tuple(folded_roots), first, constants, rows)
        self._evaluate_with(self.engine)
        self.choices, self._choice_circuit = choices_of(
            circuit, [(item.network, item.slots) for item in self.inputs], mentioned, self._request.row_of, self.budget
        )
        logs = [constant.log() for constant in constants]
        self.register_buffer("_constants", torch.tensor(logs, dtype=torch.float64), persistent=False)
        self._index = {answer: k for k, answer in enumerate(self.answers)}

    def _evaluate_with(self, engine: str) -> None:
        self.engine = engine
        self._engine = find_engine(engine)(self._request)
        self._engines: dict[torch.device, Engine] = {torch.device("cpu"): self._engine}

    def with_engine(self, engine: str) -> Reasoner:
        """The same circuit, with the same learned probabilities, evaluated by another engine.

        Raises:
            EngineError: as for a new reasoner.
        """
        other = copy.copy(self)
        other._evaluate_with(engine)
        return other

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

    def alone(self, log_p: Tensor | Mapping[object, Tensor], column: int, *, batch: int | None = None) -> Tensor | None:
        """One column of what :meth:`forward` returns, where the engine can leave out the others; else None."""
        one = getattr(self._engine, "alone", None)
        return None if one is None else one(self._rows(log_p, batch), column)

    def explain(
        self, log_p: Tensor | Mapping[object, Tensor], target: Tensor | int | None = None, *, batch: int | None = None
    ) -> Explanation:
        """The most probable world in which an answer - and the program's evidence - holds: which symbols explain it.

        Args:
            log_p: as for :meth:`forward`.
            target: column of the answer, one for all rows or shape ``(batch,)``; the evidence alone when not given.
            batch: as for :meth:`forward`.

        Returns:
            For every row the value of each of ``choices``, and the log-probability of this world. Of equally probable
            values the first is taken; of equally probable branches of the circuit one, the same in every call.

        Raises:
            DistributionError: as for :meth:`forward`.
            UsageError: ``target`` is no column of an answer.
            BudgetError: a negation in the circuit could not be compiled away within the budget.
        """
        return explain(self._choice_circuit, self._rows(log_p, batch), target)

    def explain_inputs(
        self, log_p: Tensor | Mapping[object, Tensor], target: Tensor | int | None = None
    ) -> Explanation:
        """As :meth:`explain`, but of what networks say alone: ``values`` are those of the first of ``choices``, which read
        inputs, and all that other choices may be is summed over. Where there are others, these are symbols of high
        probability, not always of the highest; arguments and errors as there."""
        inputs = sum(choice.input is not None for choice in self.choices)
        return explain_inputs(self._choice_circuit, self._rows(log_p, None), target, inputs)

    def sample(
        self,
        log_p: Tensor | Mapping[object, Tensor],
        target: Tensor | int | None = None,
        *,
        n: int = 1,
        generator: torch.Generator | None = None,
        batch: int | None = None,
    ) -> Tensor:
        """Worlds drawn exactly from the distribution given an answer and the program's evidence.

        Args:
            log_p, target, batch: as for :meth:`explain`.
            n: worlds a row.
            generator: where randomness comes from.

        Returns:
            Values of ``choices``, whole numbers of shape ``(batch, n, len(choices))``; -1 where the answer is
            impossible. :meth:`holds` says which answers hold in them.

        Raises:
            DistributionError, UsageError, BudgetError: as for :meth:`explain`; also where ``n`` is negative.
        """
        if n < 0:
            raise UsageError(f"cannot draw {n} worlds", where="n", hint="0 or more")
        return sample_worlds(self._choice_circuit, self._rows(log_p, batch), target, n, generator)

    def holds(self, worlds: Tensor) -> Tensor:
        """Which answers hold - together with the evidence - in worlds of shape ``(..., len(choices))``.

        Returns:
            Booleans of shape ``(..., len(answers))``; none holds in a world of -1.

        Raises:
            UsageError: these are no values of ``choices``.
        """
        sizes = torch.tensor([len(choice.values) for choice in self.choices], device=worlds.device)
        if worlds.is_floating_point() or worlds.shape[-1:] != sizes.shape or bool((worlds >= sizes).any()):
            raise UsageError(
                f"expected the values of {len(sizes)} choices, whole numbers of shape (..., {len(sizes)}), found "
                f"{worlds.dtype} of shape {tuple(worlds.shape)}",
                where="worlds",
                hint="Reasoner.choices says which values there are",
            )
        return holding(self._choice_circuit, worlds)

    def posterior(
        self, log_p: Tensor | Mapping[object, Tensor], target: Tensor | int | None = None, *, batch: int | None = None
    ) -> tuple[Tensor, ...]:
        """Probabilities of every choice's values given an answer and the program's evidence.

        Args:
            log_p, target, batch: as for :meth:`explain`.

        Returns:
            One tensor of shape ``(batch, len(choice.values))`` for each of ``choices``; rows of zeros where the answer
            is impossible. It has no gradient: :class:`~nesy_gedi.logic.marginals.Marginals` of ``digit(X, D)`` are the
            same probabilities with one.

        Raises:
            DistributionError, UsageError: as for :meth:`explain`.
        """
        return posterior(self._choice_circuit, self._rows(log_p, batch), target)

    def _roots(self, log_p: Tensor | Mapping[object, Tensor], batch: int | None) -> Tensor:
        blocks, size, dtype = self._blocks(log_p, batch)
        engine = self._engine_on(blocks[0].device)
        if isinstance(engine, Plan):
            return engine.of_blocks(blocks, size, dtype)
        return engine(_joined(blocks, size, dtype)).T

    def _rows(self, log_p: Tensor | Mapping[object, Tensor], batch: int | None) -> Tensor:
        """Log-probabilities of the circuit's inputs, shape (inputs, batch)."""
        return _joined(*self._blocks(log_p, batch))

    def _blocks(
        self, log_p: Tensor | Mapping[object, Tensor], batch: int | None
    ) -> tuple[list[Tensor], int, torch.dtype]:
        """The circuit's inputs as :meth:`Plan.of_blocks` takes them, how many rows, and the number type to compute in."""
        blocks = collect(self.inputs, log_p, where=self.form.text, validate=self.validate)
        # Where the circuit asks no network, what was given still says how many rows are wanted.
        given = blocks or ([log_p] if isinstance(log_p, Tensor) else list(log_p.values()))
        size = given[0].shape[0] if given else (batch or 1)
        like = given[0] if given else self._constants
        dtype = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
        blocks += [self.learned(g, dtype) for g in range(len(self.program.parameters))]
        return [*blocks, self._constants], size, dtype

    def plan(self) -> Plan:
        """The circuit as this package's own engine evaluates it, on the CPU, whatever engine is in use."""
        return Plan(self._request.circuit.formula, self._request.roots, self._request.row_of, self._request.rows)

    @property
    def stated(self) -> Tensor:
        """Log-probabilities that the program states, the last inputs of :meth:`plan`: (constants,) float64."""
        return self._constants

    @property
    def depth(self) -> int:
        """Levels of the circuit: how many steps an evaluation takes one after the other."""
        return self._engine.depth

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

    def _engine_on(self, device: torch.device) -> Engine:
        if device not in self._engines:
            self._engines[device] = self._engine.to(device)
        return self._engines[device]


def _joined(blocks: Sequence[Tensor], batch: int, dtype: torch.dtype) -> Tensor:
    """The inputs that :meth:`Plan.of_blocks` takes as one tensor, (inputs, batch)."""
    return torch.cat([(b.T if b.dim() == 2 else b[:, None].expand(-1, batch)).to(dtype) for b in blocks])
