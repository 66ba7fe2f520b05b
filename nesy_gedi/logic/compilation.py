"""From a query form to a circuit: ground, check the structure, compile what fails, remember the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from problog.logic import Term, Var

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.budget import Budget, Watch
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.forms import SLOT, QueryForm
from nesy_gedi.logic.formula import FALSE, TRUE, Formula, children_of
from nesy_gedi.logic.grounding import GroundProgram, ground
from nesy_gedi.logic.hybrid import Extract, extract_circuit
from nesy_gedi.logic.obstacles import Obstacle, explain
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.structure import find_violations


@dataclass(frozen=True)
class Circuit:
    """A decomposable, deterministic formula with one root an answer.

    Attributes:
        formula: nodes and variables.
        answers: the answers as text, in order.
        roots: the node of each answer (joined with the evidence, where the program states any).
        evidence: the node of the evidence, TRUE when there is none.
        method: ``direct`` when ProbLog's ground program was a circuit already, ``branched`` when parts of it had to be
            branched on the values of choices, ``sdd`` when parts had to be compiled into SDDs.
        ground_s: seconds spent grounding when the circuit was made.
        compile_s: seconds spent checking and compiling.
        obstacles: what in the program keeps the ground program from being a circuit, the first few.
        cached: whether it came from the cache.
    """

    formula: Formula
    answers: tuple[str, ...]
    roots: tuple[int, ...]
    evidence: int
    method: str
    ground_s: float
    compile_s: float
    obstacles: tuple[Obstacle, ...] = ()
    cached: bool = field(default=False, compare=False)

    def size(self) -> tuple[int, int]:
        """Numbers of nodes and edges."""
        nodes = self.formula.reachable([*self.roots, self.evidence])
        return len(nodes), sum(len(children_of(self.formula.nodes[node])) for node in nodes)


def compile_form(
    program: Program,
    form: QueryForm,
    *,
    cache: GroundingCache | None = None,
    budget: Budget | None = None,
) -> Circuit:
    """The circuit of ``form``, from ``cache`` where it was made before.

    Raises:
        ProgramError: grounding failed, or no answer can be derived at all.
        BudgetError: grounding or compiling went past ``budget``.
    """
    key = None
    if cache is not None and not program.trusted:  # a trusted program may depend on files that the key does not hold
        key = cache.key(program.source.text, form.text, *form.slots)
        if (found := cache.load(key)) is not None:
            return replace(Circuit(**found), cached=True)
    started = time.perf_counter()
    watch = Watch(budget or Budget(), f"{program.source.name}, {form.text}")
    grounded = ground(program, [form.goal()], form.rules(), watch=watch)
    answers = _by_text(
        grounded, [(answer_text(form, term), node) for term, node in grounded.answers if not _is_open(term)]
    )
    if form.outputs:  # an answer whose proofs contradict themselves is none
        answers = {text: node for text, node in answers.items() if node != FALSE}
    ground_s = time.perf_counter() - started
    drop = bool(form.outputs)
    circuit = _to_circuit(program, grounded, answers, ground_s, watch, drop=drop)
    if not circuit.answers:
        raise ProgramError(
            f"no answer to {form.text} can be derived, whatever the networks say",
            where=program.source.name,
            hint="check the rules for this predicate; a missing rule or a failing comparison leaves nothing",
        )
    if cache is not None and key is not None:
        cache.store(key, circuit)
    return circuit


def compile_queries(program: Program, goals: Sequence[Term] | None = None, *, budget: Budget | None = None) -> Circuit:
    """The circuit of ``goals``, else of the program's own ``query/1`` lines (a plain ProbLog program)."""
    started = time.perf_counter()
    watch = Watch(budget or Budget(), program.source.name)
    grounded = ground(program, goals, watch=watch)
    answers = _by_text(grounded, [(str(term), node) for term, node in grounded.answers])
    return _to_circuit(program, grounded, answers, time.perf_counter() - started, watch)


def _by_text(grounded: GroundProgram, named: list[tuple[str, int]]) -> dict[str, int]:
    """The node of each answer; answers that read the same (0.3 and 0.1 + 0.2) are one."""
    nodes: dict[str, int] = {}
    for text, node in named:
        nodes[text] = grounded.formula.disjoin([nodes[text], node]) if text in nodes else node
    return nodes


def _to_circuit(
    program: Program,
    grounded: GroundProgram,
    answers: dict[str, int],
    ground_s: float,
    watch: Watch,
    *,
    drop: bool = False,
) -> Circuit:
    """The circuit of ``answers``; ``drop`` leaves out those that turn out to contradict themselves."""
    started = time.perf_counter()
    ordered = sorted(answers, key=_answer_order)
    asked = [grounded.formula.conjoin([answers[text], grounded.evidence]) for text in ordered]
    made = _compile(grounded.formula, [*asked, grounded.evidence], watch)
    formula, roots = made.formula, made.roots
    if drop and (never := [text for text, root in zip(ordered, roots, strict=False) if root == FALSE]):
        if grounded.has_evidence:  # an answer that only the evidence rules out remains one
            alone = _compile(grounded.formula, [answers[text] for text in never], watch).roots
            never = [text for text, root in zip(never, alone, strict=True) if root == FALSE]
        kept = [k for k, text in enumerate(ordered) if text not in set(never)]
        ordered, roots = [ordered[k] for k in kept], [*(roots[k] for k in kept), roots[-1]]
    return Circuit(
        formula,
        tuple(ordered),
        tuple(roots[:-1]),
        roots[-1] if grounded.has_evidence else TRUE,
        made.method,
        ground_s,
        time.perf_counter() - started,
        explain(program, grounded, [*asked, grounded.evidence], made.branched | made.compiled),
    )


def _compile(formula: Formula, roots: list[int], watch: Watch) -> Extract:
    """The circuit of ``roots``."""
    violating = {violation.node for violation in find_violations(formula, roots)}
    watch.check(lambda: "looking for what is no circuit")
    return extract_circuit(formula, roots, violating, watch)


def answer_text(form: QueryForm, term: Term) -> str:
    """The outputs of ``form`` in a derived ``term``: ``7``, ``7,odd`` for two outputs, ``true`` for none."""
    bound: dict[str, str] = {}

    def match(pattern: object, value: object) -> None:
        if isinstance(pattern, Var):
            bound[pattern.name] = str(value)
        elif isinstance(pattern, Term) and isinstance(value, Term) and pattern.functor != SLOT:
            for one, other in zip(pattern.args, value.args, strict=False):
                match(one, other)

    match(form.goal(), term)
    return ",".join(bound[name] for name in form.outputs) or "true"


def same_number(text: str, answers: tuple[str, ...]) -> str | None:
    """An answer that is the same number in another type (``2`` and ``2.0``), which Prolog keeps apart."""
    try:
        value = float(text)
    except ValueError:
        return None
    for answer in answers:
        try:
            if answer != text and float(answer) == value:
                return answer
        except ValueError:
            continue
    return None


def _is_open(term: Term) -> bool:
    """Whether a goal came back with unbound outputs: ProbLog's way to say that it has no proof."""
    return not all(isinstance(argument, Term) and argument.is_ground() for argument in term.args)


def _answer_order(text: str) -> tuple[int, tuple[float, ...], str]:
    """Numbers, and several of them, by their values."""
    try:
        return 0, tuple(map(float, text.split(","))), text
    except ValueError:
        return 1, (), text
