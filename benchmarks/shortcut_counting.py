"""Counts and repairs of reasoning shortcuts: published counts, growth with symbols and with observed answers, brute force.

    python benchmarks/shortcut_counting.py                 # prints the tables, writes them and the figure into docs
    python benchmarks/shortcut_counting.py --dry           # prints only
    python benchmarks/shortcut_counting.py --results FILE  # every single measurement, a line each

One thread. Ends with an error where a count is not the published one, or not that of brute force.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from record import ROOT, machine, markdown_table, write_section
from shortcut_counting_figure import (
    EXPLANATION,
    KNOWN_TEXT,
    PAIRS_TEXT,
    REPAIRS_TEXT,
    SYMBOLS_TEXT,
    Measured,
    draw,
    growth_table,
    number,
    size_of,
)

from nesy_gedi.concepts.map_constraints import MapProblem
from nesy_gedi.concepts.map_counting import Count, count_solutions
from nesy_gedi.concepts.misreadings import ShownTuples
from nesy_gedi.concepts.repairs import PROVING, AnswerRepair, LabelRepair, fewest_answers, fewest_labels
from nesy_gedi.concepts.shortcuts import OptimalMaps, count_joint
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

FIGURE = "docs/shortcut-counting.svg"

ADDITION = "nn(net, [X], D, [0..{last}]) :: digit(X, D).\nf(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"
XOR = "nn(net, [X], B, [0, 1]) :: bit(X, B).\nf(X, Y, R) :- bit(X, A), bit(Y, B), R is A xor B.\n"
XOR3 = (
    "nn(net, [X], B, [0, 1]) :: bit(X, B).\nf(X, Y, Z, R) :- bit(X, A), bit(Y, B), bit(Z, C), R is (A xor B) xor C.\n"
)
HALF = [(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2)]
EVEN_ODD = [
    pair for a, b in [(0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)] for pair in ((a, b), (b, a))
]

SIZES = (*range(2, 11), 12, 14, 16, 18, 20)
PAIRS = (1, 3, 10, 30, 100, 300, 1000)
REPAIRED_PAIRS = (3, 5, 10)
DRAWS = 5
REPAIRED_DRAWS = 3

DIGITS = 10
"""Symbols where observed answers grow."""

BUDGET = 20.0
"""Seconds of a count, and those after which brute force is not tried: of a size's draws together."""

REPAIR_BUDGET = 5.0
"""Seconds of a repair."""

RUNS, ENOUGH = 3, 1.0
"""Each measurement is the median of so many runs, or of fewer that take so many seconds."""

MAPS_AT_ONCE = 1 << 16
BRUTE_FORCE_MAPS = 20_000_000
"""Published counts of at most so many maps are compared with brute force."""

Tuples = list[tuple[int, ...]]
Combine = Callable[..., np.ndarray]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Known:
    """A row of published counts, as the table shows them: shared, one to one, factored, joint; None where there is none.

    Attributes:
        size: number of symbols.
        combine: what the program answers, for brute force.
    """

    name: str
    program: str
    size: int
    tuples: Tuples
    combine: Combine
    published: tuple[str | None, ...]


def every_pair(size: int) -> Tuples:
    return list(product(range(size), repeat=2))


def addition(size: int) -> str:
    return ADDITION.format(last=size - 1)


KNOWN = (
    Known("addition, digits 0-1", addition(2), 2, every_pair(2), np.add, ("1", "1", "1", "4")),
    Known("addition, digits 0-2", addition(3), 3, every_pair(3), np.add, ("1", "1", "1", "432")),
    Known("addition, digits 0-4", addition(5), 5, every_pair(5), np.add, ("1", "1", "1", None)),
    Known("addition, digits 0-9", addition(10), 10, every_pair(10), np.add, ("1", "1", "1", "10^78.67")),
    Known("half", addition(5), 5, [*HALF], np.add, ("3", "1", "9", "576")),
    Known("even-odd", addition(10), 10, [*EVEN_ODD], np.add, ("36", "2", "1,296", "2.48e14")),
    Known("xor of 2 bits", XOR, 2, every_pair(2), np.bitwise_xor, ("2", "2", "2", "16")),
    Known(
        "xor of 3 bits",
        XOR3,
        2,
        list(product((0, 1), repeat=3)),
        lambda x, y, z: x ^ y ^ z,
        ("1", "1", "4", "65,536"),
    ),
)


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """What it returns, and its seconds."""
    spent: list[float] = []
    while True:
        started = time.perf_counter()
        result = function()
        spent.append(time.perf_counter() - started)
        if len(spent) == RUNS or sum(spent) > ENOUGH:
            return result, statistics.median(spent)


def made(program: str) -> Reasoner:
    slots = ", ".join("XYZ"[: 3 if program == XOR3 else 2])
    return Reasoner(Program(program), f"f({slots}, R)", validate=False)


def shown(reasoner: Reasoner, tuples: Tuples, family: str = "shared") -> ShownTuples:
    columns = torch.tensor(tuples).unbind(1)
    return ShownTuples(reasoner, {("net", slot): own for slot, own in zip("XYZ", columns, strict=False)}, family=family)


def count(reasoner: Reasoner, tuples: Tuples, family: str = "shared", one_to_one: bool = False) -> Count:
    """From the circuit on: what the program answers to readings is evaluated anew."""
    problem = MapProblem.of(shown(reasoner, tuples, family), one_to_one, time.perf_counter() + BUDGET)
    return count_solutions(problem)


def table_of(combine: Combine, size: int, inputs: int) -> np.ndarray:
    """The answer to every tuple, an axis for each input."""
    return np.asarray(combine(*np.indices((size,) * inputs)))


def brute_force(table: np.ndarray, tuples: Tuples, *, factored: bool = False) -> tuple[int, int]:
    """Optimal maps, and those that are one to one, of all maps one after the other: the reference."""
    size, rows = len(table), np.array(tuples)
    truth = table[tuple(rows.T)]
    maps = rows.shape[1] if factored else 1
    if factored:
        rows = rows + size * np.arange(maps)
    powers = size ** np.arange(size * maps)
    total = size ** (size * maps)
    found = straight = 0
    for begin in range(0, total, MAPS_AT_ONCE):
        read = np.arange(begin, min(begin + MAPS_AT_ONCE, total)) // powers[:, None] % size
        for row, answer in zip(rows, truth, strict=True):
            read = read[:, table[tuple(read[row])] == answer]
        found += read.shape[1]
        ordered = np.sort(read.reshape(maps, size, -1), 1)
        straight += int((np.diff(ordered, axis=1) > 0).all((0, 1)).sum())
    return found, straight


def agree(what: str, counts: tuple[Count, Count], expected: tuple[int, int]) -> None:
    """Counts of ours and of brute force."""
    for ours, reference in zip(counts, expected, strict=True):
        if ours != Count(reference, reference):
            raise SystemExit(f"{what}: {ours} maps are counted, and brute force finds {reference}")


def four_counts(reasoner: Reasoner, tuples: Tuples) -> tuple[Count, Count, Count, OptimalMaps]:
    """Shared, shared one to one, factored, joint."""
    return (
        count(reasoner, tuples),
        count(reasoner, tuples, one_to_one=True),
        count(reasoner, tuples, "factored"),
        count_joint(shown(reasoner, tuples)),
    )


def known_counts() -> str:
    """The table of published counts."""
    rows = []
    for known in KNOWN:
        started = time.perf_counter()
        reasoner = made(known.program)
        ready = time.perf_counter() - started
        (shared, straight, factored, joint), seconds = timed(partial(four_counts, reasoner, known.tuples))
        found = [number(each) for each in (shared, straight, factored, joint.count)]
        for ours, published in zip(found, known.published, strict=True):
            if published not in (None, ours):
                raise SystemExit(f"{known.name}: {ours} maps are counted, and {published} are published")
        inputs, size = len(known.tuples[0]), known.size
        table = table_of(known.combine, size, inputs)
        checked = []
        if size**size <= BRUTE_FORCE_MAPS:
            agree(f"{known.name}, shared", (shared, straight), brute_force(table, known.tuples))
            checked.append("shared")
        if size ** (size * inputs) <= BRUTE_FORCE_MAPS:
            straight = count(reasoner, known.tuples, "factored", one_to_one=True)
            expected = brute_force(table, known.tuples, factored=True)
            agree(f"{known.name}, factored", (factored, straight), expected)
            checked.append("factored")
        if len(known.tuples) == table.size and table.size**table.size <= BRUTE_FORCE_MAPS:
            places: Tuples = [(place,) for place in range(table.size)]
            agree(f"{known.name}, joint", (joint.count, joint.one_to_one), brute_force(table.ravel(), places))
            checked.append("joint")
        rows.append([known.name, *found, f"{seconds:.3f}", f"{ready:.2f}", ", ".join(checked) or "-"])
    header = ["task", "shared", "shared, one to one", "factored", "joint", "seconds", "program, seconds"]
    return markdown_table([*header, "the same by brute force"], rows)


def pairs_a_symbol(times: int) -> Callable[[int, int], Tuples]:
    """Supports in which each symbol is in so many random pairs (of an odd number, one symbol is in one more)."""

    def draw_pairs(size: int, seed: int) -> Tuples:
        generator = np.random.default_rng(seed)
        orders = [generator.permutation(size).tolist() for _ in range(times)]
        return [(order[k], order[(k + 1) % size]) for order in orders for k in range(0, size, 2)]

    return draw_pairs


SUPPORTS: dict[str, tuple[Callable[[int, int], Tuples], int]] = {
    "every pair": (lambda size, _: every_pair(size), 1),
    "two random pairs a symbol": (pairs_a_symbol(2), DRAWS),
    "one random pair a symbol": (pairs_a_symbol(1), DRAWS),
}
"""What is observed of additions: number of symbols, seed -> tuples; and number of draws."""


def measure(
    reasoner: Reasoner, support: str, tuples: Tuples, family: str, at: int, seed: int, reference: bool = False
) -> Measured:
    found, seconds = timed(lambda: count(reasoner, tuples, family))
    straight, straight_seconds = timed(lambda: count(reasoner, tuples, family, one_to_one=True))
    spent = None
    if reference:
        table = table_of(np.add, at, 2)
        expected, spent = timed(lambda: brute_force(table, tuples))
        agree(f"addition of {at} symbols, {support}, seed {seed}", (found, straight), expected)
    return Measured(support, family, at, seed, found, straight, seconds, straight_seconds, spent)


def with_symbols() -> tuple[list[Measured], dict[int, float], str]:
    """Additions of more and more symbols; seconds until their circuits are ready; and where brute force ended."""
    done: list[Measured] = []
    ready: dict[int, float] = {}
    expected = dict.fromkeys(SUPPORTS, 0.0)
    ended: dict[str, tuple[int, float]] = {}
    for last, size in zip((2, *SIZES), SIZES, strict=False):
        started = time.perf_counter()
        reasoner = made(addition(size))
        ready[size] = time.perf_counter() - started
        for support, (draw_tuples, draws) in SUPPORTS.items():
            expected[support] *= size**size / last**last
            if expected[support] > BUDGET:
                ended.setdefault(support, (size, expected[support] / draws))
            own = [
                measure(reasoner, support, draw_tuples(size, seed), "shared", size, seed, support not in ended)
                for seed in range(draws)
            ]
            expected[support] = sum(each.brute_force or 0.0 for each in own)
            done += own
    told = [f"{support}: K = {size}, {spent:.0f} s a draw" for support, (size, spent) in ended.items()]
    return done, ready, "; ".join(told)


def with_pairs() -> list[Measured]:
    """Additions of ten symbols of which more and more pairs are observed."""
    reasoner = made(addition(DIGITS))
    done = []
    for pairs in PAIRS:
        for family in ("shared", "factored"):
            for seed in range(DRAWS):
                done.append(measure(reasoner, "random pairs", random_pairs(pairs, seed), family, pairs, seed))
    return done


def random_pairs(pairs: int, seed: int) -> Tuples:
    """Drawn with repetition."""
    drawn = np.random.default_rng(seed).integers(DIGITS, size=(pairs, 2))
    return [(a, b) for a, b in drawn.tolist()]


PUBLISHED_LABELS = {"half": (1, 0), "even-odd": (2, 1)}
"""The fewest that do: without, and with one-to-one maps alone."""


def repairs() -> tuple[str, list[dict[str, object]]]:
    """The table of repairs, each of which is checked; and every measurement."""
    tasks: list[tuple[str, int, Tuples]] = [("half", 5, [*HALF]), ("even-odd", DIGITS, [*EVEN_ODD])]
    tasks += [
        (f"{pairs} random pairs, seed {seed}", DIGITS, random_pairs(pairs, seed))
        for pairs in REPAIRED_PAIRS
        for seed in range(REPAIRED_DRAWS)
    ]
    finders: tuple[Callable[..., LabelRepair | AnswerRepair], ...] = (fewest_labels, fewest_answers)
    rows: list[list[str]] = []
    lines: list[dict[str, object]] = []
    for name, size, tuples in tasks:
        observed = shown(made(addition(size)), tuples)
        cells = []
        for one_to_one in (False, True):
            for find in finders:
                found, seconds = timed(partial(find, observed, one_to_one=one_to_one, seconds=REPAIR_BUDGET))
                asked = found.labels if isinstance(found, LabelRepair) else found.tuples
                if asked is not None and left_by(observed, found, one_to_one) != Count(1, 1):
                    raise SystemExit(f"{name}: shortcuts survive {asked}")
                if isinstance(found, LabelRepair) and name in PUBLISHED_LABELS:
                    published = PUBLISHED_LABELS[name][one_to_one]
                    if asked is None or not found.proven or len(asked) != published:
                        raise SystemExit(f"{name}: {asked} are asked for, and {published} labels are published to do")
                cells.append(f"{size_of(found)}, {seconds:.2f} s")
                line = {"support": name, "repair": find.__name__, "one_to_one": one_to_one, "seconds": seconds}
                lines.append({**line, "asked": asked, "proven": found.proven})
        rows.append([name, *cells])
    header = ["observed", "labels", "answers", "one to one: labels", "one to one: answers"]
    return markdown_table(header, rows), lines


def left_by(observed: ShownTuples, found: LabelRepair | AnswerRepair, one_to_one: bool) -> Count:
    """How many maps are left when all that is asked for is told."""
    told = {}
    if isinstance(found, LabelRepair):
        told = {observed.places_of(name)[symbol]: symbol for name, symbol in found.labels or ()}
    elif found.tuples:
        observed = observed.with_tuples(torch.tensor(found.tuples))  # of one shared map, symbols are its places
    return count_solutions(MapProblem.of(observed, one_to_one, time.perf_counter() + BUDGET), told)


def report(results: Path | None) -> tuple[str, str]:
    """Everything: the text, and the figure."""
    begun, used = time.perf_counter(), time.process_time()
    known = known_counts()
    symbols, ready, ended = with_symbols()
    pairs = with_pairs()
    repaired, repair_lines = repairs()
    share = (time.process_time() - used) / (time.perf_counter() - begun)
    on = machine()
    text = [
        EXPLANATION.format(machine=on, share=share, runs=RUNS, budget=BUDGET),
        KNOWN_TEXT.format(maps=BRUTE_FORCE_MAPS),
        known,
        SYMBOLS_TEXT.format(budget=BUDGET, ended=ended),
    ]
    for support in SUPPORTS:
        own = [each for each in symbols if each.support == support]
        text += [f"#### {support[0].upper()}{support[1:]}", growth_table("K", own, ready)]
    text.append(PAIRS_TEXT.format(last=DIGITS - 1, seeds=DRAWS - 1))
    for family in ("shared", "factored"):
        own = [each for each in pairs if each.family == family]
        text += [f"#### {family[0].upper()}{family[1:]} maps", growth_table("pairs", own)]
    text += [REPAIRS_TEXT.format(proving=PROVING * REPAIR_BUDGET), repaired]
    if results is not None:
        lines = [{**asdict(each), "machine": on} for each in (*symbols, *pairs)]
        lines += [{**line, "machine": on} for line in repair_lines]
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return "\n\n".join(text), draw(symbols, pairs, DIGITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="write every measurement here, a line each")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text, figure = report(options.results)
    print(text)
    if options.dry:
        return
    (ROOT / FIGURE).write_text(figure, encoding="utf-8")
    alternative = "Seconds to count shortcuts, by symbols and by observed pairs"
    write_section("docs/performance.md", "shortcut-counting", f"{text}\n\n![{alternative}]({Path(FIGURE).name})")


if __name__ == "__main__":
    main()
