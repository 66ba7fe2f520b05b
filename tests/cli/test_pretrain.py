"""``pretrain`` as a user meets it, and what a program makes of a pretraining."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_runs import TINY, TINY_PRETRAIN, Run, measured, nothing_but, settings, wait_for_epoch

from nesy_gedi.objectives import OBJECTIVES
from nesy_gedi.training.runs import PretrainingRun

Start = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str, str], Path]

PRETRAIN = ("pretrain", *TINY_PRETRAIN)

WITH_CODES = {
    "falcon": "clusters=64", "cissl": "output=8", "dissl": "clusters=20", "swav": "clusters=20", "dino": "clusters=20"
}  # fmt: skip
"""Of objectives whose defaults are large: a key that makes them small."""


@pytest.fixture
def copy(finished_pretraining: Path) -> Path:
    """A finished pretraining of the test's own."""
    return Path(shutil.copytree(finished_pretraining, "copy"))


def make_unfinished(folder: Path) -> None:
    """As if it had been killed when the last stage was done, before the results were."""
    for name in ("result.json", "perception.safetensors", "report.html"):
        (folder / name).unlink()


@pytest.fixture
def _without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have tests of their own, and take longer than such a run."""
    monkeypatch.setattr(
        "nesy_gedi.reports.pretraining_report.write_pretraining_report", lambda pretrained: pretrained.run.report_file
    )


quickly = pytest.mark.usefixtures("_without_report")


@quickly
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_pretrains_what_a_program_can_use(run: Run, objective: str) -> None:
    small = [f"stages.features.{WITH_CODES[objective]}"] if objective in WITH_CODES else []
    outcome = run(*PRETRAIN, "--objective", objective, *settings(*small), "--json", "--quiet", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert (outcome.document["objective"], outcome.document["clusters"]) == (objective, 10)
    for head in ("linear", "clusters"):
        use = ("--encoder", "digit_net=out", *settings(f"networks.digit_net.head={head}"))
        trained = run("train", "addition", *TINY, "--dry-run", *use, "--json")
        assert trained.code == 0, trained.err
        assert f'weights = "{Path("out").resolve()}"' in trained.document["recipe"]


def test_what_a_pretraining_leaves_behind(run: Run) -> None:
    outcome = run(*PRETRAIN, "--seed", "4", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == "out"
    assert "report: out/report.html" in outcome.out
    assert "no label used" in outcome.out
    assert "epoch 1: features, loss" in outcome.err
    assert "epoch 2: clusters, loss" in outcome.err
    assert "\x1b" not in outcome.out + outcome.err
    assert {path.name for path in Path("out").iterdir()} == {
        "checkpoints", "environment.json", "metrics.jsonl", "perception.safetensors", "recipe.toml", "report.html",
        "result.json", "stages.json"
    }  # fmt: skip
    assert not [path for path in Path("out").rglob("*") if ".part" in path.name]
    recipe = tomllib.loads(Path("out/recipe.toml").read_text(encoding="utf-8"))
    assert (recipe["seed"], recipe["data"]["limit"], recipe["stages"]["features"]["epochs"]) == (4, 120, 1)
    nothing_but("out")


@quickly
def test_quiet_says_nothing_on_stderr(run: Run) -> None:
    outcome = run(*PRETRAIN, "--quiet")
    assert outcome.code == 0
    assert outcome.err == ""
    assert Path(outcome.last_line).parent == Path("runs")
    assert Path(outcome.last_line).name.startswith("falcon-digits-")
    assert (Path(outcome.last_line) / "result.json").exists()


@quickly
@pytest.mark.parametrize(
    ("data", "objective", "more"),
    [
        ("moons", "gedi", ["stages.features.restarts=1"]),
        ("circles", "gedi", ["stages.features.restarts=1", "stages.density.epochs=1", "stages.density.passes=1"]),
        ("moons", "simclr", ['sequence=["features","clusters"]', "stages.clusters.epochs=1"]),
    ],
)
def test_points(run: Run, data: str, objective: str, more: list[str]) -> None:
    small = ["stages.features.epochs=1", "stages.features.passes=1", "sampler.size=200", "network.width=8", *more]
    named = [] if objective == "gedi" else ["--objective", objective]
    outcome = run("pretrain", "--data", data, "--limit", "100", *named, *settings(*small), "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert (outcome.document["objective"], outcome.document["clusters"]) == (objective, 2)


RANDOM_PRIOR = "[0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2]"

WRONG = [
    (["--objective", "falcom"], "there is no objective falcom", "did you mean falcon?"),
    (["--set", "stages.features.objective=simcrl"], "there is no objective simcrl", "did you mean simclr?"),
    (["--limit", "1"], "stages.features.batch_size: falcon needs batches of at least 2", "use more images"),
    (
        ["--limit", "5", *settings("stages.clusters.neighbours=5")],
        "5 images do not have 5 neighbours",
        "use more images",
    ),
    (["--limit", "2000"], "digits has 1437 training images, not 2000", "data.limit"),
    (["--limit", "0"], "Invalid value for '--limit'", "--help"),
    (["--seed", "-1"], "Invalid value for '--seed'", "--help"),
    (["--data", "digit"], 'no data set is named "digit"', "did you mean digits?"),
    (["--encoder", "cnn"], "there is no encoder cnn", "conv, mlp"),
    (["--encoder", "digit_net=conv"], "expected SPEC, found 'digit_net=conv'", "--encoder conv"),
    (["--encoder", "no_such_module:net"], "cannot get the encoder no_such_module:net: ModuleNotFoundError", "hint:"),
    (["--data", "moons", "--encoder", "conv"], "takes images", 'points need encoder = "mlp"'),
    (["--device", "gpu"], "unknown device gpu", "valid: auto, cpu, cuda"),
    (["--recipe", "nowhere.toml"], "nowhere.toml: cannot read the recipe", "No such file"),
    (settings("stages.clusters.clusters=1"), "stages.clusters.clusters: one cluster says nothing", "at least 2"),
    (settings("stages.features.clusters=-2"), "stages.features.clusters must be zero or more, not -2", "--set"),
    (settings("stages.features.batch_size=1"), "batch_size cannot be 1, expected a whole number at least 2", "hint:"),
    (settings("stages.features.constants.epsilon=0.1"), "epsilon cannot be 0.1, expected a number", "below 0.000488"),
    (settings("stages.features.constants.epsilom=0.1"), "falcon has no constant epsilom", "did you mean epsilon?"),
    (settings("stages.features.constants.epsilon=yes"), "epsilon is of type float, not 'yes'", "stages.features"),
    (settings("stages.features.prior=[0.5,0.5]"), "falcon has no prior", "use gedi"),
    (settings("stages.clusters.prior=[0.5,0.5]"), "a prior of shape (2,), expected (10,)", "10 probabilities"),
    (settings(f"stages.clusters.prior={RANDOM_PRIOR}"), "not a distribution: it sums to 2, not 1", "hint:"),
    (
        settings("stages.clusters.initial=kmeans", "stages.clusters.clusters=121"),
        "stages.clusters.clusters: k-means cannot find 121 clusters in 120 images",
        "hint: lower it, or use more images",
    ),
    (settings("precision=fp99"), "error: precision: cannot compute with precision fp99", "hint: valid: 32-true"),
    (settings("training.precision=32-true"), "unknown key training", "precision"),
    (["--set", "epochs"], "expected key=value, found 'epochs'", "for example --set stages.features.epochs=5"),
    (["--encoder", "tests"], "there is no encoder tests", "valid: conv, mlp, torchvision:NAME"),
    (settings("stage.features.epochs=1"), "unknown key stage", "did you mean stages?"),
    (settings("stages.feature.epochs=1"), "the recipe has no stage feature", "did you mean features?"),
    (settings("stages.features.epoch=1"), "unknown key epoch in [stages.features]", "did you mean epochs?"),
    (settings("stages.features.epochs=many"), "stages.features.epochs is a whole number", "the string 'many'"),
    (settings("stages.features.learning_rate=nan"), "stages.features.learning_rate must be positive, not nan", "--set"),
    (settings("stages.features.trains=al"), "stages.features: there is no trains al", "did you mean all?"),
    (settings("sampler.steps=0"), "sampler.steps must be in 1..10000, not 0", "--set"),
    (settings("augmentation.nois=1"), "unknown key nois in [augmentation]", "did you mean noise?"),
    (settings("data.attribute=colour"), "digits has no attribute colour", "valid: class"),
    (settings('sequence=["features","cluster"]'), "sequence names cluster", "features, clusters, refine, settle"),
    (settings('sequence=["clusters"]'), "the first stage must train the encoder", "hint:"),
    (settings('sequence=["features"]'), "the run would end without a clustering head", "hint:"),
    (settings("network.encoder=antigravity:fly"), "names Python code as an encoder: antigravity:fly", "--encoder SPEC"),
    (
        ["--objective", "gedi", *settings("stages.features.constants.generative=1")],
        "the generative term needs an encoder without batch normalisation",
        'network.normalisation = "none"',
    ),
]


@pytest.mark.parametrize(("arguments", "said", "next_step"), WRONG, ids=[" ".join(each[0])[:70] for each in WRONG])
def test_wrong_usage(run: Run, arguments: list[str], said: str, next_step: str) -> None:
    run(*PRETRAIN, *arguments, "--out", "out").failed(2, said, next_step)
    nothing_but()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_explicit_device_that_is_missing(run: Run) -> None:
    run(*PRETRAIN, "--device", "cuda", "--out", "out").failed(2, "there is no cuda: 0 CUDA devices found", "use auto")
    nothing_but()


def test_data_that_is_missing(run: Run) -> None:
    run("pretrain", "--data", "mnist", "--data-dir", "nowhere").failed(
        1, "MNIST handwritten digits not found", "nowhere", "--download", "--data-dir"
    )
    nothing_but()


RECIPES = {
    "not TOML": ("seed = = 1\n", "own.toml:1:8: not valid TOML", "seed = = 1"),
    "unknown stage key": (
        "[stages.features]\n\nepoch = 1\n", "own.toml:3: unknown key epoch in [stages.features]", "did you mean epochs?"
    ),
    "unused table": (
        "[when.mnist.stages.a]\nepochz = 1\n", "own.toml:2: unknown key epochz in [when.mnist.stages.a]", "epochs"
    ),
    "wrong type": ('[stages.a]\nepochs = "1"\n', "own.toml:2: stages.a.epochs is a whole number", "the string '1'"),
    "unknown objective": ('objective = "bjol"\n', "own.toml:1: there is no objective bjol", "did you mean byol?"),
    "no stages": ("seed = 1\n", "the recipe has no stages", "[stages.features]"),
    "no head": ("[stages.a]\n", "would end without a clustering head", 'trains = "head"'),
    "no such head": ('[stages.a]\n[stages.b]\ntrains = "head"\n', "falcon cannot train a linear clustering head", "gedi"),
    "unknown stage": ('sequence = ["b"]\n[stages.a]\n', "sequence names b, expected", ": a"),
}  # fmt: skip


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_mistakes_in_a_recipe_file_have_a_place(run: Run, write: Write, text: tuple[str, str, str]) -> None:
    written, said, next_step = text
    write("own.toml", written)
    run("pretrain", "--recipe", "own.toml", "--limit", "50", "--out", "out").failed(2, said, next_step)
    nothing_but("own.toml")


ENCODERS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 8)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.give(self.linear(images.flatten(1)).relu())

    def give(self, features):
        return features

class Good(Net): pass

class NotFinite(Net):
    def give(self, features): return features * float("nan")

class Infinite(Net):
    def give(self, features): return features / 0.0

class Map(Net):
    def give(self, features): return features[:, :, None, None]

class OneVector(Net):
    def give(self, features): return features.mean(0)

class Pair(Net):
    def give(self, features): return features, features

class PairInTraining(Net):
    def give(self, features): return (features, features) if self.training else features

class Whole(Net):
    def give(self, features): return features.round().long()

class TwoRows(Net):
    def give(self, features): return features[:2]

class NotFiniteOnInk(Net):
    def forward(self, images):
        return super().forward(images) / (images.flatten(1).std(1, keepdim=True) == 0).float()

class InPlace(Net):
    def give(self, features): return features.exp().mul_(2.0)

class FailsAt(Net):
    limit = 4

    def give(self, features):
        self.learned = getattr(self, "learned", 0) + self.training
        if self.learned > self.limit: raise ValueError("not this batch")
        return features

class ForColour(Net):
    def forward(self, images): return super().forward(images.view(-1, 3, 64))

class Blind(Net):
    def give(self, features): return features * 0.0

def number(): return 3
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("NotFinite", 1, "returns features that are not finite, of 120 of 120 images"),
        ("Infinite", 1, "returns features that are not finite, of 120 of 120 images"),
        ("NotFiniteOnInk", 1, "returns features that are not finite, of 120 of 120 images"),
        ("Pair", 2, "returns a tuple of 2 (Tensor, Tensor), expected a tensor of features (batch, d)"),
        ("ForColour", 2, "it does not take images of shape (1, 8, 8): RuntimeError: "),
        ("PairInTraining", 2, "returns a tuple of 2 (Tensor, Tensor), expected a tensor of features (batch, d)"),
        ("Whole", 2, "returns features of type int64, expected float"),
        ("TwoRows", 2, "returns 2 rows for 120 images, expected one row an image"),
        ("InPlace", 1, "there is no gradient of the encoder: RuntimeError: one of the variables"),
        ("Map", 2, "features of shape (2, 8, 1, 1), expected (batch, d)"),
        ("OneVector", 2, "features of shape (8,), expected (batch, d)"),
        ("number", 2, "number returned int, not a torch.nn.Module"),
    ],
)
def test_own_encoders_that_cannot_learn(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, name: str, code: int, said: str
) -> None:
    write("src/own_networks.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))
    outcome = run(*PRETRAIN, "--encoder", f"own_networks:{name}", "--out", "out")
    outcome.failed(code, said)
    assert "epoch 1" not in outcome.err
    assert "not a torch" in said or f"error: encoder own_networks:{name}: " in outcome.err
    nothing_but("src")


@quickly
def test_an_encoder_that_fails_in_the_middle_keeps_what_was_done(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/own_networks.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))
    long = (*PRETRAIN, *settings("stages.features.epochs=3"), "--encoder", "own_networks:FailsAt", "--quiet")
    # One batch before training, and two of each epoch.
    outcome = run(*long, "--out", "my run")
    said = "encoder own_networks:FailsAt: the encoder failed on a batch of shape (120, 1, 8, 8): ValueError: not this"
    command = "nesy-gedi pretrain --resume 'my run' --encoder own_networks:FailsAt"
    outcome.failed(1, said, f"hint: repair it and continue with {command}")
    assert len(PretrainingRun(Path("my run")).read_metrics()) == 1
    monkeypatch.setattr(sys.modules["own_networks"].FailsAt, "limit", 10**6)
    resumed = run("pretrain", "--resume", "my run", "--encoder", "own_networks:FailsAt", "--quiet", "--json")
    assert resumed.code == 0, resumed.err
    whole = run(*long, "--out", "whole", "--json")
    assert resumed.document["metrics"] == whole.document["metrics"]
    monkeypatch.setattr(sys.modules["own_networks"].FailsAt, "limit", 2)
    run(*long, "--out", "none").failed(1, said, "hint: repair it and start again")
    nothing_but("my run", "src", "whole")


@quickly
def test_an_encoder_that_sees_nothing_is_told_to_have_collapsed(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/own_networks.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))
    outcome = run(*PRETRAIN, "--encoder", "own_networks:Blind", "--out", "out")
    assert outcome.code == 0
    assert "! complete collapse" in outcome.out
    assert "! complete collapse" in outcome.err


@quickly
def test_the_python_of_a_folder_needs_trust(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("src/own_networks.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))
    assert run(*PRETRAIN, "--encoder", "own_networks:Good", "--quiet", "--out", "out").code == 0
    use = ("train", "addition", *TINY, "--quiet", "--encoder", "digit_net=out", "--out", "trained")
    commands = (use, ("pretrain", "--resume", "out"), ("diagnose", "out"))
    for command in commands:
        outcome = run(*command)
        outcome.failed(2, "names Python code as an encoder: own_networks:Good", "--trust")
        # No option that the command does not have.
        assert ("--encoder NET=SPEC" in outcome.err) == (command[0] == "train")
        assert "--encoder SPEC" not in outcome.err
    nothing_but("src", "out")
    for command in commands:
        outcome = run(*command, "--trust")
        assert outcome.code == 0, outcome.err


@quickly
def test_a_pretraining_is_never_overwritten_without_force(run: Run, copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    run(*PRETRAIN, "--seed", "1", "--out", copy).failed(1, "copy: the folder exists", "--out", "--force")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    outcome = run(*PRETRAIN, "--seed", "1", "--out", copy, "--force", "--quiet")
    assert outcome.code == 0, outcome.err
    assert "seed = 1" in (copy / "recipe.toml").read_text(encoding="utf-8")
    nothing_but("copy")


def test_force_replaces_nothing_but_runs(run: Run) -> None:
    Path("precious").mkdir()
    Path("precious/thesis.txt").write_text("years of work", encoding="utf-8")
    Path("file").write_text("years of work", encoding="utf-8")
    for path in ("precious", "file", "."):
        run(*PRETRAIN, "--out", path, "--force").failed(1, "not a run folder", "hint:")
    run(*PRETRAIN, "--out", "file/below").failed(1, "file/below: cannot make the run folder", "--out")
    assert Path("precious/thesis.txt").read_text(encoding="utf-8") == "years of work"
    nothing_but("file", "precious")


def test_a_run_that_fails_before_its_first_step_is_done_leaves_nothing(run: Run) -> None:
    outcome = run(*PRETRAIN, *settings("stages.features.learning_rate=1e30"), "--out", "out")
    outcome.failed(1, "not finite", "back to the last good state", "hint: lower the learning rate")
    nothing_but()


def test_points_cannot_be_turned(run: Run) -> None:
    turned = settings("augmentation.rotation=10")
    run("pretrain", "--data", "moons", "--limit", "100", *turned, "--out", "out").failed(2, "noise alone", "hint:")
    nothing_but()


@quickly
def test_resuming_what_is_finished_shows_it_again(run: Run, copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text(encoding="utf-8"))
    outcome = run("pretrain", "--resume", copy, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document == {**before, "run": "copy"}
    agreeing = ["--seed", "0", "--objective", "falcon", "--data", "digits", "--limit", "120", "--out", "copy"]
    assert run("pretrain", "--resume", copy, *agreeing, "--quiet").last_line == "copy"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "7"], "seed is 0 in the run and 7 on the command line"),
        (["--objective", "byol"], "objective is 'falcon' in the run and 'byol' on the command line"),
        (["--data", "mnist"], "data.source is 'digits' in the run and 'mnist' on the command line"),
        (["--limit", "50"], "data.limit is 120 in the run and 50 on the command line"),
        (["--encoder", "mlp"], "network.encoder is 'conv' in the run and 'mlp' on the command line"),
        (settings("stages.features.epochs=9"), "stages.features.epochs is 1 in the run and 9 on the command line"),
        (settings("stages.features.constants.beta=9"), "stages.features.constants.beta is None in the run and 9"),
        (settings("stages.more.epochs=9"), "the recipe has no stage more"),
        (settings('sequence=["more"]', "stages.more.epochs=9"), "'more'"),
        (settings("stages.more.epochs=9", 'sequence=["more"]'), "stages.more.epochs is None in the run and 9"),
        (["--out", "elsewhere"], "--out elsewhere conflicts with --resume copy"),
        (["--recipe", "own.toml"], "--recipe conflicts with --resume"),
    ],
)
def test_resuming_with_other_values(run: Run, copy: Path, arguments: list[str], said: str) -> None:
    run("pretrain", "--resume", copy, *arguments).failed(2, said, "hint:")
    nothing_but("copy")


def test_resuming_nothing_and_something_else(run: Run, finished_run: Path, finished_pretraining: Path) -> None:
    run("pretrain", "--resume", "nowhere").failed(1, "nowhere: not a pretraining run", "nesy-gedi pretrain")
    run("pretrain", "--resume", finished_run).failed(1, "not a pretraining run: it trains a program", "hint:")
    for command in (["train", "--resume"], ["evaluate"]):
        run(*command, finished_pretraining).failed(1, "this run is a pretraining", "nesy-gedi train PROGRAM --encoder")
    nothing_but()


LONG = (*PRETRAIN, *settings("stages.features.epochs=12"))


@quickly
def test_interrupted_in_a_stage_it_continues_to_the_same_end(run: Run, start: Start) -> None:
    process = start(*LONG, "--out", "my run")
    wait_for_epoch(process, 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "everything is saved" in err
    assert "nesy-gedi pretrain --resume 'my run'" in err
    assert not (Path("my run") / "result.json").exists()
    assert not [path for path in Path("my run").rglob("*") if ".part" in path.name]
    hint = "continue it with nesy-gedi pretrain --resume"
    run("diagnose", "my run").failed(1, "the pretraining is not finished", hint)
    run("train", "addition", "--encoder", "digit_net=my run").failed(1, "the pretraining is not finished", hint)
    nothing_but("my run")
    resumed = run("pretrain", "--resume", "my run", "--quiet", "--json")
    assert resumed.code == 0, resumed.err
    whole = run(*LONG, "--out", "whole", "--quiet", "--json")
    assert measured(resumed.document) == measured(whole.document)
    assert len(PretrainingRun(Path("my run")).read_metrics()) == 13


def test_killed_at_the_very_end_it_is_measured_again(run: Run, copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text(encoding="utf-8"))
    make_unfinished(copy)
    outcome = run("pretrain", "--resume", copy, "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert measured(outcome.document) == measured(before)


def test_results_of_stages_are_not_lost_in_silence(run: Run, copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text(encoding="utf-8"))
    make_unfinished(copy)
    for content in ("", "{", "[]", '{"features": 3}', '{"features": {"collapse": 3, "objective": "falcon"}}'):
        (copy / "stages.json").write_text(content, encoding="utf-8")
        run("pretrain", "--resume", copy).failed(1, "copy: stages.json is damaged", "restore the file, or remove it")
        assert (copy / "stages.json").read_text(encoding="utf-8") == content
    (copy / "stages.json").unlink()  # as the hint says
    outcome = run("pretrain", "--resume", copy, "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert "warning: copy/stages.json is not there: what features was worth will be missing" in outcome.err
    assert outcome.document["metrics"] == before["metrics"]
    assert list(outcome.document["stages"]) == ["clusters"]


@quickly
def test_lost_weights_of_a_finished_run_are_made_again(run: Run, copy: Path) -> None:
    weights = (copy / "perception.safetensors").read_bytes()
    (copy / "perception.safetensors").unlink()
    run("diagnose", copy).failed(1, "the pretraining is not finished", f"nesy-gedi pretrain --resume {copy}")
    assert run("pretrain", "--resume", copy, "--quiet").code == 0
    assert (copy / "perception.safetensors").read_bytes() == weights


@quickly
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"metrics": {}}', "none of it"])
def test_a_damaged_result_is_measured_again(run: Run, copy: Path, content: str) -> None:
    (copy / "result.json").write_text(content, encoding="utf-8")
    outcome = run("pretrain", "--resume", copy, "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert "metrics" in outcome.document


def test_damaged_weights(run: Run, copy: Path) -> None:
    (copy / "perception.safetensors").write_bytes(b"none of it")
    use = ("train", "addition", *TINY, "--encoder", "digit_net=copy", "--out", "out")
    for command in (use, ("diagnose", "copy"), ("pretrain", "--resume", "copy")):
        run(*command).failed(1, "perception.safetensors is damaged", "hint: restore the file, or pretrain again")
    nothing_but("copy")


@pytest.mark.parametrize("name", ["index.json", "state.json", "model.safetensors", "optimizer.safetensors"])
def test_damaged_checkpoints(run: Run, copy: Path, name: str) -> None:
    make_unfinished(copy)
    folder = copy / "checkpoints"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (folder / name if name == "index.json" else folder / index["last"] / name).write_text("[", encoding="utf-8")
    run("pretrain", "--resume", copy).failed(1, "the checkpoint is damaged", "hint:")


def test_a_damaged_environment(run: Run, copy: Path) -> None:
    about = json.loads((copy / "environment.json").read_text(encoding="utf-8"))
    use = ("train", "addition", *TINY, "--encoder", "digit_net=copy", "--out", "out")
    for shape in ("x", None, [1, 8, 8, 8], [0, 8, 8]):
        (copy / "environment.json").write_text(json.dumps({**about, "image_shape": shape}), encoding="utf-8")
        for command in (use, ("diagnose", "copy"), ("pretrain", "--resume", "copy")):
            run(*command).failed(1, "environment.json is damaged", "hint: restore the file")
    for content in ("{", "[]", "{}", json.dumps({**about, "kind": 7}), None):
        if content is None:
            (copy / "environment.json").unlink()
        else:
            (copy / "environment.json").write_text(content, encoding="utf-8")
        for command in (use, ("diagnose", "copy"), ("pretrain", "--resume", "copy")):
            run(*command).failed(1, "copy: environment.json", "hint: restore the file, or train again")
        run(*PRETRAIN, "--out", copy, "--force").failed(1, "copy: environment.json", "remove it yourself")
    nothing_but("copy")


def test_a_data_folder_that_is_no_path(run: Run, copy: Path) -> None:
    about = json.loads((copy / "environment.json").read_text(encoding="utf-8"))
    (copy / "environment.json").write_text(json.dumps({**about, "data_dir": 7}), encoding="utf-8")
    for command in (("diagnose", "copy"), ("pretrain", "--resume", "copy")):
        run(*command).failed(1, "environment.json is damaged: data_dir is 7, expected the path", "hint: restore")


def test_a_damaged_recipe(run: Run, copy: Path) -> None:
    recipe = (copy / "recipe.toml").read_text(encoding="utf-8")
    use = ("train", "addition", *TINY, "--encoder", "digit_net=copy", "--out", "out")
    assert recipe.count("width = 4") == 1
    assert recipe.count('"digits"') == 1
    for content, code, said in (
        ("", 1, "copy: recipe.toml is damaged: it has no stages"),
        (recipe.replace('"digits"', "7"), 2, "data.source is a string, not the number 7"),
        (recipe.replace("width = 4", "width = 8"), 1, "perception.safetensors does not fit recipe.toml"),
        (None, 2, "copy/recipe.toml: cannot read the recipe"),
    ):
        if content is None:
            (copy / "recipe.toml").unlink()
        else:
            (copy / "recipe.toml").write_text(content, encoding="utf-8")
        for command in (use, ("diagnose", "copy"), ("pretrain", "--resume", "copy")):
            run(*command).failed(code, said, "hint: restore")
    nothing_but("copy")


@pytest.mark.parametrize(
    ("encoder", "more", "code", "said"),
    [
        ("digit_net=copy/checkpoints", "", 2, "a folder, but not of a pretraining"),
        ("digit_net=nowhere", "", 2, "there is no encoder nowhere"),
        ("digit_ne=copy", "", 2, "did you mean digit_net?"),
        ("copy", "", 2, "expected NET=SPEC, found 'copy'"),
        ("digit_net=conv", "networks.digit_net.head=clusters", 2, "needs the pretraining that it comes from"),
        ("digit_net=copy", "networks.digit_net.head=cluster", 2, "there is no head cluster"),
    ],
)
def test_encoders_that_are_no_pretraining(run: Run, copy: Path, encoder: str, more: str, code: int, said: str) -> None:
    command = ("train", "addition", *TINY, "--encoder", encoder, *(settings(more) if more else ()))
    run(*command, "--out", "out").failed(code, said, "hint:")
    nothing_but(copy.name)


@quickly
def test_pretrainings_of_another_shape_or_width(run: Run) -> None:
    points = settings("stages.features.epochs=1", "stages.features.passes=1", "stages.features.restarts=1")
    made = run("pretrain", "--data", "moons", "--limit", "100", *points, "--quiet", "--out", "points")
    assert made.code == 0, made.err
    assert run(*PRETRAIN, *settings("stages.clusters.clusters=7"), "--quiet", "--out", "seven").code == 0
    use = ("train", "addition", *TINY, "--quiet", "--out", "out", "--encoder")
    run(*use, "digit_net=points").failed(2, "pretrained on images of shape (2,), not (1, 8, 8)", "hint:")
    wide = settings("networks.digit_net.head=clusters")
    run(*use, "digit_net=seven", *wide).failed(2, "has 7 clusters, the domain 10 symbols", 'head = "linear"')
    assert not Path("out").exists()
    assert run(*use, "digit_net=seven").code == 0
    # The same command again is no conflict; another pretraining is.
    assert run("train", "--resume", "out", "--encoder", "digit_net=seven", "--quiet").code == 0
    shutil.copytree("seven", "other")
    run("train", "--resume", "out", "--encoder", "digit_net=other").failed(2, "weights is", "seven", "other", "hint:")


def test_a_trained_program_does_not_need_its_pretraining_any_more(run: Run, copy: Path) -> None:
    trained = run("train", "addition", *TINY, "--quiet", "--json", "--encoder", f"digit_net={copy}", "--out", "out")
    assert trained.code == 0, trained.err
    shutil.rmtree(copy)
    for command in (["evaluate", "out"], ["train", "--resume", "out"]):
        outcome = run(*command, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.document["metrics"] == trained.document["metrics"]
    assert run("diagnose", "out").code == 0


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_sizes_and_writes_nothing(run: Run) -> None:
    outcome = run(*PRETRAIN, "--dry-run", "--out", "out")
    assert outcome.code == 0, outcome.err
    facts, table, recipe = outcome.out.split("\n\n", 2)
    assert "digits: 120 training, 360 test images of 1 x 8 x 8" in facts
    assert [line.split()[:7] for line in table.splitlines()[2:]] == [
        ["features", "falcon", "all", "1", "2", "60", "2048"],
        ["clusters", "gedi", "head", "1", "2", "60", "10"],
    ]
    assert tomllib.loads(recipe)["data"]["limit"] == 120
    nothing_but()


def test_a_dry_run_as_a_document(run: Run) -> None:
    outcome = run(
        *PRETRAIN, *settings("stages.clusters.initial=kmeans", "stages.clusters.epochs=0"), "--dry-run", "--json"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    document = outcome.document
    assert (document["version"], document["objective"], document["train"], document["clusters"]) == (
        1,
        "falcon",
        120,
        10,
    )
    # Two convolutions of 4 and 8 channels with batch normalisation, on one grey channel.
    assert document["parameters"] == 9 * 4 + 2 * 4 + 9 * 4 * 8 + 2 * 8
    assert document["stages"]["features"]["first_loss"] > 0
    assert document["stages"]["clusters"]["first_loss"] is None  # it stays as k-means has made it
    nothing_but()


def test_a_dry_run_of_a_run(run: Run, copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    document = run("pretrain", "--resume", copy, "--dry-run", "--json").document
    assert document["recipe"] == (copy / "recipe.toml").read_text(encoding="utf-8")
    run("pretrain", "--resume", copy, "--dry-run", "--seed", "7").failed(2, "seed is 0 in the run and 7")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_dry_run_fails_as_training_would(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("src/own_networks.py", ENCODERS)
    monkeypatch.syspath_prepend(str(Path("src").resolve()))
    for name, code, said in (
        ("Pair", 2, "a tuple of 2"),
        ("InPlace", 1, "no gradient"),
        ("NotFinite", 1, "not finite"),
    ):
        outcome = run(*PRETRAIN, "--encoder", f"own_networks:{name}", "--dry-run")
        outcome.failed(code, f"encoder own_networks:{name}: ", said)
    late = settings('sequence=["features","clusters","refine"]', "stages.refine.pool=true")
    run(*PRETRAIN, *late, "--dry-run").failed(2, "stages.refine.initial: this stage cannot go on", "hint:")
    nothing_but("src")
