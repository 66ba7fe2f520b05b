"""A circuit in plain operations gives what the reasoner gives: in torch, after torch.export, and in ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from fuzzing import examples
from hypothesis import given, note
from hypothesis import strategies as st
from test_random_engines import HEAD, Rule, asked, drawn_logits, program_text, rules
from tolerances import EXACT
from torch import Tensor

from nesy_gedi.logic.circuits import IMPOSSIBLE
from nesy_gedi.logic.exported_circuit import ExportedCircuit, log_mean, log_not
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.bundled import ProgramFile, bundled_programs
from nesy_gedi.training.recipe import load_recipe

SINGLE_PRECISION = 1e-6


def drawn(reasoner: Reasoner, rows: int, dtype: torch.dtype) -> list[Tensor]:
    """Log-probabilities for every input; one row is certain, one has impossible values."""
    generator = torch.Generator().manual_seed(4)
    found = []
    for item in reasoner.inputs:
        logits = 3.0 * torch.randn(rows, len(item.domain), generator=generator, dtype=torch.float64)
        logits[-1, 1:] = -torch.inf
        logits[-2, 0] = -torch.inf
        found.append(logits.log_softmax(1).to(dtype))
    return found


def compare(reasoner: Reasoner, given_log_p: Sequence[Tensor], tolerance: float) -> Tensor:
    """Exported against the reasoner's own, in the inputs' precision: probabilities, and which of them are exactly zero."""
    dtype = given_log_p[0].dtype if given_log_p else torch.float64
    keys = [(item.network, *item.slots) for item in reasoner.inputs]
    arguments = list(given_log_p) or [torch.zeros(3, 1, dtype=dtype)]
    with torch.no_grad():
        expected = reasoner(dict(zip(keys, given_log_p, strict=True)), batch=len(arguments[0]))
        found = ExportedCircuit(reasoner, dtype)(*arguments)
    assert found.dtype == dtype
    assert torch.equal(found == -torch.inf, expected == -torch.inf)
    torch.testing.assert_close(found.exp(), expected.exp(), atol=tolerance, rtol=0.0)
    possible = expected > -torch.inf
    torch.testing.assert_close(found[possible], expected[possible], atol=tolerance, rtol=10 * tolerance)
    return found


BUNDLED = [pytest.param(program, id=program.name) for program in bundled_programs()]


@pytest.mark.parametrize("program", BUNDLED)
def test_every_bundled_program(program: ProgramFile) -> None:
    recipe = load_recipe(program.recipe)
    reasoner = Reasoner(Program.load(program.path), recipe.query, slots=recipe.slots or None)
    compare(reasoner, drawn(reasoner, 6, torch.float64), EXACT)
    compare(reasoner, drawn(reasoner, 6, torch.float32), SINGLE_PRECISION)


@examples(150)
@given(rules(), st.integers(0, 2**20))
def test_random_programs(chosen: list[Rule], seed: int) -> None:
    text = program_text(chosen)
    note(text)
    reasoner = Reasoner(Program(text), "q(X, Y, Answer)", slots=("X", "Y"))
    logits = [each.detach() for each in drawn_logits(seed)]
    expected = asked(reasoner, logits).detach()
    keys = [("cnet", "X"), ("cnet", "Y"), ("bnet", "X"), ("bnet", "Y")]
    by_key = dict(zip(keys, logits, strict=True))
    found = ExportedCircuit(reasoner, torch.float64)(
        *(by_key[item.network, *item.slots].log_softmax(1) for item in reasoner.inputs)
    )
    torch.testing.assert_close(found.exp(), expected, atol=EXACT, rtol=0.0)


CASES = {
    "negation": HEAD + "q(X, Y, yes) :- \\+ helper(X), \\+ helper(Y). q(X, Y, no) :- helper(X), same(X, Y).",
    "evidence": HEAD + "q(X, Y, yes) :- b(X), u(2), v. q(X, Y, no) :- c(Y, a), w. evidence(w). evidence(\\+ v).",
    "one answer": HEAD + "q(X, Y, yes) :- c(X, S), c(Y, S).",
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, SINGLE_PRECISION)])
def test_evidence_negation_and_learned_probabilities(text: str, dtype: torch.dtype, tolerance: float) -> None:
    reasoner = Reasoner(Program(text), "q(X, Y, Answer)", slots=("X", "Y"))
    with torch.no_grad():
        for logits in reasoner.learned.parameters():
            logits.add_(torch.arange(len(logits), dtype=logits.dtype))  # not what the program says
    compare(reasoner, drawn(reasoner, 5, dtype), tolerance)


def test_evidence_that_is_impossible_makes_every_answer_so() -> None:
    text = "nn(net, [I], V, [a, b]) :: c(I, V). q(X, yes) :- c(X, a). q(X, no) :- c(X, b). evidence(c(other, b))."
    reasoner = Reasoner(Program(text), "q(X, Answer)")
    assert [item.slots for item in reasoner.inputs] == [("other",), ("X",)]
    certain = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    found = compare(reasoner, [certain, certain], EXACT)
    assert (found == -torch.inf).sum(1).tolist() == [2, 1]  # the first row's other image is no b


def test_a_program_that_asks_no_network() -> None:
    reasoner = Reasoner(Program("0.3::a. 0.4::b. q(1) :- a, b. q(2) :- \\+ a."), "q(Answer)")
    found = compare(reasoner, [], EXACT)
    assert found.shape == (3, 2)
    torch.testing.assert_close(found[0].exp(), torch.tensor([0.12, 0.7]), atol=EXACT, rtol=0.0)


@pytest.mark.parametrize(("dtype", "epsilon"), [(torch.float64, 2.3e-16), (torch.float32, 1.2e-7)])
def test_log_not_is_accurate_at_both_ends(dtype: torch.dtype, epsilon: float) -> None:
    x = -torch.logspace(-18 if dtype == torch.float64 else -12, 2, 4000, dtype=torch.float64)
    x = x[x.to(dtype) < -epsilon * 1e-8].to(dtype)
    found = log_not(x)
    reference = torch.tensor([_log_not_exactly(float(each)) for each in x], dtype=torch.float64)
    # Relative, both near log 1 and near log 0.
    error = (found.double() - reference).abs() / reference.abs().clamp_min(1e-300)
    tiny = reference.abs() < torch.finfo(dtype).tiny  # nothing is left of these in this precision
    assert float(error[~tiny].max()) < 40 * epsilon
    assert log_not(torch.zeros(1, dtype=dtype)).item() <= IMPOSSIBLE / 2
    assert log_not(torch.full((1,), IMPOSSIBLE, dtype=dtype)).item() == 0.0


def _log_not_exactly(x: float) -> float:
    return math.log(-math.expm1(x)) if x > -math.log(2.0) else math.log1p(-math.exp(x))


def test_the_mean_of_members_is_exact_where_all_are_impossible() -> None:
    one = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    other = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    expected = torch.tensor([[math.log(0.5), math.log(0.5), -torch.inf]])
    torch.testing.assert_close(log_mean([one, other]), expected, atol=EXACT, rtol=0.0)


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_torch_export_and_onnx_runtime_agree(text: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    reasoner = Reasoner(Program(text), "q(X, Y, Answer)", slots=("X", "Y"))
    circuit = ExportedCircuit(reasoner).eval()
    arguments = tuple(drawn(reasoner, 6, torch.float32))
    with torch.no_grad():
        expected = circuit(*arguments)
    shapes = {"log_p": tuple({0: torch.export.Dim("n", min=1)} for _ in arguments)}
    exported = torch.export.export(circuit, arguments, dynamic_shapes=shapes)
    torch.testing.assert_close(exported.module()(*arguments), expected, atol=0.0, rtol=0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(circuit, arguments, dynamo=True, dynamic_shapes=shapes, verbose=False)
    written = io.BytesIO()
    program.save(written)
    session = onnxruntime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    for rows in (6, 1):
        fed = {name: each[-rows:].numpy() for name, each in zip(names, arguments, strict=True)}
        (found,) = session.run(None, fed)
        wanted = expected[-rows:].numpy()
        assert np.array_equal(found == -np.inf, wanted == -np.inf)
        finite = wanted > -np.inf
        assert np.abs(found[finite] - wanted[finite]).max() < 1e-5


def test_it_is_the_same_whatever_engine_the_reasoner_has() -> None:
    reasoner = Reasoner(Program(CASES["negation"]), "q(X, Y, Answer)", slots=("X", "Y"))
    arguments = drawn(reasoner, 4, torch.float64)
    own = ExportedCircuit(reasoner, torch.float64)(*arguments)
    peer = ExportedCircuit(reasoner.with_engine("deepproblog"), torch.float64)(*arguments)
    assert torch.equal(own, peer)
