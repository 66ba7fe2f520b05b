"""Bounds of partial maps hold for each of their completions, observation by observation and in sum."""

from __future__ import annotations

import math

import pytest
import torch
from every_map import PROGRAMS, every_map, log_likelihood, random_data, reasoner, soft, with_a_plain_not
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nesy_gedi.concepts.inputs import read_observations
from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import PairTables
from nesy_gedi.logic.reasoner import Reasoner

ROUNDING = 1e-9
"""Nats; sums of at most a few hundred terms in double precision."""

PLAIN_NOT = "a plain not"


def program(name: str) -> Reasoner:
    return with_a_plain_not() if name == PLAIN_NOT else reasoner(*PROGRAMS[name])


def observed(name: str, seed: int, one_to_one: bool) -> tuple[Observations, Tensor]:
    """Random observations of a program, a label among them, and all whole maps, shape (b, size)."""
    made = program(name)
    log_q, answers = random_data(made, 7, seed)
    network, width = made.inputs[0].network, len(made.inputs[0].domain)
    labels = {network: (soft(2, width, seed), torch.tensor([0, width - 1]))}
    observations = read_observations(made, log_q, answers, {}, labels, "one_to_one" if one_to_one else "many_to_one")
    clusters = {unknown.network: unknown.clusters for unknown in observations.unknowns}
    maps = [
        [symbol for unknown in observations.unknowns for symbol in chosen[unknown.network]]
        for chosen in every_map(made, clusters, one_to_one=one_to_one)
    ]
    return observations, torch.tensor(maps)


CASES = {
    "name": st.sampled_from([*sorted(PROGRAMS), PLAIN_NOT]),
    "seed": st.integers(0, 10_000),
    "one_to_one": st.booleans(),
    "data": st.data(),
}


def partial_map(data: st.DataObject, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Part of a whole map, shape (1, size), and all the maps that agree with it."""
    whole = maps[data.draw(st.integers(0, len(maps) - 1))]
    known = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))))
    partial = whole.where(known, UNKNOWN)[None]
    return partial, maps[((maps == partial) | (partial == UNKNOWN)).all(1)]


class TestObservations:
    @settings(max_examples=60, deadline=None)
    @given(**CASES)
    def test_each_completion_lies_between(self, name: str, seed: int, one_to_one: bool, data: st.DataObject) -> None:
        observations, maps = observed(name, seed, one_to_one)
        partial, completions = partial_map(data, maps)
        every = torch.arange(observations.count)
        with torch.no_grad():
            exact = observations.table(completions, every)
            largest = observations.table(partial, every)
            smallest = observations.table(partial, every, largest=False)
        assert bool((largest >= exact - ROUNDING).all())
        assert bool((smallest <= exact + ROUNDING).all())
        if len(completions) == 1 and bool((partial != UNKNOWN).all()):
            torch.testing.assert_close(largest, exact)
            torch.testing.assert_close(smallest, exact)

    @pytest.mark.parametrize("name", [*PROGRAMS, PLAIN_NOT])
    def test_whole_maps_are_as_likely_as_the_reasoner_says(self, name: str) -> None:
        observations, maps = observed(name, 3, True)
        made = program(name)
        log_q, answers = random_data(made, 7, 3)
        labels = {item.unknown.network: (item.rows, item.symbols) for item in observations.labels}
        for row in maps[::5]:
            chosen = {unknown.network: tuple(row[unknown.columns].tolist()) for unknown in observations.unknowns}
            expected = log_likelihood(made, chosen, log_q, answers, labels=labels)
            assert float(observations.log_likelihood(row[None]).detach()) == pytest.approx(expected, abs=ROUNDING)


class TestPairTables:
    @settings(max_examples=60, deadline=None)
    @given(**CASES)
    def test_no_completion_is_likelier(self, name: str, seed: int, one_to_one: bool, data: st.DataObject) -> None:
        observations, maps = observed(name, seed, one_to_one)
        partial, completions = partial_map(data, maps)
        base = torch.full((observations.size,), UNKNOWN)
        with torch.no_grad():
            tables = PairTables(observations, base, math.inf)
            best = float(observations.log_likelihood(completions).max())
            known, free = torch.nonzero(partial[0] != UNKNOWN)[:, 0], torch.nonzero(partial[0] == UNKNOWN)[:, 0]
            for needed in (-math.inf, math.inf):  # with and without the matching
                assert float(tables.bound(partial, known, free, needed)) >= best - ROUNDING

    @settings(max_examples=20, deadline=None)
    @given(**CASES)
    def test_nor_with_a_known_part(self, name: str, seed: int, one_to_one: bool, data: st.DataObject) -> None:
        observations, maps = observed(name, seed, one_to_one)
        partial, completions = partial_map(data, maps)
        with torch.no_grad():
            tables = PairTables(observations, partial[0], math.inf)
            scores, exact = tables.score(completions), observations.log_likelihood(completions)
        assert bool((scores >= exact - ROUNDING).all())

    def test_without_time_they_still_are_bounds(self) -> None:
        observations, maps = observed("addition of five", 0, True)
        with torch.no_grad():
            tables = PairTables(observations, torch.full((5,), UNKNOWN), -math.inf)
            assert bool((tables.score(maps) >= observations.log_likelihood(maps) - ROUNDING).all())
