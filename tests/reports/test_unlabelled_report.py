"""Reports of runs about images that nobody has labelled, inputs of several kinds, and networks with several inputs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from given_data import ADDITION, MIXED, SAME, mixed, pairs, program, unlabelled_sums

from nesy_gedi.data import ImageSplits, load_images
from nesy_gedi.reports.html import render
from nesy_gedi.reports.inspection import Inspection, document_of, inspect
from nesy_gedi.reports.pretraining_report import render as render_pretraining
from nesy_gedi.training.pretrain_recipe import load_pretrain_recipe
from nesy_gedi.training.pretraining import pretrain
from nesy_gedi.training.recipe import NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.training import train

SHORT = TrainingRecipe(epochs=1)
SMALL = NetworkRecipe(features=8, width=4)


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images("digits")


def inspected(text: str, recipe: Recipe, images: ImageSplits, folder: Path) -> Inspection:
    return inspect(train(program(text), recipe, images, device="cpu", out=folder))


@pytest.fixture(scope="module")
def bare(digits: ImageSplits, tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    recipe = Recipe("addition(X, Y, Sum)", method="answers", networks={"digit_net": SMALL}, training=SHORT)
    images = unlabelled_sums(digits, train=60, test=40)
    return inspected(ADDITION, recipe, images, tmp_path_factory.mktemp("bare") / "run")


def test_nothing_is_said_of_what_nobody_knows(bare: Inspection) -> None:
    assert bare.headline == "Whether the symbols are right is not known: no test image is labelled"
    assert not bare.right
    document = json.loads(json.dumps(document_of(bare, Path("report.html")), allow_nan=False))
    null = ("nearest_map", "nearest_shortcut", "optimal_maps")
    assert [document[key] for key in null] == [None] * 3
    for key in ("confusion", "learned_map", "verdicts", "calibration"):
        assert document[key] == {"digit_net": None}
    for concept in document["concepts"]:
        assert concept["true_share"] is concept["read_as"] is concept["read_as_share"] is None
    assert sum(concept["share"] for concept in document["concepts"]) == pytest.approx(1.0)


def test_the_report_shows_images_of_every_symbol(bare: Inspection) -> None:
    page = render(bare)
    seen = set(bare.readings["digit_net"].predicted.tolist())
    for symbol in range(10):
        for kind in ("typical", "uncertain"):
            assert (f'alt="{kind} images of {symbol}"' in page) == (symbol in seen)
    assert "odd images" not in page
    assert 'class="confusion"' not in page
    assert "truly" not in page
    assert "nan" not in re.sub(r'data:image[^"]*', "", page)


def test_test_images_alone_are_labelled(bare: Inspection, digits: ImageSplits) -> None:
    trained = bare.trained
    queries = replace(trained.queries, images=digits.test)
    from nesy_gedi.training.devices import make_fabric
    from nesy_gedi.training.ensembles import measure_run
    from nesy_gedi.training.fitting import place_on

    fabric = make_fabric("cpu", "32-true")
    metrics = measure_run(trained.task, place_on(fabric, trained.task, trained.networks), queries, fabric)
    found = inspect(replace(trained, queries=queries, document=trained.document | {"metrics": metrics}))
    assert (found.known, found.optimal_maps, found.nearest_map) == (True, None, None)
    page = render(found)
    assert 'class="confusion"' in page
    assert document_of(found, Path("x"))["confusion"]["digit_net"] is not None


def test_each_network_is_shown_what_it_reads(digits: ImageSplits, tmp_path: Path) -> None:
    networks = {"side_net": NetworkRecipe(encoder="mlp", features=4, width=4), "digit_net": SMALL}
    recipe = Recipe("signed(P, X, N)", networks=networks, training=SHORT)
    found = inspected(MIXED, recipe, mixed(digits, 40, 30), tmp_path / "run")
    pictures, points = (found.readings[name].inputs[0] for name in ("digit_net", "side_net"))
    assert pictures.shape[1:] == (1, 8, 8)
    assert points.shape == (60, 2)
    page = render(found)
    assert "typical images of 0" in page or "typical images of 1" in page or "typical images of 2" in page
    assert "typical images of left" not in page
    assert "Points have no pictures" in page


def test_pairs_have_no_pictures(digits: ImageSplits, tmp_path: Path) -> None:
    recipe = Recipe("alike(X, Y, S)", networks={"same_net": SMALL}, training=SHORT)
    found = inspected(SAME, recipe, pairs(digits, 40, 30), tmp_path / "run")
    assert [len(each) for each in found.readings["same_net"].inputs] == [30, 30]
    page = render(found)
    assert "same_net looks at 2 inputs together" in page
    assert "typical images" not in page


def test_a_pretraining_without_a_label(digits: ImageSplits, tmp_path: Path) -> None:
    stages = {
        f"stages.{name}.{key}": 1 for name in ("features", "clusters") for key in ("epochs", "passes", "restarts")
    }
    small = {"stages.features.hidden": 16, "stages.features.output": 16, "network.width": 4, "data.limit": 120}
    batches = {f"stages.{name}.batch_size": 60 for name in ("features", "clusters")}
    overrides = {"sequence": ["features", "clusters"], **stages, **small, **batches, "stages.clusters.clusters": 5}
    recipe = load_pretrain_recipe(None, overrides=overrides)
    found = pretrain(recipe, unlabelled_sums(digits, 60, 40), device="cpu", out=tmp_path / "run")
    assert found.document["clusters"] == 5
    assert found.document["metrics"]["aligned_accuracy"] is None
    page = render_pretraining(found)
    assert "No test image is labelled" in page
    assert "purity" not in page
