"""``train`` as a user meets it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

MNIST = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"


def test_the_bundled_digits_are_learned_from_their_sums(run: Run) -> None:
    outcome = run("train", "addition", "--quiet", "--json", "--device", "cpu", "--out", "out")
    assert outcome.code == 0, outcome.err
    metrics = outcome.document["metrics"]
    assert metrics["concept_accuracy"] >= 0.95
    assert metrics["answer_accuracy"] >= 0.9
    again = run("evaluate", "out", "--json", "--device", "cpu")
    assert again.document["metrics"] == metrics


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not at {MNIST}")
def test_mnist_digits_are_learned_from_their_sums(run: Run) -> None:
    outcome = run(
        "train", "addition", "--data", "mnist", "--data-dir", MNIST.parent, "--device", "cpu",
        "--method", "answers", "--limit", "3000", "--epochs", "2",
        "--set", "data.validation=300", "--set", "data.test=500", "--quiet", "--json",
        "--out", "out",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.document["data"] == "mnist"
    assert outcome.document["metrics"]["concept_accuracy"] >= 0.9
    # The run remembers where its data was.
    again = run("evaluate", "out", "--json", "--device", "cpu")
    assert again.document["metrics"] == outcome.document["metrics"]


@pytest.mark.parametrize("program", ["crossing", "naming", "multi_addition"])
def test_every_bundled_program_trains(run: Run, program: str) -> None:
    outcome = run("train", program, *TINY, "--quiet", "--json", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert 0.0 <= outcome.document["metrics"]["answer_accuracy"] <= 1.0
    assert json.loads(Path("out/result.json").read_text(encoding="utf-8"))["run"] == "out"


def test_what_a_run_leaves_behind(run: Run) -> None:
    outcome = run("train", "addition", *TINY, "--out", "out", "--seed", "4")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == "out"
    assert {path.name for path in Path("out").iterdir()} == {
        "checkpoints", "environment.json", "metrics.jsonl", "program.pl", "recipe.toml", "report.html", "result.json"
    }  # fmt: skip
    assert not [path for path in Path("out").rglob("*") if ".part" in path.name]
    recipe = tomllib.loads(Path("out/recipe.toml").read_text(encoding="utf-8"))
    assert (recipe["seed"], recipe["data"]["train"], recipe["training"]["epochs"]) == (4, 40, 1)
    lines = Path("out/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1]
    nothing_but("out")


def test_runs_of_the_same_second_have_folders_of_their_own(run: Run) -> None:
    paths = {run("train", "addition", *TINY, "--quiet").last_line for _ in range(2)}
    assert len(paths) == 2
    for path in paths:
        assert Path(path).parent == Path("runs")
        assert Path(path).name.startswith("addition-")
        assert Path(path, "result.json").is_file()


def test_paths_with_spaces_accents_and_missing_parents(run: Run) -> None:
    folder = Path("some where/é 数")
    folder.mkdir(parents=True)
    program = folder / "añadir dígitos.pl"
    program.write_text(
        "% Größe\nnn(net, [X], Y, [0..9]) :: digit(X, Y).\nadd(X, Y, Z) :- digit(X, A), digit(Y, B), Z is A + B.\n",
        encoding="utf-8",
    )
    out = folder / "not" / "there yet"
    outcome = run("train", program, "--query", "add(X, Y, Z)", *TINY, "--out", out)
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == str(out)
    assert run("evaluate", out, "--json").document["run"] == str(out)
    assert (out / "program.pl").read_text(encoding="utf-8") == program.read_text(encoding="utf-8")


def test_dry_run_writes_nothing(run: Run) -> None:
    outcome = run("train", "addition", "--dry-run", *TINY)
    assert outcome.code == 0, outcome.err
    for words in (
        "nodes",
        "method       answers",
        "circuit      direct",
        "first_loss",
        "[networks.digit_net]",
        "epochs = 1",
    ):
        assert words in outcome.out
    document = run("train", "addition", "--dry-run", *TINY, "--json").document
    assert document["version"] == 1
    assert (document["answers"], document["train"]) == (19, 40)
    assert tomllib.loads(document["recipe"])["training"]["epochs"] == 1
    nothing_but()


def test_progress_goes_to_stderr_one_line_an_epoch(run: Run) -> None:
    outcome = run("train", "addition", "--method", "answers", "--limit", "40", "--epochs", "3", "--out", "out")
    lines = outcome.err.splitlines()
    assert "fit" in lines[0]  # how many groundings do
    assert [line for line in lines if line.startswith("epoch ")] == lines[2:]
    assert len(lines) == 5
    assert "epoch" not in outcome.out
    assert "\x1b" not in outcome.out + outcome.err
    for words in ("answers right", "digit_net", "network", "circuit", "grounding", "report: out"):
        assert words in outcome.out


def test_quiet_says_nothing_on_stderr(run: Run) -> None:
    assert run("train", "addition", *TINY, "--quiet", "--out", "out").err == ""


def test_the_same_seed_gives_the_same_run(run: Run) -> None:
    one, other, third = (
        run("train", "addition", *TINY, "--quiet", "--json", "--seed", seed, "--out", f"out{k}").document["metrics"]
        for k, seed in enumerate(("1", "1", "2"))
    )
    assert one == other
    assert one != third
