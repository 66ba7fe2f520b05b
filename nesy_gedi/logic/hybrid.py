"""A ground formula with violations becomes a circuit: what is fine is copied, only what is not is compiled.

A conjunction is taken apart into groups that share no variable, a disjunction into groups that share none or that
exclude each other; each group is a part of its own. In a part that is left, whatever the rest sees as one variable (a
module) is compiled by itself and stands as a variable while the rest is. The rest is branched on the values of one
variable at a time (Shannon's expansion, as in decision-DNNF compilers; Huang and Darwiche, "The Language of Search",
2007), and where that takes too much work, compiled into an SDD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from typing import NamedTuple

from nesy_gedi.errors import BudgetError
from nesy_gedi.logic.budget import Budget, Watch
from nesy_gedi.logic.formula import (
    FALSE,
    TRUE,
    And,
    Constant,
    Formula,
    Literal,
    Not,
    Or,
    Truth,
    Variable,
    children_of,
    group_overlapping,
    values_of,
)
from nesy_gedi.logic.modules import Module, count_models, covers_all_worlds, find_modules, worlds
from nesy_gedi.logic.negation import Negation
from nesy_gedi.logic.rewriting import compacted, merged, rewrite
from nesy_gedi.logic.sdd import SddCompiler
from nesy_gedi.logic.structure import ExclusionProver

BRANCHING_BASE = 2_000
"""Nodes that branching may rewrite in a part, however small, before the part is compiled into an SDD."""

BRANCHING_FACTOR = 30
"""Nodes that branching may rewrite for every node of the part."""

BRANCHING_LIMIT = 300_000
"""Nodes that branching may rewrite in a part, however large."""

PARTITION_LIMIT = 400
"""A disjunction of more alternatives than this is not split by pairwise exclusion."""

Wanted = Generator[int, int, int]
"""Yields nodes of the source, is sent their circuits, and returns the circuit of a node."""


class Extract(NamedTuple):
    """A circuit and how it came about.

    Attributes:
        formula: without violations; it holds what the roots need and nothing else.
        roots: the numbers of the roots in it.
        branched: nodes of the source that were branched on the values of variables.
        compiled: nodes of the source that went through an SDD, whole or in part.
    """

    formula: Formula
    roots: list[int]
    branched: frozenset[int]
    compiled: frozenset[int]

    @property
    def method(self) -> str:
        """``direct`` where the source was a circuit already, else how what was none became one."""
        return "sdd" if self.compiled else "branched" if self.branched else "direct"


def extract_circuit(source: Formula, roots: list[int], violating: set[int], budget: Budget | Watch) -> Extract:
    """The circuit of ``roots``.

    Args:
        source: grows by what compiling needs; its variables are left as they are.
        violating: the nodes below ``roots`` that are not decomposable or not deterministic
            (:func:`nesy_gedi.logic.structure.find_violations`).

        budget: for all parts together.

    Raises:
        BudgetError: compiling went past ``budget``.
    """
    watch = budget if isinstance(budget, Watch) else Watch(budget, "a formula")
    compiler = _Hybrid(source, roots, violating, watch)
    variables = len(source.variables)
    try:
        found = [compiler.circuit(root) for root in roots]
    finally:
        del source.variables[variables:]
    target = compiler.target
    if violating:  # attempts that were given up have left nodes behind
        target, found = compacted(target, found)
    return Extract(target, found, frozenset(compiler.branched - compiler.compiled), frozenset(compiler.compiled))


class _TooMuchWork(Exception):
    """Branching has used up what it may rewrite."""


class _Hybrid:
    def __init__(self, source: Formula, roots: Sequence[int], violating: set[int], watch: Watch) -> None:
        self.source = source
        self.target = Formula(list(source.variables))
        self.branched: set[int] = set()
        self.compiled: set[int] = set()
        self._checked = set(source.reachable(roots))  # what else the source holds was never looked at
        self._violating = violating
        self._watch = watch
        self._prover = ExclusionProver(source)
        self._negation = Negation(self.target)
        self._done: dict[int, int] = {}
        self._proven: set[int] = set()  # circuits among the nodes that were added
        self._modules: dict[int, tuple[int, ...]] = {}  # variable that stands for a module -> its nodes
        self._origin: dict[int, int] = {}  # added node -> the checked node that it is a part of
        self._work: int | None = None  # what branching may still rewrite, None while nothing is branched

    def circuit(self, root: int) -> int:
        """The node of ``target`` that is equivalent to ``root`` of ``source``."""
        # Generators in place of recursion: a deep program is as deep a formula.
        numbers, running = [root], [self._copy(root)]
        sent: int | None = None
        gave_up: _TooMuchWork | None = None
        while running:
            try:
                if gave_up is not None:
                    error, gave_up = gave_up, None
                    wanted = running[-1].throw(error)
                else:
                    wanted = next(running[-1]) if sent is None else running[-1].send(sent)
            except StopIteration as finished:
                running.pop()
                sent = self._done[numbers.pop()] = finished.value
            except _TooMuchWork as error:
                running.pop()
                numbers.pop()
                gave_up = error
            else:
                sent = self._done.get(wanted)
                if sent is None:
                    numbers.append(wanted)
                    running.append(self._copy(wanted))
        return self._done[root]

    def _copy(self, number: int) -> Wanted:
        what = self.source.nodes[number]
        if isinstance(what, Truth):
            return TRUE if what.value else FALSE
        if isinstance(what, Literal):
            return (yield from self._literal(what))
        if isinstance(what, Not):
            if self._is_sound(what.child):
                return self._negation((yield what.child))
            return (yield from self._deny(number, what.child))
        if self._is_sound(number):
            children = []
            for child in what.children:
                children.append((yield child))
            return self.target.plain_and(children) if isinstance(what, And) else merged(self.target, Or, children)
        return (yield from (self._conjoin(number) if isinstance(what, And) else self._disjoin(number)))

    def _is_sound(self, number: int) -> bool:
        """Whether the children's circuits may be multiplied or added as they are."""
        if number in self._proven:
            return True
        if number in self._checked:
            return number not in self._violating
        what = self.source.nodes[number]
        if isinstance(what, And):
            return len(group_overlapping(self._scoped(what.children))) == len(what.children)
        if isinstance(what, Or):
            self._prover.prepare(what.children)
            return self._prover.all_exclude(what.children)
        return True

    def _scoped(self, nodes: Sequence[int]) -> list[tuple[int, int]]:
        return [(self.source.scopes[node], node) for node in nodes]

    def _parts(self, number: int) -> list[int]:
        """The children of a conjunction or disjunction, those of the same kind taken apart as well."""
        kind = type(self.source.nodes[number])
        found: dict[int, None] = {}
        pending = [number]
        seen = set(pending)
        while pending:
            node = pending.pop()
            what = self.source.nodes[node]
            if isinstance(what, kind):
                fresh = [child for child in reversed(children_of(what)) if child not in seen]
                seen.update(fresh)
                pending.extend(fresh)
            else:
                found[node] = None
        return list(found)

    def _grouped(self, number: int, groups: list[list[int]]) -> list[int]:
        kind = And if isinstance(self.source.nodes[number], And) else Or
        made = [merged(self.source, kind, group) for group in groups]
        for node in made:
            self._is_part_of(node, number)
        return made

    def _is_part_of(self, node: int, number: int) -> None:
        if node not in self._checked:
            self._origin.setdefault(node, self._origin_of(number))

    def _origin_of(self, number: int) -> int:
        return self._origin.get(number, number)

    def _conjoin(self, number: int) -> Wanted:
        groups = group_overlapping(self._scoped(self._parts(number)))
        if len(groups) == 1:
            return (yield from self._part(number))
        children = []
        for node in self._grouped(number, groups):
            children.append((yield node))
        return self.target.plain_and(children)

    def _disjoin(self, number: int) -> Wanted:
        parts = self._parts(number)
        groups = group_overlapping(self._scoped(parts))
        if len(groups) > 1:
            both = []
            for node in self._grouped(number, groups):
                both.append(((yield node), (yield self._negated(node, number))))
            return self._first(both)
        if len(parts) <= PARTITION_LIMIT:
            self._prover.prepare(parts)
            groups = self._prover.partition(parts)
            if len(groups) > 1:
                children = []
                for node in self._grouped(number, groups):
                    children.append((yield node))
                return merged(self.target, Or, children)
        return (yield from self._part(number))

    def _deny(self, number: int, denied: int) -> Wanted:
        """The negation of a node that is not sound."""
        groups = group_overlapping(self._scoped(self._parts(denied)))
        if len(groups) == 1:
            return (yield from self._part(number))
        both = []
        for node in self._grouped(denied, groups):
            both.append(((yield self._negated(node, denied)), (yield node)))
        if isinstance(self.source.nodes[denied], And):
            return self._first(both)
        return self.target.plain_and([denial for denial, _ in both])

    def _negated(self, node: int, number: int) -> int:
        result = self.source.negate(node)
        self._is_part_of(result, number)
        return result

    def _first(self, both: Sequence[tuple[int, int]]) -> int:
        """One of several independent nodes holds, each given with its negation; balanced, so that it stays shallow."""
        if len(both) == 1:
            return both[0][0]
        half = len(both) // 2
        none = [denial for _, denial in both[:half]]
        later = self.target.plain_and([*none, self._first(both[half:])])
        return self.target.plain_or([self._first(both[:half]), later])

    def _part(self, number: int) -> Wanted:
        """A node, or the negation of one, that cannot be taken apart into groups."""
        if self._work is not None:
            return (yield from self._branch(number))
        if modules := find_modules(self.source, [self._unsigned(number)], self._prover):
            return (yield (yield from self._abstract(number, modules)))
        size = len(self.source.reachable([number]))
        self._work = min(BRANCHING_BASE + BRANCHING_FACTOR * size, BRANCHING_LIMIT)
        try:
            result = yield from self._branch(number)
        except _TooMuchWork:
            pass
        else:
            self.branched.add(self._origin_of(self._unsigned(number)))
            return self._settled(result)
        finally:
            self._work = None
        self.compiled.add(self._origin_of(self._unsigned(number)))
        try:
            diagram = SddCompiler(self.source, self.source, self._watch.rest()).compile(number)
        except BudgetError as error:
            named = error.where
            self._watch.check(lambda: f"compiling {named}")  # says the limit as it was set, not what was left of it
            raise BudgetError(f"{error.message}: {named}", where=self._watch.what, hint=error.hint) from error
        self._proven.update(self.source.reachable([diagram]))
        return self._settled((yield diagram))

    def _settled(self, circuit: int) -> int:
        """A circuit, or TRUE or FALSE where it holds in all worlds or in none."""
        models = count_models(self.target, [circuit])[circuit]
        if models == worlds(self.target, self.target.scopes[circuit]):
            return TRUE
        return circuit if models else FALSE

    def _unsigned(self, number: int) -> int:
        what = self.source.nodes[number]
        return what.child if isinstance(what, Not) else number

    def _abstract(self, number: int, modules: list[Module]) -> Generator[int, int, int]:
        """The node with a variable in the place of each module."""
        changed: dict[int, int] = {}
        for module in modules:
            circuits = []
            for node in module.nodes:
                circuits.append((yield node))
            # Nothing is left for "none of them" where the nodes cover all worlds; one node needs a second value.
            rest = 0 if len(circuits) > 1 and covers_all_worlds(self.target, circuits) else 1
            fresh = len(self.source.variables)
            values = (Constant(0.0),) * (len(circuits) + rest)
            self.source.variables.append(Variable(self.source.label(module.scope), values))
            self._modules[fresh] = module.nodes
            for value, node in enumerate(module.nodes):
                changed[node] = self.source.literal(fresh, 1 << value)
        result = rewrite(self.source, number, changed)
        self._is_part_of(self._unsigned(result), self._unsigned(number))
        self._is_part_of(result, self._unsigned(number))
        return result

    def _literal(self, literal: Literal) -> Wanted:
        nodes = self._modules.get(literal.variable)
        if nodes is None:
            return self.target.literal(literal.variable, literal.mask)
        if not literal.mask >> len(nodes) & 1:
            children = []
            for value in values_of(literal.mask):
                children.append((yield nodes[value]))
            return self.target.plain_or(children)
        denied = self.source.plain_or([node for value, node in enumerate(nodes) if not literal.mask >> value & 1])
        self._proven.add(denied)
        return (yield self.source.negate(denied))

    def _branch(self, number: int) -> Wanted:
        """Shannon's expansion over one variable."""
        variable, blocks = self._choose(number)
        masks: dict[int, int] = {}  # circuit -> the values that lead to it
        for block in blocks:
            rest = self._given_block(number, variable, block)
            self._is_part_of(rest, self._unsigned(number))
            circuit = yield rest
            masks[circuit] = masks.get(circuit, 0) | block
        branches = []
        for circuit, mask in masks.items():
            if circuit != FALSE:
                branches.append(self.target.plain_and([(yield self.source.literal(variable, mask)), circuit]))
        return self.target.plain_or(branches)

    def _given_block(self, number: int, variable: int, block: int) -> int:
        def told(literal: Literal) -> int:
            return TRUE if literal.mask & block else FALSE

        changed: dict[int, int] = {}
        rest = rewrite(self.source, number, changed, scope=1 << variable, literal=told)
        self._spend(len(changed))
        return rest

    def _spend(self, work: int) -> None:
        assert self._work is not None
        self._watch.step(len(self.target), lambda: "branching on the values of choices")
        self._work -= work
        if self._work < 0:
            raise _TooMuchWork

    def _choose(self, number: int) -> tuple[int, list[int]]:
        """The variable that most parts share, and its values in blocks that no literal tells apart."""
        order = self.source.reachable([number])
        self._spend(len(order))
        shared: Counter[int] = Counter()
        for part in self._parts(self._unsigned(number)):
            shared.update(values_of(self.source.scopes[part]))
        stated: Counter[int] = Counter()
        blocks: dict[int, list[int]] = {}
        for node in order:
            what = self.source.nodes[node]
            if isinstance(what, Literal):
                before = blocks.get(what.variable) or [self.source.variables[what.variable].full]
                blocks[what.variable] = [p for b in before for p in (b & what.mask, b & ~what.mask) if p]
            else:
                stated.update(w.variable for c in children_of(what) if isinstance(w := self.source.nodes[c], Literal))
        best = max(shared, key=lambda v: (shared[v], stated[v], -len(blocks[v]), -v))
        return best, blocks[best]
