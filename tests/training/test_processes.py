"""Several processes: the same parameters as one, one that writes, and an end for all when one of them ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import NOISY, SLIPPING, SMALL, once, tensors, train_small, untimed
from torch import nn

from nesy_gedi.errors import DistributionError, Interrupted, RunError, UsageError
from nesy_gedi.training import launching, loop
from nesy_gedi.training.devices import choose_devices
from nesy_gedi.training.recipe import DataRecipe, EnsembleRecipe, NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.runs import RunFolder

UNEVEN = replace(
    SMALL,
    data=DataRecipe(train=165, validation=16, test=16),
    networks={"digit_net": NetworkRecipe()},
    training=TrainingRecipe(epochs=10, batch_size=33, precision="64-true"),
)
"""Fifty steps of 33 queries on digits, which two processes cannot share evenly, with batch normalisation. In float64: what
float32 rounds differently decides which side of a kink - a rectifier, a maximum - a value falls on, and that changes
parameters by more than 1e-5, as another order of a batch's rows does in one process."""


class Fails(nn.Module):
    """Works in the first process; in the others it raises, returns nonsense, or ends the process, once it has worked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if (
            self.training
            and self.calls > 3
            and torch.distributed.is_initialized()
            and torch.distributed.get_rank() == 1
        ):
            match os.environ["HOW"]:
                case "raises":
                    raise ValueError("the shoe is too small")
                case "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "returns":
                    return self.linear(images.flatten(1))[:, :9]
                case "hangs":
                    Path(os.environ["WHERE"]).write_text(str(os.getpid()))
                    time.sleep(600)
        output: torch.Tensor = self.linear(images.flatten(1))
        return output


FAILING = replace(SMALL, networks={"digit_net": NetworkRecipe(encoder="test_processes:Fails", head="none")})


def apart(one: RunFolder, other: RunFolder) -> float:
    """How far the parameters, buffers and learned probabilities of two runs are from one another."""
    ours, theirs = (
        {name: tensor.double() for name, tensor in tensors(run, "last").items() if name.startswith("model.")}
        for run in (one, other)
    )
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def gone(process: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").split()[2] == "Z"


@pytest.fixture(autouse=True)
def _none_is_left() -> None:
    yield  # type: ignore[misc]
    assert not torch.distributed.is_initialized()
    assert torch.get_num_threads() == 1
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        alive = [int(child) for child in children.read_text(encoding="utf-8").split()]
        commands = [Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8") for child in alive]
        assert not [command for command in commands if "take_part" in command]


# -- the same parameters -----------------------------------------------------------------------------------------------


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    """After fifty steps of uneven parts, with learned probabilities, and continued by another number of processes."""
    one = train_small(tmp_path / "one", UNEVEN, SLIPPING)
    two = train_small(tmp_path / "two", UNEVEN, SLIPPING, devices=2)
    assert apart(one.run, two.run) < 1e-5
    curves = [[line["train_loss"] for line in each.run.read_metrics()] for each in (one, two)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)
    assert two.document["metrics"]["answer_accuracy"] == one.document["metrics"]["answer_accuracy"]
    assert (two.run.environment()["processes"], one.run.environment()["processes"]) == (2, 1)
    assert two.document.keys() == one.document.keys()
    assert two.document["device"] == "cpu"

    for first, then in ((2, 1), (1, 2)):
        folder = tmp_path / f"{first} then {then}"
        with pytest.raises(Interrupted, match="after step 4"):
            train_small(folder, UNEVEN, SLIPPING, devices=first, stop=once(16))
        resumed = train_small(None, UNEVEN, SLIPPING, devices=then, resume=folder)
        assert apart(one.run, resumed.run) < 1e-5
        assert [line["epoch"] for line in resumed.run.read_metrics()] == list(range(1, 11))


@pytest.mark.soak
def test_labelled_images_and_ensembles_are_shared(tmp_path: Path) -> None:
    """Of three labelled images each process has its part; members of an ensemble have terms of their own."""
    few = replace(UNEVEN, training=replace(UNEVEN.training, epochs=2))
    labelled = replace(few, networks={"digit_net": NetworkRecipe(features=16, labels=("3=2", "7=1"))})
    members = replace(labelled, ensemble=EnsembleRecipe(members=2))
    for name, recipe in (("labelled", labelled), ("members", members)):
        one = train_small(tmp_path / f"{name} one", recipe)
        two = train_small(tmp_path / f"{name} two", recipe, devices=2)
        assert apart(one.run, two.run) < 1e-5
        lines = [untimed(each.run.read_metrics()[-1]) for each in (one, two)]
        assert lines[0]["train_loss"] == pytest.approx(lines[1]["train_loss"], abs=1e-6)
        assert lines[0].get("terms", {}) == pytest.approx(lines[1].get("terms", {}), abs=1e-6)


@pytest.mark.soak
def test_noise_of_networks_is_not_the_same_in_each_and_training_goes_on(tmp_path: Path) -> None:
    """Dropout draws numbers of its own in each process; what follows from the run's own numbers is the same again."""
    runs = [train_small(tmp_path / name, NOISY, devices=2).run for name in ("one", "again")]
    assert apart(*runs) == 0.0


# -- who writes --------------------------------------------------------------------------------------------------------


def test_the_first_alone_writes_and_the_others_read_its_circuit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "circuits"
    monkeypatch.setenv("NESY_GEDI_CACHE", str(cache))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    trace = tmp_path / "opened"
    trace.mkdir()
    (tmp_path / "site").mkdir()
    # Told about every file that is opened for writing, in every process.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"trace = os.open(os.path.join({str(trace)!r}, str(os.getpid())), os.O_CREAT | os.O_APPEND | os.O_WRONLY)\n"
        "def told(event, arguments):\n"
        "    if event in ('os.mkdir', 'os.rename', 'os.remove', 'shutil.rmtree'):\n"
        "        os.write(trace, (event + ' ' + str(arguments[0]) + '\\n').encode())\n"
        "    if event == 'open' and isinstance(arguments[0], (str, bytes, os.PathLike)) and arguments[2] & 3:\n"
        "        os.write(trace, ('open ' + str(arguments[0]) + '\\n').encode())\n"
        "sys.addaudithook(told)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    train_small(tmp_path / "run", devices=2)
    (told,) = list(trace.iterdir())  # of the process that was started: this one has no such hook
    written = told.read_text(encoding="utf-8").splitlines()
    assert not [line for line in written if str(tmp_path / "run") in line or str(cache) in line]
    assert len(list(cache.iterdir())) == 1


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("raises", DistributionError, "ValueError: the shoe is too small"),
        ("returns", DistributionError, "the network returns (9,) values an image"),
        ("is killed", RunError, "process 1 was ended by signal 9"),
    ],
)
def test_a_process_that_fails_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: type[Exception], message: str
) -> None:
    monkeypatch.setenv("HOW", how)
    began = time.monotonic()
    with pytest.raises(kind, match=re.escape(message)):
        train_small(tmp_path / "run", FAILING, devices=2)
    assert time.monotonic() - began < 40
    assert not (tmp_path / "run").exists()  # there was nothing to continue


def test_a_loss_that_is_not_finite_ends_all(tmp_path: Path) -> None:
    recipe = replace(SMALL, training=replace(SMALL.training, learning_rate=1e30))
    with pytest.raises(loop.Diverged, match="the loss became nan in epoch 1") as caught:
        train_small(tmp_path / "run", recipe, devices=2)
    assert caught.value.hint == "lower training.learning_rate"


def test_a_failure_of_the_first_ends_all(tmp_path: Path) -> None:
    def fail() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "run", devices=2, stop=fail)


SCRIPT = """
from pathlib import Path
import test_processes
from small_runs import train_small
train_small(Path("run"), test_processes.FAILING, devices=2)
"""


def test_no_process_outlives_the_first(tmp_path: Path) -> None:
    """Killed outright, the first cannot end the others: they notice, whatever they are doing."""
    where = tmp_path / "pid"
    there = {"HOW": "hangs", "WHERE": str(where), "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env={**os.environ, **there}, cwd=tmp_path)
    try:
        wait(lambda: where.exists() and where.read_text(encoding="utf-8") != "", 60)
        other = int(where.read_text(encoding="utf-8"))
        assert not gone(other)
    finally:
        process.kill()
        process.wait()
    wait(lambda: gone(other), 10)


def wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "devices", "message"),
    [
        (SMALL, 0, "there cannot be 0 processes"),
        (replace(SMALL, method="cotraining"), 2, 'method = "cotraining" trains in one process'),
        (replace(SMALL, training=TrainingRecipe(batch_size=1)), 2, "2 processes cannot share a step of 1"),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path: Path, recipe: Recipe, devices: int, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        train_small(tmp_path / "run", recipe, devices=devices)
    assert caught.value.where == "--devices"
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("gpus", "device", "message"),
    [
        (1, "cuda", "2 processes need as many GPUs, 1 found"),
        (4, "cuda:1", "cuda:1 is one device, not 2"),
        (1, "auto", "2 processes need as many GPUs, 1 found"),
    ],
)
def test_gpus_are_counted(monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UsageError, match=message):
        choose_devices(device, 2)
    assert choose_devices(device, 1).startswith("cuda:")
    assert choose_devices("cpu", 2) == "cpu"


def test_the_number_that_torchrun_started_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launching.launched_by_others() is None
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    assert launching.launched_by_others() == (2, 3)
    with (
        pytest.raises(UsageError, match="--devices 2, but 3 processes were started"),
        launching.start(2, "cpu"),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launching.launched_by_others() is None
