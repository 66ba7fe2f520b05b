"""Read a DeepProbLog program: clauses, neural predicates with their domains, learned parameters, source positions."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from problog.errors import ProbLogError
from problog.logic import AnnotatedDisjunction, Clause, Constant, Or, Term, Var, term2list
from problog.program import PrologString

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.source import Source

SUM_TOLERANCE = 1e-9
"""How far above one the probabilities of an annotated disjunction may sum before it is refused."""

SMALLEST_PROBABILITY = 1e-12
"""Initial values of learned probabilities are kept this far from zero, so that they can still be learned."""

DIRECTIVE = "_directive"
"""ProbLog's head for a clause that has none, such as ``:- use_module(library(lists))``."""

BERNOULLI_DOMAIN = ("false", "true")
"""Domain of ``nn(net,[X]) :: p(X)``: entry 1 is the probability that p holds."""


@dataclass(frozen=True)
class NeuralPredicate:
    """``nn(network, inputs, output, domain) :: functor(...)``, or without output and domain for a Bernoulli predicate.

    Attributes:
        network: name of the network.
        signature: ``functor/arity`` of the predicate.
        input_positions: arguments of the head in which the network's inputs stand.
        domain: the symbols, in the order of the network's outputs.
        bernoulli: whether it is written without output and domain; its domain is :data:`BERNOULLI_DOMAIN`.
    """

    network: str
    signature: str
    input_positions: tuple[int, ...]
    domain: tuple[str, ...]
    bernoulli: bool = False


@dataclass(frozen=True)
class ParameterGroup:
    """The learned probabilities of one annotated disjunction ``t(a) :: x; t(b) :: y; 0.1 :: z``.

    Attributes:
        heads: for every head its initial probability (an equal share where the program says ``t(_)``); the last
            stands for "none of the heads" and is 0.0 where the heads exhaust the disjunction.
        learned: which heads are learned; the others keep their probability.
        label: the clause, for reports.
    """

    heads: tuple[float, ...]
    learned: tuple[bool, ...]
    label: str


class Program:
    """A DeepProbLog program.

    Attributes:
        source: the text and its name.
        clauses: ProbLog clauses, neural predicates rewritten as annotated disjunctions whose probabilities are the
            terms ``nn(network, inputs, index)``, learned ones as ``t(group, index)``.
        predicates: the neural predicates in order.
        networks: network name -> domain.
        parameters: groups of learned probabilities.
        trusted: whether the program may load files and Python modules.
    """

    def __init__(self, text: str, *, name: str = "<string>", trusted: bool = False) -> None:
        """Parse ``text``.

        Raises:
            ProgramError: a syntax error, or a neural predicate that is not well formed, with its place.
        """
        self.source = Source(name, text)
        self.trusted = trusted
        self.predicates: list[NeuralPredicate] = []
        self.networks: dict[str, tuple[str, ...]] = {}
        self.parameters: list[ParameterGroup] = []
        try:
            with _all_digits():
                self._parsed = PrologString(self.source.expanded)
                statements = list(self._parsed)
        except ProbLogError as error:
            raise self._parse_error(error) from error
        except RecursionError as error:
            raise ProgramError(
                "a statement nests too deep to be read",
                where=name,
                hint="split it: thousands of heads or goals in one statement are more than ProbLog's parser takes",
            ) from error
        self.clauses: list[Term] = [self._read(statement) for statement in statements]

    @classmethod
    def load(cls, path: str | Path, *, trusted: bool = False) -> Program:
        """Read a ``.pl`` file.

        Raises:
            ProgramError: the file cannot be read, or its program is not valid.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ProgramError(
                f"cannot read the program: {error.strerror}",
                where=str(path),
                hint="give the path of a readable .pl file",
            ) from error
        except UnicodeDecodeError as error:
            raise ProgramError("the program is not UTF-8 text", where=str(path), hint="save it as UTF-8") from error
        return cls(text, name=str(path), trusted=trusted)

    @cached_property
    def fingerprint(self) -> str:
        """Content address: SHA-256 of the text."""
        return hashlib.sha256(self.source.text.encode()).hexdigest()

    @cached_property
    def signatures(self) -> set[str]:
        """``functor/arity`` of every predicate that has a clause."""
        heads = (head for clause in self.clauses for head in heads_of(clause))
        return {head.signature for head in heads if head.functor != DIRECTIVE}

    def is_bernoulli(self, network: str) -> bool:
        """Whether a network is asked for a single probability, as ``nn(net, [X]) :: p(X)`` does.

        Raises:
            ProgramError: another neural predicate asks the same network for one of ``[false, true]``.
        """
        asked = {predicate.bernoulli for predicate in self.predicates if predicate.network == network}
        if len(asked) > 1:
            raise ProgramError(
                f"network {network} returns one probability for one neural predicate and two for another",
                where=self.source.name,
                hint="give each of them a network of its own",
            )
        return asked == {True}

    def __repr__(self) -> str:
        return f"Program({self.source.name!r}, networks={sorted(self.networks)})"

    def _parse_error(self, error: ProbLogError) -> ProgramError:
        location = getattr(error, "location", None)
        place: dict[str, str] = {"where": self.source.name}
        if isinstance(location, tuple) and len(location) == 3:
            _, line, column = location
            # ProbLog's parser counts columns from zero on the first line, from one on the others.
            place = self.source.place_at(line, column + 1 if line == 1 else column)
        elif isinstance(location, int):
            place = self.source.place(location)
        message = str(getattr(error, "base_message", error)).rstrip(".")
        return ProgramError(
            f"syntax error: {message}", **place, hint="look for a missing '.', ',' or bracket before it"
        )

    def error(self, message: str, term: Any, *, hint: str | None = None) -> ProgramError:
        """A ProgramError at the place of ``term``."""
        location = getattr(term, "location", None)
        if isinstance(location, tuple):
            location = location[1] if location[0] == 0 else None
        place = self.source.place(location) if location is not None else {"where": self.source.name}
        return ProgramError(message, **place, hint=hint)

    def _read(self, statement: Term) -> Term:
        heads = heads_of(statement)
        body = statement.body if isinstance(statement, (Clause, AnnotatedDisjunction)) else None
        if any(_is_call(head.probability, "nn") for head in heads):
            if len(heads) != 1:
                raise self.error("a neural predicate stands alone, not in an annotated disjunction", statement)
            heads = self._neural_heads(heads[0], statement)
        elif any(_is_call(head.probability, "t") for head in heads):
            heads = self._learned_heads(heads, statement)
        else:
            self._check_sum(heads, statement)
            return statement
        if len(heads) == 1:
            return heads[0] if body is None else Clause(heads[0], body, location=statement.location)
        return AnnotatedDisjunction(heads, Term("true") if body is None else body, location=statement.location)

    def _neural_heads(self, head: Term, statement: Term) -> list[Term]:
        arguments = head.probability.args
        if len(arguments) == 3:
            raise self.error(
                "a network whose output is a tensor, nn(net, inputs, output), has no distribution to reason with",
                statement,
                hint="give it a domain, nn(net, inputs, output, [a, b, ...]), or run the program in deepproblog",
            )
        if len(arguments) not in (2, 4):
            raise self.error(f"nn takes 2 or 4 arguments, found {len(arguments)}", statement)
        if not _is_atom(arguments[0]):
            raise self.error(f"{arguments[0]} is not the name of a network, which is written in lower case", statement)
        network, inputs = str(arguments[0]), arguments[1]
        if not _is_list(inputs) or not term2list(inputs, False):
            raise self.error(f"the inputs of {network} are not a list such as [X]", statement)
        read = set(variables_of(inputs))
        positions = tuple(k for k, argument in enumerate(head.args) if read & set(variables_of(argument)))
        if len(arguments) == 2:
            domain: tuple[str, ...] = BERNOULLI_DOMAIN
            heads = [head.with_probability(Term("nn", Term(network), inputs, Constant(1)))]
        else:
            output, symbols = arguments[2], arguments[3]
            if not _is_list(symbols):
                raise self.error(f"the domain of {network} is not a list such as [0..9] or [cat, dog]", statement)
            values = term2list(symbols, False)
            if len(values) < 2 or len({str(value) for value in values}) != len(values):
                raise self.error(f"the domain of {network} needs two or more different symbols", statement)
            if any(not getattr(value, "is_ground", lambda: True)() for value in values):
                raise self.error(f"the domain of {network} holds a variable", statement)
            if not isinstance(output, Var) or output.name not in {n for a in head.args for n in variables_of(a)} - read:
                raise self.error(f"the output of {network} must be a variable of the head and not an input", statement)
            domain = tuple(str(value) for value in values)
            bare = head.with_probability(None)  # the probability holds the whole domain
            heads = [
                bare.apply_term({output: value}).with_probability(
                    Term("nn", Term(network), inputs, Constant(index), location=head.probability.location)
                )
                for index, value in enumerate(values)
            ]
        if self.networks.setdefault(network, domain) != domain:
            raise self.error(
                f"network {network} has the domain [{', '.join(self.networks[network])}] above and another one here",
                statement,
                hint="give one network one domain, or use two networks",
            )
        self.predicates.append(NeuralPredicate(network, head.signature, positions, domain, len(arguments) == 2))
        return heads

    def _learned_heads(self, heads: list[Term], statement: Term) -> list[Term]:
        initial: list[float | None] = []
        learned: list[bool] = []
        for head in heads:
            is_learned = _is_call(head.probability, "t")
            if is_learned and len(head.probability.args) != 1:
                raise self.error("a learned probability is written t(_) or t(0.3)", statement)
            value = head.probability.args[0] if is_learned else head.probability
            learned.append(is_learned)
            if is_learned and isinstance(value, Var):
                initial.append(None)
            else:
                number = constant_probability(value)
                if number is None or not 0.0 <= number <= 1.0:
                    raise self.error(f"{value} is not a probability between 0 and 1", statement)
                initial.append(number)
        total = sum(value for value in initial if value is not None)
        if total > 1.0 + SUM_TOLERANCE:
            raise self._sum_error(total, statement)
        # A lone fact may fail to hold. Several heads exhaust the disjunction, unless written-out numbers leave a rest.
        rest = len(heads) == 1 or (None not in initial and total < 1.0 - SUM_TOLERANCE)
        missing = initial.count(None)
        known = total if missing else 1.0
        share = (1.0 - known) / (missing + (1 if rest else 0)) if missing else 0.0
        none = (share if missing else max(1.0 - total, SMALLEST_PROBABILITY)) if rest else 0.0
        group = len(self.parameters)
        filled = tuple(share if value is None else value for value in initial)
        label = str(statement)
        self.parameters.append(ParameterGroup((*filled, none), tuple(learned), label))
        return [head.with_probability(Term("t", Constant(group), Constant(index))) for index, head in enumerate(heads)]

    def _check_sum(self, heads: list[Term], statement: Term) -> None:
        numbers = [constant_probability(head.probability) for head in heads]
        for number, head in zip(numbers, heads, strict=True):
            if number is not None and not 0.0 <= number <= 1.0 + SUM_TOLERANCE:
                raise self.error(f"{head.probability} is not a probability between 0 and 1", statement)
        total = sum(number for number in numbers if number is not None)
        if total > 1.0 + SUM_TOLERANCE:
            raise self._sum_error(total, statement)

    def _sum_error(self, total: float, statement: Term) -> ProgramError:
        return self.error(
            f"the probabilities of this annotated disjunction sum to {total:.6g}, more than 1",
            statement,
            hint="scale them, or write separate facts if they are independent",
        )


@contextlib.contextmanager
def _all_digits() -> Iterator[None]:
    """Read numbers as they are written: ProbLog rounds them to fifteen decimals, so that 1e-16 is zero."""
    rounded = Constant.FLOAT_PRECISION
    Constant.FLOAT_PRECISION = None
    try:
        yield
    finally:
        Constant.FLOAT_PRECISION = rounded


def heads_of(statement: Term) -> list[Term]:
    """The heads of a clause, fact or annotated disjunction."""
    if isinstance(statement, AnnotatedDisjunction):
        return list(statement.heads)
    if isinstance(statement, Clause):
        head = statement.head
        return list(head.to_list()) if isinstance(head, Or) else [head]
    return list(statement.to_list()) if isinstance(statement, Or) else [statement]


def constant_probability(term: Any) -> float | None:
    """The number a probability term stands for, None when it depends on variables or parameters."""
    if term is None:
        return None
    try:
        return float(term)
    except Exception:  # ProbLog raises several unrelated types for terms that are not arithmetic
        return None


def variables_of(term: Any) -> Iterator[str]:
    """Names of the variables of a term from left to right, the anonymous one left out."""
    if isinstance(term, Var):
        if term.name != "_":
            yield term.name
    elif isinstance(term, Term):
        for argument in term.args:
            yield from variables_of(argument)


def _is_atom(term: Any) -> bool:
    return type(term) is Term and not term.args


def _is_call(term: Any, functor: str) -> bool:
    return type(term) is Term and term.functor == functor


def _is_list(term: Any) -> bool:
    while isinstance(term, Term) and term.functor == "." and term.arity == 2:
        term = term.args[1]
    return isinstance(term, Term) and term.functor == "[]"
