"""Engines by name: who is refused what, and what each does at the edges."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from reasoning import COLOURS, rows
from test_circuits import MIXED, exclusive
from test_random_engines import combined_gradient, formula_logits, formula_request
from tolerances import EXACT, GRADIENT, SINGLE
from worlds import new_formula, plan_of, probability, truth_tables

from nesy_gedi.errors import EngineError, ProgramError, UsageError
from nesy_gedi.logic import engines
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.compilation import compile_queries
from nesy_gedi.logic.engines import ENGINES, find_engine
from nesy_gedi.logic.formula import Not
from nesy_gedi.logic.klaycircuits import KlayEngine, log_complement
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

DIGITS = """
nn(net, [X], D, [0..4]) :: digit(X, D).
addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.
"""
PEERS = ["klay", "deepproblog"]


def pair(engine: str, text: str = DIGITS, form: str = "addition(X, Y, S)") -> tuple[Reasoner, Reasoner]:
    exact = Reasoner(Program(text), form)
    return exact, exact.with_engine(engine)


class TestNames:
    def test_the_default_is_our_own_plan(self) -> None:
        made = Reasoner(Program(DIGITS), "addition(X, Y, S)")
        assert made.engine == "exact"
        assert isinstance(made._engine, Plan)

    def test_an_unknown_name_is_refused_before_anything_is_grounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nesy_gedi.logic.reasoner.compile_form", lambda *_, **__: pytest.fail("grounded"))
        with pytest.raises(EngineError, match="no engine 'kley'") as caught:
            Reasoner(Program(DIGITS), "addition(X, Y, S)", engine="kley")
        assert "did you mean klay?" in str(caught.value)
        assert isinstance(caught.value, UsageError)

    def test_a_missing_package_is_told_with_the_command_that_installs_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "klay", None)
        with pytest.raises(EngineError, match="klaycircuits") as caught:
            Reasoner(Program(DIGITS), "addition(X, Y, S)", engine="klay")
        assert "pip install 'nesy-gedi[klay]'" in str(caught.value)

    def test_another_engine_shares_circuit_and_learned_probabilities(self) -> None:
        exact, other = pair("klay", "t(_)::a. t(_)::b.\nq(1) :- a. q(2) :- b, \\+ a.", "q(S)")
        assert other.circuit is exact.circuit
        assert list(other.parameters()) == list(exact.parameters())
        with torch.no_grad():
            exact.learned.logits[0][0] += 1.0
        torch.testing.assert_close(other({}), exact({}))
        assert (exact.engine, other.engine) == ("exact", "klay")

    @pytest.mark.parametrize("name", sorted(ENGINES))
    def test_every_engine_says_how_deep_it_is(self, name: str) -> None:
        depth = pair(name)[1].depth
        assert depth == 0 if name == "deepproblog" else depth > 0


@pytest.mark.parametrize("engine", PEERS)
class TestEdges:
    def test_batches_of_any_size(self, engine: str) -> None:
        exact, other = pair(engine)
        empty = torch.empty(0, 2, 5)
        assert other(empty).shape == (0, 9)
        for batch in (1, 3):
            log_p = {slot: rows(batch, 5, seed=k) for k, slot in enumerate("XY")}
            torch.testing.assert_close(other(log_p), exact(log_p), atol=EXACT, rtol=0.0)

    def test_single_precision_stays_single(self, engine: str) -> None:
        exact, other = pair(engine)
        log_p = {slot: rows(3, 5, seed=k).float() for k, slot in enumerate("XY")}
        result = other(log_p)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, exact(log_p), atol=SINGLE, rtol=SINGLE)

    def test_zeros_and_ones_have_the_exact_engines_logarithms_and_gradients(self, engine: str) -> None:
        exact, other = pair(engine)
        logits = torch.full((2, 2, 5), -math.inf)
        logits[0, 0, 2] = logits[0, 1, 1] = 0.0  # both certain
        logits[1, 0, :3] = torch.tensor([0.1, 0.5, -0.3])  # some impossible
        logits[1, 1, 2:] = torch.tensor([0.3, -0.7, 0.2])
        logits.requires_grad_()
        found = []
        for each in (exact, other):
            result = each(logits.log_softmax(2))
            loss = each.nll(logits.log_softmax(2), torch.tensor([3, 5]))
            found.append((result.detach(), *torch.autograd.grad(loss, [logits])))
        assert float(found[0][0].min()) == -math.inf
        assert not found[1][1].isnan().any()
        torch.testing.assert_close(found[1], found[0], atol=EXACT, rtol=0.0)

    def test_an_impossible_target_teaches_nothing(self, engine: str) -> None:
        _, other = pair(engine)
        logits = torch.zeros(1, 2, 5)
        logits[..., 1:] = -math.inf
        logits.requires_grad_()
        loss = other.nll(logits.log_softmax(2), torch.tensor([8]))
        (gradient,) = torch.autograd.grad(loss, [logits])
        assert float(loss) == 100.0
        assert not gradient.any()

    def test_one_image_in_two_places_is_one_variable(self, engine: str) -> None:
        log_p = rows(2, 5)
        found = [each(log_p) for each in pair(engine, form="addition(X, X, S)")]
        torch.testing.assert_close(found[1], found[0], atol=EXACT, rtol=0.0)

    def test_a_program_that_asks_no_network(self, engine: str) -> None:
        exact, other = pair(engine, "0.3::a. 0.6::b.\nq(1) :- a. q(1) :- b. q(2) :- a, b. q(3).", "q(S)")
        torch.testing.assert_close(other({}, batch=2), exact({}, batch=2), atol=EXACT, rtol=0.0)

    def test_a_network_of_two_images(self, engine: str) -> None:
        text = "nn(net, [X, Y], R, [less, more]) :: order(X, Y, R).\nq(X, Y, Z, R) :- order(X, Y, R), order(Y, Z, R)."
        exact = Reasoner(Program(text), "q(X, Y, Z, R)")
        other = exact.with_engine(engine)
        log_p = torch.stack([rows(2, 2, seed=0), rows(2, 2, seed=1)], 1)
        torch.testing.assert_close(other(log_p), exact(log_p), atol=EXACT, rtol=0.0)

    def test_several_goals_at_once(self, engine: str) -> None:
        text = COLOURS + "same(X, Y, yes) :- colour(X, C), colour(Y, C).\nfirst(X, C) :- colour(X, C)."
        exact, other = pair(engine, text, "same(X, Y, A), first(X, C)")
        log_p = {slot: rows(2, 3, seed=k) for k, slot in enumerate("XY")}
        torch.testing.assert_close(other(log_p), exact(log_p), atol=EXACT, rtol=0.0)


class TestKlay:
    def test_evidence_is_a_condition(self) -> None:
        exact, other = pair("klay", DIGITS + "0.3::w.\nq(X, S) :- digit(X, S), w.\nevidence(w).", "q(X, S)")
        log_p = rows(2, 5)
        torch.testing.assert_close(other(log_p), exact(log_p), atol=EXACT, rtol=0.0)
        torch.testing.assert_close(other.log_evidence(log_p), exact.log_evidence(log_p), atol=EXACT, rtol=0.0)

    def test_negations_inside_a_circuit_are_stages(self) -> None:
        formula = new_formula(MIXED)
        roots = exclusive(formula)
        assert any(isinstance(formula.nodes[k], Not) for k in formula.reachable(roots))
        engine = find_engine("klay")(formula_request(formula, roots, MIXED))
        assert isinstance(engine, KlayEngine)
        assert len(engine._modules) > 1
        logits = formula_logits(MIXED, 0)
        log_p = torch.cat([x.log_softmax(0) for x in logits])
        tables = truth_tables(formula, roots)
        expected = torch.stack([probability(tables[root], [x.softmax(0) for x in logits]) for root in roots])
        found = engine(log_p)
        torch.testing.assert_close(found.exp(), expected, atol=EXACT, rtol=0.0)
        torch.testing.assert_close(found, plan_of(formula, roots, MIXED)(log_p), atol=EXACT, rtol=EXACT)
        wanted = combined_gradient(expected, logits)
        for one, other in zip(combined_gradient(found.exp(), logits), wanted, strict=True):
            torch.testing.assert_close(one, other, atol=GRADIENT, rtol=0.0)

    def test_a_moved_engine_leaves_the_first_where_it_is(self) -> None:
        _, other = pair("klay")
        moved = other._engine.to(torch.device("meta"))
        assert isinstance(moved, KlayEngine)
        assert {buffer.device.type for module in moved._modules for buffer in module.buffers()} == {"meta"}
        assert not other(torch.stack([rows(1, 5), rows(1, 5)], 1)).isnan().any()

    def test_a_complement_is_accurate_at_both_ends_and_has_no_nan(self) -> None:
        x = torch.tensor([-math.inf, -800.0, -40.0, -1.0, -0.5, -1e-9, -1e-300, 0.0], requires_grad=True)
        result = log_complement(x)
        wanted = [0.0, 0.0, -math.exp(-40.0), math.log1p(-math.exp(-1.0)), math.log(-math.expm1(-0.5))]
        wanted += [math.log(1e-9) - 0.5e-9, math.log(1e-300), -math.inf]
        torch.testing.assert_close(result, torch.tensor(wanted), rtol=1e-14, atol=0.0)
        (gradient,) = torch.autograd.grad(result[:-1].sum() + result[-1] * 0.0 + result[-1:].nan_to_num().sum(), x)
        assert bool(gradient.isfinite().all())
        assert float(gradient[0]) == float(gradient[-1]) == 0.0


class TestDeepProbLog:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("0.3::w.\nq(X, S) :- digit(X, S).\nq(X, S) :- w, digit(X, S).\nevidence(w).", "ignores evidence/1"),
            ("0.3::w.\nt(0.2)::a; t(0.8)::b :- w.\nq(X, S) :- digit(X, S), a.", "misreads learned probabilities"),
        ],
        ids=["evidence", "learned disjunction with a body"],
    )
    def test_what_it_would_get_wrong_is_refused(self, text: str, said: str) -> None:
        exact = Reasoner(Program(DIGITS + text), "q(X, S)")
        with pytest.raises(EngineError, match=said) as caught:
            exact.with_engine("deepproblog")
        assert "--engine exact or klay" in str(caught.value)

    def test_the_programs_own_queries_are_refused(self) -> None:
        program = Program("0.3::a.\nquery(a).")
        made = Reasoner.of_circuit(program, compile_queries(program))
        with pytest.raises(EngineError, match="query/1"):
            made.with_engine("deepproblog")

    def test_what_it_raises_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, other = pair("deepproblog")

        def fail(*_: object) -> None:
            raise RuntimeError("no more")

        monkeypatch.setattr(other._engine._engine.model, "solve", fail)
        with pytest.raises(EngineError, match="deepproblog fails: RuntimeError: no more"):
            other(torch.stack([rows(1, 5), rows(1, 5)], 1))

    def test_an_answer_that_our_circuit_lacks_is_no_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exact, _ = pair("deepproblog")
        cut = type(exact.circuit)(**{**vars(exact.circuit), "answers": exact.circuit.answers[:-1]})
        peer = find_engine("deepproblog")(engines.Request(**{**vars(exact._request), "circuit": cut}))
        log_p = exact._rows(torch.stack([rows(1, 5), rows(1, 5)], 1), None)
        for ask in (peer, lambda x: peer.alone(x, 0)):  # type: ignore[attr-defined]
            with pytest.raises(engines.UnknownAnswerError, match="the answer 8 a probability of"):
                ask(log_p)

    def test_one_answer_alone_is_that_of_all(self) -> None:
        exact, other = pair("deepproblog")
        log_p = torch.stack([rows(2, 5, seed=0), rows(2, 5, seed=1)], 1)
        alone = other.alone(log_p, 3)
        assert alone is not None
        torch.testing.assert_close(alone, exact(log_p)[:, 3], atol=EXACT, rtol=0.0)
        assert exact.alone(log_p, 3) is None

    def test_equal_rows_without_gradient_are_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exact, other = pair("deepproblog")
        log_p = torch.stack([rows(2, 5, seed=0), rows(2, 5, seed=1)], 1)[[0, 1, 1, 0, 1]]
        solve, asked = other._engine._engine.model.solve, []
        monkeypatch.setattr(
            other._engine._engine.model, "solve", lambda batch: asked.append(len(batch)) or solve(batch)
        )
        torch.testing.assert_close(other(log_p), exact(log_p), atol=EXACT, rtol=0.0)
        assert asked == [2]


class TestBernoulliNetworks:
    """deepproblog reads one column of them, and one a symbol of a network over ``[false, true]``."""

    @pytest.mark.parametrize(
        "text", ["nn(net, [X]) :: p(X).", "nn(net, [X], Y, [false, true]) :: q(X, Y).\np(X) :- q(X, true)."]
    )
    def test_deepproblog_is_given_what_it_reads(self, text: str) -> None:
        exact, other = pair("deepproblog", text, "p(X)")
        log_p = torch.log_softmax(torch.randn(3, 2, dtype=torch.float64), 1)
        torch.testing.assert_close(other(log_p), exact(log_p), rtol=0.0, atol=EXACT)
        torch.testing.assert_close(exact(log_p)[:, 0], log_p[:, 1], rtol=0.0, atol=EXACT)

    def test_a_network_that_would_be_both_is_refused_there(self) -> None:
        text = "nn(net, [X]) :: p(X).\nnn(net, [X], Y, [false, true]) :: q(X, Y).\nr(X, Y) :- p(X), q(X, Y)."
        exact, other = pair("deepproblog", text, "r(X, Y)")
        log_p = torch.log_softmax(torch.randn(3, 2, dtype=torch.float64), 1)
        assert exact(log_p).shape == (3, 2)
        with pytest.raises(ProgramError, match="network net returns one probability"):
            other(log_p)
