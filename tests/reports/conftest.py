"""A browser to look at reports with."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1200, 6000)

# Reports run no script; this one is added to a copy, to ask the browser what it made of the page.
QUESTIONS = """<script>addEventListener("load", () => {
  const seen = [...document.images].filter(image => image.naturalWidth > 0).length;
  const page = document.documentElement;
  const cut = [...document.querySelectorAll(".wide"), page].filter(box => box.scrollWidth > box.clientWidth).length;
  page.dataset.answers = `images ${document.images.length} loaded ${seen} cut ${cut}`;
});</script>"""


@dataclass(frozen=True)
class Shown:
    """What a browser shows of a page.

    Attributes:
        picture: the screenshot.
        images: number of <img>.
        loaded: how many of them have pixels.
        cut: how many boxes are wider than there is room.
        console: what the browser complains about.
    """

    picture: Image.Image
    images: int
    loaded: int
    cut: int
    console: list[str]

    def colours(self) -> set[tuple[int, int, int]]:
        return {colour for _, colour in self.picture.getcolors(maxcolors=2**24) or []}


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Path], Shown]:
    """Show a page in a headless browser; the test is skipped where there is none."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--hide-scrollbars"]
    quiet += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--user-data-dir={tmp_path / 'profile'}"]

    def run(page: Path, *options: str) -> tuple[str, list[str]]:
        done = subprocess.run(
            [browser, *quiet, *options, page.as_uri()], check=True, capture_output=True, text=True, timeout=120
        )
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]

    def show(page: Path) -> Shown:
        picture = tmp_path / "report.png"
        _, console = run(page, f"--screenshot={picture}")
        asked = tmp_path / "asked.html"
        asked.write_text(page.read_text(encoding="utf-8").replace("</body>", QUESTIONS + "</body>"), encoding="utf-8")
        dom, more = run(asked, "--dump-dom")
        answers = re.search(r'data-answers="images (\d+) loaded (\d+) cut (\d+)"', dom)
        assert answers is not None, "the browser did not finish the page"
        images, loaded, cut = map(int, answers.groups())
        return Shown(Image.open(picture).convert("RGB"), images, loaded, cut, console + more)

    return show
