"""``--json``: one document on stdout and nothing else, with the keys that scripts rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import TINY, TINY_PRETRAIN, Run

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

PRETRAINING_KEYS = (
    "objective",
    "run",
    "metrics.ami",
    "metrics.nmi",
    "metrics.nmi_random",
    "metrics.aligned_accuracy",
    "collapse.center",
    "collapse.effective_rank",
    "collapse.code_usage",
    "collapse.intracluster",
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


def test_pretrain_and_resume(run: Run) -> None:
    for command in (["pretrain", *TINY_PRETRAIN, "--out", "out"], ["pretrain", "--resume", "out"]):
        outcome = run(*command, "--json")
        assert outcome.code == 0, outcome.err
        document = outcome.document
        assert document["version"] == 1
        found = {key: value(document, key) for key in PRETRAINING_KEYS}
        assert (found["objective"], found["run"]) == ("falcon", "out")
        for key in PRETRAINING_KEYS[2:]:
            assert isinstance(found[key], float), key
        assert document["stages"].keys() == {"features", "clusters"}
        assert (document["seed"], document["data"], document["clusters"]) == (0, "digits", 10)


def test_diagnose(run: Run, finished_pretraining: Path, finished_run: Path) -> None:
    for target, network in ((finished_pretraining, "encoder"), (finished_run, "digit_net"), ("conv", "conv")):
        outcome = run("diagnose", target, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.err == ""
        document = outcome.document
        assert (document["version"], document["target"], document["data"]) == (1, str(target), "digits")
        found = document["networks"][network]
        for key in ("collapse.center", "collapse.effective_rank", "metrics.linear_probe", "metrics.neighbour_probe"):
            assert isinstance(value(found, key), float), key
        assert ("ami" in found["metrics"]) == ("code_usage" in found["collapse"]) == (target != "conv")
        assert isinstance(found["warnings"], list)
        assert {"linear_predictability", "invariance_ratio", "dimension_ratio", "nc1"} == found["idealised"].keys()


def test_inspect(run: Run, finished_run: Path) -> None:
    outcome = run("inspect", finished_run, "--out", "page.html", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    document = outcome.document
    assert (document["version"], document["run"], document["report"]) == (1, str(finished_run), "page.html")
    assert [concept["symbol"] for concept in document["concepts"]] == [str(digit) for digit in range(10)]
    for concept in document["concepts"]:
        assert concept.keys() >= {"network", "symbol", "clusters", "share", "confidence"}
        assert isinstance(concept["share"], float)
    assert len(document["confusion"]["digit_net"]) == 10
    assert document["learned_map"]["digit_net"].keys() == {str(digit) for digit in range(10)}
    nearest = document["nearest_map"]
    assert nearest.keys() >= {"maps", "distance", "identity"}
    assert document["nearest_shortcut"] == (None if nearest["identity"] else nearest)
    assert document["optimal_maps"].keys() >= {"count", "exact", "one_to_one", "tuples", "family", "mixing_not_counted"}
    assert document["calibration"]["digit_net"]["ece"] == document["metrics"]["concept_ece"]
    assert document["assignment"] is None


def test_ground(run: Run) -> None:
    document = run("ground", "addition", "--json").document
    assert document["version"] == 1
    (form,) = document["forms"]
    assert form["query"] == "addition(X, Y, Sum)"
    assert (form["answers"], form["method"]) == (19, "direct")
    assert {"nodes", "edges", "ground_s", "compile_s"} <= form.keys()
    assert form["obstacles"] == []


def test_obstacles(run: Run, write: Callable[[str, str], Path]) -> None:
    colours = "nn(net, [X], C, [red, green]) :: colour(X, C).\nalike(X, Y) :- colour(X, C), colour(Y, C).\n"
    program = write("p.pl", colours + "p(X, Y, Z) :- alike(X, Y).\np(X, Y, Z) :- alike(Y, Z).\n")
    (form,) = run("ground", program, "--query", "p(X, Y, Z)", "--json").document["forms"]
    (obstacle,) = form["obstacles"]
    assert obstacle.keys() == {"goal", "where", "kind", "parts", "shared", "rewrite"}
    assert (obstacle["goal"], obstacle["kind"]) == ("p(X,Y,Z)", "overlapping proofs")
    assert obstacle["parts"] == ["alike(X,Y)", "alike(Y,Z)"]
    assert obstacle["where"].endswith("p.pl:4:1")
    told = run("ground", program, "--query", "p(X, Y, Z)").out
    assert "p.pl:4:1: two proofs of p(X,Y,Z) can hold together: alike(X,Y); and alike(Y,Z)\n    rewrite: " in told


def test_query(run: Run, write: Callable[[str, str], Path]) -> None:
    program = write("coins.pl", "0.5 :: heads(a).\n0.6 :: heads(b).\nboth :- heads(a), heads(b).\nquery(both).\n")
    document = run("query", program, "--json").document
    assert document["version"] == 1
    assert document["answers"] == pytest.approx({"both": 0.3})


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("programs", {"addition", "multi_addition"}),
        ("data", {"digits", "mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "shapes", "moons", "circles"}),
        ("doctor", {"torch", "problog", "pysdd", "python", "devices"}),
    ],
)
def test_lists(run: Run, command: str, names: set[str]) -> None:
    outcome = run(command, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert names <= {item["name"] for item in outcome.document}


def test_an_error_leaves_stdout_empty(run: Run) -> None:
    for command in (
        ["train", "additoin"],
        ["pretrain", "--objective", "falcom"],
        ["evaluate", "nowhere"],
        ["inspect", "nowhere"],
        ["diagnose", "nowhere"],
        ["ground", "additoin"],
        ["query", "nowhere.pl"],
    ):
        outcome = run(*command, "--json")
        assert outcome.code in (1, 2)
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
