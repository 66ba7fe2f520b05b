"""The distributions that a caller gives for a batch, found by the network and the slots that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, float32, float64

from nesy_gedi.logic.deciding import Choice, DecidedGrounding
from nesy_gedi.logic.distributions import NeuralInput, check_input, look_up, side_by_side
from nesy_gedi.logic.forms import QueryForm
from nesy_gedi.logic.program import Program

Reading = tuple[str, tuple[str, ...]]
"""A network and the slots that it reads."""


class Given:
    """Log-probabilities as :class:`nesy_gedi.Reasoner` takes them, each checked when it is first asked for.

    An approximation meets some networks only on the way, so a mapping may hold more than ``inputs``; a single tensor
    holds these and no others.

    Attributes:
        size: the batch.
    """

    def __init__(
        self,
        program: Program,
        form: QueryForm,
        inputs: Sequence[NeuralInput],
        log_p: Tensor | Mapping[object, Tensor],
        *,
        batch: int | None = None,
        validate: bool = True,
    ) -> None:
        self._program = program
        self._form = form
        self._validate = validate
        self._inputs = inputs
        self._log_p: Mapping[object, Tensor] = (
            _by_reading(inputs, log_p, form.text) if isinstance(log_p, Tensor) else log_p
        )
        self._found: dict[Reading, Tensor] = {}
        tensors = list(self._log_p.values())
        self.size = tensors[0].shape[0] if tensors and tensors[0].dim() else (batch if batch is not None else 1)

    def __call__(self, reading: Reading) -> Tensor:
        """Log-probabilities of one input, shape ``(batch, K)``, in single or double precision.

        Raises:
            DistributionError: there is none, it has the wrong shape, or a row is no distribution.
            UsageError: several networks read this slot, and the distribution does not say of which it is.
        """
        if reading not in self._found:
            network, slots = reading
            item = NeuralInput(network, slots, self._program.networks[network])
            tensor = look_up(self._inputs, self._log_p, item, self._form.text)
            check_input(item, tensor, self.size, self._validate)
            self._found[reading] = tensor if tensor.dtype in (float32, float64) else tensor.float()
        return self._found[reading]


def _by_reading(inputs: Sequence[NeuralInput], log_p: Tensor, where: str) -> dict[object, Tensor]:
    rows = side_by_side(inputs, log_p, where).unbind(1)
    return {(item.network, *item.slots): own for item, own in zip(inputs, rows, strict=True)}


PROBES = 64
"""How many worlds are evaluated at most to find what a program asks, before any distribution is there."""

PROBES_IN_VAIN = 12
"""After so many worlds in a row that ask nothing new, all inputs count as found."""

CHOICES_PROBED = 5_000
"""After so many choices, a millisecond each, no further world is evaluated: wide domains make each world slow."""


class _Visited:
    """A node of the tree of a program's questions: how often each value of the next one was tried."""

    def __init__(self) -> None:
        self.times = 0
        self.values: dict[int, _Visited] = {}

    def least_tried(self, size: int) -> int:
        return min(range(size), key=lambda value: self.values[value].times if value in self.values else 0)

    def go(self, value: int) -> _Visited:
        visited = self.values.setdefault(value, _Visited())
        visited.times += 1
        return visited


def find_inputs(grounds: DecidedGrounding) -> list[NeuralInput]:
    """The inputs that a program asks in some worlds, each going where few have gone before; in the reasoner's order.

    What it asks in rare worlds only may be missing.
    """
    found: dict[Reading, None] = {}
    networks = grounds.program.networks
    root = _Visited()
    vain = choices = 0
    for _ in range(PROBES):
        node = root
        shown: dict[object, int] = {}

        def decide(choice: Choice, shown: dict[object, int] = shown) -> bool | None:
            nonlocal node, choices
            choices += 1
            if choice.kind != "nn":
                return None
            if choice.variable not in shown:
                found[choice.source] = None
                shown[choice.variable] = node.least_tried(len(networks[choice.source[0]]))
                node = node.go(shown[choice.variable])
            return choice.entry == shown[choice.variable]

        before = len(found)
        grounds.ground(decide)
        vain = 0 if len(found) > before else vain + 1
        if vain == PROBES_IN_VAIN or choices > CHOICES_PROBED or not found:
            break
    order = {slot: k for k, slot in enumerate(grounds.form.slots)}
    ordered = sorted(found, key=lambda r: (r[0], [order.get(slot, -1) for slot in r[1]], r[1]))
    return [NeuralInput(network, slots, networks[network]) for network, slots in ordered]
