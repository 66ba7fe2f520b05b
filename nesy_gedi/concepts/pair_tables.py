"""What pairs of clusters can contribute to the likelihood at most: the quadratic relaxation that guides the search.

Each observation is filed under the most probable clusters (v, w) of two of its images. Whatever the rest of the map,
its log-probability is at most u[s, t] once v means s and w means t. Summed over observations this is a quadratic
assignment problem; bounding it as Gilmore and Lawler (1962) did takes the mutual contradictions of noisy
observations into account, which bounding each observation alone cannot.
"""

from __future__ import annotations

import time
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nesy_gedi.concepts.observations import UNKNOWN, Observations

NEVER = -1e9
"""Stands for minus infinity where two symbols exclude each other; finite, so that it can be halved and summed."""

TABLE_ENTRIES = 8_000_000
"""At most so many entries are computed; observations beyond get no entry, which leaves a weaker bound."""

SAMPLE = 12
"""Observations by which is decided which two of more than two images say most."""

SHORTLISTED = 12
"""Of more pairs of images, so many by a glance at each. Long sums have hundreds, of which those at the same place tell."""

GLANCE_OBSERVATIONS, GLANCE_ENTRIES = 4, 6
"""How many observations a glance looks at, and at how many entries of each."""

AS_TELLING = 0.5
"""Pairs of images that say so much of what the most telling pair does are as good."""

PAIRS_AT_ONCE = 64
"""Looked at together."""

ELEMENTS_AT_ONCE = 4_000_000
"""Bounds the memory of one step."""


class PairTables:
    """Upper bounds by pairs of clusters.

    Args:
        observations: what was observed.
        base: the known part of the map, shape (size,).
        deadline: ``time.perf_counter()`` at which to stop; what is not computed is bounded by zero.

    Attributes:
        first, second: for each observation the clusters that it is filed under, shape (count,); may be the same one.
        own: u, shape (count, K, K).
        single: sums over observations with one cluster only, shape (size, K).
        pair: sums over observations of two clusters, shape (size, size, K, K), symmetric.
        domain: which symbols each cluster can have, shape (size, K).
    """

    def __init__(self, observations: Observations, base: Tensor, deadline: float) -> None:
        self.observations = observations
        self.base = base
        size, width = observations.size, int(observations.symbols_of.max())
        self.width = width
        self.domain = torch.arange(width) < observations.symbols_of[:, None]
        same = observations.network_of[:, None] == observations.network_of
        one_to_one = torch.tensor([unknown.one_to_one for unknown in observations.unknowns])
        self._exclusive = same & ~torch.eye(size, dtype=torch.bool) & one_to_one[observations.network_of]
        self.first, self.second = self._file(deadline)
        self.own = torch.zeros(observations.count, width, width, dtype=torch.float64)
        computed = torch.randperm(observations.count, generator=torch.Generator().manual_seed(0))
        for part in computed[: TABLE_ENTRIES // width**2].split(max(1, 500_000 // width**2)):
            if time.perf_counter() > deadline:
                break
            self.own[part] = self._entries(part, self.first[part], self.second[part])
        alone = self.first == self.second
        self.single = torch.zeros(size, width, dtype=torch.float64)
        self.single.index_add_(0, self.first[alone], self.own[alone].diagonal(dim1=1, dim2=2))
        flat = torch.zeros(size * size, width, width, dtype=torch.float64)
        flat.index_add_(0, (self.first * size + self.second)[~alone], self.own[~alone])
        pair = flat.view(size, size, width, width)
        self.pair = pair + pair.permute(1, 0, 3, 2)
        diagonal = self._exclusive[:, :, None, None] & torch.eye(width, dtype=torch.bool)
        self.pair.masked_fill_(diagonal, NEVER)

    def _file(self, deadline: float) -> tuple[Tensor, Tensor]:
        """The clusters that each observation is filed under."""
        observations = self.observations
        top = [unknown.offset + rows.argmax(1) for unknown, rows in observations.mapped_rows()]
        tops, labelled = top[: len(top) - len(observations.labels)], top[len(top) - len(observations.labels) :]
        count = len(observations.answers)
        if not tops:
            tops = [torch.zeros(count, dtype=torch.long)]  # the answers do not depend on the map
        pairs = [(0, len(tops) - 1)]
        if len(tops) > 2 and count:
            sample = torch.linspace(0, count - 1, min(SAMPLE, count)).long()
            pairs = list(combinations(range(len(tops)), 2))
            if len(pairs) > SHORTLISTED:
                pairs = list(self._telling(pairs, tops, sample[:GLANCE_OBSERVATIONS], deadline, GLANCE_ENTRIES))
            means = self._telling(pairs[:SHORTLISTED], tops, sample, deadline)
            pairs = [pair for pair, mean in means.items() if mean <= AS_TELLING * min(means.values())]
        first, second = self._concentrated(torch.stack(tops), pairs)
        return torch.cat([first, *labelled]), torch.cat([second, *labelled])

    def _concentrated(self, tops: Tensor, pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """For each observation the clusters of one of ``pairs`` of its images, chosen so that the observations are of few
        different ones: the sooner these clusters have symbols, the sooner all of them count.

        Args:
            tops: the most probable cluster of each image, (images, count).
        """
        size = self.observations.size
        one, other = tops[[j for j, _ in pairs]], tops[[k for _, k in pairs]]
        kinds = torch.minimum(one, other) * size + torch.maximum(one, other)
        chosen = kinds[0].clone()
        left = torch.arange(tops.shape[1])
        while len(left):
            # How many of those left can be filed under each pair of clusters.
            can = torch.zeros(size * size, len(left), dtype=torch.bool)
            can[kinds[:, left], torch.arange(len(left)).expand(len(pairs), -1)] = True
            most = int(can.sum(1).argmax())
            chosen[left[can[most]]] = most
            left = left[~can[most]]
        return chosen // size, chosen % size

    def _telling(
        self, pairs: list[tuple[int, int]], tops: list[Tensor], sample: Tensor, deadline: float, few: int = 0
    ) -> dict[tuple[int, int], float]:
        """What ``pairs`` of images say together in ``sample`` (m,), the mean of their entries, the most telling first;
        without those for which there is no time.

        Args:
            tops: of each image the most probable cluster in each observation, (count,).
            few: entries of each observation, drawn at random; 0 for all.
        """
        top = torch.stack(tops)[:, sample]
        # In a random order, so that those for which there is time are of all kinds.
        mixed = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
        means: dict[tuple[int, int], float] = {}
        for part in torch.tensor(pairs)[mixed].split(PAIRS_AT_ONCE):
            entries = self._entries(sample.repeat(len(part)), top[part[:, 0]].flatten(), top[part[:, 1]].flatten(), few)
            entries = entries.view(len(part), -1)
            known = entries > NEVER
            found = entries.masked_fill(~known, 0.0).sum(1) / known.sum(1).clamp_min(1)
            means.update(((j, k), mean) for (j, k), mean in zip(part.tolist(), found.tolist(), strict=True))
            if time.perf_counter() > deadline:
                break
        return dict(sorted(means.items(), key=lambda item: (item[1], item[0])))

    def _entries(self, observed: Tensor, first: Tensor, second: Tensor, few: int = 0) -> Tensor:
        """u of ``observed`` (m,) filed under ``first`` and ``second``: shape (m, K, K). With ``few``, so many of each at
        most, drawn at random; the others are left at ``NEVER``."""
        size, width = self.observations.size, self.width
        pairs, which = (first * size + second).unique(return_inverse=True)
        v, w = pairs // size, pairs % size
        s, t = torch.arange(width)[:, None], torch.arange(width)
        possible = self.domain[v][:, :, None] & self.domain[w][:, None, :]
        possible &= ((v != w)[:, None, None]) | (s == t)
        possible &= ~(self._exclusive[v, w][:, None, None] & (s == t))
        maps = self.base.repeat(len(pairs), width, width, 1)
        here = torch.arange(len(pairs))
        maps[here, :, :, v] = s.expand(width, width)
        maps[here, :, :, w] = t.expand(width, width)
        for side, symbol in ((v, s), (w, t)):
            known = self.base[side][:, None, None]
            possible &= (known == UNKNOWN) | (known == symbol)
            for place in torch.nonzero(self.base != UNKNOWN)[:, 0].tolist():
                possible &= ~(self._exclusive[side, place][:, None, None] & (symbol == self.base[place]))
        result = torch.full((len(observed), width, width), NEVER, dtype=torch.float64)
        wanted = possible[which]
        if few and few < width**2:
            drawn = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(0)).masked_fill(~wanted, -1.0)
            wanted &= drawn > drawn.flatten(1).kthvalue(width**2 - few).values[:, None, None]
        row, s, t = torch.nonzero(wanted, as_tuple=True)
        entry = (which[row] * width + s) * width + t
        result[row, s, t] = self.observations.bound(maps.flatten(0, 2), entry, observed[row])
        return result

    def score(self, maps: Tensor) -> Tensor:
        """The quadratic objective of whole ``maps`` (b, size), at least their log-likelihood: shape (b,)."""
        places = torch.arange(self.observations.size)
        return self._assigned(maps, places)

    def _assigned(self, maps: Tensor, places: Tensor) -> Tensor:
        """What the clusters ``places`` contribute among themselves, shape (b,)."""
        symbols = maps[:, places]
        pairs = self.pair[places[:, None], places, symbols[:, :, None], symbols[:, None, :]]
        # A cluster is no pair with itself: that diagonal of the table is zero.
        return self.single[places, symbols].sum(1) + pairs.sum((1, 2)) / 2

    def values(self, maps: Tensor, observed: Tensor) -> Tensor:
        """u of ``observed`` (m,), whose clusters have symbols in all ``maps`` (b, size): shape (b, m)."""
        return self.own[observed, maps[:, self.first[observed]], maps[:, self.second[observed]]]

    def bound(self, maps: Tensor, known: Tensor, free: Tensor, needed: float) -> Tensor:
        """Upper bounds of the log-likelihood of all completions of ``maps``.

        Args:
            maps: shape (b, size); the clusters ``known`` have symbols, the clusters ``free`` have none.
            needed: bounds below this need not be tight.

        Returns:
            Shape (b,).
        """
        fixed = self._assigned(maps, known)
        if not len(free):
            return fixed
        allowed = self.allowed(maps)[:, free]
        gain = self.single[free] + self.pair[known[:, None], free, maps[:, known][:, :, None]].sum(1)
        patterns, which = allowed.unique(dim=0, return_inverse=True)
        gain = (gain + self._among(patterns, free)[which]).masked_fill(~allowed, NEVER)
        bound = fixed + gain.amax(2).sum(1)
        if any(unknown.one_to_one for unknown in self.observations.unknowns):
            for row in torch.nonzero(bound >= needed)[:, 0].tolist():
                bound[row] = fixed[row] + self._matched(gain[row], free)
        return bound

    def allowed(self, maps: Tensor) -> Tensor:
        """Which symbols each cluster can still have, shape (b, size, K)."""
        allowed = self.domain.repeat(len(maps), 1, 1)
        for unknown in self.observations.unknowns:
            if unknown.one_to_one:
                own = maps[:, unknown.columns]
                used = torch.zeros(len(maps), self.width + 1, dtype=torch.bool)
                used.scatter_(1, own.where(own != UNKNOWN, self.width), True)
                allowed[:, unknown.columns] &= ~used[:, None, : self.width]
        return allowed

    def _among(self, patterns: Tensor, free: Tensor) -> Tensor:
        """Half of what each free cluster with each symbol can gain with the other free ones: (p, free, K)."""
        pair = self.pair[free[:, None], free]
        at_once = max(1, ELEMENTS_AT_ONCE // pair.numel())
        parts = []
        for part in patterns.split(at_once):
            gains = pair.masked_fill(~part[:, None, :, None, :], NEVER).amax(4)
            gains.diagonal(dim1=1, dim2=2).zero_()
            parts.append(gains.sum(2) / 2)
        return torch.cat(parts)

    def _matched(self, gain: Tensor, free: Tensor) -> float:
        """The best sum of gains when clusters have different symbols in networks where they must."""
        total = 0.0
        network = self.observations.network_of[free]
        for number, unknown in enumerate(self.observations.unknowns):
            own = gain[network == number][:, : len(unknown.domain)].numpy()
            if not unknown.one_to_one:
                total += float(own.max(1).sum())
                continue
            rows, columns = linear_sum_assignment(own, maximize=True)
            total += float(own[rows, columns].sum())
        return total
