"""Whole jobs in one call, as a notebook asks for them: a name or a file in, an object with everything about the run out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import UsageError
from nesy_gedi.files import write_text
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.networks.given import PREFIX, Given, giving, name_given
from nesy_gedi.training import training
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.recipe import Recipe, load_recipe
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.training import Trained

if TYPE_CHECKING:
    from nesy_gedi.reports.figures import Figures
    from nesy_gedi.reports.inspection import Inspection

Encoders = Mapping[str, str | Given]
"""Network -> its encoder: a name as ``--encoder`` takes it, a module, or a function that makes one."""


class TrainingResult(Trained):
    """A finished run in memory; in a notebook it shows what was learned.

    Attributes:
        run: its folder, ``run.path``.
        task: program, circuit and slots.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`, with the weights that were kept: images
            (n, channels, height, width) uint8 in, log-probabilities (n, K) out.
        queries: the test queries that it was measured on.
        document: metrics and times, as ``--json`` prints them.
    """

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured on the test queries: ``answer_accuracy``, ``concept_accuracy`` and so on, all shares in [0, 1]."""
        found: dict[str, Any] = self.document["metrics"]
        return found

    @property
    def reasoner(self) -> Reasoner:
        """The circuit: log-probabilities (batch, K) of each image in, those of the answers (batch, answers) out."""
        return self.task.reasoner

    @cached_property
    def _inspection(self) -> Inspection:
        from nesy_gedi.reports.inspection import inspect

        return inspect(self)

    def inspect(self) -> Inspection:
        """What the networks' symbols mean, and which other readings would have fitted; found once, and then kept."""
        return self._inspection

    @cached_property
    def figures(self) -> Figures:
        """The report's figures by name, as matplotlib figures; each is drawn when it is first asked for."""
        from nesy_gedi.reports.figures import figures_of

        return figures_of(self.inspect())

    def report(self) -> Path:
        """Write the report, one page that needs nothing else.

        Returns:
            The path of ``report.html`` in the run folder.
        """
        from nesy_gedi.reports.html import render

        write_text(self.run.report_file, render(self.inspect()))
        return self.run.report_file

    def _repr_html_(self) -> str:
        from nesy_gedi.reports.summary import summary

        return summary(self.inspect())

    def __repr__(self) -> str:
        right = f"{self.metrics['answer_accuracy']:.2%} of {self.metrics['queries']} test answers right"
        return f"TrainingResult({Path(self.document['program']).stem} on {self.document['data']}: {right}; {self.run.path})"


def train(
    program: str | Path | Program | Recipe | None = None,
    recipe: Recipe | str | Path | None = None,
    *,
    query: str | None = None,
    data: str | Path | ImageSplits | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    method: str | None = None,
    objective: str | None = None,
    encoder: Encoders | str | Given | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    devices: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    resume: str | Path | None = None,
    trusted: bool = False,
    trusted_encoders: tuple[str, ...] = (),
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a program's networks from answers, and measure them on test queries.

    ``ng.train("addition")`` trains a bundled program; ``ng.train("sums.pl", query="total(X, Y, Sum)", data="answers.csv")``
    one of your own from a table of observed answers. What is not given is as the recipe says.

    Args:
        program: a bundled name, a ``.pl`` file, or a :class:`Program`. A recipe alone stands for the bundled program that its
            query form asks.
        recipe: a :class:`Recipe` or a TOML file; else that beside the program, else one of defaults.
        query: the query form, ``"addition(X, Y, Sum)"``.
        data: name or path of a data set, as ``--data`` takes it, or one in memory.
        epochs: passes over the training queries.
        limit: number of labelled training queries.
        seed: of initial weights, of the validation split and of the order of queries.
        method, objective: how networks learn; see :class:`Recipe`.
        encoder: of each network by name, or of the only one: a name as ``--encoder`` takes it, an ``nn.Module``, of which a
            copy is trained, or a function without arguments that makes one; from images (batch, channels, height, width) float to
            features (batch, d). An object is not kept with the run, only its weights: to continue or evaluate the run
            later, give it again. A function of a module that can be imported is kept by its name.
        settings: any keys of the recipe, ``{"training.batch_size": 64}``; they win over the recipe, arguments over them.
        data_dir: where data sets are; else ``$NESY_GEDI_DATA``, else the user's cache.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        devices: so many processes share each step.
        out: the run folder; else a new one below ``runs/``.
        force: replace an existing run.
        resume: continue this run; beside it, only what a run does not keep is given: ``encoder``, ``data`` in memory.
        trusted: let the program load files and Python modules, and the recipe's encoders too.
        trusted_encoders: networks whose encoder in the recipe may import Python.
        listener: told about progress.
        stop: asked after every step; when true, training saves and raises ``Interrupted``.

    Raises:
        NesyGediError: the subclass says what kind of thing went wrong. Nothing half-written is left behind.
    """
    arguments = {
        "query": query,
        "data.source": data if data is None or isinstance(data, ImageSplits) else str(data),
        "data.train": limit,
        "training.epochs": epochs,
        "cotraining.epochs": epochs,
        "seed": seed,
        "method": method,
        "cotraining.objective": objective,
    }
    overrides = {**(settings or {}), **_given(arguments)}
    if resume is not None:
        if recipe is not None or overrides:
            raise UsageError(
                f"a run continues with its own recipe, but {', '.join(sorted(overrides)) or 'a recipe'} was given",
                where=str(resume),
                hint="leave it out to continue the run, or start a new one",
            )
        run = open_run(Path(resume))
        chosen = run.program(trusted=trusted) if program is None else _with_recipe(program, None, trusted)[0]
        recipe = run.recipe()
    elif program is None:
        names = ", ".join(each.name for each in bundled_programs())
        raise UsageError("no program", hint=f"a bundled name ({names}), a .pl file or a Program; or resume=RUN")
    else:
        chosen, recipe = _with_recipe(program, recipe, trusted)
    encoders = _named(encoder, chosen)
    overrides |= {f"networks.{name}.encoder": name_given(name, each) for name, each in encoders.items()}
    effective = _changed(recipe, overrides)
    objects = {
        name: each
        for name, each in encoders.items()
        if not isinstance(each, str) and overrides[f"networks.{name}.encoder"].startswith(PREFIX)
    }
    if objects and devices > 1:
        raise UsageError(
            f"the encoder of {', '.join(objects)} is an object of this process, and {devices} processes are to train it",
            where="encoder",
            hint="define a function that makes it in a module, and give that",
        )
    named = {name for name, each in encoders.items() if not (isinstance(each, str) and Path(each).is_dir())}
    allowed = tuple(chosen.networks) if trusted else tuple({*trusted_encoders, *named})
    in_memory: dict[str, Any] = {"images": data} if isinstance(data, ImageSplits) else {}
    with giving(objects):
        trained = training.train(
            chosen,
            effective,
            data_dir=data_dir,
            download=download,
            device=device,
            devices=devices,
            out=out,
            force=force,
            resume=resume,
            trusted_encoders=allowed,
            listener=listener,
            stop=stop,
            **in_memory,
        )
    return _result(trained)


def evaluate(
    path: str | Path,
    *,
    data: str | Path | None = None,
    encoder: Encoders | str | Given | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    engine: str | None = None,
    trusted: bool = False,
) -> TrainingResult:
    """Measure a run's best weights on the test split of its own data, or of another data set with the same images.

    Args:
        path: the run folder.
        data: data set in place of the run's.
        encoder: as for :func:`train`, in place of the run's; naming it again lets its Python be imported.
        data_dir: where data sets are; else where they were when it was trained.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        engine: what evaluates the circuit, in place of the run's.
        trusted: let the run's program and its encoders load files and Python modules.

    Raises:
        EngineError: there is no such engine, its package is missing, or it cannot answer the run's query form.
        RunError: no run, a damaged checkpoint, or another program.
        DataError: images of another shape.
    """
    encoders = {} if encoder is None else _named(encoder, open_run(Path(path)).program(trusted=trusted))
    specs = {name: name_given(name, each) for name, each in encoders.items()}
    with giving({name: each for name, each in encoders.items() if not isinstance(each, str)}):
        return _result(
            training.evaluate(
                path,
                source=None if data is None else str(data),
                data_dir=data_dir,
                download=download,
                device=device,
                encoders=specs,
                engine=engine,
                trusted=trusted,
            )
        )


def _result(trained: Trained) -> TrainingResult:
    return TrainingResult(**{each.name: getattr(trained, each.name) for each in dataclasses.fields(trained)})


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those that decide a key of the recipe."""
    return {key: value for key, value in arguments.items() if value is not None and not isinstance(value, ImageSplits)}


def _with_recipe(
    program: str | Path | Program | Recipe, recipe: Recipe | str | Path | None, trusted: bool
) -> tuple[Program, Recipe | str | Path | None]:
    """A program, as it may be named, and its recipe or where that is."""
    if isinstance(program, Recipe):
        if recipe is not None:
            raise UsageError("two recipes, and no program", hint="ng.train(program, recipe)")
        program, recipe = _asked_by(program), program
    if isinstance(program, Program):
        return program, recipe
    found = find_program(str(program))
    return Program.load(found.path, trusted=trusted), found.recipe if recipe is None else recipe


def _asked_by(recipe: Recipe) -> str:
    """The bundled program that a recipe's query form asks."""
    asked = re.match(r"\s*(\w+)\(", recipe.query)
    if asked is None or asked[1] not in {each.name for each in bundled_programs()}:
        raise UsageError(
            f"which program is the recipe of the query form {recipe.query!r} for?", hint="ng.train(program, recipe)"
        )
    return asked[1]


def _changed(recipe: Recipe | str | Path | None, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe with other values for some of its dotted keys, checked as a recipe file is."""
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides=overrides)
    return load_recipe(None, overrides={**dataclasses.asdict(recipe), **overrides}) if overrides else recipe


def _named(encoder: Encoders | str | Given | None, program: Program) -> dict[str, str | Given]:
    """Network -> encoder; one that comes without a name is that of the only network."""
    if encoder is None:
        return {}
    if isinstance(encoder, Mapping):
        return dict(encoder)
    networks = list(program.networks)
    if len(networks) != 1:
        raise UsageError(
            f"which network is the encoder for? The program has {', '.join(networks)}",
            where="encoder",
            hint=f"encoder={{{networks[0]!r}: ...}}" if networks else "a program without networks needs none",
        )
    return {networks[0]: encoder}
