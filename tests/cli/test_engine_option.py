"""``--engine`` of ``train``, ``evaluate`` and ``ground``, and ``ground --check``."""

from __future__ import annotations

import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_runs import TINY, Run, nothing_but
from torch import Tensor

from nesy_gedi.cli.doctor import BACKENDS
from nesy_gedi.cli.options import APPROXIMATIONS, ENGINES
from nesy_gedi.logic import approximation, checking, engines

SUM = """
nn(digit_net, [X], D, [0..2]) :: digit(X, D).
addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
FORM = ("--query", "addition(X, Y, Sum)")
EVIDENCE = SUM + "0.3::w.\nloud(X, D) :- digit(X, D), w.\nloud(X, 0) :- digit(X, D).\nevidence(w).\n"

Write = Callable[[str, str], Path]


class Wrong:
    """Our own plan, a little off."""

    depth = 1

    def __init__(self, request: engines.Request) -> None:
        self.plan = engines._exact(request)

    def __call__(self, log_p: Tensor) -> Tensor:
        return self.plan(log_p) * 1.001

    def to(self, device: torch.device) -> Wrong:
        return self


def test_the_help_names_every_engine() -> None:
    assert list(ENGINES) == sorted(engines.ENGINES) == sorted(checking.PEERS)


class TestCheck:
    @pytest.mark.parametrize("peer", ["klay", "deepproblog"])
    def test_agreement_is_exit_code_0(self, run: Run, write: Write, peer: str) -> None:
        outcome = run("ground", write("sum.pl", SUM), *FORM, "--check", peer)
        assert outcome.code == 0, outcome.err
        said = f"exact and {peer} agree within 1e-06: 5 of 5 answers on 4 random distributions"
        assert outcome.out.splitlines()[-3] == said
        document = run("ground", "sum.pl", *FORM, "--check", peer, "--json").document
        assert document["version"] == 1
        check = document["check"]
        assert (check["engine"], check["answers"], check["agrees"], check["complete"]) == (peer, 5, True, True)
        assert max(check["largest_difference"], check["largest_gradient_difference"]) < 1e-12

    def test_without_a_check_nothing_is_said_of_one(self, run: Run, write: Write) -> None:
        assert "check" not in run("ground", write("sum.pl", SUM), *FORM, "--json").document

    def test_disagreement_is_exit_code_3(self, run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(engines.ENGINES, "klay", Wrong)
        outcome = run("ground", write("sum.pl", SUM), *FORM, "--check", "klay")
        assert outcome.code == 3
        assert "exact and klay disagree by more than 1e-06" in outcome.out
        assert ", distribution " in outcome.out.splitlines()[-1]
        outcome = run("ground", "sum.pl", *FORM, "--check", "klay", "--json")
        assert outcome.code == 3
        assert outcome.document["check"]["agrees"] is False
        assert outcome.document["check"]["largest_difference"] > 1e-4

    def test_two_peers(self, run: Run, write: Write) -> None:
        outcome = run("ground", write("sum.pl", SUM), *FORM, "--engine", "klay", "--check", "exact")
        assert outcome.code == 0, outcome.err
        assert any(line.split() == ["engine", "klay"] for line in outcome.out.splitlines())
        assert "klay and exact agree" in outcome.out

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--check", "kley"), ("no exact engine 'kley'", "did you mean klay?")),
            (("--check", "exact"), ("exact would be compared with itself",)),
            (("--check-seconds", "3"), ("there is no check", "--check klay")),
            (("--engine", "deproblog"), ("no engine 'deproblog'", "did you mean deepproblog?")),
        ],
        ids=["unknown", "itself", "seconds alone", "unknown engine"],
    )
    def test_what_cannot_be_checked(
        self, run: Run, write: Write, arguments: tuple[str, ...], said: tuple[str, ...]
    ) -> None:
        run("ground", write("sum.pl", SUM), *FORM, *arguments).failed(2, *said)

    def test_evidence_is_refused_for_deepproblog_only(self, run: Run, write: Write) -> None:
        form = ("--query", "loud(X, D)")
        outcome = run("ground", write("loud.pl", EVIDENCE), *form, "--check", "deepproblog")
        outcome.failed(2, "ignores evidence/1", "--engine exact or klay")
        assert run("ground", "loud.pl", *form, "--check", "klay").code == 0

    def test_a_missing_package(self, run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "klay", None)
        outcome = run("ground", write("sum.pl", SUM), *FORM, "--check", "klay")
        outcome.failed(2, "klaycircuits", "pip install 'nesy-gedi[klay]'")
        assert run("doctor", "--json").document
        (line,) = [each for each in run("doctor", "--json").document if each["name"] == "klaycircuits"]
        assert (line["status"], line["fix"]) == ("absent", "pip install 'nesy-gedi[klay]'")

    def test_an_engine_that_takes_too_long_is_stopped(
        self, run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(Wrong):
            def __call__(self, log_p: Tensor) -> Tensor:
                until = time.monotonic() + 60.0
                while time.monotonic() < until:
                    time.sleep(0.01)
                return self.plan(log_p)

        monkeypatch.setitem(engines.ENGINES, "klay", Slow)
        started = time.monotonic()
        outcome = run("ground", write("sum.pl", SUM), *FORM, "--check", "klay", "--check-seconds", "1")
        outcome.failed(1, "not done with one answer in 1 s", "--check-seconds")
        assert time.monotonic() - started < 30.0


class TestTraining:
    def test_klay_trains_as_the_exact_engine_does(self, run: Run, finished_run: Path) -> None:
        outcome = run("train", "addition", *TINY, "--engine", "klay", "--quiet", "--out", "run", "--json")
        assert outcome.code == 0, outcome.err
        assert tomllib.loads(Path("run/recipe.toml").read_text(encoding="utf-8"))["engine"] == "klay"
        assert tomllib.loads((finished_run / "recipe.toml").read_text(encoding="utf-8"))["engine"] == "exact"
        again = run("evaluate", "run", "--engine", "exact", "--device", "cpu", "--json").document
        assert again["metrics"]["answer_accuracy"] == outcome.document["metrics"]["answer_accuracy"]
        exact = run("evaluate", finished_run, "--device", "cpu", "--json").document
        assert again["metrics"]["answer_accuracy"] == pytest.approx(exact["metrics"]["answer_accuracy"], abs=0.01)

    def test_deepproblog_measures_a_run(self, run: Run, finished_run: Path) -> None:
        shutil.copytree(finished_run, "run")
        recipe = Path("run/recipe.toml")
        recipe.write_text(recipe.read_text(encoding="utf-8").replace("test = 0", "test = 20"), encoding="utf-8")
        found = [
            run("evaluate", "run", "--engine", engine, "--device", "cpu", "--json").document["metrics"]
            for engine in ("exact", "deepproblog")
        ]
        assert found[0]["answer_accuracy"] == found[1]["answer_accuracy"]

    def test_an_unknown_engine_leaves_nothing_behind(self, run: Run) -> None:
        run("train", "addition", *TINY, "--engine", "kley", "--out", "run").failed(2, "no engine 'kley'")
        run("train", "addition", *TINY, "--set", "engine=kley", "--out", "run").failed(2, "did you mean klay?")
        nothing_but()

    def test_a_run_that_is_measured_with_an_unknown_engine(self, run: Run, finished_run: Path) -> None:
        run("evaluate", finished_run, "--engine", "kley").failed(2, "no engine 'kley'", "did you mean klay?")

    def test_a_run_continues_with_its_own_engine(self, run: Run, finished_run: Path) -> None:
        shutil.copytree(finished_run, "run")
        outcome = run("train", "--resume", "run", "--engine", "klay")
        outcome.failed(2, "engine is 'exact' in the run and 'klay' on the command line")


def test_doctor_says_what_klay_is_for(run: Run) -> None:
    assert [use for name, _, use, needed in BACKENDS if name == "klaycircuits" and not needed] == [
        "--engine klay, ground --check"
    ]
    (line,) = [each for each in run("doctor", "--json").document if each["name"] == "klaycircuits"]
    assert (line["status"], line["version"]) == ("ok", "0.1.2")


NAIVE = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
number([], N, N).
number([X|Xs], Before, N) :- digit(X, D), Next is D + 10 * Before, number(Xs, Next, N).
addition(Xs, Ys, Sum) :- number(Xs, 0, A), number(Ys, 0, B), Sum is A + B.
"""
LONG = ("--query", "addition([A,B,C,D], [E,F,G,H], Sum)")


class TestWhatIsTooLarge:
    def test_limits_end_with_what_was_being_ground(self, run: Run, write: Write) -> None:
        outcome = run("ground", write("naive.pl", NAIVE), *LONG, "--max-seconds", "0.5")
        assert outcome.code == 1
        assert "went past the budget of 0.5 s" in outcome.err
        assert "grounding number([" in outcome.err
        assert "--engine topk:3" in outcome.err
        assert outcome.out == ""

    def test_nodes_and_the_recipe_key_are_the_same_limit(self, run: Run, write: Write) -> None:
        write("naive.pl", NAIVE)
        for limit in (("--max-nodes", "100"), ("--set", "limits.nodes=100")):
            outcome = run("ground", "naive.pl", "--query", "addition([A,B], [C,D], Sum)", *limit)
            assert (outcome.code, "went past the budget of 100 nodes" in outcome.err) == (1, True)

    def test_limits_of_plain_programs(self, run: Run, write: Write) -> None:
        outcome = run("query", write("endless.pl", "p(N) :- M is N + 1, p(M).\nquery(p(0)).\n"), "--max-seconds", "0.3")
        assert outcome.code == 1
        assert "grounding p(" in outcome.err

    @pytest.mark.parametrize("option", ["--max-seconds", "--max-nodes", "--max-gigabytes"])
    def test_no_limit_is_zero(self, run: Run, write: Write, option: str) -> None:
        assert run("ground", write("naive.pl", NAIVE), *LONG, option, "0").code == 2

    def test_bounds_are_shown_as_what_they_are(self, run: Run, write: Write) -> None:
        outcome = run("ground", write("naive.pl", NAIVE), *LONG, "--engine", "topk:2")
        assert outcome.code == 0
        assert "approximate (topk:2), proven bounds" in outcome.out
        (form,) = run("ground", "naive.pl", *LONG, "--engine", "topk:2", "--json").document["forms"]
        assert (form["method"], form["answers"], form["exact"]) == ("approximate", 81, False)
        assert form["dropped"] == pytest.approx(1 - 0.2**8)

    def test_estimates_say_their_error(self, run: Run, write: Write) -> None:
        outcome = run("ground", write("naive.pl", NAIVE), *LONG, "--engine", "sample:400")
        assert outcome.code == 0
        assert "standard error at most 0.025" in outcome.out

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("ground", "--engine", "topk:0"), "0 is not a whole number from 1"),
            (("ground", "--engine", "topk:2", "--check", "klay"), "no exact answers to compare"),
            (("train", "--engine", "topk:3"), "no distribution over all of them"),
        ],
    )
    def test_where_approximations_do_not_go(
        self, run: Run, write: Write, arguments: tuple[str, ...], said: str
    ) -> None:
        command, *rest = arguments
        outcome = run(command, write("naive.pl", NAIVE), *LONG, *rest)
        assert outcome.code == 2
        assert said in outcome.err


def test_the_help_names_every_approximation() -> None:
    assert set(APPROXIMATIONS) == set(engines.APPROXIMATE) == set(approximation.APPROXIMATIONS)
