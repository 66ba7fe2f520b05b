"""Every block of the documentation is run: commands, Python, recipes and programs.

Commands run as they are written, but for what would take long or is not there:

- a training, and a pretraining, is a ``--dry-run``: everything up to and including one step;
- one with ``--out``, which later commands of the page build on, is short: its settings are in :data:`SHORT`;
- ``RUN`` and ``DIR`` stand for a finished run, or a pretraining after ``--encoder``, and for a folder with MNIST, in whose
  place the embedded digits are taken;
- files that a page speaks of are those of :func:`write_files`.

The tutorial is run as it is written by test_tutorial.py.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from documented import PAGES, ROOT, Block, Command, Runner, blocks, blocks_of, commands_of, name_of, prints
from PIL import Image

from nesy_gedi.cli.main import commands, main

SHORT_STAGES = (
    *("network.width=4", "stages.features.hidden=16", "stages.features.output=16", "stages.clusters.restarts=1"),
    *(f"stages.{name}.{key}" for name in ("features", "clusters") for key in ("epochs=1", "passes=1")),
    *("stages.refine.epochs=0", "stages.settle.epochs=0"),
)
SHORT = {
    "train": (
        *(
            "--limit",
            "40",
            "--epochs",
            "1",
            "--set",
            "cotraining.steps=2",
            "--set",
            "pretraining.attempts=1",
            "--set",
            "pretraining.seconds=1",
        ),
        *(each for setting in SHORT_STAGES for each in ("--set", f"pretraining.overrides.{setting}")),
    ),
    "pretrain": ("--limit", "120", *(each for setting in SHORT_STAGES for each in ("--set", setting))),
}
"""What is added to a command whose folder is needed."""

LONG = {"tutorial.md"}

PLAIN = """
0.4 :: sky(clouds); 0.6 :: sky(sun).
0.1 :: sprinkler(street).
wet(X) :- sprinkler(X).
wet(street) :- sky(clouds).
query(wet(street)).
"""
NETS = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU())
"""


def write_files() -> None:
    """What pages speak of as being there."""
    Path("programs").symlink_to(ROOT / "programs")
    Path("FILE.pl").write_text(PLAIN, encoding="utf-8")
    for name in ("eight.png", "a.png", "b.png"):
        Image.new("L", (20, 20), 128).save(name)
    for number in range(40):
        for folder in (f"photos/{number % 10}", "img"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 6 * number).save(f"{folder}/{number}.png")
    rows = [f"{number}.png,{number + 1}.png,{number % 19}" for number in range(39)]
    Path("img/sums.csv").write_text("\n".join(["X,Y,Sum", *rows]), encoding="utf-8")
    Path("mypackage").mkdir()
    Path("mypackage/nets.py").write_text(NETS, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs to copy from: of ``train`` and ``pretrain``."""
    folder = tmp_path_factory.mktemp("finished")
    for name, arguments in (("train", ["addition", "--method", "answers"]), ("pretrain", [])):
        with pytest.raises(SystemExit) as caught:
            main([name, *arguments, *SHORT[name], "--device", "cpu", "--quiet", "--out", str(folder / name)])
        assert caught.value.code == 0
    return {name: folder / name for name in ("train", "pretrain")}


def as_run(arguments: list[str]) -> list[str]:
    """What is run in place of a documented command."""
    name, *rest = arguments
    text = "\0".join(rest)
    text = text.replace("--data\0mnist\0--data-dir\0DIR", "--data\0digits").replace("PROGRAM", "addition")
    text = re.sub(r"--query\0FORM", "--query\0addition(X, Y, Sum)", text)
    text = re.sub(r"(--encoder\0\w+=)RUN\b", r"\1PRETRAINING", text)
    if name == "data":  # nothing is fetched
        text = text.replace("mnist", "digits").replace("\0--download", "")
    rest = re.sub(r"\bruns/\w+-\d{8}-\w{6}\b", "RUN", text).split("\0") if text else []
    if name not in SHORT or "--dry-run" in rest:
        return [name, *rest]
    return [name, *rest, *(SHORT[name] if "--out" in rest else ("--dry-run",))]


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) not in LONG], ids=name_of)
def test_a_page_does_what_it_says(
    page: Path,
    finished: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(work)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.delenv("NESY_GEDI_DATA", raising=False)
    write_files()
    shutil.copytree(finished["train"], "RUN")
    shutil.copytree(finished["pretrain"], "PRETRAINING")
    runner = Runner(capsys, as_run)
    for block in blocks_of(page):
        runner.run(block)


def test_what_is_run_in_place_of_a_command() -> None:
    assert as_run(["train", "addition", "--limit", "30"]) == ["train", "addition", "--limit", "30", "--dry-run"]
    assert as_run(["train", "addition", "--out", "a"])[:5] == ["train", "addition", "--out", "a", "--limit"]
    assert as_run(["inspect", "runs/addition-20260101-abcdef"]) == ["inspect", "RUN"]
    assert as_run(["data"]) == ["data"]


def test_commands_and_what_they_print_are_told_apart() -> None:
    text = '$ nesy-gedi train a --query "p(X,\n  Y)"   # why\nfirst\n\nlast\n$ nesy-gedi data\n'
    assert list(commands_of(Block("page.md", 1, "console", text))) == [
        Command(["nesy-gedi", "train", "a", "--query", "p(X,\n  Y)"], "first\n\nlast\n"),
        Command(["nesy-gedi", "data"], ""),
    ]
    assert [each.arguments for each in commands_of(Block("page.md", 1, "sh", "make a  # why\n\nmake b\n"))] == [
        ["make", "a"],
        ["make", "b"],
    ]
    with pytest.raises(ValueError, match=r"page.md:1: nothing has printed 'nesy-gedi data'"):
        list(commands_of(Block("page.md", 1, "console", "nesy-gedi data\n")))


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("...\nc\n", "c\n", True),
        ("0.9... of 7\n", "0.93 of 7\n", True),
        ("0.9... of 7\n", "0.93\nof 7\n", False),
        ("(a.b)\n", "(axb)\n", False),
    ],
)
def test_what_is_shown_against_what_is_printed(shown: str, printed: str, same: bool) -> None:
    assert prints(shown, printed) is same


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("console", "$ nesy-gedi train additon\n", "there is no bundled program additon"),
        ("console", "$ nesy-gedi programs --jsn\n", "No such option"),
        ("console", "$ nesy-gedi ground addition\nanything else\n", "ground addition prints"),
        ("console", "$ pip install it\n", "pip is no command that a test knows"),
        ("sh", "make tee\n", "make tee"),
        ("toml", "[training]\nepoch = 3\n", "unknown key epoch"),
        ("", "anything\n", "cannot be tested"),
        ("bash", "ls\n", "cannot be tested"),
    ],
)
def test_each_kind_of_block_can_fail(
    language: str,
    text: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=re.escape(said)):
        Runner(capsys, as_run).run(Block("page.md", 7, language, text))


def test_python_and_prolog_can_fail(capsys: pytest.CaptureFixture[str]) -> None:
    runner = Runner(capsys)
    with pytest.raises(ZeroDivisionError) as caught:
        runner.run(Block("page.md", 7, "python", "x = 1\nx / 0\n"))
    assert (caught.traceback[-1].path, caught.traceback[-1].lineno) == ("page.md", 7)
    assert runner.names["x"] == 1
    with pytest.raises(Exception, match=r"page\.md:7"):
        runner.run(Block("page.md", 7, "prolog", "p(X :- q(X).\n"))


def test_every_command_is_shown_somewhere() -> None:
    shown = {command.arguments[1] for block in blocks("console") for command in commands_of(block)}
    tables = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in commands.commands if name not in shown and not re.search(rf"[ `]{name}[ `]", tables)] == []
