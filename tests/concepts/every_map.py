"""The reference: every map, one after the other, through the reasoner's own forward pass. And data to try it on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from nesy_gedi.concepts.assignment import NEAR_TIE, Assignment, assign
from nesy_gedi.logic.formula import Not
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

TOLERANCE = 1e-9
"""Absolute, in nats: the same sums of at most a few hundred terms in another order, in double precision."""

ADDITION = "nn(net, [X], D, [0..{last}]) :: digit(X, D).\naddition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\n"
MODULO = (
    "nn(net, [X], D, [0..{last}]) :: digit(X, D).\nadd(X, Y, S) :- digit(X, A), digit(Y, B), S is (A + B) mod {size}.\n"
)
DIGITS = "nn(net, [X], D, [0..3]) :: digit(X, D).\n"
TWO_NETWORKS = """
nn(light_net, [L], C, [red, amber, green]) :: light(L, C).
nn(sign_net, [S]) :: warning(S).
action(L, _, stop) :- light(L, red).
action(L, S, slow) :- light(L, amber), \\+ warning(S).
action(L, S, stop) :- light(L, amber), warning(S).
action(L, S, slow) :- light(L, green), warning(S).
action(L, S, go) :- light(L, green), \\+ warning(S).
"""
PROGRAMS = {
    "addition mod 3": (MODULO.format(last=2, size=3), "add(X, Y, S)"),
    "addition mod 5": (MODULO.format(last=4, size=5), "add(X, Y, S)"),
    "addition of five": (ADDITION.format(last=4), "addition(X, Y, S)"),
    "comparison": (
        DIGITS + "less(X, Y, yes) :- digit(X, A), digit(Y, B), A < B.\nless(X, Y, no) :- \\+ less(X, Y, yes).",
        "less(X, Y, R)",
    ),
    "two networks": (TWO_NETWORKS, "action(L, S, A)"),
    "two networks on one image": (
        "nn(a, [X], D, [0..3]) :: one(X, D).\nnn(b, [X], D, [0..2]) :: two(X, D).\n"
        "s(X, S) :- one(X, A), two(X, B), S is A - B.",
        "s(X, S)",
    ),
    "negation of noise": (
        DIGITS + "0.3 :: u. 0.6 :: v.\nalarm(X, Y) :- digit(X, 1), u.\nalarm(X, Y) :- digit(Y, 2), v.\n"
        "alarm(X, Y) :- digit(X, 2), digit(Y, 3).\nr(X, Y, no) :- \\+ alarm(X, Y).\nr(X, Y, yes) :- alarm(X, Y).",
        "r(X, Y, R)",
    ),
    "three images": (
        DIGITS + "top(X, Y, Z, M) :- digit(X, A), digit(Y, B), digit(Z, C), M is max(A, max(B, C)).",
        "top(X, Y, Z, M)",
    ),
    "learned probabilities": (
        DIGITS + "t(0.3) :: slip(1) ; t(0.5) :: slip(2).\n"
        "s(X, Y, S) :- slip(K), digit(X, A), digit(Y, B), S is (A + B + K) mod 4.\n"
        "s(X, Y, S) :- \\+ slip(1), \\+ slip(2), digit(X, A), digit(Y, B), S is (A + B) mod 4.",
        "s(X, Y, S)",
    ),
    "evidence": (
        DIGITS + "0.2 :: slip.\nodd(X) :- digit(X, 1).\nodd(X) :- digit(X, 3).\nodd(_) :- slip.\n"
        "s(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B.\nevidence(odd(img)).\n"
        "s(X, Y, 9) :- digit(img, 3), digit(X, 3).",
        "s(X, Y, S)",
    ),
}


def reasoner(text: str, form: str) -> Reasoner:
    return Reasoner(Program(text), form)


def with_a_plain_not() -> Reasoner:
    """A reasoner whose circuit keeps a "not", as one from elsewhere may: "no" is the denial of "yes"."""
    made = reasoner(*PROGRAMS["negation of noise"])
    formula, yes = made.circuit.formula, made.circuit.roots[made.index("yes")]
    made.circuit = replace(made.circuit, roots=(formula.restore(Not(yes)), yes))
    made._set_up(made.circuit)
    return made


def addition(size: int = 10) -> Reasoner:
    return reasoner(ADDITION.format(last=size - 1), "addition(X, Y, S)")


def mapped(log_q: Tensor, symbols: tuple[int, ...], size: int) -> Tensor:
    """P(symbol) = sum of P(cluster) over the clusters that stand for it."""
    weights = torch.zeros(len(symbols), size, dtype=torch.float64)
    weights[torch.arange(len(symbols)), list(symbols)] = 1.0
    return (log_q.double().exp() @ weights).log()


@torch.no_grad()
def log_likelihood(
    made: Reasoner,
    maps: Mapping[str, tuple[int, ...]],
    log_q: Mapping[tuple[str, ...], Tensor],
    answers: Tensor,
    given: Mapping[tuple[str, ...], Tensor] | None = None,
    labels: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> float:
    """Of one map, each observation floored."""
    domains = made.program.networks
    total = 0.0
    if len(answers):
        blocks = {key: mapped(q, maps[key[0]], len(domains[key[0]])) for key, q in log_q.items()} | dict(given or {})
        found = made(blocks).gather(1, answers[:, None])
        total += float(found.clamp_min(LOG_PROBABILITY_FLOOR).sum())
    for network, (rows, symbols) in (labels or {}).items():
        found = mapped(rows, maps[network], len(domains[network])).gather(1, symbols[:, None])
        total += float(found.clamp_min(LOG_PROBABILITY_FLOOR).sum())
    return total


def every_map(
    made: Reasoner, clusters: Mapping[str, int], *, one_to_one: bool | None = True
) -> Iterable[dict[str, tuple[int, ...]]]:
    """All maps; those of each network are one-to-one where ``one_to_one`` says so, or (None) where they can be."""
    names = sorted(clusters)
    choices = []
    for name in names:
        symbols = range(len(made.program.networks[name]))
        permuted = clusters[name] == len(symbols) if one_to_one is None else one_to_one
        choices.append(list(permutations(symbols) if permuted else product(symbols, repeat=clusters[name])))
    for chosen in product(*choices):
        yield dict(zip(names, chosen, strict=True))


def ranking(
    made: Reasoner,
    log_q: Mapping[tuple[str, ...], Tensor],
    answers: Tensor,
    *,
    one_to_one: bool | None = True,
    given: Mapping[tuple[str, ...], Tensor] | None = None,
    labels: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> list[tuple[float, dict[str, tuple[int, ...]]]]:
    """All maps with their log-likelihoods, best first."""
    clusters = {key[0]: q.shape[1] for key, q in log_q.items()}
    clusters |= {network: rows.shape[1] for network, (rows, _) in (labels or {}).items()}
    scored = [
        (log_likelihood(made, maps, log_q, answers, given, labels), maps)
        for maps in every_map(made, clusters, one_to_one=one_to_one)
    ]
    return sorted(scored, key=lambda item: -item[0])


def soft(n: int, width: int, seed: int, sharpness: float = 1.5) -> Tensor:
    """Random distributions, shape (n, width), float64."""
    drawn = torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharpness * drawn).log_softmax(1)


def certain(clusters: Tensor, width: int) -> Tensor:
    """Log-probabilities of clusters that are known for sure."""
    return torch.nn.functional.one_hot(clusters, width).double().log()


def clustered(
    symbols: Tensor, names: Tensor, width: int, seed: int, *, wrong: float = 0.03, margin: float = 6.0
) -> Tensor:
    """What a network that was clustered says of images of ``symbols`` (n,): mostly right, and sure when it is wrong.

    Args:
        names: the cluster of each symbol.
        wrong: share of images that are taken for another cluster, with the same confidence.
        margin: of the logit of the cluster above standard normal noise.
    """
    generator = torch.Generator().manual_seed(seed)
    cluster = names[symbols]
    mistaken = torch.rand(len(symbols), generator=generator) < wrong
    shift = torch.randint(1, width, (len(symbols),), generator=generator)
    cluster = torch.where(mistaken, (cluster + shift) % width, cluster)
    logits = torch.randn(len(symbols), width, generator=generator, dtype=torch.float64)
    logits[torch.arange(len(symbols)), cluster] += margin
    return logits.log_softmax(1)


def sums(n: int, seed: int, *, wrong: float = 0.03) -> tuple[dict[tuple[str, ...], Tensor], Tensor, tuple[int, ...]]:
    """Noisy sums of two digits: distributions, columns of the answers, and the true symbol of each cluster."""
    generator = torch.Generator().manual_seed(seed)
    names = torch.randperm(10, generator=generator)
    digits = torch.randint(10, (2, n), generator=generator)
    log_q = {("net", slot): clustered(digits[k], names, 10, 2 * seed + k, wrong=wrong) for k, slot in enumerate("XY")}
    return log_q, digits.sum(0), tuple(names.argsort().tolist())


def random_data(made: Reasoner, n: int, seed: int) -> tuple[dict[tuple[str, ...], Tensor], Tensor]:
    log_q = {
        (item.network, *item.slots): soft(n, len(item.domain), 100 * seed + k) for k, item in enumerate(made.inputs)
    }
    answers = torch.randint(len(made.answers), (n,), generator=torch.Generator().manual_seed(seed))
    return log_q, answers


def assert_agrees(found: Assignment, expected: list[tuple[float, dict[str, tuple[int, ...]]]], limit: int = 64) -> None:
    """Best, runner-up, gap and near ties are those of the ranking."""
    assert found.exact
    best, second = expected[0][0], expected[1][0]
    assert found.log_likelihood == pytest.approx(best, abs=TOLERANCE)
    assert found.bound == found.log_likelihood
    assert found.gap == pytest.approx(best - second, abs=TOLERANCE)
    assert found.least_gap == found.gap
    value_of = {tuple(sorted(maps.items())): value for value, maps in expected}
    assert value_of[tuple(sorted(found.maps.items()))] == pytest.approx(best, abs=TOLERANCE)
    assert value_of[tuple(sorted(found.runner_up.items()))] == pytest.approx(second, abs=TOLERANCE)
    near = [value for value, _ in expected if value >= best - NEAR_TIE]
    assert len(found.near_ties) == min(limit, len(near))
    assert found.more_near_ties == (len(near) > limit)
    assert [tie.log_likelihood for tie in found.near_ties] == pytest.approx(near[:limit], abs=TOLERANCE)
    for tie in found.near_ties:
        assert value_of[tuple(sorted(tie.maps.items()))] == pytest.approx(tie.log_likelihood, abs=TOLERANCE)


def observed(made: Reasoner, pairs: list[tuple[int, int]], size: int) -> Assignment:
    """From the sums of images of these digits, each in the cluster of its own number."""
    symbols = torch.tensor(pairs)
    log_q = {("net", slot): certain(symbols[:, k], size) for k, slot in enumerate("XY")}
    return assign(made, log_q, symbols.sum(1))
