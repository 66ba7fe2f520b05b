"""The best maps from clusters to symbols: against every map, one after the other, and on known shortcuts."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from every_map import (
    PROGRAMS,
    TOLERANCE,
    addition,
    assert_agrees,
    certain,
    clustered,
    log_likelihood,
    mapped,
    random_data,
    ranking,
    reasoner,
    soft,
    with_a_plain_not,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nesy_gedi.concepts.assignment import apply_map, assign
from nesy_gedi.errors import DataError, DistributionError, NesyGediError, UsageError


class TestAgainstEveryMap:
    @pytest.mark.parametrize("name", PROGRAMS)
    @pytest.mark.parametrize(("n", "seed"), [(1, 0), (6, 1), (40, 2)])
    def test_random_observations(self, name: str, n: int, seed: int) -> None:
        made = reasoner(*PROGRAMS[name])
        log_q, answers = random_data(made, n, seed)
        assert_agrees(assign(made, log_q, answers, seconds=60.0), ranking(made, log_q, answers))

    @settings(max_examples=15, deadline=None)
    @given(
        name=st.sampled_from(sorted(PROGRAMS)),
        n=st.integers(1, 12),
        seed=st.integers(0, 10_000),
        limit=st.sampled_from([1, 3, 64]),
    )
    def test_any_observations(self, name: str, n: int, seed: int, limit: int) -> None:
        made = reasoner(*PROGRAMS[name])
        log_q, answers = random_data(made, n, seed)
        found = assign(made, log_q, answers, seconds=60.0, max_near_ties=limit, seed=seed)
        assert_agrees(found, ranking(made, log_q, answers), limit)

    @pytest.mark.parametrize("name", ["addition mod 3", "two networks"])
    @pytest.mark.parametrize("seed", range(3))
    def test_many_to_one(self, name: str, seed: int) -> None:
        made = reasoner(*PROGRAMS[name])
        _, answers = random_data(made, 15, seed)
        log_q = {
            (item.network, *item.slots): soft(15, len(item.domain) + 2, 100 * seed + k)
            for k, item in enumerate(made.inputs)
        }
        found = assign(made, log_q, answers, kind="many_to_one", seconds=60.0)
        assert_agrees(found, ranking(made, log_q, answers, one_to_one=False))

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("name", ["two networks", "two networks on one image"])
    @pytest.mark.parametrize("more", [(0, 0), (0, 2), (1, 0)], ids=["both square", "one square", "the other square"])
    def test_each_network_by_its_number_of_clusters(self, name: str, more: tuple[int, int], seed: int) -> None:
        made = reasoner(*PROGRAMS[name])
        _, answers = random_data(made, 15, seed)
        log_q = {
            (item.network, *item.slots): soft(15, len(item.domain) + more[k], 100 * seed + k)
            for k, item in enumerate(made.inputs)
        }
        found = assign(made, log_q, answers, kind="fitting", seconds=60.0)
        assert_agrees(found, ranking(made, log_q, answers, one_to_one=None))
        for k, item in enumerate(made.inputs):
            assert more[k] or sorted(found.maps[item.network]) == list(range(len(item.domain)))

    @pytest.mark.parametrize("kind", ["one_to_one", "many_to_one"])
    def test_a_plain_not_turns_bounds_around(self, kind: str) -> None:
        made = with_a_plain_not()
        log_q, answers = random_data(made, 25, 5)
        found = assign(made, log_q, answers, kind=kind, seconds=60.0)
        assert_agrees(found, ranking(made, log_q, answers, one_to_one=kind == "one_to_one"))

    def test_impossible_observations_cost_the_floor_and_hide_nothing(self) -> None:
        made = addition(4)
        symbols = torch.tensor(list(product(range(4), repeat=2)))
        names = torch.tensor([2, 0, 3, 1])
        log_q = {("net", slot): certain(names[symbols[:, k]], 4) for k, slot in enumerate("XY")}
        answers = symbols.sum(1)
        answers[5] = (answers[5] + 1) % 7  # no map explains it together with the others
        found = assign(made, log_q, answers)
        assert_agrees(found, ranking(made, log_q, answers))
        assert found.maps["net"] == tuple(names.argsort().tolist())
        assert found.log_likelihood == -100.0

    def test_with_labels_and_given_symbols(self) -> None:
        made = addition(4)
        x, y = soft(9, 4, 1), certain(torch.arange(9) % 4, 4)
        answers = torch.arange(9) % 7
        labels = {"net": (soft(3, 4, 7, sharpness=4.0), torch.tensor([2, 2, 0]))}
        found = assign(made, {("net", "X"): x}, answers, given={("net", "Y"): y}, labels=labels)
        assert_agrees(found, ranking(made, {("net", "X"): x}, answers, given={("net", "Y"): y}, labels=labels))

    def test_labels_alone_are_a_matching(self) -> None:
        made = addition(5)
        labels = {"net": (soft(30, 5, 3), torch.arange(30) % 5)}
        nothing = torch.empty(0, dtype=torch.long)
        assert_agrees(assign(made, {}, nothing, labels=labels), ranking(made, {}, nothing, labels=labels))

    def test_what_is_fixed_stays(self) -> None:
        made = addition(4)
        log_q, answers = random_data(made, 10, 3)
        expected = [item for item in ranking(made, log_q, answers) if item[1]["net"][1] == 3 and item[1]["net"][2] == 0]
        found = assign(made, log_q, answers, fixed={"net": {1: 3, 2: 0}})
        assert_agrees(found, expected)
        whole = assign(made, log_q, answers, fixed={"net": dict(enumerate((1, 2, 3, 0)))})
        assert whole.maps["net"] == (1, 2, 3, 0)
        assert whole.runner_up is None
        assert whole.gap == math.inf
        assert whole.log_likelihood == pytest.approx(
            log_likelihood(made, {"net": (1, 2, 3, 0)}, log_q, answers), abs=TOLERANCE
        )


class TestInvariance:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 1000), order=st.permutations(range(5)))
    def test_renaming_clusters_renames_the_map(self, seed: int, order: list[int]) -> None:
        made = addition(5)
        log_q, answers = random_data(made, 8, seed)
        one = assign(made, log_q, answers)
        other = assign(made, {key: q[:, order] for key, q in log_q.items()}, answers)
        assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=TOLERANCE)
        assert other.gap == pytest.approx(one.gap, abs=TOLERANCE)
        if one.gap > TOLERANCE:
            assert other.maps["net"] == tuple(one.maps["net"][k] for k in order)

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 1000), order=st.permutations(range(8)))
    def test_the_order_of_observations_does_not_matter(self, seed: int, order: list[int]) -> None:
        made = addition(5)
        log_q, answers = random_data(made, 8, seed)
        one = assign(made, log_q, answers)
        other = assign(made, {key: q[order] for key, q in log_q.items()}, answers[order], seed=1)
        assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=TOLERANCE)
        assert other.gap == pytest.approx(one.gap, abs=TOLERANCE)


class TestApply:
    def test_a_permutation(self) -> None:
        log_q = soft(7, 4, 0)
        torch.testing.assert_close(apply_map(log_q, (2, 0, 3, 1), 4), mapped(log_q, (2, 0, 3, 1), 4))

    def test_many_to_one_with_a_symbol_left_over(self) -> None:
        log_q = soft(7, 5, 0).view(7, 1, 5)
        found = apply_map(log_q, (2, 0, 2, 0, 0), 4)
        assert found.shape == (7, 1, 4)
        torch.testing.assert_close(found[:, 0], mapped(log_q[:, 0], (2, 0, 2, 0, 0), 4))

    def test_of_an_assignment(self) -> None:
        made = reasoner(*PROGRAMS["two networks"])
        log_q, answers = random_data(made, 12, 0)
        found = assign(made, log_q, answers)
        colours = ("red", "amber", "green")
        assert found.symbols("light_net") == tuple(colours[k] for k in found.maps["light_net"])
        symbols = {key: found.apply(key[0], q) for key, q in log_q.items()}
        again = -made.nll(symbols, answers) * 12
        assert float(again) == pytest.approx(found.log_likelihood, abs=TOLERANCE)


def refused(error: type[NesyGediError], message: str, **changes: object) -> None:
    made = addition(4)
    log_q, answers = random_data(made, 5, 0)
    options: dict[str, object] = {"log_q": log_q, "answers": answers} | changes
    with pytest.raises(error, match=message) as caught:
        assign(made, **options)
    assert caught.value.hint


class TestErrors:
    def test_budget(self) -> None:
        for seconds in (0.0, -1.0, math.nan):
            refused(UsageError, "budget", seconds=seconds)

    def test_options(self) -> None:
        refused(UsageError, "unknown kind", kind="onto")
        refused(UsageError, "tolerance", tolerance=-1.0)
        refused(UsageError, "max_near_ties", max_near_ties=0)

    def test_keys(self) -> None:
        refused(UsageError, "no network ner", log_q={("ner", "X"): soft(5, 4, 0), ("net", "Y"): soft(5, 4, 0)})
        refused(UsageError, "no slot Z", log_q={("net", "Z"): soft(5, 4, 0)})
        refused(UsageError, "neither clusters", log_q={("net", "X"): soft(5, 4, 0)})
        refused(UsageError, "its symbols are given", given={("net", "X"): soft(5, 4, 0)})
        refused(UsageError, "nothing to assign", log_q={})

    def test_clusters(self) -> None:
        few = {("net", slot): soft(5, 3, 0) for slot in "XY"}
        refused(UsageError, "3 clusters cannot stand for 4 symbols", log_q=few)
        refused(UsageError, "3 clusters cannot stand for 4 symbols", log_q=few, kind="many_to_one")
        many = {("net", slot): soft(5, 6, 0) for slot in "XY"}
        refused(UsageError, "one-to-one", log_q=many)
        refused(DistributionError, "6 clusters here, 4 elsewhere", log_q={**many, ("net", "X"): soft(5, 4, 0)})

    def test_answers(self) -> None:
        refused(DataError, "5 rows beside 4 answers", answers=torch.zeros(4, dtype=torch.long))
        refused(DataError, "7 is not among 0..6", answers=torch.tensor([0, 1, 7, 2, 3]))
        refused(DataError, "-1 is not among", answers=torch.tensor([0, 1, -1, 2, 3]))
        refused(DataError, "expected integers", answers=torch.zeros(5))

    def test_rows(self) -> None:
        broken = soft(5, 4, 0)
        broken[2, 1] = math.nan
        refused(DistributionError, "nan", log_q={("net", "X"): broken, ("net", "Y"): soft(5, 4, 0)})
        refused(DistributionError, "sums to", log_q={("net", slot): torch.randn(5, 4) for slot in "XY"})
        refused(DistributionError, "shape", log_q={("net", slot): soft(5, 4, 0)[0] for slot in "XY"})

    def test_labels(self) -> None:
        refused(DataError, "4 is not among 0..3", labels={"net": (soft(1, 4, 0), torch.tensor([4]))})
        refused(DataError, "1 rows beside 2 labels", labels={"net": (soft(1, 4, 0), torch.tensor([1, 2]))})
        refused(UsageError, "no network other", labels={"other": (soft(1, 4, 0), torch.tensor([1]))})

    def test_fixed(self) -> None:
        refused(UsageError, "both fixed to 1", fixed={"net": {0: 1, 2: 1}})
        refused(UsageError, "counted|cluster 4", fixed={"net": {4: 1}})
        refused(UsageError, "symbol number 4", fixed={"net": {0: 4}})
        refused(UsageError, "no clusters", fixed={"other": {0: 1}})

    def test_nothing_observed(self) -> None:
        nothing = torch.empty(0, dtype=torch.long)
        empty = {("net", slot): torch.empty(0, 4).double() for slot in "XY"}
        refused(DataError, "nothing is observed", log_q=empty, answers=nothing)
        known = assign(addition(4), empty, nothing, fixed={"net": {0: 3}})
        assert known.maps["net"][0] == 3
        assert known.uninformed == (("net", 1), ("net", 2), ("net", 3))
        assert known.log_likelihood == 0.0


def test_symbols_of_clusters_match_the_data_they_came_from() -> None:
    names = torch.tensor([3, 1, 4, 0, 2])
    digits = torch.randint(5, (2, 60), generator=torch.Generator().manual_seed(0))
    log_q = {("net", slot): clustered(digits[k], names, 5, k) for k, slot in enumerate("XY")}
    found = assign(addition(5), log_q, digits.sum(0))
    right = found.apply("net", log_q["net", "X"]).argmax(1) == digits[0]
    assert float(right.double().mean()) > 0.9
