"""Program text: the domain shorthand ``[0..9]``, and positions that still point into what the user wrote."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from nesy_gedi.errors import ProgramError, caret

# Comments and quoted text are matched first, so that a range inside them is left alone.
_TOKEN = re.compile(
    r"""%[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[\s*(?P<low>-?\d+)\s*\.\.\s*(?P<high>-?\d+)\s*\]""",
    re.DOTALL,
)

RANGE_LIMIT = 100_000
"""The longest domain that the shorthand may stand for."""


@dataclass(frozen=True)
class Source:
    """Text as the user wrote it, and the same text with ranges spelled out for the parser.

    Attributes:
        name: a file name, or ``<string>``.
        text: what the user wrote.
        expanded: what ProbLog's parser reads.
    """

    name: str
    text: str
    expanded: str = field(init=False)
    _shifts: list[tuple[int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pieces: list[str] = []
        shifts = [(0, 0)]  # (offset in expanded, offset in text), one pair a replacement
        last = length = 0
        for match in _TOKEN.finditer(self.text):
            if match["low"] is None:
                continue
            low, high = int(match["low"]), int(match["high"])
            if not low <= high < low + RANGE_LIMIT:
                raise ProgramError(
                    f"the range {match[0]} is empty or longer than {RANGE_LIMIT} values",
                    **self.place(match.start(), expanded=False),
                    hint="write the smaller number first",
                )
            spelled = "[" + ",".join(str(value) for value in range(low, high + 1)) + "]"
            before = self.text[last : match.start()]
            pieces += [before, spelled]
            length += len(before) + len(spelled)
            last = match.end()
            shifts.append((length, last))
        pieces.append(self.text[last:])
        object.__setattr__(self, "expanded", "".join(pieces))
        object.__setattr__(self, "_shifts", shifts)

    def place(self, offset: int, *, expanded: bool = True) -> dict[str, str]:
        """The ``where`` and ``excerpt`` arguments of an error at a character offset."""
        if expanded:
            k = bisect_right(self._shifts, (offset, len(self.text))) - 1
            stop = self._shifts[k + 1][1] if k + 1 < len(self._shifts) else len(self.text)
            offset = min(self._shifts[k][1] + offset - self._shifts[k][0], stop)
        offset = max(0, min(offset, len(self.text)))
        start = self.text.rfind("\n", 0, offset) + 1
        stop = self.text.find("\n", offset)
        line = self.text[start : stop if stop >= 0 else len(self.text)]
        number = self.text.count("\n", 0, offset) + 1
        column = offset - start + 1
        return {"where": f"{self.name}:{number}:{column}", "excerpt": caret(line, column)}

    def place_at(self, line: int, column: int) -> dict[str, str]:
        """As :meth:`place`, from a 1-based line and column of the expanded text."""
        start = 0
        for _ in range(line - 1):
            start = self.expanded.find("\n", start) + 1
        return self.place(start + column - 1)
