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
    Metric("concept_collapse", "collapse", "share of the symbols that are not told apart any more; 0 is best"),
)
"""What is measured of each network."""

CONCEPT_DETAILS = (
    Metric("concept_gap", "gap", "aligned minus raw accuracy; large where symbols have changed places"),
    Metric("concept_entropy", "entropy", "mean entropy of what is seen, in nats; 0 is certain"),
    Metric("marginal_divergence", "divergence", "KL of the mean distribution from the true frequencies, in nats"),
    Metric("error_auroc", "error AUROC", "how often a wrong symbol is less certain than a right one; 0.5 is chance"),
)
"""More of each network, for documents and reports. The last is undefined where no symbol is wrong, or all are."""
