"""A child process that works within limits: the same results, the limits' named errors, and no child that survives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from worlds import Built, built_formulas, new_formula, truth_tables

from nesy_gedi.errors import BudgetError, ProgramError
from nesy_gedi.logic import limited, sdd
from nesy_gedi.logic.budget import Budget
from nesy_gedi.logic.formula import Formula
from nesy_gedi.logic.limited import run_limited
from nesy_gedi.logic.sdd import SddCompiler

SOON = 3.0
"""Seconds within which a child of half a second has to be gone on a busy machine."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def children() -> set[int]:
    """The processes that this one has forked and not reaped, zombies among them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before, files = children(), len(os.listdir("/dev/fd"))
    yield
    assert children() <= before
    assert len(os.listdir("/dev/fd")) == files


def past(limit: str) -> BudgetError:
    return BudgetError(f"went past {limit}", where="here", hint="less")


def run(work: Callable[[], Any], *, seconds: float = 60.0, gigabytes: float = 2.0) -> Any:
    return run_limited(work, Budget(seconds=seconds, gigabytes=gigabytes), past)


def spin() -> None:
    while True:
        pass


class TestResults:
    def test_data_arrives(self) -> None:
        data = [[1, -2, [3]], {"a": None}, "text", 0.5, list(range(300_000))]  # more than a pipe holds at once
        assert run(lambda: data) == data

    def test_the_work_is_done_in_another_process(self) -> None:
        seen: list[int] = []
        assert run(lambda: [seen.append(1), os.getpid()][1]) != os.getpid()
        assert seen == []

    def test_without_fork_it_is_done_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "fork")
        assert run(os.getpid) == os.getpid()

    def test_what_the_child_prints_and_registers_goes_nowhere(self) -> None:
        script = """
            import atexit, os, sys
            from nesy_gedi.logic.budget import Budget
            from nesy_gedi.logic.limited import run_limited
            atexit.register(lambda: print("end", os.getpid() == parent))
            parent = os.getpid()
            sys.stdout.write("buffered ")
            print(run_limited(lambda: print("child", flush=True) or 5, Budget(), RuntimeError))
            """
        told = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
        assert (told.stdout, told.stderr) == ("buffered 5\nend True\n", "")

    def test_from_several_threads_at_once(self) -> None:
        found: dict[int, Any] = {}

        def ask(number: int) -> None:
            found[number] = run(lambda: [time.sleep(0.1 * (number % 3)), number][1])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: number for number in range(6)}


class TestTime:
    @pytest.mark.parametrize("work", [spin, lambda: time.sleep(600)], ids=["spins", "sleeps"])
    def test_an_endless_operation_is_stopped(self, work: Callable[[], None]) -> None:
        start = time.monotonic()
        with pytest.raises(BudgetError, match=r"went past 0.5 s") as raised:
            run(work, seconds=0.5)
        assert 0.5 <= time.monotonic() - start < SOON
        assert (raised.value.where, raised.value.hint) == ("here", "less")

    def test_a_child_that_takes_no_signal_is_stopped_too(self) -> None:
        def work() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(600)

        with pytest.raises(BudgetError, match=r"0.2 s"):
            run(work, seconds=0.2)

    def test_no_limit(self) -> None:
        assert run(lambda: 3, seconds=float("inf"), gigabytes=float("inf")) == 3

    def test_a_child_ends_itself_when_nobody_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limited, "GRACE", 0.0)
        monkeypatch.setattr(limited, "_receive", lambda reader, deadline: os.read(reader, 1))
        with pytest.raises(BudgetError, match=r"0.3 s"):
            run(spin, seconds=0.3)


class TestMemory:
    @linux
    def test_a_python_object(self) -> None:
        with pytest.raises(BudgetError, match=r"went past 0.1 GB"):
            run(lambda: len(bytearray(500_000_000)), gigabytes=0.1)
        assert run(lambda: len(bytearray(50_000_000)), gigabytes=0.1) == 50_000_000

    def test_what_the_system_kills(self) -> None:
        with pytest.raises(BudgetError, match=r"went past 2 GB"):
            run(lambda: os.kill(os.getpid(), signal.SIGKILL))


class TestErrors:
    def test_a_named_error_is_the_same_error(self) -> None:
        def work() -> None:
            raise ProgramError("no such thing", where="p.pl:3", excerpt="a :- b.\n     ^", hint="define b")

        with pytest.raises(ProgramError) as raised:
            run(work)
        assert str(raised.value) == "p.pl:3: no such thing\na :- b.\n     ^\nhint: define b"

    def test_any_other_exception_is_told(self) -> None:
        with pytest.raises(RuntimeError, match=r"(?s)in a child process:.*KeyError: 'x'"):
            run(lambda: {}["x"])

    def test_what_json_does_not_hold(self) -> None:
        with pytest.raises(RuntimeError, match="ended with status 70"):
            run(lambda: {1, 2})

    def test_a_crash(self) -> None:
        with pytest.raises(RuntimeError, match="ended with SIGSEGV"):
            run(lambda: os.kill(os.getpid(), signal.SIGSEGV))

    def test_no_process_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fork() -> int:
            raise BlockingIOError("no more processes")

        monkeypatch.setattr(os, "fork", fork)
        assert run(os.getpid) == os.getpid()


class TestInterruption:
    def test_control_c_ends_the_child(self) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of the tests ignore it
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                run(spin)
            assert time.monotonic() - start < SOON
            timer.join()
        finally:
            signal.signal(signal.SIGINT, before)

    @linux
    def test_the_child_dies_with_its_parent(self) -> None:
        script = """
            import os, threading, time
            from nesy_gedi.logic.budget import Budget
            from nesy_gedi.logic.limited import run_limited
            told = os.dup(1)
            def tell():
                time.sleep(0.5)
                os.write(told, open(f"/proc/self/task/{os.getpid()}/children").read().encode() + b"\\n")
            threading.Thread(target=tell).start()
            run_limited(lambda: time.sleep(600), Budget(), RuntimeError)
            """
        parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
        parent.communicate()
        end = time.monotonic() + SOON
        while (path := Path(f"/proc/{child}/stat")).exists() and path.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < end
            time.sleep(0.01)


class TestDiagrams:
    @examples(40)
    @given(built_formulas())
    def test_the_same_nodes_as_without_a_child(self, built: Built) -> None:
        targets = []
        for small in (10**9, -1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sdd, "SMALL", small)
                target = Formula(built.formula.variables)
                compiler = SddCompiler(built.formula, target, Budget())
                targets.append((target, [compiler.compile(root) for root in built.roots]))
        (here, roots), (there, same) = targets
        assert (there.nodes, same) == (here.nodes, roots)
        tables = truth_tables(there, same)
        for root, meant in zip(same, built.meant, strict=True):
            assert np.array_equal(tables[root], meant)

    def test_a_node_limit_is_the_same_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = []
        for small in (10**9, -1):
            monkeypatch.setattr(sdd, "SMALL", small)
            with pytest.raises(BudgetError, match="went past the budget of 50 nodes") as raised:
                compile_hard(30, Budget(nodes=50))
            told.append(str(raised.value))
        assert told[0] == told[1]

    def test_time(self) -> None:
        start = time.monotonic()
        with pytest.raises(BudgetError, match=r"compiling over 150 variables went past the budget of 1 s"):
            compile_hard(150, Budget(seconds=1.0, nodes=10**9))
        assert time.monotonic() - start < 1.0 + SOON

    @linux
    def test_memory(self) -> None:
        with pytest.raises(BudgetError, match=r"compiling over 150 variables went past the budget of 0.05 GB"):
            compile_hard(150, Budget(gigabytes=0.05, nodes=10**9))


def compile_hard(variables: int, budget: Budget) -> int:
    """Three literals a clause, two clauses a variable: no order of the variables is good."""
    draw = random.Random(0)
    formula = new_formula([2] * variables)
    clauses = []
    for _ in range(2 * variables):
        literals = [formula.literal(k, draw.choice((1, 2))) for k in draw.sample(range(variables), 3)]
        clauses.append(formula.plain_or(literals))
    return SddCompiler(formula, formula, budget).compile(formula.plain_and(clauses))
