"""Labelled images: a few whose symbols a person has told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nesy_gedi.data import ImageSet
from nesy_gedi.data.decoding import read_image
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import DataError, RecipeError, did_you_mean
from nesy_gedi.training.task import Task

LABELLED_BATCH = 128
"""Labelled images that a step looks at, at most; of more, as many are drawn at random."""

_EXAMPLE = "for example 3=2, two training images of 3, or 3=three.png"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of one network whose symbols are known.

    Attributes:
        images: (m, ...), as the network takes them.
        symbols: their indices in its domain, (m,) int64.
    """

    images: Tensor
    symbols: Tensor

    def __len__(self) -> int:
        return len(self.symbols)

    def to(self, device: torch.device) -> Labelled:
        return Labelled(self.images.to(device), self.symbols.to(device))

    def some(self) -> Labelled:
        """All of them, or ``LABELLED_BATCH`` drawn by the global generator."""
        if len(self) <= LABELLED_BATCH:
            return self
        rows = torch.randperm(len(self))[:LABELLED_BATCH].to(self.symbols.device)
        return Labelled(self.images[rows], self.symbols[rows])


def parse_label(entry: str) -> tuple[str, int | Path] | None:
    """The symbol of an entry of a network's ``labels`` and how many images of it are told, or which file is one; None where
    it says neither."""
    symbol, _, what = (part.strip() for part in entry.partition("="))
    if not (symbol and what):
        return None
    return symbol, int(what) if what.isdecimal() else Path(what)


def absolute_label(entry: str) -> str:
    """An entry of a network's ``labels`` whose file is found from any working directory; others as they are."""
    match parse_label(entry):
        case symbol, Path() as file:
            return f"{symbol}={file.resolve()}"
    return entry


def told_symbols(task: Task, network: str) -> set[int]:
    """Indices of the symbols of which a network is given labelled images. Entries are as :func:`read_labels` takes them.

    Raises:
        RecipeError: an entry that says something else, or a symbol that the domain does not have.
    """
    return {number for number, what in _stated(task, network) if what != 0}


def _stated(task: Task, network: str) -> list[tuple[int, int | Path]]:
    """The symbol of each entry, by its index, and how many images of it are told, or which file is one."""
    where, domain = f"networks.{network}.labels", task.program.networks[network]
    found = []
    for entry in task.network(network).labels:
        if (label := parse_label(entry)) is None:
            raise RecipeError(f"expected SYMBOL=COUNT or SYMBOL=FILE, found {entry!r}", where=where, hint=_EXAMPLE)
        symbol, what = label
        if symbol not in domain:
            raise RecipeError(f"{symbol} is not in the domain", where=where, hint=did_you_mean(symbol, domain))
        found.append((domain.index(symbol), what))
    return found


def read_labels(task: Task, images: ImageSet) -> dict[str, Labelled]:
    """The labelled images that the recipe names, for each network that has some.

    Args:
        images: training images, of which those that are counted are drawn, the same for the same seed.

    Raises:
        RecipeError: an entry that says something else, a symbol that the domain does not have, a network that perceives
            nothing, or prototypes of a symbol that has no label.
        DataError: fewer images of a symbol than asked for, a file that is no image of the right shape, or one file with
            two symbols.
    """
    for name, network in task.recipe.networks.items():
        if network.labels and name not in task.networks:
            raise RecipeError(
                f"{name} perceives nothing: its values are given with each query",
                where=f"networks.{name}.labels",
                hint="leave them out",
            )
        if network.labels and (images.others or task.arguments(name) > 1):
            raise RecipeError(
                "labels are told of images of one kind, each seen by itself",
                where=f"networks.{name}.labels",
                hint="leave them out: the networks learn from the answers",
            )
    found = {name: _read(task, name, images) for name in task.networks if task.network(name).labels}
    for name in task.networks:
        if task.network(name).head == "prototypes":
            _refuse_unlabelled(task, name, found.get(name))
    return {name: each for name, each in found.items() if len(each)}


def _refuse_unlabelled(task: Task, network: str, found: Labelled | None) -> None:
    """Raises RecipeError where a symbol of the domain has no labelled image."""
    told = set() if found is None else set(found.symbols.tolist())
    missing = [symbol for k, symbol in enumerate(task.program.networks[network]) if k not in told]
    if missing:
        raise RecipeError(
            f"there are no prototypes of symbols without a labelled image: {', '.join(missing)}",
            where=f"networks.{network}.labels",
            hint=f"label one of each, for example --label {shlex.quote(f'{network}:{missing[0]}=1')}",
        )


def _read(task: Task, network: str, images: ImageSet) -> Labelled:
    where, domain = f"networks.{network}.labels", task.program.networks[network]
    generator = torch.Generator().manual_seed(task.recipe.seed)
    truth = task.symbols(network, images)
    parts: list[Tensor] = []
    symbols: list[int] = []
    told: dict[Path, str] = {}
    free = torch.ones(len(images), dtype=torch.bool)  # an image is drawn once
    for number, what in _stated(task, network):
        symbol = domain[number]
        if isinstance(what, int):
            there = ((truth == number) & free).nonzero()[:, 0]
            if what > len(there):
                nobody = not bool((truth != UNKNOWN).any())
                raise DataError(
                    f"{what} images of {symbol} were asked for, "
                    + ("but nobody has labelled an image" if nobody else f"there are {len(there)}"),
                    where=where,
                    hint=f"name a file: {symbol}=FILE" if nobody else "ask for fewer",
                )
            chosen = there[torch.randperm(len(there), generator=generator)[:what]]
            free[chosen] = False
            parts.append(images.images[chosen])
            symbols += [number] * len(chosen)
        else:
            path = what.resolve()
            if told.setdefault(path, symbol) != symbol:
                raise DataError(f"{what} is told to be {told[path]} and {symbol}", where=where, hint="leave one out")
            parts.append(_read_image(path, images.shape, where)[None])
            symbols.append(number)
    if not symbols:
        return Labelled(images.images[:0], torch.zeros(0, dtype=torch.int64))
    return Labelled(torch.cat(parts), torch.tensor(symbols))


def _read_image(path: Path, shape: tuple[int, ...], where: str) -> Tensor:
    """(channels, height, width) uint8 of a file, made grey or coloured and resized as ``shape`` asks."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(
            f"data of shape {shape} is no image", where=where, hint="give a number of labelled items instead"
        )
    try:
        return read_image(path, shape)
    except DataError as error:
        hint = "name a PNG or JPEG file, or a number"
        raise DataError(error.message, where=f"{where}, {path}", hint=hint) from error
