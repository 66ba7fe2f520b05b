"""Whole jobs in one call, as a notebook asks for them: a name or a file in, an object with everything about the run out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import RecipeError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.handed_over import PREFIX, HandedOver, giving, name_given
from nesy_gedi.reports.training_result import TrainingResult
from nesy_gedi.training import pretraining, training
from nesy_gedi.training.adoption import trusted_networks
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.pretrain_recipe import PretrainRecipe, load_pretrain_recipe
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.recipe import Recipe, load_recipe
from nesy_gedi.training.runs import open_pretraining, open_run
from nesy_gedi.training.training import Trained

Encoders = Mapping[str, str | Path | HandedOver]
"""Network -> its encoder: a name or path as ``--encoder`` takes it, a module, or a function that makes one."""


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
    encoder: Encoders | str | Path | HandedOver | None = None,
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
    source, images = _data(data)
    arguments = {
        "query": query,
        "data.source": source,
        "data.train": limit,
        "training.epochs": epochs,
        "cotraining.epochs": epochs,
        "seed": seed,
        "method": method,
        "cotraining.objective": objective,
    }
    overrides = {**_settings(settings), **_given(arguments)}
    if resume is not None:
        if recipe is not None or overrides:
            raise _conflict(overrides, resume)
        run = open_run(Path(resume))
        chosen = run.program(trusted=trusted) if program is None else _with_recipe(program, None, trusted)[0]
        recipe = run.recipe()
    elif program is None:
        names = ", ".join(each.name for each in bundled_programs())
        raise UsageError("no program", hint=f"a bundled name ({names}), a .pl file or a Program; or resume=RUN")
    else:
        chosen, recipe = _with_recipe(program, recipe, trusted)
    encoders = _named(encoder, chosen)
    specs = {name: name_given(name, each) for name, each in encoders.items()}
    overrides |= {f"networks.{name}.encoder": spec for name, spec in specs.items()}
    with _named_in_python():
        effective = _changed(recipe, overrides)
    objects = {
        name: each for name, each in encoders.items() if not isinstance(each, str) and specs[name].startswith(PREFIX)
    }
    if objects and devices > 1:
        raise UsageError(
            f"the encoder of {', '.join(objects)} is an object of this process, and {devices} processes are to train it",
            where="encoder",
            hint="define a function that makes it in a module, and give that",
        )
    allowed = (*trusted_encoders, *trusted_networks(specs, chosen.networks, trusted))
    with giving(objects):
        trained = training.train(
            chosen,
            effective,
            images,
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
        )
    return _result(trained)


def evaluate(
    path: str | Path | Trained,
    *,
    data: str | Path | ImageSplits | None = None,
    encoder: Encoders | str | Path | HandedOver | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    engine: str | None = None,
    trusted: bool = False,
) -> TrainingResult:
    """Measure a run's best weights on the test split of its own data, or of another data set with the same images.

    Args:
        path: the run folder, or what :func:`train` has returned.
        data: data set in place of the run's, by name, by its path or in memory.
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
    path = path.run.path if isinstance(path, Trained) else path
    encoders = {} if encoder is None else _named(encoder, open_run(Path(path)).program(trusted=trusted))
    specs = {name: name_given(name, each) for name, each in encoders.items()}
    source, images = _data(data)
    with giving({name: each for name, each in encoders.items() if not isinstance(each, str)}):
        return _result(
            training.evaluate(
                path,
                images,
                source=source,
                data_dir=data_dir,
                download=download,
                device=device,
                encoders=specs,
                engine=engine,
                trusted=trusted,
            )
        )


def pretrain(
    recipe: PretrainRecipe | str | Path | None = None,
    *,
    data: str | Path | ImageSplits | None = None,
    objective: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    out: str | Path | None = None,
    force: bool = False,
    resume: str | Path | None = None,
    trusted: bool = False,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Pretrained:
    """Learn an encoder and clusters from images without labels, and measure them on test images.

    ``ng.pretrain(data="digits", objective="simclr")``; what is not given is as the recipe says.
    ``result.perception`` takes images (n, channels, height, width) uint8 to log-probabilities of clusters (n, K), and
    ``ng.train("addition", encoder={"digit_net": result.run.path})`` starts from it.

    Args:
        recipe: a :class:`PretrainRecipe` or a TOML file; else the one that comes with the package.
        data: name or path of a data set, or one in memory.
        objective: its name, see :func:`find_objective`.
        seed: of initial weights, order of images and views.
        limit: number of training images.
        settings: any keys of the recipe, ``{"stages.features.epochs": 5}``; they win over the recipe, arguments over them.
        data_dir: where data sets are; else ``$NESY_GEDI_DATA``, else the user's cache.
        download: fetch a missing data set.
        device: ``auto | cpu | cuda | cuda:N | mps``.
        out: the run folder; else a new one below ``runs/``.
        force: replace an existing run.
        resume: continue this run, with its own recipe.
        trusted: let the recipe's encoder import Python.
        listener: told about progress.
        stop: asked after every step; when true, training saves and raises ``Interrupted``.

    Raises:
        NesyGediError: the subclass says what kind of thing went wrong. Nothing half-written is left behind.
    """
    source, images = _data(data)
    arguments = {
        "data.source": source,
        "data.limit": limit,
        "objective": objective,
        "seed": seed,
    }
    overrides = {**_settings(settings), **_given(arguments)}
    if resume is not None:
        if recipe is not None or overrides:
            raise _conflict(overrides, resume)
        effective = open_pretraining(Path(resume)).recipe()
    elif isinstance(recipe, PretrainRecipe):
        if overrides:
            raise UsageError(
                f"a whole recipe was given, and {', '.join(sorted(overrides))} beside it",
                hint="change the recipe with dataclasses.replace, or give its file",
            )
        effective = recipe
    else:
        with _named_in_python():
            effective = load_pretrain_recipe(recipe, overrides=overrides)
    return pretraining.pretrain(
        effective,
        images,
        data_dir=data_dir,
        download=download,
        device=device,
        out=out,
        force=force,
        resume=resume,
        trusted=trusted,
        listener=listener,
        stop=stop,
    )


def _conflict(overrides: Mapping[str, Any], resume: str | Path) -> UsageError:
    return UsageError(
        f"a run continues with its own recipe, but {', '.join(sorted(overrides)) or 'a recipe'} was given",
        where=str(resume),
        hint="leave it out to continue the run, or start a new one",
    )


def _result(trained: Trained) -> TrainingResult:
    return TrainingResult(**{each.name: getattr(trained, each.name) for each in dataclasses.fields(trained)})


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those that decide a key of the recipe."""
    return {key: _plain(value) for key, value in arguments.items() if value is not None}


def _settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    if settings is not None and not isinstance(settings, Mapping):
        raise UsageError(
            f"settings are keys of the recipe and their values, not {type(settings).__name__}",
            where="settings",
            hint='for example settings={"training.batch_size": 64}',
        )
    return {key: _plain(value) for key, value in (settings or {}).items()}


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _data(data: object) -> tuple[str | None, ImageSplits | None]:
    """The name or path of data, or what is in memory."""
    if data is None or isinstance(data, ImageSplits):
        return None, data
    if isinstance(data, (str, Path)):
        return str(data), None
    makes = "from_dataset" if hasattr(data, "__getitem__") and not hasattr(data, "shape") else "from_arrays"
    raise UsageError(
        f"data is a name, a path or ImageSplits, not {type(data).__name__}",
        where="data",
        hint=f"make it with ng.{makes}(...); docs/data.md shows how",
    )


@contextmanager
def _named_in_python() -> Iterator[None]:
    """What the command line calls ``--set`` are arguments and ``settings`` here."""
    try:
        yield
    except RecipeError as error:
        if error.where != "--set":
            raise
        raise RecipeError(error.message, where="settings", hint=error.hint) from error


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


def _named(encoder: Encoders | str | Path | HandedOver | None, program: Program) -> dict[str, str | HandedOver]:
    """Network -> encoder; one that comes without a name is that of the only network."""
    if encoder is None:
        return {}
    if isinstance(encoder, Mapping):
        return {name: str(each) if isinstance(each, Path) else each for name, each in encoder.items()}
    networks = list(program.networks)
    if len(networks) != 1:
        raise UsageError(
            f"which network is the encoder for? The program has {', '.join(networks)}",
            where="encoder",
            hint=f"encoder={{{networks[0]!r}: ...}}" if networks else "a program without networks needs none",
        )
    return {networks[0]: str(encoder) if isinstance(encoder, Path) else encoder}
