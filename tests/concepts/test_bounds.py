"""Bounds of partial maps hold for each of their completions, observation by observation and in sum."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from every_map import PROGRAMS, every_map, log_likelihood, random_data, reasoner, soft, with_a_plain_not
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nesy_gedi.concepts.inputs import read_observations
from nesy_gedi.concepts.observations import UNKNOWN, Observations
from nesy_gedi.concepts.pair_tables import NEVER, SHORTLISTED, PairTables
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.task import one_hot_log

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


def long_sums(digits: int, count: int) -> tuple[Observations, Tensor]:
    """Sums of numbers to the base 4 whose digits are seen without doubt, and the right map, (4,)."""
    program = find_program("multi_addition").path.read_text(encoding="utf-8")
    text = program.replace("[0..9]", "[0..3]").replace("mod 10", "mod 4").replace("// 10", "// 4")
    rows = [",".join(f"{name}{k}" for k in range(digits + more)) for name, more in (("X", 0), ("Y", 0), ("Z", 1))]
    made = Reasoner(Program(text), "multi_addition({})".format(",".join(f"[{row}]" for row in rows)))
    truth = torch.tensor([2, 0, 3, 1])  # what each cluster stands for
    clusters = torch.randint(4, (count, 2, digits), generator=torch.Generator().manual_seed(0))
    numbers = (truth[clusters] * 4 ** torch.arange(digits)).sum(2).sum(1)
    total = numbers[:, None] // 4 ** torch.arange(digits + 1) % 4
    log_q = {
        ("digit_net", f"{name}{k}"): one_hot_log(clusters[:, row, k], 4, torch.float64)
        for row, name in enumerate("XY")
        for k in range(digits)
    }
    given = {("target_net", f"Z{k}"): one_hot_log(total[:, k], 4, torch.float64) for k in range(digits + 1)}
    return read_observations(made, log_q, torch.zeros(count).long(), given, {}, "one_to_one"), truth


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

    @pytest.mark.parametrize("name", ["addition of five", PLAIN_NOT])
    def test_in_small_pieces_it_is_the_same(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        observations, maps = observed(name, 2, True)
        at_once = observations.log_likelihood(maps[:9])
        monkeypatch.setattr("nesy_gedi.concepts.observations.VALUES_AT_ONCE", 4 * observations.bounds.nodes)
        assert torch.equal(observations.log_likelihood(maps[:9]), at_once)
        monkeypatch.setattr("nesy_gedi.concepts.observations.VALUES_AT_ONCE", 1)
        assert torch.equal(observations.log_likelihood(maps[:9]), at_once)

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

    def test_of_many_images_two_that_say_much_are_looked_at(self) -> None:
        """Each observation is filed under two of its own images, telling ones, and all of them under few clusters."""
        observations, truth = long_sums(6, 40)
        tops = torch.stack([rows.argmax(1) for _, rows in observations.mapped_rows()])
        pairs = list(combinations(range(len(tops)), 2))
        assert len(pairs) > SHORTLISTED
        every = torch.arange(observations.count)
        with torch.no_grad():
            tables = PairTables(observations, torch.full((4,), UNKNOWN), math.inf)
            means = [own[own > NEVER].mean() for own in (tables._entries(every, tops[j], tops[k]) for j, k in pairs)]
        filed = {frozenset(pair) for pair in zip(tables.first.tolist(), tables.second.tolist(), strict=True)}
        shown = {frozenset(pair) for pair in zip(tops[0].tolist(), tops[6].tolist(), strict=True)}
        assert len(filed) <= len(shown) // 2
        for number in every.tolist():
            own = [frozenset((int(tops[j, number]), int(tops[k, number]))) for j, k in pairs]
            assert frozenset((int(tables.first[number]), int(tables.second[number]))) in own
        assert float(tables.own[tables.own > NEVER].mean()) < float(torch.stack(means).median())
        assert float(tables.score(truth[None])) == pytest.approx(0.0, abs=1e-6)

    def test_a_glance_is_at_some_of_the_entries(self) -> None:
        observations, _ = long_sums(2, 10)
        every = torch.arange(10)
        with torch.no_grad():
            tables = PairTables(observations, torch.full((4,), UNKNOWN), math.inf)
            own, few = (tables._entries(every, tables.first, tables.second, count) for count in (0, 3))
        known, looked_at = own > NEVER, few > NEVER
        assert torch.equal(looked_at.flatten(1).sum(1), known.flatten(1).sum(1).clamp_max(3))
        assert bool((known | ~looked_at).all())
        torch.testing.assert_close(few[looked_at], own[looked_at])

    def test_without_time_they_still_are_bounds(self) -> None:
        observations, maps = observed("addition of five", 0, True)
        with torch.no_grad():
            tables = PairTables(observations, torch.full((5,), UNKNOWN), -math.inf)
            assert bool((tables.score(maps) >= observations.log_likelihood(maps) - ROUNDING).all())
