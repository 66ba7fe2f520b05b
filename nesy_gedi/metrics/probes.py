"""What frozen features are worth to a simple classifier."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nesy_gedi.errors import DataError, UsageError
from nesy_gedi.metrics.checks import finite_matrix, whole_numbers

NEIGHBOURS = 10
"""Neighbours that vote; the number that neighbour views use as well."""

PROBE_LABELS = 5000
"""Labelled training samples that commands give to the probes."""

ITERATIONS = 1000
"""Enough for L-BFGS to converge on standardised features."""


def probe_metrics(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> dict[str, float | int]:
    """What documents say of features: both probes, and the number of labels that they were given; arguments and errors
    as :func:`linear_probe`."""
    known, asked = (train_features, train_labels), (test_features, test_labels)
    return {
        "linear_probe": linear_probe(*known, *asked),
        "neighbour_probe": neighbour_probe(*known, *asked),
        "probe_labels": len(train_labels),
    }


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    iterations: int = ITERATIONS,
) -> float:
    """Test accuracy of multinomial logistic regression on standardised features.

    The means and deviations are those of the training features; the penalty is scikit-learn's (L2, C = 1). No step is
    random.

    Args:
        train_features: (n, d).
        train_labels: (n,) integers of two classes or more.
        test_features: (m, d), of the same encoder.
        test_labels: (m,).

    Raises:
        DataError: wrong shapes, features that are not finite, or a single class.
    """
    from sklearn.linear_model import LogisticRegression  # takes over a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=iterations))
    return _accuracy(classifier, train_features, train_labels, test_features, test_labels)


def neighbour_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    neighbours: int = NEIGHBOURS,
) -> float:
    """Test accuracy of the majority of the nearest training features by Euclidean distance; arguments as above.

    Normalise the features for cosine similarity. Ties go to the smaller label. With fewer training samples than
    ``neighbours``, all of them vote.

    Raises:
        UsageError: fewer than one neighbour.
    """
    if neighbours < 1:
        raise UsageError(
            f"{neighbours} neighbours cannot vote, expected at least 1", hint=f"the default is {NEIGHBOURS}"
        )
    from sklearn.neighbors import KNeighborsClassifier  # takes over a second to import

    classifier = KNeighborsClassifier(min(neighbours, max(1, len(train_features))))
    return _accuracy(classifier, train_features, train_labels, test_features, test_labels)


def _accuracy(
    classifier: Any, train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> float:
    train, test = finite_matrix(train_features, "training features"), finite_matrix(test_features, "test features", 1)
    if train.shape[1] != test.shape[1]:
        raise DataError(
            f"training features have {train.shape[1]} dimensions, test features {test.shape[1]}",
            hint="make both with the same encoder",
        )
    labels = whole_numbers(train_labels, (len(train),), None, "training labels")
    truth = whole_numbers(test_labels, (len(test),), None, "test labels")
    if len(labels.unique()) < 2:
        raise DataError(
            f"all training labels are {int(labels[0])}, expected two classes or more",
            hint="draw training samples of more classes",
        )
    classifier.fit(train.numpy(), labels.numpy())
    return float((classifier.predict(test.numpy()) == truth.numpy()).mean())
