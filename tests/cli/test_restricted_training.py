"""A restricted training, as a user meets it: what is reported outside the support, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

HALF = ("train", "mnist_half", "--method", "answers", *TINY, "--quiet", "--out", "out")


def test_outside_is_reported_by_train_and_evaluate(run: Run) -> None:
    trained = run(*HALF, "--json")
    assert trained.code == 0, trained.err
    metrics = trained.document["metrics"]
    outside = metrics["outside"]
    assert outside["tuples"] == 18
    assert outside["queries"] == 18 * metrics["queries"] // 7
    assert outside["seen_answers"]["queries"] == outside["queries"] // 6  # 1 + 4, 4 + 1 and 3 + 3 of 18
    for figures in (metrics, outside, outside["seen_answers"]):
        for key in ("answer_accuracy", "concept_accuracy", "aligned_concept_accuracy", "ami", "concept_ece",
                    "concept_collapse", "concept_gap", "concept_entropy", "marginal_divergence"):  # fmt: skip
            assert isinstance(figures[key], float), key
        assert figures["networks"]["digit_net"]["learned_map"].keys() == set("01234")
    assert run("evaluate", "out", "--json").document["metrics"] == metrics

    shown = run("evaluate", "out")
    (line,) = [line for line in shown.out.splitlines() if "outside" in line]
    assert line == (
        f"  18 tuples outside the support, {outside['queries']} queries: answers right "
        f"{outside['answer_accuracy']:.4f}, concepts {outside['concept_accuracy']:.4f}, aligned "
        f"{outside['aligned_concept_accuracy']:.4f}"
    )
    assert sum("of these with answers that the support has" in line for line in shown.out.splitlines()) == 1


def test_nothing_is_said_where_nothing_lies_outside(run: Run) -> None:
    assert "outside" not in run(*HALF, "--set", "data.support=[]").out


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ('data.support=["0 0 0"]', 2, ["has 3 symbols; a tuple has 2: digit_net(X), digit_net(Y)", 'example "0 0"']),
        ('data.support=["0 44"]', 2, ["44 is no symbol of digit_net(Y)", "did you mean 4?"]),
        ('data.support=["0 1", "1 0"]', 2, ['"1 0" is in the support twice: "0 1" in another order']),
        ('data.support="0 1"', 2, ["data.support is a list of strings", "--set"]),
        ("data.outside=-1", 2, ["data.outside must be zero or more, not -1"]),
    ],
)
def test_mistakes(run: Run, setting: str, code: int, said: list[str]) -> None:
    run(*HALF, "--set", setting).failed(code, *said)
    nothing_but()


def test_a_support_for_which_there_is_no_answer(run: Run) -> None:
    text = "nn(net, [X], Y, [0..9]) :: digit(X, Y).\nhalf(X, H) :- digit(X, D), 0 is D mod 2, H is D // 2.\n"
    Path("half.pl").write_text(text, encoding="utf-8")
    command = ("train", "half.pl", "--query", "half(X, H)", "--method", "answers", *TINY, "--out", "out")
    run(*command, "--set", 'data.support=["2", "3"]').failed(1, "no answer when net(X) = 3", "data.support, half(X, H)")
    assert run(*command, "--set", 'data.support=["2", "4"]', "--quiet").code == 0


def test_the_programs_are_listed(run: Run) -> None:
    names = {item["name"] for item in run("programs", "--json").document}
    assert {"mnist_half", "mnist_evenodd", "xor", "parity", "product", "comparison"} <= names
