"""What is shipped: wheel and sdist are built once from a copy and looked into; the pins fit the requirements."""

from __future__ import annotations

import configparser
import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "nesy_gedi"
# Folders of the source tree and where the wheel has them.
SHIPPED = {
    "nesy_gedi": "nesy_gedi",
    "cli": "nesy_gedi/cli",
    "programs": "nesy_gedi/programs",
    "datasets": "nesy_gedi/datasets",
}
RESOURCES = {"nesy_gedi/training": ("*.toml",), "programs": ("*.pl", "*.toml"), "datasets": ("*.toml",)}
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs")


@dataclass(frozen=True)
class Built:
    """The copied source tree, and the files of both distributions with their bytes (sdist: without its top folder)."""

    source: Path
    wheel: dict[str, bytes]
    sdist: dict[str, bytes]

    def dist_info(self, name: str) -> str:
        (path,) = [path for path in self.wheel if path.endswith(f".dist-info/{name}")]
        return self.wheel[path].decode()


def project(root: Path = ROOT) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def build_command(source: Path, out: Path) -> list[str]:
    """``python -m build``; an isolated one, which needs the network, only where setuptools here is too old."""
    (needed,) = [Requirement(r) for r in project(source)["build-system"]["requires"]]
    try:
        usable = importlib.metadata.version(needed.name) in needed.specifier
    except importlib.metadata.PackageNotFoundError:
        usable = False
    isolation = ["--no-isolation"] if usable else []
    return [sys.executable, "-m", "build", *isolation, "--outdir", str(out), str(source)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions; the wheel is built from the unpacked sdist, so the sdist has to be complete."""
    folder = tmp_path_factory.mktemp("packaging")
    source, out = folder / "source", folder / "out"
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    done = subprocess.run(build_command(source, out), capture_output=True, text=True, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel_path,) = out.glob("*.whl")
    (sdist_path,) = out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel_path) as archive:
        wheel = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    sdist: dict[str, bytes] = {}
    with tarfile.open(sdist_path) as archive:
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            if stream is not None:
                sdist[member.name.partition("/")[2]] = stream.read()
    return Built(source, wheel, sdist)


def resources(source: Path) -> list[Path]:
    return [
        path.relative_to(source)
        for folder, patterns in RESOURCES.items()
        for pattern in patterns
        for path in sorted((source / folder).glob(pattern))
    ]


def modules(source: Path) -> list[Path]:
    return [path.relative_to(source) for folder in SHIPPED for path in sorted((source / folder).rglob("*.py"))]


def in_wheel(path: Path) -> str:
    return "/".join((SHIPPED[path.parts[0]], *path.parts[1:]))


def test_nesy_gedi_is_the_only_top_level_name(built: Built) -> None:
    tops = {name.split("/")[0] for name in built.wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE}
    assert len(tops) == 2


def test_every_program_and_data_card_is_in_the_wheel(built: Built) -> None:
    paths = resources(built.source)
    assert {path.suffix for path in paths} == {".pl", ".toml"}
    assert {path.parent.as_posix() for path in paths} == set(RESOURCES)
    missing = [path for path in paths if built.wheel.get(in_wheel(path)) != (built.source / path).read_bytes()]
    assert not missing


def test_every_module_is_in_the_wheel(built: Built) -> None:
    missing = [path.as_posix() for path in modules(built.source) if in_wheel(path) not in built.wheel]
    assert not missing, f"add their folders to [tool.setuptools] packages: {missing}"


def test_nothing_else_is_in_the_wheel(built: Built) -> None:
    expected = {in_wheel(path) for path in [*modules(built.source), *resources(built.source)]} | {f"{PACKAGE}/py.typed"}
    extra = {name for name in built.wheel if ".dist-info/" not in name} - expected
    assert not extra


def test_the_typing_marker_and_the_licence_are_in_the_wheel(built: Built) -> None:
    assert f"{PACKAGE}/py.typed" in built.wheel
    assert built.dist_info("licenses/LICENSE") == (built.source / "LICENSE").read_text(encoding="utf-8")


def test_the_console_script_leads_to_a_shipped_function(built: Built) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(built.dist_info("entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"nesy-gedi": "nesy_gedi.cli.main:main"}
    module, _, function = entries["console_scripts"]["nesy-gedi"].partition(":")
    assert f"def {function}(" in built.wheel[module.replace(".", "/") + ".py"].decode()


def test_the_metadata_are_those_of_the_project(built: Built) -> None:
    metadata, declared = message_from_string(built.dist_info("METADATA")), project(built.source)["project"]
    assert metadata["Name"] == declared["name"]
    assert metadata["Version"] == declared["version"]
    assert metadata["License-Expression"] == declared["license"]
    requirements = {Requirement(text).name for text in metadata.get_all("Requires-Dist", [])}
    assert {Requirement(text).name for text in declared["dependencies"]} <= requirements


def test_the_sdist_holds_the_same(built: Built) -> None:
    needed = [*modules(built.source), *resources(built.source), Path(PACKAGE, "py.typed")]
    needed += [Path(name) for name in ("pyproject.toml", "README.md", "LICENSE")]
    different = [p.as_posix() for p in needed if built.sdist.get(p.as_posix()) != (built.source / p).read_bytes()]
    assert not different


def direct_requirements() -> list[Requirement]:
    """Hard requirements and those of every extra."""
    declared = project()["project"]
    groups = [declared["dependencies"], *declared["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in parsed}


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda requirement: requirement.name)
def test_constraints_pin_every_direct_dependency(requirement: Requirement) -> None:
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no line in constraints.txt"
    (clause,) = pin.specifier
    assert clause.operator == "=="
    assert Version(clause.version) in requirement.specifier


def test_every_constraint_is_one_exact_version() -> None:
    loose = [str(pin) for pin in pins().values() if [clause.operator for clause in pin.specifier] != ["=="]]
    assert not loose
