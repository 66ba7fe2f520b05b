"""Obstacles: the goal, the clause, the two proofs or goals, and a way to write them that works."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.compilation import Circuit, compile_form, compile_queries
from nesy_gedi.logic.forms import read_form
from nesy_gedi.logic.obstacles import OBSTACLES_SHOWN
from nesy_gedi.logic.program import Program

COLOUR = "nn(net, [X], C, [red, green, blue]) :: colour(X, C).\nalike(X, Y) :- colour(X, C), colour(Y, C).\n"


def circuit(text: str, form: str) -> Circuit:
    program = Program(text, name="p.pl")
    return compile_form(program, read_form(program, form))


def of_queries(text: str) -> Circuit:
    return compile_queries(Program(text, name="p.pl"))


def test_two_proofs_of_images_that_share_one() -> None:
    text = COLOUR + "pair(X, Y, Z, yes) :- alike(X, Y).\npair(X, Y, Z, yes) :- alike(Y, Z)."
    (found,) = circuit(text, "pair(X, Y, Z, R)").obstacles
    assert str(found) == ("p.pl:4:1: two proofs of pair(X,Y,Z,yes) can hold together: alike(X,Y); and alike(Y,Z)")
    assert found.shared == ("colour(Y, _)",)
    assert found.rewrite == (
        "decide colour(Y, _) first: one rule for each of its values, and what follows takes the value"
    )


def test_the_advice_for_two_proofs_that_share_an_image() -> None:
    text = COLOUR + (
        "pair(X, Y, Z, yes) :- colour(Y, C), near(C, X, Z).\n"
        "near(C, X, _) :- colour(X, C).\nnear(C, X, Z) :- \\+ colour(X, C), colour(Z, C)."
    )
    assert circuit(text, "pair(X, Y, Z, R)").obstacles == ()


def test_two_goals_that_depend_on_one_image() -> None:
    text = COLOUR + "three(X, Y, Z, no) :- \\+ alike(X, Y),\n  \\+ alike(Y, Z)."
    (found,) = circuit(text, "three(X, Y, Z, R)").obstacles
    assert str(found) == ("p.pl:3:1: in three(X,Y,Z,no), \\+ alike(X,Y) and \\+ alike(Y,Z) both depend on colour(Y, _)")
    assert found.rewrite == "ask colour(Y, _) once, in a goal before these two, and let both take its value"


def test_proofs_that_a_negation_sets_apart() -> None:
    facts = "0.4::a. 0.5::b. 0.6::c.\n"
    (found,) = of_queries(facts + "p :- a, b.\np :- b, c.\nquery(p).").obstacles
    assert str(found) == "p.pl:3:1: two proofs of p can hold together: a, b; and b, c"
    assert found.rewrite == "let the proof b, c exclude the other: begin it with \\+ (a, b)"
    rewritten = of_queries(facts + "p :- a, b.\np :- \\+ (a, b), b, c.\nquery(p).")
    assert (rewritten.method, rewritten.obstacles) == ("direct", ())


def test_the_clause_among_several_that_calls_the_goals() -> None:
    text = COLOUR + (
        "q(X, Y, Z, one) :- colour(X, red).\n"
        "q(X, Y, Z, two) :- alike(X, Y), alike(X, Z).\n"
        "q(X, Y, Z, two) :- colour(X, red), colour(Y, green), colour(Z, blue)."
    )
    found = circuit(text, "q(X, Y, Z, R)").obstacles
    assert [one.where for one in found if one.kind == "shared choice"] == ["p.pl:4:1"]


def of_file(name: str) -> Circuit:
    path = Path(__file__).parents[1] / "programs" / f"{name}.pl"
    return of_queries(path.read_text(encoding="utf-8"))


def test_evidence() -> None:
    (found,) = of_file("evidence_explaining_away").obstacles
    assert str(found) == "p.pl: in the query together with the evidence, wet and cloudy both depend on rain"
    assert found.rewrite == "state the evidence on a choice itself, such as rain, in place of what follows from it"


def test_cycles_keep_the_names_of_the_program() -> None:
    found = of_file("graph_reachability").obstacles
    assert len(found) == 1
    assert (found[0].where, found[0].kind) == ("p.pl:16:1", "overlapping proofs")
    assert found[0].goal.startswith("reach(")
    assert "problog" not in str(found) + found[0].rewrite


def test_disjunctions_with_bodies_keep_the_names_of_the_program() -> None:
    found = of_file("bayes_diamond").obstacles
    assert "p.pl:18:6: in closed, river(mid) and road(mud) both depend on season(wet)" in map(str, found)
    assert "body_" not in str(found)


def test_what_is_told_once_is_not_told_for_every_answer() -> None:
    rules = "".join(f"n(X, Y, Z, {k}) :- alike(X, Y), alike(Y, Z), colour(X, red).\n" for k in range(3))
    either = (
        "m(X, Y, Z, V) :- alike(X, Y), member(V, [1, 2, 3]).\nm(X, Y, Z, V) :- alike(Y, Z), member(V, [1, 2, 3]).\n"
    )
    found = circuit(":- use_module(library(lists)).\n" + COLOUR + either, "m(X, Y, Z, V)").obstacles
    assert [one.kind for one in found] == ["overlapping proofs"]
    many = "".join(
        f"m{k}(X, Y, Z) :- alike(X, Y).\nm{k}(X, Y, Z) :- alike(Y, Z).\n" for k in range(OBSTACLES_SHOWN + 2)
    )
    asked = "".join(f"q(X, Y, Z, {k}) :- m{k}(X, Y, Z).\n" for k in range(OBSTACLES_SHOWN + 2))
    assert len(circuit(COLOUR + rules + many + asked, "q(X, Y, Z, K)").obstacles) <= OBSTACLES_SHOWN


def test_they_are_remembered_with_the_circuit(tmp_path: Path) -> None:
    program = Program(COLOUR + "three(X, Y, Z, no) :- \\+ alike(X, Y), \\+ alike(Y, Z).")
    form = read_form(program, "three(X, Y, Z, R)")
    made, again = (compile_form(program, form, cache=GroundingCache(tmp_path)) for _ in range(2))
    assert again.cached
    assert made.obstacles
    assert again.obstacles == made.obstacles


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "programs").glob("*.pl")), ids=lambda path: path.stem
)
def test_bundled_programs_have_none(path: Path) -> None:
    """But for the path: several ways through a map need the same road, in any program that says which ways there are."""
    recipe = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    program = Program.load(path)
    found = compile_form(program, read_form(program, recipe["query"], recipe.get("slots")))
    branched = path.stem == "path"
    assert (found.method, bool(found.obstacles)) == (("branched", True) if branched else ("direct", False))
