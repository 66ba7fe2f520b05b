"""deepproblog's queries and data sets: answered batch-wide, or as tuples of images that training takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from problog.logic import Constant, Term, Var
from problog.program import PrologString
from torch import Tensor

from nesy_gedi.data.image_sets import GivenQueries, ImageSet, ImageSplits, Observations
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.parameters import LearnedProbabilities
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.from_deepproblog import from_deepproblog

if TYPE_CHECKING:
    from deepproblog.dataset import Dataset
    from deepproblog.model import Model
    from deepproblog.query import Query

Key = tuple[Term, ...]
"""What a network is asked about: tensors by their terms, and constants."""

GREY_TOLERANCE = 0.01
"""How far pixels may be from whole grey levels, in grey levels, to be taken for them."""


@dataclass(frozen=True)
class _Asked:
    """A deepproblog query as a query form, with what stands in its slots.

    Attributes:
        pattern: the query with its tensors; what is answered are the variables ``outputs``.
        form: the same with a variable in the place of each different tensor.
        tensors: slot -> the term of its tensor.
        outputs: names of variables.
        values: what the query states of the outputs, where they were freed.
    """

    pattern: Term
    form: str
    tensors: Mapping[str, Term]
    outputs: tuple[str, ...]
    values: tuple[str, ...]


class DeepProbLogReasoner:
    """Answers deepproblog's ``Query`` objects with this package's circuits: each form once, each network once.

    Answers are those of deepproblog's exact engine without its cache, whatever engine the model has: one tensor in two
    places of a query is one image. Queries that differ in their tensors alone share a circuit; an answer that a query
    states is a constant of its form.

    Args:
        model: program, networks and tensor sources.
        cache: where to look up and keep circuits.
        budget: limits of grounding and compiling.

    Attributes:
        program, networks: of :func:`~nesy_gedi.training.from_deepproblog.from_deepproblog`.
        learned: the program's learned probabilities, at the values that the model has given them.

    Raises:
        ProgramError, UsageError: as :func:`~nesy_gedi.training.from_deepproblog.from_deepproblog`.
    """

    def __init__(self, model: Model, *, cache: GroundingCache | None = None, budget: Budget | None = None) -> None:
        self.model = model
        self.program, self.networks = from_deepproblog(model)
        self.learned = LearnedProbabilities(self.program.parameters)
        self._cache = cache
        self._budget = budget
        self._reasoners: dict[str, Reasoner] = {}

    def __call__(self, queries: Sequence[Query]) -> list[dict[Term, Tensor]]:
        """Probabilities of the answers of each query, as ``model.solve(queries)`` finds them query by query.

        Returns:
            For each query ground term -> probability, a scalar with the gradient of networks and learned probabilities.

        Raises:
            UsageError: a network is asked about a term that holds a tensor.
            ProgramError, BudgetError: as :class:`~nesy_gedi.logic.reasoner.Reasoner`.
            DistributionError, EngineError: what a network returns is no distribution, or it failed.
        """
        asked = [_read(query, free=False) for query in queries]
        groups: dict[str, list[int]] = defaultdict(list)
        for number, each in enumerate(asked):
            groups[each.form].append(number)
        for form, (first, *_) in groups.items():
            self._prepare(form, asked[first])
        seen = self._perceive(
            (item.network, _key(item.slots, each.tensors))
            for each in asked
            for item in self._reasoners[each.form].inputs
        )
        found: list[dict[Term, Tensor]] = [{} for _ in queries]
        for form, members in groups.items():
            reasoner = self._reasoners[form]
            log_p: dict[object, Tensor] = {}
            for item in reasoner.inputs:
                rows, places = seen[item.network]
                index = torch.tensor([places[_key(item.slots, asked[number].tensors)] for number in members])
                log_p[item.network, *item.slots] = rows[index.to(rows.device)]
            table = reasoner(log_p, batch=len(members)).exp()
            for number, row in zip(members, table.unbind(0), strict=True):
                found[number] = _by_term(asked[number], reasoner.answers, row)
        return found

    def _prepare(self, form: str, asked: _Asked) -> None:
        if form not in self._reasoners:
            made = Reasoner(self.program, form, slots=tuple(asked.tensors), cache=self._cache, budget=self._budget)
            made.learned = self.learned
            self._reasoners[form] = made

    def _perceive(self, questions: Iterable[tuple[str, Key]]) -> dict[str, tuple[Tensor, dict[Key, int]]]:
        """For each network log-probabilities (questions, K), and the row of each question; every one is asked once."""
        places: dict[str, dict[Key, int]] = defaultdict(dict)
        for network, key in questions:
            places[network].setdefault(key, len(places[network]))
        fetched: dict[Term, Any] = {}
        found = {}
        for name, rows in places.items():
            perception = self.networks[name]
            columns = [
                _stacked([self._fetch(term, fetched) for term in column], perception)
                for column in zip(*rows, strict=True)
            ]
            found[name] = perception.of_raw(*columns), rows
        return found

    def _fetch(self, term: Term, fetched: dict[Term, Any]) -> Any:
        """What deepproblog gives a module for a term: the tensor of a tensor term, else the term itself."""
        if term.functor != "tensor":
            is_float = isinstance(term, Constant) and isinstance(term.functor, float)
            return torch.FloatTensor([term.functor]) if is_float else term
        if term not in fetched:
            source = term.args[0]
            if getattr(source, "functor", None) not in self.model.tensor_sources:
                raise UsageError(
                    f"the model has no tensor source for {term}",
                    where="tensor sources",
                    hint="add it: model.add_tensor_source(name, source)",
                )
            fetched[term] = self.model.get_tensor(term)
        return fetched[term]


class DeepProbLogImages(NamedTuple):
    """A deepproblog data set as training takes it: the query form, and the images with what was observed of them."""

    query: str
    images: ImageSplits


def deepproblog_images(
    model: Model,
    train: Dataset,
    test: Dataset,
    validation: Dataset | None = None,
    *,
    pixels: Callable[[Tensor], Tensor] | None = None,
    name: str = "deepproblog",
) -> DeepProbLogImages:
    """deepproblog's data sets as tuples of images with their observed answers.

    Their queries must differ in tensors and output constants alone. A tensor that several queries name is one image.

    Args:
        model: whose tensor sources hold the images.
        train, test, validation: its data sets; validation is left to be drawn from ``train`` where not given.
        pixels: from the stacked tensors of one shape (n, channels, height, width) to uint8 grey levels. Where not given,
            floats that are whole grey levels over 255 become them, and so do those that ``Normalize(0.5, 0.5)`` has
            scaled to [-1, 1]; tensors of other dimensions stay points (n, d) and sequences (n, length, d) of floats.
        name: of the data set.

    Raises:
        DataError: queries of several forms, a target probability other than one, or tensors that are no images.
    """
    parts = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    asked = {part: [_observed(query, part, k) for k, query in enumerate(of.to_queries())] for part, of in parts.items()}
    first = next((each for of in asked.values() for each in of), None)
    if first is None:
        raise DataError("the data sets hold no query", where=name, hint="give deepproblog data sets that are not empty")
    for part, queries in asked.items():
        for number, each in enumerate(queries):
            if each.form != first.form:
                raise DataError(
                    f"query {number} asks {each.form}, the first of all {first.form}",
                    where=f"{part} data",
                    hint="give data sets whose queries differ in tensors and answers alone",
                )
    learning, testing = _Collected(model, pixels), _Collected(model, pixels)
    table = {part: (testing if part == "test" else learning).tuples(queries) for part, queries in asked.items()}
    given = GivenQueries(
        inputs=tuple(first.tensors),
        outputs=first.outputs,
        source=name,
        train=table["train"],
        validation=table.get("validation"),
        test=table["test"],
    )
    return DeepProbLogImages(first.form, ImageSplits(name, learning.images(), testing.images(), given))


class _Collected:
    """The tensors that queries name, each once, all of one shape."""

    def __init__(self, model: Model, pixels: Callable[[Tensor], Tensor] | None) -> None:
        self.model = model
        self.pixels = pixels
        self.tensors: dict[Term, Tensor] = {}
        self.places: dict[Term, int] = {}

    def tuples(self, queries: Sequence[_Asked]) -> Observations:
        index = [[self._number(term) for term in each.tensors.values()] for each in queries]
        width = len(queries[0].tensors) if queries else 0
        rows = torch.tensor(index, dtype=torch.int64).reshape(len(queries), width)
        return Observations(rows, tuple(each.values for each in queries), tuple(range(len(queries))))

    def _number(self, term: Term) -> int:
        if term not in self.places:
            tensor = self.model.get_tensor(term)
            first = next(iter(self.tensors.values()), tensor)
            if tensor.shape != first.shape:
                raise DataError(
                    f"a tensor of shape {tuple(tensor.shape)}, the first has {tuple(first.shape)}",
                    where=str(term),
                    hint="bring all images to one size in the tensor source",
                )
            self.places[term] = len(self.tensors)
            self.tensors[term] = tensor
        return self.places[term]

    def images(self) -> ImageSet:
        stacked = torch.stack(list(self.tensors.values())) if self.tensors else torch.zeros(0, 1)
        if self.pixels is not None:
            stacked = self.pixels(stacked)
        elif stacked.dim() == 4 and stacked.is_floating_point():
            stacked = _grey_levels(stacked)
        return ImageSet(stacked, {})


def _grey_levels(images: Tensor) -> Tensor:
    """Float images (n, channels, height, width) as uint8.

    Raises:
        DataError: they are neither whole grey levels over 255 nor such levels scaled to [-1, 1].
    """
    for levels in (images * 255.0, (images + 1.0) * 127.5):
        whole = levels.round()
        if bool(((levels - whole).abs() <= GREY_TOLERANCE).all()) and whole.min() >= 0 and whole.max() <= 255:
            return whole.to(torch.uint8)
    raise DataError(
        f"pixels from {float(images.min()):.4g} to {float(images.max()):.4g} are no grey levels in [0, 1] or [-1, 1]",
        hint="say how to undo their normalisation: pixels=lambda x: ((x * std + mean) * 255).round().to(torch.uint8)",
    )


def _observed(query: Query, part: str, number: int) -> _Asked:
    """A query of a data set with its outputs freed.

    Raises:
        DataError: it is not observed with certainty.
    """
    where = f"{part} data"
    if query.p != 1.0:
        raise DataError(
            f"query {number} has the target probability {query.p:g}",
            where=where,
            hint="training learns from observed answers, whose probability is 1; leave out others",
        )
    read = _read(query, free=True)
    if len(read.values) != len(read.outputs):
        raise DataError(
            f"query {number}, {query.query}, leaves open what was observed",
            where=where,
            hint="give the values of its output arguments",
        )
    return read


def _read(query: Query, *, free: bool) -> _Asked:
    """A query as a form.

    Args:
        free: let variables stand for the output arguments, as far as they hold no tensor, and keep apart what stands in
            two places: a data set may show one image twice, and has one form.
    """
    term = query.query.apply_term(query.substitution)
    freed = {k % term.arity for k in query.output_ind} if free and term.arity else set()
    outputs: list[str] = []
    values: list[str] = []
    renamed: dict[str, Var] = {}
    tensors: dict[str, Term] = {}

    def output() -> Var:
        outputs.append(f"Answer{len(outputs)}")
        return Var(outputs[-1])

    def with_outputs(part: Term) -> Term:
        if isinstance(part, Var):
            return output() if part.name == "_" else renamed.get(part.name) or renamed.setdefault(part.name, output())
        return part.with_args(*map(with_outputs, part.args)) if part.args else part

    def with_slots(part: Term) -> Term:
        if part.functor == "tensor" and part.arity == 1:
            known = None if free else next((name for name, tensor in tensors.items() if tensor == part), None)
            name = known or f"Image{len(tensors)}"
            tensors[name] = part
            return Var(name)
        return part.with_args(*map(with_slots, part.args)) if part.args else part

    arguments = []
    for place, argument in enumerate(term.args):
        if place in freed and argument.is_ground() and not _holds_tensor(argument):
            arguments.append(output())
            values.append(str(argument))
        else:
            arguments.append(with_outputs(argument))
    pattern = term.with_args(*arguments) if arguments else term
    form = str(with_slots(pattern))
    return _Asked(pattern, form, tensors, tuple(outputs), tuple(values))


def _holds_tensor(part: Any) -> bool:
    return isinstance(part, Term) and (part.functor == "tensor" or any(map(_holds_tensor, part.args)))


def _key(slots: Sequence[str], tensors: Mapping[str, Term]) -> Key:
    return tuple(tensors[slot] if slot in tensors else _parse(slot) for slot in slots)


def _parse(text: str) -> Term:
    """A constant of the program.

    Raises:
        UsageError: it holds an image.
    """
    if "$slot" in text:
        raise UsageError(
            f"a network is asked about {text}, a term that holds an image",
            hint="give the image itself to the network: nn(net, [X, Y], ...) reads two",
        )
    (statement,) = PrologString(f"constant({text}).")
    return statement.args[0]


def _stacked(values: list[Any], perception: torch.nn.Module) -> Any:
    """A tensor (batch, ...) of tensors of one shape, on the network's device; else the list as it is."""
    device = next((p.device for p in perception.parameters()), torch.device("cpu"))
    if not all(isinstance(value, Tensor) for value in values):
        return values
    moved = [value.to(device) for value in values]
    return torch.stack(moved) if len({value.shape for value in moved}) == 1 else moved


def _by_term(asked: _Asked, answers: Sequence[str], row: Tensor) -> dict[Term, Tensor]:
    """Answers as instances of the query's own term."""
    if not asked.outputs:
        return {asked.pattern: row[0] if len(answers) else row.new_zeros(())}
    found = {}
    for column, answer in enumerate(answers):
        (statement,) = PrologString(f"answer({answer}).")
        values = {Var(name): value for name, value in zip(asked.outputs, statement.args, strict=True)}
        found[asked.pattern.apply_term(values)] = row[column]
    return found
