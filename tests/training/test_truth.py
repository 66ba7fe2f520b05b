"""Answers are drawn with the probabilities that the recipe says, wherever training has got to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import SLIPPING, SMALL

from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.program import Program
from nesy_gedi.training.recipe import DataRecipe, Recipe
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import evaluate, train

GAME = """
nn(coin_net, [X], S, [0, 1]) :: coin(X, S).
t(_) :: ball(Draw, gold); t(_) :: ball(Draw, silver); 0.2 :: ball(Draw, lead).
t(0.5) :: lucky(S) :- between(0, 1, S).
draw(X, Ball, yes) :- coin(X, S), ball(1, Ball), lucky(S).
draw(X, Ball, no) :- coin(X, S), ball(1, Ball), \\+ lucky(S).
"""


def slipping(*truth: str) -> Recipe:
    return replace(SMALL, data=replace(SMALL.data, truth=truth))


def game(*truth: str) -> Task:
    return Task(Program(GAME, name="game.pl"), Recipe("draw(X, Ball, Luck)", data=DataRecipe(truth=truth)))


def share_of_slips(task: Task) -> float:
    symbols = torch.tensor([[3, 4]]).expand(20_000, 2)
    answers = [task.reasoner.answers[k] for k in task.derive(symbols, 1).answers.tolist()]
    assert set(answers) <= {"7", "8"}
    return answers.count("8") / len(answers)


@pytest.mark.parametrize(
    ("truth", "share"), [((), 0.5), (("0.1",), 0.1), (("0.9",), 0.9), (("0",), 0.0), (("1",), 1.0)]
)
def test_answers_are_drawn_with_the_truth(truth: tuple[str, ...], share: float) -> None:
    task = Task(Program(SLIPPING), slipping(*truth))
    before = task.reasoner.learned.probabilities()
    assert share_of_slips(task) == pytest.approx(share, abs=0.015)
    assert task.reasoner.learned.probabilities() == before
    assert list(before.values()) == [pytest.approx([0.5, 0.5])]  # where training begins


def test_what_was_learned_does_not_change_what_is_drawn() -> None:
    task = Task(Program(SLIPPING), slipping("0.1"))
    with torch.no_grad():
        task.reasoner.learned.logits[0].copy_(torch.tensor([5.0, 0.0]))
    assert share_of_slips(task) == pytest.approx(0.1, abs=0.015)
    assert float(task.reasoner.learned.logits[0].detach()[0]) == 5.0


def test_several_clauses_with_written_out_heads() -> None:
    task = game("0.7 0.1", "0.25")
    derived = task.derive(torch.zeros(20_000, 1, dtype=torch.long), 2)
    shares = derived.answers.bincount(minlength=6).double() / 20_000
    found = dict(zip(task.reasoner.answers, shares.tolist(), strict=True))
    for ball, p in (("gold", 0.7), ("silver", 0.1), ("lead", 0.2)):
        assert found[f"{ball},yes"] == pytest.approx(p * 0.25, abs=0.015)
        assert found[f"{ball},no"] == pytest.approx(p * 0.75, abs=0.015)


def test_the_context_ends_with_an_error_as_well() -> None:
    task = Task(Program(SLIPPING), slipping("0.1"))
    inside = {}

    def fail() -> None:
        with task.answering():
            inside.update(task.reasoner.learned.probabilities())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(inside.values()) == [pytest.approx([0.1, 0.9])]
    assert list(task.reasoner.learned.probabilities().values()) == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (("0.7 0.1",), "1 texts for the 2 clauses of game.pl with learned probabilities"),
        (("0.7 0.1", "0.2", "0.3"), "3 texts for the 2 clauses"),
        (("0.7", "0.2"), '"0.7" has 1 numbers for the 2 learned probabilities of t\\(_\\)::ball'),
        (("0.7 0.2 0.1", "0.2"), '"0.7 0.2 0.1" has 3 numbers for the 2'),
        (("0.7 much", "0.2"), '"0.7 much" are no probabilities'),
        (("0.7 nan", "0.2"), '"0.7 nan" are no probabilities'),
        (("0.7 0.1", "1.2"), '"1.2" are no probabilities'),
        (("0.7 0.1", "-0.2"), '"-0.2" are no probabilities'),
        (("0.7 0.2", "0.2"), '"0.7 0.2" sums to 0.9, where .* leaves 0.8'),
        (("0.7 0.05", "0.2"), '"0.7 0.05" sums to 0.75, where .* leaves 0.8'),
    ],
)
def test_what_cannot_be_true(truth: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        game(*truth)
    assert caught.value.where == "data.truth"
    assert caught.value.hint


def test_a_run_keeps_its_truth(tmp_path: Path) -> None:
    """What is measured later is measured on the same answers, however far the learned probability has come."""
    recipe = replace(slipping("0.05"), training=replace(SMALL.training, learning_rate=0.5, epochs=1))
    trained = train(Program(SLIPPING, name="slipping.pl"), recipe, device="cpu", out=tmp_path / "run")
    (learned,) = trained.document["learned"].values()
    assert abs(learned[0] - 0.05) > 0.1
    again = evaluate(trained.run.path, device="cpu")
    assert torch.equal(again.queries.answers, trained.queries.answers)
    other = train(Program(SLIPPING, name="slipping.pl"), slipping("0.95"), device="cpu", out=tmp_path / "other")
    assert not torch.equal(other.queries.answers, trained.queries.answers)
