"""Every collapse that is built on purpose is named, and a healthy clustering is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nesy_gedi.metrics import idealised
from nesy_gedi.metrics.collapse import diagnose
from nesy_gedi.metrics.symptoms import DIAGNOSTICS, IDEALISED, collapse_warnings

N, D, K, NEIGHBOURS = 600, 32, 6, 10


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def blobs(spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Features (N, D) around K orthogonal centres, and which of them each sample belongs to."""
    members = torch.arange(N) % K
    return torch.eye(K, D, dtype=torch.float64)[members] * 3 + spread * normal(N, D), members


def nearest(features: Tensor) -> Tensor:
    distances = torch.cdist(features, features)
    return distances.fill_diagonal_(math.inf).topk(NEIGHBOURS, largest=False).indices


def confident(clusters: Tensor, c: int = K, margin: float = 6.0) -> Tensor:
    return torch.log_softmax(margin * torch.nn.functional.one_hot(clusters, c).double(), 1)


def healthy() -> dict[str, Tensor]:
    features, members = blobs()
    views = torch.stack([features + 0.1 * normal(N, D, seed=seed) for seed in (1, 2)], 1)
    return {
        "features": features,
        "views": views,
        "log_probabilities": confident(members),
        "neighbours": nearest(features),
    }


def warned(**change: Tensor) -> list[str]:
    return [warning.name for warning in collapse_warnings(diagnose(**(healthy() | change)), symbols=K)]


def test_a_healthy_clustering_raises_no_warning() -> None:
    values = diagnose(**healthy())
    assert collapse_warnings(values) == []
    assert collapse_warnings(values, symbols=K) == []


def test_random_features_and_undecided_clusters_are_no_style_clusters() -> None:
    features = normal(N, D)
    undecided = torch.log_softmax(normal(N, K, seed=3), 1)
    assert warned(features=features, neighbours=nearest(features), log_probabilities=undecided) == []


def test_complete_collapse() -> None:
    assert warned(views=1 + 0.01 * normal(N, 2, D)) == ["complete collapse"]
    assert warned(views=torch.zeros(N, 2, D)) == ["complete collapse"]


def test_dimensional_collapse() -> None:
    assert warned(features=normal(N, 1) @ normal(1, D, seed=1)) == ["dimensional collapse"]
    assert warned(features=torch.ones(N, D)) == ["dimensional collapse"]
    plane = normal(N, 2) @ normal(2, D, seed=1)
    assert warned(features=plane) == ["dimensional collapse"]
    assert collapse_warnings(diagnose(plane)) == []  # two directions may be enough where K is not known


def test_intracluster_collapse() -> None:
    features, _ = blobs(spread=0.001)
    assert warned(features=features) == ["intracluster collapse"]


def test_dead_clusters() -> None:
    features, members = blobs()
    merged = confident(members % (K - 1))  # the last cluster is dead, and its samples are in the first
    assert warned(log_probabilities=merged) == ["dead clusters"]
    sentence = collapse_warnings(diagnose(features, log_probabilities=merged))[0].sentence
    assert sentence == "dead clusters: only 83% of the clusters hold a sample"


def test_unbalanced_clusters() -> None:
    clusters = torch.where(torch.arange(N) < 60, torch.arange(N) % K, 0)
    log_probabilities = confident(clusters, margin=12)
    same = torch.arange(N)[:, None].expand(N, 2) // 60 * 60  # neighbours in the same cluster, but for the first few
    assert warned(log_probabilities=log_probabilities, neighbours=same) == ["unbalanced clusters"]
    prior = torch.full((K,), 10 / N, dtype=torch.float64)
    prior[0] = 1 - (K - 1) * 10 / N
    assert warned(log_probabilities=log_probabilities, neighbours=same, prior=prior) == []


def test_the_uniform_saddle() -> None:
    assert warned(log_probabilities=torch.full((N, K), -math.log(K))) == ["uniform saddle"]
    assert warned(log_probabilities=torch.log_softmax(0.01 * normal(N, K), 1)) == ["uniform saddle"]


def test_cluster_collapse() -> None:
    assert warned(log_probabilities=confident(torch.zeros(N, dtype=torch.long))) == ["cluster collapse"]


def test_style_clusters() -> None:
    style = torch.arange(N) // K % K  # balanced, and the same in every blob
    assert warned(log_probabilities=confident(style)) == ["style clusters"]
    assert warned(log_probabilities=confident(style, margin=1.0)) == []


def test_many_more_codes_than_symbols_need_not_agree_with_neighbours() -> None:
    values = diagnose(**(healthy() | {"log_probabilities": confident(torch.arange(N) % 60, 60, margin=12)}))
    assert values["neighbour_agreement"] < 0.5
    assert collapse_warnings(values, symbols=K) == []
    assert len(collapse_warnings(values, symbols=60)) == 2  # too few directions, and style clusters


BAD = {
    "center": 1.0,
    "effective_rank": 1.0,
    "marginal_entropy": 0.9,
    "code_usage": 1.0,
    "prior_divergence": 1.0,
    "mutual_information": 1.0,
    "confidence": 1.0,
    "intracluster": 0.001,
    "neighbour_agreement": 0.2,
}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("center", "complete collapse"),
        ("effective_rank", "dimensional collapse"),
        ("intracluster", "intracluster collapse"),
        ("prior_divergence", "unbalanced clusters"),
        ("confidence", "style clusters"),
        ("neighbour_agreement", "style clusters"),
    ],
)
def test_what_was_not_measured_is_passed_over(key: str, name: str) -> None:
    everything = collapse_warnings(BAD)
    without = collapse_warnings({other: value for other, value in BAD.items() if other != key})
    assert without == [warning for warning in everything if warning.name != name] != everything
    assert collapse_warnings({}) == []


def test_each_diagnostic_is_described_once() -> None:
    assert [metric.key for metric in DIAGNOSTICS] == list(diagnose(**healthy()))
    assert len({metric.label for metric in DIAGNOSTICS}) == len(DIAGNOSTICS)


def test_each_measure_of_ideal_representations_is_described_by_name() -> None:
    defined = [
        name for name, value in vars(idealised).items() if getattr(value, "__module__", "") == idealised.__name__
    ]
    assert [name for name in defined if not name.startswith("_")] == [metric.key for metric in IDEALISED]
