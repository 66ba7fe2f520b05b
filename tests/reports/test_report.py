"""The report of a real run, as text and in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from nesy_gedi.errors import RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.reports.gallery import SHOWN, TILE, look, strip
from nesy_gedi.reports.html import render, write_report
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.training import Trained, evaluate, train

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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
    symbols = look(trained, "light_net")
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


def test_a_strip_holds_its_images_in_order() -> None:
    images = torch.stack([torch.full((1, 8, 8), value, dtype=torch.uint8) for value in (0, 255)])
    import base64
    import io

    from PIL import Image

    sheet = Image.open(io.BytesIO(base64.b64decode(strip(images).split(",")[1])))
    assert sheet.size == (2 * (TILE + 2), TILE)
    assert sheet.getpixel((TILE // 2, TILE // 2)) == (0, 0, 0)
    assert sheet.getpixel((TILE + 2 + TILE // 2, TILE // 2)) == (255, 255, 255)
    assert strip(images[:0]) == ""
    assert SHOWN >= 1


def test_evaluating_the_run_finds_the_same_figures(trained: Trained) -> None:
    again = evaluate(trained.run.path, device="cpu").document["metrics"]
    assert again == trained.document["metrics"]


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        evaluate(tmp_path)


def test_a_browser_shows_the_report(trained: Trained, tmp_path: Path) -> None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    report = write_report(trained)
    picture = tmp_path / "report.png"
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--window-size=1200,2400"]
    quiet.append(f"--user-data-dir={tmp_path / 'profile'}")
    shot = [browser, *quiet, f"--screenshot={picture}", report.as_uri()]
    subprocess.run(shot, check=True, capture_output=True, timeout=120)
    dom = subprocess.run(
        [browser, *quiet, "--dump-dom", report.as_uri()], check=True, capture_output=True, text=True, timeout=120
    ).stdout
    assert dom.count("<img") == render(trained).count("<img")

    from PIL import Image

    shown = Image.open(picture).convert("RGB")
    colours = {colour for _, colour in shown.getcolors(maxcolors=2**24) or []}
    assert shown.size[0] == 1200
    # Red and green lights on their dark background can only come from the embedded pictures.
    assert any(r > 150 and g < 90 and b < 90 for r, g, b in colours)
    assert any(g > 120 and r < 90 for r, g, _ in colours)
