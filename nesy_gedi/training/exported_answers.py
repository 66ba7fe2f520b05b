"""Networks and circuit of a run's query form in one file: inputs of every slot in, log-probabilities of the answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet
from nesy_gedi.errors import RunError
from nesy_gedi.files import write_json
from nesy_gedi.logic.distributions import one_hot_log
from nesy_gedi.logic.exported_circuit import ExportedCircuit, log_mean
from nesy_gedi.networks.ensembles import log_average
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.exported_networks import CHECKED, sample, single_precision, unit_float
from nesy_gedi.training.onnx_files import TOLERANCE, capture, compare_onnx, difference, save_program, write_onnx
from nesy_gedi.training.runs import VERSION
from nesy_gedi.training.task import Task

ANSWERS = "answers"
"""Name of the files, before their endings."""

OUTPUT = "log_probabilities"


@dataclass(frozen=True)
class AnswerInput:
    """One argument, as ``answers.json`` lists it.

    Attributes:
        name: of the variable of the query form.
        kind: ``image`` for what networks see, float32 with images in [0, 1]; ``value`` for an observed value, whose number
            in the domain is given, int64.
        shape: of all rows, ``n`` being any number of them.
        dtype: of the tensor.
        networks: that look at it, or, of a value, that it stands in for.
        domain: of a value, in the order of its numbers.
    """

    name: str
    kind: str
    shape: tuple[str | int, ...]
    dtype: str
    networks: tuple[str, ...]
    domain: tuple[str, ...] | None = None


def answer_inputs(task: Task, perceptions: Mapping[str, Perception]) -> tuple[AnswerInput, ...]:
    """What the exported answers take: the slots of the form in its order, then the observed values in the task's."""
    found = []
    for slot in task.slots:
        readers = [item for item in task.seen if slot in item.slots]
        first = readers[0]
        shape = _shapes(perceptions[first.network])[first.slots.index(slot)]
        networks = tuple(dict.fromkeys(item.network for item in readers))
        found.append(AnswerInput(slot, "image", ("n", *shape), "float32", networks))
    taken = set(task.slots)
    for item in task.observed:
        name = item.slots[0] if item.slots[0] not in taken else f"{item.slots[0]}_{item.network}"
        taken.add(name)
        found.append(AnswerInput(name, "value", ("n",), "int64", (item.network,), item.domain))
    return tuple(found)


class AnswerNetwork(nn.Module):
    """Log-probabilities of a task's answers from its inputs, in operations that can be exported.

    Args:
        task: with its learned probabilities as they are to stay.
        encoders: network -> its members, as definitions load them: one, or several of an ensemble.
    """

    def __init__(self, task: Task, encoders: Mapping[str, Sequence[nn.Module]]) -> None:
        super().__init__()
        self.slots, self.seen, self.observed = task.slots, task.seen, task.observed
        self.networks = task.networks
        self.encoders = nn.ModuleList(nn.ModuleList(map(single_precision, encoders[name])) for name in self.networks)
        self.members = len(next(iter(encoders.values())))
        self.circuit = ExportedCircuit(task.reasoner)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Log-probabilities (n, answers) float32 of inputs as :func:`answer_inputs` lists them; of an ensemble those of
        the members' mean."""
        by_slot = dict(zip(self.slots, inputs, strict=False))
        rows = inputs[0].shape[0]
        stated: dict[tuple[str, ...], Tensor] = {}
        for item, values in zip(self.observed, inputs[len(self.slots) :], strict=True):
            numbers = torch.arange(len(item.domain))
            stated[item.network, *item.slots] = torch.where(values[:, None] == numbers, 0.0, -torch.inf)
        answers = []
        for member in range(self.members):
            seen = dict(stated)
            for name, members in zip(self.networks, self.encoders, strict=True):
                items = [item for item in self.seen if item.network == name]
                # All that a network sees goes through it at once.
                columns = [torch.cat([by_slot[item.slots[k]] for item in items]) for k in range(len(items[0].slots))]
                log_p = members[member].log_probabilities(*columns)  # type: ignore[index]
                parts = log_p.view(len(items), rows, log_p.shape[1])
                seen |= {(name, *item.slots): parts[k] for k, item in enumerate(items)}
            answers.append(self.circuit(*(seen[item.network, *item.slots] for item in self.circuit.inputs)))
        return answers[0] if self.members == 1 else log_mean(answers)


def write_answers(
    task: Task,
    perceptions: Mapping[str, Sequence[Perception]],
    encoders: Mapping[str, Sequence[nn.Module]],
    folder: Path,
    images: ImageSet | None,
    *,
    onnx: bool,
) -> dict[str, Any]:
    """Write ``answers.pt2``, ``answers.onnx`` and ``answers.json``, and try them.

    Args:
        perceptions: network -> its members, as the run has them.
        encoders: the same, as definitions load them.
        folder: that they are written into.
        images: that they are tried on; random ones where None.
        onnx: whether to write that, too.

    Returns:
        The document in ``answers.json``.

    Raises:
        RunError: what was written computes something else than the reasoner does.
    """
    network = AnswerNetwork(task, encoders).eval()
    inputs = answer_inputs(task, {name: members[0] for name, members in perceptions.items()})
    given = [_draw(what, images, k) for k, what in enumerate(inputs)]
    with torch.no_grad():
        wanted = _reasoned(task, perceptions, inputs, given)
        own = network(*given)
    what = f"the answers to {task.reasoner.form.text}"
    apart = {"reasoner": difference(own, wanted)}
    finite = wanted[wanted.isfinite()].abs()
    if not apart["reasoner"] <= TOLERANCE * max(1.0, float(finite.max()) if len(finite) else 0.0):
        raise RunError(f"{what} that were exported differ from the reasoner's by {apart['reasoner']:.3g}")
    names = [each.name for each in inputs]
    program = capture(network, given, what)
    save_program(program, folder / f"{ANSWERS}.pt2")
    with torch.no_grad():
        apart["torch_export"] = difference(program.module()(*given), own)
    if onnx:
        file = folder / f"{ANSWERS}.onnx"
        write_onnx(program, file, names, (OUTPUT,), {"query": task.reasoner.form.text}, what)
        apart["onnx"] = compare_onnx(file, dict(zip(names, given, strict=True)), {OUTPUT: own}, what)[OUTPUT]
    document = {
        "version": VERSION,
        "query": task.reasoner.form.text,
        "inputs": [asdict(each) for each in inputs],
        "output": {"name": OUTPUT, "shape": ["n", len(task.reasoner.answers)], "dtype": "float32"},
        "answers": list(task.reasoner.answers),
        "members": network.members,
        "evidence": network.circuit.conditional,
        "learned": task.reasoner.learned.probabilities(),
        "differences": apart,
    }
    write_json(folder / f"{ANSWERS}.json", document)
    return document


def _draw(what: AnswerInput, images: ImageSet | None, seed: int) -> Tensor:
    if what.domain is not None:
        return torch.randint(len(what.domain), (CHECKED,), generator=torch.Generator().manual_seed(seed))
    return unit_float(sample(images, tuple(int(size) for size in what.shape[1:]), CHECKED, seed))


def _reasoned(
    task: Task, perceptions: Mapping[str, Sequence[Perception]], inputs: Sequence[AnswerInput], given: Sequence[Tensor]
) -> Tensor:
    """The answers as the run itself computes them."""
    by_name = dict(zip((each.name for each in inputs), given, strict=True))
    values = given[len(task.slots) :]
    answers = []
    for member in range(len(next(iter(perceptions.values())))):
        log_p: dict[object, Tensor] = {
            (item.network, *item.slots): perceptions[item.network][member](
                *(by_name[slot] for slot in item.slots)
            ).float()
            for item in task.seen
        }
        for item, value in zip(task.observed, values, strict=True):
            log_p[item.network, *item.slots] = one_hot_log(value, len(item.domain), torch.float32)
        answers.append(task.reasoner(log_p))
    return answers[0] if len(answers) == 1 else log_average(torch.stack(answers))


def _shapes(perception: Perception) -> tuple[tuple[int, ...], ...]:
    shapes = getattr(perception, "image_shapes", None) or (perception.image_shape,)
    return tuple(shapes)
