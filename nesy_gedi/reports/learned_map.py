"""What a network reads each true symbol as, and what that says of its symbols in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import Maps
from nesy_gedi.concepts.map_counting import ONE, count_in_words
from nesy_gedi.concepts.misreadings import UNSEEN
from nesy_gedi.concepts.shortcuts import Nearest, OptimalMaps, is_identity, is_one_to_one
from nesy_gedi.concepts.statements import listing
from nesy_gedi.metrics.concepts import concept_accuracy, empirical_map

FEW = 2
"""Labelled test images a symbol, below which it is said how few there are."""

RELIABLE = 0.9
"""A network that reads less than this share of the images as its map says is not called right: some say, and which."""

ABOVE_CHANCE = 0.4
"""Of the way from even chance to certainty. Networks that read fewer images as their map says have no map."""

NEAR = 0.5
"""A map that differs on a larger share of the images is not near."""

NAMED = 20
"""So many symbols are named in a sentence."""

Kind = Literal["right", "blurred", "renamed", "merged", "unclear"]


@dataclass(frozen=True, eq=False)
class LearnedMap:
    """The learned map of one network: the empirical one.

    Attributes:
        network: its name.
        domain: its symbols.
        counts: images of each true symbol, shape (K,).
        reads: for each true symbol the index of the one that most of its images are read as; ``UNSEEN`` where there is
            no image of it.
        shares: of these images in all of the symbol's; NaN where there is none.
        accuracy: share of all images that are read as the symbol they are.
        follows: share of all images that are read as the map says.
    """

    network: str
    domain: tuple[str, ...]
    counts: Tensor
    reads: tuple[int, ...]
    shares: tuple[float, ...]
    accuracy: float
    follows: float

    @property
    def kind(self) -> Kind:
        """Whether the symbols are right, right for most images of each (blurred), renamed one to one, merged, or none of
        these."""
        chance = 1.0 / len(self.domain)
        if self.follows < chance + ABOVE_CHANCE * (1.0 - chance):
            return "unclear"
        if is_identity({self.network: self.reads}):
            return "right" if self.accuracy >= RELIABLE else "blurred"
        return "renamed" if is_one_to_one(self.reads) else "merged"

    @property
    def never_read(self) -> tuple[int, ...]:
        """Symbols that no true symbol is mostly read as."""
        return tuple(k for k in range(len(self.domain)) if k not in self.reads)

    def as_text(self) -> dict[str, str | None]:
        """True symbol -> the one it is read as; None where there is no image of it."""
        return {
            symbol: None if read == UNSEEN else self.domain[read]
            for symbol, read in zip(self.domain, self.reads, strict=True)
        }

    def statement(self) -> str:
        """The verdict as sentences."""
        name, follows, accuracy = self.network, f"{self.follows:.1%}", f"{self.accuracy:.1%}"
        if self.kind == "unclear":
            return (
                f"The symbols of {name} say little: images of one symbol are read as different ones, only {follows} as the "
                f"commonest (even chance: {1.0 / len(self.domain):.0%}). {accuracy} are read as the symbol they are."
            )
        if self.kind == "right":
            return f"The symbols of {name} are right: {accuracy} of the images are read as the symbol they are{self._worst()}."
        if self.kind == "blurred":
            return (
                f"The symbols of {name} are right in part: only {accuracy} of the images are read as the symbol they are"
                f"{self._worst()}."
            )
        only = "" if self.follows >= RELIABLE else f" That is so of {follows} of the images."
        if self.kind == "renamed":
            changes = named(changed(self.reads, self.domain))
            return (
                f"The symbols of {name} are renamed, one to one: {changes}.{only} {accuracy} of the images are read as the "
                f"symbol they are; after renaming {follows} would be."
            )
        mostly = "" if self.follows >= RELIABLE else "mostly "
        if len(groups := self._groups()) == 1:
            (read,) = groups
            return (
                f"The symbols of {name} are merged into one: all images are {mostly}read as {self.domain[read]}.{only} "
                f"{accuracy} are {self.domain[read]}."
            )
        merged = [
            f"{named([self.domain[k] for k in group])} are {'all' if len(group) > 2 else 'both'} {mostly}read as "
            f"{self.domain[read]}"
            for read, group in groups.items()
            if len(group) > 1
        ]
        unused = named([self.domain[k] for k in self.never_read])
        return (
            f"Symbols of {name} are merged: {'; '.join(merged)}. Nothing is mostly read as {unused}.{only} "
            f"{accuracy} of the images are read as the symbol they are."
        )

    def _worst(self) -> str:
        """The symbol that is read right least often, where that is worth saying."""
        share, symbol = min((own, k) for k, own in enumerate(self.shares) if not math.isnan(own))
        return f" (of {self.domain[symbol]} {share:.1%})" if share < RELIABLE else ""

    def _groups(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for symbol, read in enumerate(self.reads):
            if read != UNSEEN:
                groups.setdefault(read, []).append(symbol)
        return groups


def learned_map(network: str, domain: Sequence[str], confusion: Sequence[Sequence[int]]) -> LearnedMap:
    """The map that a confusion table shows.

    Args:
        confusion: counts (K, K): rows are true symbols, columns what they are read as.
    """
    table = torch.tensor(confusion)
    counts = table.sum(1)
    reads, shares = empirical_map(table)
    return LearnedMap(
        network,
        tuple(domain),
        counts,
        tuple(reads.tolist()),
        tuple(shares.masked_fill(counts == 0, math.nan).tolist()),
        concept_accuracy(table),
        int(table.amax(1).sum()) / max(1, int(counts.sum())),
    )


def changed(reads: Sequence[int], domain: Sequence[str]) -> list[str]:
    """``3->2`` for each symbol that is not read as itself."""
    return [f"{domain[k]}->{domain[read]}" for k, read in enumerate(reads) if read not in (k, UNSEEN)]


def spelled(maps: Maps, domains: Mapping[str, Sequence[str]]) -> str:
    """A map in short: ``01323 (2->3, 3->2, 4->3)``, or ``red->green`` where symbols are longer; of several networks those
    that misread something."""
    parts = []
    for name, reads in maps.items():
        domain, changes = domains[name], ", ".join(shortened(changed(reads, domains[name])))
        if len(maps) > 1 and not changes:
            continue
        changes = changes or "all as they are"
        if all(len(symbol) == 1 for symbol in domain):
            digits = "".join("?" if read == UNSEEN else domain[read] for read in reads)
            changes = f"{digits} ({changes})"
        parts.append(f"{name} {changes}" if len(maps) > 1 else changes)
    others = ["all else as it is"] if 0 < len(parts) < len(maps) else []
    return "; ".join([*parts, *others]) or "all as they are"


def describe_nearest(near: Nearest, found: OptimalMaps, tuples_answered_wrong: int, follows: float = 1.0) -> str:
    """Which optimal map was learned, in words.

    Args:
        tuples_answered_wrong: those of training whose answer the learned map gets wrong.
        follows: share of the images that are read as the learned map says.
    """
    kind = "one-to-one (bijective) " if all(is_one_to_one(row) for row in near.maps.values()) else ""
    what = "the identity" if near.identity else f"the {kind}reasoning shortcut {spelled(near.maps, found.domains)}"
    tuples = (
        f"{found.tuples} combinations of symbols that training shows" if found.tuples > 1 else "one that training shows"
    )
    which = "" if follows >= RELIABLE else f", which {follows:.1%} of the images follow"
    learned = f"The learned map{which}{',' if which else ''}"
    if not near.differing:
        every = "all " if found.tuples > 1 else "the "
        return f"{learned} is {what}. Under it {every}{tuples} {'are' if found.tuples > 1 else 'is'} answered right."
    symbols = by_network(near.differing, found.domains)
    wrong = f"Under it {tuples_answered_wrong} of the {tuples} {'is' if tuples_answered_wrong == 1 else 'are'} answered wrong."
    if near.distance > NEAR:
        return f"No optimal map is near the learned one{which}: all differ on at least {near.distance:.1%} of the images. {wrong}"
    return f"{learned} is nearest to {what}; they differ on {symbols} ({near.distance:.1%} of the images). {wrong}"


def describe_optimal(found: OptimalMaps, mixing_not_counted: Sequence[Sequence[str]] = ()) -> str:
    """How many maps answers alone cannot tell apart, in words.

    Args:
        mixing_not_counted: groups of networks that look at the same images. What each of them reads may depend on what the others
            should read; maps that do are not among ``found``.
    """
    said = []
    if found.count == ONE:
        alone = "If what each network reads depends on its own attribute alone, no" if mixing_not_counted else "No"
        said.append(f"{alone} shortcut fits: only the identity answers everything that training shows right.")
    else:
        count = count_in_words(found.count)
        left = f", {count_in_words(found.one_to_one)} of them one to one (what pure clusters would leave)"
        said.append(
            f"{count[:1].upper()}{count[1:]} ways of reading the symbols, the right one among them, answer everything that "
            f"training shows right{left}: answers alone cannot tell them apart."
        )
    if mixing_not_counted:
        groups = "; ".join(named(group) for group in mixing_not_counted)
        said.append(
            f"Shortcuts that mix attributes are not counted, and there may be many: {groups} look at the same images, and "
            "what one reads may depend on what another should."
        )
    if found.unseen:
        which = "it" if len(found.unseen) == 1 else "these"
        said.append(
            f"The training queries never show {by_network(found.unseen, found.domains)}, so their answers do not say how "
            f"{which} should be read" + (" (?)." if _has_short_form(found) else ".")
        )
    if not found.count.exact:
        said.append("There may be more: the time for counting was up.")
    return " ".join(said)


def describe_mixing(expected: float, actual: float) -> str:
    """That mistakes of several networks go together, in words.

    Args:
        expected: accuracy of answers if what each network reads depended on its own symbol alone.
        actual: the accuracy of answers.
    """
    return (
        f"Mistakes that have nothing to do with each other would leave {expected:.1%} of the test answers right, but "
        f"{actual:.1%} are: networks that look at the same images make up for each other, which is a shortcut that mixes "
        "attributes."
    )


def describe_few(network: str, counts: Sequence[int]) -> str:
    """A sentence where so few test images are labelled that what is measured on them says little; else empty.

    Args:
        counts: labelled test images of each symbol.
    """
    labelled = sum(counts)
    if labelled >= FEW * len(counts):
        return ""
    images = "one test image is" if labelled == 1 else f"{labelled} test images are"
    return f"Only {images} labelled for {network}: that is little to judge its {len(counts)} symbols by."


def describe_unlabelled(network: str, inputs: int) -> str:
    """That nothing is known of what a network should read, in words.

    Args:
        inputs: how many things it looks at together.
    """
    if inputs > 1:
        return f"{network} looks at {inputs} inputs together, of which no label says what it should read."
    return f"No test image is labelled for {network}: its pictures show what its symbols mean."


def by_network(places: Sequence[tuple[str, int]], domains: Mapping[str, Sequence[str]]) -> str:
    """``0, 1 and 5 of digit_net`` for (network, symbol)."""
    symbols: dict[str, list[str]] = {}
    for name, k in places:
        symbols.setdefault(name, []).append(domains[name][k])
    return named([f"{named(own)} of {name}" for name, own in symbols.items()])


def _has_short_form(found: OptimalMaps) -> bool:
    """Whether :func:`spelled` writes a question mark for what is not seen."""
    return any(all(len(symbol) == 1 for symbol in found.domains[name]) for name, _ in found.unseen)


def named(items: Sequence[str]) -> str:
    """``a, b and c``; of very many the first, and how many more."""
    return listing(shortened(items))


def shortened(items: Sequence[str]) -> list[str]:
    """At most ``NAMED`` items, the last of which stands for those that are left out."""
    more = len(items) - NAMED + 1
    return [*items[: NAMED - 1], f"{more} more"] if more > 1 else list(items)
