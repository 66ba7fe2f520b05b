"""Two goals asked together, from the command line: ground, train, resume, inspect, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from command_runs import Run, nothing_but, settings

BOTH = "addition(X, Y, Sum), product(X, Y, Product)"
SHORT = (
    *("--method", "answers", "--limit", "42", "--device", "cpu", "--quiet"),
    *settings("data.validation=7", "data.test=14", "data.outside=18"),
)


def test_ground_shows_the_pairs(run: Run) -> None:
    outcome = run("ground", "mnist_half", "--query", BOTH)
    assert outcome.code == 0, outcome.err
    # Every pair of a sum and a product that two digits from 0 to 4 have.
    pairs = sorted({(a + b, a * b) for a in range(5) for b in range(5)})
    assert outcome.out.splitlines()[-1] == "answers: " + "; ".join(f"{total},{times}" for total, times in pairs)
    document = run("ground", "mnist_half", "--set", f'query="{BOTH}"', "--json").document
    (form,) = document["forms"]
    assert (form["query"], form["answers"], form["method"]) == (BOTH, len(pairs), "direct")
    assert form["inputs"] == ["digit_net(X)", "digit_net(Y)"]
    assert form["cached"] is True  # the first call has kept it
    assert run("ground", "mnist_half", "--json").document["forms"][0]["cached"] is False


def test_train_resume_evaluate_and_inspect(run: Run) -> None:
    outcome = run("train", "mnist_half", "--set", f'query="{BOTH}"', *SHORT, "--epochs", "2", "--json", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert tomllib.loads(Path("out/recipe.toml").read_text(encoding="utf-8"))["query"] == BOTH
    metrics = outcome.document["metrics"]
    assert metrics["outside"]["tuples"] == 18
    assert run("evaluate", "out", "--json", "--device", "cpu").document["metrics"] == metrics
    found = run("inspect", "out", "--json", "--device", "cpu").document
    assert (found["optimal_maps"]["count"], found["optimal_maps"]["exact"]) == (1, True)
    assert (found["nearest_map"]["identity"], found["nearest_shortcut"]) == (True, None)
    # With another query form it is another run.
    resumed = run("train", "--resume", "out", "--query", "addition(X, Y, Sum)")
    resumed.failed(2, f"query is '{BOTH}' in the run and 'addition(X, Y, Sum)' on the command line")
    again = run("train", "--resume", "out", "--query", BOTH, "--json", "--quiet", "--device", "cpu")
    assert again.code == 0, again.err
    assert again.document["metrics"] == metrics


def test_a_dry_run_says_what_is_asked(run: Run) -> None:
    document = run("train", "mnist_evenodd", "--query", BOTH, *SHORT, "--dry-run", "--json").document
    assert (document["query"], document["answers"], document["circuit"]) == (BOTH, 55, "direct")
    nothing_but()


@pytest.mark.parametrize("command", ["ground", "train"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("addition(X, Y, Sum), prodct(X, Y, Product)", ("no predicate prodct/3", "did you mean product/3?")),
        ("addition(X, Y, Sum); product(X, Y, Product)", ("is a disjunction", "hint: write a rule for it")),
        ("addition(X, Y, Sum), \\+ product(X, Y, 0)", ("is a negation", "hint: write a rule for it")),
        ("addition(X, Y, Sum), product(X, Y, _)", ("a variable without a name", "hint: name every variable")),
        ("  ", ("the query form is empty", "hint: write for example addition(X, Y, Sum)")),
    ],
)
def test_what_is_refused(run: Run, command: str, query: str, said: tuple[str, ...]) -> None:
    run(command, "mnist_half", "--query", query).failed(2, "query form", *said)
    nothing_but()
