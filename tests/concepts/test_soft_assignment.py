"""P(symbol | cluster) by expectation maximisation: it climbs, and it finds maps that are known."""

from __future__ import annotations

import math

import pytest
import torch
from every_map import addition, clustered, log_likelihood, reasoner, soft
from torch import Tensor

from nesy_gedi.concepts.assignment import assign
from nesy_gedi.concepts.soft_assignment import SoftAssignment, apply_weights, assign_softly
from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.logic.reasoner import Reasoner

ROUNDING = 1e-9
"""Nats by which a step may seem to fall: sums of a few hundred terms in double precision."""

SPLIT = torch.tensor([4, 0, 1, 3, 2, 0, 4])
"""The symbol of each of seven clusters: two of the five digits were split."""

WITH_CONSTANTS = """
nn(net, [X], D, [0..2]) :: digit(X, D).
0.3 :: u.
alarm(X, Y) :- digit(X, 1), u.
alarm(X, Y) :- digit(Y, 2).
r(X, Y, no) :- \\+ alarm(X, Y).
r(X, Y, yes) :- alarm(X, Y).
"""


def split_digits(n: int, seed: int) -> tuple[Reasoner, dict[tuple[str, ...], Tensor], Tensor]:
    """Noisy sums of five digits, seen through seven clusters."""
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.randint(7, (2, n), generator=generator)
    log_q = {("net", slot): clustered(cluster[k], torch.arange(7), 7, seed + k) for k, slot in enumerate("XY")}
    return addition(5), log_q, SPLIT[cluster].sum(0)


def random_case(seed: int, clusters: int) -> tuple[Reasoner, dict[tuple[str, ...], Tensor], Tensor]:
    made = reasoner(WITH_CONSTANTS, "r(X, Y, R)")
    answers = torch.randint(2, (30,), generator=torch.Generator().manual_seed(seed))
    return made, {("net", slot): soft(30, clusters, 9 * seed + k) for k, slot in enumerate("XY")}, answers


def likelihood(made: Reasoner, found: SoftAssignment, log_q: dict[tuple[str, ...], Tensor], answers: Tensor) -> float:
    rows = {key: (q.exp() @ found.weights[key[0]]).log() for key, q in log_q.items()}
    return float(made(rows).gather(1, answers[:, None]).sum())


class TestClimbing:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("clusters", [3, 6])
    def test_no_step_falls(self, seed: int, clusters: int) -> None:
        # The circuit does not mention Y where X settles the answer: the gradient alone would not be the posterior.
        made, log_q, answers = random_case(seed, clusters)
        found = assign_softly(made, log_q, answers, restarts=2, steps=150, seed=seed)
        assert len(found.history) > 2
        assert all(after >= before - ROUNDING for before, after in zip(found.history, found.history[1:], strict=False))
        assert found.log_likelihood == found.history[-1]
        assert found.log_likelihood == pytest.approx(likelihood(made, found, log_q, answers), abs=ROUNDING)
        for weights in found.weights.values():
            torch.testing.assert_close(weights.sum(1), torch.ones(clusters, dtype=torch.float64))

    def test_it_ends_where_the_gradient_vanishes(self) -> None:
        made, log_q, answers = random_case(1, 4)
        found = assign_softly(made, log_q, answers, restarts=1, steps=20_000, seed=3)
        weights = found.weights["net"].clone().requires_grad_()
        rows = {key: (q.exp() @ weights).log() for key, q in log_q.items()}
        made(rows).gather(1, answers[:, None]).sum().backward()
        # On the simplex: equal slopes where a weight is positive, smaller ones where it is zero.
        slopes = (weights.grad * weights.detach()).sum(1, True)
        assert float((weights.grad - slopes).max()) < 0.1 * len(answers)
        assert float((weights.detach() * (weights.grad - slopes)).abs().max()) < 0.02

    def test_is_at_least_as_likely_as_any_hard_map(self) -> None:
        made, log_q, answers = split_digits(60, 3)
        hard = assign(made, log_q, answers, kind="many_to_one", seconds=60.0)
        found = assign_softly(made, log_q, answers, restarts=3)
        assert hard.exact
        assert found.log_likelihood >= hard.log_likelihood


class TestKnownMaps:
    @pytest.mark.parametrize("n", [60, 300])
    def test_split_digits(self, n: int) -> None:
        made, log_q, answers = split_digits(n, n)
        found = assign_softly(made, log_q, answers, restarts=3)
        assert found.maps["net"] == tuple(SPLIT.tolist())
        assert found.converged
        assert found.exact is False
        assert found.restarts == 3
        expected = log_likelihood(made, found.maps, log_q, answers)
        assert found.rounded_log_likelihood == pytest.approx(expected, abs=1e-6)
        assert found.rounded_log_likelihood <= found.log_likelihood

    def test_random_starts_alone_find_it_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import nesy_gedi.concepts.soft_assignment as module

        monkeypatch.setattr(module, "SMOOTHING", 1.0)  # the first start then knows nothing: all its rows are uniform
        made, log_q, answers = split_digits(300, 1)
        assert assign_softly(made, log_q, answers, restarts=8).maps["net"] == tuple(SPLIT.tolist())

    def test_many_to_one_search_agrees(self) -> None:
        made, log_q, answers = split_digits(200, 5)
        found = assign(made, log_q, answers, kind="many_to_one", seconds=60.0)
        assert found.exact
        assert found.maps["net"] == tuple(SPLIT.tolist())

    def test_labels_alone_give_shares(self) -> None:
        # Cluster 0 is sure; of its four images three are labelled 2, one is labelled 1.
        sure = torch.tensor([[0.0, -torch.inf, -torch.inf]] * 4, dtype=torch.float64)
        nothing = torch.empty(0, dtype=torch.long)
        found = assign_softly(addition(3), {}, nothing, labels={"net": (sure, torch.tensor([2, 2, 1, 2]))})
        expected = torch.tensor([0.0, 0.25, 0.75], dtype=torch.float64)
        torch.testing.assert_close(found.weights["net"][0], expected, atol=1e-6, rtol=0.0)
        assert found.log_likelihood == pytest.approx(3 * math.log(0.75) + math.log(0.25), abs=1e-6)

    def test_what_is_fixed_stays(self) -> None:
        made, log_q, answers = random_case(2, 5)
        found = assign_softly(made, log_q, answers, fixed={"net": {1: 2, 4: 0}}, restarts=2)
        torch.testing.assert_close(found.weights["net"][1], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        torch.testing.assert_close(found.weights["net"][4], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))

    def test_one_seed_one_result(self) -> None:
        made, log_q, answers = random_case(3, 5)
        one, other = (assign_softly(made, log_q, answers, restarts=2, steps=50, seed=4) for _ in range(2))
        assert torch.equal(one.weights["net"], other.weights["net"])


def test_applied_it_is_a_matrix_product() -> None:
    log_q = soft(6, 5, 0).view(2, 3, 5)
    weights = soft(5, 3, 1).exp()
    torch.testing.assert_close(apply_weights(log_q, weights).exp(), log_q.exp() @ weights)


class TestErrors:
    def test_evidence(self) -> None:
        text = "nn(net, [X], D, [0..2]) :: digit(X, D).\n0.5 :: u.\ns(X, D) :- digit(X, D), u.\nevidence(u)."
        with pytest.raises(UsageError, match="evidence"):
            assign_softly(reasoner(text, "s(X, D)"), {("net", "X"): soft(4, 3, 0)}, torch.tensor([0, 1, 2, 0]))

    def test_too_few_clusters(self) -> None:
        with pytest.raises(UsageError, match="2 clusters cannot stand for 3 symbols"):
            assign_softly(addition(3), {("net", slot): soft(4, 2, 0) for slot in "XY"}, torch.tensor([0, 1, 2, 0]))

    def test_options(self) -> None:
        made, log_q, answers = random_case(0, 4)
        for options in ({"restarts": 0}, {"steps": 0}, {"seconds": 0.0}):
            with pytest.raises(UsageError, match="restarts of"):
                assign_softly(made, log_q, answers, **options)

    def test_nothing_observed(self) -> None:
        with pytest.raises(DataError, match="nothing is observed"):
            assign_softly(addition(3), {("net", s): torch.empty(0, 4) for s in "XY"}, torch.empty(0, dtype=torch.long))

    def test_a_budget_stops_it(self) -> None:
        made, log_q, answers = split_digits(100, 0)
        found = assign_softly(made, log_q, answers, seconds=1e-9)
        assert found.restarts == 1
        assert not found.converged
