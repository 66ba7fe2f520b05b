"""ProbLog's engine with three things more: it loads nothing unasked, keeps to a budget, and derives no goal twice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import problog
from problog.clausedb import ClauseDB
from problog.engine import DefaultEngine
from problog.logic import Clause, Constant, Term, Var, is_list, list2term, term2list
from problog.program import PrologString

from nesy_gedi.errors import ProgramError
from nesy_gedi.logic.budget import Watch
from nesy_gedi.logic.builtins import CallGraph
from nesy_gedi.logic.forms import SLOT, goals_of
from nesy_gedi.logic.program import DIRECTIVE, Program, heads_of
from nesy_gedi.logic.projection import PART, project
from nesy_gedi.logic.renaming import Renaming

_LISTS = frozenset(
    f"{name}/{arity}"
    for arity, names in {
        2: (
            *(
                "memberchk",
                "member",
                "append",
                "prefix",
                "last",
                "proper_length",
                "same_length",
                "reverse",
                "permutation",
            ),
            *("flatten", "max_member", "min_member", "sum_list", "max_list", "min_list", "list_to_set", "subset"),
        ),
        1: ("is_set",),
        3: (
            *("append", "select", "selectchk", "nextto", "delete", "nth0", "nth1", "numlist", "intersection", "union"),
            "subtract",
        ),
        4: ("select", "selectchk", "nth0", "nth1"),
    }.items()
    for name in names
)
"""The predicates of library(lists) that draw nothing at random; a test compares them with the library."""


def is_trusted_library(path: str) -> bool:
    """Whether a resolved file belongs to ProbLog's own library and opens no other file."""
    library = Path(problog.__file__).parent / "library"
    real = Path(os.path.realpath(path))
    return library.resolve() in real.parents and real.name not in {"db.py", "aproblog.py"}


def prepare(program: Program, rules: Sequence[Clause] = (), *, alike: bool = True) -> tuple[Engine, Any]:
    """An engine for ``program`` and ``rules`` beside it, and their clauses as its database.

    Args:
        alike: whether all images are treated alike, so that goals about one may be copied from those about another.

    Raises:
        ProgramError, ProbLogError: a clause cannot be read, or a file may not be loaded.
    """
    clauses = project([*program.clauses, *rules])
    clauses += _list_predicates(program, clauses)
    engine = Engine(program.trusted)
    database = engine.prepare(_Rewritten(program, clauses))
    if alike:
        engine.copy_goals(clauses)
    return engine, database


def _list_predicates(program: Program, clauses: Sequence[Term]) -> list[Clause]:
    """What brings in the predicates of ProbLog's library(lists) that are called and neither defined nor asked for.

    deepproblog gives the library to every program, so that its own examples do not ask for it. Here a program keeps its
    own ``append/3``, or whatever else it defines, and one without networks is ProbLog's, which does not.
    """
    if not program.networks or any(head.functor == DIRECTIVE for clause in clauses for head in heads_of(clause)):
        return []  # it may bring in what it calls, from anywhere
    missing = sorted({goal.signature for clause in clauses for goal in goals_of(clause)} & _LISTS - program.signatures)
    if not missing:
        return []
    wanted = [Term("'/'", Term(name), Constant(int(arity))) for name, arity in (each.split("/") for each in missing)]
    return [Clause(Term(DIRECTIVE), Term("use_module", Term("library", Term("lists")), list2term(wanted)))]


class _Database(ClauseDB):
    """A clause database that loads nothing from outside ProbLog's library."""

    def resolve_filename(self, filename: Any) -> str | None:
        found: str | None = super().resolve_filename(filename)
        if found is not None and not is_trusted_library(found):
            raise ProgramError(
                f"the program asks to load {filename}",
                hint="only ProbLog's libraries are loaded, since a file may hold any code; allow it with --trust",
            )
        return found

    def extend(self) -> _Database:
        # findall/3 and its like call their goal in an extension, which must not load what this database refuses.
        extended: _Database = super().extend()
        extended.__class__ = _Database
        return extended


class Engine(DefaultEngine):
    """Made by :func:`prepare`. ProbLog makes others of this class, for subquery/2, which have no budget of their own.

    Attributes:
        watch: the budget that is spent, None for no limit.
    """

    def __init__(self, trusted: bool = False, **options: Any) -> None:
        super().__init__(label_all=True, **options)
        self._trusted = trusted
        self.watch: Watch | None = None
        self._renaming = Renaming(set())

    def prepare(self, db: Any) -> Any:
        if self._trusted or isinstance(db, _Database):
            return super().prepare(db) if self._trusted else db
        database = _Database.createFrom(db, builtins=self.get_builtins())
        database.engine = self
        self._process_directives(database)
        return database

    def copy_goals(self, clauses: Sequence[Term]) -> None:
        """Copy goals that the pure predicates of ``clauses`` have answered for other images."""
        graph = CallGraph(clauses)
        self._renaming = Renaming({signature for signature in graph if graph.is_pure(signature)})

    def eval(self, node_id: int, **options: Any) -> Any:
        if self.watch is not None:
            self.watch.step(len(options["target"]), self._place)
        return super().eval(node_id, **options)

    def eval_define(self, node: Any, context: Any, target: Any, no_cache: bool = False, **options: Any) -> Any:
        goal = (node.functor, context)
        # While a goal that depends on itself is open, what others have derived may not be complete.
        if not no_cache and self.cycle_root is None and goal not in target._cache:
            found = self._renaming.results_like(goal, target)
            if found is not None:
                target._cache[goal] = found
        return super().eval_define(node=node, context=context, target=target, no_cache=no_cache, **options)

    def _place(self) -> str:
        """The goal that was being proved."""
        for record in reversed(self.stack[: self.pointer]):
            functor = getattr(getattr(record, "node", None), "functor", None)
            if type(record).__name__ == "EvalDefine" and not str(functor).startswith(PART):
                return f"grounding {shown(Term(functor, *record.context))}"
        return "grounding"


def shown(goal: Term) -> str:
    """A goal as the user knows it: images by the names that the form gives them, variables as underscores."""
    if goal.functor == SLOT:
        return str(goal.args[0])
    if is_list(goal):
        return f"[{', '.join(map(_shown_argument, term2list(goal, False)))}]" if goal.is_ground() else str(goal)
    if not goal.args or isinstance(goal, Constant):
        return str(goal)
    return f"{goal.functor}({', '.join(map(_shown_argument, goal.args))})"


def _shown_argument(argument: Any) -> str:
    return shown(argument) if isinstance(argument, Term) and not isinstance(argument, Var) else "_"


class _Rewritten(PrologString):
    """The program's rewritten clauses with the line numbers of its text."""

    def __init__(self, program: Program, clauses: Sequence[Term]) -> None:
        path = Path(program.source.name)
        super().__init__(program.source.expanded, source_root=str(path.parent), source_files=[program.source.name])
        self._clauses = list(clauses)

    def __iter__(self) -> Iterator[Term]:
        return iter(self._clauses)
