"""Recipe files: TOML in, frozen dataclasses out; every mistake is told with its place."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from nesy_gedi.errors import RecipeError, UsageError, caret, did_you_mean

R = TypeVar("R")
Fault = tuple[tuple[str, ...], str]
"""A key's path, and what is wrong with its value."""

Constant = float | int | str | bool
"""What a key whose meaning the recipe does not know may hold."""

SEEDS = 2**63
"""Seeds lie below this: more does not fit a random number generator."""

_KINDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def read_recipe(
    kind: type[R],
    path: str | Path | None,
    *,
    faults: Callable[[R], Iterable[Fault]],
    conditions: Callable[[R], Collection[str]],
    overrides: Mapping[str, Any] | None = None,
) -> R:
    """Read a recipe file, take the ``[when.NAME]`` tables whose names hold, then apply ``overrides``.

    Args:
        kind: the dataclass to make.
        path: the TOML file; None for a recipe of defaults.
        faults: the impossible values of a recipe.
        conditions: the names that hold for a recipe: its data set, say. Asked with the overrides in place.
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
            raise RecipeError(
                f"cannot read the recipe: {error.strerror}", where=name, hint="give the path of a TOML file"
            ) from error
        except UnicodeDecodeError as error:
            raise RecipeError(
                "the recipe is not UTF-8 text", where=name, hint="give the path of a TOML file"
            ) from error
    reader = _Reader(kind, faults, name, text)
    values = reader.parse()
    conditional = values.pop("when", {})
    # A mistake is an error even where it is not used: each table is checked by itself, where its lines are known.
    reader.recipe(values)
    if not isinstance(conditional, Mapping):
        raise reader.error(("when",), f"when is a table, not {_describe(conditional)}", "write [when.SOURCE.training]")
    for condition, table in conditional.items():
        reader.recipe(table, ("when", condition))
    given: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        _merge(given, _nested(key.split("."), value))
    final = _Reader(kind, faults, "--set", "") if given else reader
    for condition, table in conditional.items():
        # One after the other: a table may decide which later ones hold.
        if condition in conditions(final.recipe(_merged(values, given))):
            _merge(values, table)
    made: R = final.recipe(_merged(values, given))
    return made


def default_hint(kind: type[Any], path: tuple[str, ...]) -> str | None:
    """What to do about a wrong value at ``path`` of a recipe of this kind; None where there is no such key."""
    hint: Any = kind
    default: Any = dataclasses.MISSING
    for key in path:
        if dataclasses.is_dataclass(hint):
            fields = {field.name: field for field in dataclasses.fields(hint)}
            if key not in fields:
                return None
            found = fields[key]
            default = found.default if found.default_factory is dataclasses.MISSING else found.default_factory()
            hint = typing.get_type_hints(hint)[key]
        else:  # a table of tables, each with a name of its own
            default, hint = dataclasses.MISSING, next(iter(typing.get_args(hint)[1:]), None)
    if default is dataclasses.MISSING or dataclasses.is_dataclass(default) or isinstance(default, Mapping):
        return None
    told = tomli_w.dumps({"value": default}).removeprefix("value = ").strip()
    return f"leave it out for the default, {told}"


def write_recipe(recipe: Any) -> str:
    """The effective values as TOML, which :func:`read_recipe` reads back to an equal recipe."""
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

    def __init__(self, kind: type[Any], faults: Callable[[Any], Iterable[Fault]], name: str, text: str) -> None:
        self.kind = kind
        self.faults = faults
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

    def recipe(self, values: Any, path: tuple[str, ...] = ()) -> Any:
        """The recipe of a table that stands at ``path``, its values checked."""
        made = self.build(self.kind, values, path)
        for key, message in self.faults(made):
            raise self.error((*path, *key), message)
        return made

    def error(self, path: tuple[str, ...], message: str, hint: str | None = None) -> RecipeError:
        if hint is None:
            default = default_hint(self.kind, path[2:] if path[:1] == ("when",) else path)
            hint = default if default is None or self.text else "leave it out to keep what the recipe says"
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
        try:
            return kind(**made)
        except UsageError as error:  # of a dataclass that checks itself
            raise self.error(path, error.message, error.hint) from error

    def _convert(self, hint: Any, value: Any, path: tuple[str, ...]) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast("type[Any]", hint), value, path)
        origin = typing.get_origin(hint)
        if origin is tuple:
            inner = typing.get_args(hint)[0]
            if not isinstance(value, (list, tuple)) or not all(_fits(inner, item) for item in value):
                raise self._wrong(path, f"a list of {'strings' if inner is str else 'numbers'}", value)
            return tuple(inner(item) for item in value)
        if origin is types.UnionType:
            if not any(_fits(choice, value) for choice in typing.get_args(hint)):
                raise self._wrong(path, " or ".join(_KINDS[choice] for choice in typing.get_args(hint)), value)
            return value
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                raise self._wrong(path, "a table", value)
            return {name: self._convert(typing.get_args(hint)[1], item, (*path, name)) for name, item in value.items()}
        if not _fits(hint, value):
            raise self._wrong(path, _KINDS[hint], value)
        return float(value) if hint is float else value

    def _wrong(self, path: tuple[str, ...], expected: str, value: Any) -> RecipeError:
        return self.error(path, f"{'.'.join(path)} is {expected}, not {_describe(value)}")


def _fits(kind: type[Any], value: Any) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def _merge(values: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = _merged({}, value) if isinstance(value, Mapping) else value


def _merged(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both: dict[str, Any] = {}
    _merge(both, values)
    _merge(both, other)
    return both


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
