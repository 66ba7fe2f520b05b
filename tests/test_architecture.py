"""The arrows of the project, read from the imports: who may import whom, and what no file may do.

``errors <- data, networks, objectives, logic, metrics <- concepts <- training <- reports <- jobs <- cli``; the five in the
middle are siblings and do not import one another.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "nesy_gedi"
FRONT_DOOR = ""  # the part of nesy_gedi/__init__.py
MAX_LINES = 400
LAYERS = (
    ("errors", "files", "programs", "datasets"),
    ("data", "networks", "objectives", "logic", "metrics"),
    ("concepts",),
    ("training",),
    ("reports",),
    ("jobs",),
    ("cli",),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
TERMINAL_MODULES = {"click", "rich"}
PICKLE_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"}
PICKLING_CALLS = {"torch.load", "torch.save"}
EVALUATING_CALLS = {"eval", "exec", "builtins.eval", "builtins.exec"}
EXITING_CALLS = {"sys.exit", "os._exit", "exit", "quit", "SystemExit"}
OWN_EXITS = {("nesy_gedi.logic.limited", "os._exit")}  # a child that this module forks; its parent goes on
PRINTING_CALLS = {"print", "builtins.print"}
IMPORTING_CALLS = {"importlib.import_module", "__import__", "builtins.__import__"}


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every Python file below nesy_gedi/ and cli/ with the module name that it is imported by."""
    for folder, prefix in ((root / PACKAGE, PACKAGE), (root / "cli", f"{PACKAGE}.cli")):
        for path in sorted(folder.rglob("*.py")):
            names = path.relative_to(folder).with_suffix("").parts
            yield ".".join((prefix, *names)), path


def part_of(module: str) -> str:
    """``nesy_gedi.logic.program`` -> ``logic``; the package itself is the front door."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] != "__init__" else FRONT_DOOR


def absolute(name: str | None, level: int, module: str) -> str:
    """The absolute name of ``from <level dots><name> import ...`` inside ``module``."""
    if level == 0:
        return name or ""
    base = module.split(".")[:-level]
    return ".".join([*base, name] if name else base)


def imported_modules(node: ast.AST, module: str, aliases: dict[str, str]) -> list[str]:
    """Absolute names that one import statement, or one call of an import function, brings in.

    ``from nesy_gedi import data`` yields ``nesy_gedi.data``: what is imported counts, not where from.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = absolute(node.module, node.level, module)
        return [f"{base}.{alias.name}" if base == PACKAGE else base for alias in node.names]
    if isinstance(node, ast.Call) and full_call_name(node, aliases) in IMPORTING_CALLS:
        texts = [a.value if isinstance(a, ast.Constant) and isinstance(a.value, str) else None for a in node.args[:2]]
        target, anchor = (*texts, None, None)[:2]
        if target is not None:
            name = target.lstrip(".")
            return [absolute(name, len(target) - len(name), f"{anchor}.__init__" if anchor else module)]
    return []


def call_name(node: ast.Call) -> str:
    """``print`` or ``torch.load``; empty for calls of anything but plain dotted names."""
    names: list[str] = []
    function = node.func
    while isinstance(function, ast.Attribute):
        names.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(names)]) if isinstance(function, ast.Name) else ""


def import_aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for: ``from torch import load as l`` gives ``l -> torch.load``."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            aliases.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return aliases


def full_call_name(node: ast.Call, aliases: dict[str, str]) -> str:
    first, dot, rest = call_name(node).partition(".")
    return aliases.get(first, first) + dot + rest


def arrow_faults(module: str, target: str) -> Iterator[str]:
    """What is wrong with ``module`` importing ``target``, if anything."""
    if target.split(".")[0] != PACKAGE:
        return
    here, there = part_of(module), part_of(target)
    if there not in RANK:
        if here != "cli" and here != FRONT_DOOR:
            yield f"imports the front door ({target}); only the command line may"
    elif here == FRONT_DOOR:
        if there == "cli":
            yield "the front door imports the command line"
    elif here in RANK and here != there and RANK[there] >= RANK[here]:
        yield f"{here} imports {there} ({target})"


def import_time_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes that run when the module is imported: no function bodies, no ``if TYPE_CHECKING``."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        yield node
        pending.extend(ast.iter_child_nodes(node))


def front_door_faults(tree: ast.Module) -> Iterator[str]:
    """The front door is lazy: nothing but errors at import, and its table of names stays below cli."""
    aliases = import_aliases(tree)
    for node in import_time_nodes(tree):
        for target in imported_modules(node, f"{PACKAGE}.__init__", aliases):
            if target.startswith(f"{PACKAGE}.") and part_of(target) != "errors":
                yield f"the front door imports {target} at once; it must wait for the first use"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and re.fullmatch(rf"{PACKAGE}\.cli(\.\w+)*", str(node.value)):
            yield "the front door imports the command line"


def call_faults(node: ast.Call, name: str, in_library: bool) -> Iterator[str]:
    if in_library and name in PRINTING_CALLS:
        yield "the library calls print"
    if in_library and name in EXITING_CALLS:
        yield f"the library calls {name}"
    if name in PICKLING_CALLS:
        yield f"calls {name}, which pickles"
    if name in EVALUATING_CALLS:
        yield f"calls {name}"
    for keyword in node.keywords:
        if keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True):
            yield "allows pickle"


def module_faults(module: str, text: str) -> Iterator[str]:
    """Every rule that one file breaks, as ``line: what``."""
    tree = ast.parse(text)
    aliases = import_aliases(tree)
    in_library = part_of(module) != "cli"
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for target in imported_modules(node, module, aliases):
            for fault in arrow_faults(module, target):
                yield f"{line}: {fault}"
            if target.split(".")[0] in PICKLE_MODULES:
                yield f"{line}: imports {target}"
            if in_library and target.split(".")[0] in TERMINAL_MODULES:
                yield f"{line}: the library imports {target}"
        if isinstance(node, ast.Call):
            name = full_call_name(node, aliases)
            if (module, name) not in OWN_EXITS:
                yield from (f"{line}: {fault}" for fault in call_faults(node, name, in_library))
        elif (
            in_library
            and isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Name)
            and node.exc.id in EXITING_CALLS
        ):
            yield f"{line}: the library raises {node.exc.id}"
    if module == f"{PACKAGE}.__init__":
        yield from (f"1: {fault}" for fault in front_door_faults(tree))


def faults(root: Path) -> list[str]:
    """All broken rules of the source tree below ``root``."""
    found: list[str] = []
    for module, path in source_files(root):
        where = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        if part_of(module) != FRONT_DOOR and part_of(module) not in RANK:
            found.append(f"{where}: {part_of(module)} has no place among the layers")
        if path.name == "utils.py":
            found.append(f"{where}: is named utils.py; name it after what it holds")
        lines = len(text.splitlines())
        if lines > MAX_LINES:
            found.append(f"{where}: has {lines} lines, more than {MAX_LINES}")
        found.extend(f"{where}:{fault}" for fault in module_faults(module, text))
    return found


def test_the_project_obeys_its_architecture() -> None:
    broken = faults(ROOT)
    assert not broken, "\n" + "\n".join(broken)


def test_the_checker_reads_the_whole_project() -> None:
    modules = {module for module, _ in source_files(ROOT)}
    assert {
        f"{PACKAGE}.__init__",
        f"{PACKAGE}.errors",
        f"{PACKAGE}.logic.program",
        f"{PACKAGE}.cli.__init__",
    } <= modules


ALLOWED = {
    "nesy_gedi/__init__.py": """
        from importlib import import_module
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from nesy_gedi.training.loop import train
        TABLE = {"train": "nesy_gedi.training.loop"}
        def __getattr__(name):
            from nesy_gedi.reports.html import write
            return getattr(import_module(TABLE[name]), name)
        """,
    "nesy_gedi/errors.py": "import difflib\n",
    "nesy_gedi/logic/program.py": """
        from nesy_gedi.errors import ProgramError
        from . import source
        from ..errors import UsageError
        import torch
        def f(model, text):
            model.eval()
            model.print(text)
            torch.exp(text)
            importlib.import_module(text, "nesy_gedi")
        """,
    "nesy_gedi/logic/source.py": "from importlib.resources import files\nROOT = files('nesy_gedi.programs')\n",
    "nesy_gedi/training/loop.py": "from nesy_gedi.concepts import assign\nfrom nesy_gedi import data, errors\n",
    "nesy_gedi/reports/html.py": "import nesy_gedi.training.loop\nimport numpy\nnumpy.load('x', allow_pickle=False)\n",
    "cli/main.py": """
        import sys
        import click
        import nesy_gedi as ng
        from nesy_gedi import train
        from nesy_gedi.reports.html import write
        print("done")
        sys.exit(0)
        """,
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def test_a_tree_that_obeys_has_no_faults(tmp_path: Path) -> None:
    assert faults(write_tree(tmp_path, ALLOWED)) == []


BROKEN = [
    ("nesy_gedi/errors.py", "import nesy_gedi.logic.program", "1: errors imports logic (nesy_gedi.logic.program)"),
    ("nesy_gedi/logic/a.py", "from nesy_gedi.data.images import load", "1: logic imports data"),
    ("nesy_gedi/data/a.py", "from nesy_gedi.logic import program", "1: data imports logic"),
    ("nesy_gedi/metrics/a.py", "from nesy_gedi import objectives", "1: metrics imports objectives"),
    ("nesy_gedi/networks/a.py", "from ..objectives.terms import entropy", "1: networks imports objectives"),
    ("nesy_gedi/networks/a.py", "from .. import objectives", "1: networks imports objectives"),
    ("nesy_gedi/networks/deep/a.py", "from ...concepts import x", "1: networks imports concepts"),
    ("nesy_gedi/networks/__init__.py", "from ..data import x", "1: networks imports data"),
    ("nesy_gedi/concepts/a.py", "def f():\n    import nesy_gedi.training.loop", "2: concepts imports training"),
    ("nesy_gedi/training/a.py", "import os, nesy_gedi.reports.html as h", "1: training imports reports"),
    ("nesy_gedi/reports/a.py", "from nesy_gedi.cli.main import main", "1: reports imports cli"),
    ("nesy_gedi/reports/a.py", "from nesy_gedi.jobs import train", "1: reports imports jobs"),
    ("nesy_gedi/jobs.py", "from nesy_gedi.cli.main import main", "1: jobs imports cli"),
    (
        "nesy_gedi/objectives/a.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nesy_gedi.logic.program import P",
        "3: objectives imports logic",
    ),
    (
        "nesy_gedi/objectives/a.py",
        "import importlib\nimportlib.import_module('nesy_gedi.training.loop')",
        "2: objectives imports training",
    ),
    (
        "nesy_gedi/objectives/a.py",
        "from importlib import import_module as get\nget('.data', 'nesy_gedi')",
        "2: objectives imports data",
    ),
    ("nesy_gedi/logic/a.py", "import nesy_gedi", "1: imports the front door"),
    ("nesy_gedi/reports/a.py", "import nesy_gedi as ng", "1: imports the front door"),
    ("nesy_gedi/logic/a.py", "from nesy_gedi import Program", "1: imports the front door"),
    ("nesy_gedi/logic/a.py", "from .. import Program", "1: imports the front door"),
    ("nesy_gedi/__init__.py", "from nesy_gedi.logic.program import Program", "at once"),
    ("nesy_gedi/__init__.py", "def f():\n    from nesy_gedi.cli import main", "imports the command line"),
    ("nesy_gedi/__init__.py", "TABLE = {'main': 'nesy_gedi.cli.main'}", "imports the command line"),
    ("nesy_gedi/extras/a.py", "x = 1", "extras has no place among the layers"),
    ("nesy_gedi/training/a.py", "import click", "1: the library imports click"),
    ("nesy_gedi/training/a.py", "from rich.progress import track", "1: the library imports rich.progress"),
    ("nesy_gedi/logic/a.py", "print('x')", "1: the library calls print"),
    ("nesy_gedi/logic/a.py", "import sys\nsys.exit(2)", "2: the library calls sys.exit"),
    ("nesy_gedi/logic/a.py", "from sys import exit as stop\nstop(2)", "2: the library calls sys.exit"),
    ("nesy_gedi/logic/a.py", "raise SystemExit(2)", "1: the library calls SystemExit"),
    ("nesy_gedi/logic/a.py", "raise SystemExit", "1: the library raises SystemExit"),
    ("nesy_gedi/data/a.py", "import pickle", "1: imports pickle"),
    ("cli/a.py", "from pickle import loads", "1: imports pickle"),
    ("nesy_gedi/data/a.py", "import torch\ntorch.load('x')", "2: calls torch.load"),
    ("nesy_gedi/data/a.py", "import torch as t\nt.save({}, 'x')", "2: calls torch.save"),
    ("cli/a.py", "from torch import load\nload('x')", "2: calls torch.load"),
    ("nesy_gedi/data/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "2: allows pickle"),
    ("nesy_gedi/logic/a.py", "eval('1')", "1: calls eval"),
    ("cli/a.py", "exec('x = 1')", "1: calls exec"),
    ("nesy_gedi/data/utils.py", "x = 1", "utils.py; name it"),
    ("nesy_gedi/data/a.py", "x = 1\n" * (MAX_LINES + 1), "has 401 lines"),
    ("cli/a.py", "x = 1\n" * (MAX_LINES + 1), "has 401 lines"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BROKEN, ids=[expected for _, _, expected in BROKEN])
def test_each_rule_can_fail(tmp_path: Path, name: str, text: str, expected: str) -> None:
    found = faults(write_tree(tmp_path, {name: text}))
    assert len(found) == 1, found
    assert found[0].startswith(name)
    assert expected in found[0]


def test_a_file_of_the_longest_size_passes(tmp_path: Path) -> None:
    assert faults(write_tree(tmp_path, {"nesy_gedi/data/a.py": "x = 1\n" * MAX_LINES})) == []
