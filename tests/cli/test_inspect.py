"""``nesy-gedi inspect``: what it prints and writes, and every error that a user can meet."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import TINY, Run, nothing_but

from nesy_gedi.reports import inspection as inspecting


@pytest.fixture
def copy(finished_run: Path) -> Path:
    """A finished run of the test's own."""
    return Path(shutil.copytree(finished_run, "run"))


SLIPPING = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
t(_) :: silent.
say(X, D) :- digit(X, D), \\+ silent.
say(X, nothing) :- silent.
"""


def test_learned_probabilities_are_told(run: Run, write: Callable[[str, str], Path]) -> None:
    recipe = Path(__file__).parents[2].joinpath("programs", "addition.toml").read_text(encoding="utf-8")
    write("say.toml", recipe.replace("addition(X, Y, Sum)", "say(X, W)"))
    trained = run("train", write("say.pl", SLIPPING), *TINY, "--quiet", "--out", "run")
    assert trained.code == 0, trained.err
    (told,) = [line for line in trained.out.splitlines() if "learned:" in line]
    outcome = run("inspect", "run", "--device", "cpu")
    assert told in outcome.out.splitlines()
    document = run("inspect", "run", "--device", "cpu", "--json").document
    ((clause, probabilities),) = document["learned"].items()
    assert told == f"  learned: {clause}: {', '.join(f'{p:.4f}' for p in probabilities)}"
    for page in ("report.html", "inspect.html"):
        assert "Learned probabilities" in Path("run", page).read_text(encoding="utf-8")


def test_the_verdict_the_symbols_and_the_report(run: Run, copy: Path) -> None:
    outcome = run("inspect", copy, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "answers right" in outcome.out
    for words in (
        "ymbols of digit_net",
        "combinations of symbols that training shows",
        "calibration of digit_net: ECE 0.",
    ):
        assert words in outcome.out
    rows = [line.split() for line in outcome.out.splitlines() if "%" in line and line.strip()[0].isdigit()]
    assert [row[0] for row in rows] == [str(digit) for digit in range(10)]
    assert outcome.out.splitlines()[-2:] == ["report: run/inspect.html", "run"]
    page = Path("run/inspect.html").read_text(encoding="utf-8")
    assert "<h2>Learned symbols</h2>" in page
    # The report of the training is the same page.
    assert Path("run/report.html").read_text(encoding="utf-8").count("<h2>") == page.count("<h2>")


def test_the_report_may_go_elsewhere_and_is_overwritten(run: Run, finished_run: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/page.html").write_text("old", encoding="utf-8")
    outcome = run("inspect", finished_run, "--out", "elsewhere/page.html", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.document["report"] == "elsewhere/page.html"
    assert "<h1>addition on digits</h1>" in Path("elsewhere/page.html").read_text(encoding="utf-8")
    nothing_but("elsewhere")
    assert [path.name for path in Path("elsewhere").iterdir()] == ["page.html"]


def test_a_report_that_cannot_be_written(run: Run, copy: Path) -> None:
    Path("folder").mkdir()
    run("inspect", copy, "--out", "folder").failed(2, "folder is a folder", "hint: name a file")
    run("inspect", copy, "--out", "nowhere/page.html").failed(2, "there is no such folder", "hint: name a file")
    nothing_but("folder", "run")


@pytest.mark.parametrize("name", ["run/recipe.toml", "run/checkpoints/index.json", "thesis.odt"])
def test_only_pages_are_replaced(run: Run, copy: Path, name: str) -> None:
    """A slip must not cost the run, nor anything else."""
    file = Path(name)
    before = file.read_bytes() if file.exists() else b"years of work"
    file.write_bytes(before)
    run("inspect", copy, "--out", name).failed(2, f"{name} is there already and is no .html file", "hint: name a file")
    assert file.read_bytes() == before
    assert not (copy / "inspect.html").exists()


def test_a_place_that_cannot_be_written_is_refused_before_what_takes_long(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "inspect_run", lambda *_, **__: pytest.fail("it was measured"))
    with monkeypatch.context() as full:

        def refuse(**_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr("nesy_gedi.cli.targets.TemporaryFile", refuse)
        run("inspect", copy, "--out", "page.html").failed(
            1, "page.html: cannot be written: No space left on device", "hint: name another file with --out"
        )
    nothing_but("run")


def test_what_is_said_first_and_quiet_json(run: Run, copy: Path) -> None:
    outcome = run("inspect", copy, "--json", "--quiet", "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    document = outcome.document
    assert document["headline"] == "The symbols are not what they should be"
    optimal = document["optimal_maps"]
    assert (optimal["family"], optimal["mixing_not_counted"], optimal["answer_accuracy_unmixed"]) == (
        "shared",
        [],
        None,
    )
    lines = run("inspect", copy, "--device", "cpu").out.splitlines()
    assert lines[2] == f"{document['headline']}:"
    assert lines[3] == f"  {document['statements'][0]}"


def test_metrics_that_somebody_has_edited_are_not_drawn(run: Run, copy: Path) -> None:
    lines = ['{"epoch": 1, "train_loss": 1.0, "terms": {"answers": {}}}', '{"epoch": 1, "terms": 3}', "[]", "\x00"]
    (copy / "metrics.jsonl").write_text(lines[0], encoding="utf-8")
    for line in lines:
        (copy / "metrics.jsonl").write_text(line + "\n", encoding="utf-8")
        assert run("inspect", copy, "--device", "cpu").code == 0
        assert "No epoch of training" in (copy / "inspect.html").read_text(encoding="utf-8")


def test_a_pretraining_has_no_symbols(run: Run, finished_pretraining: Path) -> None:
    run("inspect", finished_pretraining).failed(
        1, "is a pretraining", f"hint: nesy-gedi diagnose {finished_pretraining}"
    )
    assert not (finished_pretraining / "inspect.html").exists()


def test_no_run_there(run: Run) -> None:
    Path("empty").mkdir()
    for path in ("nowhere", "empty"):
        run("inspect", path).failed(1, f"{path}: not a run folder", "hint: name a folder that nesy-gedi train has made")
    nothing_but("empty")


def test_an_unfinished_run(run: Run, copy: Path) -> None:
    (copy / "result.json").unlink()
    run("inspect", copy).failed(1, "run: the run is not finished", "hint: continue it: nesy-gedi train --resume run")


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_a_damaged_result(run: Run, copy: Path, content: str) -> None:
    (copy / "result.json").write_text(content, encoding="utf-8")
    run("inspect", copy).failed(1, "run: result.json is damaged", "nesy-gedi train --resume run")


def test_a_damaged_assignment(run: Run, copy: Path) -> None:
    (copy / "assignment.json").write_text('{"networks": {}}', encoding="utf-8")
    run("inspect", copy).failed(
        1, "run: assignment.json is damaged: there is no 'gap'", "hint: restore it, or move it away"
    )
    assert not (copy / "inspect.html").exists()


def test_data_that_is_not_there(run: Run, copy: Path) -> None:
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace('"digits"', '"mnist"'), encoding="utf-8")
    run("inspect", copy, "--data-dir", ".").failed(1, "MNIST handwritten digits not found", "--data-dir", "--download")
    assert not (copy / "inspect.html").exists()


def damage_checkpoint(folder: Path) -> None:
    index = json.loads((folder / "checkpoints/index.json").read_text(encoding="utf-8"))
    (folder / "checkpoints" / str(index["best"]) / "model.safetensors").write_text("junk", encoding="utf-8")


def edit_program(folder: Path) -> None:
    program = folder / "program.pl"
    program.write_text(program.read_text(encoding="utf-8").replace("A + B", "A - B"), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_checkpoint, "the checkpoint is damaged"),
        (edit_program, "program.pl is not the program that this run was trained with"),
        (lambda folder: (folder / "environment.json").write_text("{", encoding="utf-8"), "environment.json cannot be"),
    ],
    ids=["checkpoint", "program", "environment"],
)
def test_damaged_runs(run: Run, copy: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(copy)
    run("inspect", copy).failed(1, said, "hint:")
    assert not (copy / "inspect.html").exists()


def test_wrong_usage(run: Run, copy: Path) -> None:
    run("inspect").failed(2, "Missing argument 'RUN'")
    run("inspect", copy, "--device", "banana").failed(2, "unknown device banana")
    run("inspect", copy, "--data", "mnist").failed(2, "No such option")
    nothing_but("run")
