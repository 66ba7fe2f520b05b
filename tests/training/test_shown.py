"""What training shows: by recipe, in full, in a file, by queries; and the line that foretells how many groundings fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import SLIPPING

from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import AnswerError, DataError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import shown as showing
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.shown import Shown, foretell, shown_by_queries, shown_by_recipe, shown_in_file, shown_in_full
from nesy_gedi.training.task import Task

SUM = "addition(X, Y, Sum)"
FIVE = """
nn(digit_net, [X], Y, [0..4]) :: digit(X, Y).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
QUOTED = """
nn(net, [X], S, ['no sign', 'it\\'s red', stop]) :: s(X, S).
pair(X, Y, same) :- s(X, S), s(Y, S).
pair(X, Y, 'not the same') :- s(X, S), s(Y, T), S \\= T.
"""
ASCENDING = FIVE.replace("Sum is", "A < B, Sum is")


def bundled(name: str, **overrides: object) -> Task:
    found = find_program(name)
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return Task(Program.load(found.path), load_recipe(found.recipe, overrides=keys))


def own(text: str, query: str = SUM, **recipe: object) -> Task:
    return Task(Program(text, name="own.pl"), Recipe(query, **recipe))  # type: ignore[arg-type]


def tuples(shown: Shown) -> set[tuple[int, ...]]:
    """Of the symbols that networks see, the inputs in order."""
    return set(map(tuple, torch.stack(list(shown.symbols.values()), 1).tolist()))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def file(text: str) -> Path:
        path = tmp_path / "tuples.txt"
        path.write_text(text, encoding="utf-8")
        return path

    return file


# -- by recipe, in full, by queries ------------------------------------------------------------------------------------


def test_the_support_of_the_recipe() -> None:
    shown = shown_by_recipe(bundled("mnist_half"))
    assert tuples(shown) == {(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)}
    assert (shown.given, shown.origin) == ({}, "data.support of the recipe")


def test_everything_where_the_recipe_restricts_nothing() -> None:
    shown = shown_by_recipe(own(FIVE))
    assert tuples(shown) == {(a, b) for a in range(5) for b in range(5)}
    assert shown.origin == "all that have an answer"


def test_in_full_are_all_that_have_an_answer_whatever_the_recipe_says() -> None:
    task = own(ASCENDING, data=DataRecipe(support=("0 1",)))
    assert tuples(shown_by_recipe(task)) == {(0, 1)}
    assert tuples(shown_in_full(task)) == {(a, b) for a in range(5) for b in range(a + 1, 5)}


def test_too_many_tuples_for_all_of_them() -> None:
    task = bundled("multi_addition", query="multi_addition([A, B, C], [D, E, F], [G, H, I, J])")
    with pytest.raises(UsageError) as caught:
        shown_in_full(task)
    assert caught.value.message == "all tuples of symbols are 10 x 10 x 10 x 10 x 10 x 10, more than 100,000"
    assert str(caught.value.where).endswith("multi_addition.pl, multi_addition([A, B, C], [D, E, F], [G, H, I, J])")
    assert "--support" in str(caught.value.hint)


def test_values_that_come_with_the_query_are_given() -> None:
    task = bundled("multi_addition", query="multi_addition([X], [Y], [Z, U])")
    shown = shown_in_full(task)
    assert len(tuples(shown)) == 100
    assert set(shown.given) == {("target_net", "Z"), ("target_net", "U")}
    a, b = (shown.symbols["digit_net", slot] for slot in "XY")
    ones, tens = (shown.given["target_net", slot] for slot in "ZU")
    assert torch.equal(a + b, ones + 10 * tens)


def test_queries_show_the_true_symbols_of_their_images(digits: ImageSplits) -> None:
    task = bundled("multi_addition", query="multi_addition([X], [Y], [Z, U])", data__train=30)
    queries = task.queries(digits).train
    shown = shown_by_queries(task, queries, "those that were drawn")
    a, b = (shown.symbols["digit_net", slot] for slot in "XY")
    classes = queries.images.labels["class"].index[queries.index]
    assert torch.equal(torch.stack([a, b], 1), classes)
    assert torch.equal(a + b, shown.given["target_net", "Z"] + 10 * shown.given["target_net", "U"])
    assert shown.origin == "those that were drawn"


def test_several_networks_look_at_one_image(shapes: ImageSplits) -> None:
    task = bundled("naming", data__train=200)
    shown = shown_by_queries(task, task.queries(shapes).train)
    assert set(shown.symbols) == {("shape_net", "X"), ("colour_net", "X"), ("filled_net", "X")}
    assert len(tuples(shown)) == len(tuples(shown_in_full(task))) == 18


# -- in a file ---------------------------------------------------------------------------------------------------------


def test_lines_of_a_file(write: Callable[[str], Path]) -> None:
    path = write("# two digits\n0 1\n\n  2   3 = 5  # and a sum\n\t4 4=8\n0 1 # again\n")
    shown = shown_in_file(own(FIVE), path)
    assert tuples(shown) == {(0, 1), (2, 3), (4, 4)}
    assert shown.origin == f"those in {path}"
    assert ShownTuples(own(FIVE).reasoner, shown.symbols).codes.tolist() == [[0, 1], [2, 3], [4, 4]]


def test_lines_as_windows_ends_them(write: Callable[[str], Path]) -> None:
    assert tuples(shown_in_file(own(FIVE), write("0 1 = 1\r\n2 3 = 5\r\n"))) == {(0, 1), (2, 3)}


def test_quoted_symbols_and_answers(write: Callable[[str], Path]) -> None:
    task = own(QUOTED, "pair(X, Y, A)")
    path = write("'no sign' stop = 'not the same'\n'it\\'s red' 'it\\'s red' = same\n")
    index = {symbol: k for k, symbol in enumerate(task.program.networks["net"])}
    red = index["'it\\'s red'"]
    assert tuples(shown_in_file(task, path)) == {(index["'no sign'"], index["stop"]), (red, red)}


def test_values_that_are_given_are_derived_for_a_file(write: Callable[[str], Path]) -> None:
    task = bundled("multi_addition", query="multi_addition([X], [Y], [Z, U])")
    shown = shown_in_file(task, write("7 8\n"))
    assert (shown.given["target_net", "Z"].tolist(), shown.given["target_net", "U"].tolist()) == ([5], [1])


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("0 1\n0 1 2\n", 2, '"0 1 2" has 3 symbols; a tuple has 2: digit_net(X), digit_net(Y)', '"0 0"'),
        ("0\n", 1, '"0" has 1 symbols; a tuple has 2', '"0 0"'),
        ("= 3\n", 1, '"" has 0 symbols', '"0 0"'),
        ("# one\n\n0 7 = 7\n", 3, 'in "0 7", 7 is no symbol of digit_net(Y)', "valid: 0, 1, 2, 3, 4"),
    ],
)
def test_lines_that_are_no_tuple(write: Callable[[str], Path], text: str, line: int, message: str, hint: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as caught:
        shown_in_file(own(FIVE), path)
    assert message in caught.value.message
    assert caught.value.where == f"{path}, line {line}"
    assert hint in str(caught.value.hint)


def test_an_answer_that_the_program_does_not_derive(write: Callable[[str], Path]) -> None:
    path = write("0 1 = 1\n# the next is wrong\n2 3 = 6\n")
    with pytest.raises(AnswerError) as caught:
        shown_in_file(own(FIVE), path)
    assert caught.value.message == (
        "the program derives not the answer 6 when digit_net(X) = 2, digit_net(Y) = 3; it derives 5"
    )
    assert caught.value.where == f"{path}, line 3, {SUM}"


@pytest.mark.parametrize("line", ["3 1", "3 1 = 4"])
def test_a_tuple_without_any_answer(write: Callable[[str], Path], line: str) -> None:
    path = write(f"1 3\n{line}\n")
    with pytest.raises(AnswerError) as caught:
        shown_in_file(own(ASCENDING), path)
    assert caught.value.message == "the program derives no answer when digit_net(X) = 3, digit_net(Y) = 1"
    assert caught.value.where == f"{path}, line 2, {SUM}"
    assert caught.value.hint is not None


def test_random_rules_have_several_answers(write: Callable[[str], Path]) -> None:
    task = own(SLIPPING)
    assert tuples(shown_in_file(task, write("1 2 = 3\n1 2 = 4\n"))) == {(1, 2)}
    with pytest.raises(AnswerError) as caught:
        shown_in_file(task, write("1 2 = 5\n"))
    assert caught.value.message.endswith("it derives 3, 4")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = own(FIVE)
    file = tmp_path / "tuples.txt"

    def refused(path: Path) -> DataError:
        with pytest.raises(DataError) as caught:
            shown_in_file(task, path)
        assert caught.value.where == str(path)
        assert caught.value.hint is not None
        return caught.value

    assert refused(file).message == "the tuples cannot be read: No such file or directory"
    assert refused(tmp_path).message == "the tuples cannot be read: Is a directory"
    file.write_bytes(b"\xff\xfe\x00\x01")
    assert refused(file).message == "the tuples cannot be read: it is no text"
    for nothing in ("", "\n \n", "# 0 1\n"):
        file.write_text(nothing, encoding="utf-8")
        assert refused(file).message == "no tuple is listed"
    file.write_text("0 1\n" * 3, encoding="utf-8")
    monkeypatch.setattr(showing, "LONGEST_FILE", 12)
    assert tuples(shown_in_file(task, file)) == {(0, 1)}
    monkeypatch.setattr(showing, "LONGEST_FILE", 11)
    assert refused(file).message == "too long for a list of tuples"


# -- foretelling -------------------------------------------------------------------------------------------------------


def line_for(name: str, images: ImageSplits, **overrides: object) -> str | None:
    task = bundled(name, **overrides)
    return foretell(task, task.queries(images).train)


def test_what_is_foretold(digits: ImageSplits) -> None:
    assert line_for("mnist_half", digits) == "3 groundings fit the training answers; 1 if clusters are pure."
    assert line_for("mnist_evenodd", digits) == "36 groundings fit the training answers; 2 if clusters are pure."
    assert line_for("addition", digits) == "Only the right grounding fits the training answers."
    assert line_for("xor", digits) == "2 groundings fit the training answers; 2 if clusters are pure."


def test_what_networks_mix_is_not_counted(shapes: ImageSplits) -> None:
    said = line_for("naming", shapes)
    assert said == (
        "Only the right grounding fits the training answers, not counting those that mix what several networks read."
    )


def test_labels_that_are_told_settle_symbols(digits: ImageSplits) -> None:
    labels = {"networks.digit_net.labels": ("2=1",)}
    assert line_for("mnist_half", digits, **labels) == "Only the right grounding fits the training answers."
    one = {"networks.digit_net.labels": ("0=1",)}
    assert line_for("mnist_evenodd", digits, **one) == (
        "6 groundings fit the training answers; 1 if clusters are pure."
    )


def test_symbols_that_are_not_shown_are_counted(digits: ImageSplits) -> None:
    """A sum of 0 and 0 fixes 0 alone: 10^9 readings of the others, 9! of them one to one."""
    text = FIVE.replace("[0..4]", "[0..9]")
    task = own(text, data=DataRecipe(support=("0 0",), train=4), networks={"digit_net": NetworkRecipe()})
    assert foretell(task, task.queries(digits).train) == (
        "10^9.0 groundings fit the training answers; 362,880 if clusters are pure."
    )


def test_nothing_is_foretold_that_takes_long(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "CHEAP_SECONDS", 1e-9)
    assert line_for("mnist_evenodd", digits) is None


def test_values_that_are_given_are_never_misread(digits: ImageSplits) -> None:
    said = line_for("multi_addition", digits, query="multi_addition([X], [Y], [Z, U])", data__train=300)
    assert said == "Only the right grounding fits the training answers."
