"""Encoders that Python hands over as objects, under names that a recipe can hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module

from torch import nn

from nesy_gedi.errors import UsageError

PREFIX = "given:"
"""What a recipe holds for an encoder that was handed over, before the network's name."""

HandedOver = nn.Module | Callable[[], nn.Module]
"""An encoder, or what makes one."""

_GIVEN: ContextVar[Mapping[str, HandedOver]] = ContextVar("_GIVEN", default={})  # noqa: B039 - never changed, only replaced


def name_given(network: str, encoder: str | HandedOver) -> str:
    """What a recipe holds for the encoder of a network.

    Args:
        encoder: a name, which stands for itself; a function or class at the top of a module that can be imported, which is
            named ``module:function``, so that every process finds it; or anything else, ``given:network``.
    """
    if isinstance(encoder, str):
        return encoder
    module, name = getattr(encoder, "__module__", None), getattr(encoder, "__qualname__", "")
    if not isinstance(encoder, nn.Module) and module not in (None, "__main__") and name.isidentifier():
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            found = None
        if found is encoder:
            return f"{module}:{name}"
    return f"{PREFIX}{network}"


@contextmanager
def giving(encoders: Mapping[str, HandedOver]) -> Iterator[None]:
    """Within this block ``given:NAME`` stands for ``encoders[NAME]``."""
    token = _GIVEN.set({**_GIVEN.get(), **encoders})
    try:
        yield
    finally:
        _GIVEN.reset(token)


def make_given(spec: str) -> nn.Module:
    """The encoder that ``given:NAME`` stands for: a copy of a module, or what a function returns.

    Raises:
        UsageError: nothing was handed over under this name, or it makes no module.
    """
    name = spec.removeprefix(PREFIX)
    encoder = _GIVEN.get().get(name)
    if encoder is None:
        raise UsageError(
            "the encoder was handed over in Python and is not kept with the run, which has its weights alone",
            hint=f"name it again: ng.evaluate(RUN, encoder={{{name!r}: ...}}) in Python, "
            f"or nesy-gedi evaluate RUN --encoder {name}=package.module:factory",
        )
    if isinstance(encoder, nn.Module):
        return copy.deepcopy(encoder)
    try:
        made = encoder()
    except Exception as error:  # whatever the user's function raises
        raise UsageError(
            f"cannot make the encoder: {type(error).__name__}: {error}", hint="it is called without arguments"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"the encoder's function returned {type(made).__name__}, not a torch.nn.Module")
    return made
