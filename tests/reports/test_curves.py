"""Curves of pretraining: stages, warnings, and what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from nesy_gedi.metrics.symptoms import DIAGNOSTICS, CollapseWarning, collapse_warnings
from nesy_gedi.reports.curves import (
    OPEN_ENDED,
    STYLES,
    accuracy_curve,
    by_stage,
    diagnostic_curve,
    loss_curves,
    readable,
    style_legend,
    warning_times,
)

HEALTHY = {
    "center": 0.4,
    "residual": 0.4,
    "noise": 0.2,
    "embedding_std": 0.7,
    "effective_rank": 20.0,
    "participation_ratio": 9.0,
    "marginal_entropy": 1.0,
    "code_usage": 1.0,
    "prior_divergence": 0.0,
    "mutual_information": 2.2,
    "confidence": 0.95,
    "intracluster": 0.4,
    "neighbour_agreement": 0.95,
}


def line(epoch: int, stage: str, warnings: tuple[CollapseWarning, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "stage": stage,
        "train_loss": 1.0 / epoch,
        "terms": {"invariance": 0.5 / epoch, "prior": 0.5 / epoch},
        "collapse": HEALTHY,
        "warnings": [warning.sentence for warning in warnings],
        "symptoms": [{"name": warning.name, "diagnostic": warning.diagnostic} for warning in warnings],
        **more,
    }


TROUBLE = CollapseWarning("a new kind", "center", "of trouble")


def test_stages_are_told_apart_in_their_order() -> None:
    stages = by_stage([line(1, "b"), line(2, "b"), line(3, "a")])
    assert [(stage.name, [each["epoch"] for each in stage.lines]) for stage in stages] == [("b", [1, 2]), ("a", [3])]


@pytest.mark.parametrize(
    "damage",
    [{"terms": 3}, {"terms": {"prior": "low"}}, {"train_loss": "x"}, {"collapse": []}, {"symptoms": [{"name": "a"}]}],
    ids=str,
)
def test_what_no_run_writes_is_not_drawn_nor_what_follows(damage: dict[str, Any]) -> None:
    sound = line(1, "a", (TROUBLE,), validation_loss=None)
    assert readable([sound, line(2, "a") | damage, line(3, "a")]) == [sound]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("complete collapse", {"center": 0.99}),
        ("dimensional collapse", {"effective_rank": 1.2}),
        ("intracluster collapse", {"intracluster": 0.001}),
        ("uniform saddle", {"mutual_information": 0.01}),
        ("cluster collapse", {"mutual_information": 0.01, "marginal_entropy": 0.1}),
        ("dead clusters", {"code_usage": 0.5}),
        ("unbalanced clusters", {"prior_divergence": 0.5}),
        ("style clusters", {"neighbour_agreement": 0.5}),
    ],
)
def test_a_warning_is_marked_on_the_diagnostic_that_raised_it(name: str, values: dict[str, float]) -> None:
    assert collapse_warnings(HEALTHY, 10) == []
    (warning,) = collapse_warnings(HEALTHY | values, 10)
    assert warning.name == name
    assert warning.diagnostic in values
    raised, quiet = (by_stage([line(1, "a"), line(2, "a", found)]) for found in ((warning,), ()))
    for metric in DIAGNOSTICS:
        marked = "#b2182b" in diagnostic_curve(raised, metric.key)
        assert marked == (metric.key == warning.diagnostic)
    assert "#b2182b" not in diagnostic_curve(quiet, warning.diagnostic)


def test_warnings_have_a_timeline_where_there_are_any() -> None:
    assert warning_times(by_stage([line(1, "a")])) == ""
    drawn = warning_times(by_stage([line(1, "a", (TROUBLE,)), line(2, "a")]))
    assert drawn.count("<use") > 0
    assert "#b2182b" in drawn


def test_what_was_never_measured_has_no_curve() -> None:
    stages = by_stage([line(1, "a")])
    assert accuracy_curve(stages) == ""
    assert diagnostic_curve(stages, "something_else") == ""
    assert "<svg" in accuracy_curve(by_stage([line(1, "a"), line(2, "b", aligned_accuracy=0.5)]))


def test_curves_without_numbers_are_still_drawn() -> None:
    stages = by_stage([line(1, "a"), line(2, "a")])
    stages[0].lines[0] = line(1, "a", collapse={"center": float("nan"), "prior_divergence": 0.0})
    for key in ("center", "prior_divergence"):
        assert "<svg" in diagnostic_curve(stages, key)
    assert "<svg" in loss_curves(by_stage([line(1, "a", terms={"distance": 1.0})])[0], 0)


def test_the_legend_names_every_stage_and_boundary() -> None:
    one, two = by_stage([line(1, "a")]), by_stage([line(1, "a"), line(2, "b", (TROUBLE,))])
    assert "next stage begins" in style_legend(two, warnings=True)
    assert "next stage begins" not in style_legend(one, warnings=True)
    assert "raised a warning" in style_legend(two, warnings=True)
    assert "raised a warning" not in style_legend(two, warnings=False)


def test_names_are_not_read_as_mathematics() -> None:
    assert "stage $\\frac$" in style_legend(by_stage([line(1, "$\\frac$")]), warnings=False).replace("\\$", "$")


def test_stages_differ_in_more_than_colour() -> None:
    assert len({style for style, _ in STYLES}) == len({marker for _, marker in STYLES}) == len(STYLES)


def test_open_ended_diagnostics_exist() -> None:
    assert {metric.key for metric in DIAGNOSTICS} >= OPEN_ENDED
