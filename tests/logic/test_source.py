"""Ranges are spelled out for the parser, and places still point into what the user wrote."""

from __future__ import annotations

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.source import RANGE_LIMIT, Source


def caret_column(excerpt: str) -> int:
    """The 1-based column that the caret points at; excerpts are indented by four."""
    return excerpt.splitlines()[1].index("^") - 3


class TestRanges:
    @pytest.mark.parametrize(
        ("text", "expanded"),
        [
            ("[0..3]", "[0,1,2,3]"),
            ("[ 2 .. 4 ]", "[2,3,4]"),
            ("[-1..1]", "[-1,0,1]"),
            ("[-3..-2]", "[-3,-2]"),
            ("[7..7]", "[7]"),
            ("p([0..1], [1..2]).", "p([0,1], [1,2])."),
            ("[1\n..\n2]", "[1,2]"),
            ("[[0..1], a]", "[[0,1], a]"),
        ],
    )
    def test_spelled_out(self, text: str, expanded: str) -> None:
        assert Source("p.pl", text).expanded == expanded

    @pytest.mark.parametrize(
        "text",
        [
            "% digits [0..9]\na.",
            "a. % [0..9]",
            "/* [0..9]\n [1..2] */ a.",
            "a('[0..9]').",
            'a("[0..9]").',
            "a('it''s [0..9]').",
            r"a('\' [0..9]').",
            "a([0...9]).",
            "a([X..9]).",
            "a([0.5..9]).",
            "a(0..9).",
        ],
    )
    def test_left_alone(self, text: str) -> None:
        assert Source("p.pl", text).expanded == text

    def test_after_a_comment_and_a_quote_they_count_again(self) -> None:
        text = "% it's [0..1]\nb('%', [0..1])."
        assert Source("p.pl", text).expanded == "% it's [0..1]\nb('%', [0,1])."

    @pytest.mark.parametrize("text", ["a.\n b([3..1]).", f"a.\n b([0..{RANGE_LIMIT}])."])
    def test_empty_and_huge_ones_are_refused(self, text: str) -> None:
        with pytest.raises(ProgramError, match="is empty or longer than") as raised:
            Source("p.pl", text)
        assert raised.value.where == "p.pl:2:4"
        assert caret_column(raised.value.excerpt) == 4

    def test_the_longest_one(self) -> None:
        assert Source("p.pl", f"[1..{RANGE_LIMIT}]").expanded.count(",") == RANGE_LIMIT - 1


class TestPlaces:
    TEXT = "a.\nb([0..9], c, [10..12]).\n\td."

    @pytest.mark.parametrize(
        ("found", "where"),
        [
            ("a.", "1:1"),
            ("b(", "2:1"),
            ("[0,", "2:3"),
            (", c", "2:9"),
            ("c,", "2:11"),
            ("[10", "2:14"),
            (").", "2:22"),
            ("d.", "3:2"),
        ],
    )
    def test_of_the_expanded_text(self, found: str, where: str) -> None:
        source = Source("p.pl", self.TEXT)
        place = source.place(source.expanded.index(found))
        assert place["where"] == f"p.pl:{where}"
        line, column = map(int, where.split(":"))
        assert place["excerpt"].splitlines()[0] == "    " + self.TEXT.splitlines()[line - 1]
        assert caret_column(place["excerpt"]) == column

    def test_inside_a_range_stay_inside_it(self) -> None:
        source = Source("p.pl", self.TEXT)
        for offset in range(source.expanded.index("[0,"), source.expanded.index(", c")):
            assert 3 <= int(source.place(offset)["where"].split(":")[2]) <= 9

    def test_by_line_and_column(self) -> None:
        source = Source("p.pl", self.TEXT)
        line = source.expanded.splitlines()[1]
        assert source.place_at(2, line.index("c,") + 1)["where"] == "p.pl:2:11"
        assert source.place_at(3, 2)["where"] == "p.pl:3:2"

    def test_of_the_text_itself(self) -> None:
        source = Source("p.pl", self.TEXT)
        assert source.place(self.TEXT.index("[10"), expanded=False)["where"] == "p.pl:2:14"

    def test_a_tab_keeps_the_caret_below_its_letter(self) -> None:
        source = Source("p.pl", self.TEXT)
        first, second = source.place(source.expanded.index("d."))["excerpt"].splitlines()
        assert first == "    \td."
        assert second == "    \t^"

    @pytest.mark.parametrize("offset", [-5, 10_000])
    def test_beyond_the_text_are_clamped(self, offset: int) -> None:
        assert Source("p.pl", "a.\nb.").place(offset)["where"] in ("p.pl:1:1", "p.pl:2:3")

    @examples(200)
    @given(st.lists(st.sampled_from(["a", "\n", " ", "[0..3]", "[ 5 .. 6 ]", "'[0..1]'", "% x\n", "é"])))
    def test_a_letter_is_found_where_it_was_written(self, pieces: list[str]) -> None:
        text = "".join(pieces)
        source = Source("p.pl", text)
        written = [k for k, letter in enumerate(text) if letter in "aé"]
        read = [k for k, letter in enumerate(source.expanded) if letter in "aé"]
        for there, here in zip(read, written, strict=True):
            column = here - text.rfind("\n", 0, here)
            assert source.place(there)["where"] == f"p.pl:{text.count(chr(10), 0, here) + 1}:{column}"
