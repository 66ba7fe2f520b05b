"""How probable any atoms of a program are, beside the answers to a query form and given one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from problog.logic import And, Clause, Constant, Term, Var
from torch import Tensor, nn

from nesy_gedi.errors import AnswerError, BudgetError, ProgramError, UsageError, did_you_mean
from nesy_gedi.logic.budget import Budget, Watch
from nesy_gedi.logic.choices import answer_columns
from nesy_gedi.logic.compilation import Circuit, answer_text
from nesy_gedi.logic.forms import QUERY, SLOT, QueryForm, read_form
from nesy_gedi.logic.formula import TRUE
from nesy_gedi.logic.grounding import ground
from nesy_gedi.logic.hybrid import extract_circuit
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.logic.structure import find_violations

ATOM = f"{QUERY} atom"
"""Functor of the goals that stand for atoms; no program can write it, as for ``QUERY``."""

MOST_PAIRS = 50_000
"""Atoms times answers, each of which is a root of the circuit."""


class Marginals(nn.Module):
    """Log-probabilities of atoms over the images of a reasoner, batch-wide and differentiable.

    Args:
        reasoner: its program, query form, images and learned probabilities, which are shared, not copied.
        atoms: goals such as ``"halted(X)"`` or ``"digit(X, D)"``. Variables with the name of one of the reasoner's images
            are that image; the others are free, and each instance is an atom of its own. Goals that are joined by commas
            are asked together.
        given: answers that may be conditioned on; all of the reasoner's when not given.
        budget: of the compilation.

    Attributes:
        atoms: all instances, as text; index ``i`` is column ``i`` of the result.
        inputs: the distributions that are asked for, in order; atoms may ask for more than the reasoner does.

    Raises:
        UsageError: an atom is no goal of the program, or asks about an image that the reasoner does not have.
        AnswerError: ``given`` has an answer that the program cannot derive.
        ProgramError: grounding failed, or a goal has no instance.
        BudgetError: the circuit is too large.
    """

    _position: Tensor

    def __init__(
        self,
        reasoner: Reasoner,
        atoms: Sequence[str],
        *,
        given: Sequence[object] | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__()
        if isinstance(atoms, str) or not atoms:
            raise UsageError("no atoms", where="Marginals", hint='give a list such as ["digit(X, D)"]')
        asked = [_read(reasoner, text) for text in atoms]
        conditions = list(reasoner.answers) if given is None else [str(answer) for answer in given]
        for answer in conditions:
            if answer not in reasoner.answers:
                hint = did_you_mean(answer, reasoner.answers)
                raise AnswerError(f"the program cannot derive the answer {answer}", where="given", hint=hint)
        circuit, self.atoms = _compile(reasoner, asked, conditions, budget or Budget())
        self._inner = Reasoner.of_circuit(reasoner.program, circuit, reasoner.form)
        self._inner.learned = reasoner.learned
        self._inner.validate = reasoner.validate
        self.inputs = self._inner.inputs
        self._answers = len(conditions)
        position = torch.full((len(reasoner.answers) + 1,), -1)
        position[[reasoner.answers.index(answer) for answer in conditions]] = torch.arange(len(conditions))
        self.register_buffer("_position", position, persistent=False)
        self._index = {text: k for k, text in enumerate(self.atoms)}

    def forward(
        self, log_p: Tensor | Mapping[object, Tensor], target: Tensor | int | None = None, *, batch: int | None = None
    ) -> Tensor:
        """Log-probability of every atom, given the program's evidence and, where there is a ``target``, an answer.

        Args:
            log_p: as for :meth:`Reasoner.forward`, over ``inputs``.
            target: column of an answer of the reasoner, one for all rows or shape ``(batch,)``.
            batch: batch size when no distribution is given.

        Returns:
            Shape ``(batch, len(atoms))``, in nats; -inf for what is impossible, and for everything where the answer or
            the evidence is.

        Raises:
            DistributionError: as for :meth:`Reasoner.forward`.
            UsageError: ``target`` is no column of an answer, or of none that was ``given``.
        """
        roots, atoms, answers = self._inner._roots(log_p, batch), len(self.atoms), self._answers
        if target is None:
            joint = roots[:, :atoms]
            if self._inner.circuit.evidence == TRUE:
                return joint
            condition = roots[:, -1:]
        else:
            columns = answer_columns(target, len(self._position) - 1, len(roots), roots.device)
            own = self._position.to(roots.device)[columns]
            if bool((own < 0).any()):
                raise UsageError(
                    f"nothing can be said given the answer in column {int(columns[own < 0][0])}",
                    where="target",
                    hint="name it among the answers given=[...] when the marginals are made",
                )
            pairs = roots[:, atoms + answers : atoms + answers + atoms * answers].view(-1, atoms, answers)
            joint = pairs.gather(2, own[:, None, None].expand(-1, atoms, 1))[:, :, 0]
            condition = roots[:, atoms : atoms + answers].gather(1, own[:, None])
        return joint - condition.masked_fill(condition == -torch.inf, 0.0)

    def index(self, atom: str) -> int:
        """The column of ``atom``, such as ``"digit(X,3)"``; blanks do not matter.

        Raises:
            AnswerError: it is none of ``atoms``.
        """
        blankless = {text.replace(" ", ""): k for text, k in self._index.items()}
        found = self._index.get(atom, blankless.get(atom.replace(" ", "")))
        if found is not None:
            return found
        raise AnswerError(f"{atom} is none of the atoms", where="Marginals", hint=did_you_mean(atom, self.atoms))


def _read(reasoner: Reasoner, text: str) -> QueryForm:
    """An atom's goal, its variables sorted into the reasoner's images and free ones."""
    slots = reasoner.form.slots
    found = read_form(reasoner.program, text)
    if foreign := [name for name in found.slots if name not in slots]:
        raise UsageError(
            f"{foreign[0]} is an image, but none of {reasoner.form.text}",
            where=text,
            hint=f"images are {', '.join(slots)}" if slots else "the query form has no images",
        )
    names = (*found.slots, *found.outputs)
    return read_form(reasoner.program, text, [name for name in names if name in slots])


def _compile(
    reasoner: Reasoner, asked: Sequence[QueryForm], conditions: Sequence[str], budget: Budget
) -> tuple[Circuit, tuple[str, ...]]:
    """The circuit of the atoms, of the answers to condition on, and of each atom with each answer, in this order."""
    started = time.perf_counter()
    form = reasoner.form
    goals, rules = [form.goal()], list(form.rules())
    for number, atom in enumerate(asked):
        slots = [Term(SLOT, Term(name)) for name in atom.slots]
        goals.append(Term(ATOM, Constant(number), *slots, *map(Var, atom.outputs)))
        head = Term(ATOM, Constant(number), *map(Var, (*atom.slots, *atom.outputs)))
        rules.append(Clause(head, And.from_list(list(atom.goals()))))
    watch = Watch(budget, f"{reasoner.program.source.name}, {form.text}")
    grounded = ground(reasoner.program, goals, rules, watch=watch)
    formula = grounded.formula
    answers: dict[str, int] = {}
    atoms: dict[str, int] = {}
    missing = dict(enumerate(asked))
    for term, node in grounded.answers:
        if not all(isinstance(argument, Term) and argument.is_ground() for argument in term.args):
            continue  # ProbLog's way to say that a goal has no proof
        if term.functor == ATOM:
            number = int(term.args[0])
            missing.pop(number, None)
            text, into = _instance(asked[number], term), atoms
        else:
            text, into = answer_text(form, term), answers
        into[text] = formula.disjoin([into[text], node]) if text in into else node
    if missing:
        raise ProgramError(
            f"no instance of {next(iter(missing.values())).text} can be derived, whatever the networks say",
            where=reasoner.program.source.name,
            hint="check the rules for this predicate; a missing rule or a failing comparison leaves nothing",
        )
    if len(atoms) * len(conditions) > MOST_PAIRS:
        raise BudgetError(
            f"{len(atoms)} atoms beside {len(conditions)} answers are more than {MOST_PAIRS} pairs",
            where=form.text,
            hint="say which answers will be conditioned on: given=[...], or given=[] for none",
        )
    observed = [formula.conjoin([answers[text], grounded.evidence]) for text in conditions]
    roots = [formula.conjoin([node, grounded.evidence]) for node in atoms.values()] + observed
    roots += [formula.conjoin([node, other]) for node in atoms.values() for other in observed]
    roots.append(grounded.evidence)
    ground_s = time.perf_counter() - started
    violating = {violation.node for violation in find_violations(formula, roots)}
    made = extract_circuit(formula, roots, violating, watch)
    names = [*atoms, *conditions, *(f"{atom}, {answer}" for atom in atoms for answer in conditions)]
    compile_s = time.perf_counter() - started - ground_s
    circuit = Circuit(
        made.formula, tuple(names), tuple(made.roots[:-1]), made.roots[-1], made.method, ground_s, compile_s
    )
    return circuit, tuple(atoms)


def _instance(atom: QueryForm, term: Term) -> str:
    """The atom as text, its free variables replaced by what ``term`` derived for them."""
    derived = dict(zip((*atom.slots, *atom.outputs), term.args[1:], strict=True))
    values = {name: Var(name) if name in atom.slots else value for name, value in derived.items()}
    return ",".join(str(goal.apply(values)) for goal in atom.goals())
