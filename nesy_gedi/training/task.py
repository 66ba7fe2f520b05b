"""A task: a program, its circuit, its networks, and supervised queries whose answers the program itself computed."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nesy_gedi.data import ImageSet, ImageSplits, Queries
from nesy_gedi.data.image_sets import UNKNOWN
from nesy_gedi.errors import AnswerError, DataError, RecipeError, did_you_mean
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.logic.distributions import NeuralInput, one_hot_log
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.networks.encoders import BUNDLED
from nesy_gedi.networks.ensembles import log_average
from nesy_gedi.training.checkpoints import LEARNED, OBJECTIVE
from nesy_gedi.training.recipe import FROM_CLUSTERS, NetworkRecipe, Recipe, check_recipe
from nesy_gedi.training.splits import Splits, draw_splits, draw_test
from nesy_gedi.training.support import read_support
from nesy_gedi.training.truth import read_truth

LABELLING_BATCH = 4096
"""Queries labelled at once."""


@dataclass(frozen=True)
class SymbolMap:
    """For one network: the symbol of each class of its attribute, -1 where the domain has none."""

    attribute: str
    symbol: Tensor


class Derived(NamedTuple):
    """What a program derives from known symbols.

    Attributes:
        answers: column of the answer, (n,); of several that a random program has, one drawn by their probability.
        observed: values of the observed slots, (n, observed slots).
        exists: whether there is an answer at all, (n,) bool; where there is none, the others mean nothing.
    """

    answers: Tensor
    observed: Tensor
    exists: Tensor


class Task:
    """What a recipe and a program describe, ready to train.

    Attributes:
        program, recipe, reasoner: as given and built.
        slots: the slots that hold images, in the form's order; ``Queries.index`` has a column for each.
        observed: the inputs whose values are given; ``Queries.observed`` has a column for each.
        seen: the inputs that a network perceives.
        concepts: the same in the order of a support's tuples: slot by slot, networks in the program's order.
        support: the tuples of true symbols that queries are restricted to, (tuples, concepts) int64; None for all.
        truth: logits of the learned probabilities with which answers are drawn; None for those that they have.

    Raises:
        AnswerError: the program derives no answer from a tuple of the support.
        RecipeError: the recipe and the program do not fit together, or a value cannot be.
    """

    def __init__(self, program: Program, recipe: Recipe, *, cache: GroundingCache | None = None) -> None:
        check_recipe(recipe)
        self.program = program
        self.recipe = recipe
        for name in recipe.networks:
            if name not in program.networks:
                raise RecipeError(
                    f"the recipe describes a network {name} that the program does not have",
                    where=f"networks.{name}",
                    hint=did_you_mean(name, program.networks),
                )
        for name, network in recipe.networks.items():
            needs = {"clusters": "the pretraining that it comes from"}
            if network.encoder in BUNDLED and not network.weights_file:  # one's own may be pretrained
                needs["prototypes"] = "pretrained features"
            if network.head in needs and not network.weights and recipe.method not in FROM_CLUSTERS:
                raise RecipeError(
                    f'head = "{network.head}" needs {needs[network.head]}',
                    where=f"networks.{name}.head",
                    hint=f"name its folder: --encoder {name}=RUN",
                )
        if not recipe.query:
            raise RecipeError(
                "no query form", where=program.source.name, hint='say what is asked: --query "addition(X, Y, Sum)"'
            )
        self.reasoner = Reasoner(
            program,
            recipe.query,
            slots=recipe.slots or None,
            cache=cache,
            budget=recipe.limits,
            engine=recipe.engine,
            validate=False,
        )
        for item in self.reasoner.inputs:
            if not set(item.slots) <= set(self.reasoner.form.slots):
                raise RecipeError(
                    f"network {item.network} reads {', '.join(item.slots)}; what it reads must be inputs of the query",
                    where=recipe.query,
                    hint="give each network variables of the query form",
                )
        self.observed = tuple(item for item in self.reasoner.inputs if self.network(item.network).observed)
        for item in self.observed:
            if len(item.slots) > 1:
                raise RecipeError(
                    f"{item.network} reads {' and '.join(item.slots)}: its values are not those of one variable",
                    where=f"networks.{item.network}.observed",
                    hint="let it read one variable, or leave observed out",
                )
        self.seen = tuple(item for item in self.reasoner.inputs if item not in self.observed)
        if not self.seen:
            hint = "ask about an image that a network reads, whose observed is false"
            raise RecipeError("no network perceives anything in this query", where=recipe.query, hint=hint)
        for name in self.networks:
            # PyTorch keeps networks by name beside its own attributes.
            if not name or "." in name or name in (LEARNED, OBJECTIVE) or hasattr(nn.ModuleDict(), name):
                raise RecipeError(
                    f"a network that is trained cannot be named {name!r}",
                    where=program.source.name,
                    hint=f"rename it in the program, for example to {name.replace('.', '_')}_net",
                )
        used = {slot for item in self.seen for slot in item.slots}
        self.slots = tuple(slot for slot in self.reasoner.form.slots if slot in used)
        order = list(program.networks)

        def place(concept: NeuralInput) -> tuple[int, int, list[int]]:
            columns = [self.slots.index(slot) for slot in concept.slots]
            return columns[0], order.index(concept.network), columns

        self.concepts = tuple(sorted(self.seen, key=place))
        self.true_logits = read_truth(program, recipe, self.reasoner.learned)
        self.support = read_support(self)

    def with_recipe(self, recipe: Recipe) -> Task:
        """The same with what was left open filled in: query, slots and support are those of the recipe before."""
        other = copy.copy(self)
        other.recipe = recipe
        return other

    def network(self, name: str) -> NetworkRecipe:
        """The recipe of a network, defaults where it says nothing."""
        return self.recipe.networks.get(name, NetworkRecipe())

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that are trained."""
        return tuple(dict.fromkeys(item.network for item in self.seen))

    def networks_of(self, slot: str) -> tuple[str, ...]:
        """The networks that look at a slot, in the program's order."""
        return tuple(dict.fromkeys(concept.network for concept in self.concepts if slot in concept.slots))

    def arguments(self, network: str) -> int:
        """How many inputs ``network`` looks at together: one, of most."""
        return next(len(item.slots) for item in self.seen if item.network == network)

    def columns(self, network: str, argument: int = 0) -> list[int]:
        """The columns of ``Queries.index`` that ``network`` looks at.

        Args:
            argument: which of its inputs, where it has several.
        """
        return [self.slots.index(item.slots[argument]) for item in self.seen if item.network == network]

    def symbol_map(self, network: str, images: ImageSet) -> SymbolMap | None:
        """How the classes of the data name the symbols of ``network``; None where nobody has labelled an image for it: there
        are no classes, the recipe names no attribute, or it looks at several inputs together.

        Raises:
            RecipeError: the attribute does not exist, or classes and domain have nothing in common.
        """
        what = self.network(network)
        domain = self.program.networks[network]
        where = f"networks.{network}"
        if not images.labels or not what.attribute or self.arguments(network) > 1:
            return None
        if what.attribute not in images.labels:
            raise RecipeError(
                f"the images have no attribute {what.attribute}",
                where=where,
                hint=did_you_mean(what.attribute, images.labels)
                + '; attribute = "" says that no image is labelled for this network',
            )
        labels = images.labels[what.attribute]
        classes = labels.classes
        if not bool((labels.index != UNKNOWN).any()):
            return None
        names = what.classes or classes
        if len(names) != len(classes):
            raise RecipeError(
                f"{len(names)} symbols for the {len(classes)} classes of {what.attribute}",
                where=f"{where}.classes",
                hint=f"give one symbol for each of: {', '.join(classes)}",
            )
        symbols = torch.tensor([domain.index(name) if name in domain else -1 for name in names])
        if what.classes and bool((symbols < 0).any()):
            wrong = names[int((symbols < 0).nonzero()[0])]
            raise RecipeError(
                f"{wrong} is not in the domain", where=f"{where}.classes", hint=did_you_mean(wrong, domain)
            )
        missing = [symbol for k, symbol in enumerate(domain) if k not in symbols.tolist()]
        if missing and not bool((labels.index == UNKNOWN).any()):  # else those may be among images without a label
            raise RecipeError(
                f"no class of {what.attribute} is the symbol {missing[0]}",
                where=where,
                hint=f"the classes are {', '.join(classes)}; map them with classes = [...] in the recipe",
            )
        return SymbolMap(what.attribute, symbols)

    def symbols(self, network: str, images: ImageSet) -> Tensor:
        """The true symbol of every image for ``network``, (n,) int64; ``UNKNOWN`` of images that nobody has labelled, or whose
        class is outside the domain."""
        mapped = self.symbol_map(network, images)
        if mapped is None:
            return torch.full((len(images),), UNKNOWN)
        index = images.labels[mapped.attribute].index
        return mapped.symbol[index.clamp_min(0)].masked_fill(index == UNKNOWN, UNKNOWN)

    def truth(self, network: str, queries: Queries) -> Tensor:
        """The true symbol of all that ``network`` sees in queries, (n, inputs of that network) int64; ``UNKNOWN`` likewise."""
        return self.symbols(network, queries.images)[queries.index[:, self.columns(network)]]

    def observe(self, log_p: Mapping[str, Tensor], observed: Tensor) -> dict[object, Tensor]:
        """The reasoner's inputs: what networks perceive, and the observed values as one-hot log-probabilities.

        Args:
            log_p: network -> (batch, slots of that network, K).
            observed: (batch, observed slots) int64.
        """
        inputs: dict[object, Tensor] = {}
        for name, block in log_p.items():
            slots = [item.slots for item in self.seen if item.network == name]
            inputs.update({(name, *each): block[:, k] for k, each in enumerate(slots)})
        like = next(iter(log_p.values()))
        for k, item in enumerate(self.observed):
            inputs[item.network, *item.slots] = one_hot_log(
                observed[:, k].to(like.device), len(item.domain), like.dtype
            )
        return inputs

    def predict(self, log_p: Mapping[str, Tensor], *, members: int = 1) -> tuple[Tensor, Tensor]:
        """The most probable answer and observed values given what the networks perceive.

        Observed values are predicted one by one from their posterior marginals: the gradient of the log-probability
        of the query with respect to the log-probabilities of a slot that is left open.

        Args:
            log_p: network -> (batch, slots of that network, K), log-probabilities.
            members: of an ensemble, whose rows follow one another: (members * batch, ...). Its answer is the average of
                theirs.

        Returns:
            Columns of the answers (batch,), and values of the observed slots (batch, observed slots).
        """
        some = next(iter(log_p.values()))
        size = some.shape[0] // members
        if not self.observed:
            with torch.no_grad():
                answers = self._answers(self.observe(log_p, torch.empty(len(some), 0, dtype=torch.long)), members)
            return answers.argmax(1), torch.empty(size, 0, dtype=torch.long, device=some.device)
        with torch.enable_grad():
            inputs = self.observe(
                {k: v.detach() for k, v in log_p.items()}, torch.zeros(len(some), len(self.observed)).long()
            )
            open_slots = [
                some.new_full((size, len(item.domain)), -math.log(len(item.domain))).requires_grad_()
                for item in self.observed
            ]
            for item, tensor in zip(self.observed, open_slots, strict=True):
                inputs[item.network, *item.slots] = tensor.repeat(members, 1)
            answers = self._answers(inputs, members)
            best = answers.argmax(1)
            marginals = torch.autograd.grad(answers.gather(1, best[:, None]).sum(), open_slots)
        return best, torch.stack([marginal.argmax(1) for marginal in marginals], 1)

    def _answers(self, inputs: Mapping[object, Tensor], members: int) -> Tensor:
        """Log-probabilities of the answers (batch, answers), the average over members."""
        answers: Tensor = self.reasoner(inputs)
        return answers if members == 1 else log_average(answers.unflatten(0, (members, -1)))

    def label(self, images: ImageSet, index: Tensor, seed: int) -> Queries:
        """Let the program itself answer queries whose symbols are known.

        A program with random rules has several answers; one is drawn from their distribution.

        Args:
            images: labelled images.
            index: (n, slots).
            seed: for the answers of a random program.

        Raises:
            AnswerError: the program derives no answer for some tuple.
        """
        shown = [self.symbols(c.network, images)[index[:, self.slots.index(c.slots[0])]] for c in self.concepts]
        derived = self.derive(symbols := torch.stack(shown, 1), seed)
        if not bool(derived.exists.all()):
            refused = symbols[int((~derived.exists).nonzero()[0])]
            raise AnswerError(
                f"the program derives no answer when {self.spell(refused.tolist())}",
                where=f"{self.program.source.name}, {self.recipe.query}",
                hint="add a rule for this case, or use data without it",
            )
        return Queries(images, index, derived.answers, derived.observed)

    def spell(self, symbols: Sequence[int]) -> str:
        """What a tuple of symbols, one for each of ``concepts``, says."""
        named = zip(self.concepts, symbols, strict=True)
        return ", ".join(f"{c.network}({', '.join(c.slots)}) = {c.domain[k]}" for c, k in named)

    def derive(self, symbols: Tensor, seed: int) -> Derived:
        """What the program derives from true symbols.

        Args:
            symbols: (n, concepts) int64, positions in the domains.
            seed: for the answers of a random program.
        """
        with self.answering():
            return self._derive(symbols, seed)

    def answering(self) -> contextlib.AbstractContextManager[None]:
        """Learned probabilities are what answers are drawn with, ``data.truth``, until the context is left."""
        return (
            contextlib.nullcontext() if self.true_logits is None else self.reasoner.learned.replaced(self.true_logits)
        )

    def _derive(self, symbols: Tensor, seed: int) -> Derived:
        parts: list[Derived] = []
        generator = torch.Generator().manual_seed(seed)
        for part in symbols.split(LABELLING_BATCH):
            log_p = self.certain(part)
            best, values = self.predict(log_p)
            with torch.no_grad():
                answer_p = self.reasoner(self.observe(log_p, values)).exp()
            exists = answer_p.sum(1) > 0.0
            if bool((answer_p[exists].amax(1) < 1.0 - 1e-6).any()) and not self.observed:
                answer_p[~exists] = 1.0  # something to draw from
                best = torch.multinomial(answer_p / answer_p.sum(1, keepdim=True), 1, generator=generator)[:, 0]
            parts.append(Derived(best, values, exists))
        return Derived(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def certain(self, symbols: Tensor) -> dict[str, Tensor]:
        """What networks return that see every symbol as it is.

        Args:
            symbols: (n, concepts) int64.

        Returns:
            network -> (n, slots of that network, K), log-probabilities.
        """
        log_p = {}
        for name in self.networks:
            columns = [k for k, concept in enumerate(self.concepts) if concept.network == name]
            log_p[name] = one_hot_log(symbols[:, columns], len(self.program.networks[name]), torch.float64)
        return log_p

    def usable(self, images: ImageSet) -> ImageSet:
        """The images whose symbols are all known and in the domains (a program over 0..4 leaves the other digits out).

        Raises:
            DataError: there is none, since nobody has labelled them: the program cannot answer queries about them.
        """
        for name in self.networks:
            if self.symbol_map(name, images) is None:
                why = "no image is labelled" if self.arguments(name) == 1 else "it looks at several inputs together"
                raise DataError(
                    f"the program cannot answer queries about what {name} should see: {why}",
                    where=self.recipe.data.source,
                    hint="give the answers with the data: a CSV table of inputs and their answer a row",
                )
        keep = torch.ones(len(images), dtype=torch.bool)
        for name in self.networks:
            keep &= self.symbols(name, images) >= 0
        return images if bool(keep.all()) else images.subset(keep.nonzero()[:, 0])

    def test_queries(self, images: ImageSplits) -> Queries:
        """Queries over the test images; the same for every seed. With a support, those outside it come with them.

        Raises:
            DataError: the images are too few.
            AnswerError: the program derives no answer for some tuple.
        """
        return draw_test(self, images)

    def queries(self, images: ImageSplits) -> Splits:
        """Training, validation and test queries; no two of these share an image. Raises as :meth:`test_queries`."""
        return draw_splits(self, images)
