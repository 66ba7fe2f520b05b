"""Every example program of the installed deepproblog, unchanged: which load, which answer as deepproblog does, which do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from deepproblog_examples import AGREE, BROKEN, DATA, REFUSED, ROOT, example_files, make_model
from torch import Tensor

import nesy_gedi as ng
from nesy_gedi.errors import ProgramError

TOLERANCE = 1e-7
"""Both in double precision, but for learned probabilities, which are kept in single precision."""

PAGE = Path(__file__).parents[2] / "docs" / "deepproblog.md"


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Some modules of the examples make their own tensors, of the type that PyTorch is set to."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_every_file_is_accounted_for() -> None:
    assert set(example_files()) == {*AGREE, *REFUSED, *BROKEN, *DATA}
    assert not (AGREE.keys() & REFUSED.keys()) | (BROKEN.keys() & DATA)


@pytest.mark.parametrize("name", AGREE)
def test_answers_and_gradients_are_those_of_deepproblog(name: str) -> None:
    model = make_model(name)
    queries = list(AGREE[name].queries)
    theirs = [{term: as_tensor(p) for term, p in each.result.items()} for each in model.solve(queries)]
    ours = ng.DeepProbLogReasoner(model)(queries)
    assert [set(each) for each in ours] == [set(each) for each in theirs]
    assert sum(float(p.detach()) > 0.0 for each in ours for p in each.values()) >= len(queries)
    for own, other in zip(ours, theirs, strict=True):
        for term, p in own.items():
            torch.testing.assert_close(p, other[term], rtol=0.0, atol=TOLERANCE, check_dtype=False)
    parameters = [p for network in model.networks.values() for p in network.parameters()]
    assert parameters
    for own, other in zip(slopes(ours, parameters), slopes(theirs, parameters), strict=True):
        torch.testing.assert_close(own, other, rtol=0.0, atol=TOLERANCE)


@pytest.mark.parametrize("name", [*AGREE, *BROKEN, *sorted(DATA)])
def test_the_file_itself_loads(name: str) -> None:
    program = ng.Program.load(ROOT / name)
    assert program.signatures
    assert set(program.networks) == (set(make_model(name).networks) if name in AGREE else set())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name: str) -> None:
    with pytest.raises(ProgramError, match=re.escape(REFUSED[name])) as caught:
        ng.Program.load(ROOT / name)
    assert caught.value.where is not None
    assert re.search(r"\.pl:\d+:\d+$", caught.value.where)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_says_why(name: str) -> None:
    form, said = BROKEN[name]
    with pytest.raises(ProgramError, match=re.escape(said)):
        ng.Reasoner(ng.Program.load(ROOT / name), form)


def test_the_page_has_this_table() -> None:
    states = {"agrees": AGREE, "refused": REFUSED, "broken": BROKEN, "data": DATA}
    text = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+\.pl)` \| (\w+)", text, flags=re.MULTILINE))
    assert rows == {name: state for state, names in states.items() for name in names}


def as_tensor(p: Tensor | float) -> Tensor:
    return p if isinstance(p, Tensor) else torch.tensor(p)


def slopes(results: list[dict[object, Tensor]], parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """Gradients of a sum in which every probability counts differently."""
    weighted = [
        (1 + number) * (1 + len(str(term)) % 7) * p
        for number, each in enumerate(results)
        for term, p in each.items()
        if p.requires_grad
    ]
    return list(torch.autograd.grad(torch.stack([p.double() for p in weighted]).sum(), parameters))
