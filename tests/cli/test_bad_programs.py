"""Programs that cannot be: each is one message with a place and a next step, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"

DIGIT = "nn(net, [X], Y, [0..9]) :: digit(X, Y).\n"
FORM = ("--query", "add(X, Y, Z)")

BROKEN = [
    pytest.param(
        "a.\nb :- c d.\n", ["broken.pl:2:8", "syntax error", "    b :- c d.\n           ^", "hint:"], id="syntax"
    ),
    pytest.param(
        DIGIT + "add(X, Y, Z) :- digit(X, A), digitt(Y, B), Z is A + B.\n",
        ["broken.pl:2:", "digitt/2", "^", "did you mean digit/2"],
        id="unknown-predicate",
    ),
    pytest.param(
        DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A / B.\n",
        ["broken.pl:2:", "Division by zero", "^"],
        id="division-by-zero",
    ),
    pytest.param(
        DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), A < 5, Z is A + B.\n",
        ["broken.pl", "derives no answer when net(X) = ", "hint: add a rule"],
        id="answer-that-cannot-be-derived",
    ),
    pytest.param(
        DIGIT.replace("9", "10000000") + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n",
        ["broken.pl:1:17", "[0..10000000]", "100000"],
        id="huge-domain",
    ),
    pytest.param(
        DIGIT + "0.7 :: a; 0.7 :: b.\nadd(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n",
        ["broken.pl:2:", "1.4"],
        id="disjunction-above-one",
    ),
    pytest.param(
        ':- use_module("code.py").\n' + DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n",
        ["code.py", "--trust"],
        id="loads-python",
    ),
    pytest.param(
        ":- consult('other.pl').\n" + DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n",
        ["other.pl", "--trust"],
        id="loads-a-file",
    ),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_broken_program(run: Run, write: Callable[[str, str], Path], text: str, said: list[str]) -> None:
    write("code.py", "raise SystemExit('the code of the program ran')\n")
    program = write("broken.pl", text)
    run("train", program, *FORM, *TINY, "--out", "out").failed(1, *said)
    nothing_but("broken.pl", "code.py")


def test_missing_file_names_the_nearest(run: Run, write: Callable[[str, str], Path]) -> None:
    write("addition.pl", DIGIT)
    for command in ("train", "ground"):
        run(command, "aditoin.pl").failed(2, "aditoin.pl: there is no such program file", "did you mean addition.pl?")
    run("train", "no/such/addition.pl").failed(2, "there is no such program file")
    run("query", "missing.pl").failed(2, "missing.pl: there is no such program file", "hint:")


def test_unknown_name_lists_the_bundled_ones(run: Run) -> None:
    names = sorted(program.stem for program in PROGRAMS.glob("*.pl"))
    assert "addition" in names
    run("train", "additoin").failed(2, "did you mean addition?", f"valid: {', '.join(names)}")


def test_folder_as_program(run: Run) -> None:
    Path("folder.pl").mkdir()
    outcome = run("train", "folder.pl", *FORM)
    outcome.failed(2, "folder.pl: there is no such program file: it is a folder")
    assert "did you mean" not in outcome.err
    run("query", "folder.pl").failed(2, "folder.pl")


def test_not_utf8(run: Run) -> None:
    Path("latin.pl").write_bytes("% é\na.\n".encode("latin-1"))
    for arguments in (("train", "latin.pl", *FORM), ("query", "latin.pl")):
        run(*arguments).failed(1, "latin.pl: the program is not UTF-8 text")


def test_empty_program(run: Run, write: Callable[[str, str], Path]) -> None:
    write("empty.pl", "")
    run("train", "empty.pl", *FORM).failed(2, "the program has no predicate add/3")
    run("query", "empty.pl").failed(2, "the program has no query/1", "query(a).")


def test_program_without_recipe_needs_a_query(run: Run, write: Callable[[str, str], Path]) -> None:
    program = write("own.pl", DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n")
    for command in ("train", "ground"):
        run(command, program).failed(2, "no query form", "--query")
    outcome = run("train", program, *FORM, *TINY, "--quiet")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("ad(X, Y, Z)", "did you mean add/3?"),
        ("add(X, Y)", "no predicate add/2"),
        ("add(X, Y", "not a query form"),
        ("add(X, Y, Z); digit(X, Z)", "one goal or several joined by commas"),
        ("add(X, Y, Z), \\+ digit(X, Z)", "one goal or several joined by commas"),
        ("add(X, Y, _)", "name every variable"),
        ("X", "a query form is one goal"),
        ("3", "a query form is one goal"),
        ("", "no query form"),
        ("add(1, 2, Z)", "net reads 1"),
    ],
)
def test_bad_query_form(run: Run, write: Callable[[str, str], Path], form: str, said: str) -> None:
    program = write("own.pl", DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n")
    run("train", program, "--query", form, "--out", "out").failed(2, said, "hint:")
    nothing_but("own.pl")


def test_goals_that_exclude_each_other(run: Run, write: Callable[[str, str], Path]) -> None:
    program = write("own.pl", DIGIT + "add(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n")
    form = "add(X, Y, Z), digit(X, Y)"  # Y is an image, and would have to be a digit too
    run("train", program, "--query", form, "--out", "out").failed(1, f"no answer to {form} can be derived", "hint:")
    nothing_but("own.pl")


def test_form_without_images(run: Run, write: Callable[[str, str], Path]) -> None:
    program = write("plain.pl", "0.5 :: a.\nb :- a.\n")
    run("train", program, "--query", "b", "--out", "out").failed(2, "no network perceives anything")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5 :: a.\nevidence(a).\nevidence(\\+a).\nquery(a).\n", "the evidence is impossible"),
        ("p(X) :- X is 1 / 0.\nquery(p(X)).\n", "Division by zero"),
        ("query(nothing).\n", "nothing/0"),
    ],
)
def test_plain_program_that_fails(run: Run, write: Callable[[str, str], Path], text: str, said: str) -> None:
    run("query", write("plain.pl", text)).failed(1, "plain.pl", said)


def test_query_of_a_network_needs_images(run: Run, write: Callable[[str, str], Path]) -> None:
    run("query", write("own.pl", DIGIT + "query(digit(a, Y)).\n")).failed(2, "network net", "hint:")


def test_what_a_program_prints_stays_out_of_the_document(run: Run, write: Callable[[str, str], Path]) -> None:
    outcome = run("query", write("chatty.pl", "0.5 :: a.\nb :- write(hello), nl, a.\nquery(b).\n"), "--json")
    assert outcome.code == 0
    assert outcome.document["answers"] == {"b": 0.5}
