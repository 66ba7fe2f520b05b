"""``--json``: one document on stdout and nothing else, with the keys that scripts rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import TINY, Run

RESULT_KEYS = (
    "program",
    "run",
    "seed",
    "data",
    "metrics.answer_accuracy",
    "metrics.concept_accuracy",
    "metrics.aligned_concept_accuracy",
    "metrics.ami",
    "metrics.concept_ece",
    "time.total_s",
    "time.network_s",
    "time.logic_s",
    "time.grounding_s",
)


def value(document: Any, key: str) -> Any:
    for part in key.split("."):
        document = document[part]
    return document


def test_train_evaluate_and_resume(run: Run) -> None:
    for command in (
        ["train", "addition", *TINY, "--out", "out"],
        ["train", "--resume", "out"],
        ["evaluate", "out"],
    ):
        outcome = run(*command, "--json")
        assert outcome.code == 0, outcome.err
        document = outcome.document
        assert document["version"] == 1
        found = {key: value(document, key) for key in RESULT_KEYS}
        assert (found["run"], found["seed"], found["data"]) == ("out", 0, "digits")
        assert Path(found["program"]).name == "addition.pl"
        for key in RESULT_KEYS[4:]:
            assert isinstance(found[key], (int, float)), key


def test_ground(run: Run) -> None:
    document = run("ground", "addition", "--json").document
    assert document["version"] == 1
    (form,) = document["forms"]
    assert form["query"] == "addition(X, Y, Sum)"
    assert (form["answers"], form["method"]) == (19, "direct")
    assert {"nodes", "edges", "ground_s", "compile_s"} <= form.keys()


def test_query(run: Run, write: Callable[[str, str], Path]) -> None:
    program = write("coins.pl", "0.5 :: heads(a).\n0.6 :: heads(b).\nboth :- heads(a), heads(b).\nquery(both).\n")
    document = run("query", program, "--json").document
    assert document["version"] == 1
    assert document["answers"] == pytest.approx({"both": 0.3})


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("programs", {"addition", "multi_addition"}),
        ("data", {"digits", "mnist", "fashion-mnist", "kmnist", "svhn", "cifar10"}),
        ("doctor", {"torch", "problog", "pysdd", "python", "devices"}),
    ],
)
def test_lists(run: Run, command: str, names: set[str]) -> None:
    outcome = run(command, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert names <= {item["name"] for item in outcome.document}


def test_an_error_leaves_stdout_empty(run: Run) -> None:
    for command in (["train", "additoin"], ["evaluate", "nowhere"], ["ground", "additoin"], ["query", "nowhere.pl"]):
        outcome = run(*command, "--json")
        assert outcome.code in (1, 2)
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
