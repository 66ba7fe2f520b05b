"""The inference engine against deepproblog's cached exact engine, klaycircuits and a hand-written convolution.

    python benchmarks/engine.py            # prints the table and writes it into docs/performance.md
    python benchmarks/engine.py --dry      # prints only

One torch thread; every ratio compares two measurements of the same run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from record import ROOT, machine, markdown_table, median_seconds, write_section
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.compilation import compile_form
from nesy_gedi.logic.deepproblog import DeepProbLogEngine
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.likelihood import nll
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.networks.encoders import ConvEncoder
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.task import one_hot_log

BATCH = 128
BATCHES = (1, 32, BATCH, 1024)
DIGITS = (1, 2, 4, 8, 15, 30, 100)
FORM = "addition(X, Y, Sum)"
OURS, KLAY, DEEPPROBLOG, FLOOR = "nesy-gedi", "klaycircuits", "deepproblog", "hand-written convolution"
NAIVE = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
number([], N, N).
number([X|Xs], Before, N) :- digit(X, D), Next is D + 10 * Before, number(Xs, Next, N).
addition(Xs, Ys, Sum) :- number(Xs, 0, A), number(Ys, 0, B), Sum is A + B.
"""
NAIVE_FORM = "addition([A0, A1], [B0, B1], Sum)"
TARGET_CLAUSE = "nn(target_net, [Z], D, [0..9]) :: target(Z, D)."


def logits(batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {slot: torch.randn(batch, 10, generator=generator, dtype=dtype) for slot in ("X", "Y")}


def addition_circuit() -> list[list[object]]:
    """Circuit only: distributions are given, the gradient with respect to them is taken. A row for each engine."""
    program = Program.load(find_program("addition").path)
    reasoner = Reasoner(program, FORM, validate=False)
    seconds: dict[str, dict[int, float]] = {}
    for batch in BATCHES:
        log_p = torch.log_softmax(torch.stack(list(logits(batch).values()), 1), 2).requires_grad_()
        target = torch.arange(batch) % 19
        peer = reasoner.with_engine("klay")
        functions = {
            OURS: lambda log_p=log_p, target=target: reasoner.nll(log_p, target).backward(),
            KLAY: lambda log_p=log_p, target=target, peer=peer: peer.nll(log_p, target).backward(),
            FLOOR: lambda log_p=log_p, target=target: convolution_nll(log_p[:, 0], log_p[:, 1], target).backward(),
        }
        rounds = median_seconds(*functions.values(), runs=200, warm_up=20)
        for name, spent in zip(functions, rounds, strict=True):
            seconds.setdefault(name, {})[batch] = spent / batch
    # It answers one query after the other, whatever the batch.
    seconds[DEEPPROBLOG] = dict.fromkeys(BATCHES, deepproblog_addition(program) / BATCH)
    return [engine_row("addition, 1 digit", name, spent, seconds[OURS]) for name, spent in seconds.items()]


def deepproblog_addition(program: Program) -> float:
    """Seconds for a batch."""
    rows = {slot: torch.softmax(x, 1).requires_grad_() for slot, x in logits(BATCH).items()}
    target = torch.arange(BATCH) % 19
    peer = DeepProbLogEngine(program, read_form(program, FORM), lambda _, key: rows_of(rows, key))
    keys = slot_keys(BATCH)

    def theirs() -> None:
        for k in range(BATCH):
            item = {slot: key[k : k + 1] for slot, key in keys.items()}
            answer = {"Sum": str(int(target[k]))}
            (-torch.log(peer(item, answer)[0][answer["Sum"]])).backward()

    return median_seconds(theirs, runs=3)[0]


def same_circuit(name: str, reasoner: Reasoner, batches: Sequence[int], *, observed: int = 0) -> list[list[object]]:
    """Our engine and klaycircuits on one circuit, forward and backward of one root.

    Args:
        observed: how many of the inputs, the last ones, are given: distributions that are one somewhere.
    """
    peer = reasoner.with_engine("klay")
    ours: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for batch in batches:
        log_p = torch.randn(batch, len(reasoner.inputs), 10, generator=torch.Generator().manual_seed(0)).log_softmax(2)
        if observed:
            digits = torch.arange(batch)[:, None] + torch.arange(observed)[None]
            log_p[:, -observed:] = one_hot_log(digits.flatten() % 10, 10, torch.float32).view(batch, observed, 10)
        log_p.requires_grad_()
        target = torch.arange(batch) % len(reasoner.answers)
        runs = 30 if len(reasoner.circuit.formula) * batch < 5e6 else 7
        ours[batch], theirs[batch] = (
            spent / batch
            for spent in median_seconds(
                lambda log_p=log_p, target=target: reasoner.nll(log_p, target).backward(),
                lambda log_p=log_p, target=target: peer.nll(log_p, target).backward(),
                runs=runs,
                warm_up=3,
            )
        )
    return [engine_row(name, OURS, ours, ours), engine_row(name, KLAY, theirs, ours)]


def engine_row(what: str, engine: str, spent: Mapping[int, float], ours: Mapping[int, float]) -> list[object]:
    """Microseconds per query at each batch, and how much more than ours that is."""
    cells: list[object] = [what, engine]
    for batch in BATCHES:
        known = batch in spent and batch in ours
        cells.append(f"{spent[batch] * 1e6:.3g} ({spent[batch] / ours[batch]:.3g})" if known else "-")
    return cells


@dataclass
class Long:
    """Sums of two numbers of ``digits`` digits."""

    digits: int
    reasoner: Reasoner
    ready_s: tuple[float, float]
    hit_s: float
    seconds: dict[int, float]
    memory: float

    def row(self) -> list[object]:
        nodes, edges = self.reasoner.circuit.size()
        spent = [f"{self.seconds[batch] * 1e6:.3g}" for batch in BATCHES]
        ready = [f"{second:.3f}" for second in (*self.ready_s, self.hit_s)]
        return [self.digits, nodes, edges, self.reasoner.depth, *ready, *spent, f"{self.memory:.2f}"]


def long_sum(program: Program, digits: int, cache: Path) -> Long:
    """Grounding, compiling, a cache hit, and evaluation; observed digits of the sum are inputs."""
    form = read_form(program, long_form(digits))
    kept = GroundingCache(cache)
    made = [compile_form(program, form) for _ in range(3 if digits <= 30 else 2)]
    ready = tuple(statistics.median(getattr(circuit, name) for circuit in made) for name in ("ground_s", "compile_s"))
    compile_form(program, form, cache=kept)
    hit = compile_form(program, form, cache=kept)
    assert hit.cached
    started = time.perf_counter()
    compile_form(program, form, cache=kept)
    hit_s = time.perf_counter() - started
    reasoner = Reasoner(program, form, cache=kept, validate=False)
    seconds = {}
    for batch in BATCHES:
        log_p = random_long(reasoner, batch)
        step = lambda log_p=log_p: (-reasoner(log_p).mean()).backward()  # noqa: E731
        seconds[batch] = median_seconds(step, runs=15 if digits * batch < 50_000 else 5, warm_up=2)[0] / batch
    nodes, _ = reasoner.circuit.size()
    return Long(digits, reasoner, ready, hit_s, seconds, peak_bytes(reasoner) / (nodes * BATCH * 4))


def random_long(reasoner: Reasoner, batch: int) -> Tensor:
    """Random images, and digits of a sum that are certain."""
    images = sum(item.network == "digit_net" for item in reasoner.inputs)
    log_p = torch.randn(batch, len(reasoner.inputs), 10, generator=torch.Generator().manual_seed(0)).log_softmax(2)
    digits = torch.arange(batch)[:, None] + torch.arange(len(reasoner.inputs) - images)[None]
    log_p[:, images:] = one_hot_log(digits.flatten() % 10, 10, torch.float32).view(batch, -1, 10)
    return log_p.requires_grad_()


def peak_bytes(reasoner: Reasoner) -> int:
    """The most memory that a step had at once, beyond its inputs and their gradient."""
    log_p = random_long(reasoner, BATCH)
    (-reasoner(log_p).mean()).backward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        (-reasoner(log_p).mean()).backward()
    now = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def fit(lines: Sequence[Long]) -> str:
    """How well the cost of a query is a straight line in the number of digits."""
    x = torch.tensor([float(line.digits) for line in lines])
    y = torch.tensor([line.seconds[BATCH] * 1e6 for line in lines])
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    intercept = y.mean() - slope * x.mean()
    rest = ((y - intercept - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return f"{intercept:.2f} + {slope:.2f} N µs per query at batch {BATCH}, R² = {1 - rest:.4f}"


def draw(lines: Sequence[Long], file: Path) -> None:
    """Cost of a query against the number of digits, a curve for each batch."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for batch in BATCHES:
        values = [line.seconds[batch] * 1e6 for line in lines]
        axes.plot([line.digits for line in lines], values, marker="o", label=f"batch {batch}")
    axes.set(xscale="log", yscale="log", xlabel="digits of each number", ylabel="µs per query, forward and backward")
    axes.set_xticks([line.digits for line in lines], [str(line.digits) for line in lines])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    with matplotlib.rc_context({"svg.hashsalt": "engine", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})


def long_form(digits: int) -> str:
    xs, ys, zs = (
        ",".join(f"{letter}{k}" for k in range(n)) for letter, n in (("X", digits), ("Y", digits), ("Z", digits + 1))
    )
    return f"multi_addition([{xs}], [{ys}], [{zs}])"


def addition_step(side: int) -> list[list[object]]:
    """A whole training step with the same (bundled) network on the same images of ``side`` x ``side`` pixels."""
    program = Program.load(find_program("addition").path)
    reasoner = Reasoner(program, FORM, validate=False)
    images = torch.randint(
        0, 256, (2 * BATCH, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    target = torch.arange(BATCH) % 19
    shape = (1, side, side)
    network = Perception(ConvEncoder(shape), torch.nn.Linear(128, 10), program.networks["digit_net"], image_shape=shape)
    optimizer = torch.optim.Adam(network.parameters())
    peer = DeepProbLogEngine(program, read_form(program, FORM), lambda _, some: network(some).exp())

    def ours() -> None:
        optimizer.zero_grad()
        seen = network(images).view(BATCH, 2, 10)
        reasoner.nll(seen, target).backward()
        optimizer.step()

    def theirs() -> None:
        optimizer.zero_grad()
        for k in range(BATCH):
            answer = {"Sum": str(int(target[k]))}
            item = {"X": images[2 * k : 2 * k + 1], "Y": images[2 * k + 1 : 2 * k + 2]}
            (-torch.log(peer(item, answer)[0][answer["Sum"]] + 1e-12) / BATCH).backward()
        optimizer.step()

    mine = median_seconds(ours, runs=20)[0]
    other = median_seconds(theirs, runs=3)[0]
    return [
        [f"addition, whole step, {side}x{side} images: nesy-gedi", f"{mine / BATCH * 1e6:.0f}", "1.00"],
        [
            f"addition, whole step, {side}x{side} images: deepproblog (cached circuits)",
            f"{other / BATCH * 1e6:.0f}",
            f"{other / mine:.2f}",
        ],
    ]


def carry() -> list[list[object]]:
    """multi_addition with 4 digits: ready to train, and one training query."""
    program = Program.load(find_program("multi_addition").path)
    xs, ys, zs = (",".join(f"{letter}{k}" for k in range(n)) for letter, n in (("X", 4), ("Y", 4), ("Z", 5)))
    form = long_form(4)
    started = time.perf_counter()
    reasoner = Reasoner(program, form, validate=False)
    ready = time.perf_counter() - started
    generator = torch.Generator().manual_seed(0)
    log_p = {
        slot: torch.log_softmax(torch.randn(BATCH, 10, generator=generator, dtype=torch.float64), 1).requires_grad_()
        for slot in reasoner.form.slots
    }
    rows = {slot: x.detach().exp().requires_grad_() for slot, x in log_p.items()}
    # Its SDD does not end with the target digits as inputs, so deepproblog gets them as constants, a circuit a target.
    if TARGET_CLAUSE not in program.source.text:
        raise SystemExit("programs/multi_addition.pl no longer has the clause that the benchmark replaces")
    total = "08641"  # least significant digit first: 14680
    constant = Program(program.source.text.replace(TARGET_CLAUSE, "target(D, D)."))
    fixed = read_form(constant, f"multi_addition([{xs}], [{ys}], [{','.join(total)}])")
    first = {slot: torch.tensor([[k, 0]]) for k, slot in enumerate(rows) if slot in fixed.slots}
    peer = DeepProbLogEngine(constant, fixed, lambda _, key: rows_of(rows, key))
    started = time.perf_counter()
    reference = peer(first)[0]["true"]
    peer_ready = time.perf_counter() - started
    given = {
        slot: one_hot_log(torch.full((BATCH,), int(d)), 10, torch.float64)
        for slot, d in zip(zs.split(","), total, strict=True)
    }
    difference = abs(float(reference.detach()) - float(reasoner({**log_p, **given})[0, 0].exp().detach()))

    def ours() -> None:
        (-reasoner({**log_p, **given}).mean()).backward()

    def theirs() -> None:
        (-torch.log(peer(first)[0]["true"])).backward()

    mine = median_seconds(ours, runs=20)[0] / BATCH
    other = median_seconds(theirs, runs=5)[0]
    return [
        [
            f"4-digit carry, until ready for all sums: nesy-gedi ({reasoner.circuit.method})",
            f"{ready * 1e6:.0f}",
            "1.00",
        ],
        [
            "4-digit carry, until ready for one sum: deepproblog (sdd)",
            f"{peer_ready * 1e6:.0f}",
            f"{peer_ready / ready:.2f}",
        ],
        ["4-digit carry, circuit only: nesy-gedi", f"{mine * 1e6:.2f}", "1.00"],
        ["4-digit carry, circuit only: deepproblog", f"{other * 1e6:.2f}", f"{other / mine:.2f}"],
        [f"4-digit carry, difference of the two answers: {difference:.1e}", "", ""],
    ]


def slot_keys(batch: int) -> dict[str, Tensor]:
    """In place of an image: (number of the slot, number of the query)."""
    return {slot: torch.stack([torch.full((batch,), k), torch.arange(batch)], 1) for k, slot in enumerate("XY")}


def rows_of(rows: dict[str, Tensor], keys: Tensor) -> Tensor:
    slots = list(rows)
    return torch.stack([rows[slots[int(slot)]][int(query)] for slot, query in keys])


def convolution_nll(log_x: Tensor, log_y: Tensor, target: Tensor) -> Tensor:
    """The sum of two digits by hand: no program can be faster than its own arithmetic."""
    pairs = (log_x[:, :, None] + log_y[:, None, :]).flatten(1)
    which = (torch.arange(10)[:, None] + torch.arange(10)[None, :]).flatten()
    top = pairs.detach().max(1, keepdim=True).values
    sums = torch.zeros(len(pairs), 19).index_add(1, which, (pairs - top).exp())
    return nll(sums.log() + top, target)


def main() -> None:
    torch.set_num_threads(1)
    addition = addition_circuit()
    naive = same_circuit(
        "sum of numbers, 2 digits, naive", Reasoner(Program(NAIVE), NAIVE_FORM, validate=False), BATCHES
    )
    program = Program.load(find_program("multi_addition").path)
    with tempfile.TemporaryDirectory() as folder:
        lines = [long_sum(program, digits, Path(folder)) for digits in DIGITS]
    fifteen = next(line.reasoner for line in lines if line.digits == 15)
    carry_rows = same_circuit("carry, 15 digits", fifteen, BATCHES[1:], observed=16)
    steps = [*addition_step(8), *addition_step(28), *carry()]
    header = ["program", "engine", *(f"batch {batch}" for batch in BATCHES)]
    parts = [
        f"`python benchmarks/engine.py` on {machine()}. One torch thread.",
        "Circuit only, forward and backward: µs per query, and in brackets how many times ours.",
        markdown_table(header, [*addition, *naive, *carry_rows]),
        "deepproblog has its circuits cached and answers one query after the other.",
        "Sums of two numbers of N digits (`multi_addition`, the digits of the sum are inputs), from the program's text to "
        "the circuit, and µs per query. Memory is the most that a step has at once, in units of nodes x batch x 4 bytes, at "
        f"batch {BATCH}.",
        markdown_table(
            [
                *("N", "nodes", "edges", "levels", "ground, s", "compile, s", "from the cache, s"),
                *(f"µs, batch {batch}" for batch in BATCHES),
                "memory",
            ],
            [line.row() for line in lines],
        ),
        f"A straight line through these: {fit(lines)}.",
        "![Cost of a query against the number of digits](engine.svg)",
        "Whole training steps with the same network, and deepproblog's compiled carry:",
        markdown_table(["what (batch 128)", "µs per query", "ratio to nesy-gedi"], steps),
    ]
    text = "\n\n".join(parts)
    print(text)
    if "--dry" not in sys.argv:
        draw(lines, ROOT / "docs/engine.svg")
        write_section("docs/performance.md", "engine", text)


if __name__ == "__main__":
    main()
