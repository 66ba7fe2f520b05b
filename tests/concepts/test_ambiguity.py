"""Which symbols would settle it: against every set of places."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nesy_gedi.concepts.ambiguity as ambiguity
from nesy_gedi.concepts.ambiguity import separating_places, symbol_posterior


def separates(places: tuple[int, ...], maps: list[tuple[int, ...]]) -> bool:
    return len({tuple(row[place] for place in places) for row in maps}) == len(maps)


PERMUTATIONS = st.lists(st.permutations(range(5)).map(tuple), min_size=1, max_size=20, unique=True)


class TestSeparatingPlaces:
    @settings(max_examples=100, deadline=None)
    @given(maps=PERMUTATIONS)
    def test_are_as_few_as_possible(self, maps: list[tuple[int, ...]]) -> None:
        places, fewest = separating_places(maps)
        assert fewest
        assert separates(places, maps)
        assert (
            not any(separates(fewer, maps) for fewer in combinations(range(5), max(0, len(places) - 1))) or not places
        )

    def test_one_map_needs_none(self) -> None:
        assert separating_places([(0, 1, 2)]) == ((), True)

    def test_a_swap_needs_one(self) -> None:
        assert separating_places([(0, 1, 2), (0, 2, 1)]) == ((1,), True)

    @settings(max_examples=30, deadline=None)
    @given(maps=PERMUTATIONS)
    def test_greedy_ones_separate_too_and_say_so(self, maps: list[tuple[int, ...]]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ambiguity, "SETS_TRIED", 1)
            places, fewest = separating_places(maps)
        assert separates(places, maps)
        assert fewest == (len(maps) == 1)


class TestPosterior:
    def test_maps_count_by_their_likelihood(self) -> None:
        found = symbol_posterior([(0, 1), (1, 0)], [-1.0, -1.0 - 1.0986122886681098], 2)
        torch.testing.assert_close(found, torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64))

    def test_clusters_in_any_order_share(self) -> None:
        found = symbol_posterior([(2, 0, 1)], [-3.0], 3, spread=[[1, 2]])
        torch.testing.assert_close(
            found, torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
        )
