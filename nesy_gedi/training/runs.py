"""Run folders: everything needed to look at, continue or evaluate a run, under one path."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nesy_gedi.errors import RecipeError, RunError
from nesy_gedi.files import write_json, write_text
from nesy_gedi.logic.program import Program
from nesy_gedi.training.checkpoints import CheckpointFolder
from nesy_gedi.training.environment import describe_environment, read_shape, read_shapes
from nesy_gedi.training.folders import make_folder
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, load_pretrain_recipe
from nesy_gedi.training.recipe import Recipe, load_recipe
from nesy_gedi.training.recipe_files import write_recipe

R = TypeVar("R")
T = TypeVar("T")

_RESTORE = "restore the file, or train again"

VERSION = 1
"""Of the documents that ``--json`` prints. Keys are added, never renamed."""

PRETRAINING = "pretraining"
"""What kind of run environment.json names; a program's run names none."""


@dataclass(frozen=True)
class RunFolder:
    """``runs/<name>-<date>-<id>/``: what every run has, whatever it trains."""

    path: Path

    @property
    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

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

    @property
    def inspection_file(self) -> Path:
        return self.path / "inspect.html"

    def environment(self) -> dict[str, Any]:
        """Versions, machine, and where the program and data came from."""
        try:
            found = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"environment.json cannot be read: {error}", where=str(self.path), hint=_RESTORE) from error
        if not isinstance(found, dict):
            raise RunError("environment.json is damaged: it holds no object", where=str(self.path), hint=_RESTORE)
        return found

    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of the images that the networks take; (d,) of points."""
        return self._read("image_shape", lambda environment: read_shape(environment["image_shape"]))

    def _read(self, key: str, read: Callable[[dict[str, Any]], T]) -> T:
        environment = self.environment()
        try:
            return read(environment)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"environment.json is damaged: {key}: {error}", where=str(self.path), hint=_RESTORE
            ) from error

    def data_dir(self) -> Path | None:
        """Where the data was, when a folder was named."""
        stated = self.environment().get("data_dir")
        if not isinstance(stated, str | None):
            raise RunError(
                f"environment.json is damaged: data_dir is {stated!r}, expected the path of a folder or null",
                where=str(self.path),
                hint=_RESTORE,
            )
        return Path(stated) if stated else None

    def _read_recipe(self, load: Callable[[Path], R]) -> R:
        try:
            return load(self.recipe_file)
        except RecipeError as error:
            raise RecipeError(error.message, where=error.where, excerpt=error.excerpt, hint=_RESTORE) from error

    def _cut_short(self, missing: str) -> RunError:
        return RunError(f"recipe.toml is damaged: it has no {missing}", where=str(self.path), hint=_RESTORE)

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


@dataclass(frozen=True)
class ProgramRun(RunFolder):
    """A run that trains a program's networks from answers."""

    @property
    def program_file(self) -> Path:
        return self.path / "program.pl"

    @property
    def pretraining_folder(self) -> Path:
        """The pretrainings that its networks begin from, each a run of its own."""
        return self.path / "pretraining"

    @property
    def assignment_file(self) -> Path:
        """Which symbol each cluster stands for, where networks begin as clusters."""
        return self.path / "assignment.json"

    def image_shapes(self, arguments: Mapping[str, int]) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The shape of each input of each network.

        Args:
            arguments: network -> how many inputs it has.
        """
        if "image_shapes" not in self.environment():  # an older run, whose networks look at the same images
            return {name: (self.image_shape(),) * count for name, count in arguments.items()}
        return self._read("image_shapes", lambda environment: read_shapes(environment["image_shapes"], arguments))

    def recipe(self) -> Recipe:
        """The effective recipe.

        Raises:
            RecipeError: a value that cannot be.
            RunError: it says less than a run's recipe does.
        """
        recipe = self._read_recipe(load_recipe)
        if not recipe.query:
            raise self._cut_short("query")
        return recipe

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


@dataclass(frozen=True)
class PretrainingRun(RunFolder):
    """A run that trains an encoder from images alone."""

    @property
    def perception_file(self) -> Path:
        """Weights of the finished perception."""
        return self.path / "perception.safetensors"

    @property
    def stages_file(self) -> Path:
        """What the clusters of each finished stage are worth."""
        return self.path / "stages.json"

    @property
    def samples_file(self) -> Path:
        """Samples of the generative term, where there is one."""
        return self.path / "samples.safetensors"

    def recipe(self) -> PretrainRecipe:
        """The effective recipe; errors as :meth:`ProgramRun.recipe`."""
        recipe = self._read_recipe(load_pretrain_recipe)
        if not recipe.stages:
            raise self._cut_short("stages")
        return recipe


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path.name}: {error.strerror}", where=str(path.parent)) from error


def open_run(path: Path) -> ProgramRun:
    """An existing run of a program.

    Raises:
        RunError: there is no run at ``path``, or it is a pretraining.
    """
    run = ProgramRun(path)
    if not run.recipe_file.exists() or not run.program_file.exists():
        if is_pretraining(path):
            raise RunError(
                "this run is a pretraining: it has no program",
                where=str(path),
                hint=f"use it in one: nesy-gedi train PROGRAM --encoder NET={path}",
            )
        raise RunError(
            "not a run folder: recipe.toml and program.pl are not both there",
            where=str(path),
            hint="name a folder that nesy-gedi train has made; it is the last line that it prints",
        )
    return run


def is_pretraining(path: Path) -> bool:
    """Whether there is a pretraining run at ``path``, complete or not.

    Raises:
        RunError: there is a run without a program, and its environment.json does not say what kind of run it is.
    """
    run = PretrainingRun(path)
    if ProgramRun(path).program_file.exists():
        return False
    files = (run.environment_file, run.recipe_file, run.stages_file, run.perception_file)
    if sum(file.is_file() for file in files) < 2:  # one by itself may be anybody's
        return False
    environment = run.environment()
    if environment.get("kind") == PRETRAINING:
        return True
    if "program_sha256" in environment:  # a program's run that has lost it
        return False
    raise RunError("environment.json is damaged: it names no kind of run", where=str(path), hint=_RESTORE)


def open_pretraining(path: Path) -> PretrainingRun:
    """An existing pretraining run.

    Raises:
        RunError: there is none at ``path``, or it is damaged.
    """
    if not is_pretraining(path):
        raise RunError(
            "not a pretraining run" + (": it trains a program" if ProgramRun(path).program_file.exists() else ""),
            where=str(path),
            hint="name a folder that nesy-gedi pretrain has made; it is the last line that it prints",
        )
    return PretrainingRun(path)


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
    shape: tuple[int, ...],
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
    images: Mapping[str, Any] | None = None,
    processes: int = 1,
    force: bool = False,
) -> ProgramRun:
    """Make the folder of a program's run, complete or not at all. Raises as :func:`make_folder`.

    Args:
        shape: of the images.
        shapes: network -> the shape of each of its inputs.
        images: what is known of data of one's own; None where it is a known set.
    """

    def fill(staged: Path) -> None:
        run = ProgramRun(staged)
        write_text(run.recipe_file, write_recipe(recipe))
        write_text(run.program_file, program.source.text)
        # As it reads back: a text file's line ends are not always those of the program in memory.
        stored = Program.load(run.program_file, trusted=program.trusted)
        about = {"program": program.source.name, "trusted": program.trusted, "program_sha256": stored.fingerprint}
        if images is not None:
            about["images"] = dict(images)
        write_json(run.environment_file, about | describe_environment(data_dir, device, shape, processes, shapes))

    make_folder(path, fill, force, _refuse_what_is_no_run)
    return ProgramRun(path)


def create_pretraining(
    path: Path,
    recipe: PretrainRecipe,
    *,
    data_dir: Path | None,
    device: str,
    shape: tuple[int, ...],
    force: bool = False,
) -> PretrainingRun:
    """Make the folder of a pretraining, complete or not at all. Raises as :func:`make_folder`."""

    def fill(staged: Path) -> None:
        run = PretrainingRun(staged)
        write_text(run.recipe_file, write_recipe(recipe))
        write_json(run.environment_file, {"kind": PRETRAINING, **describe_environment(data_dir, device, shape)})

    make_folder(path, fill, force, _refuse_what_is_no_run)
    return PretrainingRun(path)


def _refuse_what_is_no_run(path: Path) -> None:
    """Nothing but a run is replaced."""
    try:
        if not is_pretraining(path):
            open_run(path)
    except RunError as error:
        hint = "choose another --out, or remove it yourself if nothing in it is needed"
        raise RunError(error.message, where=str(path), hint=hint) from error
