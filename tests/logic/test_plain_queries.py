"""Plain programs: explanations, samples and further goals, against all worlds and against problog."""

from __future__ import annotations

import math

import pytest
from enumeration import enumerate_reasoner
from fuzzing import examples
from hypothesis import given, note, reject
from problog import get_evaluatable
from problog.program import PrologString
from test_random_programs import plain_programs
from tolerances import EXACT, PROBLOG

from nesy_gedi.errors import NesyGediError, ProgramError, UsageError
from nesy_gedi.logic import queries as queries_module
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import PlainQueries, answer_queries

MOST_WORLDS = 20_000

RAIN = """
0.2 :: rain.
0.5 :: hose.
wet(grass) :- rain.
wet(grass) :- hose.
wet(street) :- rain.
"""


@examples(60)
@given(plain_programs())
def test_explanations_are_the_most_probable_worlds(text: str) -> None:
    note(text)
    try:
        asked = PlainQueries(Program(text))
    except NesyGediError:
        reject()
    made = asked._reasoner
    if math.prod(len(choice.values) for choice in made.choices) > MOST_WORLDS:
        reject()
    every = enumerate_reasoner(made, {})
    found, frequencies = asked.explanations(), asked.frequencies(400, 0)
    for k, name in enumerate(made.answers):
        best, world = float(every.best(k)), found[name]
        if world is None:
            assert best == -math.inf
        else:
            assert world.log_probability == pytest.approx(best, abs=EXACT)
            assert world.share == pytest.approx(math.exp(best) / float(every.total(k)), abs=EXACT)
            assert list(world.choices) == [choice.label for choice in made.choices]
        exact = float(every.total(k) / every.total(-1))
        assert frequencies[name].standard_error == pytest.approx(
            math.sqrt(max(0.0, exact * (1 - exact)) / 400), abs=1e-7
        )
        assert abs(frequencies[name].frequency - exact) <= 6 * frequencies[name].standard_error + 1e-9


def test_what_is_told() -> None:
    asked = PlainQueries(
        Program(RAIN + "evidence(wet(grass)). query(wet(street)). query(wet(mars)). query(wet(grass)).")
    )
    found = asked.explanations()
    assert found["wet(mars)"] is None
    street, grass = found["wet(street)"], found["wet(grass)"]
    assert street is not None
    assert grass is not None
    # A query that comes down to one fact does not give it its own name.
    assert street.choices == {"rain": "rain", "hose": "hose"} or street.choices == {"rain": "rain", "hose": "\\+hose"}
    assert math.exp(street.log_probability) == pytest.approx(0.1, abs=EXACT)
    assert grass.choices == {"rain": "\\+rain", "hose": "hose"}
    assert grass.share == pytest.approx(0.4 / 0.6, abs=EXACT)


def test_further_goals_given_the_evidence() -> None:
    text = RAIN + "evidence(wet(grass)). "
    found = PlainQueries(Program(text), ["rain", "wet(X)"]).answers()
    expected = get_evaluatable("sdd").create_from(PrologString(text + "query(rain). query(wet(X)).")).evaluate()
    assert found == pytest.approx({str(term): float(p) for term, p in expected.items()}, abs=PROBLOG)


def test_learned_probabilities_count_as_they_are_written() -> None:
    asked = PlainQueries(Program("t(0.3) :: a. t(0.4) :: b; t(0.6) :: c. d :- a, c. query(d)."))
    (world,) = asked.explanations().values()
    assert world is not None
    assert math.exp(world.log_probability) == pytest.approx(0.18, abs=1e-6)
    assert world.share == pytest.approx(1.0)
    assert set(world.choices.values()) == {"a", "c"}


def test_many_worlds_are_counted_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = PlainQueries(Program(RAIN + "query(rain). query(wet(grass))."))
    monkeypatch.setattr(queries_module, "WORLDS_AT_ONCE", 7)
    found = asked.frequencies(1000, 5)
    assert found == asked.frequencies(1000, 5)
    assert found != asked.frequencies(1000, 6)
    for name, exact in asked.answers().items():
        assert found[name].frequency * 1000 == pytest.approx(round(found[name].frequency * 1000))
        assert abs(found[name].frequency - exact) < 5 * found[name].standard_error


def test_a_certain_program_has_nothing_to_draw() -> None:
    asked = PlainQueries(Program("a. query(a)."))
    assert asked.frequencies(10, 0)["a"].frequency == 1.0
    world = asked.explanations()["a"]
    assert world is not None
    assert (world.log_probability, world.share, world.choices) == (0.0, 1.0, {})


@pytest.mark.parametrize(
    ("goals", "kind", "said"),
    [
        ([], UsageError, "nothing is asked"),
        (["snow"], UsageError, "no predicate snow/0"),
        (["rain, hose"], UsageError, "expected one goal, found several"),
        (["wet("], UsageError, "not a query form"),
        (["lost(X)"], ProgramError, "no instance of lost("),
        (["wet(_)"], UsageError, "a variable without a name"),
    ],
)
def test_what_cannot_be_asked(goals: list[str], kind: type[NesyGediError], said: str) -> None:
    with pytest.raises(kind) as caught:
        PlainQueries(Program(RAIN + "lost(X) :- wet(X), fail."), goals)
    assert said in str(caught.value)
    assert caught.value.where
    assert caught.value.hint


def test_no_worlds_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot draw 0 worlds"):
        PlainQueries(Program("a. query(a).")).frequencies(0, 0)


def test_answers_are_those_of_answer_queries() -> None:
    program = Program(RAIN + "query(wet(X)).")
    assert PlainQueries(program).answers() == answer_queries(program)
