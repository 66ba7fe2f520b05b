"""Run folders that exist, cannot be written, are damaged, or belong to something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

QUICK = ("train", "addition", *TINY, "--quiet")


@pytest.fixture
def copy(finished_run: Path) -> Path:
    """A finished run of the test's own."""
    return Path(shutil.copytree(finished_run, "run"))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_never_overwritten_without_force(run: Run, copy: Path) -> None:
    before = listing(copy)
    run(*QUICK, "--seed", "1", "--out", copy).failed(1, "run: the folder exists", "--out", "--force")
    assert listing(copy) == before
    outcome = run(*QUICK, "--seed", "1", "--out", copy, "--force")
    assert outcome.code == 0, outcome.err
    assert "seed = 1" in (copy / "recipe.toml").read_text(encoding="utf-8")
    nothing_but("run")


def test_force_replaces_nothing_but_runs(run: Run) -> None:
    Path("precious").mkdir()
    Path("precious/thesis.txt").write_text("years of work", encoding="utf-8")
    Path("file").write_text("years of work", encoding="utf-8")
    for path in ("precious", "file", "precious/thesis.txt", "."):
        run(*QUICK, "--out", path, "--force").failed(1, "not a run folder", "hint:")
    assert Path("precious/thesis.txt").read_text(encoding="utf-8") == "years of work"
    nothing_but("file", "precious")


def test_force_follows_a_link_to_a_run(run: Run, copy: Path) -> None:
    Path("link").symlink_to(copy.name, target_is_directory=True)
    outcome = run(*QUICK, "--seed", "2", "--out", "link", "--force")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == "link"
    assert "seed = 2" in (copy / "recipe.toml").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made(run: Run) -> None:
    Path("file").write_text("", encoding="utf-8")
    run(*QUICK, "--out", "file/below/it").failed(
        1, "file/below/it: cannot make the run folder: Not a directory", "--out"
    )
    nothing_but("file")


def test_a_run_that_fails_at_once_leaves_nothing(run: Run) -> None:
    outcome = run(*QUICK, "--set", "training.learning_rate=1e30", "--out", "out")
    outcome.failed(1, "the loss became nan in epoch 1", "hint: lower training.learning_rate")
    nothing_but()


@pytest.mark.parametrize("command", [["evaluate"], ["train", "--resume"]], ids=["evaluate", "resume"])
def test_no_run_there(run: Run, command: list[str]) -> None:
    Path("empty").mkdir()
    for path in ("nowhere", "empty"):
        run(*command, path).failed(1, f"{path}: not a run folder", "hint:")


def checkpoint(folder: Path) -> Path:
    index = json.loads((folder / "checkpoints" / "index.json").read_text(encoding="utf-8"))
    return folder / "checkpoints" / str(index["best"])


def overwrite(name: str, content: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    return damage


def cut_model(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def spoil_model(folder: Path) -> None:
    (checkpoint(folder) / "model.safetensors").write_text("junk", encoding="utf-8")


def spoil_state(folder: Path) -> None:
    (checkpoint(folder) / "state.json").write_text("{", encoding="utf-8")


def remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def edit_program(folder: Path) -> None:
    program = folder / "program.pl"
    program.write_text(program.read_text(encoding="utf-8").replace("A + B", "A - B"), encoding="utf-8")


def narrow_network(folder: Path) -> None:
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("features = 128", "features = 64"), encoding="utf-8")


DAMAGE = [
    (cut_model, 1, "the checkpoint is damaged"),
    (spoil_model, 1, "the checkpoint is damaged"),
    (spoil_state, 1, "the checkpoint is damaged"),
    (remove_checkpoints, 1, "the run has no best checkpoint"),
    (overwrite("checkpoints/index.json", "{"), 1, "the checkpoint is damaged"),
    (overwrite("checkpoints/index.json", "[1]"), 1, "the checkpoint is damaged"),
    (overwrite("environment.json", "{"), 1, "environment.json cannot be read"),
    (overwrite("environment.json", "[]"), 1, "environment.json is damaged"),
    (overwrite("recipe.toml", "query ="), 2, "recipe.toml:1:8: not valid TOML"),
    (overwrite("recipe.toml", "[training]\nepoch = 1\n"), 2, "unknown key epoch"),
    (overwrite("program.pl", "a b.\n"), 1, "program.pl:1:"),
    (edit_program, 1, "program.pl is not the program that this run was trained with"),
    (narrow_network, 1, "the checkpoint does not fit the networks"),
]


@pytest.mark.parametrize(
    ("damage", "code", "said"), DAMAGE, ids=[f"{k}-{said[:40]}" for k, (_, _, said) in enumerate(DAMAGE)]
)
def test_damaged_run(run: Run, copy: Path, damage: Callable[[Path], None], code: int, said: str) -> None:
    damage(copy)
    before = listing(copy)
    run("evaluate", copy).failed(code, said)
    if damage is not remove_checkpoints:  # without any, training begins again
        (copy / "result.json").unlink()
        before.pop("result.json")
        run("train", "--resume", copy, "--quiet").failed(code, said)
    assert listing(copy) == before
    nothing_but("run")


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", ["[1]\n", "{}\n", "{", "\xff"])
def test_what_can_be_measured_again_is(run: Run, copy: Path, name: str, content: str) -> None:
    accuracy = json.loads((copy / "result.json").read_text(encoding="utf-8"))["metrics"]
    (copy / "result.json").unlink()
    (copy / name).write_text(content, encoding="latin-1")
    outcome = run("train", "--resume", copy, "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["metrics"] == accuracy


def test_a_run_may_be_moved(run: Run, copy: Path) -> None:
    copy.rename("elsewhere")
    for command in (["evaluate"], ["train", "--resume"]):
        outcome = run(*command, "elsewhere")
        assert outcome.code == 0, outcome.err
        assert outcome.last_line == "elsewhere"


def test_checkpoint_of_another_program(run: Run, copy: Path, write: Callable[[str, str], Path]) -> None:
    write("other.pl", (copy / "program.pl").read_text(encoding="utf-8").replace("A + B", "A * B"))
    run("train", "other.pl", "--resume", copy).failed(
        2, "addition.pl, not with other.pl", "hint: leave the program out"
    )
    assert run("train", "addition", "--resume", copy).code == 0


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (["--epochs", "5"], "training.epochs is 1 in the run and 5 on the command line"),
        (["--seed", "3"], "seed is 0 in the run and 3 on the command line"),
        (["--limit", "41"], "data.train is 40 in the run and 41 on the command line"),
        (["--data", "mnist"], "data.source is 'digits' in the run and 'mnist' on the command line"),
        (["--query", "addition(A, B, C)"], "query is 'addition(X, Y, Sum)' in the run and 'addition(A, B, C)' on"),
        (["--encoder", "digit_net=own:factory"], "digit_net.encoder is 'conv' in the run and 'own:factory' on"),
        (["--set", "training.weight_decay=0.5"], "training.weight_decay is 0.0 in the run and 0.5 on the command line"),
        (["--out", "other"], "--out other conflicts with --resume run"),
        (["--set", "training.epoch=1"], "unknown key epoch in [training]"),
        (["--set", "speed=1"], "unknown key speed"),
    ],
)
def test_conflict_with_what_the_run_was_started_with(run: Run, copy: Path, flag: list[str], said: str) -> None:
    run("train", "--resume", copy, *flag).failed(2, said, "hint:")


def test_the_same_values_may_be_given_again(run: Run, copy: Path) -> None:
    same = ["--epochs", "1", "--limit", "40", "--seed", "0", "--data", "digits", "--encoder", "digit_net=conv"]
    outcome = run("train", "addition", "--resume", copy, *same, "--set", "training.weight_decay=0", "--out", copy)
    assert outcome.code == 0, outcome.err
