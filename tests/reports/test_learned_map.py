"""The empirical map of a confusion table, and what is said of it."""

from __future__ import annotations

import math

import pytest

from nesy_gedi.concepts.map_counting import Count, number_in_words
from nesy_gedi.concepts.misreadings import UNSEEN
from nesy_gedi.concepts.shortcuts import Nearest, OptimalMaps
from nesy_gedi.reports.learned_map import (
    describe_mixing,
    describe_nearest,
    describe_optimal,
    learned_map,
    named,
    spelled,
)

DOMAINS = {"net": ("0", "1", "2")}
IDENTITY = {"net": (0, 1, 2)}
MERGING = {"net": (0, 2, 2)}


def test_each_symbol_is_read_as_most_of_its_images_are() -> None:
    found = learned_map("net", "abc", [[8, 1, 1], [0, 3, 7], [0, 0, 0]])
    assert found.reads == (0, 2, UNSEEN)
    assert found.shares[:2] == (0.8, 0.7)
    assert math.isnan(found.shares[2])
    assert found.counts.tolist() == [10, 10, 0]
    assert (found.accuracy, found.follows) == (11 / 20, 15 / 20)
    assert found.as_text() == {"a": "a", "b": "c", "c": None}
    assert found.never_read == (1,)


@pytest.mark.parametrize(
    ("confusion", "kind", "said"),
    [
        (
            [[9, 1, 0], [0, 10, 0], [1, 0, 9]],
            "right",
            ["are right: 93.3% of the images are read as the symbol they are."],
        ),
        ([[7, 3, 0], [0, 30, 0], [0, 0, 30]], "right", ["are right: 95.7%", "(of 0 70.0%)."]),
        ([[8, 2, 0], [2, 8, 0], [0, 3, 7]], "blurred", ["right in part: only 76.7%", "(of 2 70.0%)."]),
        ([[1, 9, 0], [0, 1, 9], [9, 0, 1]], "renamed", ["0->1, 1->2 and 2->0. 10.0%", "after renaming 90.0% would be"]),
        (
            [[3, 7, 0], [0, 3, 7], [7, 0, 3]],
            "renamed",
            ["0->1, 1->2 and 2->0. That is so of 70.0% of the images. 30.0%"],
        ),
        ([[9, 1, 0], [9, 0, 1], [0, 0, 10]], "merged", ["0 and 1 are both read as 0", "mostly read as 1. 63.3%"]),
        ([[9, 1, 0], [7, 2, 1], [0, 1, 9]], "merged", ["are both mostly read as 0", "That is so of 83.3%", "66.7% of"]),
        ([[9, 1, 0], [9, 1, 0], [9, 1, 0]], "merged", ["merged into one: all images are read as 0. 33.3% are 0."]),
        (
            [[5, 5, 0], [4, 6, 0], [0, 4, 6]],
            "unclear",
            ["say little", "only 56.7% as the commonest (even chance: 33%)"],
        ),
        ([[0, 0, 0], [0, 0, 9], [0, 9, 0]], "renamed", ["1->2 and 2->1"]),
    ],
)
def test_the_verdict(confusion: list[list[int]], kind: str, said: list[str]) -> None:
    found = learned_map("net", "012", confusion)
    assert found.kind == kind
    for words in said:
        assert words in found.statement()
    assert (" are right:" in found.statement()) == (kind == "right")


def test_of_two_symbols_half_is_chance() -> None:
    """A coin reads most images of both symbols somehow: that is no map."""
    assert learned_map("net", "ab", [[55, 45], [40, 60]]).kind == "unclear"
    assert learned_map("net", "ab", [[75, 25], [20, 80]]).kind == "blurred"
    assert learned_map("net", "ab", [[25, 75], [80, 20]]).kind == "renamed"
    ten = [[55 if k == j else 5 for j in range(10)] for k in range(10)]
    assert learned_map("net", "0123456789", ten).kind == "blurred"


def test_maps_are_spelled_as_short_as_can_be() -> None:
    assert spelled({"net": (0, 2, UNSEEN)}, DOMAINS) == "02? (1->2)"
    assert spelled(IDENTITY, DOMAINS) == "012 (all as they are)"
    domains = {"light": ("red", "green"), "net": ("0", "1")}
    assert spelled({"light": (1, 0), "net": (0, 0)}, domains) == "light red->green, green->red; net 00 (1->0)"
    assert spelled({"light": (1, 0), "net": (0, 1)}, domains) == "light red->green, green->red; all else as it is"
    assert spelled({"light": (0, 1), "net": (0, 1)}, domains) == "all as they are"


def optimal(*maps: dict[str, tuple[int, ...]], exact: bool = True) -> OptimalMaps:
    free = 3 ** sum(read == UNSEEN for read in maps[0]["net"])
    orders = 2 if free > 1 else 1
    most = len(maps) * free if exact else 3**3
    return OptimalMaps(maps, exact, Count(len(maps) * free, most), Count(orders, orders), 4, DOMAINS)


def test_the_nearest_shortcut_is_named() -> None:
    found = optimal(IDENTITY, MERGING)
    exact = describe_nearest(Nearest(MERGING, 0.0, (), False), found, 0)
    assert exact == (
        "The learned map is the reasoning shortcut 022 (1->2). Under it all 4 combinations of symbols that training shows are "
        "answered right."
    )
    swapped = describe_nearest(Nearest({"net": (1, 0, 2)}, 0.0, (), False), found, 0)
    assert "is the one-to-one (bijective) reasoning shortcut 102 (0->1, 1->0)" in swapped
    assert "map is the identity" in describe_nearest(Nearest(IDENTITY, 0.0, (), True), found, 0)
    blurred = describe_nearest(Nearest(IDENTITY, 0.0, (), True), found, 0, follows=0.72)
    assert blurred.startswith("The learned map, which 72.0% of the images follow, is the identity.")
    close = describe_nearest(Nearest(IDENTITY, 0.25, (("net", 1), ("net", 2)), True), found, 2)
    assert "nearest to the identity; they differ on 1 and 2 of net (25.0% of the images)" in close
    assert "Under it 2 of the 4 combinations of symbols that training shows are answered wrong." in close
    far = describe_nearest(Nearest(IDENTITY, 0.75, (("net", 1), ("net", 2)), True), found, 4)
    assert "No optimal map is near the learned one: all differ on at least 75.0% of the images." in far
    far = describe_nearest(Nearest(IDENTITY, 0.75, (("net", 1), ("net", 2)), True), found, 4, follows=0.5)
    assert "near the learned one, which 50.0% of the images follow: all differ" in far


def test_what_else_would_fit_is_counted() -> None:
    assert describe_optimal(optimal(IDENTITY)).startswith("No shortcut fits: only the identity")
    two = describe_optimal(optimal(IDENTITY, MERGING))
    assert two.startswith("2 ways of reading the symbols, the right one among them")
    assert "1 of them one to one" in two
    cut = describe_optimal(optimal(IDENTITY, MERGING, exact=False))
    assert cut.startswith("At least 2 ways")
    assert "There may be more" in cut
    unseen = describe_optimal(optimal({"net": (0, UNSEEN, UNSEEN)}))
    assert unseen.startswith("9 ways")
    assert "2 of them one to one" in unseen  # 012 and 021
    assert "never show 1 and 2 of net, so their answers do not say how these should be read (?)." in unseen


def test_shortcuts_that_mix_attributes_are_said_not_to_be_counted() -> None:
    said = describe_optimal(optimal(IDENTITY), [("light_net", "person_net")])
    assert "No shortcut fits" not in said
    assert said.startswith("If what each network reads depends on its own attribute alone, no shortcut fits")
    assert (
        "that mix attributes are not counted, and there may be many: light_net and person_net look at the same" in said
    )
    assert "mix" not in describe_optimal(optimal(IDENTITY))
    assert "leave 67.4% of the test answers right, but 100.0% are" in describe_mixing(0.6741, 1.0)


def test_numbers_and_lists_in_words() -> None:
    assert [number_in_words(count) for count in (36, 12345, 10**78)] == ["36", "12,345", "10^78.0"]
    assert [named(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_of_a_hundred_symbols_not_all_are_named() -> None:
    domain = [str(k) for k in range(100)]
    turned = [[10 if j == (k + 1) % 100 else 0 for j in range(100)] for k in range(100)]
    said = learned_map("net", domain, turned).statement()
    assert "18->19 and 81 more. 0.0% of the images" in said
    maps = {"net": tuple((k + 1) % 100 for k in range(100))}
    assert spelled(maps, {"net": domain}).endswith("18->19, 81 more")
    assert named([str(k) for k in range(20)]).endswith("18 and 19")
    assert named([str(k) for k in range(21)]).endswith("18 and 2 more")
