"""The same query form answered by deepproblog's exact engine, as an independent reference."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from deepproblog.engines import ExactEngine
from deepproblog.model import Model
from deepproblog.network import Network
from deepproblog.query import Query
from deepproblog.semiring.graph_semiring import GraphSemiring
from problog.formula import LogicFormula
from problog.logic import AnnotatedDisjunction, Constant, Term
from torch import Tensor, nn

from nesy_gedi.errors import EngineError, NesyGediError
from nesy_gedi.logic.compilation import answer_text
from nesy_gedi.logic.engines import Request, UnknownAnswerError
from nesy_gedi.logic.forms import SLOT, QueryForm
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.logic.program import Program, heads_of

_SOURCE = "image"

INSTEAD = "--engine exact or klay answers it"
"""What to do where deepproblog cannot."""

MISREAD = "deepproblog misreads learned probabilities in an annotated disjunction with a body"

Distribute = Callable[..., Tensor]
"""(network, images of shape (n, ...) for each of its inputs) -> probabilities (n, K) in deepproblog's layout."""


class DeepProbLogEngine:
    """deepproblog's exact engine with its circuit cache on, one query at a time.

    The cache answers wrongly where two slots hold one image. Here it never meets that: a variable that stands in two
    places of the form is one slot, and two slots are two images.

    Args:
        program: the program; a learned probability takes its initial value, or that of ``learned``.
        form: the query form; outputs are left free.
        distribute: what a network says about images. Gradients flow through it.

    Attributes:
        learned: the learned probabilities, scalars, head by head in the program's order; empty for the initial ones.
    """

    def __init__(self, program: Program, form: QueryForm, distribute: Distribute) -> None:
        self.program = program
        self.form = form
        self.learned: list[Tensor] = []
        networks = [Network(_Asked(name, distribute), name, batching=True) for name in program.networks]
        with contextlib.redirect_stdout(io.StringIO()):  # it tells that it caches
            self.model = Model(program.source.expanded, networks, load=False)
            for rule in form.rules():
                self.model.program.add_clause(rule)
            self.model.set_engine(ExactEngine(self.model), cache=True, semiring=self._semiring)
        self._images: dict[tuple[int, int], Tensor] = {}
        self.model.tensor_sources[_SOURCE] = self
        names = {Term(SLOT, Term(slot)): Term(f"slot_{k}") for k, slot in enumerate(form.slots)}
        self._goal = _replace(form.goal(), names)

    def _semiring(self, *arguments: Any) -> _LearnedSemiring:
        return _LearnedSemiring(self.learned, *arguments)

    def __getitem__(self, key: tuple[Constant, Constant]) -> Tensor:
        return self._images[int(key[0]), int(key[1])]

    def goals(self) -> dict[str, list[Term]]:
        """The goals that ask for each answer alone, usually one, by deepproblog's own grounding."""
        found: dict[str, list[Term]] = {}
        with contextlib.redirect_stdout(sys.stderr):
            grounded = self.model.solver.engine.ground(Query(self._goal), label=LogicFormula.LABEL_QUERY)
        for term, node in grounded.queries():
            if node is not None and term.is_ground():
                found.setdefault(answer_text(self.form, term), []).append(term)
        return found

    def __call__(
        self, images: Mapping[str, Tensor], answer: Mapping[str, str] | Term | None = None, *, batch: int = 1
    ) -> list[dict[str, Tensor]]:
        """Probabilities of the answers of each query.

        Args:
            images: slot -> images, shape ``(batch, ...)``.
            answer: values for the outputs, or one of :meth:`goals`, so that only this answer is asked for.
            batch: number of queries, for a form without slots.

        Returns:
            For each query answer -> probability (a scalar with gradient).
        """
        if answer is None or isinstance(answer, Term):
            goal = self._goal if answer is None else answer
        else:
            goal = self._goal.apply({k: _constant(v) for k, v in answer.items()})
        size = len(next(iter(images.values()))) if images else batch
        queries = []
        for item in range(size):
            substitution = {}
            for k, slot in enumerate(self.form.slots):
                self._images[k, item] = images[slot][item]
                substitution[Term(f"slot_{k}")] = Term("tensor", Term(_SOURCE, Constant(k), Constant(item)))
            queries.append(Query(goal, substitution))
        with contextlib.redirect_stdout(sys.stderr):  # what the program itself writes
            results = self.model.solve(queries)
        self._images.clear()
        return [self._read(result.result) for result in results]

    def _read(self, result: Mapping[Term, Any]) -> dict[str, Tensor]:
        return {
            answer_text(self.form, term): value
            if isinstance(value, Tensor)
            else torch.tensor(value, dtype=torch.float64)
            for term, value in result.items()
        }


class _LearnedSemiring(GraphSemiring):
    """deepproblog's own, but for learned probabilities: it would make single-precision leaves of Python numbers."""

    def __init__(self, learned: Sequence[Tensor], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.learned = learned

    def value(self, a: Any, key: Any = None) -> Any:
        if type(a) is Term and a.functor == "t" and self.learned:
            return self.learned[int(a.args[0])]
        return super().value(a, key)


class _Asked(nn.Module):
    """A deepproblog network module that hands the question on."""

    def __init__(self, name: str, distribute: Distribute) -> None:
        super().__init__()
        self.name = name
        self.distribute = distribute

    def forward(self, *images: Tensor) -> Tensor:
        return self.distribute(self.name, *images)


class DeepProbLogPeer:
    """deepproblog's own engine behind the interface of :class:`~nesy_gedi.logic.engines.Engine`.

    It grounds and compiles the form by itself and works query by query, on the CPU. Equal columns of a batch that needs
    no gradient are asked once.

    Raises:
        EngineError: the program states evidence, which deepproblog ignores without a word; a learned disjunction has a
            body, which it misreads; the queries are the program's own; or deepproblog itself refuses the program.
    """

    depth = 0

    def __init__(self, request: Request) -> None:
        self._request = request
        self._asked: Tensor = torch.empty(0)
        _refuse_what_it_cannot(request)
        with self._errors():
            self._engine = DeepProbLogEngine(request.program, request.form, self._distribute)
            self._goals = self._engine.goals()
        for answer, goals in self._goals.items():
            if len(goals) > 1:  # whether they exclude each other is not known here
                raise EngineError(
                    f"deepproblog keeps apart what reads the same, the answer {answer}", where=self._where, hint=INSTEAD
                )

    def to(self, device: torch.device) -> DeepProbLogPeer:
        return self

    def __call__(self, log_p: Tensor) -> Tensor:
        answers = self._request.circuit.answers
        return self._logs(log_p, None, answers)

    def alone(self, log_p: Tensor, column: int) -> Tensor:
        """Log-probability (batch,) of one answer, (inputs, batch) given: nothing is grounded and computed for others."""
        for stranger in self._goals.keys() - set(self._request.circuit.answers):
            self._logs(log_p, stranger, ())
        answer = self._request.circuit.answers[column]
        if answer not in self._goals:
            return log_p.new_full((log_p.shape[1],), -torch.inf)
        return self._logs(log_p, answer, (answer,))[0]

    def _logs(self, log_p: Tensor, asked: str | None, answers: Sequence[str]) -> Tensor:
        """Log-probabilities (answers, batch) where ``asked`` alone or all are asked for."""
        p = log_p.cpu().exp()
        again = None
        if p.numel() and not (p.requires_grad and torch.is_grad_enabled()):
            p, again = p.unique(dim=1, return_inverse=True)
        self._asked = p
        self._engine.learned = [
            p[self._request.first[(group,)] + head, 0]
            for group, what in enumerate(self._request.program.parameters)
            for head, learned in enumerate(what.learned)
            if learned and p.shape[1]
        ]
        # An image is the pair (slot, query), by which what is said about it is found.
        numbers = torch.arange(p.shape[1])
        slots = enumerate(self._request.form.slots)
        images = {slot: torch.stack([torch.full_like(numbers, k), numbers], 1) for k, slot in slots}
        with self._errors():
            found = self._engine(images, None if asked is None else self._goals[asked][0], batch=p.shape[1])
        columns = [self._column(each, answers, p) for each in found]
        result = torch.stack(columns, 1) if columns else p.new_empty(len(answers), 0)
        if again is not None:
            result = result[:, again]
        # The logarithm of a zero has an infinite slope; an impossible answer hands on nothing.
        possible = result > 0.0
        logs = torch.where(possible, torch.where(possible, result, 1.0).log(), -torch.inf)
        return logs.to(log_p.device)

    def _column(self, found: Mapping[str, Tensor], answers: Sequence[str], p: Tensor) -> Tensor:
        known = set(answers)
        for answer, probability in found.items():
            if answer not in known and (value := float(probability.detach())) > 0.0:
                raise UnknownAnswerError("deepproblog", answer, value, self._request)
        none = p.new_zeros(())
        return torch.stack([found.get(answer, none).to(p.dtype) for answer in answers]) if answers else p.new_empty(0)

    def _distribute(self, network: str, *images: Tensor) -> Tensor:
        """What the inputs say about images, each a pair (slot, query)."""
        domain = self._request.program.networks[network]
        names = self._request.form.slots
        rows = []
        for pairs in zip(*(image.tolist() for image in images), strict=True):
            first = self._request.first.get((network, tuple(names[slot] for slot, _ in pairs)))
            # What our circuit does not mention makes no difference: anything will do.
            uniform = self._asked.new_full((len(domain),), 1.0 / len(domain))
            rows.append(uniform if first is None else self._asked[first : first + len(domain), pairs[0][1]])
        return as_deepproblog(torch.stack(rows), bernoulli=self._request.program.is_bernoulli(network))

    @property
    def _where(self) -> str:
        return f"engine deepproblog, {self._request.form.text}"

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (NesyGediError, MemoryError):
            raise
        except Exception as error:  # it raises almost anything, also bare Exceptions
            raise EngineError(
                f"deepproblog fails: {type(error).__name__}: {error}", where=self._where, hint=INSTEAD
            ) from error


def _refuse_what_it_cannot(request: Request) -> None:
    program, where = request.program, f"engine deepproblog, {request.form.text}"
    if request.circuit.evidence != TRUE:
        raise EngineError("deepproblog ignores evidence/1 without saying so", where=where, hint=INSTEAD)
    if request.form == QueryForm("query", (), ()):  # of a reasoner over the program's own queries
        raise EngineError("deepproblog answers query forms, not query/1 lines", where=where, hint=INSTEAD)
    if has_misread_probabilities(program.clauses):
        raise EngineError(MISREAD, where=where, hint=INSTEAD)


def has_misread_probabilities(clauses: Iterable[Term]) -> bool:
    """Whether one of ``clauses`` is a disjunction whose learned probabilities deepproblog misreads."""
    return any(
        isinstance(clause, AnnotatedDisjunction)
        and str(clause.body) != "true"
        and any(_is_learned(head.probability) for head in heads_of(clause))
        for clause in clauses
    )


def _is_learned(probability: object) -> bool:
    return isinstance(probability, Term) and probability.functor == "t"


def as_deepproblog(probabilities: Tensor, *, bernoulli: bool) -> Tensor:
    """Rows (n, K) in deepproblog's layout: a Bernoulli network returns the one probability of ``true``, (n, 1)."""
    return probabilities[:, 1:] if bernoulli else probabilities


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
