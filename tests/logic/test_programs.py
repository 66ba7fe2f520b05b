"""Every program of tests/programs, against the answers in its comments and against problog itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from problog import get_evaluatable
from problog.program import PrologFile

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries

FOLDER = Path(__file__).parents[1] / "programs"
PROGRAMS = sorted(FOLDER.glob("*.pl"))
ANSWER = re.compile(r"^%% answer:\s+(?P<term>.*\S)\s+(?P<probability>[-+0-9.eE]+)\s*$", re.MULTILINE)
ERROR = re.compile(r"^%% error:\s+(?P<name>\w+)", re.MULTILINE)


def expected(path: Path) -> tuple[dict[str, float], str | None]:
    text = path.read_text(encoding="utf-8")
    error = ERROR.search(text)
    return {m["term"]: float(m["probability"]) for m in ANSWER.finditer(text)}, error["name"] if error else None


def test_the_corpus_is_there() -> None:
    assert len(PROGRAMS) >= 60


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_answers_as_stated_and_as_problog(path: Path) -> None:
    answers, error = expected(path)
    assert bool(answers) != bool(error), "state either answers or an error"
    if error:
        with pytest.raises(ProgramError) as raised:
            answer_queries(Program.load(path))
        assert path.name in str(raised.value.where)
        return
    found = answer_queries(Program.load(path))
    assert {k: found[k] for k in sorted(found)} == pytest.approx(
        {k: answers[k] for k in sorted(answers)}, rel=1e-9, abs=1e-14
    )
    reference = {str(k): float(v) for k, v in get_evaluatable().create_from(PrologFile(str(path))).evaluate().items()}
    assert found == pytest.approx(reference, rel=1e-9, abs=1e-14)
