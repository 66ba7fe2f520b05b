"""The circuit cache: a hit is what a miss made, and nothing in the folder can do harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from fuzzing import examples
from hypothesis import given
from worlds import Built, built_formulas, to_circuit

from nesy_gedi.logic import cache as module
from nesy_gedi.logic.cache import GroundingCache, default_cache_dir
from nesy_gedi.logic.compilation import Circuit, compile_form
from nesy_gedi.logic.forms import QueryForm, read_form
from nesy_gedi.logic.formula import Constant, Formula, Learned, Neural, Variable
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner

TEXT = """
nn(net, [X], D, [0..3]) :: digit(X, D).
t(0.4)::rain; 0.3::snow.
sum(X, Y, S) :- digit(X, A), digit(Y, B), rain, S is A + B.
sum(X, Y, S) :- digit(X, A), digit(Y, B), \\+ rain, S is A * B.
evidence(snow, false).
"""
FORM = "sum(X, Y, S)"


@pytest.fixture
def cache(tmp_path: Path) -> GroundingCache:
    return GroundingCache(tmp_path / "circuits")


def compiled(cache: GroundingCache | None, text: str = TEXT, form: str = FORM, **options: bool) -> Circuit:
    program = Program(text, **options)
    return compile_form(program, read_form(program, form), cache=cache)


def stored(cache: GroundingCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


class TestHits:
    def test_a_hit_equals_the_miss(self, cache: GroundingCache) -> None:
        first, second = compiled(cache), compiled(cache)
        assert (first.cached, second.cached) == (False, True)
        assert second.formula.nodes == first.formula.nodes
        assert second.formula.scopes == first.formula.scopes
        assert second.formula.variables == first.formula.variables
        assert (second.answers, second.roots, second.evidence) == (first.answers, first.roots, first.evidence)
        assert (second.method, second.ground_s, second.compile_s) == (first.method, first.ground_s, first.compile_s)
        assert second.size() == first.size()
        assert [type(node) for node in second.formula.nodes] == [type(node) for node in first.formula.nodes]

    def test_a_hit_computes_the_same(self, cache: GroundingCache) -> None:
        log_p = {slot: torch.randn(5, 4).log_softmax(1) for slot in "XY"}
        results = []
        for _ in range(2):
            reasoner = Reasoner(Program(TEXT), FORM, cache=cache)
            results.append(reasoner(log_p))
        assert reasoner.circuit.cached
        assert torch.equal(*results)

    def test_goals_that_are_asked_together(self, cache: GroundingCache) -> None:
        form = "sum(X, Y, S), digit(X, D)"
        first, second = compiled(cache, form=form), compiled(cache, form=form)
        assert (first.cached, second.cached) == (False, True)
        assert (second.answers, second.roots, second.formula.nodes) == (first.answers, first.roots, first.formula.nodes)

    def test_one_file_a_circuit_and_no_remains(self, cache: GroundingCache) -> None:
        compiled(cache)
        compiled(cache)
        (file,) = stored(cache)
        assert file.suffix == ".json"

    @examples(40)
    @given(built_formulas())
    def test_every_formula_survives_the_trip(self, built: Built) -> None:
        formula, _ = to_circuit(built.formula, built.roots)
        again = module._read_formula(json.loads(json.dumps(module._write_formula(formula))))
        assert list(zip(map(type, again.nodes), again.nodes, strict=True)) == list(
            zip(map(type, formula.nodes), formula.nodes, strict=True)
        )
        assert again.variables == formula.variables

    def test_weights_of_all_kinds_and_wide_domains_survive_the_trip(self) -> None:
        weights = (Constant(0.1), Constant(1 / 3, complement=True), Neural("n", ("A", "B"), 4), Learned(2, 1))
        formula = Formula([Variable("x", weights * 50)])
        formula.literal(0, 1 << 199 | 5)
        again = module._read_formula(json.loads(json.dumps(module._write_formula(formula))))
        assert again.variables == formula.variables
        assert [type(weight) for weight in again.variables[0].weights] == [type(weight) for weight in weights * 50]
        assert again.nodes == formula.nodes


class TestMisses:
    @pytest.mark.parametrize(
        ("text", "form"),
        [
            (TEXT.replace("A * B", "A - B"), FORM),
            (TEXT + " ", FORM),
            (TEXT, "sum(X, X, S)"),
            (TEXT, "sum(A, B, S)"),
            (TEXT, "sum(X, Y, 3)"),
            (TEXT, "sum(X, Y, S), digit(X, D)"),
        ],
        ids=["rule", "blank", "one image twice", "names", "answer", "second goal"],
    )
    def test_another_text_or_form(self, cache: GroundingCache, text: str, form: str) -> None:
        compiled(cache)
        assert not compiled(cache, text, form).cached
        assert len(stored(cache)) == 2

    def test_other_slots(self, cache: GroundingCache) -> None:
        program = Program("q(K, R) :- member(R, [K, end]).\n:- use_module(library(lists)).")
        first = compile_form(program, QueryForm("q(K, R)", ("K",), ("R",)), cache=cache)
        second = compile_form(program, QueryForm("q(K, R)", ("K", "R"), ()), cache=cache)
        assert first.answers != second.answers
        assert not second.cached

    def test_another_version_of_the_engine(self, cache: GroundingCache, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled(cache)
        monkeypatch.setattr(module, "engine_digest", lambda: "another")
        assert not compiled(cache).cached

    def test_another_version_of_problog(self, cache: GroundingCache, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled(cache)
        monkeypatch.setattr(module, "version", lambda name: "0.0")
        assert not compiled(cache).cached

    def test_a_trusted_program_is_never_stored(self, cache: GroundingCache) -> None:
        compiled(cache)
        assert not compiled(cache, trusted=True).cached
        assert len(stored(cache)) == 1


class TestAddress:
    def test_is_a_digest_of_the_content(self, cache: GroundingCache) -> None:
        key = cache.key("a", "b")
        assert len(key) == 64
        assert set(key) <= set("0123456789abcdef")
        assert key == GroundingCache(Path("elsewhere")).key("a", "b")

    def test_parts_do_not_run_together(self, cache: GroundingCache) -> None:
        parts = [("ab",), ("a", "b"), ("a", "b", ""), ("", "ab"), ('a","b',)]
        assert len({cache.key(*own) for own in parts}) == len(parts)

    def test_the_file_is_named_by_it(self, cache: GroundingCache) -> None:
        compiled(cache)
        form = read_form(Program(TEXT), FORM)
        assert [file.stem for file in stored(cache)] == [cache.key(TEXT, form.text, *form.slots)]


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"null",
            b"[]",
            b'{"circuit": {}}',
            b'{"sha256": "0", "circuit": {"formula": {"variables": [], "nodes": []}, "answers": [], "roots": []}}',
        ],
        ids=["empty", "cut", "no text", "null", "list", "no digest", "wrong digest"],
    )
    def test_a_damaged_file_is_ignored_and_replaced(self, cache: GroundingCache, content: bytes) -> None:
        compiled(cache)
        (file,) = stored(cache)
        file.write_bytes(content)
        assert not compiled(cache).cached
        assert compiled(cache).cached

    def test_a_changed_number_is_noticed(self, cache: GroundingCache) -> None:
        compiled(cache)
        (file,) = stored(cache)
        file.write_text(file.read_text().replace('"roots": [', '"roots": [1, '))
        assert not compiled(cache).cached

    def test_a_folder_in_the_place_of_the_file(self, cache: GroundingCache) -> None:
        compiled(cache)
        (file,) = stored(cache)
        file.unlink()
        file.mkdir()
        assert not compiled(cache).cached
        assert stored(cache) == [file]  # and no half-written file beside it

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        cache = GroundingCache(tmp_path / "file" / "circuits")
        assert not compiled(cache).cached
        assert not compiled(cache).cached

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_without_permission(self, cache: GroundingCache) -> None:
        cache.folder.mkdir()
        cache.folder.chmod(0o500)
        assert not compiled(cache).cached
        assert stored(cache) == []


class TestFolder:
    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("NESY_GEDI_CACHE", str(tmp_path / "mine"))
        assert default_cache_dir() == GroundingCache().folder == tmp_path / "mine"

    def test_else_the_users_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NESY_GEDI_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_cache_dir() == tmp_path / "nesy-gedi" / "circuits"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert default_cache_dir() == tmp_path / "home" / ".cache" / "nesy-gedi" / "circuits"

    def test_without_a_cache_nothing_is_written(self, tmp_path: Path) -> None:
        compiled(None)
        assert list(tmp_path.iterdir()) == []
