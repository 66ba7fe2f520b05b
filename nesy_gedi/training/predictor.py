"""Predictor: a trained program that answers questions about new images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.errors import DataError, DistributionError, NesyGediWarning, RunError, UsageError, did_you_mean
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.distributions import NeuralInput, one_hot_log
from nesy_gedi.networks.batches import IMAGES_BATCH
from nesy_gedi.networks.ensembles import log_average
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.answers import restore_model
from nesy_gedi.training.devices import choose_device, make_fabric
from nesy_gedi.training.ensembles import Members
from nesy_gedi.training.memory import in_batches_that_fit
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.predictions import SURE, Predictions, joined
from nesy_gedi.training.predictor_folder import (
    PREDICTOR,
    SavedPredictor,
    is_predictor,
    of_run,
    read_predictor,
    write_predictor,
)
from nesy_gedi.training.predictor_inputs import Given, Images, given_values, images_by_slot
from nesy_gedi.training.recipe import NetworkRecipe
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.task import Task
from nesy_gedi.training.unusual import unusual, warning_about

QUERIES_AT_ONCE = 4096
"""Queries that the circuit is asked at once, at most: more than networks take, since a circuit is many small operations."""

CELLS_AT_ONCE = 1 << 24
"""Nodes of a circuit times queries that are computed at once, where more than a batch of the networks."""


class Predictor:
    """Answers of a trained program, batch-wide, without gradients.

    Args:
        task: the program with its circuit.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`, with their weights; moved to the device.
        fabric: the device, and the precision in which the networks compute.
        trained: what is known of the training, plain JSON.
        source: where it was loaded from, for messages.

    Attributes:
        program, reasoner, slots, networks, trained: as given, or of the task.
        shapes: slot -> shape of one image, (channels, height, width), or of one point (d,).
        answers: the answers that can be derived, as text.
        inputs: what networks perceive: slot by slot, networks in the program's order.
        observed: inputs whose values are given with a query, or predicted.
    """

    def __init__(
        self,
        task: Task,
        networks: nn.ModuleDict,
        fabric: Fabric,
        trained: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> None:
        self.task = task
        self.program = task.program
        self.reasoner = task.reasoner
        self.slots = task.slots
        self.inputs = task.concepts
        self.observed = task.observed
        self.answers = tuple(task.reasoner.answers)
        seen = {
            slot: shape
            for item in task.seen
            for slot, shape in zip(item.slots, cast("Perception", networks[item.network]).image_shapes, strict=True)
        }
        self.shapes = {slot: seen[slot] for slot in self.slots}
        self.networks = networks.eval()
        self.trained = dict(trained or {})
        self.source = source
        self._fabric = fabric
        self._members = task.recipe.ensemble.members
        self.reasoner.to(fabric.device)
        each = {name: Members(net) if self._members > 1 else net for name, net in networks.items()}  # type: ignore[arg-type]
        self._live = {name: fabric.setup_module(net).eval() for name, net in each.items()}
        # The choice that tells the symbol of each input: the first that reads it.
        read = [choice.input for choice in self.reasoner.choices]
        self._choices = torch.tensor([read.index(self.reasoner.inputs.index(item)) for item in self.inputs])

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        trusted: bool = False,
        device: str = "auto",
        encoders: Mapping[str, str] | None = None,
        engine: str | None = None,
    ) -> Predictor:
        """The predictor of a run or of an export, or one that :meth:`save` has written.

        Args:
            path: of the folder.
            trusted: let its program and its encoders load files and Python modules.
            device: ``auto | cpu | cuda | cuda:N | mps``.
            encoders: network -> encoder in place of its own; naming it again lets its Python be imported.
            engine: what evaluates the circuit, in place of its own.

        Raises:
            RunError: there is no run, or it is not finished; a file is damaged or has changed; weights do not fit.
            UsageError: an encoder that would import Python without being trusted, or a device that is missing.
            NesyGediError: as :class:`~nesy_gedi.training.task.Task`.
        """
        folder = Path(path)
        if not is_predictor(folder) and is_predictor(folder / PREDICTOR):
            folder /= PREDICTOR
        saved = read_predictor(folder, trusted=trusted) if is_predictor(folder) else _of_run(folder, trusted)
        recipe = saved.recipe
        for name, spec in (encoders or {}).items():
            if name not in saved.program.networks:
                raise UsageError(
                    f"the program has no network {name}",
                    where="--encoder",
                    hint=did_you_mean(name, saved.program.networks),
                )
            own = recipe.networks.get(name, NetworkRecipe())
            recipe = replace(recipe, networks={**recipe.networks, name: replace(own, encoder=spec)})
        recipe = adopt_pretrained(recipe if engine is None else replace(recipe, engine=engine))
        fabric = make_fabric(choose_device(device), recipe.training.precision)
        task = Task(saved.program, recipe, cache=GroundingCache())
        if saved.answers is not None and saved.answers != tuple(task.reasoner.answers):
            raise RunError(
                "predictor.json does not name the answers of program.pl",
                where=str(folder),
                hint="restore the folder, or save the predictor again",
            )
        named = {name for name, spec in (encoders or {}).items() if not Path(spec).is_dir()}
        allowed = tuple(saved.program.networks) if trusted else tuple(named)
        with torch.random.fork_rng(devices=[]):  # new networks draw weights, which are replaced
            networks = make_perceptions(task, saved.shapes(task), trusted=allowed)
        made = cls(task, networks, fabric, trained=saved.trained, source=str(folder))
        try:
            restore_model(task, networks, saved.weights())
        except RunError as error:
            raise RunError(error.message, where=str(folder), hint=error.hint) from error
        return made

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write everything that :meth:`load` needs into ``folder``, complete or not at all: ``predictor.json``,
        ``program.pl``, ``recipe.toml`` and ``weights.safetensors``. The run, its data and its pretraining may go.

        Args:
            folder: that does not exist yet, or is empty.
            force: replace a predictor that is there.

        Returns:
            The folder.

        Raises:
            RunError: there is something already, or it cannot be written.
        """
        return write_predictor(Path(folder), self.task, self.networks, self.trained, force=force)

    def __call__(
        self,
        images: Images,
        *,
        given: Given | None = None,
        batch_size: int = 0,
        explain: bool = True,
        sure: float = SURE,
    ) -> Predictions:
        """Answers to n queries, with a warning where images differ plainly from those of training.

        Args:
            images: for each slot (n, channels, height, width), uint8 in 0..255 or float in [0, 1]; points (n, d) float.
            given: values of observed slots that are known; those of others are predicted, each by itself, from its
                probability given the best answer.
            batch_size: queries at once; 0 for as many as make a good batch of images.
            explain: find the symbols of the most probable explanation, too.
            sure: answers that are less probable are unsure.

        Raises:
            UsageError: no images for a slot, or for one that there is not; another number of them than of others; a value
                that is not in the domain.
            DataError: images of another shape or type than the networks take.
        """
        found = self.answer(images, given=given, batch_size=batch_size, explain=explain, sure=sure)
        if (said := warning_about(list(found.unusual.values()))) is not None:
            warnings.warn(said, NesyGediWarning, stacklevel=2)
        return found

    def answer(
        self,
        images: Images,
        *,
        given: Given | None = None,
        batch_size: int = 0,
        explain: bool = True,
        sure: float = SURE,
    ) -> Predictions:
        """As :meth:`__call__`, without the warning."""
        by_slot = images_by_slot(images, self.shapes, self.reasoner.form)
        count = len(next(iter(by_slot.values())))
        values = given_values(given or {}, self.observed, self.reasoner.form, count)
        if not 0.0 <= sure <= 1.0:
            raise UsageError(f"a probability lies in 0..1, not at {sure}", where="sure", hint="for example 0.9")
        if batch_size < 0:
            raise UsageError(f"cannot take {batch_size} queries at once", where="batch_size", hint="0 or more")

        size = batch_size or max(1, IMAGES_BATCH // max(len(self.task.columns(name)) for name in self.networks))
        nodes, _ = self.reasoner.circuit.size()
        together = max(size, min(QUERIES_AT_ONCE, CELLS_AT_ONCE // max(1, nodes * self._members)))

        def look(rows: Tensor) -> _Perceived:
            return self._perceive({slot: each[_range(rows)] for slot, each in by_slot.items()})

        parts = [found for _, found in in_batches_that_fit(count, size, look)] if count else [look(torch.arange(0))]
        seen = {name: torch.cat([part.log_p[name] for part in parts], 1) for name in parts[0].log_p}
        codes = {slot: torch.cat([part.unusual[slot] for part in parts]) for slot in self.slots}

        def reason(rows: Tensor) -> Predictions:
            part = _range(rows)
            own = _Perceived(
                {name: block[:, part] for name, block in seen.items()},
                {slot: each[part] for slot, each in codes.items()},
            )
            return self._reason(own, {slot: each[part] for slot, each in values.items()}, explain, sure)

        if not count:
            return reason(torch.arange(0))
        return joined([found for _, found in in_batches_that_fit(count, together, reason)])

    @torch.no_grad()
    def _perceive(self, images: Mapping[str, Tensor]) -> _Perceived:
        """What each network makes of a batch. Each image goes through each network once, all slots together."""
        seen: dict[str, Tensor] = {}
        codes: dict[str, Tensor] = {}
        for name, live in self._live.items():
            slots = self._slots_of(name)
            shown = [_together([images[slot] for slot in argument]) for argument in zip(*slots, strict=True)]
            try:
                log_p = live(*(each.to(self._fabric.device) for each in shown))
            except (DataError, DistributionError) as error:
                raise type(error)(error.message, where=f"network {name}", hint=error.hint) from error
            seen[name] = log_p.reshape(self._members, -1, len(slots), log_p.shape[-1])
            for number, argument in enumerate(zip(*slots, strict=True)):
                if not set(argument) <= codes.keys():
                    own = unusual(shown[number], self.networks[name], number).view(-1, len(slots))  # type: ignore[arg-type]
                    codes.update({slot: own[:, k] for k, slot in enumerate(argument) if slot not in codes})
        return _Perceived(seen, codes)

    def _reason(self, seen: _Perceived, given: Mapping[str, Tensor], explain: bool, sure: float) -> Predictions:
        """Answers from what networks have seen."""
        inputs: dict[object, Tensor] = {}
        concepts = {}
        for name, block in seen.log_p.items():
            average = (block[0] if self._members == 1 else log_average(block)).exp().cpu()
            for k, slots in enumerate(self._slots_of(name)):
                inputs[name, *slots] = block[:, :, k].flatten(0, 1)
                concepts[name, *slots] = average[:, k]
        found = self._answer(inputs, given)
        with torch.no_grad():
            symbols, share = self._explain(found) if explain else _unexplained(len(found.best), len(self.inputs))
        return Predictions(
            query=self.reasoner.form.text,
            answers=self.answers,
            slots=self.slots,
            inputs=self.inputs,
            observed=self.observed,
            stated=tuple(item.slots[0] in given for item in self.observed),
            sure=sure,
            log_p=found.log_p.clamp_max(0.0).cpu(),
            best=found.best.cpu(),
            concepts={(item.network, *item.slots): concepts[item.network, *item.slots] for item in self.inputs},
            symbols=symbols.cpu(),
            share=share.cpu(),
            values=found.values.cpu(),
            unusual=dict(seen.unusual),
        )

    def _slots_of(self, network: str) -> list[tuple[str, ...]]:
        """The slots that a network looks at, those together that it sees together."""
        return [item.slots for item in self.task.seen if item.network == network]

    def _answer(self, inputs: dict[object, Tensor], given: Mapping[str, Tensor]) -> _Answered:
        """As :meth:`Task.predict`, which predicts all observed values or none, with those that are given."""
        like = next(iter(inputs.values()))
        rows = len(like) // self._members
        values = torch.zeros(rows, len(self.observed), dtype=torch.long, device=like.device)
        left: list[tuple[int, NeuralInput, Tensor]] = []
        for k, item in enumerate(self.observed):
            if (stated := given.get(item.slots[0])) is not None:
                values[:, k] = stated.to(like.device)
                inputs[item.network, *item.slots] = self._certain(values[:, k], item, like)
            else:
                even = like.new_full((rows, len(item.domain)), -math.log(len(item.domain))).requires_grad_()
                left.append((k, item, even))
                inputs[item.network, *item.slots] = even.repeat(self._members, 1)
        if left:
            with torch.enable_grad():
                answers = self._averaged(inputs)
                best = answers.argmax(1)
                total = answers.gather(1, best[:, None]).sum()
                marginals = torch.autograd.grad(total, [even for _, _, even in left])
            for (k, item, _), marginal in zip(left, marginals, strict=True):
                values[:, k] = marginal.argmax(1)
                inputs[item.network, *item.slots] = self._certain(values[:, k], item, like)
        with torch.no_grad():
            log_p = self._averaged(inputs)
        return _Answered(log_p, best if left else log_p.argmax(1), values, inputs)

    def _certain(self, values: Tensor, item: NeuralInput, like: Tensor) -> Tensor:
        return one_hot_log(values, len(item.domain), like.dtype).repeat(self._members, 1)

    def _averaged(self, inputs: Mapping[object, Tensor]) -> Tensor:
        """Log-probabilities of the answers, (batch, answers), the average over members."""
        answers: Tensor = self.reasoner(inputs)
        return answers if self._members == 1 else log_average(answers.unflatten(0, (self._members, -1)))

    def _explain(self, found: _Answered) -> tuple[Tensor, Tensor]:
        """Symbols of the most probable explanation, (batch, inputs), and its probability given the answer, (batch,). Of an
        ensemble it is that of the member which finds its own the most probable."""
        members = self._members
        world = self.reasoner.explain(found.inputs, found.best.repeat(members))
        symbols = world.values[:, self._choices.to(world.values.device)]
        share = world.log_posterior.exp()
        if members > 1:
            likeliest = world.log_probability.unflatten(0, (members, -1)).argmax(0)
            columns = torch.arange(len(likeliest), device=likeliest.device)
            symbols = symbols.unflatten(0, (members, -1))[likeliest, columns]
            share = share.unflatten(0, (members, -1))[likeliest, columns]
        return symbols, share.nan_to_num(0.0).masked_fill((symbols < 0).any(1), 0.0)


class _Perceived(NamedTuple):
    """Of a batch of queries.

    Attributes:
        log_p: network -> (members, batch, slots of that network, K), log-probabilities.
        unusual: slot -> (batch,) uint8, as :class:`~nesy_gedi.training.predictions.Predictions` has it.
    """

    log_p: dict[str, Tensor]
    unusual: dict[str, Tensor]


class _Answered(NamedTuple):
    """Log-probabilities of the answers, the best column, observed values, and what the reasoner was given."""

    log_p: Tensor
    best: Tensor
    values: Tensor
    inputs: dict[object, Tensor]


def load_predictor(
    path: str | Path, *, trusted: bool = False, device: str = "auto", encoders: Mapping[str, str] | None = None
) -> Predictor:
    """As :meth:`Predictor.load`."""
    return Predictor.load(path, trusted=trusted, device=device, encoders=encoders)


def _of_run(folder: Path, trusted: bool) -> SavedPredictor:
    """The same as a predictor's folder says, of a run."""
    if not folder.exists():
        raise RunError(
            "there is no such folder",
            where=str(folder),
            hint="name a folder that nesy-gedi train has made, or that a predictor was saved to",
        )
    return of_run(open_run(folder), trusted=trusted)


def _together(blocks: Sequence[Tensor]) -> Tensor:
    """Images of several slots, query by query: slots of (n, ...) each to (n slots, ...)."""
    return blocks[0] if len(blocks) == 1 else torch.stack(list(blocks), 1).flatten(0, 1)


def _range(rows: Tensor) -> slice:
    """Rows that follow one another, as a slice: nothing is copied."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)


def _unexplained(rows: int, inputs: int) -> tuple[Tensor, Tensor]:
    return torch.full((rows, inputs), -1), torch.zeros(rows)
