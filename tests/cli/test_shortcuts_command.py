"""``nesy-gedi shortcuts``: what it prints, what scripts rely on, and every error that a user can meet."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from command_runs import TINY, Outcome, Run, nothing_but

from nesy_gedi.concepts import dimacs

LONG = ("--max-seconds", "600")
"""A slow machine must not make counts inexact."""

PAGE = Path(__file__).resolve().parents[2] / "docs" / "shortcuts.md"

CONTRACT = ("family", "support", "count", "log10_count", "bijective_count", "exact", "shortcuts", "repair")
"""Keys that scripts rely on; ``repair`` has ``labels`` and ``answers``."""

FIVE = """
nn(net, [X], D, [0..4]) :: digit(X, D).
add(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.
"""
ADD = ("--query", "add(X, Y, S)")

Write = Callable[[str, str], Path]


def document(run: Run, *arguments: str) -> Any:
    outcome = run("shortcuts", *arguments, *LONG, "--json")
    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    return outcome.document


def listed(outcome: Outcome) -> list[str]:
    """The first column of the table."""
    _, rule, table = outcome.out.partition("--------  --")
    return [line.split()[0] for line in table.splitlines()[1:] if "%" in line] if rule else []


# -- what it prints ----------------------------------------------------------------------------------------------------


def test_half_in_plain_words(run: Run) -> None:
    outcome = run("shortcuts", "mnist_half", *LONG)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].endswith("mnist_half.pl, addition(X, Y, Sum)")
    assert lines[2].startswith("  3 ways of reading the symbols of digit_net answer all of them right")
    assert lines[3] == "  Only the right one is one to one: pure clusters would remove every shortcut."
    assert "one labelled image, of 2 of digit_net (proven: fewer do not do)" in lines[4]
    assert listed(outcome) == ["01323", "01412"]
    assert re.split(r"  +", lines[-1]) == ["01412 (2->4, 3->1, 4->2)", "merging", "42.9%", "5.6%", "38.9%", "20.0%"]
    nothing_but()


def test_a_program_by_its_path(run: Run, write: Write) -> None:
    path = write("own.pl", FIVE)
    outcome = run("shortcuts", path, *ADD, *LONG)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == "own.pl, add(X, Y, S)"
    assert "There is no reasoning shortcut." in outcome.out
    assert listed(outcome) == []


@pytest.mark.parametrize(("options", "number"), [(("0",), 0), (("3",), 3), ((), 10), (("100",), 35)])
def test_how_many_are_listed(run: Run, options: tuple[str, ...], number: int) -> None:
    outcome = run("shortcuts", "mnist_evenodd", *(("--list", *options) if options else ()), *LONG)
    assert (outcome.code, outcome.err) == (0, "")
    found = listed(outcome)
    assert len(found) == number
    assert found[:1] == ["5678901234"][:number]
    assert ("There are more: --list N." in outcome.out) == (number in (3, 10))


def test_help_names_it(run: Run) -> None:
    outcome = run("--help")
    assert "nesy-gedi shortcuts mnist_half" in outcome.out
    assert re.search(r"^ +shortcuts +Count, list and repair", outcome.out, re.MULTILINE)
    own = run("shortcuts", "--help").out
    for option in ("--support", "--family", "--bijective", "--list", "--max-seconds", "--cnf", "--json", "--query"):
        assert option in own


# -- what scripts rely on ----------------------------------------------------------------------------------------------


def test_the_keys_of_the_contract(run: Run) -> None:
    found = document(run, "mnist_half")
    assert found["version"] == 1
    assert set(CONTRACT) <= set(found)
    assert {"labels", "answers"} <= set(found["repair"])
    assert (found["family"], found["count"], found["bijective_count"], found["exact"]) == ("shared", 3, 1, True)
    assert [shortcut["maps"]["digit_net"]["4"] for shortcut in found["shortcuts"]] == ["3", "2"]
    assert found["repair"]["labels"] == [{"network": "digit_net", "symbol": "2"}]
    assert found["repair"]["answers"] == ["0 2"]


def test_the_page_names_every_key_and_no_other(run: Run) -> None:
    page = PAGE.read_text(encoding="utf-8").partition("## In JSON")[2].partition("\n## ")[0]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    documented = {key for line in rows for key in re.findall(r"`(\w+)`", line.split("|")[1])}
    found = document(run, "mnist_half")
    assert documented == set(found) - {"version"}
    told = " ".join(rows)
    for inner in (found["shortcuts"][0], found["repair"], found["support"]):
        for key in inner:
            assert f"`{key}`" in told, key


def test_only_bounds_have_no_count(run: Run) -> None:
    found = run("shortcuts", "mnist_evenodd", "--max-seconds", "0.000001", "--json").document
    assert (found["count"], found["bijective_count"], found["exact"]) == (None, None, False)
    assert 1 <= found["at_least"] <= 36 <= found["at_most"]
    assert "--max-seconds allows more" in " ".join(found["statements"])


@pytest.mark.parametrize(
    ("name", "family", "counts"),
    [
        ("mnist_half", "shared", (3, 1)),
        ("mnist_half", "factored", (9, 1)),
        ("mnist_half", "joint", (576, None)),
        ("mnist_evenodd", "shared", (36, 2)),
        ("mnist_evenodd", "factored", (1296, 4)),
        ("xor", "shared", (2, 2)),
        ("xor", "factored", (2, 2)),
        ("xor", "joint", (16, None)),
        ("parity", "shared", (1, 1)),
        ("parity", "factored", (4, 4)),
        ("parity", "joint", (65536, None)),
    ],
)
def test_families(run: Run, name: str, family: str, counts: tuple[int, int | None]) -> None:
    found = document(run, name, "--family", family)
    assert (found["family"], found["count"]) == (family, counts[0])
    if counts[1] is not None:
        assert found["bijective_count"] == counts[1]
    else:
        assert (found["repair"], found["shortcuts"]) == (None, [])


def test_bijective(run: Run) -> None:
    found = document(run, "mnist_evenodd", "--bijective")
    assert (found["bijective"], found["count"], found["bijective_count"]) == (True, 2, 2)
    assert [shortcut["type"] for shortcut in found["shortcuts"]] == ["shift by 5"]
    assert len(found["repair"]["labels"]) == 1


# -- what training shows -----------------------------------------------------------------------------------------------


def test_support(run: Run, write: Write) -> None:
    shown = document(run, "mnist_half")
    assert shown["support"] == {"origin": "data.support of the recipe", "tuples": 7}
    full = document(run, "mnist_half", "--support", "full")
    assert (full["support"], full["count"]) == ({"origin": "all that have an answer", "tuples": 25}, 1)
    write("shown.txt", "# two sums\n0 1 = 1\n1 0\n")
    listed = document(run, "mnist_half", "--support", "shown.txt")
    assert listed["support"] == {"origin": "those in shown.txt", "tuples": 2}
    # 0 + 1 = 1: two readings of both; 2, 3 and 4 are read as anything.
    assert (listed["count"], listed["bijective_count"]) == (2 * 5**3, 2 * 6)


def test_support_of_the_training_queries(run: Run) -> None:
    found = document(run, "addition", "--support", "train", "--limit", "6", "--seed", "1")
    assert found["support"]["origin"] == "those of the 6 training queries on digits, seed 1"
    assert 1 <= found["support"]["tuples"] <= 6
    assert document(run, "addition", "--support", "train", "--limit", "6", "--seed", "1") == found
    other = document(run, "addition", "--support", "train", "--limit", "6", "--seed", "2")
    assert (other["support"]["origin"], other["count"]) != (found["support"]["origin"], found["count"])
    named = document(run, "addition", "--support", "train", "--limit", "6", "--seed", "1", "--data", "digits")
    assert named == found


def test_random_rules_are_explained(run: Run, write: Write) -> None:
    write(
        "random.pl",
        FIVE
        + "0.25 :: slip.\nodd(X, yes) :- digit(X, D), 1 is D mod 2, \\+ slip.\nodd(X, no) :- digit(X, D), slip, D > -1.\n"
        "odd(X, no) :- digit(X, D), 0 is D mod 2, \\+ slip.\n",
    )
    outcome = run("shortcuts", "random.pl", "--query", "odd(X, A)", *LONG, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.document
    # Even digits are read as even ones (3 each), odd ones as odd ones (2 each).
    assert (found["random"], found["count"], found["bijective_count"]) == (True, 3**3 * 2**2, 12)
    assert "every answer is as probable as before" in " ".join(found["statements"])


# -- the file for other tools ------------------------------------------------------------------------------------------


def models(path: Path) -> int:
    """How many assignments satisfy a small DIMACS file whose booleans say which symbol each of five is read as."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("c")]
    _, kind, booleans, clauses = lines[0].split()
    assert kind == "cnf"
    read = [[int(literal) for literal in line.split()[:-1]] for line in lines[1:]]
    assert (len(read), int(booleans)) == (int(clauses), 25)
    assert max(abs(literal) for clause in read for literal in clause) == 25
    found = 0
    for maps in product(range(5), repeat=5):
        true = {1 + 5 * k + value for k, value in enumerate(maps)}
        found += all(any((literal > 0) == (abs(literal) in true) for literal in clause) for clause in read)
    return found


@pytest.mark.parametrize(("flags", "count"), [((), 3), (("--bijective",), 1)])
def test_cnf(run: Run, flags: tuple[str, ...], count: int) -> None:
    outcome = run("shortcuts", "mnist_half", "--cnf", "half.cnf", *flags, "--json", *LONG)
    assert (outcome.code, outcome.err) == (0, "The count as DIMACS CNF: half.cnf\n")
    assert outcome.document["count"] == count
    nothing_but("half.cnf")
    assert models(Path("half.cnf")) == count


def test_cnf_that_cannot_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("shortcuts", "mnist_half", "--family", "joint", "--cnf", "x.cnf").failed(
        2, "--cnf: whole tuples are counted in closed form", "hint: leave --family joint out"
    )
    run("shortcuts", "mnist_half", "--cnf", "nowhere/x.cnf").failed(
        2, "nowhere/x.cnf cannot be written: there is no such folder", "hint: name"
    )
    Path("folder").mkdir()
    run("shortcuts", "mnist_half", "--cnf", "folder").failed(2, "--cnf: folder is a folder", "hint: name a file")
    monkeypatch.setattr(dimacs, "MAX_CLAUSES", 20)
    run("shortcuts", "mnist_half", "--cnf", "x.cnf").failed(2, "no more than 20 are written", "hint:")
    nothing_but("folder")


# -- wrong -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--family", "banana"), ["there is no family banana", "one of: shared, factored, joint"]),
        (("--max-seconds", "0"), ["--max-seconds: nothing can be counted in 0 seconds"]),
        (("--max-seconds", "-3"), ["--max-seconds: nothing can be counted in -3 seconds"]),
        (("--max-seconds", "nan"), ["--max-seconds: nothing can be counted in nan seconds"]),
        (("--list", "-1"), ["--list: -1 shortcuts cannot be listed"]),
        (("--data", "mnist"), ["--data says which queries are drawn", "add --support train"]),
        (("--data-dir", "."), ["--data-dir says which queries are drawn", "add --support train"]),
        (("--limit", "5"), ["--limit says which queries are drawn", "add --support train"]),
        (("--seed", "5"), ["--seed says which queries are drawn", "add --support train"]),
        (("--support", "full", "--limit", "5"), ["--limit says which queries are drawn", "add --support train"]),
        (("--support", "missing.txt"), ["missing.txt is neither full nor train, and there is no such file"]),
        (("--support", "train", "--data", "banana"), ['no data set is named "banana"']),
        (("--query", "addition(X, Y"), ["addition(X, Y: not a query form"]),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], said: list[str]) -> None:
    outcome = run("shortcuts", "mnist_half", *arguments)
    outcome.failed(2, "error: ", "hint: ", *said)
    assert len(outcome.err.splitlines()) == 2
    nothing_but()


def test_programs_that_are_not_there(run: Run) -> None:
    run("shortcuts").failed(2, "Missing argument 'PROGRAM'")
    run("shortcuts", "mnist_half", "--list", "many").failed(2, "Invalid value for '--list'")
    run("shortcuts", "mnist_hlaf").failed(2, "there is no bundled program mnist_hlaf", "did you mean mnist_half?")
    run("shortcuts", "nowhere.pl", *ADD).failed(2, "nowhere.pl", "hint:")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("0 1\n2 3 = 6\n", 2, ["the program derives not the answer 6 when", "= 2", "= 3", "it derives 5"]),
        ("0 1 2\n", 1, ['"0 1 2" has 3 symbols; a tuple has 2']),
        ("\n0 9\n", 2, ["9 is no symbol of net(Y)"]),
    ],
)
def test_wrong_lines_of_a_support(run: Run, write: Write, text: str, line: int, said: list[str]) -> None:
    write("own.pl", FIVE)
    write("shown.txt", text)
    run("shortcuts", "own.pl", *ADD, "--support", "shown.txt").failed(1, f"shown.txt, line {line}", "hint:", *said)


def test_an_answer_that_cannot_be_derived_is_named_with_its_query(run: Run, write: Write) -> None:
    write("own.pl", FIVE.replace("S is", "A < B, S is"))
    write("shown.txt", "0 1 = 1\n3 2 = 5\n")
    run("shortcuts", "own.pl", *ADD, "--support", "shown.txt").failed(
        1, "shown.txt, line 2, add(X, Y, S): the program derives no answer when net(X) = 3, net(Y) = 2", "hint:"
    )
    run("shortcuts", "mnist_half", "--set", 'data.support=["0 7"]').failed(2, "7 is no symbol of digit_net(Y)", "hint:")


def test_files_that_are_no_support_and_data_that_is_not_there(run: Run, write: Write) -> None:
    Path("folder").mkdir()
    run("shortcuts", "mnist_half", "--support", "folder").failed(1, "folder: the tuples cannot be read", "hint:")
    Path("binary").write_bytes(b"\x89PNG\xff\x00")
    run("shortcuts", "mnist_half", "--support", "binary").failed(1, "binary: the tuples cannot be read: it is no text")
    write("empty.txt", "")
    run("shortcuts", "mnist_half", "--support", "empty.txt").failed(1, "empty.txt: no tuple is listed", "hint:")
    nowhere = ("--support", "train", "--data", "mnist", "--data-dir", ".")
    run("shortcuts", "mnist_half", *nowhere).failed(1, "MNIST handwritten digits not found", "--download")


@pytest.mark.parametrize(
    ("text", "query", "code", "said"),
    [
        ("nn(m, [X], Y) :: v(X, Y).\nq(X, Y) :- v(X, Y).", "q(X, Y)", 1, ["own.pl:1:", "give it a domain", "^"]),
        ("0.3 :: a.\nq(yes) :- a.", "q(X)", 2, ["no network perceives anything"]),
        (FIVE, None, 2, ["own.pl: no query form", '--query "addition(X, Y, Sum)"']),
        (FIVE, "sub(X, Y, S)", 2, ["the program has no predicate sub/3", "valid: add/3, digit/2"]),
        (FIVE.replace("S is", "A > 4, S is"), "add(X, Y, S)", 1, ["no answer to add(X, Y, S) can be derived"]),
        (FIVE.replace("[0..4]", "[0]"), "add(X, Y, S)", 1, ["two or more different symbols"]),
    ],
    ids=["infinite-domain", "no-image", "no-query", "no-predicate", "no-answer", "one-symbol"],
)
def test_programs_that_cannot_be_counted(
    run: Run, write: Write, text: str, query: str | None, code: int, said: list[str]
) -> None:
    write("own.pl", text + "\n")
    asked = () if query is None else ("--query", query)
    run("shortcuts", "own.pl", *asked).failed(code, "error: ", "hint:" if query != "add(X, Y, S)" else "error", *said)
    nothing_but("own.pl")


def test_too_many_tuples_for_all_of_them(run: Run) -> None:
    query = "multi_addition([A, B, C], [D, E, F], [G, H, I, J])"
    run("shortcuts", "multi_addition", "--query", query).failed(
        2, "more than 100,000", "--support train, or --support FILE"
    )


# -- before training ---------------------------------------------------------------------------------------------------


def test_training_says_once_how_many_groundings_fit(run: Run) -> None:
    outcome = run("train", "mnist_half", "--method", "answers", "--epochs", "1", "--device", "cpu", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("3 groundings fit the training answers; 1 if clusters are pure.") == 1
    assert "groundings" not in outcome.out
    quiet = run("train", "addition", *TINY, "--quiet", "--out", "quiet")
    assert "grounding fit" not in quiet.err + quiet.out


# -- known to be wrong -------------------------------------------------------------------------------------------------


def test_a_joint_count_of_very_many_digits_as_json(run: Run) -> None:
    """2,500 tuples, 1,250 of each answer: 1250^2500 has 7,743 digits."""
    text = "nn(n, [X], D, [0..49]) :: d(X, D).\nq(X, Y, S) :- d(X, A), d(Y, B), S is (A + B) mod 2.\n"
    Path("own.pl").write_text(text, encoding="utf-8")
    outcome = run("shortcuts", "own.pl", "--query", "q(X, Y, S)", "--family", "joint", "--max-seconds", "1", "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.document
    assert round(found["log10_count"]) == 7742


def test_cnf_named_as_the_working_folder(run: Run) -> None:
    run("shortcuts", "mnist_half", "--cnf", ".").failed(2, "--cnf: . is a folder", "hint: name a file")


@pytest.mark.parametrize("name", ["pipe", "own.pl"])
def test_cnf_replaces_nothing_else(run: Run, write: Write, name: str) -> None:
    path = write("own.pl", FIVE)
    os.mkfifo("pipe")
    run("shortcuts", "own.pl", *ADD, "--cnf", name, *LONG)
    assert (Path("pipe").is_fifo(), path.read_text(encoding="utf-8")) == (True, FIVE)


def test_a_label_of_no_symbol(run: Run) -> None:
    run("shortcuts", "mnist_half", "--set", 'networks.digit_net.labels=["7=1"]').failed(2, "7", "hint:")


def test_quoted_symbols_may_hold_what_divides_a_line(run: Run, write: Write) -> None:
    write("own.pl", "nn(n, [X], S, ['#', '=', a]) :: s(X, S).\nq(X, S) :- s(X, S).\n")
    write("shown.txt", "'#' = '#'\n'='\n")
    found = document(run, "own.pl", "--query", "q(X, S)", "--support", "shown.txt")
    assert found["support"]["tuples"] == 2


def test_no_shortcut_is_not_claimed_where_networks_may_mix(run: Run) -> None:
    outcome = run("shortcuts", "naming", *LONG)
    assert "There is no reasoning shortcut." not in outcome.out


def test_bounds_read_well(run: Run) -> None:
    outcome = run("shortcuts", "mnist_evenodd", "--max-seconds", "0.000001")
    assert "1 ways" not in outcome.out
    assert "at least 0" not in outcome.out
