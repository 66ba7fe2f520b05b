"""How a pretrained perception divides images into clusters, beside the classes that it was never told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from nesy_gedi.data import Labels
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.metrics.concepts import best_alignment, contingency
from nesy_gedi.reports.gallery import Group, gallery_table, gather
from nesy_gedi.reports.page import confusion_table, number
from nesy_gedi.reports.plots import scatter

CLUSTERS_SHOWN = 100
"""Of more clusters, the largest are shown."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of images, and their classes.

    Attributes:
        images: (n, channels, height, width) uint8, or points (n, d).
        probabilities: (n, c), of the clusters.
        truth: (n,) int64, the class of each image, ``UNKNOWN`` where nobody has told it.
        classes: their names; none where nobody has labelled an image.
        counts: (classes, clusters) int64.
        matched: (clusters,) int64, the class that each is matched with one to one; -1 for clusters left over.
        shown: numbers of the clusters to show, by matched class, those left over last.
    """

    images: Tensor
    probabilities: Tensor
    truth: Tensor
    classes: tuple[str, ...]
    counts: Tensor
    matched: Tensor
    shown: list[int]

    @property
    def predicted(self) -> Tensor:
        """Cluster of each image, (n,) int64."""
        return self.probabilities.argmax(1)


def cluster(images: Tensor, probabilities: Tensor, labels: Labels | None) -> Clustering:
    """Compare the likeliest clusters of ``images`` (n, ...), by their ``probabilities`` (n, c), with labels where there are
    some."""
    predicted, clusters = probabilities.argmax(1), probabilities.shape[1]
    sizes = predicted.bincount(minlength=clusters)
    largest = sizes.argsort(descending=True, stable=True)[:CLUSTERS_SHOWN].tolist()
    if labels is None:
        nothing, none = torch.zeros(0, clusters, dtype=torch.int64), torch.full((clusters,), -1)
        return Clustering(
            images, probabilities, torch.full((len(images),), UNKNOWN), (), nothing, none, sorted(largest)
        )
    known = labels.index != UNKNOWN
    counts = contingency(labels.index[known], predicted[known], len(labels.classes), clusters)
    matched = best_alignment(counts)
    commonest = counts.argmax(0).masked_fill(counts.sum(0) == 0, len(labels.classes))  # empty clusters last

    def place(own: int) -> tuple[float, int, int]:
        found = int(matched[own])
        return (math.inf if found < 0 else found, int(commonest[own]), own)

    shown = sorted(largest, key=place)
    return Clustering(images, probabilities, labels.index, labels.classes, counts, matched, shown)


def groups(clustering: Clustering) -> list[Group]:
    """The shown clusters, each standing for its commonest class."""
    predicted, found = clustering.predicted, []
    for own in clustering.shown:
        if not clustering.classes:
            taken = predicted == own
            p, truth = clustering.probabilities[:, own], clustering.truth
            found.append(gather(str(own), "", clustering.images, p, taken, truth, 0, ()))
            continue
        count, commonest = clustering.counts[:, own].max(0)
        meaning = clustering.classes[int(commonest)] if count else ""
        p, taken, right = clustering.probabilities[:, own], predicted == own, int(commonest)
        truth, classes = clustering.truth, clustering.classes
        found.append(gather(str(own), meaning, clustering.images, p, taken, truth, right, classes))
    return found


def clusters_section(clustering: Clustering, unit: str) -> list[str]:
    """Pictures, a table and the confusion of the clusters, as HTML.

    Args:
        unit: what the data consists of: ``images`` or ``points``.
    """
    clusters = clustering.probabilities.shape[1]
    if not clustering.classes:
        return [
            f"<p>No test {unit.removesuffix('s')} is labelled: what each cluster shows is for you to see.</p>",
            _table(clustering),
            _points(clustering),
        ]
    left_out = f"The {len(clustering.shown)} largest of {clusters} clusters. " if clusters > CLUSTERS_SHOWN else ""
    odd = "; the odd ones are not, the most confident first" if clustering.images.dim() == 4 else ""
    matched = [int(clustering.matched[own]) for own in clustering.shown]
    return [
        f"<p>{left_out}Purity is the share of a cluster's {unit} that are of its commonest class{odd}.</p>",
        _table(clustering),
        _points(clustering),
        f"<h3>Clusters and classes</h3><p>Numbers of test {unit}. Clusters (rows) are in the order of the class that "
        "each is matched with, one to one, so that most are right: bold and framed. One strong cell in each row is "
        "good; two mean that classes share a cluster.</p>",
        confusion_table(
            clustering.counts.T[clustering.shown].tolist(),
            [f"cluster {own}" for own in clustering.shown],
            clustering.classes,
            {(row, column) for row, column in enumerate(matched) if column >= 0},
        ),
    ]


def _table(clustering: Clustering) -> str:
    found = groups(clustering)
    rows = [
        [
            f"<strong>{group.name}</strong>",
            f"{group.share:.1%}",
            number(group.confidence, ".3f"),
            escape(group.meaning) or "none: it is empty",
            number(group.purity, ".1%"),
        ]
        for group in found
    ]
    header = ["cluster", "share", "confidence", "commonest class", "purity"]
    if not clustering.classes:
        header, rows = header[:3], [row[:3] for row in rows]
    odd = "odd" if clustering.classes else ""
    return gallery_table(header, rows, found, odd, pictures=clustering.images.dim() == 4)


def _points(clustering: Clustering) -> str:
    if clustering.images.dim() != 2:
        return ""
    names = [f"cluster {own}" for own in range(clustering.probabilities.shape[1])]
    classes = [f"class {name}" for name in clustering.classes]
    shown = {"cluster": (clustering.predicted, names)}
    if bool((clustering.truth != UNKNOWN).all()):
        shown["class"] = (clustering.truth, classes)
    return scatter(clustering.images, shown)
