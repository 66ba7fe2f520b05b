"""Any encoder that a recipe names: made, adapted to the data, and given its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.adapters import Adapted
from nesy_gedi.networks.cards import EncoderCard, InputCard, card_of, read_card
from nesy_gedi.networks.encoders import BUNDLED, make_encoder
from nesy_gedi.networks.libraries import is_library, make_library_encoder
from nesy_gedi.networks.weights import load_encoder_weights, read_weights

PROBES = 2
"""Black images that an encoder is tried with."""

SIZES = (32, 64, 224)
"""Heights and widths that an encoder is tried with where it does not take the data's."""

INNER = "encoder."
"""What keys of an adapted encoder's own weights begin with."""


class EncoderSpec(Protocol):
    """What a recipe says of an encoder, see :class:`~nesy_gedi.training.recipe.NetworkRecipe`."""

    @property
    def encoder(self) -> str: ...
    @property
    def features(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def normalisation(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def weights_file(self) -> str: ...
    @property
    def partial(self) -> bool: ...


@dataclass(frozen=True)
class BuiltEncoder:
    """An encoder that takes the data.

    Attributes:
        module: takes inputs (batch, *shape) of each shape, standardised.
        mean, std: per channel, with which inputs are to be standardised, one of each for each input; None where the
            statistics of the data will do.
        notes: what a person should know: how images are adapted, what was loaded.
        warnings: the same, where something may be wrong.
    """

    module: nn.Module
    mean: tuple[Tensor, ...] | None = None
    std: tuple[Tensor, ...] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def build_encoder(
    what: EncoderSpec,
    shapes: Sequence[tuple[int, ...]],
    *,
    trusted: bool,
    load: bool = True,
    section: str = "network",
    permission: str | None = None,
) -> BuiltEncoder:
    """The encoder that a recipe names, for data of these shapes.

    Args:
        shapes: of each input: (channels, height, width) of images, (d,) of points, (length, d) of sequences.
        trusted: whether Python of one's own may be imported.
        load: read ``weights_file``; False where a checkpoint brings the weights.
        section: of the recipe, for hints: ``networks.NAME``.
        permission: as :func:`~nesy_gedi.networks.encoders.make_encoder`.

    Raises:
        UsageError: an encoder that cannot be made or does not take such data, or weights that are not its own.
        RunError: weights or a card that are damaged.
    """
    shapes = [tuple(shape) for shape in shapes]
    wanted = tuple(what.input_shape)
    if len(shapes) > 1 and (wanted or is_library(what.encoder)):
        raise UsageError(
            f"{'input_shape is' if wanted else what.encoder + ' is'} for networks of one input, not of {len(shapes)}",
            where=f"{section}.{'input_shape' if wanted else 'encoder'}",
            hint="leave it out; conv, mlp and your own encoder take several inputs",
        )
    card = _card(what, shapes) if load and what.weights_file else None
    left_out: tuple[str, ...] = ()
    if is_library(what.encoder):
        made = make_library_encoder(what.encoder, wanted)
        encoder, takes, left_out = made.module, made.takes, made.left_out
    else:
        given = wanted or shapes[0]
        encoder = make_encoder(
            what.encoder,
            given,
            what.features,
            further=shapes[1:],
            width=what.width,
            normalisation=what.normalisation,
            trusted=trusted,
            **({} if permission is None else {"permission": permission}),
        )
        takes = InputCard(given, (), ())
    inputs = _own_inputs(card) if card is not None else (takes,)
    notes: tuple[str, ...]
    notes, warned = _load(what, encoder, card, left_out, section) if load and what.weights_file else ((), ())
    if is_library(what.encoder) and load and not what.weights_file:
        notes = (f"Its first weights are random: nothing is downloaded; {section}.weights_file names a file of them.",)
    standard = [each for each in inputs if each.mean]
    if takes.shape != shapes[0]:
        adapted = Adapted(encoder, shapes[0], takes.shape, **_statistics(standard))
        _try(what.encoder, adapted, shapes[0], section)
        sentence = f"Images for {what.encoder} are {adapted.sentence()}"
        larger = takes.shape[1] * takes.shape[2] > 4 * shapes[0][1] * shapes[0][2] and not wanted
        sentence += f"; a smaller size is faster: {section}.input_shape" if larger else ""
        zeros, ones = (torch.full((shapes[0][0],), value) for value in (0.0, 1.0))
        # Without statistics of its own the encoder is given images that are standardised as the data's are.
        own = ((zeros,), (ones,)) if standard else (None, None)
        return BuiltEncoder(adapted, own[0], own[1], (f"{sentence}.", *notes), warned)
    if what.encoder not in BUNDLED:
        _suggest_shape(what.encoder, encoder, shapes, section)
    if not standard:
        return BuiltEncoder(encoder, notes=notes, warnings=warned)
    mean, std = (tuple(torch.tensor(getattr(each, key)) for each in standard) for key in ("mean", "std"))
    return BuiltEncoder(encoder, mean, std, notes, warned)


def _card(what: EncoderSpec, shapes: Sequence[tuple[int, ...]]) -> EncoderCard | None:
    """The card beside the weights, where there is one."""
    file = Path(what.weights_file)
    if not (file.is_file() and card_of(file).is_file()):
        return None
    card = read_card(file)
    own = _own_inputs(card)
    if len(own) != len(shapes) or (len(own) > 1 and [each.shape for each in own] != list(shapes)):
        raise UsageError(
            f"the encoder takes inputs of shapes {', '.join(str(each.shape) for each in own)}, the data has "
            f"{', '.join(map(str, shapes))}",
            where=str(file),
            hint="several inputs are not adapted: use the data that it was trained on",
        )
    return card


def _own_inputs(card: EncoderCard) -> tuple[InputCard, ...]:
    """What the architecture itself takes."""
    return card.inputs if card.architecture.adapted is None else (card.architecture.adapted,)


def _load(
    what: EncoderSpec, encoder: nn.Module, card: EncoderCard | None, left_out: tuple[str, ...], section: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    file = Path(what.weights_file)
    adapted = card is not None and card.architecture.adapted is not None
    found = read_weights(file, prefix=INNER if adapted else "", left_out=left_out)
    fit = load_encoder_weights(encoder, found, file, partial=what.partial, key=f"{section}.partial")
    note = f"{fit.share:.1%} of the encoder's parameters come from {file}."
    return (note,), () if fit.whole else (f"{file} matches {what.encoder} in part: {fit.listing()}",)


def _statistics(inputs: Sequence[InputCard]) -> dict[str, tuple[float, ...]]:
    return {"mean": inputs[0].mean, "std": inputs[0].std} if inputs else {}


def _works(encoder: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Exception | None:
    """What an encoder raises on black images, None where it works; it is left as it was."""
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            encoder(*(torch.zeros(PROBES, *shape) for shape in shapes))
    except Exception as error:  # whatever it raises
        return error
    finally:
        encoder.train(was_training)
    return None


def _try(spec: str, adapted: Adapted, shape: tuple[int, ...], section: str) -> None:
    if (error := _works(adapted, [shape])) is not None:
        raise UsageError(
            f"{spec} does not take images of shape {adapted.takes}, to which those of {shape} are adapted: "
            f"{type(error).__name__}: {error}",
            where=f"{section}.input_shape",
            hint="choose another shape, or leave it out where the encoder has one of its own",
        ) from error


def _suggest_shape(spec: str, encoder: nn.Module, shapes: Sequence[tuple[int, ...]], section: str) -> None:
    """Where images of another number of channels or another size would do, say how they come by it."""
    if len(shapes) > 1 or len(shapes[0]) != 3 or (error := _works(encoder, shapes)) is None:
        return
    channels, height, width = shapes[0]
    other = {1: 3, 3: 1}.get(channels)
    tried = [(other, height, width)] if other else []
    tried += [(each, size, size) for each in (channels, other) if each for size in SIZES]
    fits = next((shape for shape in tried if shape and _works(encoder, [shape]) is None), None)
    if fits is None:
        return  # whoever uses it says what is wrong
    kind = {1: "grey", 3: "colour"}
    told = (
        f"{spec} takes {kind[fits[0]]} images, those of the data are {kind[channels]}"
        if fits[0] != channels and fits[1:] == (height, width)
        else f"{spec} does not take images of shape {shapes[0]}"
    )
    raise UsageError(
        f"{told}: {type(error).__name__}: {error}",
        where=f"{section}.encoder",
        hint=f"have them adapted: --set {section}.input_shape={list(fits)}",
    ) from error
