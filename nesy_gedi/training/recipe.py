"""Recipes: what to train, on which data and how. TOML in, frozen dataclasses out."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from nesy_gedi.errors import RecipeError, caret, did_you_mean


@dataclass(frozen=True)
class DataRecipe:
    """Images and queries.

    Attributes:
        source: name of a data set.
        train: labelled queries; 0 for as many as use no training image twice.
        validation: queries held out of the training images; 0 for a tenth of those images.
        test: queries over the test images; 0 for as many as use no test image twice.
    """

    source: str = "digits"
    train: int = 0
    validation: int = 0
    test: int = 0


@dataclass(frozen=True)
class NetworkRecipe:
    """One network of the program.

    Attributes:
        attribute: which attribute of the data it perceives.
        classes: for every class of the attribute the symbol it stands for; empty where names and symbols agree.
        encoder: ``conv`` or ``package.module:factory``.
        head: ``linear``, or ``none`` where the encoder's output is as wide as the domain.
        features: size of the bundled encoder's output.
        width: channels of its first stage; 0 chooses them from the image size.
        output: what the network returns: ``logits``, ``log_probabilities`` or ``probabilities``.
        observed: there is no network and no image: the value is given with each query (target digits, say).
    """

    attribute: str = "class"
    classes: tuple[str, ...] = ()
    encoder: str = "conv"
    head: str = "linear"
    features: int = 128
    width: int = 0
    output: str = "logits"
    observed: bool = False


@dataclass(frozen=True)
class TrainingRecipe:
    """Optimisation: Adam with a cosine schedule from ``learning_rate`` to zero.

    Attributes:
        epochs: passes over the training queries.
        batch_size: queries a step.
        learning_rate: at the first step.
        weight_decay: decoupled (AdamW); 0 is plain Adam.
        precision: Lightning Fabric's name: ``32-true``, ``bf16-mixed``, ``16-mixed`` ... for the networks; the logic
            computes in float32 or better.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.002
    weight_decay: float = 0.0
    precision: str = "32-true"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, apart from the program's text and the machine.

    Attributes:
        query: the query form.
        slots: which of its variables are network inputs; found from the program when empty.
        seed: initial weights, validation split, training queries and their order. Test queries never depend on it.
    """

    query: str = ""
    slots: tuple[str, ...] = ()
    seed: int = 0
    data: DataRecipe = field(default_factory=DataRecipe)
    networks: Mapping[str, NetworkRecipe] = field(default_factory=dict)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)


POSITIVE = {"training.epochs", "training.batch_size", "training.learning_rate"}
NOT_NEGATIVE = {"seed", "data.train", "data.validation", "data.test", "training.weight_decay"}

SEEDS = 2**63
"""Seeds lie below this: more does not fit a random number generator."""


def load_recipe(
    path: str | Path | None, *, source: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe file, take its ``[when.SOURCE]`` tables for the data in use, then apply ``overrides``.

    Args:
        path: the TOML file; None for a recipe of defaults.
        source: replaces ``data.source``.
        overrides: dotted keys and values, ``{"training.epochs": 5}``; they win over everything.

    Raises:
        RecipeError: the file cannot be read, is not TOML, has an unknown key, a wrong type or an impossible value; with
            its place and the nearest valid key.
    """
    text, name = "", "recipe"
    if path is not None:
        name = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"cannot read the recipe: {error.strerror}", where=name) from error
        except UnicodeDecodeError as error:
            raise RecipeError("the recipe is not UTF-8 text", where=name) from error
    reader = _Reader(name, text)
    values = reader.parse()
    overrides = dict(overrides or {})
    if source is not None:
        overrides["data.source"] = source
    conditional = values.pop("when", {})
    # A mistake is an error even where it is not used: each table is checked by itself, where its lines are known.
    recipe = reader.recipe(values)
    chosen = overrides.get("data.source", recipe.data.source)
    if not isinstance(conditional, Mapping):
        raise reader.error(("when",), f"when is a table, not {_describe(conditional)}", "write [when.SOURCE.training]")
    for condition, table in conditional.items():
        reader.recipe(table, ("when", condition))
        if condition == chosen:
            _merge(values, table)
    for key, value in overrides.items():
        _merge(values, _nested(key.split("."), value))
    return (_Reader("--set", "") if overrides else reader).recipe(values)


def check_recipe(recipe: Recipe) -> None:
    """Refuse values that cannot be, in a recipe made by hand; :func:`load_recipe` does so itself.

    Raises:
        RecipeError: an impossible value.
    """
    for path, message in _impossible(recipe):
        raise RecipeError(message, where=".".join(path))


def write_recipe(recipe: Recipe) -> str:
    """The effective values as TOML, which :func:`load_recipe` reads back to an equal recipe."""
    return tomli_w.dumps(dataclasses.asdict(recipe))


def read_override(assignment: str) -> tuple[str, Any]:
    """``key=value`` from the command line; the value is TOML, or else text.

    Raises:
        RecipeError: there is no ``=``.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            f"expected key=value, found {assignment!r}", where="--set", hint="for example --set training.epochs=5"
        )
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return key.strip(), value


class _Reader:
    """Builds dataclasses from parsed TOML, and knows where each key stands."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.lines = text.split("\n")

    def parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
            message = str(error).split(" (at ")[0]
            # Without a place it is the end of the text that came too early.
            line, column = (int(place[1]), int(place[2])) if place else (len(self.lines), len(self.lines[-1]) + 1)
            raise RecipeError(
                f"not valid TOML: {message}",
                where=f"{self.name}:{line}:{column}",
                excerpt=caret(self.lines[line - 1], column),
            ) from error

    def recipe(self, values: Any, path: tuple[str, ...] = ()) -> Recipe:
        """The recipe of a table that stands at ``path``, its values checked."""
        made: Recipe = self.build(Recipe, values, path)
        for key, message in _impossible(made):
            raise self.error((*path, *key), message)
        return made

    def error(self, path: tuple[str, ...], message: str, hint: str | None = None) -> RecipeError:
        line = self._line_of(path)
        where = f"{self.name}:{line}" if line else self.name
        return RecipeError(message, where=where, excerpt=f"    {self.lines[line - 1]}" if line else None, hint=hint)

    def _line_of(self, path: tuple[str, ...]) -> int | None:
        """Where a key is set: its line below its table's header, or in dotted form, else the first line that is about
        something inside it, else the line of what holds it (an inline table)."""
        table: tuple[str, ...] = ()
        inside: int | None = None
        for number, line in enumerate(self.lines, 1):
            if opened := re.match(r"\s*\[([^\[\]]+)\]\s*(#|$)", line):
                here = table = _split_key(opened[1])
            elif assigned := re.match(r"\s*([^\s#=][^#=]*)=", line):
                here = table + _split_key(assigned[1])
                if here == path:
                    return number
            else:
                continue
            if inside is None and here[: len(path)] == path:
                inside = number
        return inside or (self._line_of(path[:-1]) if len(path) > 1 else None)

    def build(self, kind: type[Any], values: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(values, Mapping):
            raise self.error(path, f"{'.'.join(path)} is a table, not {_describe(values)}")
        hints = typing.get_type_hints(kind)
        made: dict[str, Any] = {}
        for key, value in values.items():
            here = (*path, key)
            if key not in hints:
                inside = f" in [{'.'.join(path)}]" if path else ""
                raise self.error(here, f"unknown key {key}{inside}", did_you_mean(key, hints))
            made[key] = self._convert(hints[key], value, here)
        return kind(**made)

    def _convert(self, hint: Any, value: Any, path: tuple[str, ...]) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast("type[Any]", hint), value, path)
        origin = typing.get_origin(hint)
        if origin is tuple:
            if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
                raise self._wrong(path, "a list of strings", value)
            return tuple(value)
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                raise self._wrong(path, "a table", value)
            return {name: self._convert(typing.get_args(hint)[1], item, (*path, name)) for name, item in value.items()}
        if hint is float and type(value) is int:
            return float(value)
        if type(value) is not hint:
            raise self._wrong(
                path, {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[hint], value
            )
        return value

    def _wrong(self, path: tuple[str, ...], expected: str, value: Any) -> RecipeError:
        return self.error(path, f"{'.'.join(path)} is {expected}, not {_describe(value)}")


def _impossible(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys whose value cannot be, each with what is wrong."""
    for keys, above_zero, expected in ((POSITIVE, True, "positive"), (NOT_NEGATIVE, False, "zero or more")):
        for key in sorted(keys):
            path = tuple(key.split("."))
            value: Any = recipe
            for part in path:
                value = getattr(value, part)
            if not 0 <= value < float("inf") or (above_zero and value == 0):
                yield path, f"{key} must be {expected}, not {value}"
    if recipe.seed >= SEEDS:
        yield ("seed",), f"seed must be less than {SEEDS}, not {recipe.seed}"
    for name, network in recipe.networks.items():
        if network.features < 1:
            path = ("networks", name, "features")
            yield path, f"{'.'.join(path)} must be positive, not {network.features}"
        if network.width < 0:
            path = ("networks", name, "width")
            yield path, f"{'.'.join(path)} must be zero or more, not {network.width}"


def _merge(values: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = dict(value) if isinstance(value, Mapping) else value


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return typing.cast("dict[str, Any]", value)


def _split_key(text: str) -> tuple[str, ...]:
    """The parts of a TOML key; none when it is no key."""
    try:
        inner: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(inner, dict):
        part, inner = next(iter(inner.items()), ("", None))
        parts.append(part)
    return tuple(parts)


def _describe(value: Any) -> str:
    kinds: dict[type[Any], str] = {str: "the string", int: "the number", float: "the number", bool: "the truth value"}
    kind = kinds.get(type(value))
    if kind is None:
        return "a list" if isinstance(value, list) else "a table" if isinstance(value, Mapping) else f"{value}"
    return f"{kind} {str(value).lower() if isinstance(value, bool) else repr(value)}"
