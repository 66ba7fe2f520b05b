"""An assignment in plain words: how sure it is, what stays open, and what to ask for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import Any

from nesy_gedi.concepts.ambiguity import separating_places
from nesy_gedi.concepts.assignment import MAX_NEAR_TIES, NEAR_TIE, Assignment, Maps, NearTie

MAPS_SHOWN = 2
"""So many near-tied maps are written out: the posterior tells more of them apart than sentences do."""

CANDIDATES_SHOWN = 4
"""Of clusters that may be more symbols than this, it is not written out which."""

CLUSTERS_SHOWN = 8
"""So many clusters of a network are named in a sentence, or one more."""

Place = tuple[str, int]
"""A network and one of its clusters."""


@dataclass(frozen=True)
class LeftOpen:
    """What the observations of an assignment do not settle.

    Attributes:
        maps: that fit about equally well, the assignment itself first: its near ties, and all of these with the clusters
            that are hardly ever seen in any other order.
        more: there are more of them than listed.
        guessed: (network, cluster) that are hardly ever seen, and not told by what is left for them either.
        labels: (network, cluster) whose symbols, if told, settle it.
        fewest: whether it is proven that fewer labels do not do.
        candidates: (network, cluster) -> what it may be: indices of symbols, that of the assignment itself first.
    """

    maps: tuple[Maps, ...]
    more: bool
    guessed: tuple[Place, ...]
    labels: tuple[Place, ...]
    fewest: bool
    candidates: Mapping[Place, tuple[int, ...]]

    @property
    def settled(self) -> bool:
        return len(self.maps) == 1 and not self.more


def left_open(found: Assignment) -> LeftOpen:
    """What stays open. A network with as many clusters as symbols is taken to have one of each."""
    listed: dict[tuple[tuple[str, tuple[int, ...]], ...], Maps] = {}
    for maps in _orders(found):
        listed.setdefault(tuple(maps.items()), maps)
        if len(listed) > MAX_NEAR_TIES:
            break
    kept = tuple(islice(listed.values(), MAX_NEAR_TIES))
    more = found.more_near_ties or len(listed) > len(kept)
    places = [(name, cluster) for name, row in found.maps.items() for cluster in range(len(row))]
    if more:
        free = {place for tie in found.near_ties for place in _free(found, tie)}
        labels, fewest = _separators([tie.maps for tie in found.near_ties], [p for p in places if p not in free])
        for name in found.maps:
            own = sorted(place for place in free if place[0] == name)
            labels += own[:-1] if _one_to_one(found, name) else own  # what is left is the symbol of the last one
        fewest = False
    else:
        labels, fewest = _separators(kept, places)
    candidates = {place: _candidates(found, place) for place in places}
    return LeftOpen(kept, more, _free(found, found.near_ties[0]), tuple(sorted(labels)), fewest, candidates)


def _separators(maps: Sequence[Maps], places: Sequence[Place]) -> tuple[list[Place], bool]:
    """Those of ``places`` whose symbols, if told, leave one of ``maps``; and whether fewer do not do."""
    rows = [tuple(each[name][cluster] for name, cluster in places) for each in maps]
    found, fewest = separating_places(list(dict.fromkeys(rows)))
    return [places[k] for k in found], fewest


def _free(found: Assignment, tie: NearTie) -> tuple[Place, ...]:
    """The clusters whose symbols may be in any order in a near tie; of one alone it is known which is left for it."""
    counts = Counter(name for name, _ in tie.uninformed)
    return tuple(place for place in tie.uninformed if counts[place[0]] > 1 or not _one_to_one(found, place[0]))


def _candidates(found: Assignment, place: Place) -> tuple[int, ...]:
    """What a cluster may be in any near tie: indices of symbols, that of the assignment itself first."""
    name, cluster = place
    symbols = [found.maps[name][cluster]]
    for tie in found.near_ties:
        free = [other for network, other in _free(found, tie) if network == name]
        if cluster not in free:
            symbols.append(tie.maps[name][cluster])
        elif _one_to_one(found, name):
            symbols += sorted(tie.maps[name][other] for other in free)
        else:
            symbols += range(len(found.domains[name]))
    return tuple(dict.fromkeys(symbols))


def _one_to_one(found: Assignment, network: str) -> bool:
    return len(found.maps[network]) == len(found.domains[network])


def _orders(found: Assignment) -> Iterator[Maps]:
    """Every near tie with its unseen clusters in every order, the assignment itself first."""
    for tie in found.near_ties:
        unseen: dict[str, list[int]] = {}
        for network, cluster in _free(found, tie):
            unseen.setdefault(network, []).append(cluster)
        choices = []
        for name, own in unseen.items():
            symbols = [tie.maps[name][cluster] for cluster in own]
            domain = range(len(found.domains[name]))
            # What stands for the unseen clusters comes first, whatever order the search has left them in.
            orders = permutations(symbols) if _one_to_one(found, name) else product(domain, repeat=len(own))
            choices.append(_first(tuple(symbols), orders))
        for chosen in product(*choices):
            maps = {name: list(row) for name, row in tie.maps.items()}
            for (name, own), symbols_of in zip(unseen.items(), chosen, strict=True):
                for cluster, symbol in zip(own, symbols_of, strict=True):
                    maps[name][cluster] = symbol
            yield {name: tuple(row) for name, row in maps.items()}


def _first(item: tuple[int, ...], others: Iterator[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """``item`` and then the others, as many as are ever listed."""
    return [item, *islice((other for other in others if other != item), MAX_NEAR_TIES)]


def statements(
    found: Assignment,
    left: LeftOpen,
    *,
    answers: int,
    asked: int,
    labels: int,
    contradiction: float,
    disagreeing: Sequence[tuple[str, str]],
    unlikely: bool,
    query: dict[str, Any] | None,
) -> list[str]:
    """What a person should know about an assignment, one sentence each.

    Args:
        found: the assignment.
        left: from :func:`left_open`.
        answers, labels: how many were observed.
        asked: how many of the answers were asked for.
        contradiction: nats by which the answers alone are likelier under the best assignment without labels.
        disagreeing: of each label that the assignment does not follow, the symbol told and the one that the image's cluster
            stands for.
        unlikely: the answers are unlikely under every map.
        query: from :func:`~nesy_gedi.concepts.telling_queries.next_query`.
    """
    told = _counted(answers, "answer") + (f" and {_counted(labels, 'label')}" if labels else "")
    several = answers + labels > 1
    said = []
    if asked:
        were = "were" if asked > 1 else "was"
        said.append(
            f"{asked} of {_counted(answers, 'answer')} {were} asked for, of queries that tell assignments apart."
        )
    if not found.exact:
        said.append(
            f"The search ran out of time: the assignment is the best that was found, but not proven to be; "
            f"another may be likelier by up to {found.bound - found.log_likelihood:.1f} nats."
        )
    if not left.settled:
        count = f"more than {len(left.maps)}" if left.more else str(len(left.maps))
        do = "do" if several else "does"
        said.append(f"{told} {do} not settle what every cluster is: {count} assignments fit about equally well.")
        said += alternatives(found, left)
    elif found.exact and math.isfinite(found.gap):
        settle = "settle" if several else "settles"
        said.append(f"{told} {settle} the assignment: the next best is {_times(found.gap)} less likely.")
    if left.guessed:
        said.append(f"Hardly ever seen in the answers: {_clusters(left.guessed)}; what they are is a guess.")
    if not left.settled:
        said.append(_labels(found, left))
        if query is not None:
            said.append(query["sentence"])
    if unlikely:
        said.append(
            "The answers are unlikely under every assignment: clusters mix symbols. Try another seed, more attempts "
            "(pretraining.attempts), or a recipe that suits these images."
        )
    if contradiction > NEAR_TIE:
        said.append(
            "The labels contradict the answers: without them another assignment makes the answers "
            f"{_times(contradiction)} likelier. Check the labels and the program."
        )
    if disagreeing:
        pairs = listing([f"{symbol} (told to be {told})" for told, symbol in dict.fromkeys(disagreeing)])
        disagree = "disagree" if len(disagreeing) > 1 else "disagrees"
        said.append(
            f"{len(disagreeing)} of {_counted(labels, 'label')} {disagree} with the assignment, whose clusters say: {pairs}. "
            "Check the labels and the program."
        )
    return said


def alternatives(found: Assignment, left: LeftOpen) -> list[str]:
    """How near ties differ from the assignment, a sentence each; of many the first. Other orders of clusters that are
    hardly ever seen are left out."""
    which = "The other one" if len(left.maps) == 2 and not left.more else "One of them"
    return [f"{which}: {_difference(found, tie.maps)}." for tie in found.near_ties[1 : 1 + MAPS_SHOWN]]


def _difference(found: Assignment, maps: Maps) -> str:
    """How another map differs from the best."""
    parts = []
    for network, other in maps.items():
        domain = found.domains[network]
        changed = [
            f"cluster {k} is {domain[symbol]} instead of {domain[own]}"
            for k, (own, symbol) in enumerate(zip(found.maps[network], other, strict=True))
            if own != symbol
        ]
        if changed:
            parts.append((f"{network}, " if len(maps) > 1 else "") + ", ".join(changed))
    return "; ".join(parts)


def _labels(found: Assignment, left: LeftOpen) -> str:
    if left.more:
        return f"Labels of images of {_clusters(left.labels)} would leave fewer."
    candidates = [[found.domains[name][k] for k in left.candidates[name, cluster]] for name, cluster in left.labels]
    if len(left.labels) == 1:
        (symbols,) = candidates
        asked = f": is it {listing(symbols, 'or')}?" if 1 < len(symbols) <= CANDIDATES_SHOWN else "."
        return f"One label settles it: that of an image of {_clusters(left.labels)}{asked}"
    fewest = "" if left.fewest else " (perhaps fewer)"
    return f"{len(left.labels)} labels settle it{fewest}: of an image of each of {_clusters(left.labels)}."


def _clusters(places: Sequence[tuple[str, int]]) -> str:
    """Clusters by network, in words."""
    of_network: dict[str, list[str]] = {}
    for network, cluster in places:
        of_network.setdefault(network, []).append(str(cluster))
    named = []
    for network, own in of_network.items():
        more = len(own) - CLUSTERS_SHOWN
        shown = [*own[:CLUSTERS_SHOWN], f"{more} more"] if more > 1 else own
        named.append(f"cluster{'s' if len(own) > 1 else ''} {listing(shown)} of {network}")
    return listing(named)


def _times(nats: float) -> str:
    return f"{math.exp(nats):.3g} times" if nats < math.log(1e6) else f"10^{nats / math.log(10.0):.0f} times"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")


def listing(items: Sequence[str], last: str = "and") -> str:
    """``a, b and c``; empty for nothing."""
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)
