"""Programs and distributions for tests of approximate inference, and their exact answers by ProbLog."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from hypothesis import strategies as st
from problog import get_evaluatable
from problog.errors import ProbLogError
from problog.program import PrologString
from test_random_programs import neural_programs
from torch import Tensor

NAIVE = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
number([], N, N).
number([X|Xs], Before, N) :- digit(X, D), Next is D + 10 * Before, number(Xs, Next, N).
addition(Xs, Ys, Sum) :- number(Xs, 0, A), number(Ys, 0, B), Sum is A + B.
"""
"""Numbers of several digits, added as numbers: as many groundings as there are pairs of numbers."""

FOUR_DIGITS = "addition([A0, A1, A2, A3], [B0, B1, B2, B3], Sum)"

FORM = "q(X, Y, Answer)"

IMAGES = ("X", "Y", "img")
"""The slots of ``FORM``, and an image that the program names itself."""

NETWORKS = {
    "cnet": ("nn(cnet, [I], V, [a, b, c]) :: c(I, V).", ("c({}, a)", "c({}, b)", "c({}, c)")),
    "bnet": ("nn(bnet, [I]) :: b(I).", ("no({})", "b({})")),
}
"""Network -> its clause, and the atoms of its symbols."""

EVIDENCE = (
    "",
    "",
    "evidence(w).",
    "evidence(\\+ v).",
    "e :- c(img, a), b(img). e :- \\+ c(img, b). evidence(e).",
    "e :- c(img, S), S \\= a. e :- v. evidence(e). q(X, Y, seen) :- c(img, S), c(X, S), \\+ c(Y, S).",
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Random programs for ``FORM`` with negation, constants, learned probabilities and, at times, evidence."""
    return draw(neural_programs()) + "\n" + draw(st.sampled_from(EVIDENCE))


def distributions(batch: int, seed: int, *, hard: bool = False, scale: float = 2.0) -> dict[object, Tensor]:
    """Log-probabilities of all images; ``hard`` ones hold exact zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[object, Tensor] = {}
    for network, (_, atoms) in NETWORKS.items():
        for image in IMAGES:
            logits = scale * torch.randn(batch, len(atoms), generator=generator)
            if hard:
                ruled_out = torch.rand(logits.shape, generator=generator) < 0.4
                logits = logits.masked_fill(ruled_out & ~ruled_out.all(1, keepdim=True), -torch.inf)
            made[network, image] = logits.log_softmax(1)
    return made


def exact_answers(text: str, log_p: Mapping[object, Tensor], row: int) -> dict[str, float] | None:
    """Answer -> probability by ProbLog, networks written out as numbers; None where the evidence is impossible."""
    for network, (clause, atoms) in NETWORKS.items():
        written = []
        for image in IMAGES:
            p = log_p[network, image][row].exp().tolist()
            heads = [f"{q!r}::{atom.format(image.lower())}" for q, atom in zip(p, atoms, strict=True)]
            written.append("; ".join(heads) + "." if sum(p) <= 1.0 else _rounded(p, atoms, image))
        text = text.replace(clause, "\n".join(written))
    plain = text.replace("t(0.4)::", "0.4::") + "\nquery(q(x, y, _))."
    try:
        found = get_evaluatable("sdd").create_from(PrologString(plain)).evaluate()
    except ProbLogError:
        return None
    return {str(term.args[2]): float(p) for term, p in found.items() if p > 0.0}


def _rounded(p: list[float], atoms: tuple[str, ...], image: str) -> str:
    scaled = [q / (sum(p) * (1.0 + 1e-15)) for q in p]
    return "; ".join(f"{q!r}::{atom.format(image.lower())}" for q, atom in zip(scaled, atoms, strict=True)) + "."
