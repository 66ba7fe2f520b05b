"""Which part of a program keeps its ground formula from being a circuit, and how to write it so that it is one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal as OneOf

from problog.logic import AnnotatedDisjunction, Clause, Term, Var

from nesy_gedi.logic.forms import QUERY, SLOT
from nesy_gedi.logic.formula import And, Formula, Literal, Not, Or, children_of, values_of
from nesy_gedi.logic.grounding import GroundProgram
from nesy_gedi.logic.program import Program, heads_of
from nesy_gedi.logic.structure import ExclusionProver, find_violations

OBSTACLES_SHOWN = 5
"""The most obstacles that are told of a program; what is told once is not told again for another answer."""

GOALS_SHOWN = 3
"""A proof is described by at most this many of its goals."""

DEPTH_SHOWN = 2
"""Goals without a name are described by theirs, so deep at most."""

LENGTH_SHOWN = 100
"""A proof or goal is described in at most this many characters."""

_CYCLE_BREAKER = re.compile(r"problog_cv_(.+)_cb_\d+")
_BODY = re.compile(r"body_\d+")  # ProbLog's atom for the body of an annotated disjunction

PAIRS_TRIED = 10_000
"""How many pairs of alternatives are compared for two that can hold together."""


@dataclass(frozen=True)
class Obstacle:
    """A goal whose probability is not a sum or product over its ground rules.

    Attributes:
        goal: the ground goal, images under the names of their slots.
        where: ``file:line:column`` of a clause to rewrite, or the program's name.
        kind: ``overlapping proofs`` (two proofs can hold together, so their probabilities do not add up) or
            ``shared choice`` (two goals depend on one choice, so their probabilities do not multiply).
        parts: the two proofs or goals.
        shared: the choices that both depend on, for example ``digit(X, _)``.
        rewrite: how to write it so that it can be evaluated directly.
    """

    goal: str
    where: str
    kind: OneOf["overlapping proofs", "shared choice"]
    parts: tuple[str, str]
    shared: tuple[str, ...]
    rewrite: str

    def __str__(self) -> str:
        one, other = self.parts
        if self.kind == "overlapping proofs":
            return f"{self.where}: two proofs of {self.goal} can hold together: {one}; and {other}"
        return f"{self.where}: in {self.goal}, {one} and {other} both depend on {', '.join(self.shared)}"


def explain(
    program: Program, grounded: GroundProgram, roots: Iterable[int], nodes: Collection[int]
) -> tuple[Obstacle, ...]:
    """What stands in the way at ``nodes``, the topmost first, and no more than ``OBSTACLES_SHOWN``.

    Args:
        roots: what is asked of the ground program.
        nodes: violating nodes below ``roots`` that had to be compiled.
    """
    if not nodes:
        return ()
    names = {node: name for node, name in grounded.names.items() if not _BODY.fullmatch(str(name.functor))}
    describer = _Describer(program, grounded, names)
    owners = _owners(grounded.formula, names, roots, nodes)
    found: dict[tuple[str, str, str], Obstacle] = {}
    for node in sorted(nodes, reverse=True):
        obstacle = describer.obstacle(node, owners.get(node))
        if obstacle is not None:
            found.setdefault((obstacle.where, obstacle.kind, obstacle.goal.partition("(")[0]), obstacle)
        if len(found) == OBSTACLES_SHOWN:
            break
    return tuple(found.values())


def _owners(formula: Formula, names: dict[int, Term], roots: Iterable[int], nodes: Collection[int]) -> dict[int, Term]:
    """For each of ``nodes`` its own name, or that of the nearest node above it that has one."""
    owners: dict[int, Term] = {}
    for number in reversed(formula.reachable(roots)):
        if (name := names.get(number)) is not None:
            owners[number] = name
        if number in owners:
            for child in children_of(formula.nodes[number]):
                owners.setdefault(child, owners[number])
    return {node: owners[node] for node in nodes if node in owners}


class _Describer:
    def __init__(self, program: Program, grounded: GroundProgram, names: dict[int, Term]) -> None:
        self.program = program
        self.formula: Formula = grounded.formula
        self.names = names
        self._prover = ExclusionProver(grounded.formula)

    def obstacle(self, node: int, owner: Term | None) -> Obstacle | None:
        what = self.formula.nodes[node]
        if isinstance(what, Not):
            node, what = what.child, self.formula.nodes[what.child]
        if isinstance(what, And):
            pair = self._sharing(what.children)
        elif isinstance(what, Or):
            pair = self._overlapping(what.children)
        else:
            return None
        if pair is None:
            return None
        one, other = pair
        shared = self.formula.scopes[one] & self.formula.scopes[other]
        parts = self._short(one), self._short(other)
        goal = "the query together with the evidence" if owner is None else self._goal(owner)
        choices = tuple(sorted({self._choice(variable) for variable in values_of(shared)}))[:GOALS_SHOWN]
        if isinstance(what, And):
            return Obstacle(
                goal, self._place(owner, pair), "shared choice", parts, choices, self._ask_once(owner, shared, what)
            )
        advice = self._exclude(node, one, other, parts) or self._branch_first(what)
        return Obstacle(goal, self._place(owner, (other,)), "overlapping proofs", parts, choices, advice)

    def _sharing(self, children: tuple[int, ...]) -> tuple[int, int] | None:
        """The two goals that share most."""
        pairs = [(a, b) for k, b in enumerate(children[:100]) for a in children[:k]]
        shared = {pair: (self.formula.scopes[pair[0]] & self.formula.scopes[pair[1]]).bit_count() for pair in pairs}
        best = max(pairs, key=lambda pair: shared[pair], default=None)
        return best if best is not None and shared[best] else None

    def _overlapping(self, children: tuple[int, ...]) -> tuple[int, int] | None:
        self._prover.prepare(children)
        pairs = ((a, b) for k, b in enumerate(children) for a in children[:k])
        for _, (a, b) in zip(range(PAIRS_TRIED), pairs, strict=False):
            if self.formula.scopes[a] & self.formula.scopes[b] and not self._prover.excludes(a, b):
                return a, b
        return None

    def _exclude(self, node: int, one: int, other: int, parts: tuple[str, str]) -> str | None:
        """The advice to let one proof deny the other, where a formula written so is a circuit."""
        for first, second, texts in ((one, other, parts), (other, one, parts[::-1])):
            later = self.formula.conjoin([self.formula.negate(first), second])
            both = self.formula.plain_or([first, later])
            fine = {v.node for v in find_violations(self.formula, [first, second])}
            if {v.node for v in find_violations(self.formula, [both])} <= fine:
                denied = f"\\+ {texts[0]}" if self._is_atom(first) else f"\\+ ({texts[0]})"
                return f"let the proof {texts[1]} exclude the other: begin it with {denied}"
        return None

    def _is_atom(self, node: int) -> bool:
        return node in self.names or isinstance(self.formula.nodes[node], Literal)

    def _branch_first(self, what: Or) -> str:
        choice = self._most_shared(what.children)
        return f"decide {choice} first: one rule for each of its values, and what follows takes the value"

    def _ask_once(self, owner: Term | None, shared: int, what: And) -> str:
        choice = self._most_shared([c for c in what.children if self.formula.scopes[c] & shared], shared)
        if owner is None:
            return f"state the evidence on a choice itself, such as {choice}, in place of what follows from it"
        return f"ask {choice} once, in a goal before these two, and let both take its value"

    def _short(self, node: int) -> str:
        text = self.describe(node)
        return text if len(text) <= LENGTH_SHOWN else text[: LENGTH_SHOWN - 3] + "..."

    def _most_shared(self, nodes: Iterable[int], among: int = -1) -> str:
        counts: Counter[int] = Counter()
        for node in nodes:
            counts.update(values_of(self.formula.scopes[node] & among if among >= 0 else self.formula.scopes[node]))
        return self._choice(max(counts, key=lambda v: (counts[v], -v)))

    def _choice(self, variable: int) -> str:
        return _unslotted(self.formula.variables[variable].label)

    def describe(self, node: int, depth: int = DEPTH_SHOWN) -> str:
        """A node as goals of the program."""
        name = self.names.get(node)
        what = self.formula.nodes[node]
        if name is not None and name.functor != "choice":
            return self._goal(name)
        if isinstance(what, Literal):
            return self._literal(node, what)
        if isinstance(what, Not):
            inner = self.describe(what.child, depth)
            return f"\\+ ({inner})" if ", " in inner and not self._is_atom(what.child) else f"\\+ {inner}"
        if not depth:
            return f"something about {', '.join(map(self._choice, list(values_of(self.formula.scopes[node]))[:GOALS_SHOWN]))}"
        texts = [self.describe(child, depth - 1) for child in children_of(what)]
        shown = texts[:GOALS_SHOWN] + (["..."] if len(texts) > GOALS_SHOWN else [])
        return ", ".join(shown) if isinstance(what, And) else f"({'; '.join(shown)})"

    def _literal(self, node: int, literal: Literal) -> str:
        name = self.names.get(node)
        if name is not None:
            return self._goal(name)
        full = self.formula.variables[literal.variable].full
        others = [1 << value for value in values_of(full & ~literal.mask)]
        if len(others) == 1 and (opposite := self._value(literal.variable, others[0])):
            return f"\\+ {opposite}"
        values = [self._value(literal.variable, 1 << value) for value in values_of(literal.mask)]
        if all(values) and len(values) <= GOALS_SHOWN:
            return values[0] if len(values) == 1 else f"({'; '.join(values)})"
        return f"some values of {self._choice(literal.variable)}"

    def _value(self, variable: int, mask: int) -> str:
        name = self.names.get(self.formula.literal(variable, mask))
        return "" if name is None else self._goal(name)

    def _goal(self, name: Term) -> str:
        """A ground atom as the user would write it."""
        if name.functor == QUERY:
            return "the goals asked together"
        return ("\\+ " if name.is_negated() else "") + str(_shown(_atom(name)))

    def _place(self, owner: Term | None, parts: tuple[int, ...]) -> str:
        """Where the clause for ``owner`` stands that calls ``parts``, or else one for ``owner``."""
        if owner is None:
            return self.program.source.name
        atom = _atom(owner)
        wanted = {name for part in parts for name in self._names_in(part)}
        best, place = -1, self.program.source.name
        for clause in self.program.clauses:
            for head in heads_of(clause):
                bound: dict[str, object] = {}
                location = getattr(head, "location", None)
                if not _matches(head, atom, bound) or not isinstance(location, tuple) or location[0] != 0:
                    continue
                goals = list(_called(clause))
                fits = sum(any(_matches(goal, name, dict(bound)) for goal in goals) for name in wanted)
                if fits > best:
                    best, place = fits, self.program.source.place(location[1])["where"]
        return place

    def _names_in(self, node: int, depth: int = DEPTH_SHOWN) -> list[Term]:
        if (name := self.names.get(node)) is not None:
            return [_atom(name)]
        children = children_of(self.formula.nodes[node]) if depth else ()
        return [name for child in children for name in self._names_in(child, depth - 1)]


def _atom(name: Term) -> Term:
    """What the program calls an atom, without ProbLog's own additions: choices, broken cycles, a negation."""
    if name.is_negated():
        name = -name
    if name.functor == "choice" and len(name.args) > 2 and isinstance(name.args[2], Term):
        return name.args[2]
    if found := _CYCLE_BREAKER.fullmatch(str(name.functor)):
        return Term(found[1], *name.args)
    return name


def _matches(pattern: object, value: object, bound: dict[str, object]) -> bool:
    """Whether ``value`` is an instance of ``pattern``; its variables are bound, and those that are new to it fit all."""
    if isinstance(pattern, Var):
        return pattern.name == "_" or bound.setdefault(pattern.name, value) == value
    if not isinstance(pattern, Term) or not isinstance(value, Term):
        return True  # a variable that is left
    if pattern.functor != value.functor or len(pattern.args) != len(value.args):
        return False
    return all(_matches(one, other, bound) for one, other in zip(pattern.args, value.args, strict=True))


def _called(clause: Term) -> Iterator[Term]:
    """The goals in the body of a clause."""
    pending = [clause.body] if isinstance(clause, (Clause, AnnotatedDisjunction)) else []
    while pending:
        goal = pending.pop()
        if isinstance(goal, Term):
            if goal.functor in (",", ";", "\\+", "->", "not"):
                pending.extend(goal.args)
            else:
                yield goal


def _shown(term: object) -> object:
    if isinstance(term, Term) and term.functor == SLOT:
        return term.args[0]
    if isinstance(term, Term) and term.args:
        return term.with_args(*(_shown(argument) for argument in term.args)).with_probability(None)
    return term


def _unslotted(label: str) -> str:
    """A variable's label without the functor of slots."""
    while (start := label.find(f"{SLOT}(")) >= 0:
        stop = label.index(")", start)
        label = label[:start] + label[start + len(SLOT) + 1 : stop] + label[stop + 1 :]
    return label
