"""Concept accuracy, with and without the best renaming, against scikit-learn and brute force."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as reference_entropy
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.metrics import confusion_matrix as reference_matrix
from torch import Tensor

from nesy_gedi.metrics.concepts import (
    aligned_concept_accuracy,
    best_alignment,
    concept_accuracy,
    concept_collapse,
    concept_entropy,
    concept_gap,
    confusion_matrix,
    contingency,
    empirical_map,
    error_auroc,
    marginal_divergence,
)

labellings = st.integers(1, 5).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=30)
    )
)
examples = settings(max_examples=60, deadline=None, derandomize=True)


def split(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    truth, predicted = torch.tensor(pairs).T
    return truth, predicted


def test_rows_are_true_and_columns_predicted() -> None:
    assert confusion_matrix(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 2]), 3).tolist() == [
        [0, 2, 0],
        [0, 0, 0],
        [0, 0, 1],
    ]


@examples
@given(labellings)
def test_agrees_with_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    symbols, pairs = case
    truth, predicted = split(pairs)
    confusion = confusion_matrix(truth, predicted, symbols)
    if symbols > 1:  # scikit-learn warns about a single label
        assert (confusion.numpy() == reference_matrix(truth, predicted, labels=list(range(symbols)))).all()
    assert concept_accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted))


@examples
@given(labellings)
def test_alignment_is_the_best_of_all_renamings(case: tuple[int, list[tuple[int, int]]]) -> None:
    symbols, pairs = case
    truth, predicted = split(pairs)
    confusion = confusion_matrix(truth, predicted, symbols)
    best = max(
        float((torch.tensor(renaming)[predicted] == truth).double().mean()) for renaming in permutations(range(symbols))
    )
    assert aligned_concept_accuracy(confusion) == pytest.approx(best)
    renamed = best_alignment(confusion)
    assert sorted(renamed.tolist()) == list(range(symbols))
    assert float((renamed[predicted] == truth).double().mean()) == pytest.approx(best)


def test_a_bijective_shortcut() -> None:
    truth = torch.arange(50) % 5
    predicted = torch.tensor([1, 2, 3, 4, 0])[truth]  # everything is called something else, consistently
    confusion = confusion_matrix(truth, predicted, 5)
    assert concept_accuracy(confusion) == 0.0
    assert aligned_concept_accuracy(confusion) == 1.0
    assert best_alignment(confusion).tolist() == [4, 0, 1, 2, 3]


def test_nothing_to_measure() -> None:
    empty = confusion_matrix(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long), 3)
    assert (concept_accuracy(empty), aligned_concept_accuracy(empty)) == (0.0, 0.0)
    assert (concept_collapse(empty), concept_gap(empty)) == (0.0, 0.0)
    assert [each.tolist() for each in empirical_map(empty)] == [[-1] * 3, [0.0] * 3]


def test_more_clusters_than_classes_are_left_over() -> None:
    counts = contingency(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 0, 1, 3]), 2, 4)
    assert counts.tolist() == [[1, 0, 2, 0], [0, 1, 0, 1]]
    renamed = best_alignment(counts)
    assert renamed[2] == 0
    assert sorted(renamed.tolist()) == [-1, -1, 0, 1]
    assert aligned_concept_accuracy(counts) == pytest.approx(3 / 5)


# -- reasoning shortcuts -----------------------------------------------------------------------------------------------


def confusion_of(seen_as: list[int], counts: list[int]) -> Tensor:
    """Counts where symbol k occurs ``counts[k]`` times and is always seen as ``seen_as[k]``."""
    truth = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return confusion_matrix(truth, torch.tensor(seen_as)[truth], len(counts))


@pytest.mark.parametrize(
    ("seen_as", "counts", "collapse"),
    [
        ([0, 1, 2, 3, 4], [9, 9, 9, 9, 9], 0.0),
        ([0, 1, 3, 2, 3], [4, 2, 4, 2, 2], 0.2),
        ([4, 3, 2, 1, 0], [1, 200, 1, 1, 1], 0.0),  # rare symbols count as others do
        ([2, 2, 2, 2, 2], [9, 9, 9, 9, 9], 0.8),
        ([1, 2, 3, 4, 4], [9, 9, 9, 9, 0], 0.0),  # moved to one that does not occur: nothing is merged
        ([1, 1, 2, 3, 4], [9, 9, 9, 9, 0], 0.25),
    ],
)
def test_collapse(seen_as: list[int], counts: list[int], collapse: float) -> None:
    assert concept_collapse(confusion_of(seen_as, counts)) == pytest.approx(collapse)


def test_a_few_mistakes_do_not_hide_that_a_symbol_is_lost() -> None:
    confusion = torch.tensor([[95, 5, 0], [91, 9, 0], [0, 0, 100]])
    assert concept_collapse(confusion) == pytest.approx(0.0)  # seen 14 times for 100
    confusion = torch.tensor([[96, 4, 0], [95, 5, 0], [0, 0, 100]])
    assert concept_collapse(confusion) == pytest.approx(1 / 3)  # 9 times for 100


@examples
@given(labellings)
def test_collapse_and_gap_are_shares(case: tuple[int, list[tuple[int, int]]]) -> None:
    symbols, pairs = case
    confusion = confusion_matrix(*split(pairs), symbols)
    assert 0.0 <= concept_collapse(confusion) < 1.0
    assert concept_gap(confusion) == aligned_concept_accuracy(confusion) - concept_accuracy(confusion)
    assert 0.0 <= concept_gap(confusion) <= 1.0


@examples
@given(labellings)
def test_the_empirical_map_is_the_commonest_reading(case: tuple[int, list[tuple[int, int]]]) -> None:
    symbols, pairs = case
    seen_as, share = empirical_map(confusion_matrix(*split(pairs), symbols))
    for symbol in range(symbols):
        readings = [predicted for true, predicted in pairs if true == symbol]
        if not readings:
            assert (int(seen_as[symbol]), float(share[symbol])) == (-1, 0.0)
            continue
        assert readings.count(int(seen_as[symbol])) == max(readings.count(k) for k in range(symbols))
        assert float(share[symbol]) == pytest.approx(readings.count(int(seen_as[symbol])) / len(readings))


def distributions(n: int, k: int, seed: int) -> Tensor:
    return torch.softmax(2 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).double(), 1)


def test_entropy_agrees_with_scipy() -> None:
    p = distributions(50, 7, 0)
    assert concept_entropy(p).tolist() == pytest.approx(reference_entropy(p.numpy(), axis=1).tolist())
    assert concept_entropy(torch.eye(3)).tolist() == [0.0] * 3  # no 0 log 0
    assert float(concept_entropy(torch.full((1, 4), 0.25))) == pytest.approx(math.log(4))


def test_error_auroc_agrees_with_scikit_learn() -> None:
    p = distributions(200, 5, 1)
    truth = torch.arange(200) % 5
    wrong = p.argmax(1) != truth
    expected = roc_auc_score(wrong.numpy(), reference_entropy(p.numpy(), axis=1))
    assert error_auroc(p, truth) == pytest.approx(expected)


def test_error_auroc_of_known_cases() -> None:
    sure, unsure = [0.98, 0.01, 0.01], [0.4, 0.3, 0.3]
    p = torch.tensor([sure, sure, unsure, unsure])
    assert error_auroc(p, torch.tensor([0, 0, 1, 2])) == 1.0
    assert error_auroc(p, torch.tensor([1, 2, 0, 0])) == 0.0
    assert error_auroc(p, torch.tensor([0, 1, 0, 2])) == 0.5
    for truth in (torch.tensor([0, 0, 0, 0]), torch.tensor([1, 1, 2, 2])):
        assert error_auroc(p, truth) is None


def test_divergence_from_the_true_frequencies() -> None:
    p = distributions(60, 4, 2)
    truth = torch.tensor([0] * 30 + [1] * 15 + [2] * 10 + [3] * 5)
    expected = reference_entropy(p.mean(0).numpy(), truth.bincount().double().numpy())
    assert marginal_divergence(p, truth) == pytest.approx(expected)
    assert marginal_divergence(torch.eye(4).double()[truth], truth) == pytest.approx(0.0, abs=1e-12)
    moved = torch.eye(4).double()[(truth + 1) % 4]  # each as certain as before, but other symbols
    assert marginal_divergence(moved, truth) > 0.1


def test_divergence_is_finite_where_a_symbol_never_occurs() -> None:
    truth = torch.zeros(8, dtype=torch.long)
    p = torch.tensor([[0.75, 0.25, 0.0]]).repeat(8, 1)
    counts = torch.tensor([8.0, 0.5, 0.5]).double()
    expected = reference_entropy([0.75, 0.25, 0.0], (counts / counts.sum()).numpy())
    assert marginal_divergence(p, truth) == pytest.approx(expected)
