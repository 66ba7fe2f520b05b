"""A content-addressed store of circuits: the key is the program's text, so an edited program meets no old circuit."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nesy_gedi.files import user_cache, write_text
from nesy_gedi.logic.formula import And, Constant, Formula, Learned, Literal, Neural, Node, Not, Or, Truth, Variable
from nesy_gedi.logic.obstacles import Obstacle

if TYPE_CHECKING:
    from nesy_gedi.logic.compilation import Circuit

_NODES: dict[str, Any] = {"literal": Literal, "and": And, "or": Or, "not": Not, "truth": Truth}
_WEIGHTS: dict[str, Any] = {"constant": Constant, "neural": Neural, "learned": Learned}


def default_cache_dir() -> Path:
    """``$NESY_GEDI_CACHE``, else the user's cache folder."""
    if stated := os.environ.get("NESY_GEDI_CACHE"):
        return Path(stated)
    return user_cache() / "circuits"


@cache
def engine_digest() -> str:
    """SHA-256 of this package's own source: a circuit is never believed that another version of the engine made."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


class GroundingCache:
    """Circuits as JSON files in one folder. Reading and writing never fail: without a usable file there is no hit."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_cache_dir()

    def key(self, *parts: str) -> str:
        """The address of what ``parts`` describe, for this version of the engine and of ProbLog."""
        content = json.dumps([engine_digest(), version("problog"), *parts])
        return hashlib.sha256(content.encode()).hexdigest()

    def load(self, key: str) -> dict[str, Any] | None:
        """The arguments of the stored circuit, None when there is none or it cannot be read."""
        try:
            stored = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            body = stored["circuit"]
            if stored["sha256"] != _digest(body):
                return None
            circuit: dict[str, Any] = body | {
                "formula": _read_formula(body["formula"]),
                "answers": tuple(body["answers"]),
                "roots": tuple(body["roots"]),
                "obstacles": tuple(
                    Obstacle(**o | {"parts": tuple(o["parts"]), "shared": tuple(o["shared"])})
                    for o in body["obstacles"]
                ),
            }
            return circuit
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, key: str, circuit: Circuit) -> None:
        """Write ``circuit`` under ``key``: a whole file or none."""
        body = {f.name: getattr(circuit, f.name) for f in fields(circuit) if f.name != "cached"}
        body["formula"] = _write_formula(circuit.formula)
        body["obstacles"] = [asdict(obstacle) for obstacle in circuit.obstacles]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / f"{key}.json", json.dumps({"sha256": _digest(body), "circuit": body}))
        except OSError:
            return  # the next call grounds again


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _write_formula(formula: Formula) -> dict[str, Any]:
    node_names = {kind: name for name, kind in _NODES.items()}
    weight_names = {kind: name for name, kind in _WEIGHTS.items()}
    return {
        "variables": [[v.label, [[weight_names[type(w)], *w] for w in v.weights], v.heads] for v in formula.variables],
        # Masks of wide domains do not fit a JSON number everywhere, so they are text.
        "nodes": [
            [node_names[type(n)], *((n.variable, hex(n.mask)) if isinstance(n, Literal) else n)] for n in formula.nodes
        ],
    }


def _read_formula(stored: dict[str, Any]) -> Formula:
    variables = [
        Variable(label, tuple(_read_weight(*w) for w in weights), tuple(heads))
        for label, weights, heads in stored["variables"]
    ]
    formula = Formula(variables)
    for number, (kind, *rest) in enumerate(stored["nodes"]):
        if formula.restore(_read_node(kind, rest)) != number:
            raise ValueError("nodes out of order")
    return formula


def _read_weight(kind: str, *rest: Any) -> Any:
    return _WEIGHTS[kind](*(tuple(part) if isinstance(part, list) else part for part in rest))


def _read_node(kind: str, rest: list[Any]) -> Node:
    if kind == "literal":
        return Literal(rest[0], int(rest[1], 16))
    if kind in ("and", "or"):
        node: Node = _NODES[kind](tuple(rest[0]))
        return node
    made: Node = _NODES[kind](rest[0])
    return made
