"""``ground``, ``query``, ``programs``, ``data``, ``doctor`` and the help, as text."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from command_runs import Run

from nesy_gedi.cli.doctor import BACKENDS, EXTRAS

COMMANDS = ("train", "pretrain", "evaluate", "diagnose", "ground", "query", "programs", "data", "doctor")


def test_help_names_every_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in outcome.out
        assert "Usage: nesy-gedi " + command in run(command, "--help").out


def test_what_the_help_of_pretrain_says_is_true(run: Run) -> None:
    shown = run("pretrain", "--help").out
    for option in ("--data", "--objective", "--recipe", "--encoder", "--limit", "--set", "--resume", "--force"):
        assert f"  {option} " in shown
    assert "--epochs" not in shown  # there are several stages: --set stages.NAME.epochs
    run("pretrain", "--epochs", "1").failed(2, "No such option", "--epochs")


def test_version(run: Run) -> None:
    outcome = run("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("nesy-gedi, version ")


def test_ground_uses_its_cache(run: Run) -> None:
    assert run("ground", "addition", "--json").document["forms"][0]["cached"] is False
    assert run("ground", "addition", "--json").document["forms"][0]["cached"] is True
    assert run("ground", "addition", "--json", "--no-cache").document["forms"][0]["cached"] is False


def test_ground_shows_the_circuit(run: Run) -> None:
    outcome = run("ground", "addition", "--query", "addition(A, B, S)")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["query", "addition(A,", "B,", "S)"]
    assert any(line.split() == ["inputs", "digit_net(A),", "digit_net(B)"] for line in lines)
    assert lines[-1] == "answers: " + ", ".join(map(str, range(19)))


def test_query_prints_probabilities(run: Run, write: Callable[[str, str], Path]) -> None:
    outcome = run("query", write("rain.pl", "0.2 :: rain.\n0.5 :: hose.\nwet :- rain.\nwet :- hose.\nquery(wet).\n"))
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1].split() == ["wet", "0.6"]


def test_programs(run: Run) -> None:
    outcome = run("programs")
    assert "addition: The sum of two digits" in outcome.out
    assert "addition(X, Y, Sum), on digits" in outcome.out


def test_data(run: Run) -> None:
    rows = {line.split()[0]: line for line in run("data", "--data-dir", "nowhere").out.splitlines()}
    assert "embedded" in rows["digits"]
    assert "missing" in rows["mnist"]
    for points in ("moons", "circles"):
        name, status, shape, classes, count, *counts = rows[points].split()
        assert (name, status, shape, classes, count, counts) == (
            points,
            "embedded",
            "2",
            "class",
            "(2)",
            ["4000", "1000"],
        )


def test_doctor_shows_a_broken_backend_with_its_error_and_the_fix(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name in ("pysdd.sdd", "onnxruntime"):
            raise ImportError(f"libsomething.so: cannot open {name}")
        if name in ("klay", "timm", "torch.utils.tensorboard"):
            missing = name.rpartition(".")[2]
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    outcome = run("doctor")
    assert outcome.code == 1
    assert "ImportError: libsomething.so: cannot open pysdd.sdd" in outcome.out
    assert "fix: pip install --force-reinstall pysdd" in outcome.out
    assert "klaycircuits: not installed (optional): pip install 'nesy-gedi[klay]'" in outcome.out
    assert "timm: not installed (optional): pip install 'nesy-gedi[timm]'" in outcome.out
    assert "tensorboard: not installed (optional): pip install 'nesy-gedi[tensorboard]'" in outcome.out
    assert "onnxruntime: ImportError: libsomething.so: cannot open onnxruntime" in outcome.out
    status = {item["name"]: item["status"] for item in run("doctor", "--json").document}
    assert (status["pysdd"], status["klaycircuits"], status["torch"]) == ("broken", "absent", "ok")
    assert (status["onnxruntime"], status["timm"], status["tensorboard"]) == ("broken", "absent", "absent")


def test_every_optional_backend_has_an_extra_that_the_package_declares() -> None:
    optional = {name for name, _, _, needed in BACKENDS if not needed}
    assert optional == set(EXTRAS)
    assert set(EXTRAS.values()) <= set(importlib.metadata.metadata("nesy-gedi").get_all("Provides-Extra") or ())


def test_doctor_shows_the_versions_of_extras(run: Run) -> None:
    found = {item["name"]: item for item in run("doctor", "--json").document}
    for name in EXTRAS:
        if found[name]["status"] != "absent":
            assert (found[name]["status"], found[name]["version"]) == ("ok", importlib.metadata.version(name))


def test_doctor_is_content_here(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.code == 0, outcome.out
    assert any(line.split()[:2] == ["torch", "ok"] for line in outcome.out.splitlines())
