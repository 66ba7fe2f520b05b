"""Which clusters are shown, in which order, and what is said of each."""

from __future__ import annotations

import math

import pytest
import torch

from nesy_gedi.data import Labels
from nesy_gedi.reports.clusters import CLUSTERS_SHOWN, Clustering, cluster, clusters_section, groups

CLASSES = ("cat", "<dog>")
# Cluster of each image, and its class: cluster 2 is dogs but for one, 0 cats, 3 another dog, 1 nothing.
CLUSTERS = torch.tensor([2, 2, 2, 2, 0, 0, 0, 3])
TRUTH = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1])
SURE = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.9, 0.7, 0.8, 0.7])


def four_clusters(images: torch.Tensor) -> Clustering:
    probabilities = ((1.0 - SURE) / 3.0)[:, None].repeat(1, 4)
    probabilities[torch.arange(8), CLUSTERS] = SURE
    return cluster(images, probabilities, Labels(CLASSES, TRUTH))


def test_clusters_are_in_the_order_of_their_class_and_empty_ones_come_last() -> None:
    found = four_clusters(torch.zeros(8, 2))
    assert found.counts.tolist() == [[3, 0, 1, 0], [0, 0, 3, 1]]
    assert found.shown == [0, 2, 3, 1]


def test_each_cluster_stands_for_its_commonest_class() -> None:
    by_name = {group.name: group for group in groups(four_clusters(torch.zeros(8, 2)))}
    assert {name: group.meaning for name, group in by_name.items()} == {"0": "cat", "2": "<dog>", "3": "<dog>", "1": ""}
    dogs = by_name["2"]
    assert (dogs.share, dogs.true_share, dogs.purity) == (0.5, 0.5, 0.75)
    assert dogs.confidence == pytest.approx(0.75)
    assert math.isnan(by_name["1"].confidence)
    assert math.isnan(by_name["1"].purity)


def test_odd_pictures_are_those_of_another_class() -> None:
    by_name = {group.name: group for group in groups(four_clusters(torch.zeros(8, 1, 4, 4, dtype=torch.uint8)))}
    assert by_name["2"].odd
    assert by_name["0"].odd == ""
    assert by_name["1"].typical == ""


def test_names_of_classes_are_escaped() -> None:
    for images in (torch.zeros(8, 2), torch.zeros(8, 1, 4, 4, dtype=torch.uint8)):
        page = "".join(clusters_section(four_clusters(images), "images"))
        assert "<dog>" not in page
        assert "&lt;dog&gt;" in page
        assert "none: it is empty" in page


def test_of_very_many_clusters_the_largest_are_shown() -> None:
    count = 3 * CLUSTERS_SHOWN
    probabilities = torch.eye(count)[torch.tensor([count - 1] * 3 + [7] * 2 + [0])]
    found = cluster(torch.zeros(6, 2), probabilities, Labels(CLASSES, torch.tensor([0, 0, 0, 1, 1, 1])))
    assert len(found.shown) == CLUSTERS_SHOWN
    assert found.shown[:3] == [count - 1, 7, 0]
    page = "".join(clusters_section(found, "points"))
    assert f"The {CLUSTERS_SHOWN} largest of {count} clusters." in page
