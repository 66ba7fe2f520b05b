"""The report of a real run, as text and in a real browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nesy_gedi.errors import RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.reports import html
from nesy_gedi.reports.gallery import GAP, TILE, groups_by_symbol, sheet
from nesy_gedi.reports.html import write_report
from nesy_gedi.reports.inspection import inspect
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.evaluation import probabilities_of
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.training import Trained, evaluate, train


def render(trained: Trained) -> str:
    return html.render(inspect(trained))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    found = find_program("crossing")
    recipe = load_recipe(found.recipe, overrides={"training.epochs": 2, "data.train": 300, "data.test": 100})
    out = tmp_path_factory.mktemp("runs") / "crossing"
    return train(Program.load(found.path), recipe, device="cpu", out=out)


def test_the_report_needs_nothing_from_outside(trained: Trained) -> None:
    page = render(trained)
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_the_report_shows_every_symbol_and_the_figures(trained: Trained) -> None:
    page = render(trained)
    for network in trained.task.networks:
        assert f"<h2>{network}</h2>" in page
        for symbol in trained.task.program.networks[network]:
            assert f"<strong>{symbol}</strong>" in page
    for value in trained.document["metrics"]["networks"].values():
        assert f"{value['concept_accuracy']:.4f}" in page
    assert "<svg" in page


def test_symbols_share_out_the_images(trained: Trained) -> None:
    images, domain = trained.queries.images, trained.task.program.networks["light_net"]
    probabilities = probabilities_of(trained.networks["light_net"], images.images)
    symbols = groups_by_symbol(images.images, probabilities, trained.task.symbols("light_net", images), domain)
    assert [symbol.name for symbol in symbols] == ["red", "amber", "green"]
    assert sum(symbol.share for symbol in symbols) == pytest.approx(1.0)
    assert sum(symbol.true_share for symbol in symbols) == pytest.approx(1.0)
    assert all(symbol.share == 0.0 or 1 / 3 <= symbol.confidence <= 1.0 for symbol in symbols)


def test_text_from_programs_is_escaped(trained: Trained) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    before = trained.task.program.source
    try:
        object.__setattr__(trained.task.program, "source", type(before)(before.name, before.text + f"% {hostile}\n"))
        assert hostile not in render(trained)
    finally:
        object.__setattr__(trained.task.program, "source", before)


def test_a_sheet_holds_its_images_in_order() -> None:
    greys, step = (0, 255, 100), TILE + GAP
    images = torch.stack([torch.full((1, 8, 8), value, dtype=torch.uint8) for value in greys])
    picture = Image.open(io.BytesIO(base64.b64decode(sheet(images, 2).split(",")[1])))
    assert picture.size == (2 * step, step + TILE)
    places = [(0, 0), (step, 0), (0, step)]
    assert [picture.getpixel((x + TILE // 2, y + TILE // 2)) for x, y in places] == [(grey,) * 3 for grey in greys]
    assert sheet(images[:0], 2) == ""


def test_evaluating_the_run_finds_the_same_figures(trained: Trained) -> None:
    again = evaluate(trained.run.path, device="cpu").document["metrics"]
    assert again == trained.document["metrics"]


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        evaluate(tmp_path)


def test_a_browser_shows_the_report(trained: Trained, browse: Callable[[Path], Any]) -> None:
    shown = browse(write_report(trained))
    assert shown.console == []
    assert shown.images == shown.loaded == render(trained).count("<img") > 0
    assert shown.cut == 0
    assert shown.picture.size[0] == 1200
    colours = shown.colours()
    # Red and green lights on their dark background can only come from the embedded pictures.
    assert any(r > 150 and g < 90 and b < 90 for r, g, b in colours)
    assert any(g > 120 and r < 90 for r, g, _ in colours)


MOONS = """
nn(moon_net, [X], Y, [low, high]) :: moon(X, Y).
same(X, Z, yes) :- moon(X, Y), moon(Z, Y).
same(X, Z, no) :- moon(X, Y), moon(Z, W), Y \\= W.
"""
MOONS_RECIPE = """
query = "same(X, Z, Answer)"
[data]
source = "moons"
train = 40
test = 20
[networks.moon_net]
encoder = "mlp"
classes = ["low", "high"]
[training]
epochs = 1
"""


def test_points_are_drawn_instead_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "moons.pl").write_text(MOONS, encoding="utf-8")
    (tmp_path / "moons.toml").write_text(MOONS_RECIPE, encoding="utf-8")
    program, recipe = Program.load(tmp_path / "moons.pl"), load_recipe(tmp_path / "moons.toml")
    page = render(train(program, recipe, device="cpu", out=tmp_path / "run"))
    assert "<img" not in page
    assert 'aria-label="points by symbol seen and by true symbol"' in page
    assert "<td><strong>low</strong></td>" in page
    assert sheet(torch.zeros(3, 2), 2) == ""
