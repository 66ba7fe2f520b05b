"""Programs get library(lists) without asking for it, as in deepproblog, and keep what they define themselves."""

from __future__ import annotations

import re
from pathlib import Path

import problog
import pytest
import torch

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.problog_engine import _LISTS
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

RANDOM = {"enum_groups", "select_uniform", "select_weighted"}
"""What the library draws at random, or splits by it."""


def answers(text: str, form: str) -> tuple[str, ...]:
    """Of a program with a network, as deepproblog's are; one without is ProbLog's, and gets nothing."""
    return Reasoner(Program("nn(net, [X], D, [0, 1]) :: bit(X, D).\n" + text), form).answers


def test_the_names_are_those_of_the_library() -> None:
    text = (Path(problog.__file__).parent / "library" / "lists.pl").read_text(encoding="utf-8")
    exported = re.findall(r"(\w+)/(\d)", text[: text.index("]).")])
    assert {f"{name}/{arity}" for name, arity in exported if name not in RANDOM} == _LISTS


def test_a_predicate_of_the_library_needs_no_directive() -> None:
    assert answers("q(X) :- member(X, [a, b]), \\+ memberchk(X, [b]).", "q(X)") == ("a",)
    assert answers("q(L) :- findall(X, (member(X, [2, 1]), X > 0), Xs), reverse(Xs, L).", "q(L)") == ("[1, 2]",)


def test_a_program_keeps_its_own() -> None:
    text = "append(mine, mine, mine).\nq(X) :- append(X, _, _), member(X, [mine, other])."
    assert answers(text, "q(X)") == ("mine",)


def test_only_the_arity_that_is_defined_is_its_own() -> None:
    assert answers("append(mine, mine).\nq(X) :- append([1], [2], X).", "q(X)") == ("[1, 2]",)


def test_distributions_pass_through_it() -> None:
    text = "nn(net, [X], D, [0, 1]) :: bit(X, D).\nany(Xs, D) :- member(X, Xs), bit(X, D)."
    log_p = torch.tensor([[0.2, 0.8]], dtype=torch.float64).log()
    p = Reasoner(Program(text), "any([A, B], D)")({"A": log_p, "B": log_p}).exp()
    torch.testing.assert_close(p, torch.tensor([[1 - 0.8**2, 1 - 0.2**2]], dtype=torch.float64))


def test_what_no_library_defines_is_unknown() -> None:
    with pytest.raises(ProgramError, match="No clauses found for 'membr/2'"):
        answers("q(X) :- membr(X, [a]).", "q(X)")
