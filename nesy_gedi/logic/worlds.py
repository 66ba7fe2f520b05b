"""A tree of worlds: what a program asks next, given all that it was told, and what it answers in the end.

A program that is evaluated in one world asks for the value of one annotated disjunction (AD) after another, and which
it asks next depends only on the values so far. So all worlds that were ever evaluated form a tree, whose inner nodes are
questions and whose leaves are answers. It is shared by all rows of all batches: only where a path leaves the tree does
ProbLog run. What a program never asks in a world is never decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.deciding import Choice, DecidedGrounding
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.logic.given import Reading
from nesy_gedi.logic.program import SUM_TOLERANCE

WORLDS_KEPT = 200_000
"""How many worlds the tree remembers before it starts anew."""


class Question(NamedTuple):
    """The value of an AD that a program asks for.

    Attributes:
        point: tells questions apart. An AD of constants is asked head by head, since its heads are met one by one.
        source: the input of a network, the number of a group of learned heads, or the probability that a head of
            constants holds, given that none that was asked before does.
    """

    point: object
    source: Reading | int | float


class Outcome(NamedTuple):
    """What a program says in one world."""

    answers: frozenset[str]
    evidence: bool


class World:
    """A node of the tree: not yet visited, a question with the worlds behind its values, or an outcome."""

    __slots__ = ("children", "outcome", "question")

    def __init__(self) -> None:
        self.question: Question | None = None
        self.outcome: Outcome | None = None
        self.children: dict[int, World] = {}

    @property
    def visited(self) -> bool:
        return self.question is not None or self.outcome is not None

    def child(self, value: int) -> World:
        """The world where the question has this value; for a head of constants 1 says that it holds, 0 that not."""
        return self.children.setdefault(value, World())


Path = dict[object, int]
"""Point of a question -> its value."""


class WorldTree:
    """The worlds of a query form as far as they were evaluated.

    Attributes:
        root: nothing is decided.
        evaluated: how many times ProbLog has run.
    """

    def __init__(self, grounds: DecidedGrounding) -> None:
        self.grounds = grounds
        self.evaluated = 0
        self._worlds = 0
        self.root = World()

    def trim(self) -> None:
        """Forget all worlds when there are too many. Nodes that somebody still holds stay valid."""
        if self._worlds > WORLDS_KEPT:
            self.root, self._worlds = World(), 0

    def visit(self, path: Path, likely: Callable[[Question], int]) -> None:
        """Evaluate the program in a world that begins with ``path`` and goes on as ``likely`` says.

        Raises:
            ProgramError: ProbLog refuses the program.
            BudgetError: it does not come to an end.
        """
        made: Path = {}
        left: dict[object, float] = {}  # AD of constants -> probability of the heads that were not asked yet
        node = self.root

        def answer(point: object, source: Reading | int | float) -> int:
            nonlocal node
            if node.question is None:
                node.question = Question(point, source)
            value = path[point] if point in path else likely(node.question)
            made[point] = value
            node = node.child(value)
            return value

        def decide(choice: Choice) -> bool:
            if choice.kind != "constant":
                if choice.variable not in made:
                    answer(choice.variable, choice.source)
                return made[choice.variable] == choice.entry
            point = (choice.variable, choice.head)
            if point not in made:
                rest = left.get(choice.variable, 1.0)
                if rest < 0.0:  # another head holds
                    return False
                if choice.source > rest + SUM_TOLERANCE:
                    raise ProgramError("a ground annotated disjunction sums to more than 1", where=str(choice.head))
                share = min(choice.source / rest, 1.0) if rest > 0.0 else 0.0
                left[choice.variable] = -1.0 if answer(point, share) else max(rest - choice.source, 0.0)
            return bool(made[point])

        found = self.grounds.ground(decide)
        self.evaluated += 1
        self._worlds += 1
        node.outcome = Outcome(frozenset(found.answers), found.evidence == TRUE)
