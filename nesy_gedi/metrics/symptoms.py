"""What each diagnostic means, and which values of them say that something has collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nesy_gedi.metrics import Metric

DIAGNOSTICS = (
    Metric("center", "center", "what all embeddings share; 0 is spread out, 1 complete collapse"),
    Metric("residual", "residual", "what tells samples apart, of center + residual + noise = 1; 1 is best"),
    Metric("noise", "noise", "what tells views of one sample apart; 0 is best if the residual is large"),
    Metric(
        "embedding_std", "spread", "standard deviation of embeddings over the largest possible; 0 collapsed, 1 best"
    ),
    Metric(
        "effective_rank",
        "rank",
        "directions that features use, evenly weighed; 1 is a line, K - 1 enough for K symbols",
    ),
    Metric("participation_ratio", "participation", "the same, led by the largest directions; never above the rank"),
    Metric("marginal_entropy", "balance", "entropy of cluster sizes over its largest; 0 is one cluster, 1 all alike"),
    Metric("code_usage", "codes used", "share of clusters that hold a sample; 1 is best, below it clusters are dead"),
    Metric("prior_divergence", "off prior", "nats from the expected cluster sizes; 0 is best"),
    Metric("mutual_information", "information", "nats the cluster says of the sample; 0 is nothing, log c best"),
    Metric("confidence", "confidence", "mean probability of the likeliest cluster; 1/c is undecided, 1 certain"),
    Metric(
        "intracluster", "intracluster", "variance within clusters; 0 a cluster is one point, 1 clusters say nothing"
    ),
    Metric("neighbour_agreement", "neighbours", "near pairs in one cluster; 1 is best, low: clusters of style"),
)
"""What :func:`nesy_gedi.metrics.collapse.diagnose` measures."""

IDEALISED = (
    Metric(
        "linear_predictability", "predictability", "held-out share of symbols read by a linear classifier; 1 is best"
    ),
    Metric("invariance_ratio", "invariance", "distance of two views of a sample over that of two samples; 0 is best"),
    Metric("dimension_ratio", "dimensions", "effective rank over K - 1; below 1 too few directions for K symbols"),
    Metric("nc1", "NC1", "spread within symbols over that between them; 0 is best, far above 1 they overlap"),
)
"""What :mod:`nesy_gedi.metrics.idealised` measures, by the names of its functions."""

COMPLETE_COLLAPSE = 0.95
"""Center above which embeddings are nearly one point: only a twentieth of their squared length tells anything apart.
Features after a ReLU, all in one orthant, are healthy at 0.3 to 0.7."""

SINGLE_DIRECTION = 1.5
"""Effective rank below which features are about a line, whatever the task."""

DIMENSIONS_NEEDED = 0.75
"""Share of K - 1 dimensions below which K symbols cannot all be told apart linearly. Less than 1, since symbols that
resemble each other share directions: well separated clusters of unequal distances have a rank below K - 1."""

DEAD_CODES = 0.95
"""Code usage below which clusters are dead: of fewer than 20 clusters, a single one already counts."""

UNBALANCED = 0.2
"""Nats from the prior above which sizes are off: a class with a quarter of the samples of ten classes is 0.09, two dead
clusters of ten are 0.22."""

BALANCED = 0.9
"""Marginal entropy above which a constant output is called uniform."""

NO_INFORMATION = 0.05
"""Nats below which the cluster says nothing: a fourteenth of the least that two balanced clusters could say."""

CONFIDENT = 0.8
"""Confidence above which a low agreement with neighbours is no mere indecision."""

STYLE_CLUSTERS = 0.85
"""Agreement with ten neighbours below which confident clusters cut through dense regions. On 10,000 handwritten
digits, ten clusters learned from augmentation views with an accuracy of 0.55 to 0.68 had 0.75 to 0.83, with 0.74 and
0.87 they had 0.86 and 0.91; learned from neighbour views, 0.94 to 0.96."""

POINT_CLUSTERS = 0.01
"""Share of variance within clusters below which the features hold nothing but the cluster."""

OVERCLUSTERED = 2.0
"""Above this many clusters a symbol, exp(mutual information), neighbours fall in different clusters for good reason."""


@dataclass(frozen=True)
class CollapseWarning:
    """A collapse that the diagnostics show.

    Attributes:
        name: of the collapse, ``dead clusters``.
        diagnostic: key of the one of :data:`DIAGNOSTICS` that shows it.
        finding: what is wrong, with its number.
    """

    name: str
    diagnostic: str
    finding: str

    @property
    def sentence(self) -> str:
        """For people: the name and what was found."""
        return f"{self.name}: {self.finding}"


def collapse_warnings(values: Mapping[str, float], symbols: int | None = None) -> list[CollapseWarning]:
    """Every collapse that the diagnostics show; empty if healthy.

    A collapse that cannot be judged because its diagnostic is missing is passed over. One cause gives one warning:
    where the output is the same for all samples nothing is said of dead or style clusters, and where clusters are dead
    nothing of their sizes.

    Args:
        values: from :func:`nesy_gedi.metrics.collapse.diagnose`.
        symbols: K, how many classes there should be; tells how many dimensions are needed, and that a clustering into
            many more codes is not expected to agree with neighbours.
    """
    v = {metric.key: values.get(metric.key, math.nan) for metric in DIAGNOSTICS}  # nan: no comparison holds
    return [*_representation_warnings(v, symbols), *_cluster_warnings(v, symbols)]


def _representation_warnings(v: Mapping[str, float], symbols: int | None) -> list[CollapseWarning]:
    found = []
    if v["center"] > COMPLETE_COLLAPSE:
        what = f"embeddings are nearly one point (center {v['center']:.3f}, 1 is one point)"
        found.append(CollapseWarning("complete collapse", "center", what))
    needed = max(SINGLE_DIRECTION, DIMENSIONS_NEEDED * (symbols - 1) if symbols else 0.0)
    if v["effective_rank"] < needed:
        what = f"features use {v['effective_rank']:.1f} directions, expected at least {needed:.1f}"
        found.append(CollapseWarning("dimensional collapse", "effective_rank", what))
    if v["intracluster"] < POINT_CLUSTERS and v["effective_rank"] != 0:  # of constant features all is said
        what = (
            "the features of a cluster are nearly one point "
            f"({v['intracluster']:.4f} of the variance is within clusters)"
        )
        found.append(CollapseWarning("intracluster collapse", "intracluster", what))
    return found


def _cluster_warnings(v: Mapping[str, float], symbols: int | None) -> list[CollapseWarning]:
    if v["mutual_information"] < NO_INFORMATION:
        name, same = "cluster collapse", "answer"
        if v["marginal_entropy"] > BALANCED:
            name, same = "uniform saddle", "probability of every cluster"
        what = f"every sample is given about the same {same} (mutual information {v['mutual_information']:.3f} nats)"
        return [CollapseWarning(name, "mutual_information", what)]
    found = []
    if v["code_usage"] < DEAD_CODES:
        what = f"only {v['code_usage']:.0%} of the clusters hold a sample"
        found.append(CollapseWarning("dead clusters", "code_usage", what))
    elif v["prior_divergence"] > UNBALANCED:
        what = (
            f"their sizes are {v['prior_divergence']:.2f} nats from the prior; "
            "if they really differ so much, give that prior"
        )
        found.append(CollapseWarning("unbalanced clusters", "prior_divergence", what))
    overclustered = symbols is not None and math.exp(v["mutual_information"]) > OVERCLUSTERED * symbols
    if not overclustered and v["confidence"] > CONFIDENT and v["neighbour_agreement"] < STYLE_CLUSTERS:
        what = (
            f"confident, but only {v['neighbour_agreement']:.0%} of nearest neighbours fall in the same cluster; "
            "take neighbours as views"
        )
        found.append(CollapseWarning("style clusters", "neighbour_agreement", what))
    return found
