"""An ensemble that disagrees: what the answers leave open, its members read in different ways, so that their average is
unsure of it.

After BEARS (Marconato et al., "BEARS Make Neuro-Symbolic Models Aware of their Reasoning Shortcuts", UAI 2024): it tells
which concepts are not to be relied on, it does not find the right ones. There members are trained one after the other;
here all together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import RecipeError
from nesy_gedi.networks.ensembles import EnsembleHead, log_average
from nesy_gedi.networks.perception import Perception
from nesy_gedi.objectives.terms import entropy
from nesy_gedi.training.answers import AnswerWork, Looking, answer_loss
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import measure, perceive, validate
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.processes import processes_of
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task

T = TypeVar("T", Tensor, float)


class Members(nn.Module):
    """A perception whose encoder and head are ensembles, returning what each member says: images to (M, n, K)."""

    def __init__(self, perception: Perception) -> None:
        super().__init__()
        self.perception = perception

    def forward(self, *inputs: Tensor) -> Tensor:
        head = cast("EnsembleHead", self.perception.head)
        return head.log_probabilities(self.perception.features(*inputs))


class Terms(NamedTuple):
    """What members say beside the answers, in nats, as means over members, images and networks.

    Attributes:
        disagreement: KL divergence of a member from the average of all, at most log M.
        entropy: of a member's distribution, at most log K.
    """

    disagreement: Tensor
    entropy: Tensor


class EnsembleWork(AnswerWork):
    """Networks that are ensembles, trained on answers: the m-th members of all networks are one model. Learned
    probabilities are the same in all of them.

    The loss is the mean over models of the negative log-likelihood of the answers, and of the labels, less the weighted
    :class:`Terms`.
    """

    def __init__(
        self, task: Task, networks: nn.ModuleDict, splits: Splits, fabric: Fabric, labelled: Mapping[str, Labelled]
    ) -> None:
        super().__init__(task, networks, splits, fabric.device, labelled)
        self.ensemble = task.recipe.ensemble
        self.live = _live(networks, fabric)

    def step(
        self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float
    ) -> Mapping[str, float | Tensor]:
        """One step on the queries ``rows``.

        Returns:
            In nats: ``loss``, ``answers``, the mean negative log-likelihood of a model, and both of :class:`Terms`, before
            their weight.

        Raises:
            DataError, DistributionError: as :func:`~nesy_gedi.training.evaluation.perceive`.
        """
        clock.lap("other")
        count, queries, processes = self.ensemble.members, self.splits.train, processes_of(fabric)

        def part(own: Tensor, number: int, pieces: int) -> Tensor:
            share = len(own) / len(rows)
            looking = Looking(self.live, self.labelled, processes, (number, pieces), augmentation=self.augmentation)
            log_p = perceive(self.task, looking, queries, own, self.device)
            clock.lap("network")
            answers, surrogate = answer_loss(self.task, log_p, queries, own.repeat(count))
            clock.lap("logic")
            terms, labels = ensemble_terms(log_p, count), looking.label_loss()
            gain = self._gain(*terms)
            fabric.backward(share * (surrogate - gain) + labels)
            total = share * (answers - gain) + labels
            return torch.stack([total, share * answers, *(share * term for term in terms)]).detach()

        parts = self.pieces.run(processes.part(rows), part, optimizer.zero_grad, processes)
        optimizer.step()
        clock.lap("network")
        return dict(zip(("loss", "answers", *Terms._fields), torch.stack(parts).sum(0), strict=True))

    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        count = self.ensemble.members

        def terms(log_p: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return ensemble_terms(log_p, count)._asdict()

        validation = self.splits.validation
        found = validate(self.task, self.live, validation, self.device, members=count, terms=terms)
        line: dict[str, Any] = {"train_loss": losses["loss"]}
        line |= {f"validation_{name}": value for name, value in found.items()}
        line["terms"] = {name: value for name, value in losses.items() if name != "loss"}
        # Where all answers are right, what is trained decides, or members that do not disagree yet would be kept.
        gain = self._gain(found["disagreement"], found["entropy"])
        return line, (found["answer_accuracy"], gain - found["members_loss"])

    def _gain(self, disagreement: T, entropy: T) -> T:
        return self.ensemble.disagreement * disagreement + self.ensemble.entropy * entropy


def check_ensemble(task: Task, method: str) -> None:
    """Refuse an ensemble where it cannot be trained.

    Args:
        method: that the recipe's ``auto`` stands for, or the one that it names.

    Raises:
        RecipeError: another method than answers, or networks without linear heads of their own.
    """
    if task.recipe.ensemble.members == 1:
        return
    if method != "answers":
        raise RecipeError(
            f"an ensemble learns from answers alone, not by {method}",
            where="ensemble.members",
            hint='choose method = "answers", or set ensemble.members = 1',
        )
    for name in task.networks:
        what = task.network(name)
        if what.head != "linear" or what.output != "logits":
            raise RecipeError(
                "the members of an ensemble need linear heads of their own",
                where=f"networks.{name}",
                hint="leave head and output out, or set ensemble.members = 1",
            )


def ensemble_terms(log_p: Mapping[str, Tensor], members: int) -> Terms:
    """The terms of members' log-probabilities, as :func:`~nesy_gedi.training.evaluation.perceive` returns them."""
    found = []
    for block in log_p.values():
        apart = block.unflatten(0, (members, -1))
        own = entropy(apart).mean()
        # The mean of KL(p_m || p̄) over members is H(p̄) less the mean of H(p_m).
        found.append(torch.stack([entropy(log_average(apart)).mean() - own, own]))
    disagreement, mean_entropy = torch.stack(found).mean(0)
    return Terms(disagreement, mean_entropy)


def measure_run(
    task: Task, networks: nn.ModuleDict, queries: Queries, fabric: Fabric, clock: Clock | None = None
) -> dict[str, Any]:
    """All metrics, as :func:`~nesy_gedi.training.evaluation.measure`, of an ensemble or a single network each."""
    members = task.recipe.ensemble.members
    live = networks if members == 1 else _live(networks, fabric)
    return measure(task, live, queries, fabric.device, clock, members=members)


def _live(networks: nn.ModuleDict, fabric: Fabric) -> nn.ModuleDict:
    """The networks, wrapped by the fabric, once more as :class:`Members` in the same precision."""
    return nn.ModuleDict(
        {name: fabric.setup_module(Members(cast("Perception", each.module))) for name, each in networks.items()}
    )
