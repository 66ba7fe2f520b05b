"""Reading a program: neural predicates, learned probabilities, and what is refused, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic import program as program_module
from nesy_gedi.logic.program import BERNOULLI_DOMAIN, Program, heads_of
from nesy_gedi.logic.queries import answer_queries


def refused(text: str) -> ProgramError:
    with pytest.raises(ProgramError) as raised:
        Program(text, name="p.pl")
    return raised.value


class TestNeuralPredicates:
    def test_with_a_domain(self) -> None:
        program = Program("% two\nnn(net, [X], Y, [cat, dog]) :: animal(X, Y).")
        (predicate,) = program.predicates
        assert (predicate.network, predicate.signature) == ("net", "animal/2")
        assert predicate.input_positions == (0,)
        assert predicate.domain == ("cat", "dog")
        assert program.networks == {"net": ("cat", "dog")}
        assert [str(head.args[1]) for head in heads_of(program.clauses[0])] == ["cat", "dog"]

    def test_with_a_range(self) -> None:
        assert Program("nn(net, [X], Y, [8..11]) :: d(X, Y).").networks["net"] == ("8", "9", "10", "11")

    def test_bernoulli(self) -> None:
        program = Program("nn(net, [X]) :: wet(X).")
        (predicate,) = program.predicates
        assert predicate.domain == BERNOULLI_DOMAIN == ("false", "true")
        assert str(program.clauses[0]) == "nn(net,[X],1)::wet(X)"

    def test_of_several_inputs(self) -> None:
        (predicate,) = Program("nn(net, [X, Z], Y, [a, b]) :: p(Y, f(Z), 3, X).").predicates
        assert predicate.input_positions == (1, 3)

    def test_with_a_body(self) -> None:
        program = Program("nn(net, [X], Y, [a, b]) :: p(X, Y) :- image(X).\nimage(i).")
        assert str(program.clauses[0].body) == "image(X)"

    def test_two_predicates_of_one_network(self) -> None:
        program = Program("nn(net, [X], Y, [a, b]) :: p(X, Y).\nnn(net, [X], Y, [a, b]) :: q(X, Y).")
        assert [predicate.signature for predicate in program.predicates] == ["p/2", "q/2"]
        assert list(program.networks) == ["net"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("nn(net, [X], E) :: emb(X, E).", "output is a tensor"),
            ("nn(net) :: p.", "takes 2 or 4 arguments, found 1"),
            ("nn(net, [X], Y, [a, b], z) :: p(X, Y).", "takes 2 or 4 arguments, found 5"),
            ("nn(net, X, Y, [a, b]) :: p(X, Y).", "inputs of net are not a list"),
            ("nn(net, X) :: p(X).", "inputs of net are not a list"),
            ("nn(net, [], Y, [a, b]) :: p(Y).", "inputs of net are not a list"),
            ("nn(net, [X], Y, abc) :: p(X, Y).", "domain of net is not a list"),
            ("nn(net, [X], Y, [a|T]) :: p(X, Y).", "domain of net is not a list"),
            ("nn(net, [X], Y, [a]) :: p(X, Y).", "two or more different symbols"),
            ("nn(net, [X], Y, [a, b, a]) :: p(X, Y).", "two or more different symbols"),
            ("nn(net, [X], Y, [a, B]) :: p(X, Y).", "domain of net holds a variable"),
            ("nn(net, [X], Y, [a, f(B)]) :: p(X, Y).", "domain of net holds a variable"),
            ("nn(net, [X], a, [a, b]) :: p(X, a).", "output of net must be a variable of the head"),
            ("nn(net, [X], Y, [a, b]) :: p(X).", "output of net must be a variable of the head"),
            ("nn(net, [X], X, [a, b]) :: p(X).", "output of net must be a variable of the head and not an input"),
            ("nn(Net, [X], Y, [a, b]) :: p(X, Y).", "Net is not the name of a network"),
            ("nn(net, [X]) :: p(X); 0.3 :: q(X).", "stands alone"),
        ],
    )
    def test_refused(self, text: str, message: str) -> None:
        # The clause stands on line 3, behind a range that the parser reads in another length.
        error = refused(f"% first\nd([0..30]).\n {text}")
        assert message in error.message
        assert str(error.where).startswith("p.pl:3:")
        line, pointer = str(error.excerpt).splitlines()
        assert line == f"     {text}"
        assert pointer.index("^") - 3 == int(str(error.where).split(":")[2]) <= len(text) + 1

    def test_different_domains_of_one_network(self) -> None:
        error = refused("nn(net, [X], Y, [a, b]) :: p(X, Y).\nnn(net, [X], Y, [b, a]) :: q(X, Y).")
        assert "network net has the domain [a, b] above" in error.message
        assert str(error.where).startswith("p.pl:2:")
        assert error.hint

    def test_a_bernoulli_network_with_a_domain_elsewhere(self) -> None:
        assert "above and another one here" in refused("nn(n, [X]) :: p(X).\nnn(n, [X], Y, [a, b]) :: q(X, Y).").message


class TestLearned:
    @pytest.mark.parametrize(
        ("text", "heads", "learned"),
        [
            ("t(_) :: a.", (0.5, 0.5), (True,)),
            ("t(0.3) :: a.", (0.3, 0.7), (True,)),
            ("t(_) :: a; t(_) :: b.", (0.5, 0.5, 0.0), (True, True)),
            ("t(0.2) :: a; t(0.8) :: b.", (0.2, 0.8, 0.0), (True, True)),
            ("t(0.2) :: a; t(0.3) :: b.", (0.2, 0.3, 0.5), (True, True)),
            ("t(_) :: a; 0.4 :: b; t(_) :: c.", (0.3, 0.4, 0.3, 0.0), (True, False, True)),
            ("t(0.1) :: a; 1/4 :: b.", (0.1, 0.25, 0.65), (True, False)),
        ],
    )
    def test_initial_probabilities(self, text: str, heads: tuple[float, ...], learned: tuple[bool, ...]) -> None:
        (group,) = Program(text).parameters
        assert group.heads == pytest.approx(heads)
        assert group.learned == learned

    def test_the_label_is_the_clause(self) -> None:
        (group,) = Program("t(_) :: a(1); t(_) :: a(2) :- b.\nb.").parameters
        assert group.label == "t(_)::a(1); t(_)::a(2) :- b"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("t(0.3, 1) :: a.", r"written t(_) or t(0.3)"),
            ("t(1.3) :: a.", "1.3 is not a probability"),
            ("t(-0.1) :: a.", "is not a probability"),
            ("t(abc) :: a.", "abc is not a probability"),
            ("t(0.6) :: a; t(0.6) :: b.", "sum to 1.2, more than 1"),
            ("t(_) :: a; 1.3 :: b.", "1.3 is not a probability"),
        ],
    )
    def test_refused(self, text: str, message: str) -> None:
        error = refused("x.\n" + text)
        assert message in error.message
        assert str(error.where).startswith("p.pl:2:")


class TestConstants:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0.6 :: a; 0.6 :: b.", "sum to 1.2, more than 1"),
            ("1/2 :: a; 2/3 :: b :- c.\nc.", "sum to 1.16667, more than 1"),
            ("1.2 :: a.", "1.2 is not a probability"),
            ("0.1 :: a; 1.2 :: b.", "1.2 is not a probability"),
            ("a; 1.2 :: b.", "1.2 is not a probability"),
            ("-0.2 :: a.", "-0.2 is not a probability"),
        ],
    )
    def test_refused(self, text: str, message: str) -> None:
        error = refused("x.\n  " + text)
        assert message in error.message
        assert str(error.where).startswith("p.pl:2:")
        assert "^" in str(error.excerpt)

    @pytest.mark.parametrize("text", ["0.1::a; 0.2::b; 0.7::c.", "1/3::a; 1/3::b; 1/3::c.", "1.0::a. 0.0::b."])
    def test_accepted(self, text: str) -> None:
        assert Program(text).parameters == []


class TestSyntax:
    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("a :- b.\nc :- (d, e.\n", "p.pl:2:6"),
            ("d([0..99]) :- (e.\n", "p.pl:1:15"),
            ("a.\nb('c).\n", "p.pl:2:3"),
        ],
    )
    def test_errors_have_a_place(self, text: str, where: str) -> None:
        error = refused(text)
        assert error.message.startswith("syntax error")
        assert error.where == where
        assert error.excerpt
        assert error.hint

    def test_an_empty_program_is_a_program(self) -> None:
        assert Program("% nothing\n").clauses == []

    def test_signatures_are_those_of_clauses(self) -> None:
        text = (
            ":- use_module(library(lists)).\nnn(n, [X], Y, [a, b]) :: p(X, Y).\n0.2::q; 0.3::r(1).\ns(X) :- p(X, a), t."
        )
        assert Program(text).signatures == {"p/2", "q/0", "r/1", "s/1"}


class TestFiles:
    def test_load(self, tmp_path: Path) -> None:
        path = tmp_path / "p.pl"
        path.write_text("nn(net, [X]) :: p(X). % ä\n", encoding="utf-8")
        program = Program.load(path)
        assert program.source.name == str(path)
        assert repr(program) == f"Program({str(path)!r}, networks=['net'])"

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ProgramError, match="cannot read the program") as raised:
            Program.load(tmp_path / "none.pl")
        assert raised.value.where == str(tmp_path / "none.pl")

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "p.pl"
        path.write_bytes(b"a.\n\xff\xfe")
        with pytest.raises(ProgramError, match="not UTF-8"):
            Program.load(path)

    def test_the_fingerprint_is_that_of_the_text(self) -> None:
        assert Program("a.").fingerprint == Program("a.", name="other.pl").fingerprint
        assert Program("a.").fingerprint != Program("a. ").fingerprint


@pytest.mark.parametrize("number", ["1e-16", "1e-20", "9e-16", "0.1234567890123456789"])
def test_probabilities_keep_all_their_digits(number: str) -> None:
    assert answer_queries(Program(f"{number}::c. y :- c. query(y)."))["y"] == pytest.approx(float(number), rel=1e-15)


def test_improbable_evidence_is_no_contradiction() -> None:
    assert answer_queries(Program("1e-20::c. y :- c. evidence(y). query(c)."))["c"] == pytest.approx(1.0)


def test_a_statement_that_nests_too_deep_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(_: str) -> None:
        raise RecursionError

    monkeypatch.setattr(program_module, "PrologString", too_deep)
    with pytest.raises(ProgramError, match="nests too deep"):
        Program("a.")
