"""Rules in parts: what is cut, what is not, and that nothing else changes."""

from __future__ import annotations

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from problog import get_evaluatable
from problog.program import PrologString
from tolerances import EXACT

from nesy_gedi.logic import problog_engine
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.projection import PART, project
from nesy_gedi.logic.queries import answer_queries

CARRY = """
0.1::digit(X, 0); 0.2::digit(X, 1); 0.7::digit(X, 2).
add([], [], Carry, [Carry]).
add([X|Xs], [Y|Ys], Carry, [D|Ds]) :-
    digit(X, A), digit(Y, B), S is A + B + Carry, D is S mod 3, Next is S // 3, add(Xs, Ys, Next, Ds).
"""


def rules(text: str) -> list[str]:
    """The projected clauses that have a body, parts named part0, part1, ..."""
    names: dict[str, str] = {}
    found = []
    for clause in map(str, project(Program(text).clauses)):
        for word in clause.replace("(", " ").replace(",", " ").split():
            if word.startswith(PART):
                names.setdefault(word, f"part{len(names)}")
        for old, new in sorted(names.items(), reverse=True):
            clause = clause.replace(old, new)
        if ":-" in clause:
            found.append(clause.replace(" ", ""))
    return found


class TestWhatIsCut:
    def test_a_rule_forgets_what_no_further_goal_mentions(self) -> None:
        first, second, rest = rules("a(1,2). b(2,3). c(3). p(X) :- a(X, Y), b(Y, Z), c(Z), c(X).")
        assert first == "part0(X,Z):-a(X,Y),b(Y,Z)"
        assert second == "part1(X):-part0(X,Z),c(Z)"
        assert rest == "p(X):-part1(X),c(X)"

    def test_tests_and_arithmetic_stay_with_the_goals_before_them(self) -> None:
        part, rest = rules(CARRY)
        assert part.startswith("part0(X,Y,Carry,D,Next):-")
        assert all(goal in part for goal in ("digit(X,A)", "digit(Y,B)", "Sis", "Dis", "Nextis"))
        assert "digit" not in rest
        assert "add(Xs,Ys,Next,Ds)" in rest

    @pytest.mark.parametrize(
        "text",
        [
            "a(1). b(1). p(X) :- a(X), b(X).",  # nothing to forget
            "a(1,2). b(2). p(X) :- a(X, Y), b(Y).",  # the last goal
            "a(1,2). b(2). c(1). 0.3::p(X) :- a(X, Y), b(Y), c(X).",  # every grounding is a choice of its own
            "a(1,2). c(1). 0.3::p(X); 0.2::q(X) :- a(X, Y), a(Y, Z), c(X).",
            "e(1,2). c(1). p(X) :- p(Y), e(Y, X), c(X). p(1).",  # comes back to the rule itself
            "e(1,2). c(1). p(X) :- q(Y), e(Y, X), c(X). q(X) :- p(X). p(1).",
            "a(1,2). c(1). p(X, L) :- findall(Y, a(X, Y), L), c(X).",
            "a(1,2). c(1). p(X, G) :- call(G), a(X, Y), c(Y).",
            "a(1,2). c(1). p(X) :- (a(X, Y) -> c(Y) ; true), c(X).",
        ],
    )
    def test_what_stays_whole(self, text: str) -> None:
        program = Program(text)
        assert [str(c) for c in project(program.clauses)] == [str(c) for c in program.clauses]

    def test_negation_is_cut_with_the_goals_that_bind_it(self) -> None:
        part, rest = rules("a(1,2). b(2). c(1). p(X) :- a(X, Y), \\+ b(Y), c(X).")
        assert "b(Y)" in part
        assert "b(" not in rest


PREDICATES = ("a", "b", "c")
VARIABLES = ("X", "Y", "Z", "W", "_")


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Probabilistic relations over two constants, and rules that join them in a chain."""
    lines = []
    for name in PREDICATES:
        for pair in ("1, 1", "1, 2", "2, 1", "2, 2"):
            if draw(st.booleans()):
                lines.append(f"{draw(st.sampled_from(('0.3::', '0.8::', '')))}{name}({pair}).")
        lines.append(f"0.5::{name}(2, 1) :- \\+ coin.")
    lines.append("0.4::coin.")
    for _ in range(draw(st.integers(1, 2))):
        goals = [
            f"{draw(st.sampled_from(PREDICATES))}({draw(st.sampled_from(VARIABLES))}, {draw(st.sampled_from(VARIABLES))})"
            for _ in range(draw(st.integers(2, 4)))
        ]
        bound = sorted({v for goal in goals for v in goal[2:-1].split(", ")} - {"_"})
        if draw(st.booleans()) and len(bound) >= 2:
            goals.append(f"{bound[0]} {draw(st.sampled_from(('<', '=:=', '==')))} {bound[1]}")
        if draw(st.booleans()) and bound:
            goals.append(f"\\+ {draw(st.sampled_from(PREDICATES))}({bound[0]}, {bound[-1]})")
        if draw(st.booleans()) and bound:
            goals.append(f"{draw(st.sampled_from(PREDICATES))}({bound[-1]}, {draw(st.sampled_from(('1', '2')))})")
        head = f"q({bound[0]}, {bound[-1]})" if bound else "q(1, 1)"
        lines.append(f"{head} :- {', '.join(goals)}.")
    return "\n".join([*lines, "q(3, 3) :- fail.", "query(q(1, _)).", "query(q(_, 2))."])


class TestNothingElseChanges:
    @examples(120)
    @given(programs())
    def test_random_joins(self, text: str) -> None:
        found = answer_queries(Program(text))
        expected = get_evaluatable().create_from(PrologString(text)).evaluate()
        reference = {str(answer): p for answer, p in expected.items() if answer.is_ground()}
        assert {answer: p for answer, p in found.items() if p or answer in reference} == pytest.approx(
            reference, abs=EXACT
        )

    def test_the_random_joins_are_cut(self) -> None:
        # Otherwise the property above would say nothing about parts.
        text = "0.3::a(1, 2). 0.8::b(2, 1). b(2, 2). q(X, W) :- a(X, Y), b(Y, Z), a(Z, W)."
        assert any(PART in str(clause) for clause in project(Program(text).clauses))

    def test_solutions_keep_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = """
        e(1, b). e(1, a). e(2, a). f(a, 9). f(b, 8). f(b, 7). g(9, z). g(8, x). g(7, z).
        p(X, W) :- e(X, Y), f(Y, Z), g(Z, W).
        all(L) :- findall(W, p(1, W), L).
        query(all(_)).
        """
        parted = answer_queries(Program(text))
        monkeypatch.setattr(problog_engine, "project", list)
        assert parted == answer_queries(Program(text))

    def test_errors_name_the_place_in_the_rule(self) -> None:
        from nesy_gedi.errors import ProgramError

        text = "a(1,2). c(1).\np(X) :-\n    a(X, Y),\n    Z is Y + Q,\n    c(Z).\nquery(p(1))."
        with pytest.raises(ProgramError) as raised:
            answer_queries(Program(text))
        assert raised.value.where == "<string>:4:7"
