"""The rules of the bundled programs against the same in Python, for everything that images may show."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor

from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.bundled import bundled_programs
from nesy_gedi.training.recipe import load_recipe

Seen = Mapping[tuple[str, str], str]
"""(network, slot) -> the symbol there."""

EXACT = 1e-12


def reasoner_of(name: str) -> Reasoner:
    program = next(each for each in bundled_programs() if each.name == name)
    recipe = load_recipe(program.recipe)
    return Reasoner(Program.load(program.path), recipe.query, slots=recipe.slots or None)


def everything(reasoner: Reasoner) -> Iterator[tuple[Seen, dict[str, float]]]:
    """Each combination of symbols, and the answers that are possible then."""
    rows = torch.cartesian_prod(*(torch.arange(len(item.domain)) for item in reasoner.inputs))
    log_p: dict[object, Tensor] = {
        (item.network, *item.slots): torch.eye(len(item.domain), dtype=torch.float64).log()[rows[:, k]]
        for k, item in enumerate(reasoner.inputs)
    }
    for row, found in zip(rows.tolist(), reasoner(log_p).exp().tolist(), strict=True):
        seen = {(i.network, i.slots[0]): i.domain[value] for i, value in zip(reasoner.inputs, row, strict=True)}
        yield seen, {answer: p for answer, p in zip(reasoner.answers, found, strict=True) if p > 0.0}


def numbers(seen: Seen, network: str, slots: str) -> list[int]:
    return [int(seen[network, slot]) for slot in slots]


def sorting(seen: Seen) -> str:
    digits = numbers(seen, "digit_net", "XYZ")
    return "-".join(str(1 + len({other for other in digits if other < digit})) for digit in digits)


def poker(seen: Seen) -> str:
    low, middle, high = sorted(numbers(seen, "rank_net", "XYZ"))
    flush = len({seen["suit_net", slot] for slot in "XYZ"}) == 1
    if low == high:
        return "three"
    if (low + 1, middle + 1) == (middle, high):
        return "straight_flush" if flush else "straight"
    if flush:
        return "flush"
    if middle in (low, high):
        return "pair"
    return "ace" if high == 5 else "nothing"


ROADS = {"A": "home mill", "B": "home lake", "C": "mill lake", "D": "mill town", "E": "lake town"}


def path(seen: Seen) -> str:
    for answer, passable in (("free", {"free"}), ("toll", {"free", "toll"})):
        reached = {"home"}
        for _ in ROADS:
            for road, ends in ROADS.items():
                if seen["road_net", road] in passable and reached & set(ends.split()):
                    reached |= set(ends.split())
        if "town" in reached:
            return answer
    return "none"


def diagnosis(seen: Seen) -> str:
    fever, cough, rash, breath = (seen[f"{each}_net", "P"] for each in ("fever", "cough", "rash", "breath"))
    if breath == "short":
        return "asthma" if fever == "none" else "pneumonia" if (fever, cough) == ("high", "wet") else "bronchitis"
    if rash == "true":
        return {"none": "allergy", "mild": "rubella", "high": "measles"}[fever]
    other = {("none", "none"): "healthy", ("none", "dry"): "dry_air", ("mild", "none"): "exhaustion"}
    return "flu" if fever == "high" else other.get((fever, cough), "cold")


def kandinsky(seen: Seen) -> str:
    shapes, colours = ([seen[network, slot] for slot in "ABC"] for network in ("shape_net", "colour_net"))
    told = [{1: "same", 2: "pair", 3: "different"}[len(set(each))] for each in (shapes, colours)]
    warning = ("triangle", "red") in zip(shapes, colours, strict=True)
    return ",".join([*told, "yes" if warning else "no"])


CLASSES = {"straight": {1, 4, 7}, "loop": {0, 6, 8, 9}, "hook": {2, 3, 5}}


def hierarchy(seen: Seen) -> str:
    kinds = set(numbers(seen, "digit_net", "XY"))
    if len(kinds) == 1:
        return "same"
    of_both = [name for name, members in CLASSES.items() if kinds <= members]
    return of_both[0] if of_both else "number" if kinds & CLASSES["straight"] else "curved"


def traffic(seen: Seen) -> str:
    light, person, siren, ahead, beside = (
        seen[f"{each}_net", "X"] for each in ("light", "person", "siren", "ahead", "beside")
    )
    if person == "true" or (light == "red" and siren == "false"):
        return "stop"
    if ahead == "blocked":
        return "stop" if beside == "none" else beside
    return "hurry" if siren == "true" else {"amber": "slow", "green": "go"}[light]


RULES = (sorting, poker, path, diagnosis, kandinsky, hierarchy, traffic)


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
def test_each_combination_has_its_answer_and_no_other(rule: Callable[[Seen], str]) -> None:
    reasoner = reasoner_of(rule.__name__)
    count = 0
    for seen, answers in everything(reasoner):
        assert answers == {rule(seen): pytest.approx(1.0, abs=EXACT)}, seen
        count += 1
    assert count == torch.tensor([len(item.domain) for item in reasoner.inputs]).prod()


def noisy_addition(answer: str, seen: Tensor, learned: Tensor) -> Tensor:
    sums = [(a, b) for a, b in itertools.product(range(10), range(10)) if a + b == int(answer)]
    right = torch.stack([seen[:, 0, a] * seen[:, 1, b] for a, b in sums]).sum(0)
    return learned[0] / 19 + (1 - learned[0]) * right


def urn(answer: str, seen: Tensor, learned: Tensor) -> Tensor:
    balls = [("gold", "silver", "lead").index(ball) for ball in answer.split(",")]
    green = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)[balls].prod()
    return seen[:, 0, 0] * learned[balls].prod() + seen[:, 0, 1] * green


LIKELIHOODS = (noisy_addition, urn)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=[each.__name__ for each in LIKELIHOODS])
def test_likelihoods_and_gradients_of_learned_probabilities(
    likelihood: Callable[[str, Tensor, Tensor], Tensor],
) -> None:
    reasoner = reasoner_of(likelihood.__name__).double()
    generator = torch.Generator().manual_seed(2)
    (logits,) = reasoner.learned.parameters()
    with torch.no_grad():
        logits.copy_(torch.randn(logits.shape, generator=generator, dtype=torch.float64))
    shape = (4, len(reasoner.inputs), len(reasoner.inputs[0].domain))
    seen = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(2)
    found = reasoner({(item.network, *item.slots): seen[:, k].log() for k, item in enumerate(reasoner.inputs)})
    expected = torch.stack([likelihood(each, seen, logits.softmax(0)) for each in reasoner.answers], 1).log()
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=0.0)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    slopes = [torch.autograd.grad((each * weights).sum(), logits)[0] for each in (found, expected)]
    torch.testing.assert_close(slopes[0], slopes[1], atol=EXACT, rtol=0.0)
