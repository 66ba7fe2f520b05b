"""Metrics: pure functions of predictions and truth, checked against scikit-learn."""

from typing import NamedTuple


class Metric(NamedTuple):
    """How a metric is called in documents (``key``), in tables (``label``), and what its values mean."""

    key: str
    label: str
    meaning: str


CONCEPT_METRICS = (
    Metric("concept_accuracy", "accuracy", "share of images read as the symbol they are; 1 is best"),
    Metric(
        "aligned_concept_accuracy",
        "aligned",
        "the same after the best renaming of symbols; far above accuracy: wrong symbols",
    ),
    Metric("ami", "AMI", "agreement whatever the names, corrected for chance; 0 is random, 1 the same partition"),
    Metric("concept_ece", "ECE", "gap between confidence and accuracy; 0 is best"),
)
"""What is measured of each network."""
