"""Concept accuracy, with and without the best renaming, against scikit-learn and brute force."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from sklearn.metrics import confusion_matrix as reference_matrix
from torch import Tensor

from nesy_gedi.metrics.concepts import (
    aligned_concept_accuracy,
    best_alignment,
    concept_accuracy,
    confusion_matrix,
    contingency,
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


def test_more_clusters_than_classes_are_left_over() -> None:
    counts = contingency(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 0, 1, 3]), 2, 4)
    assert counts.tolist() == [[1, 0, 2, 0], [0, 1, 0, 1]]
    renamed = best_alignment(counts)
    assert renamed[2] == 0
    assert sorted(renamed.tolist()) == [-1, -1, 0, 1]
    assert aligned_concept_accuracy(counts) == pytest.approx(3 / 5)
