"""Proven bounds on answers from the k likeliest symbols of every image, where exact grounding is out of reach.

Each image keeps its k likeliest symbols; the program is ground and evaluated over the *kept* worlds K, those in which
every image shows a symbol that was kept of it. The rest has the probability d = P(not K) = 1 - product of the kept mass
of each annotated disjunction (AD) that reads a network, since these are independent.

**The bounds.** An answer a holds in some kept worlds, and in some others: P(a) = P(a, K) + P(a, not K), where the second
term is between 0 and d. So P(a, K) <= P(a) <= P(a, K) + d. The program may negate and collect as it likes, for nothing is
said of worlds that are not kept. Only ADs that the program asks count in K: restricted grounding follows every proof and
every refutation that kept symbols allow, so where all ADs that it meets take kept values, a world is decided whatever
the others show.

**With evidence** e, let A = P(a, e, K) and E = P(e, K). What is not kept adds some x >= 0 to P(a, e) and some y >= 0 to
P(not a, e), with x + y <= d. Then P(a | e) = (A + x) / (E + x + y) rises with x, as E + y >= A, and falls with y. So its
least value is A / (E + d), at x = 0 and y = d, and its greatest is (A + d) / (E + d). Both are reached by some program.

Keeping the best k of each choice goes back to the top-k proofs of Scallop (Huang et al., "Scallop: From Probabilistic
Deductive Databases to Scalable Differentiable Reasoning", NeurIPS 2021), and bounds from a part of the worlds to De Raedt
et al., "ProbLog: A Probabilistic Prolog and its Application in Link Discovery", IJCAI 2007.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nesy_gedi.errors import NesyGediWarning, UsageError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.compilation import same_number
from nesy_gedi.logic.deciding import FEWER, DecidedGrounding
from nesy_gedi.logic.distributions import NeuralInput
from nesy_gedi.logic.forms import QueryForm, read_form
from nesy_gedi.logic.given import Given, Reading, find_inputs
from nesy_gedi.logic.likelihood import mean_nll
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.restricted import RestrictedCircuit, UnknownInputError

SYMBOLS_KEPT = 3
"""How many symbols of an image are kept."""

CIRCUITS_KEPT = 4096
"""How many restricted circuits are remembered; the one that was used longest ago goes first."""


class Interval(NamedTuple):
    """A probability that is not known exactly: it is in ``lower..upper``, proven."""

    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.lower:.4g}" if self.lower == self.upper else f"between {self.lower:.4g} and {self.upper:.4g}"


@dataclass(frozen=True)
class Bounds:
    """Proven bounds on the log-probabilities of answers.

    Attributes:
        lower: natural logarithms, shape ``(batch,)``; -inf where no kept world yields the answer. Differentiable.
        upper: likewise, at most 0.
        dropped: log-probability of the worlds that were not looked at, shape ``(batch,)``; -inf where there are none.
    """

    lower: Tensor
    upper: Tensor
    dropped: Tensor

    @property
    def exact(self) -> Tensor:
        """Whether a row's bounds are equal because nothing was dropped, shape ``(batch,)``."""
        return self.dropped == -torch.inf

    @property
    def missed(self) -> Tensor:
        """Rows that teach nothing: no kept world yields the answer, though a dropped one may, shape ``(batch,)``."""
        return (self.lower == -torch.inf) & (self.upper > -torch.inf)

    def nll(self) -> Tensor:
        """Mean of -lower in nats, an upper bound on the negative log-likelihood except for ``missed`` rows.

        A missed or impossible answer costs ``-LOG_PROBABILITY_FLOOR`` and has a gradient of zero.
        """
        return mean_nll(self.lower)

    def __str__(self) -> str:
        if not len(self.lower):
            return "no rows"
        if bool(self.exact.all()):
            return "exact: nothing was dropped"
        share = self.dropped.detach().exp()
        return (
            f"bounds, not exact: up to {float(share.max()):.3g} of the probability was dropped (mean "
            f"{float(share.mean()):.3g}); {int(self.missed.sum())} of {len(share)} answers in no kept world"
        )


class _Rows(NamedTuple):
    """Rows that keep the same symbols, evaluated together."""

    rows: Tensor  # (rows,) row numbers
    circuit: RestrictedCircuit
    joint: Tensor  # (rows, answers) log P(answer, evidence, kept)
    evidence: Tensor  # (rows,) log P(evidence, kept)
    dropped: Tensor  # (rows,) log P(not kept)

    def bounds(self, joint: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds of log-probabilities from ``joint`` of shape (rows, ...)."""
        dropped = self.dropped.view(-1, *(1,) * (joint.dim() - 1))
        upper = _log_add(joint, dropped)
        if not self.circuit.has_evidence:
            return joint, upper.clamp_max(0.0)
        everything = _log_add(self.evidence.view_as(dropped), dropped)
        # Where the evidence is impossible, so is everything: -inf rather than -inf - -inf.
        everything = everything.masked_fill(everything == -torch.inf, 0.0)
        return joint - everything, (upper - everything).clamp_max(0.0)


class TopK(nn.Module):
    """Bounds for one query form from the k likeliest symbols of every image; never exact in silence.

    A restricted circuit is ground for every combination of kept symbols that occurs, and remembered. Rows that keep
    the same symbols are evaluated together. A symbol with probability zero is not kept, so rows that are certain of
    every image are exact and cheap.

    Args:
        program: a DeepProbLog program.
        form: for example ``"addition([A, B], [C, D], Sum)"``.
        k: symbols kept of each image.
        slots: which variables of the form are images; found from the program when not given.
        budget: limits of each restricted circuit.
        validate: check at every call that rows sum to one.

    Attributes:
        inputs: the distributions that are asked for, as far as they are known before there are any.
        learned: the program's learned probabilities ``t(_)``.
        exact: whether k keeps every symbol of every network.

    Raises:
        UsageError: the form does not fit the program, or k is less than 1.
        ProgramError: grounding failed.
        BudgetError: a restricted circuit is too large.
    """

    def __init__(
        self,
        program: Program,
        form: str | QueryForm,
        k: int = SYMBOLS_KEPT,
        *,
        slots: Collection[str] | None = None,
        budget: Budget | None = None,
        validate: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UsageError(f"k is how many symbols of an image are kept, not {k}", where="k", hint="for example k=3")
        self.program = program
        self.form = form if isinstance(form, QueryForm) else read_form(program, form, slots)
        self.k = k
        self.validate = validate
        self.exact = all(k >= len(domain) for domain in program.networks.values())
        if self.exact:
            warnings.warn(
                f"k={k} keeps every symbol of every network: the result is exact, and so is the cost",
                NesyGediWarning,
                stacklevel=2,
            )
        self.learned = LearnedProbabilities(program.parameters)
        self._grounds = DecidedGrounding(program, self.form, budget, hint=FEWER)
        self._inputs = find_inputs(self._grounds)
        self._circuits: OrderedDict[tuple[tuple[int, ...], ...], RestrictedCircuit] = OrderedDict()

    @property
    def inputs(self) -> tuple[NeuralInput, ...]:
        return tuple(self._inputs)

    def bounds(
        self, log_p: Tensor | Mapping[object, Tensor], answers: Sequence[object], *, batch: int | None = None
    ) -> Bounds:
        """Bounds on the log-probability of one observed answer a row.

        Args:
            log_p: as for :class:`nesy_gedi.Reasoner`: one tensor ``(batch, len(inputs), K)``, or a mapping from slot
                names, or from ``(network, slot, ...)``, to ``(batch, K)``. Rows are normalised log-probabilities.
            answers: one a row, as text or number: ``137``, ``"7,odd"`` for two outputs, ``"true"`` for none.
            batch: how many rows, where the program asks no network.

        Raises:
            DistributionError: a missing input, a wrong shape, a NaN, or a row that does not sum to one.
            ProgramError: a restricted grounding failed.
            BudgetError: a restricted circuit is too large.
        """
        given = self._given(log_p, batch)
        if len(answers) != given.size:
            raise UsageError(f"{len(answers)} answers for a batch of {given.size}", where=self.form.text)
        texts = [str(answer) for answer in answers]
        order: list[Tensor] = []
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for group in self._groups(given):
            own = [texts[row] for row in group.rows.tolist()]
            columns = [group.circuit.answers.get(text, -1) for text in own]
            for text, column in zip(own, columns, strict=True):
                if column < 0:
                    self._warn_of_number_type(text, group.circuit)
            # One more column for what no kept world yields.
            padded = torch.cat([group.joint, group.joint.new_full((len(own), 1), -torch.inf)], 1)
            joint = padded.gather(1, torch.tensor(columns, device=padded.device)[:, None] % padded.shape[1])[:, 0]
            order.append(group.rows)
            parts.append((*group.bounds(joint), group.dropped))
        if not parts:
            empty = torch.zeros(0)
            return Bounds(empty, empty, empty)
        back = torch.cat(order).argsort().to(parts[0][0].device)
        lower, upper, dropped = (torch.cat(column)[back] for column in zip(*parts, strict=True))
        return Bounds(lower, upper, dropped)

    forward = bounds

    def nll(self, log_p: Tensor | Mapping[object, Tensor], answers: Sequence[object]) -> Tensor:
        """Mean of minus the lower bounds in nats, to train with; :meth:`Bounds.nll` says what it does with misses."""
        return self.bounds(log_p, answers).nll()

    def answers(
        self, log_p: Tensor | Mapping[object, Tensor], *, batch: int | None = None
    ) -> list[dict[str, Interval]]:
        """For each row the answers of its kept worlds with bounds on their probability, the likeliest first.

        An answer that is not among them has a probability of at most :meth:`dropped` (with evidence, see there).
        """
        given = self._given(log_p, batch)
        found: list[dict[str, Interval]] = [{} for _ in range(given.size)]
        with torch.no_grad():
            for group in self._groups(given):
                lower, upper = (side.exp().tolist() for side in group.bounds(group.joint))
                for number, low, high in zip(group.rows.tolist(), lower, upper, strict=True):
                    best = sorted(zip(low, high, group.circuit.answers, strict=True), key=lambda item: -item[0])
                    found[number] = {text: Interval(one, other) for one, other, text in best}
        return found

    def dropped(self, log_p: Tensor | Mapping[object, Tensor], *, batch: int | None = None) -> Tensor:
        """The greatest probability of an answer that no kept world of a row yields, shape ``(batch,)``."""
        given = self._given(log_p, batch)
        found = torch.zeros(given.size)
        with torch.no_grad():
            for group in self._groups(given):
                nothing = torch.full_like(group.dropped, -torch.inf)
                found[group.rows] = group.bounds(nothing)[1].exp().to(found)
        return found

    def size(self, log_p: Tensor | Mapping[object, Tensor]) -> tuple[int, int]:
        """Numbers of nodes and edges of the largest restricted circuit of a batch."""
        sizes = [(group.circuit.nodes, group.circuit.edges) for group in self._groups(self._given(log_p, None))]
        return max(sizes, default=(0, 0))

    def _given(self, log_p: Tensor | Mapping[object, Tensor], batch: int | None) -> Given:
        return Given(self.program, self.form, self._inputs, log_p, batch=batch, validate=self.validate)

    def _groups(self, given: Given) -> Iterator[_Rows]:
        pending = list(range(given.size))
        while pending:
            readings = [(item.network, item.slots) for item in self._inputs]
            keys = self._kept(given, readings)
            groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
            for row in pending:
                groups.setdefault(keys[row], []).append(row)
            pending = []
            for key, rows in groups.items():
                try:
                    circuit = self._circuit(key, readings)
                except UnknownInputError as unknown:
                    network, slots = unknown.reading
                    if unknown.reading not in {(item.network, item.slots) for item in self._inputs}:
                        self._inputs.append(NeuralInput(network, slots, self.program.networks[network]))
                    pending += rows
                else:
                    kept = dict(zip(readings, key, strict=True))
                    yield self._evaluate(given, circuit, kept, torch.tensor(rows))

    def _kept(self, given: Given, readings: Sequence[Reading]) -> list[tuple[tuple[int, ...], ...]]:
        """What each row keeps of each input: its k likeliest symbols, equally likely ones in the domain's order."""
        columns: list[list[tuple[int, ...]]] = []
        for reading in readings:
            log_p = given(reading).detach()
            values, order = log_p.sort(dim=1, descending=True, stable=True)
            possible = (values[:, : self.k] > -torch.inf).sum(1).clamp_min(1).tolist()
            kept = order[:, : self.k].tolist()
            columns.append([tuple(sorted(row[:n])) for row, n in zip(kept, possible, strict=True)])
        return list(zip(*columns, strict=True)) if columns else [()] * given.size

    def _circuit(self, key: tuple[tuple[int, ...], ...], readings: Sequence[Reading]) -> RestrictedCircuit:
        # A key that was made before an input was met is shorter than any that is made later.
        if key not in self._circuits:
            self._circuits[key] = RestrictedCircuit(self._grounds, dict(zip(readings, key, strict=True)))
            if len(self._circuits) > CIRCUITS_KEPT:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(key)
        return self._circuits[key]

    def _evaluate(
        self, given: Given, circuit: RestrictedCircuit, kept: Mapping[Reading, tuple[int, ...]], rows: Tensor
    ) -> _Rows:
        like = given(next(iter(circuit.asked))) if circuit.asked else torch.zeros(0, dtype=torch.float64)
        conditional: dict[Reading, Tensor] = {}
        inside = like.new_zeros(len(rows))  # log P(kept)
        odds = like.new_zeros(len(rows))  # sum of log(1 + dropped / kept): of each AD
        for reading, times in circuit.asked.items():
            log_p = given(reading)[rows.to(like.device)]
            index = torch.tensor(kept[reading], device=log_p.device)
            chosen = log_p.index_select(1, index)
            mass = chosen.logsumexp(1)
            conditional[reading] = chosen - mass[:, None]
            outside = _log_sum(log_p.index_fill(1, index, -torch.inf))
            inside = inside + times * mass
            odds = odds + times * nn.functional.softplus(outside - mass)
        roots = circuit(conditional, self.learned, like, len(rows)) + inside[:, None]
        # d = product of (kept + dropped) - product of kept = P(kept) * (exp(odds) - 1): no digits are lost near zero.
        some = odds > 0.0
        grown = torch.where(some, odds, 1.0)
        dropped = torch.where(some, inside + grown + torch.log(-torch.expm1(-grown)), -torch.inf)
        if circuit.has_evidence:
            return _Rows(rows, circuit, roots[:, :-1], roots[:, -1], dropped)
        return _Rows(rows, circuit, roots, inside, dropped)

    def _warn_of_number_type(self, text: str, circuit: RestrictedCircuit) -> None:
        if (other := same_number(text, tuple(circuit.answers))) is not None:
            warnings.warn(
                f"{self.form.text}: no kept world yields {text}, but some yield {other}; the program computes with "
                "another number type (use // for whole numbers)",
                NesyGediWarning,
                stacklevel=4,
            )


def _log_sum(x: Tensor) -> Tensor:
    """Log of the sum of each row's exponentials, with a gradient of zero where all are -inf."""
    nothing = (x == -torch.inf).all(1)
    return torch.where(nothing, -torch.inf, torch.where(nothing[:, None], 0.0, x).logsumexp(1))


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)), with a gradient of zero where both are -inf."""
    a, b = torch.broadcast_tensors(a, b)
    nothing = (a == -torch.inf) & (b == -torch.inf)
    return torch.where(nothing, -torch.inf, torch.logaddexp(a.masked_fill(nothing, 0.0), b.masked_fill(nothing, 0.0)))
