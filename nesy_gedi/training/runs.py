"""Run folders: everything needed to look at, continue or evaluate a run, under one path."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nesy_gedi.errors import RunError
from nesy_gedi.files import write_json, write_text
from nesy_gedi.logic.program import Program
from nesy_gedi.training.checkpoints import CheckpointFolder
from nesy_gedi.training.recipe import Recipe, load_recipe, write_recipe

_RESTORE = "restore the file, or train again"

PACKAGES = ("nesy-gedi", "torch", "torchvision", "numpy", "problog", "pysdd", "lightning-fabric")


@dataclass(frozen=True)
class RunFolder:
    """``runs/<program>-<date>-<id>/``."""

    path: Path

    @property
    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def program_file(self) -> Path:
        return self.path / "program.pl"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def recipe(self) -> Recipe:
        """The effective recipe."""
        return load_recipe(self.recipe_file)

    def program(self, *, trusted: bool = False) -> Program:
        """The program as it was trained.

        Args:
            trusted: let it load files and Python modules. That a run was trusted when it was made is no reason to trust
                the folder now: it may come from elsewhere.

        Raises:
            RunError: the program in the folder is not the one that its environment file names.
        """
        environment = self.environment()
        program = Program.load(self.program_file, trusted=trusted)
        if program.fingerprint != environment.get("program_sha256"):
            raise RunError(
                "program.pl is not the program that this run was trained with",
                where=str(self.path),
                hint="restore the file, or train the new program in a run of its own",
            )
        return program

    def environment(self) -> dict[str, Any]:
        """Versions, machine, and where the program and data came from."""
        try:
            found = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"environment.json cannot be read: {error}", where=str(self.path), hint=_RESTORE) from error
        if not isinstance(found, dict):
            raise RunError("environment.json is damaged: it holds no object", where=str(self.path), hint=_RESTORE)
        return found

    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images that the networks take."""
        try:
            channels, height, width = self.environment()["image_shape"]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"environment.json is damaged: image_shape: {error}", where=str(self.path), hint=_RESTORE
            ) from error
        return channels, height, width

    def data_dir(self) -> Path | None:
        """Where the data was, when a folder was named."""
        stated = self.environment().get("data_dir")
        return Path(stated) if stated else None

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        with _writing(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` up to the first damaged one, as a last line cut short by a crash is."""
        if not self.metrics_file.exists():
            return []
        found = []
        for text in self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if not isinstance(line, dict) or type(line.get("epoch")) is not int:
                break
            found.append(line)
        return found

    def rewind_metrics(self, epoch: int) -> None:
        """Drop what was measured after ``epoch`` epochs, before training continues from there."""
        kept = [line for line in self.read_metrics() if line["epoch"] <= epoch]
        with _writing(self.metrics_file):
            write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))

    def result(self) -> dict[str, Any] | None:
        """The final document of a finished run; None when it is not finished, or the document is damaged."""
        try:
            found = json.loads(self.result_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def discard(self) -> None:
        """Remove the folder: training failed before there was anything to continue."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_result(self, document: dict[str, Any]) -> None:
        """Keep the final document; from then on the run is finished."""
        with _writing(self.result_file):
            write_json(self.result_file, document)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path.name}: {error.strerror}", where=str(path.parent)) from error


def open_run(path: Path) -> RunFolder:
    """An existing run.

    Raises:
        RunError: there is no run at ``path``.
    """
    run = RunFolder(path)
    if not run.recipe_file.exists() or not run.program_file.exists():
        raise RunError(
            "not a run folder: recipe.toml and program.pl are not both there",
            where=str(path),
            hint="name a folder that nesy-gedi train has made; it is the last line that it prints",
        )
    return run


def choose_path(name: str, out: Path | None) -> Path:
    """``out``, or a new name below ``runs/``."""
    if out is not None:
        return out
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d')}-{secrets.token_hex(3)}"


def create_run(
    path: Path,
    program: Program,
    recipe: Recipe,
    *,
    data_dir: Path | None,
    device: str,
    shape: tuple[int, int, int],
    force: bool = False,
) -> RunFolder:
    """Make a run folder, complete or not at all.

    Raises:
        RunError: the folder exists and ``force`` is off or it holds something else than a run, or it cannot be written.
    """
    place = path.resolve()  # a link to a run, or ".", stands for the folder itself
    part = place.with_name(f".{place.name}.part")
    staged = RunFolder(part)
    try:
        if place.exists():
            if not force:
                raise RunError(
                    "the folder exists", where=str(path), hint="choose another --out, or replace it with --force"
                )
            if any(place.iterdir()) if place.is_dir() else True:
                open_run(path)  # refuses to replace anything but a run
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_text(staged.recipe_file, write_recipe(recipe))
        write_text(staged.program_file, program.source.text)
        # As it reads back: a text file's line ends are not always those of the program in memory.
        stored = Program.load(staged.program_file, trusted=program.trusted)
        environment = _environment(program, data_dir, device)
        environment |= {"program_sha256": stored.fingerprint, "image_shape": shape}
        write_json(staged.environment_file, environment)
        if place.exists():
            shutil.rmtree(place)
        os.replace(part, place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            f"cannot make the run folder: {error.strerror or error}",
            where=str(path),
            hint="choose a folder you can write: --out",
        ) from error
    return RunFolder(path)


def _environment(program: Program, data_dir: Path | None, device: str) -> dict[str, Any]:
    return {
        "program": program.source.name,
        "trusted": program.trusted,
        "data_dir": str(data_dir.resolve()) if data_dir is not None else None,
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
