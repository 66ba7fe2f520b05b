"""deepproblog's ``Model`` - its program and its networks - as what a :class:`~nesy_gedi.logic.reasoner.Reasoner` takes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from problog.logic import AnnotatedDisjunction, Clause, Constant, Or, Term
from problog.program import PrologString
from torch import Tensor, nn

from nesy_gedi.errors import DistributionError, EngineError, NesyGediWarning, ProgramError, UsageError
from nesy_gedi.logic.deepproblog import MISREAD, has_misread_probabilities
from nesy_gedi.logic.forms import goals_of
from nesy_gedi.logic.program import Program, heads_of
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.to_deepproblog import EVIDENCE

if TYPE_CHECKING:
    from deepproblog.model import Model
    from deepproblog.network import Network

NAME = "<deepproblog model>"
"""The place that errors of a model's program name: deepproblog forgets which file it was read from."""

TENSOR_PREDICATES = frozenset(
    {
        *(
            "embed/2",
            "rbf/3",
            "add/3",
            "mul/3",
            "dot/3",
            "max/2",
            "sigmoid/2",
            "mean/2",
            "stack/2",
            "cat/2",
            "one_hot/3",
        ),
        *("list_to_tensor/2", "tensor_index/3", "less_than/2"),
    }
)
"""What deepproblog computes with tensors inside a program; a test compares them with what it registers."""


class FromDeepProbLog(NamedTuple):
    """A deepproblog model's program, and its networks by name."""

    program: Program
    networks: dict[str, DeepProbLogPerception]


def from_deepproblog(model: Model) -> FromDeepProbLog:
    """The program and the networks of a deepproblog ``Model``; weights are shared, not copied.

    Learned probabilities have the values that the model gives them now. The networks stay in the mode, training or
    evaluation, that they are in.

    Raises:
        ProgramError: the program has a network whose output is a tensor, computes with tensors, or calls Python.
        UsageError: a network of the program is missing, or keeps its top k symbols alone; the program learns the
            probabilities of a disjunction with a body, which deepproblog misreads.
    """
    statements = [_with_values(statement, model.parameters) for statement in model.program]
    text = "".join(f"{statement}.\n" for statement in statements)
    if [str(again) for again in PrologString(text)] != [str(statement) for statement in statements]:
        raise ProgramError(
            "deepproblog's copy of the program does not read back as it is written",
            where=NAME,
            hint="read its file: nesy_gedi.Program.load(path)",
        )
    program = Program(text, name=NAME)
    _refuse_python(program, model)
    if EVIDENCE & program.signatures:
        warnings.warn(
            "the program states evidence, which deepproblog ignores and a Reasoner conditions on",
            NesyGediWarning,
            stacklevel=2,
        )
    networks = {}
    for name, domain in program.networks.items():
        if name not in model.networks:
            raise UsageError(
                f"the model has no network {name}, which its program asks",
                where=NAME,
                hint=f"give the Model a Network(module, {name!r})",
            )
        networks[name] = DeepProbLogPerception(model.networks[name], domain, bernoulli=program.is_bernoulli(name))
    return FromDeepProbLog(program, networks)


class DeepProbLogPerception(Perception):
    """The module of a deepproblog ``Network`` that returns probabilities, as a perception.

    Args:
        network: whose module is asked as deepproblog does: with stacked inputs, or one by one where it does not batch.
        domain: the symbols that the program gives it.
        bernoulli: whether its first output is the probability of ``true``.

    Raises:
        UsageError: it keeps its top k symbols alone, or its output is a tensor.
    """

    def __init__(self, network: Network, domain: Sequence[str], *, bernoulli: bool) -> None:
        if network.k is not None:
            raise UsageError(
                f"it keeps the {network.k} likeliest symbols of each input alone (k = {network.k}), an approximation",
                where=f"network {network.name}",
                hint="make its Network without k: the answer is exact, and no slower",
            )
        super().__init__(_Rows(network, bernoulli), None, domain, output="probabilities")
        kinds = {p.dtype for p in network.network_module.parameters() if p.is_floating_point()}
        if len(kinds) == 1:
            (kind,) = kinds
            self.mean, self.std = self.mean.to(kind), self.std.to(kind)
        self.name = network.name

    def forward(self, *inputs: Any) -> Tensor:
        """Log-probabilities over the domain, (batch, len(domain)).

        Args:
            inputs: one for each input of the neural predicate: a tensor (batch, ...), or a list of the batch's terms
                where the program gives the network no tensors. A tensor of uint8 becomes float in [0, 1].

        Raises:
            DistributionError: the module does not return a distribution over the domain for each.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].dtype == torch.uint8:
            return super().forward(inputs[0])
        return self.of_raw(*inputs)

    def of_raw(self, *inputs: Any) -> Tensor:
        """As :meth:`forward`, with inputs as deepproblog's own module gets them, whatever their type.

        Raises:
            DistributionError, EngineError: as :meth:`forward`; the module failed.
        """
        where = f"network {self.name}"
        try:
            returned = self.encoder(*inputs)
        except Exception as error:  # whatever the user's module raises
            raise EngineError(
                f"deepproblog's module failed: {type(error).__name__}: {error}",
                where=where,
                hint="does it take these inputs in deepproblog? batching = True stacks them, else they come one by one",
            ) from error
        try:
            log_p = self.normalise(returned)
        except DistributionError as error:
            raise DistributionError(error.message, where=where, hint=error.hint) from error
        if len(log_p) != len(inputs[0]):
            raise DistributionError(
                f"it returns {len(log_p)} rows for {len(inputs[0])} inputs",
                where=where,
                hint="with batching = True its module must return a row for each",
            )
        return log_p


class _Rows(nn.Module):
    """A deepproblog network's module, asked for a whole batch: (batch, K) probabilities."""

    def __init__(self, network: Network, bernoulli: bool) -> None:
        super().__init__()
        self.module = network.network_module
        self.batching = network.batching
        self.bernoulli = bernoulli

    def forward(self, *inputs: Any) -> Any:
        returned = self.module(*inputs) if self.batching else [self.module(*each) for each in zip(*inputs, strict=True)]
        rows = torch.stack(list(returned)) if isinstance(returned, list | tuple) else returned
        if not self.bernoulli or not isinstance(rows, Tensor) or rows.dim() != 2 or not rows.shape[1]:
            return rows  # what is no row is refused by whoever checks it
        true = rows[:, :1]  # of several columns deepproblog reads the first
        return torch.cat([1.0 - true, true], 1)


def _with_values(statement: Term, values: Sequence[float]) -> Term:
    """A statement whose learned probabilities say their values, where deepproblog writes their numbers."""
    if isinstance(statement, AnnotatedDisjunction) and str(statement.body) != "true":
        if has_misread_probabilities([statement]):
            raise UsageError(MISREAD, where=NAME, hint="ask the program's file: nesy_gedi.Program.load(path)")
        return statement
    heads = [_with_value(head, values) for head in heads_of(statement)]
    if isinstance(statement, AnnotatedDisjunction):
        return AnnotatedDisjunction(heads, statement.body)
    if isinstance(statement, Or):
        return Or.from_list(heads)
    return Clause(heads[0], statement.body) if isinstance(statement, Clause) else heads[0]


def _with_value(head: Term, values: Sequence[float]) -> Term:
    p = head.probability
    if type(p) is not Term or p.functor != "t":
        return head
    return head.with_probability(Term("t", Constant(values[int(p.args[0])])))


def _refuse_python(program: Program, model: Model) -> None:
    """Refuse goals that deepproblog hands to Python.

    Raises:
        ProgramError: there is one, with its place.
    """
    foreign = TENSOR_PREDICATES | _registered(model)
    for clause in program.clauses:
        for goal in goals_of(clause):
            if goal.signature in foreign and goal.signature not in program.signatures:
                what = "computes with tensors" if goal.signature in TENSOR_PREDICATES else "is a Python function"
                raise program.error(
                    f"{goal.signature} {what} in deepproblog, and is not known here",
                    goal,
                    hint="let a network compute it, with a domain: nn(net, inputs, output, [a, b, ...])",
                )


def _registered(model: Model) -> set[str]:
    """What the model's engine hands to Python; nothing where it has none yet."""
    database = getattr(model.solver, "program", None)
    if database is None or not hasattr(database, "get_node"):
        return set()
    nodes = (database.get_node(number) for number in range(len(database)))
    return {f"{node.functor}/{node.arity}" for node in nodes if type(node).__name__ == "extern"}
