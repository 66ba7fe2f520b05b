"""Grounding: what it reads off, what it refuses, and that a program cannot reach outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nesy_gedi.errors import NesyGediWarning, ProgramError
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.formula import FALSE, TRUE, Constant, Learned, Literal, Neural
from nesy_gedi.logic.grounding import GroundProgram, ground
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries

DIGIT = "nn(net, [X], D, [0..2]) :: digit(X, D).\n"


def grounded(rules: str, form: str) -> GroundProgram:
    program = Program(rules)
    return ground(program, [read_form(program, form).goal()])


class TestVariables:
    def test_one_image_is_one_variable(self) -> None:
        result = grounded(DIGIT + "s(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.", "s(A, A, S)")
        (variable,) = result.formula.variables
        assert variable.weights == tuple(Neural("net", ("A",), k) for k in range(3))
        assert variable.label == "digit(A, _)"

    def test_two_images_are_two(self) -> None:
        result = grounded(DIGIT + "s(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.", "s(A, B, S)")
        assert [variable.label for variable in result.formula.variables] == ["digit(A, _)", "digit(B, _)"]

    def test_a_bernoulli_network_has_two_values(self) -> None:
        result = grounded("nn(net, [X]) :: wet(X).", "wet(A)")
        (variable,) = result.formula.variables
        assert variable.weights == (Neural("net", ("A",), 0), Neural("net", ("A",), 1))
        ((_, node),) = result.answers
        assert result.formula.nodes[node] == Literal(0, 0b10)
        assert variable.label == "wet(A)"

    def test_a_constant_disjunction_keeps_its_rest(self) -> None:
        result = ground(Program("0.5::a; 0.3::b.\nc :- a.\nc :- b.\nquery(c)."))
        (variable,) = result.formula.variables
        assert variable.weights == (Constant(0.5), Constant(0.3), Constant(0.8, complement=True))
        ((_, node),) = result.answers
        assert result.formula.nodes[node] == Literal(0, 0b011)

    def test_a_learned_disjunction(self) -> None:
        result = ground(Program("t(_)::a; t(_)::b.\nquery(b)."))
        (variable,) = result.formula.variables
        assert variable.weights == tuple(Learned(0, k) for k in range(3))
        ((_, node),) = result.answers
        assert result.formula.nodes[node] == Literal(0, 0b010)

    @pytest.mark.parametrize(
        ("rules", "label"),
        [
            ("0.5::e(1, 2, 3).\nq :- e(1, 2, 3), f.", "e(1,2,3)"),
            ("0.5::e(X, 2, 3) :- X > 0.\nq :- e(1, 2, 3), f.", "e(1,2,3)"),
            ("0.5::e(1); 0.5::e(2).\nq :- e(2), f.", "e(2)"),
            ("t(_)::e(1).\nq :- e(1), f.", "e(1)"),
        ],
    )
    def test_labels(self, rules: str, label: str) -> None:
        result = ground(Program(f"{rules}\n0.5::f.\nquery(q)."))
        assert [variable.label for variable in result.formula.variables] == [label, "f"]

    def test_a_disjunction_of_a_rule_is_one_variable_a_grounding(self) -> None:
        result = ground(Program("d(1). d(2).\n0.5::a(X); 0.3::b(X) :- d(X).\nquery(a(_)). query(b(_))."))
        assert len(result.formula.variables) == 2
        assert len(result.answers) == 4

    def test_a_constant_of_the_program_can_be_an_input(self) -> None:
        result = grounded("nn(net, [X], Y, [a, b]) :: p(X, Y).\nq(R) :- p(logo, R).", "q(R)")
        assert result.formula.variables[0].weights[0] == Neural("net", ("logo",), 0)

    def test_what_cannot_be_proved_is_false_and_what_is_certain_true(self) -> None:
        result = ground(Program("a.\nb :- 1 > 2.\nquery(a). query(b)."))
        assert [node for _, node in result.answers] == [TRUE, FALSE]


class TestEvidence:
    @pytest.mark.parametrize(
        ("line", "mask"),
        [
            ("evidence(a).", 0b01),
            ("evidence(a, true).", 0b01),
            ("evidence(a, false).", 0b10),
            ("evidence(\\+a).", 0b10),
            ("evidence(\\+a, false).", 0b01),
        ],
    )
    def test_forms(self, line: str, mask: int) -> None:
        result = ground(Program(f"0.4::a.\nquery(a).\n{line}"))
        assert result.has_evidence
        assert result.formula.nodes[result.evidence] == Literal(0, mask)

    def test_none(self) -> None:
        result = ground(Program("0.4::a.\nquery(a)."))
        assert not result.has_evidence
        assert result.evidence == TRUE

    def test_anything_else_is_refused(self) -> None:
        with pytest.raises(ProgramError, match="neither true nor false") as raised:
            ground(Program("0.4::a.\nquery(a).\nevidence(a, maybe).", name="p.pl"))
        assert raised.value.where == "p.pl"


class TestErrors:
    def test_an_unknown_predicate_with_place_and_nearest(self) -> None:
        with pytest.raises(ProgramError, match=r"UnknownClause: .*'edgs/2'") as raised:
            ground(Program("d([0..9]).\nedge(1, 2).\n  path(X, Y) :- edgs(X, Y).\nquery(path(1, 2)).", name="p.pl"))
        assert raised.value.where == "p.pl:3:17"
        assert str(raised.value.excerpt).splitlines()[1].index("^") == 4 + 16
        assert "did you mean edge/2?" in str(raised.value.hint)
        assert "_directive" not in str(raised.value.hint)

    def test_an_unbound_network_input(self) -> None:
        program = Program("x.\n" + DIGIT + "q(D) :- digit(X, D).", name="p.pl")
        with pytest.raises(ProgramError, match="NonGroundProbabilisticClause") as raised:
            ground(program, [read_form(program, "q(D)").goal()])
        assert str(raised.value.where).startswith("p.pl:2:")
        assert "unbound" in str(raised.value.hint)

    def test_a_negative_cycle(self) -> None:
        with pytest.raises(ProgramError, match="NegativeCycle") as raised:
            ground(Program("x.\na :- \\+ b.\nb :- \\+ a.\nquery(a).", name="p.pl"))
        assert str(raised.value.where) in ("p.pl:2:6", "p.pl:3:6")
        assert "own negation" in str(raised.value.hint)

    def test_an_unbound_output_points_at_no_line_of_the_program(self) -> None:
        program = Program(DIGIT + "q(X, R) :- digit(X, 0).", name="p.pl")
        with pytest.raises(ProgramError, match="NonGroundQuery") as raised:
            ground(program, [read_form(program, "q(X, R)").goal()])
        assert raised.value.where == "p.pl"
        assert raised.value.excerpt is None

    def test_a_ground_disjunction_above_one(self) -> None:
        with pytest.raises(ProgramError, match=r"sums to 1.2, more than 1"):
            ground(Program("w(0.6).\nP::a; P::b :- w(P).\nquery(a). query(b)."))

    @pytest.mark.parametrize("weight", ["1.5", "-0.5", "x"])
    def test_a_weight_that_is_no_probability(self, weight: str) -> None:
        with pytest.raises(ProgramError, match=f"{weight} is not a probability") as raised:
            ground(Program(f"w({weight}).\nP::a :- w(P).\nquery(a).", name="p.pl"))
        assert raised.value.where == "p.pl, a"

    def test_a_query_variable(self) -> None:
        with pytest.raises(ProgramError, match="unbound variable") as raised:
            ground(Program("a.\nquery(X).", name="p.pl"))
        assert raised.value.where == "p.pl"

    def test_the_recursion_limit_is_put_back(self) -> None:
        before = sys.getrecursionlimit()
        ground(Program("a.\nquery(a)."))
        with pytest.raises(ProgramError):
            ground(Program("a :- b.\nquery(a)."))
        assert sys.getrecursionlimit() == before

    def test_findall_over_a_cycle_is_warned_about(self) -> None:
        text = "0.5::e(1, 2). 0.5::e(2, 1).\np(X, Y) :- e(X, Y).\np(X, Y) :- e(X, Z), p(Z, Y).\n"
        with pytest.warns(NesyGediWarning, match="findall/3 counts circular proofs"):
            ground(Program(text + "n(L) :- findall(Y, p(1, Y), L).\nquery(n(_)). query(p(1, 1))."))


def test_nothing_is_printed_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a :- write(hello), nl, writeln(world), debugprint(x).\n:- write(directive).\nquery(a)."
    assert answer_queries(Program(text)) == {"a": 1.0}
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


LOADING = {
    "module": ":- use_module('trap.py').\nquery(trap(X)).",
    "module without its ending": ":- use_module(trap).\nquery(trap(X)).",
    "module with a list": ":- use_module('trap.py', [trap/1]).\nquery(trap(X)).",
    "consult": ":- consult('other.pl').\nquery(other(X)).",
    "consult by list": ":- ['other.pl'].\nquery(other(X)).",
    "out of the library": ":- use_module(library('UP/trap')).\nquery(trap(X)).",
    "out of the library with its ending": ":- use_module(library('UP/trap.py')).\nquery(trap(X)).",
    "library that opens files": ":- use_module(library(db)).\na.\nquery(a).",
    "goal": "a :- use_module('trap.py').\nquery(a).",
    "absolute": "a :- consult('HERE/other.pl').\nquery(a).",
    "call": "a :- call(use_module('trap.py')).\nquery(a).",
    "univ": "a :- G =.. [use_module, 'trap.py'], call(G).\nquery(a).",
    "once": "a :- once(use_module('trap.py')).\nquery(a).",
    "negation": "a :- \\+ use_module('trap.py').\nquery(a).",
    "findall": "a :- findall(X, use_module('trap.py'), L).\nquery(a).",
    "findall in findall": "a :- findall(X, findall(Y, use_module('trap.py'), L), M).\nquery(a).",
    "findall in negation": "a :- \\+ findall(X, use_module('trap.py'), L).\nquery(a).",
    "all": "a :- all(X, use_module('trap.py'), L).\nquery(a).",
    "all_or_none": "a :- all_or_none(X, consult('other.pl'), L).\nquery(a).",
    "forall": "a :- forall(use_module('trap.py'), true).\nquery(a).",
    "possible": "a :- possible(use_module('trap.py')).\nquery(a).",
    "subquery": "a(P) :- subquery(use_module('trap.py'), P).\nquery(a(_)).",
    "findall in subquery": "a(P) :- subquery(findall(X, use_module('trap.py'), L), P).\nquery(a(_)).",
    "subquery in findall": "a :- findall(P, subquery(use_module('trap.py'), P), L).\nquery(a).",
    "query": "query(a) :- use_module('trap.py').\na.",
    "evidence": "a.\nevidence(a) :- findall(X, use_module('trap.py'), L).\nquery(a).",
}


class TestTrust:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "trap.py").write_text(
            "from pathlib import Path\nfrom problog.extern import problog_export\n"
            f"Path({str(tmp_path)!r}, 'sprung').touch()\n"
            "@problog_export('-int')\ndef trap():\n    return 1\n"
        )
        (tmp_path / "other.pl").write_text("other(1).\n")
        return tmp_path

    def program(self, folder: Path, text: str, *, trusted: bool = False) -> Program:
        up = "/".join([".."] * 30) + str(folder)
        text = text.replace("UP", up).replace("HERE", str(folder))
        return Program(text, name=str(folder / "p.pl"), trusted=trusted)

    @pytest.mark.parametrize("text", LOADING.values(), ids=LOADING.keys())
    def test_files_are_not_loaded(self, folder: Path, text: str) -> None:
        with pytest.raises(ProgramError, match="asks to load") as raised:
            answer_queries(self.program(folder, text))
        assert "--trust" in str(raised.value.hint)
        assert raised.value.where == str(folder / "p.pl")
        assert not (folder / "sprung").exists()

    def test_a_form_does_not_load_either(self, folder: Path) -> None:
        program = self.program(folder, "q(R) :- findall(X, use_module('trap.py'), R).")
        with pytest.raises(ProgramError, match="asks to load"):
            ground(program, [read_form(program, "q(R)").goal()])
        assert not (folder / "sprung").exists()

    def test_a_trusted_program_loads_both(self, folder: Path) -> None:
        text = ":- use_module('trap.py').\n:- consult('other.pl').\nquery(trap(_)). query(other(_))."
        assert answer_queries(self.program(folder, text, trusted=True)) == {"trap(1)": 1.0, "other(1)": 1.0}
        assert (folder / "sprung").exists()

    @pytest.mark.parametrize("library", ["lists", "apply", "string", "assert", "record", "aggregate", "collect"])
    def test_problogs_own_libraries_are_there(self, library: str) -> None:
        assert answer_queries(Program(f":- use_module(library({library})).\na.\nquery(a).")) == {"a": 1.0}
