"""Branch and bound: known shortcuts, clusters that nobody sees, how long it takes, and what it says when it has to stop."""

from __future__ import annotations

import time
from itertools import product

import pytest
import torch
from every_map import MODULO, TOLERANCE, addition, assert_agrees, certain, random_data, ranking, reasoner, soft, sums
from torch import Tensor

from nesy_gedi.concepts.assignment import assign
from nesy_gedi.logic.reasoner import Reasoner


def supported(pairs: list[tuple[int, int]], size: int) -> tuple[Reasoner, dict[tuple[str, ...], Tensor], Tensor]:
    """Perfect clusters of the given pairs of digits, in both orders, and their sums."""
    both = torch.tensor(pairs + [(b, a) for a, b in pairs])
    log_q = {("net", slot): certain(both[:, k], size) for k, slot in enumerate("XY")}
    return addition(size), log_q, both.sum(1)


class TestKnownShortcuts:
    def test_even_odd_leaves_two_maps_and_one_label_settles_it(self) -> None:
        found = assign(*supported([(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)], 10))
        assert found.exact
        assert found.gap == 0.0
        assert {tie.maps["net"] for tie in found.near_ties} == {
            tuple(range(10)),
            tuple((digit + 5) % 10 for digit in range(10)),
        }
        assert not found.more_near_ties
        assert len(found.labels_to_ask) == 1
        assert found.fewest_labels
        assert found.uninformed == ()
        for cluster in range(10):
            row = found.posterior["net"][cluster]
            assert row[cluster] == pytest.approx(0.5)
            assert row[(cluster + 5) % 10] == pytest.approx(0.5)

    def test_the_label_asked_for_settles_it(self) -> None:
        made, log_q, answers = supported([(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)], 10)
        ((network, cluster),) = assign(made, log_q, answers).labels_to_ask
        told = assign(made, log_q, answers, fixed={network: {cluster: cluster}})
        assert told.maps["net"] == tuple(range(10))
        assert len(told.near_ties) == 1
        assert told.labels_to_ask == ()

    def test_half_leaves_one_map(self) -> None:
        found = assign(*supported([(0, 0), (0, 1), (2, 3), (2, 4)], 5))
        assert found.exact
        assert [tie.maps["net"] for tie in found.near_ties] == [tuple(range(5))]
        assert found.log_likelihood == 0.0
        assert found.gap >= 100.0
        assert found.labels_to_ask == ()

    def test_exclusive_or_leaves_two_maps(self) -> None:
        made = reasoner(MODULO.format(last=1, size=2), "add(X, Y, S)")
        bits = torch.tensor(list(product((0, 1), repeat=2)))
        log_q = {("net", slot): certain(bits[:, k], 2) for k, slot in enumerate("XY")}
        found = assign(made, log_q, bits.sum(1) % 2)
        assert {tie.maps["net"] for tie in found.near_ties} == {(0, 1), (1, 0)}
        assert len(found.labels_to_ask) == 1

    def test_full_addition_leaves_one_map(self) -> None:
        pairs = [(a, b) for a in range(10) for b in range(10)]
        found = assign(*supported(pairs, 10))
        assert found.exact
        assert [tie.maps["net"] for tie in found.near_ties] == [tuple(range(10))]


class TestUnseenClusters:
    def test_their_order_is_not_enumerated(self) -> None:
        # Digits 5..9 never occur, and the network gives their clusters next to nothing.
        digits = torch.tensor([(a, b) for a in range(5) for b in range(5)])
        log_q = {}
        for k, slot in enumerate("XY"):
            logits = torch.full((25, 10), -25.0, dtype=torch.float64)
            logits[torch.arange(25), digits[:, k]] = 0.0
            log_q["net", slot] = (logits + 0.1 * torch.randn_like(logits)).log_softmax(1)
        found = assign(addition(10), log_q, digits.sum(1))
        assert found.exact
        assert found.maps["net"][:5] == (0, 1, 2, 3, 4)
        assert len(found.near_ties) == 1
        assert found.uninformed == tuple(("net", k) for k in range(5, 10))
        torch.testing.assert_close(found.posterior["net"][7], torch.tensor([0.0] * 5 + [0.2] * 5, dtype=torch.float64))
        assert found.gap > 10.0

    def test_a_cluster_that_matters_for_an_improbable_answer_is_searched(self) -> None:
        # Clusters 2 and 3 are hardly ever seen, but the last observation depends on which of them is which.
        made = addition(4)
        cluster = torch.tensor([0, 1, 0, 1, 1])
        logits = torch.full((5, 4), -40.0, dtype=torch.float64)
        logits[torch.arange(5), cluster] = 0.0
        logits[4, 2] = -10.0
        x = logits.log_softmax(1)
        y = certain(cluster, 4)
        answers = torch.tensor([0, 2, 0, 2, 3])
        found = assign(made, {("net", "X"): x}, answers, given={("net", "Y"): y})
        assert_agrees(found, ranking(made, {("net", "X"): x}, answers, given={("net", "Y"): y}))
        assert found.gap == pytest.approx(30.0, abs=1e-3)
        assert found.uninformed == (("net", 3),)

    def test_clusters_that_all_look_the_same_end_at_once(self) -> None:
        log_q = {("net", slot): torch.zeros(50, 10).log_softmax(1) for slot in "XY"}
        found = assign(addition(10), log_q, torch.arange(50) % 19, seconds=20.0)
        assert found.exact
        assert found.gap == pytest.approx(0.0, abs=TOLERANCE)
        assert found.more_near_ties

    def test_observations_that_say_nothing_end_at_once(self) -> None:
        made = reasoner("nn(net, [X], D, [0..9]) :: digit(X, D).\nok(X, yes) :- digit(X, _).", "ok(X, R)")
        log_q = {("net", "X"): soft(20, 10, 0)} if made.inputs else {}
        labels = {} if log_q else {"net": (soft(1, 10, 0).mul(0).log_softmax(1), torch.tensor([0]))}
        found = assign(made, log_q, torch.zeros(20, dtype=torch.long), labels=labels, seconds=20.0)
        assert found.exact
        assert found.gap == pytest.approx(0.0, abs=TOLERANCE)
        assert found.more_near_ties
        assert len(found.near_ties) == 64


class TestSpeed:
    def test_a_thousand_noisy_sums(self) -> None:
        log_q, answers, truth = sums(1000, 0)
        made = addition(10)
        started = time.perf_counter()
        found = assign(made, log_q, answers, seconds=60.0)
        assert found.exact
        assert found.maps["net"] == truth
        # About one second on an idle core.
        assert time.perf_counter() - started < 10.0

    @pytest.mark.parametrize("n", [15, 30])
    def test_few_sums(self, n: int) -> None:
        log_q, answers, truth = sums(n, 1)
        found = assign(addition(10), log_q, answers, seconds=60.0)
        assert found.exact
        assert found.maps["net"] == truth

    def test_many_errors(self) -> None:
        log_q, answers, truth = sums(300, 2, wrong=0.2)
        found = assign(addition(10), log_q, answers, seconds=60.0)
        assert found.exact
        assert found.maps["net"] == truth


class TestBudget:
    def test_a_budget_too_small_says_so_and_bounds_what_is_left(self) -> None:
        # Answers that have nothing to do with the images: no map is much better than others, and none is easily ruled out.
        log_q = {("net", slot): soft(300, 10, k, sharpness=1.0) for k, slot in enumerate("XY")}
        started = time.perf_counter()
        found = assign(addition(10), log_q, torch.arange(300) % 19, seconds=0.5)
        assert time.perf_counter() - started < 8.0
        assert not found.exact
        assert found.bound > found.log_likelihood
        assert found.least_gap < 0.0 <= found.gap
        assert sorted(found.maps["net"]) == list(range(10))

    def test_the_bound_holds_however_early_the_search_stops(self) -> None:
        made = addition(5)
        log_q, answers = random_data(made, 30, 9)
        every = ranking(made, log_q, answers)
        best = every[0][0]
        for seconds in (1e-9, 1e-3, 0.01, 0.05):
            found = assign(made, log_q, answers, seconds=seconds)
            assert found.bound >= best - TOLERANCE
            assert found.log_likelihood <= best + TOLERANCE
            other = next(value for value, maps in every if maps["net"] != found.maps["net"])
            assert found.log_likelihood - other >= found.least_gap - TOLERANCE
            assert found.least_gap <= found.gap
