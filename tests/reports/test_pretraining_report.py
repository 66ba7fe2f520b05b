"""The report of real pretraining runs, of images and of points, as text and in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nesy_gedi.metrics.clustering import CLUSTERING_METRICS
from nesy_gedi.metrics.symptoms import DIAGNOSTICS
from nesy_gedi.reports.gallery import GAP, TILE
from nesy_gedi.reports.pretraining_report import render, write_pretraining_report
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.pretraining import Pretrained, pretrain

SHORT = {
    "data.limit": 300,
    "sequence": ["features", "clusters"],  # of the four stages of the recipe
    "stages.features.epochs": 2,
    "stages.features.restarts": 1,
    "stages.clusters.epochs": 2,
    "stages.clusters.restarts": 1,
}
GENERATIVE = {
    "data.source": "moons",
    "objective": "gedi",
    "network.normalisation": "none",
    "sampler.size": 400,
    "sampler.steps": 2,
    "stages.features.constants.generative": 0.1,
}


def run(folder: Path, **overrides: Any) -> Pretrained:
    return pretrain(load_pretrain_recipe(None, overrides=SHORT | overrides), device="cpu", out=folder)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return run(tmp_path_factory.mktemp("runs") / "digits", **{"data.source": "digits"})


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return run(tmp_path_factory.mktemp("runs") / "moons", **GENERATIVE)


@pytest.fixture(scope="module", params=["digits", "moons"])
def pretrained(request: pytest.FixtureRequest) -> Pretrained:
    found: Pretrained = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def pages(digits: Pretrained, moons: Pretrained) -> dict[str, str]:
    return {"digits": render(digits), "moons": render(moons)}


@pytest.fixture
def page(pages: dict[str, str], pretrained: Pretrained) -> str:
    return pages[pretrained.recipe.data.source]


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells, as text, of the rows of the first table after a heading."""
    table = re.search(r"<tbody>(.*?)</tbody>", page[page.index(f"{heading}</h") :], re.DOTALL)
    assert table is not None
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table[1])
    ]


def test_the_report_needs_nothing_from_outside(page: str) -> None:
    assert "<script" not in page
    assert all(
        source.startswith(("data:image/png;base64,", "#")) for source in re.findall(r'(?:src|href)="([^"]*)"', page)
    )
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_the_report_is_written_into_the_run_folder(digits: Pretrained) -> None:
    path = write_pretraining_report(digits)
    assert path == digits.run.path / "report.html"
    assert "<h1>falcon on digits</h1>" in path.read_text(encoding="utf-8")


def test_the_first_sentence_says_how_good_the_clusters_are(moons: Pretrained, pages: dict[str, str]) -> None:
    page, metrics = pages["moons"], moons.document["metrics"]
    assert f"<strong>{100 * metrics['aligned_accuracy']:.2f}%</strong> of 1000 test points" in page
    assert "one-to-one naming of 2 clusters" in page


def test_every_metric_stands_beside_its_meaning(pretrained: Pretrained, page: str) -> None:
    metrics = pretrained.document["metrics"]
    rows = {row[0]: row[1:] for row in rows_of(page, "Result")}
    for metric in CLUSTERING_METRICS:
        assert rows[metric.label] == [f"{metrics[metric.key]:.4f}", metric.meaning]
    for label, key in (("linear probe", "linear_probe"), ("neighbour probe", "neighbour_probe")):
        assert rows[label][0] == f"{metrics[key]:.4f}"
        assert "told 300 labels" in rows[label][1]


def test_warnings_are_sentences_and_their_absence_is_stated(digits: Pretrained) -> None:
    ill = render(replace(digits, document=digits.document | {"warnings": ["dead clusters: only 5% < 6%"]}))
    assert "<li>Dead clusters: only 5% &lt; 6%.</li>" in ill
    assert "No collapse" not in ill
    assert "No collapse" in render(replace(digits, document=digits.document | {"warnings": []}))


def test_stages_are_listed_with_their_own_clusters(digits: Pretrained, pages: dict[str, str]) -> None:
    features, clusters = rows_of(pages["digits"], "Stages")
    assert features[:4] == ["features", "falcon", "encoder", "2"]
    assert clusters[:4] == ["clusters", "gedi", "head", "2"]
    assert (features[5], clusters[5]) == ("2048", "10")
    for row, name in ((features, "features"), (clusters, "clusters")):
        own = digits.document["stages"][name]
        assert row[6:] == [f"{own[metric.key]:.4f}" for metric in CLUSTERING_METRICS]


def test_seconds_of_stages_add_up_to_those_of_training(digits: Pretrained, pages: dict[str, str]) -> None:
    lines = [json.loads(text) for text in digits.run.metrics_file.read_text(encoding="utf-8").splitlines()]
    first, second = (float(row[4]) for row in rows_of(pages["digits"], "Stages"))
    assert first + second == pytest.approx(sum(lines[-1]["seconds"].values()), abs=0.11)
    assert first == pytest.approx(sum(lines[1]["seconds"].values()), abs=0.051)


def test_an_objective_without_clusters_has_dashes(tmp_path: Path) -> None:
    page = render(run(tmp_path / "simclr", **{"data.source": "moons", "objective": "simclr"}))
    features, clusters = rows_of(page, "Stages")
    assert features[5:] == ["-"] * (1 + len(CLUSTERING_METRICS))
    assert clusters[5] == "2"


def test_outliers_are_told_of_where_there_is_a_generative_term(moons: Pretrained, pages: dict[str, str]) -> None:
    assert "AUROC" not in pages["digits"]
    features, clusters = rows_of(pages["moons"], "Stages")
    assert features[-1] == f"{moons.document['stages']['features']['outlier_auroc']:.4f}"
    assert clusters[-1] == "-"


def test_every_diagnostic_has_a_panel_with_its_meaning(pretrained: Pretrained, page: str) -> None:
    collapse = pretrained.document["collapse"]
    assert len(DIAGNOSTICS) == len(collapse)
    for metric in DIAGNOSTICS:
        caption = f"<strong>{escape(metric.label)} {collapse[metric.key]:.3g}</strong>: {escape(metric.meaning)}."
        assert f'aria-label="{metric.key.replace("_", " ")} over epochs"' in page
        assert f"<figcaption>{caption}</figcaption>" in page


def test_losses_are_drawn_for_each_stage(page: str) -> None:
    assert "Stage features, epochs 1 to 2" in page
    assert "Stage clusters, epochs 3 to 4" in page
    for stage in ("features", "clusters"):
        assert f'aria-label="loss of stage {stage} and its terms"' in page
    assert "Labels are used for this picture alone" in page


def test_a_run_whose_epochs_are_lost_still_has_a_report(digits: Pretrained) -> None:
    kept = digits.run.metrics_file.read_text(encoding="utf-8")
    try:
        digits.run.metrics_file.unlink()
        page = render(digits)
    finally:
        digits.run.metrics_file.write_text(kept, encoding="utf-8")
    assert "No epoch was written down." in page
    assert "No diagnostic was written down." in page


def test_framed_counts_are_those_of_the_accuracy(pretrained: Pretrained, page: str) -> None:
    framed = sum(int(count or 0) for count in re.findall(r'<td class="right"[^>]*>(\d*)</td>', page))
    counts = np.array(
        [[int(cell or 0) for cell in row[1:]] for row in rows_of(page, "<h3>Clusters and classes")], dtype=int
    )
    truth = pretrained.images.test.labels["class"].index.numpy()
    assert counts.sum() == len(truth)
    assert counts.sum(0).tolist() == np.bincount(truth).tolist()
    assert framed / len(truth) == pytest.approx(pretrained.document["metrics"]["aligned_accuracy"], abs=1e-9)


def test_images_have_galleries_and_points_a_plot(pages: dict[str, str]) -> None:
    assert 'alt="typical images of 0"' in pages["digits"]
    assert "points by" not in pages["digits"]
    assert "<img" not in pages["moons"]
    assert 'aria-label="points by cluster and by class"' in pages["moons"]


def test_samples_of_points_are_drawn_over_the_data(pages: dict[str, str]) -> None:
    assert "<h2>Samples</h2>" not in pages["digits"]
    assert 'aria-label="samples over data"' in pages["moons"]


def test_samples_of_images_are_a_grid(digits: Pretrained) -> None:
    samples = torch.full((9, 1, 8, 8), -3.0)  # chains may leave the range of images
    samples[4] = 7.0
    try:
        save_file({"samples": samples}, digits.run.samples_file)
        found = re.search(r'src="data:image/png;base64,([^"]*)" alt="samples', render(digits))
    finally:
        digits.run.samples_file.unlink()
    assert found is not None
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    step = TILE + GAP
    assert picture.shape == (3 * step - GAP, 3 * step, 3)
    assert picture[step : step + TILE, step : step + TILE].min() == 255
    assert picture[:TILE, :TILE].max() == 0


def test_text_from_recipes_is_escaped(digits: Pretrained) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    document = digits.document | {"data": hostile, "warnings": [hostile]}
    kept = digits.run.recipe_file.read_text(encoding="utf-8")
    try:
        digits.run.recipe_file.write_text(f"{kept}\n# {hostile}\n", encoding="utf-8")
        page = render(replace(digits, document=document))
    finally:
        digits.run.recipe_file.write_text(kept, encoding="utf-8")
    assert hostile not in page
    assert page.count(escape(hostile)) == 4  # title, heading, warning, recipe


def test_a_browser_shows_clusters_of_images(
    digits: Pretrained, pages: dict[str, str], browse: Callable[[Path], Any]
) -> None:
    shown = browse(write_pretraining_report(digits))
    assert shown.console == []
    assert shown.images == shown.loaded == pages["digits"].count("<img") > 0
    assert shown.cut == 0
    # The pictures' greys: text and lines are drawn in greys too, but not with as many pixels of plain black.
    black = int((np.array(shown.picture).max(2) == 0).sum())
    assert black > 10 * TILE * TILE


@pytest.mark.soak
def test_a_browser_shows_clusters_of_points(moons: Pretrained, browse: Callable[[Path], Any]) -> None:
    shown = browse(write_pretraining_report(moons))
    assert shown.console == []
    assert shown.images == 0
    assert shown.cut == 0
    colours = shown.colours()
    assert {(31, 119, 180), (255, 127, 14), (214, 39, 40)} <= colours  # two clusters, and samples
