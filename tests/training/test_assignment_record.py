"""``assignment.json`` as a run has it, and damaged in every way that matters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from assignment_files import assignment, write_assignment

from nesy_gedi.errors import RunError
from nesy_gedi.training.assignment_record import read_record, write_record
from nesy_gedi.training.runs import ProgramRun

DOMAINS = {"digit_net": ("0", "1", "2", "3", "4")}


def test_a_run_without_an_assignment_has_none(tmp_path: Path) -> None:
    assert read_record(ProgramRun(tmp_path), DOMAINS) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_assignment(tmp_path, assignment())
    found = read_record(ProgramRun(tmp_path), DOMAINS)
    assert found is not None
    own = found.networks["digit_net"]
    assert [own.clusters_of(symbol) for symbol in DOMAINS["digit_net"]] == [[0, 6], [1], [3], [2, 4], [5]]
    assert own.runner_up == ("0", "1", "2", "3", "3", "4", "0")
    assert (own.uninformed, found.labels_to_ask[0].cluster, found.near_ties) == ((6,), 2, 2)
    assert found.labels_to_ask[0].symbols == ("3", "2")
    assert not found.settled
    assert set(found.alternatives) < set(found.sentences)


def test_what_older_runs_do_not_say_is_left_out(tmp_path: Path) -> None:
    document = assignment(near_ties=1)
    del document["alternatives"]
    del document["labels_to_ask"][0]["symbols"]
    write_assignment(tmp_path, document)
    found = read_record(ProgramRun(tmp_path), DOMAINS)
    assert found is not None
    assert (found.alternatives, found.labels_to_ask[0].symbols, found.settled) == ((), (), True)
    assert found.pretraining == {"digit_net": "pretraining/digit_net"}


def test_there_may_be_no_other_map(tmp_path: Path) -> None:
    alone = assignment(gap=None, runner_up_log_likelihood=None, labels_to_ask=[], near_ties=1)
    alone["networks"]["digit_net"]["runner_up"] = None
    write_assignment(tmp_path, alone)
    found = read_record(ProgramRun(tmp_path), DOMAINS)
    assert found is not None
    assert (found.gap, found.networks["digit_net"].runner_up) == (None, None)


def test_what_would_be_damaged_is_not_written(tmp_path: Path) -> None:
    run = ProgramRun(tmp_path)
    with pytest.raises(ValueError, match="expected a number"):
        write_record(run, assignment(log_likelihood=math.nan), DOMAINS)
    assert not run.assignment_file.exists()
    written = write_record(run, assignment(), DOMAINS)
    assert read_record(run, DOMAINS, needed=["digit_net"]) == written


def test_what_a_result_repeats(tmp_path: Path) -> None:
    found = write_record(ProgramRun(tmp_path), assignment(), DOMAINS)
    told = found.in_result()
    assert told.items() <= assignment().items()
    assert told.keys() >= {"networks", "labels_to_ask", "query_to_ask", "sentences"}
    assert not told.keys() & {"version", "time", "pretraining"}  # the result has its own


def test_every_network_that_is_needed_is_there(tmp_path: Path) -> None:
    write_assignment(tmp_path, assignment())
    with pytest.raises(RunError, match="says nothing of sign_net"):
        read_record(ProgramRun(tmp_path), DOMAINS, needed=["digit_net", "sign_net"])


def network(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["networks"]["digit_net"].update(changes)


def top(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(changes)


DAMAGE = [
    (lambda document: document.pop("gap"), "there is no 'gap'"),
    (lambda document: document["networks"].update(other={}), "the program has no network other"),
    (lambda document: document["networks"]["digit_net"].pop("map"), "there is no 'map'"),
    (top(pretraining={}), "there is no 'digit_net'"),
    (top(pretraining={"digit_net": 3}), "where the clusters of digit_net come from"),
    (top(time=3), "expected an object"),
    (top(time={"pretraining_s": "long"}), "expected a number"),
    (lambda document: document.pop("query_to_ask"), "there is no 'query_to_ask'"),
    (network(clusters=0, posterior=[], map=[]), "digit_net has 0 clusters"),
    (
        network(clusters=5, posterior=[[1.0, 0.0, 0.0, 0.0, 0.0]] * 5, map=["0"] * 5, runner_up=None),
        "the map of digit_net leaves a symbol out",
    ),
    (network(domain=["a", "b"]), "the domain of digit_net is not the program's"),
    (network(map=["0"] * 6), "digit_net has 7 clusters, but a map of 6"),
    (network(map=["0"] * 6 + ["9"]), "a symbol that is not in its domain"),
    (network(runner_up=["0"] * 8), "a map of 8"),
    (network(posterior=[[1.0] * 5] * 7), "the posterior of digit_net is no distribution"),
    (network(posterior=[[1.0, 0.0, 0.0, 0.0]] * 7), "no distribution"),
    (network(posterior=[[2.0, -1.0, 0.0, 0.0, 0.0]] * 7), "no distribution"),
    (network(posterior=[]), "no distribution"),
    (network(posterior=7), "expected an array"),
    (network(uninformed=[7]), "no such uninformed cluster"),
    (network(clusters="many"), "invalid literal"),
    (top(networks=[]), "expected an object"),
    (top(log_likelihood="low"), "expected a number, found 'low'"),
    (top(log_likelihood=float("nan")), "expected a number"),
    (top(sentences=[1]), "expected an array"),
    (top(alternatives="none"), "expected an array"),
    (
        top(labels_to_ask=[{"network": "digit_net", "cluster": 0, "symbols": [3], "typical": []}]),
        "expected an array",
    ),
    (top(labels_to_ask=[{"network": "digit_net", "cluster": 7, "typical": []}]), "there is no cluster 7"),
    (top(labels_to_ask=[{"network": "sign_net", "cluster": 0, "typical": []}]), "sign_net, which is not among"),
    (top(labels_to_ask=[{"network": "digit_net", "cluster": 0, "typical": ["a.png"]}]), "expected an array"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[f"{k}-{said[:30]}" for k, (_, said) in enumerate(DAMAGE)])
def test_damage_is_named(tmp_path: Path, damage: Callable[[dict[str, Any]], object], said: str) -> None:
    document = copy.deepcopy(assignment())
    damage(document)
    write_assignment(tmp_path, document)
    with pytest.raises(RunError, match=r"assignment\.json is damaged: ") as caught:
        read_record(ProgramRun(tmp_path), DOMAINS)
    assert said in caught.value.message
    assert caught.value.hint is not None


@pytest.mark.parametrize("content", ["{", "[1]", "", "null", "\xff"])
def test_what_is_no_document_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "assignment.json").write_text(content, encoding="latin-1")
    with pytest.raises(RunError, match="damaged"):
        read_record(ProgramRun(tmp_path), DOMAINS)
