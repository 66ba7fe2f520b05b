"""Agreement of two partitions, whatever their names.

Adjusted mutual information and the adjusted Rand index are corrected for chance. Normalised mutual information is not:
the more clusters, the more a random assignment gets (:func:`nmi_of_random`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nesy_gedi.errors import DataError
from nesy_gedi.metrics import Metric
from nesy_gedi.metrics.checks import whole_numbers
from nesy_gedi.metrics.concepts import aligned_concept_accuracy, contingency

CLUSTERING_METRICS = (
    Metric("aligned_accuracy", "accuracy", "share right after the best one-to-one naming of clusters; 1 is best"),
    Metric("ami", "AMI", "agreement with the classes, corrected for chance; 0 is random, 1 the same partition"),
    Metric("ari", "ARI", "pairs on which they agree, corrected for chance; 0 is random, 1 the same partition"),
    Metric("nmi", "NMI", "agreement, not corrected for chance: read it beside the next; 1 is best"),
    Metric("nmi_random", "random NMI", "NMI that a random assignment to as many clusters gets"),
    Metric("majority_accuracy", "majority", "each cluster named after its commonest class; optimistic with many"),
)
"""What is measured of a clustering with :func:`clustering_metrics`."""


def clustering_metrics(truth: Tensor, predicted: Tensor, classes: int, clusters: int) -> dict[str, float]:
    """All of :data:`CLUSTERING_METRICS` of clusters ``predicted`` (n,) against classes ``truth`` (n,)."""
    return {
        "aligned_accuracy": matched_accuracy(truth, predicted, classes, clusters),
        "ami": adjusted_mutual_information(truth, predicted),
        "ari": adjusted_rand_index(truth, predicted),
        "nmi": normalised_mutual_information(truth, predicted),
        "nmi_random": nmi_of_random(truth, clusters),
        "majority_accuracy": majority_accuracy(truth, predicted, classes, clusters),
    }


def adjusted_mutual_information(truth: Tensor, predicted: Tensor) -> float:
    """AMI of two labellings (n,), corrected for chance: about 0 for a random one, 1 for the same partition."""
    from sklearn.metrics import adjusted_mutual_info_score  # takes over a second to import

    return float(adjusted_mutual_info_score(truth.cpu().numpy(), predicted.cpu().numpy()))


def adjusted_rand_index(truth: Tensor, predicted: Tensor) -> float:
    """ARI of two labellings (n,): pairs on which they agree, corrected for chance; 0 is random, 1 the same partition.

    Between -0.5 and 1 (Hubert & Arabie, 1985).
    """
    from sklearn.metrics import adjusted_rand_score  # takes over a second to import

    return float(adjusted_rand_score(truth.cpu().numpy(), predicted.cpu().numpy()))


def normalised_mutual_information(truth: Tensor, predicted: Tensor) -> float:
    """NMI of two labellings (n,), over the mean of their entropies: 1 is the same partition.

    Not corrected for chance: compare with :func:`nmi_of_random`.
    """
    from sklearn.metrics import normalized_mutual_info_score  # takes over a second to import

    return float(normalized_mutual_info_score(truth.cpu().numpy(), predicted.cpu().numpy()))


def nmi_of_random(truth: Tensor, clusters: int, seed: int = 0) -> float:
    """NMI of an assignment into ``clusters`` clusters drawn uniformly at random: what an NMI must beat.

    Args:
        truth: (n,).
        clusters: how many clusters or codes the method may use.
        seed: of the assignment.

    Raises:
        DataError: fewer than one cluster.
    """
    if clusters < 1:
        raise DataError(
            f"a clustering needs at least one cluster, found {clusters}",
            hint="give the number of clusters that the method may use",
        )
    drawn = torch.randint(clusters, (len(truth),), generator=torch.Generator().manual_seed(seed))
    return normalised_mutual_information(truth, drawn)


def matched_accuracy(truth: Tensor, predicted: Tensor, classes: int, clusters: int) -> float:
    """Accuracy after the best one-to-one matching of clusters to classes (Hungarian method).

    With more clusters than classes each class gets one cluster, and the samples of all other clusters are wrong; with
    fewer, the classes left over are.

    Args:
        truth: (n,) integers below ``classes``.
        predicted: (n,) integers below ``clusters``.

    Raises:
        DataError: labels of other shapes or outside these ranges.
    """
    return aligned_concept_accuracy(_contingency(truth, predicted, classes, clusters))


def majority_accuracy(truth: Tensor, predicted: Tensor, classes: int, clusters: int) -> float:
    """Accuracy when each cluster takes the class that most of its samples have (purity); arguments as above.

    Optimistic: it cannot fall when clusters are added, and is 1 when each sample has a cluster of its own.
    """
    counts = _contingency(truth, predicted, classes, clusters)
    return float(counts.amax(0).sum()) / max(1, int(counts.sum()))


def _contingency(truth: Tensor, predicted: Tensor, classes: int, clusters: int) -> Tensor:
    shape = (len(truth),) if truth.dim() else (0,)
    return contingency(
        whole_numbers(truth, shape, classes, "classes"),
        whole_numbers(predicted, shape, clusters, "clusters"),
        classes,
        clusters,
    )
