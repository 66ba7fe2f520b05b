"""deepproblog's own example programs as they are installed, each with queries, networks and what is known of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import deepproblog
import torch
from deepproblog.engines import ExactEngine
from deepproblog.examples.Forth import EncodeModule
from deepproblog.model import Model
from deepproblog.network import Network
from deepproblog.query import Query
from problog.logic import Constant, Term, Var, list2term
from torch import Tensor, nn

ROOT = Path(deepproblog.__path__[0]) / "examples"

IMAGES = 12
"""In the tensor source of :func:`make_model`."""


class Source(Mapping[tuple[Constant], Tensor]):
    """A tensor source over a tensor, by number."""

    def __init__(self, tensors: Tensor) -> None:
        self.tensors = tensors

    def __getitem__(self, key: tuple[Constant]) -> Tensor:
        return self.tensors[int(key[0])]

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(())


def image(number: int) -> Term:
    return Term("tensor", Term("images", Constant(number)))


def images(*numbers: int) -> Term:
    return list2term([image(number) for number in numbers])


def ask(functor: str, *arguments: Term | int | str) -> Query:
    """A query whose tensors stand in it as they are."""
    terms = [Constant(a) if isinstance(a, int) else Term(a) if isinstance(a, str) else a for a in arguments]
    return Query(Term(functor, *terms))


def ask_named(functor: str, *arguments: Term | int | str) -> Query:
    """The same with names for its tensors, and what they stand for beside it, as deepproblog's data sets do."""
    bare = ask(functor, *arguments).query
    names: dict[Term, Term] = {}

    def rename(part: Term) -> Term:
        if part.functor == "tensor":
            names[Term(f"p{len(names)}")] = part
            return Term(f"p{len(names) - 1}")
        return part.with_args(*map(rename, part.args)) if part.args else part

    return Query(rename(bare), names)


def classifier(symbols: int, size: int = 8) -> nn.Module:
    """Images (batch, 1, size, size) to probabilities (batch, symbols)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(size * size, symbols), nn.Softmax(1))


@dataclass(frozen=True)
class Example:
    """What is asked of a program.

    Attributes:
        networks: name -> number of symbols, of classifiers of images.
        queries: agree in both.
    """

    networks: Mapping[str, int]
    queries: tuple[Query, ...]


DIGITS = {"mnist_net": 10}

AGREE = {
    "Coins/model.pl": Example(
        {"net1": 2, "net2": 2}, tuple(ask("game", image(k), what) for k in (0, 1) for what in ("win", "loss"))
    ),
    "Forth/Add/choose.pl": Example(
        {},
        (
            ask("add", list2term([Constant(1)]), list2term([Constant(3)]), 1, Var("L")),
            ask("add", list2term([Constant(9)]), list2term([Constant(9)]), 0, list2term([Constant(1), Constant(8)])),
        ),
    ),
    "Forth/Sort/compare.pl": Example({}, (ask("forth_sort", list2term([Constant(k) for k in (8, 2, 5)]), Var("L")),)),
    "Forth/Sort/quicksort.pl": Example({}, (ask("forth_sort", list2term([Constant(k) for k in (8, 2, 5)]), Var("L")),)),
    "HWF/model.pl": Example({"net1": 10, "net2": 4}, tuple(ask("expression", images(0, 1, 2), k) for k in (2, 6))),
    "MNIST/models/addition.pl": Example(
        DIGITS,
        (
            *(ask_named("addition", image(k), image(k + 1), k) for k in range(4)),
            ask("addition", image(2), image(2), 4),
            ask("addition", image(2), image(3), Var("Z")),
            ask_named("multi_addition", images(0, 1), images(2, 3), 57),
        ),
    ),
    "MNIST/models/all_digit_addition.pl": Example(
        DIGITS, tuple(ask("addition", *map(image, (k, 3, 5))) for k in (0, 1))
    ),
    "MNIST/models/any_sum.pl": Example(
        DIGITS,
        (ask("anysum", list2term([images(0, 1), images(2, 3)]), 5), ask("anysum", list2term([images(4, 5)]), Var("R"))),
    ),
    "MNIST/models/noisy_addition.pl": Example(
        DIGITS, tuple(ask_named("addition_noisy", image(k), image(5), k + 3) for k in range(3))
    ),
    "Poker/model.pl": Example(
        {"net1": 4},
        (
            ask_named("game", images(0, 1, 2, 3), "win"),
            ask_named("game", images(4, 5, 6, 7), Term("card", Term("jack")), "loss"),
        ),
    ),
    "minimal/addition.pl": Example(DIGITS, tuple(ask("addition", image(2 * k), image(2 * k + 1), 9) for k in range(3))),
}
"""Load here and answer as in deepproblog, without a change."""

REFUSED = {
    "CLUTRR/model_forward.pl": "the inputs of rel_extract are not a list such as [X]",
    "Forth/WAP/wap.pl": "a network whose output is a tensor",
}
"""Do not load; what is said."""

BROKEN = {"CLUTRR/model.pl": ("clutrr_text(T, X, R, Y)", "No clauses found for 'get_edges/2'")}
"""Load, and cannot be asked: the program calls what it does not define, in deepproblog too. A form, and what is said."""

DATA = {"Forth/Add/data/tests.pl", "Forth/WAP/data/dev.pl", "Forth/WAP/data/test.pl", "Forth/WAP/data/train.pl"}
"""Facts that the examples read as queries; they load as programs of facts."""


def example_files() -> dict[str, Path]:
    """Every .pl file of the installed examples, by its path below them."""
    return {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.pl"))}


def make_model(name: str, **options: bool) -> Model:
    """A model of an example in double precision, with an exact engine and a source of random images."""
    networks = [
        Network(classifier(size).double(), network, batching=True) for network, size in AGREE[name].networks.items()
    ]
    if "Add" in name:
        networks = [
            Network(EncodeModule(30, 50, 10, "tanh"), "neural1"),
            Network(EncodeModule(22, 10, 2, "tanh"), "neural2"),
        ]
    if "Sort" in name:
        networks = [Network(EncodeModule(20, 20, 2), "swap_net")]
    model = Model(str(ROOT / name), networks)
    with contextlib.redirect_stdout(io.StringIO()):
        model.set_engine(ExactEngine(model), **options)
    model.add_tensor_source("images", Source(torch.rand(IMAGES, 1, 8, 8, dtype=torch.float64)))
    model.eval()
    return model
