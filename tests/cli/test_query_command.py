"""``nesy-gedi query`` with ``--explain``, ``--samples`` and ``--atom``: text, document and every error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Run

Write = Callable[[str, str], Path]

GARDEN = """
0.2 :: rain.
0.5 :: hose.
0.3 :: sky(clear); 0.5 :: sky(grey) :- \\+ rain.
wet(grass) :- rain.
wet(grass) :- hose.
wet(street) :- rain.
evidence(wet(grass)).
query(wet(X)).
"""


def cells(line: str) -> list[str]:
    return line.split()


def test_the_most_probable_world_of_every_answer(run: Run, write: Write) -> None:
    outcome = run("query", write("garden.pl", GARDEN + "query(wet(mars)).\n"), "--explain")
    assert outcome.code == 0
    answers, explained = outcome.out.split("\n\n")
    assert [cells(line) for line in answers.splitlines()[2:]] == [
        ["wet(grass)", "1"],
        ["wet(mars)", "0"],
        ["wet(street)", "0.333333"],
    ]
    lines = explained.splitlines()
    assert lines[0] == "most probable world in which it holds:"
    assert cells(lines[3]) == ["wet(grass)", "0.4", "66.7%", "\\+rain;", "hose"]
    assert cells(lines[4]) == ["wet(mars)", "0", "-", "impossible"]
    assert cells(lines[5])[:3] == ["wet(street)", "0.1", "50.0%"]
    assert cells(lines[5])[3] == "rain;"


def test_the_document(run: Run, write: Write) -> None:
    program = write("garden.pl", GARDEN)
    asked = ("--explain", "--samples", "2000", "--seed", "3", "--atom", "sky(X)", "--atom", "rain", "--json")
    document = run("query", program, *asked).document
    assert document["version"] == 1
    assert document["program"] == str(program)
    assert document["answers"] == pytest.approx({"wet(grass)": 1.0, "wet(street)": 1 / 3})
    assert document["atoms"] == pytest.approx({"sky(clear)": 0.2, "sky(grey)": 1 / 3, "rain": 1 / 3})
    terms = {*document["answers"], *document["atoms"]}
    assert document["explanations"].keys() == terms
    grey = document["explanations"]["sky(grey)"]
    assert grey["probability"] == pytest.approx(0.2)
    assert grey["share"] == pytest.approx(1.0)
    assert set(grey["choices"].values()) == {"\\+rain", "hose", "sky(grey)"}
    drawn = document["samples"]
    assert (drawn["worlds"], drawn["seed"]) == (2000, 3)
    assert drawn["frequencies"].keys() == terms
    for term, exact in (document["answers"] | document["atoms"]).items():
        found = drawn["frequencies"][term]
        assert found["standard_error"] == pytest.approx((exact * (1 - exact) / 2000) ** 0.5, abs=1e-7)
        assert abs(found["frequency"] - exact) <= 5 * found["standard_error"] + 1e-9


def test_without_options_the_document_is_what_it_was(run: Run, write: Write) -> None:
    document = run("query", write("garden.pl", GARDEN), "--json").document
    assert document.keys() == {"version", "program", "answers"}


def test_an_impossible_answer_has_no_explanation(run: Run, write: Write) -> None:
    program = write("garden.pl", "0.5 :: a. b :- a, \\+ a. query(b).\n")
    document = run("query", program, "--explain", "--samples", "5", "--json").document
    assert document["explanations"] == {"b": None}
    assert document["samples"]["frequencies"] == {"b": {"frequency": 0.0, "standard_error": 0.0}}


def test_a_seed_repeats_its_worlds(run: Run, write: Write) -> None:
    program = write("garden.pl", GARDEN)

    def drawn(*seed: str) -> str:
        return run("query", program, "--samples", "300", *seed).out

    assert drawn() == drawn("--seed", "0")
    assert drawn() != drawn("--seed", "1")
    assert "sampled  standard error" in drawn()


def test_atoms_alone_need_no_query(run: Run, write: Write) -> None:
    program = write("coin.pl", "0.4 :: coin. even :- \\+ coin.\n")
    outcome = run("query", program, "--atom", "even", "--atom", "coin")
    assert [cells(line) for line in outcome.out.splitlines()[2:]] == [["coin", "0.4"], ["even", "0.6"]]
    document = run("query", program, "--atom", "even", "--json").document
    assert (document["answers"], document["atoms"]) == ({}, pytest.approx({"even": 0.6}))


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--seed", "1"), 2, ["--seed: no worlds are drawn", "hint: say how many: --samples N"]),
        (("--samples", "0"), 2, ["--samples", "0 is not in the range"]),
        (("--samples", "-3"), 2, ["--samples", "-3 is not in the range"]),
        (("--samples", "many"), 2, ["--samples", "'many' is not a valid integer range"]),
        (("--samples", "5", "--seed", "-1"), 2, ["--seed", "-1 is not in the range"]),
        (("--samples", "5", "--seed", "9223372036854775808"), 2, ["--seed", "is not in the range"]),
        (("--atom", "snow"), 2, ["no predicate snow/0", "hint:", "rain/0"]),
        (("--atom", "rain, hose"), 2, ["rain, hose: expected one goal, found several", "hint:"]),
        (("--atom", "wet("), 2, ["wet(: not a query form", "hint:"]),
        (("--atom", ""), 2, ["the query form is empty", "hint:"]),
        (("--atom", "wet(_)"), 2, ["a variable without a name", "hint:"]),
        (("--atom", "\\+ rain"), 2, ["a negation", "hint:"]),
        (("--atom", "lost(X)"), 1, ["garden.pl: no instance of lost(", "hint:"]),
        (("--atom", "digit(a, Y)"), 2, ["ask network net", "hint:"]),
    ],
)
def test_what_is_refused(run: Run, write: Write, options: tuple[str, ...], code: int, said: list[str]) -> None:
    program = write("garden.pl", GARDEN + "lost(X) :- wet(X), fail.\nnn(net, [X], Y, [0..9]) :: digit(X, Y).\n")
    run("query", program, *options).failed(code, *said)


@pytest.mark.parametrize("options", [("--explain",), ("--samples", "5"), ("--atom", "a")])
def test_impossible_evidence(run: Run, write: Write, options: tuple[str, ...]) -> None:
    program = write("plain.pl", "0.5 :: a.\nevidence(a).\nevidence(\\+a).\nquery(a).\n")
    run("query", program, *options).failed(1, "plain.pl: the evidence is impossible", "hint:")


def test_options_without_a_query(run: Run, write: Write) -> None:
    run("query", write("plain.pl", "0.5 :: a.\n"), "--explain").failed(2, "the program has no query/1", "hint:")
