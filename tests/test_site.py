"""The documentation builds as a site, without a warning, and has every public name in it."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import nesy_gedi
from nesy_gedi import data

pytest.importorskip("sphinx", reason="the documentation needs nesy-gedi[docs]")

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as ``make docs`` builds it; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def ids(page: Path) -> set[str]:
    return set(re.findall(r'<dt class="sig sig-object py" id="([^"]+)"', page.read_text(encoding="utf-8")))


def test_every_public_name_has_its_entry(site: Path) -> None:
    assert {f"nesy_gedi.{name}" for name in nesy_gedi.__all__} <= ids(site / "api.html")
    assert {f"nesy_gedi.data.{name}" for name in data.__all__} <= ids(site / "api-parts.html")


@pytest.mark.parametrize("part", ["objectives", "metrics"])
def test_every_module_of_the_parts_has_its_entries(site: Path, part: str) -> None:
    found = ids(site / "api-parts.html")
    modules = {path.stem for path in (DOCS.parent / "nesy_gedi" / part).glob("*.py")} - {
        "__init__",
        "checks",
        "terms",
        "sgld",
    }
    assert [
        name for name in sorted(modules) if not any(each.startswith(f"nesy_gedi.{part}.{name}.") for each in found)
    ] == []


def test_every_page_is_reached_from_the_first(site: Path) -> None:
    navigation = (site / "index.html").read_text(encoding="utf-8")
    assert [page.stem for page in sorted(DOCS.glob("*.md")) if f'href="{page.stem}.html"' not in navigation] == [
        "index"
    ]


def test_links_and_pictures_of_the_site_are_there(site: Path) -> None:
    """Also the anchors: a link to a heading that was renamed is dead on a code host as well."""
    broken = []
    texts = {page: page.read_text(encoding="utf-8") for page in site.resolve().rglob("*.html")}
    for page, text in texts.items():
        for target in map(unescape, re.findall(r'(?:href|src)="([^"]+)"', text)):
            if re.match(r"\w+:", target):
                continue
            name, _, anchor = target.partition("#")
            found = page if not name else (page.parent / name.partition("?")[0]).resolve()
            if not found.exists() or (anchor and found.suffix == ".html" and f'id="{anchor}"' not in texts[found]):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//[^"]+"', text) == []
        assert re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="(?:https?:)?//[^"]+"', text) == []
