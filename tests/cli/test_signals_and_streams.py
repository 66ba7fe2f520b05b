"""Ctrl-C, requests to terminate, pipes that close and terminals: what only a process of its own can show."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import COMMAND, TINY, Run, nothing_but, wait_for_epoch

Start = Callable[..., "subprocess.Popen[str]"]


def training(epochs: int, out: str) -> tuple[str, ...]:
    """Arguments of a run in short epochs."""
    short = ("train", "addition", "--method", "answers", "--limit", "200", "--device", "cpu")
    return (*short, "--epochs", str(epochs), "--out", out)


LONG = training(30, "my run")
LIMIT = 60


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)],
    ids=["ctrl-c", "terminate"],
)
def test_interrupted_run_continues_to_the_same_end(run: Run, start: Start, number: signal.Signals) -> None:
    process = start(*LONG)
    wait_for_epoch(process, 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "everything is saved" in err
    assert "nesy-gedi train --resume 'my run'" in err
    assert not Path("my run/result.json").exists()
    assert not [path for path in Path("my run").rglob("*") if ".part" in path.name]
    resumed = run("train", "--resume", "my run", "--quiet", "--json")
    assert resumed.code == 0, resumed.err
    whole = run(*LONG[:-1], "whole", "--quiet", "--json")
    assert whole.code == 0, whole.err
    assert resumed.document["metrics"] == whole.document["metrics"]
    epochs = [len(Path(name, "metrics.jsonl").read_text(encoding="utf-8").splitlines()) for name in ("my run", "whole")]
    assert epochs == [30, 30]


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to find the other process in")
def test_ctrl_c_ends_all_processes_of_a_run(start: Start) -> None:
    process = start(*LONG, "--devices", "2")
    wait_for_epoch(process, 2)
    (other,) = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, err
    assert out == ""
    assert err.count("everything is saved") == 1
    assert "nesy-gedi train --resume 'my run'" in err
    assert "Traceback" not in err
    assert not Path(f"/proc/{other}").exists()
    assert json.loads(Path("my run/checkpoints/index.json").read_text(encoding="utf-8"))["last"]


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as two processes that torchrun starts."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    called = [*launcher, "--no-python", *COMMAND, *arguments]
    return subprocess.run(called, text=True, encoding="utf-8", capture_output=True, timeout=100, check=False)


def test_torchrun_prints_one_result(run: Run) -> None:
    command = ("train", "addition", *TINY, "--quiet", "--json")
    result = torchrun(*command, "--out", "out")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["run"] == "out"
    assert json.loads(Path("out/environment.json").read_text(encoding="utf-8"))["processes"] == 2
    assert Path("out/report.html").exists()
    alone = run(*command, "--out", "alone").document
    assert document["metrics"]["answer_accuracy"] == pytest.approx(alone["metrics"]["answer_accuracy"], abs=0.05)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "3"), "--devices 3, but 2 processes were started"),
        (("--encoder", "digit_net=nowhere:net"), "cannot get the encoder nowhere:net"),
    ],
)
def test_torchrun_prints_one_error(arguments: tuple[str, ...], message: str) -> None:
    result = torchrun("train", "addition", *TINY, *arguments, "--out", "out")
    assert result.returncode == 1  # torchrun's own
    assert result.stdout == ""
    assert result.stderr.count(message) == 1, result.stderr
    assert not Path("out").exists()


SLOW = """
import time
from torch import nn

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 16)

    def forward(self, images):
        time.sleep(0.02 if len(images) < 20 else 30)
        return self.linear(images.flatten(1))
"""


def test_second_ctrl_c_stops_at_once(start: Start, write: Callable[[str, str], Path]) -> None:
    # Steps are quick, validation takes half a minute: the second signal comes in the middle of it.
    write("slow.py", SLOW)
    process = start(
        "train", "addition", "--method", "answers", "--limit", "40",
        "--set", "training.batch_size=8", "--set", "data.validation=30",
        "--encoder", "digit_net=slow:Slow", "--out", "out", "--device", "cpu", "--epochs", "1000",
        env={"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert process.stderr is not None
    assert "fit" in process.stderr.readline()  # how many groundings do
    assert process.stderr.readline().startswith("addition(X, Y, Sum)")
    killer = threading.Timer(3.0, process.send_signal, [signal.SIGINT])
    killer.start()
    assert "Ctrl-C again stops at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path().iterdir() if path.name != "__pycache__") == ["slow.py"]


def test_ctrl_c_while_grounding_stops_at_once(start: Start, write: Callable[[str, str], Path]) -> None:
    endless = "nn(net, [X], Y, [0..9]) :: digit(X, Y).\nf(X, Z) :- digit(X, A), up(A, Z).\nup(A, Z) :- B is A + 1, up(B, Z).\n"
    program = write("endless.pl", endless)
    process = start("train", program, "--query", "f(X, Z)", "--out", "out")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert out == ""
    assert "Traceback" not in err
    nothing_but("endless.pl")


def test_a_reader_that_goes_away(start: Start) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("programs", stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to write to")
def test_a_full_disk(start: Start) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start("programs", stdout=full)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "internal error" not in err
    assert "No space left on device" in err
    assert "Traceback" not in err


def on_a_terminal(start: Start, *arguments: str, **options: str) -> tuple[int, str]:
    """The exit code, and what a command shows on a terminal's stderr."""
    parent, child = pty.openpty()
    process = start(*arguments, stderr=child, env={"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "100", **options})
    os.close(child)
    shown = b""
    while True:
        try:
            block = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(parent)
    process.communicate(timeout=LIMIT)
    return process.returncode, shown.decode(errors="replace")


COLOUR = "\x1b[31m"


def test_colour_only_on_a_terminal_that_wants_it(start: Start, run: Run) -> None:
    code, shown = on_a_terminal(start, "ground", "additoin")
    assert code == 2
    assert COLOUR in shown
    assert "error: " in shown.replace("\x1b[0m", "")
    code, shown = on_a_terminal(start, "ground", "additoin", NO_COLOR="1")
    assert code == 2
    assert "\x1b" not in shown
    assert "\x1b" not in run("ground", "additoin").err


def test_a_live_bar_on_a_terminal(start: Start) -> None:
    arguments = training(10, "out")
    code, shown = on_a_terminal(start, *arguments, NO_COLOR="1")
    assert code == 0
    assert "/10" in shown
    assert "\r" in shown
    assert "\x1b[3" not in shown.replace("\x1b[3A", "")  # no foreground colours
    code, shown = on_a_terminal(start, *arguments, "--force", "--quiet")
    assert code == 0
    assert shown == ""
