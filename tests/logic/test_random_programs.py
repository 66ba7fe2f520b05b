"""Random programs: plain ones against problog, programs with networks against deepproblog."""

from __future__ import annotations

from fractions import Fraction

import pytest
from bridge import compare_with_deepproblog
from fuzzing import examples
from hypothesis import given, note, reject
from hypothesis import strategies as st
from problog import get_evaluatable
from problog.errors import ProbLogError
from problog.program import PrologString
from tolerances import DEEPPROBLOG, PROBLOG

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries

NUMBERS = ["0.1", "0.25", "0.5", "0.9", "1/3", "0.7", "0.0", "1.0"]


@st.composite
def distributions(draw: st.DrawFn, values: int) -> list[str]:
    """Probabilities of the heads of an annotated disjunction, in twentieths; the rest is for none of them."""
    cuts = sorted(draw(st.lists(st.integers(0, 20), min_size=values, max_size=values)))
    return [str(float(Fraction(high - low, 20))) for low, high in zip([0, *cuts], cuts, strict=False)]


@st.composite
def plain_programs(draw: st.DrawFn) -> str:
    """Facts, annotated disjunctions with bodies, rules in strata (cycles within one, negation of lower ones)."""
    lines = ["d(1). d(2)."]
    atoms: list[str] = []

    def literal() -> str:
        return draw(st.sampled_from(["", "", "\\+ "])) + draw(st.sampled_from(atoms))

    for k in range(draw(st.integers(1, 4))):
        number = draw(st.sampled_from(NUMBERS))
        if draw(st.booleans()):
            lines.append(f"{number}::f{k}.")
            atoms.append(f"f{k}")
        else:
            lines.append(f"{number}::f{k}(X) :- d(X).")
            atoms += [f"f{k}(1)", f"f{k}(2)"]
    for k in range(draw(st.integers(0, 2))):
        size = draw(st.integers(2, 3))
        heads = [f"{p}::a{k}({v})" for v, p in enumerate(draw(distributions(size)))]
        body = f" :- {literal()}" if draw(st.integers(0, 2)) == 0 else ""
        lines.append("; ".join(heads) + body + ".")
        atoms += [f"a{k}({v})" for v in range(size)]
    lower: list[str] = []
    for stratum in range(draw(st.integers(1, 3))):
        own = [f"r{stratum}{k}" for k in range(draw(st.integers(1, 3)))]
        for head in own:
            for _ in range(draw(st.integers(1, 3))):
                goals = []
                for _ in range(draw(st.integers(1, 3))):
                    goal = draw(st.sampled_from(["literal", "literal", "own", "lower", "not lower", "control"]))
                    if goal == "own":
                        goals.append(draw(st.sampled_from(own)))
                    elif goal == "lower" and lower:
                        goals.append(draw(st.sampled_from(lower)))
                    elif goal == "not lower" and lower:
                        goals.append("\\+ " + draw(st.sampled_from(lower)))
                    elif goal == "control":
                        pattern = draw(st.sampled_from(["({} ; {})", "\\+ ({}, {})", "d(V), V > 1, ({}, {})"]))
                        goals.append(pattern.format(literal(), literal()))
                    else:
                        goals.append(literal())
                weight = draw(st.sampled_from(["", "", "", "", "0.4::"]))
                lines.append(f"{weight}{head} :- {', '.join(goals)}.")
        lower += own
    everything = st.sampled_from(atoms + lower)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        lines.append(f"evidence({draw(everything)}, {draw(st.sampled_from(['true', 'false']))}).")
    queries = draw(st.lists(everything, min_size=1, max_size=3, unique=True))
    return "\n".join([*lines, *(f"query({query})." for query in [*queries, *lower[-1:]])])


@examples(150)
@given(plain_programs())
def test_answers_are_those_of_problog(text: str) -> None:
    note(text)
    try:
        expected = get_evaluatable("sdd").create_from(PrologString(text)).evaluate()
    except ProbLogError as error:
        note(f"problog: {error}")
        with pytest.raises(ProgramError):
            answer_queries(Program(text))
        return
    except AssertionError:
        reject()  # ProbLog's cycle breaking gives up when what is observed is certain anyway
    wanted = {str(term): float(p) for term, p in expected.items()}
    assert answer_queries(Program(text)) == pytest.approx(wanted, rel=PROBLOG, abs=PROBLOG)


@st.composite
def neural_programs(draw: st.DrawFn) -> str:
    """Two networks over two images, facts, a learned probability, and rules for ``q(X, Y, Answer)``."""
    goals = [
        *(f"{sign}c({image}, {value})" for image in "XY" for value in "abc" for sign in ("", "", "\\+ ")),
        *(f"{sign}b({image})" for image in "XY" for sign in ("", "\\+ ")),
        "c(X, S), c(Y, S)",
        "c(X, S), \\+ c(Y, S)",
        *("w", "\\+ w", "u(1)", "u(2)", "\\+ u(1)", "v"),
        "helper(X)",
        "helper(Y)",
        "\\+ helper(X)",
    ]
    body = st.lists(st.sampled_from(goals), min_size=1, max_size=3, unique=True).map(", ".join)
    lines = [
        "nn(cnet, [I], V, [a, b, c]) :: c(I, V).",
        "nn(bnet, [I]) :: b(I).",
        "0.3::w. 0.2::u(1); 0.5::u(2). t(0.4)::v.",
        "helper(I) :- c(I, a), w.",
        "helper(I) :- b(I).",
        "q(X, Y, sure) :- c(X, b).",  # a program without any possible answer is refused
    ]
    for answer in draw(st.lists(st.sampled_from(["yes", "no", "2"]), min_size=1, max_size=4)):
        lines.append(f"q(X, Y, {answer}) :- {draw(body)}.")
    return "\n".join(lines)


@examples(30)
@given(neural_programs(), st.integers(0, 2**20))
def test_networks_are_reasoned_with_as_by_deepproblog(text: str, seed: int) -> None:
    note(text)
    value_gap, gradient_gap = compare_with_deepproblog(Program(text), "q(X, Y, Answer)", slots=("X", "Y"), seed=seed)
    assert value_gap < DEEPPROBLOG
    assert gradient_gap < DEEPPROBLOG
