"""All worlds of a program, one by one: what explanations, samples, posteriors and marginals are compared with.

Truth is read off ProbLog's ground formula before anything is compiled; probabilities come from the distributions given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor
from worlds import Built, built_formulas, to_circuit, truth_tables

from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.choices import ChoiceCircuit
from nesy_gedi.logic.compilation import Circuit, answer_text
from nesy_gedi.logic.formula import TRUE, And, Constant, Formula, Learned, Neural, Not, Or, Variable
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.reasoner import Reasoner


@dataclass(frozen=True)
class Enumeration:
    """Every world over the choices of a circuit.

    Attributes:
        worlds: values of the choices, (worlds, choices).
        log_p: log-probability of each world, (worlds, batch).
        truth: for each answer - the last is the evidence alone - in which worlds it holds with the evidence.
    """

    worlds: Tensor
    log_p: Tensor
    truth: Tensor

    def log_joint(self, answer: int) -> Tensor:
        """Log-probabilities of the worlds, -inf where ``answer`` does not hold; (worlds, batch)."""
        return torch.where(self.truth[answer][:, None], self.log_p, -torch.inf)

    def best(self, answer: int) -> Tensor:
        return self.log_joint(answer).amax(0)

    def total(self, answer: int) -> Tensor:
        return self.log_joint(answer).exp().sum(0)

    def conditional(self, answer: int) -> Tensor:
        """Probabilities of the worlds given ``answer``, (worlds, batch); zero where it is impossible."""
        total = self.total(answer)
        return self.log_joint(answer).exp() / torch.where(total > 0.0, total, 1.0)

    def marginal(self, answer: int, choice: int, values: int) -> Tensor:
        """Probabilities of a choice's values given ``answer``, (batch, values)."""
        given = self.conditional(answer)
        return torch.stack([given[self.worlds[:, choice] == value].sum(0) for value in range(values)], 1)

    def number(self, worlds: Tensor) -> Tensor:
        """The row of ``self.worlds`` that each of ``worlds``, (..., choices), is."""
        sizes = self.worlds.amax(0) + 1
        weights = torch.cat([sizes.flip(0).cumprod(0).flip(0)[1:], torch.ones(1, dtype=torch.long)])
        return (worlds * weights).sum(-1) if len(sizes) else worlds.new_zeros(worlds.shape[:-1])


def _enumerate(
    formula: Formula, roots: Sequence[int], order: Sequence[int], weights: Mapping[int, Tensor]
) -> Enumeration:
    """Worlds over the variables ``order``, with ``weights`` (values, batch) each; other variables must not matter."""
    tables = truth_tables(formula, roots)
    sizes = [len(formula.variables[v].weights) for v in order]
    grids = [torch.arange(size) for size in sizes]
    worlds = torch.cartesian_prod(*grids).reshape(-1, len(order)) if order else torch.zeros(1, 0, dtype=torch.long)
    where = [0] * len(formula.variables)  # what does not matter may have any value
    log_p = sum((weights[v][worlds[:, k]] for k, v in enumerate(order)), torch.zeros(len(worlds), 1))
    truth = []
    for root in roots:
        index = tuple(worlds[:, order.index(v)] if v in order else torch.tensor(where[v]) for v in range(len(where)))
        truth.append(torch.from_numpy(tables[root].copy())[index].expand(len(worlds)))
    return Enumeration(worlds, log_p, torch.stack(truth))


def enumerate_reasoner(made: Reasoner, log_p: Mapping[object, Tensor]) -> Enumeration:
    """Every world of a reasoner over a query form or over the program's own queries."""
    goals = [made.form.goal()] if made.form.outputs or made.form.slots else None
    grounded = ground(made.program, goals, made.form.rules() if goals else ())
    formula = grounded.formula
    nodes: dict[str, int] = {}
    for term, node in grounded.answers:
        if goals is None or all(a.is_ground() for a in term.args if hasattr(a, "is_ground")):
            text = answer_text(made.form, term) if goals else str(term)
            nodes[text] = formula.disjoin([nodes[text], node]) if text in nodes else node
    roots = [formula.conjoin([nodes[text], grounded.evidence]) for text in made.answers] + [grounded.evidence]
    order = list(made._choice_circuit._first_of)
    batch = next((each.shape[0] for each in log_p.values()), 1)

    def weight(what: object) -> Tensor:
        if isinstance(what, Neural):
            return log_p[(what.network, *what.inputs)][:, what.entry]
        if isinstance(what, Learned):
            return made.learned(what.group, torch.float64)[what.entry].detach().expand(batch)
        assert isinstance(what, Constant)
        return torch.tensor(what.log()).expand(batch)

    weights = {v: torch.stack([weight(w) for w in formula.variables[v].weights]) for v in order}
    return _enumerate(formula, roots, order, weights)


@dataclass(frozen=True)
class Case:
    """A random circuit over choices with random distributions, and its worlds."""

    circuit: ChoiceCircuit
    rows: Tensor
    every: Enumeration


def distributions_of(sizes: Sequence[int], batch: int, seed: int, *, zeros: bool) -> list[Tensor]:
    """Log-probabilities (values, batch); with ``zeros`` a third of the values is impossible, some are certain."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        logits = torch.randn(size, batch, generator=generator)
        if zeros:
            gone = torch.rand(size, batch, generator=generator) < 1 / 3
            gone[torch.randint(size, (batch,), generator=generator), torch.arange(batch)] = False
            logits = logits.masked_fill(gone, -torch.inf)
        found.append(logits.log_softmax(0))
    return found


def case_of(built: Built, log_p: Sequence[Tensor], *, with_evidence: bool) -> Case:
    """The last nodes of a formula as answers, one of them as the evidence where there is to be some."""
    formula, roots = built.formula, built.roots
    evidence = roots[0] if with_evidence else TRUE
    joint = [*(formula.conjoin([root, evidence]) for root in roots[1:]), evidence]
    compiled, numbers = to_circuit(formula, joint)
    names = tuple(map(str, range(len(joint) - 1)))
    circuit = Circuit(compiled, names, tuple(numbers[:-1]), numbers[-1], "direct", 0.0, 0.0)
    starts = torch.tensor([0, *built.sizes]).cumsum(0).tolist()
    sources = [range(start, start + size) for start, size in zip(starts, built.sizes, strict=False)]
    order = list(range(len(built.sizes)))
    every = _enumerate(formula, joint, order, dict(enumerate(log_p)))
    return Case(ChoiceCircuit(circuit, order, sources, Budget()), torch.cat(list(log_p)), every)


def negated_case(built: Built, log_p: Sequence[Tensor]) -> Case:
    """A formula's last nodes under a further choice: "x and not the node, or not x and the node", with that "not" kept.

    Reading and compiling leave few negations in a circuit, so here they are put in by hand.
    """
    formula, x = built.formula, len(built.sizes)
    formula.variables.append(Variable("x", (Constant(0.5), Constant(0.5))))
    compiled, numbers = to_circuit(formula, built.roots)
    true, false = compiled.literal(x, 1), compiled.literal(x, 2)
    joint, roots = [], []
    for node, number in zip(built.roots, numbers, strict=True):
        swapped = [formula.conjoin([formula.literal(x, 1), formula.negate(node)])]
        joint.append(formula.disjoin([*swapped, formula.conjoin([formula.literal(x, 2), node])]))
        denied = compiled._add(Not(number)) if isinstance(compiled.nodes[number], And | Or) else compiled.negate(number)
        parts = [compiled.plain_and([true, denied]), compiled.plain_and([false, number])]
        roots.append(compiled.plain_or(parts))
    circuit = Circuit(compiled, tuple(map(str, range(len(roots)))), tuple(roots), TRUE, "direct", 0.0, 0.0)
    sizes = [*built.sizes, 2]
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    sources = [range(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    order = list(range(len(sizes)))
    every = _enumerate(formula, [*joint, TRUE], order, dict(enumerate(log_p)))
    return Case(ChoiceCircuit(circuit, order, sources, Budget()), torch.cat(list(log_p)), every)


@st.composite
def cases(draw: st.DrawFn, batch: int = 3, max_variables: int = 5) -> Case:
    built = draw(built_formulas(max_variables=max_variables))
    log_p = distributions_of(built.sizes, batch, draw(st.integers(0, 2**20)), zeros=draw(st.booleans()))
    if draw(st.integers(0, 2)) == 0:
        own = distributions_of([2], batch, draw(st.integers(0, 2**20)), zeros=False)
        return negated_case(built, [*log_p, *own])
    return case_of(built, log_p, with_evidence=draw(st.booleans()))
