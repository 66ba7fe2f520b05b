"""``train`` with clusters, objectives and labels, as a user meets them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_runs import Run, nothing_but, settings, wait_for_epoch
from PIL import Image

from nesy_gedi.cli.main import main
from nesy_gedi.training.planning import EPOCHS, EPOCHS_OF_MANY, LEFT_OPEN

QUICK = (
    *("--device", "cpu", "--epochs", "1"),
    *settings("cotraining.steps=2", "cotraining.batch_size=32", "cotraining.neighbours=4"),
    *settings("data.validation=16", "data.test=16", "pretraining.seconds=0.3"),
)
SMALL_NETWORK = settings("networks.digit_net.width=4", "networks.digit_net.features=16")
PRETRAIN = settings(
    "pretraining.overrides.network.width=4",
    "pretraining.overrides.stages.features.epochs=1",
    "pretraining.overrides.stages.features.passes=1",
    "pretraining.overrides.stages.features.clusters=32",
    "pretraining.overrides.stages.features.output=32",
    "pretraining.overrides.stages.clusters.epochs=1",
    "pretraining.overrides.stages.clusters.passes=1",
    "pretraining.overrides.stages.clusters.restarts=1",
    "pretraining.overrides.stages.refine.epochs=0",
    "pretraining.overrides.stages.settle.epochs=0",
    "pretraining.attempts=1",
    "pretraining.seconds=0.3",
)
"""A pretraining of half a second, of ten clusters that are worth little."""

LABEL = "--label", "digit_net:3=2"


@pytest.fixture(scope="module")
def clusters_run(tmp_path_factory: pytest.TempPathFactory, finished_pretraining: Path) -> Path:
    """A run that began from a pretraining that was there, with two labels; read only."""
    path = tmp_path_factory.mktemp("clusters") / "run"
    with pytest.raises(SystemExit) as caught:
        main(
            ["train", "addition", *QUICK, *LABEL, "--limit", "30", "--encoder", f"digit_net={finished_pretraining}",
             "--quiet", "--out", str(path)]
        )  # fmt: skip
    assert caught.value.code == 0
    return path


# -- wrong -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["--method", "clsters"],
            2,
            ["method cannot be clsters; did you mean clusters? valid: answers, assignment, auto"],
        ),
        (["--objective", "gdi"], 2, ["gdi", "did you mean gedi?", "simclr"]),
        (
            ["--method", "answers", "--objective", "gedi"],
            2,
            [
                'cotraining.objective: method = "answers" has no objective beside the answers, not gedi',
                "hint: leave it out",
            ],
        ),
        (["--method", "assignment", "--epochs", "3"], 2, ["--epochs", "trains nothing for 3 epochs", "hint: leave"]),
        (["--method", "assignment", "--objective", "swav"], 2, ['method = "assignment" has no objective', "hint:"]),
        (
            ["--method", "cotraining", "--objective", "simclr", *settings("cotraining.prior=program")],
            2,
            ["cotraining.prior: simclr has no prior", "hint: leave it out"],
        ),
        (["--label", "digit_net"], 2, ["expected NET:SYMBOL=WHAT, found 'digit_net'", "--label digit_net:3=2"]),
        (["--label", "3=2"], 2, ["expected NET:SYMBOL=WHAT, found '3=2'", "hint:"]),
        (["--label", ":3=2"], 2, ["expected NET:SYMBOL=WHAT, found ':3=2'", "hint:"]),
        (["--label", "digit_net:3"], 2, ["expected NET:SYMBOL=WHAT, found 'digit_net:3'", "hint:"]),
        (["--label", "digit_net:=2"], 2, ["networks.digit_net.labels: expected SYMBOL=COUNT or SYMBOL=FILE", "3=2"]),
        (["--label", "digit_net:3="], 2, ["networks.digit_net.labels: expected SYMBOL=COUNT or SYMBOL=FILE", "hint:"]),
        (["--label", "digitnet:3=2"], 2, ["a network digitnet", "did you mean digit_net?"]),
        (["--label", "digit_net:12=2"], 2, ["12 is not in the domain", "did you mean"]),
        (["--label", "digit_net:3=9999"], 1, ["9999 images of 3 were asked for", "hint: ask for fewer"]),
        (["--label", "digit_net:3=folder"], 1, ["folder: this is a folder", "hint: name a PNG or JPEG"]),
        (["--label", "digit_net:3=three.png"], 1, ["three.png: there is no such file", "hint: name a PNG or JPEG"]),
        (["--label", "digit_net:3=text.png"], 1, ["this is no image that can be read", "hint:"]),
        (["--label", "digit_net:3=same.png", "--label", "digit_net:4=same.png"], 1, ["told to be 3 and 4", "hint:"]),
        (
            ["--method", "cotraining", *settings("cotraining.batch_size=5000")],
            2,
            ["fewer than a batch of 5000", "lower it"],
        ),
        (
            ["--method", "cotraining", *settings("cotraining.pool=some")],
            2,
            ["cotraining.pool cannot be some", "valid: all"],
        ),
        (["--method", "cotraining", *settings("cotraining.steps=0")], 2, ["cotraining.steps must be positive, not 0"]),
        (
            ["--method", "cotraining", *settings("networks.digit_net.prior=[0.5,0.5]")],
            2,
            ["the prior of digit_net is no distribution over its domain: 2 numbers for 10 symbols", "hint: give"],
        ),
        (
            ["--method", "cotraining", "--objective", "simclr", *settings(f"networks.digit_net.prior={[0.1] * 10}")],
            2,
            ["simclr has no prior", "hint: leave it out"],
        ),
        (
            ["--method", "clusters", *settings("pretraining.overrides.stages.featurs.epochs=1")],
            2,
            ["pretraining.overrides: the recipe has no stage featurs", "did you mean features?"],
        ),
        (
            ["--method", "clusters", *settings("pretraining.overrides.stages.settle.clusters=7")],
            2,
            ["7 clusters cannot stand for the 10 symbols of digit_net", "hint:"],
        ),
        (
            ["--method", "clusters", *settings("networks.digit_net.head=none")],
            2,
            ["clusters need a linear head of their own", 'method = "answers"'],
        ),
        (["--method", "clusters", *settings("pretraining.recipe=absent.toml")], 2, ["cannot read the recipe"]),
        (
            ["--method", "answers", *settings("cotraining.reconstruction=1")],
            2,
            [
                'cotraining.reconstruction: method = "answers" reconstructs no images',
                "hint: set it to 0, or choose method",
            ],
        ),
        (
            ["--method", "cotraining", *settings("cotraining.reconstruction=-1")],
            2,
            ["cotraining.reconstruction must be zero or more, not -1"],
        ),
        (
            ["--method", "answers", *settings("networks.digit_net.head=prototypes"), "--label", "digit_net:3=2"],
            2,
            ['head = "prototypes" needs pretrained features', "hint: name its folder: --encoder digit_net=RUN"],
        ),
        (
            ["--method", "clusters", *settings("networks.digit_net.head=prototypes")],
            2,
            ["prototypes and clusters are two ways to find what symbols look like", "hint: leave head out, or choose"],
        ),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("dry", [False, True], ids=["run", "dry"])
def test_wrong(run: Run, arguments: list[str], code: int, said: list[str], dry: bool) -> None:
    Path("folder").mkdir()
    Path("text.png").write_text("no image", encoding="utf-8")
    Image.new("L", (8, 8)).save("same.png")
    more = ["--dry-run"] if dry else ["--quiet", "--out", "out"]
    run("train", "addition", "--limit", "20", *arguments, *more).failed(code, *said)
    nothing_but("folder", "same.png", "text.png")


@pytest.mark.parametrize("dry", [False, True], ids=["run", "dry"])
def test_prototypes_of_symbols_without_a_label(run: Run, finished_pretraining: Path, dry: bool) -> None:
    told = [part for k in (0, 1, 2, 3, 5, 6, 8, 9) for part in ("--label", f"digit_net:{k}=1")]
    more = ["--dry-run"] if dry else ["--quiet", "--out", "out"]
    run(
        "train", "addition", "--limit", "20", "--encoder", f"digit_net={finished_pretraining}",
        *settings("networks.digit_net.head=prototypes"), *told, *more,
    ).failed(
        2, "networks.digit_net.labels: there are no prototypes of symbols without a labelled image: 4, 7\n",
        "hint: label one of each, for example --label digit_net:4=1",
    )  # fmt: skip
    nothing_but()


# -- what is planned ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "method", "objective"),
    [
        (["--limit", "20"], "clusters", "gedi"),
        (["--limit", "20", "--objective", "simclr"], "clusters", "simclr"),
        (["--limit", "20", "--method", "assignment"], "assignment", ""),
        (["--limit", "20", "--method", "answers"], "answers", ""),
        (["--limit", "20", "--method", "cotraining"], "cotraining", "gedi"),
        (["--limit", "600"], "answers", ""),
        (["--limit", "600", "--objective", "falcon"], "cotraining", "falcon"),
    ],
)
def test_a_dry_run_shows_what_is_planned(run: Run, arguments: list[str], method: str, objective: str) -> None:
    document = run("train", "addition", *arguments, "--dry-run", "--json").document
    recipe = tomllib.loads(document["recipe"])
    assert document["method"] == recipe["method"] == method
    assert recipe["cotraining"]["objective"] == objective
    network = recipe["networks"]["digit_net"]
    expected = ("clusters", 10) if method in ("clusters", "assignment") else ("linear", 0)
    assert (network["head"], network["clusters"]) == expected
    assert document["epochs"] == {"answers": 40, "assignment": 0}.get(
        method, EPOCHS if "20" in arguments else EPOCHS_OF_MANY
    )
    nothing_but()


def test_a_dry_run_in_words(run: Run) -> None:
    outcome = run("train", "addition", "--limit", "20", "--dry-run", *LABEL)
    assert outcome.code == 0, outcome.err
    for words in (
        "method       clusters",
        "circuit      direct",
        'method = "clusters"',
        'objective = "gedi"',
        "clusters = 10",
        "3=2",
    ):
        assert words in outcome.out
    nothing_but()


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_pretraining_that_is_there_is_assigned_and_trained_on(run: Run, clusters_run: Path) -> None:
    recipe = tomllib.loads((clusters_run / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["method"] == "clusters"  # by itself: 30 answers are few
    result = json.loads((clusters_run / "result.json").read_text(encoding="utf-8"))
    assert result["assignment"]["sentences"]
    assert json.loads((clusters_run / "assignment.json").read_text(encoding="utf-8"))["labels"] == 2
    again = run("evaluate", clusters_run, "--json", "--device", "cpu")
    assert again.document["metrics"] == result["metrics"]


def test_what_is_said_on_the_way(run: Run, finished_pretraining: Path) -> None:
    outcome = run(
        "train", "addition", "--limit", "2", "--method", "assignment", "--encoder", f"digit_net={finished_pretraining}",
        "--device", "cpu", "--set", "pretraining.seconds=0.3", "--out", "out",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "2 answers do not settle what every cluster is" in outcome.err
    assert "learning from clusters that answers name" in outcome.err
    assert outcome.last_line == "out"
    assert "do not settle" not in run("train", "--resume", "out", "--quiet").err


def test_labels_from_files_and_by_number(run: Run) -> None:
    Image.new("L", (8, 8), 90).save("three.png")
    arguments = ["train", "addition", "--limit", "20", "--method", "cotraining", *QUICK, *SMALL_NETWORK, "--out", "out"]
    outcome = run(*arguments, *LABEL, "--label", "digit_net:3=three.png", "--objective", "vicreg", "--json")
    assert outcome.code == 0, outcome.err
    recipe = tomllib.loads(Path("out/recipe.toml").read_text(encoding="utf-8"))
    assert recipe["networks"]["digit_net"]["labels"] == ["3=2", f"3={Path('three.png').resolve()}"]
    assert recipe["cotraining"]["objective"] == "vicreg"
    # The same, named from here or from anywhere.
    for file in ("three.png", Path("three.png").resolve()):
        again = run("train", "--resume", "out", *LABEL, "--label", f"digit_net:3={file}", "--quiet", "--json")
        assert again.code == 0, again.err
        assert again.document == outcome.document
    Path("three.png").unlink()  # a finished run does not need it
    assert run("train", "--resume", "out", "--quiet").code == 0


def test_prototypes_and_reconstruction_together(run: Run, finished_pretraining: Path) -> None:
    told = [part for k in range(10) for part in ("--label", f"digit_net:{k}=2")]
    chosen = settings("networks.digit_net.head=prototypes", "cotraining.reconstruction=2", "cotraining.weight=0")
    outcome = run(
        "train", "addition", "--limit", "20", *QUICK, "--encoder", f"digit_net={finished_pretraining}", *chosen, *told,
        "--out", "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.document["method"] == "cotraining"  # by itself
    (line,) = (json.loads(line) for line in Path("out/metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert 0.3 < line["terms"]["reconstruction"] < 2.0
    again = run("evaluate", "out", "--json", "--device", "cpu")
    assert again.document["metrics"] == outcome.document["metrics"]
    assert run("inspect", "out", "--json").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "answers"], "method is 'clusters' in the run and 'answers' on the command line"),
        (["--objective", "simclr"], "cotraining.objective is 'gedi' in the run and 'simclr' on the command line"),
        (["--label", "digit_net:3=1"], "networks.digit_net.labels is ('3=2',) in the run and ('3=1',) on"),
        (settings("cotraining.views=augmentation"), "cotraining.views is 'neighbours' in the run"),
        (
            settings("pretraining.overrides.stages.features.epochs=5"),
            "pretraining.overrides is {} in the run and {'stages.",
        ),
        (settings('pretraining.overrides."stages.features.epochs"=5'), "pretraining.overrides is {} in the run"),
        (settings("networks.digit_net.clusters=12"), "networks.digit_net.clusters is 10 in the run and 12 on"),
        (settings("pretraining.attempt=1"), "unknown key attempt"),
    ],
    ids=lambda value: " ".join(value)[:60] if not isinstance(value, str) else "",
)
def test_conflict_with_what_the_run_was_started_with(
    run: Run, clusters_run: Path, arguments: list[str], said: str
) -> None:
    run("train", "--resume", clusters_run, *arguments).failed(2, said, "hint:")


def test_what_was_left_open_may_be_left_open_again(run: Run, clusters_run: Path, finished_pretraining: Path) -> None:
    same = ["--method", "auto", "--objective", "gedi", *LABEL, "--encoder", f"digit_net={finished_pretraining}"]
    copy = shutil.copytree(clusters_run, "copy")
    outcome = run(
        "train", "addition", "--resume", copy, *same, *settings("cotraining.views=auto"), "--limit", "30", "--quiet"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == "copy"
    values = {key.replace("*", "digit_net"): value for key, value in LEFT_OPEN.items()}
    outcome = run("train", "--resume", copy, *settings(*(f"{key}={json.dumps(each)}" for key, each in values.items())))
    assert outcome.code == 0, outcome.err
    # That the plan may choose a value does not mean that another may be given.
    run("train", "--resume", copy, *settings("cotraining.learning_rate=0.5")).failed(
        2, "cotraining.learning_rate is 0.01 in the run and 0.5 on the command line", "hint: leave the option out"
    )


@pytest.mark.parametrize(("method", "section"), [("answers", "training"), ("cotraining", "cotraining")])
def test_epochs_on_resume_are_those_of_the_method(run: Run, method: str, section: str) -> None:
    other = {"training": "cotraining", "cotraining": "training"}[section]
    outcome = run(
        "train", "addition", "--limit", "20", *QUICK[4:], *SMALL_NETWORK, "--method", method,
        *settings(f"{section}.epochs=1", f"{other}.epochs=7"), "--device", "cpu", "--out", "out", "--quiet",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert run("train", "--resume", "out", "--epochs", "1", "--quiet").code == 0
    run("train", "--resume", "out", "--epochs", "7").failed(
        2, f"{section}.epochs is 1 in the run and 7 on the command line", "hint: leave the option out"
    )
    run("train", "--resume", "out", *settings(f"{other}.epochs=1")).failed(2, f"{other}.epochs is 7 in the run")


def test_overrides_are_merged(run: Run) -> None:
    outcome = run(
        "train", "addition", "--limit", "20", "--dry-run", "--json",
        *settings('pretraining.overrides={"network.width" = 6}', "pretraining.overrides.stages.features.epochs=1"),
        *settings('pretraining.overrides."stages.refine.epochs"=0'),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    recipe = tomllib.loads(outcome.document["recipe"])
    assert recipe["pretraining"]["overrides"] == {
        "network.width": 6, "stages.features.epochs": 1, "stages.refine.epochs": 0
    }  # fmt: skip
    assert recipe["networks"]["digit_net"]["width"] == 6


@pytest.fixture
def started(start: Callable[..., subprocess.Popen[str]]) -> Iterator[subprocess.Popen[str]]:
    process = start("train", "addition", "--limit", "20", *QUICK, *PRETRAIN, "--out", "my run")
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_in_the_pretraining_says_how_to_go_on(run: Run, started: subprocess.Popen[str]) -> None:
    wait_for_epoch(started, 1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    if started.returncode == 0:
        pytest.skip("it was faster than the signal")
    assert started.returncode == 130, err
    assert "everything is saved" in err
    assert "hint: nesy-gedi train --resume 'my run'" in err
    assert "Traceback" not in err
    nothing_but("my run")
    assert not [path for path in Path("my run").rglob("*") if ".part" in path.name]
    resumed = run("train", "--resume", "my run", "--quiet", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["method"] == "clusters"
    assert resumed.document["time"]["pretraining_s"] > 0
