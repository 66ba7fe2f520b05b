"""What answers cost beside the network: the encoder alone against a whole predictor, on images of MNIST's size.

    python benchmarks/predict.py                  # writes docs/performance.md
    python benchmarks/predict.py --turns 3 --dry  # fewer turns, print only

Weights are random: how long it takes does not depend on them. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from record import machine, markdown_table, write_section

from nesy_gedi.logic.program import Program
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.image_files import predict_files
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.query_files import FileQueries
from nesy_gedi.training.recipe import load_recipe
from nesy_gedi.training.task import Task

IMAGES = 10_000
SHAPE = (1, 28, 28)
BATCH = 1024
"""Images of a pass, in both."""

PROGRAMS = (
    ("addition", ""),
    ("multi_addition", ""),
    ("parity", "parity([A, B, C, D, E, F, G, H], Parity)"),
)


def make_predictor(name: str, query: str) -> Predictor:
    """A bundled program with new networks."""
    found = find_program(name)
    task = Task(Program.load(found.path), load_recipe(found.recipe, overrides={"query": query} if query else {}))
    networks = make_perceptions(task, SHAPE).eval()
    return Predictor(task, networks, make_fabric("cpu", "32-true"))


def in_turns(functions: list[Callable[[], object]], turns: int) -> list[list[float]]:
    """Processor seconds of each function, turn by turn, after one that does not count: what else the machine does is left
    out, and with one thread they are those that pass on an idle machine."""
    spent: list[list[float]] = [[] for _ in functions]
    for turn in range(turns + 1):
        for k, function in enumerate(functions):
            started = time.process_time()
            function()
            if turn:
                spent[k].append(time.process_time() - started)
    return spent


def measure(name: str, query: str, turns: int) -> list[object]:
    """A row of the table: images a second of the encoder, of answers, with explanations, and of the whole from files."""
    predictor = make_predictor(name, query)
    slots = predictor.slots
    rows = IMAGES // len(slots)
    generator = torch.Generator().manual_seed(0)
    # Pixels as MNIST's, mostly black; PNG files of noise would be larger than any digit's.
    levels = torch.randint(0, 256, (rows * len(slots), *SHAPE), dtype=torch.uint8, generator=generator)
    images = levels * (torch.rand(levels.shape, generator=generator) < 0.2)
    by_slot = tuple(images[k :: len(slots)].contiguous() for k in range(len(slots)))
    (network,) = predictor.networks.values()

    @torch.no_grad()
    def encoder() -> None:
        for batch in images.split(BATCH):
            network(batch)

    def answers() -> None:
        predictor(by_slot, explain=False)

    def whole() -> None:
        predictor(by_slot)

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{k:05}.png" for k in range(len(images))]
        for image, file in zip(images, files, strict=True):
            Image.fromarray(image[0].numpy()).save(file)
        queries = FileQueries(tuple(zip(*[iter(files)] * len(slots), strict=True)))

        def from_files() -> None:
            for _ in predict_files(predictor, queries):
                pass

        spent = in_turns([encoder, answers, whole], turns)
        files_spent = in_turns([encoder, from_files], max(1, turns // 5))
    count = rows * len(slots)
    ratios = [statistics.median(a / b for a, b in zip(spent[0], each, strict=True)) for each in spent]
    worst = min(a / b for a, b in zip(spent[0], spent[2], strict=True))
    rates = [count / statistics.median(each) for each in spent]
    from_disk = statistics.median(a / b for a, b in zip(*files_spent, strict=True))
    return [
        f"`{predictor.reasoner.form.text}`",
        f"{rows:,}",
        f"{rates[0]:,.0f}",
        f"{rates[1]:,.0f} ({ratios[1]:.1%})",
        f"{rates[2]:,.0f} ({ratios[2]:.1%})",
        f"{worst:.1%}",
        f"{count / statistics.median(files_spent[1]):,.0f} ({from_disk:.1%})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    header = ("query form", "queries", "encoder", "answers", "with explanations", "its worst turn", "from PNG files")
    table = markdown_table(header, [measure(name, query, arguments.turns) for name, query in PROGRAMS])
    text = (
        f"`python benchmarks/predict.py`. On {machine()}; one torch thread. Images a second of processor time, of "
        f"{IMAGES:,} images of {'x'.join(map(str, SHAPE[1:]))}, by the bundled `conv` encoder in passes of {BATCH} images "
        "at most; in brackets the "
        f"share of the encoder's own throughput, the median over {arguments.turns} turns in one process, in each of which "
        "these columns are measured one after the other. *Answers* are probabilities of all answers and symbols, and whether "
        "images are unlike those of training; explanations are on top. Files are read by "
        f"other threads while the network works, whose time counts here, too.\n\n{table}"
    )
    print(text)
    if not arguments.dry:
        write_section("docs/performance.md", "predict", text)


if __name__ == "__main__":
    main()
