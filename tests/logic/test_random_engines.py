"""Random programs and circuits on every engine against sums over all worlds, and gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from fuzzing import examples
from hypothesis import given, note
from hypothesis import strategies as st
from tolerances import EXACT, GRADIENT
from torch import Tensor
from worlds import Built, built_formulas, input_rows, plan_of, probability, to_circuit

from nesy_gedi.logic.compilation import Circuit
from nesy_gedi.logic.engines import Request, find_engine
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.formula import TRUE, Formula, Variable
from nesy_gedi.logic.formula import Learned as Entry
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

DOMAIN = "abc"
SIZES = (3, 3, 2, 2, 2, 3, 2)
"""Values of c(X), c(Y), b(X), b(Y), w, u, v."""

HEAD = """
nn(cnet, [I], V, [a, b, c]) :: c(I, V).
nn(bnet, [I]) :: b(I).
0.3::w. 0.2::u(1); 0.5::u(2). t(0.4)::v.
helper(I) :- c(I, a), w.
helper(I) :- b(I).
same(X, Y) :- c(X, S), c(Y, S).
q(X, Y, sure) :- c(X, b).
"""

World = tuple[np.ndarray, ...]
"""The value of each variable, broadcast over all worlds."""

ATOMS: dict[str, Callable[[World], np.ndarray]] = {
    **{f"c({i}, {v})": lambda w, i=i, v=v: w["XY".index(i)] == DOMAIN.index(v) for i in "XY" for v in DOMAIN},
    **{f"b({i})": lambda w, i=i: w[2 + "XY".index(i)] == 1 for i in "XY"},
    **{
        f"helper({i})": lambda w, i=i: ((w["XY".index(i)] == 0) & (w[4] == 1)) | (w[2 + "XY".index(i)] == 1)
        for i in "XY"
    },
    "same(X, Y)": lambda w: w[0] == w[1],
    "w": lambda w: w[4] == 1,
    "u(1)": lambda w: w[5] == 1,
    "u(2)": lambda w: w[5] == 2,
    "v": lambda w: w[6] == 1,
}
"""What each atom says about a world, written down once more, in Python."""

Goal = tuple[str, bool]
Rule = tuple[str, tuple[Goal, ...]]


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    goal = st.tuples(st.sampled_from(sorted(ATOMS)), st.sampled_from([True, True, False]))
    body = st.lists(goal, min_size=1, max_size=3, unique_by=lambda g: g[0]).map(tuple)
    return draw(st.lists(st.tuples(st.sampled_from(["yes", "no", "2"]), body), min_size=1, max_size=4))


def program_text(chosen: Sequence[Rule]) -> str:
    bodies = [(answer, [goal if holds else "\\+ " + goal for goal, holds in body]) for answer, body in chosen]
    lines = [f"q(X, Y, {answer}) :- {', '.join(goals)}." for answer, goals in bodies]
    return HEAD + "\n".join(lines)


def truth(chosen: Sequence[Rule]) -> dict[str, np.ndarray]:
    """Answer -> the worlds in which it holds."""
    world = tuple(np.indices(SIZES))
    found = {"sure": world[0] == 1}
    for answer, body in chosen:
        holds = np.logical_and.reduce([ATOMS[goal](world) == positive for goal, positive in body])
        found[answer] = found.get(answer, np.zeros(SIZES, dtype=bool)) | holds
    return found


def drawn_logits(seed: int, rows: int = 4) -> list[Tensor]:
    """Of c(X), c(Y), b(X), b(Y); one row has impossible values, one is certain."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in SIZES[:4]:
        logits = torch.randn(rows, size, generator=generator)
        logits[-2, 0] = -torch.inf
        logits[-1, 1:] = -torch.inf
        found.append(logits.requires_grad_())
    return found


def world_sums(tables: Sequence[np.ndarray], logits: Sequence[Tensor], v: Tensor) -> Tensor:
    """Probabilities (rows, answers)."""
    rows = logits[0].shape[0]
    stated = [torch.tensor([0.7, 0.3]), torch.tensor([0.3, 0.2, 0.5]), torch.stack([1.0 - v, v])]
    distributions = [x.softmax(1).T for x in logits] + [x[:, None].expand(-1, rows) for x in stated]
    return torch.stack([probability(table, distributions) for table in tables], 1)


def asked(reasoner: Reasoner, logits: Sequence[Tensor]) -> Tensor:
    keys = [("cnet", "X"), ("cnet", "Y"), ("bnet", "X"), ("bnet", "Y")]
    return reasoner({k: x.log_softmax(1) for k, x in zip(keys, logits, strict=True)}).exp()


def combined_gradient(result: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    if not result.requires_grad:
        return [torch.zeros_like(x) for x in leaves]
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((result * weights).sum(), leaves, allow_unused=True, materialize_grads=True)
    return [x.double() for x in found]


@examples(300)
@given(rules(), st.integers(0, 2**20))
def test_programs_on_both_circuit_engines_are_sums_over_worlds(chosen: list[Rule], seed: int) -> None:
    text = program_text(chosen)
    note(text)
    reasoner = Reasoner(Program(text), "q(X, Y, Answer)", slots=("X", "Y"))
    tables = truth(chosen)
    possible = {answer for answer, table in tables.items() if table.any()}
    assert set(reasoner.answers) == possible
    logits = drawn_logits(seed)
    learned = list(reasoner.learned.parameters())
    odds = reasoner.learned.logits[0] if learned else torch.tensor([0.4, 0.6]).log()
    expected = world_sums([tables[a] for a in reasoner.answers], logits, odds.double().softmax(0)[0])
    leaves = [*logits, *learned]
    wanted = combined_gradient(expected, leaves)
    for name in ("exact", "klay"):
        result = asked(reasoner.with_engine(name), logits)
        torch.testing.assert_close(result, expected, atol=EXACT, rtol=0.0, msg=lambda m, name=name: f"{name}: {m}")
        found = combined_gradient(result, leaves)
        for k, (one, other) in enumerate(zip(found, wanted, strict=True)):
            # Learned probabilities are kept, and get their gradient, in single precision.
            tolerance = GRADIENT if k < len(logits) else 1e-5
            torch.testing.assert_close(one, other, atol=tolerance, rtol=0.0, msg=lambda m, name=name: f"{name}: {m}")


def formula_request(formula: Formula, roots: Sequence[int], sizes: Sequence[int]) -> Request:
    """A request about a formula that comes from no program: entry v of variable k is in a row of its own."""
    weighted = Formula([Variable(f"v{k}", tuple(Entry(k, v) for v in range(size))) for k, size in enumerate(sizes)])
    weighted.nodes, weighted.scopes = formula.nodes, formula.scopes
    circuit = Circuit(weighted, tuple(map(str, roots)), tuple(roots), TRUE, "direct", 0.0, 0.0)
    first = {(k,): input_rows(sizes)(k, 0) for k in range(len(sizes))}
    return Request(Program("a."), QueryForm("a", (), ()), circuit, tuple(roots), first, {}, sum(sizes))


def formula_logits(sizes: Sequence[int], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        logits = torch.randn(size, 4, generator=generator)
        logits[0, 2] = -torch.inf
        logits[1:, 3] = -torch.inf
        found.append(logits.requires_grad_())
    return found


@examples(200)
@given(built_formulas(max_variables=5), st.integers(0, 2**20))
def test_circuits_on_klay_are_sums_over_worlds(built: Built, seed: int) -> None:
    formula, roots = to_circuit(built.formula, built.roots)
    logits = formula_logits(built.sizes, seed)
    log_p = torch.cat([x.log_softmax(0) for x in logits])
    found = find_engine("klay")(formula_request(formula, roots, built.sizes))(log_p).exp()
    own = plan_of(formula, roots, built.sizes)(log_p).exp()
    expected = torch.stack([probability(table, [x.softmax(0) for x in logits]) for table in built.meant])
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=0.0)
    torch.testing.assert_close(own, expected, atol=EXACT, rtol=0.0)
    for one, other in zip(combined_gradient(found, logits), combined_gradient(expected, logits), strict=True):
        torch.testing.assert_close(one, other, atol=GRADIENT, rtol=0.0)


@pytest.mark.parametrize("engine", ["exact", "klay", "deepproblog"])
@pytest.mark.parametrize(
    "body", ["c(X, a), \\+ c(Y, a), w", "\\+ helper(X), same(X, Y)", "b(X), u(2), v"], ids=["choices", "not", "facts"]
)
def test_gradients_by_finite_differences(engine: str, body: str) -> None:
    text = HEAD + f"q(X, Y, yes) :- {body}. q(X, Y, yes) :- b(Y), \\+ w."
    reasoner = Reasoner(Program(text), "q(X, Y, Answer)", slots=("X", "Y"), engine=engine)
    logits = [x[:2].detach().requires_grad_() for x in drawn_logits(5)]

    def answers(*given_logits: Tensor) -> Tensor:
        return asked(reasoner, given_logits)

    assert torch.autograd.gradcheck(answers, logits, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", ["exact", "klay", "deepproblog"])
def test_gradients_of_learned_probabilities_by_finite_differences(engine: str) -> None:
    reasoner = Reasoner(
        Program(HEAD + "q(X, Y, yes) :- v, b(X). q(X, Y, yes) :- \\+ v, c(Y, a)."),
        "q(X, Y, Answer)",
        slots=("X", "Y"),
        engine=engine,
    ).double()
    logits = [x[:2].detach() for x in drawn_logits(7)]
    (learned,) = reasoner.learned.parameters()

    def total() -> Tensor:
        return asked(reasoner, logits)[:, reasoner.index("yes")].sum()

    (gradient,) = torch.autograd.grad(total(), [learned])
    for k in range(len(learned)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                learned[k] += step
                values.append(float(total()))
                learned[k] -= step
        assert float(gradient[k]) == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-7)
