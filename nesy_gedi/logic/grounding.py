"""Ground goals with ProbLog and read the result as a formula over categorical variables."""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from problog.errors import ProbLogError
from problog.formula import LogicDAG, LogicFormula
from problog.logic import Clause, Term, term2list

from nesy_gedi.errors import NesyGediWarning, ProgramError, did_you_mean
from nesy_gedi.logic.budget import Budget, Watch
from nesy_gedi.logic.forms import QUERY, SLOT
from nesy_gedi.logic.formula import FALSE, TRUE, Constant, Formula, Learned, Neural, Variable, Weight
from nesy_gedi.logic.problog_engine import Engine, prepare
from nesy_gedi.logic.program import BERNOULLI_DOMAIN, SUM_TOLERANCE, Program, constant_probability
from nesy_gedi.logic.projection import PART

EVIDENCE_LABELS = {True: "evidence holds", False: "evidence fails"}
"""What evidence is called in a ground program."""

RECURSION_LIMIT = 10_000
"""Python frames allowed while grounding, as many as ProbLog itself allows: some of them use up the C stack."""


@dataclass(frozen=True)
class GroundProgram:
    """What grounding yields.

    Attributes:
        formula: the ground program.
        answers: every derived instance of the goals with the number of its node.
        evidence: the node of the conjunction of all evidence, TRUE when there is none.
        has_evidence: whether the program states evidence at all.
        names: node -> the atom that it is the truth of, for messages; images are terms ``$slot(X)``.
    """

    formula: Formula
    answers: tuple[tuple[Term, int], ...]
    evidence: int
    has_evidence: bool
    names: dict[int, Term] = field(default_factory=dict, compare=False)


def ground(
    program: Program,
    goals: Sequence[Term] | None = None,
    rules: Sequence[Clause] = (),
    *,
    watch: Watch | None = None,
) -> GroundProgram:
    """Ground ``goals`` (the program's own ``query/1`` when not given) together with its evidence.

    Args:
        rules: clauses beside the program's own, which the goals need.
        watch: the budget that is spent; a new one of the default size when not given.

    Raises:
        BudgetError: the ground program is too large, or grounding takes too long.
        ProgramError: ProbLog refuses the program: an unknown predicate, a network input that is not bound, a negative
            cycle, a file that may not be loaded.
    """
    watch = watch or Watch(Budget(), program.source.name)
    with explained(program):
        engine, database = prepare(program, rules)
        engine.watch = watch
        if goals is None:
            goals = [query[0] for query in engine.query(database, Term("query", None))]
            if any(not isinstance(goal, Term) for goal in goals):
                raise ProgramError("query/1 is asked with an unbound variable", where=program.source.name)
        target = LogicFormula(keep_all=False)
        for goal in goals:
            engine.ground(database, goal, target, label=target.LABEL_QUERY)
        evidence = read_evidence(engine, database)
        for goal, value in evidence:
            engine.ground(database, goal, target, label=EVIDENCE_LABELS[value])
        if has_cycle(target):
            if "findall" in program.source.text:
                warnings.warn(
                    f"{program.source.name}: ProbLog's findall/3 counts circular proofs, so a collection over a "
                    "predicate that depends on itself may be wrong; all/3 is right",
                    NesyGediWarning,
                    stacklevel=2,
                )
            target = LogicDAG.create_from(target)
        return read_formula(program, target, watch)


@contextlib.contextmanager
def explained(program: Program) -> Iterator[None]:
    """ProbLog's errors become ours inside this block; what it prints goes to standard error, and it may nest deep."""
    with _recursion(RECURSION_LIMIT), contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except ProgramError as error:
            error.where = error.where or program.source.name
            raise
        except ProbLogError as error:
            raise _explain(program, error) from error
        except RecursionError as error:
            raise ProgramError(
                "grounding nests too deep",
                where=program.source.name,
                hint="does a rule call itself without getting closer to its end?",
            ) from error


def read_evidence(engine: Engine, database: Any) -> list[tuple[Term, bool]]:
    """The atoms of the program's evidence/1 and evidence/2, and whether each holds."""
    found: list[tuple[Term, bool]] = []
    for (atom,) in engine.query(database, Term("evidence", None)):
        found.append((-atom, False) if atom.is_negated() else (atom, True))
    for atom, value in engine.query(database, Term("evidence", None, None)):
        if str(value) not in ("true", "false"):
            raise ProgramError(f"evidence({atom}, {value}) is neither true nor false")
        found.append((-atom, str(value) == "false") if atom.is_negated() else (atom, str(value) == "true"))
    return found


@contextlib.contextmanager
def _recursion(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def has_cycle(target: LogicFormula) -> bool:
    """Whether a goal of a ground program depends on itself."""
    # ProbLog numbers a node before its children only where a goal calls itself.
    return any(
        kind != "atom" and any(child is not None and abs(child) >= index for child in node.children)
        for index, node, kind in target
    )


def read_formula(program: Program, target: LogicFormula, watch: Watch | None = None) -> GroundProgram:
    """ProbLog's ground program, without cycles, as a formula."""
    formula = Formula()
    translated: dict[int, int] = {}

    def follow(key: int | None) -> int:
        """ProbLog writes true as 0, false as None and negation as a minus sign."""
        if key is None:
            return FALSE
        if key == 0:
            return TRUE
        return formula.negate(translated[-key]) if key < 0 else translated[key]

    names: dict[int, Term] = {}
    # A query that comes down to a single choice gives it the query's name; what it was called first is kept beside.
    called: dict[int, Term] = {}
    for name, key in target.get_names(target.LABEL_NAMED):
        called.setdefault(key, name)
    groups: dict[Any, list[tuple[int, Any]]] = {}
    for index, node, kind in target:
        if kind == "atom" and not node.is_extra:
            node = node._replace(name=called.get(index, node.name))
            groups.setdefault(node.group if node.group is not None else ("single", node.identifier), []).append(
                (index, node)
            )
    for atoms in groups.values():
        number = len(formula.variables)
        variable, value_of = _variable(program, atoms)
        formula.variables.append(variable)
        for index, value in value_of.items():
            translated[index] = formula.literal(number, 1 << value)
        names |= {translated[i]: name for i, _ in atoms if (name := target.get_node(i).name) is not None}
    for index, node, kind in target:
        if kind != "atom":
            if watch is not None:
                watch.step(len(formula), lambda: "reading the ground program")
            children = [follow(child) for child in node.children]
            translated[index] = formula.conjoin(children) if kind == "conj" else formula.disjoin(children)
            if node.name is not None and not str(node.name.functor).startswith(PART):
                names.setdefault(translated[index], node.name)
    queries = tuple((name, follow(key)) for name, key in target.get_names(target.LABEL_QUERY))
    observed = [follow(key) for _, key in target.get_names(EVIDENCE_LABELS[True])]
    observed += [formula.negate(follow(key)) for _, key in target.get_names(EVIDENCE_LABELS[False])]
    return GroundProgram(formula, queries, formula.conjoin(observed), bool(observed), names)


def _variable(program: Program, atoms: list[tuple[int, Any]]) -> tuple[Variable, dict[int, int]]:
    """One AD from its ground choices: the variable, and which value each of ProbLog's atoms states."""
    # ProbLog names a choice choice(AD, head number, head, ...), unless a query asks for this very head.
    heads = [atom.name.args[2] for _, atom in atoms if atom.name.functor == "choice" and atom.group is not None]
    label = str(heads[0] if heads else atoms[0][1].name)
    probability = atoms[0][1].probability
    functor = probability.functor if isinstance(probability, Term) else None
    if functor == "nn":
        network = str(probability.args[0])
        inputs = tuple(slot_name(program, network, term) for term in term2list(probability.args[1], False))
        domain = program.networks[network]
        weights: list[Weight] = [Neural(network, inputs, index) for index in range(len(domain))]
        asked = [predicate.signature for predicate in program.predicates if predicate.network == network]
        predicate = heads[0].functor if heads else asked[0].split("/")[0]
        label = f"{predicate}({', '.join(inputs if domain == BERNOULLI_DOMAIN else (*inputs, '_'))})"
        return Variable(label, tuple(weights), domain), {index: int(atom.probability.args[2]) for index, atom in atoms}
    if functor == "t" and probability.arity == 2:
        group = int(probability.args[0])
        weights = [Learned(group, index) for index in range(len(program.parameters[group].heads))]
        stated = {int(atom.probability.args[1]): _head(atom) for _, atom in atoms}
        names = [stated.get(k, f"head {k + 1} beside {label}") for k in range(len(weights) - 1)]
        return Variable(label, tuple(weights), (*names, _none_of(names))), {
            index: int(atom.probability.args[1]) for index, atom in atoms
        }
    numbers = []
    where = f"{program.source.name}, {label}"
    for _, atom in atoms:
        number = constant_probability(atom.probability)
        if number is None or not -SUM_TOLERANCE <= number <= 1.0 + SUM_TOLERANCE:
            raise ProgramError(f"{atom.probability} is not a probability between 0 and 1", where=where)
        numbers.append(number)
    total = math.fsum(numbers)
    if total > 1.0 + SUM_TOLERANCE:
        raise ProgramError(
            f"the ground annotated disjunction sums to {total:.6g}, more than 1",
            where=where,
        )
    values = [Constant(number) for number in numbers] + [Constant(min(total, 1.0), complement=True)]
    names = [_head(atom) for _, atom in atoms]
    return Variable(label, tuple(values), (*names, _none_of(names))), {
        index: value for value, (index, _) in enumerate(atoms)
    }


def _head(atom: Any) -> str:
    """The head that one of ProbLog's choices makes true: of choice(AD, head number, head, ...) the third argument."""
    name = atom.name
    if atom.group is not None and name.functor == "choice" and name.arity > 2 and name.args[0] == atom.group[0]:
        return str(name.args[2])
    return str(name)


def _none_of(heads: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(heads))
    return f"\\+{distinct[0]}" if len(distinct) == 1 else f"none of {', '.join(distinct)}"


def slot_name(program: Program, network: str, term: Term) -> str:
    """The slot, or the constant of the program, that a network reads."""
    if isinstance(term, Term) and term.functor == SLOT:
        return str(term.args[0])
    if isinstance(term, Term) and term.is_ground():
        return str(term)  # a constant of the program, for example an embedding's name
    raise ProgramError(
        f"an input of network {network} is not bound when the network is asked",
        where=program.source.name,
        hint="bind it before the neural predicate is called",
    )


_HINTS = {
    "NonGroundProbabilisticClause": "a network input or a probabilistic fact is called with an unbound variable; bind it before",
    "NegativeCycle": "a predicate depends on its own negation; break the loop",
    "NonGroundQuery": "the query leaves a variable unbound; every output must receive a value",
    "ArithmeticError": "guard the computation, for example with a test that the divisor is not 0",
    "InstantiationError": "a computation meets an unbound variable; bind it in a goal before",
    "CallModeError": "a built-in predicate is called with an argument of the wrong type",
    "IndirectCallCycleError": "a collecting predicate such as findall/3 depends on itself; break the loop",
    "ConsultError": "the file is not there; paths are relative to the program",
}


def _explain(program: Program, error: ProbLogError) -> ProgramError:
    """ProbLog's error with our place, caret and a next step."""
    location = getattr(error, "location", None)
    place: dict[str, str] = {"where": program.source.name}
    if isinstance(location, tuple) and len(location) == 3 and location[0] in (None, program.source.name):
        place = program.source.place_at(location[1], location[2])
    name = type(error).__name__
    message = str(getattr(error, "base_message", error)).rstrip(".").partition(f" for query {QUERY}")[0]
    hint = _HINTS.get(name, "ProbLog refuses the program; the message says what it met")
    if name == "UnknownClause":
        signature = message.split("'")[1] if "'" in message else message
        hint = did_you_mean(signature, program.signatures)
    return ProgramError(f"{name}: {message}", **place, hint=hint)
