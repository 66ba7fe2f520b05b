"""An ensemble that disagrees: what the answers leave open, its members read in different ways, so that their average is
unsure of it.

After BEARS (Marconato et al., "BEARS Make Neuro-Symbolic Models Aware of their Reasoning Shortcuts", UAI 2024): it tells
which concepts are not to be relied on, it does not find the right ones. There members are trained one after the other;
here all together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nesy_gedi.data import Queries
from nesy_gedi.errors import RecipeError
from nesy_gedi.logic.reasoner import nll
from nesy_gedi.networks.ensembles import EnsembleHead, log_average
from nesy_gedi.networks.perception import Perception
from nesy_gedi.objectives.terms import entropy
from nesy_gedi.training.answers import AnswerWork, Looking, answer_loss
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import EVALUATION_BATCH, measure, perceive
from nesy_gedi.training.labels import Labelled
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task


class Members(nn.Module):
    """A perception whose encoder and head are ensembles, returning what each member says: images to (M, n, K)."""

    def __init__(self, perception: Perception) -> None:
        super().__init__()
        self.perception = perception

    def forward(self, images: Tensor) -> Tensor:
        head = cast("EnsembleHead", self.perception.head)
        return head.log_probabilities(self.perception.features(images))


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

    def step(self, rows: Tensor, optimizer: Any, fabric: Fabric, clock: Clock, progress: float) -> dict[str, float]:
        clock.lap("other")
        optimizer.zero_grad()
        count, queries = self.ensemble.members, self.splits.train
        looking = _LookingAsMembers(self.live, self.labelled, count)
        log_p = perceive_members(self.task, looking, queries, rows, self.device, count)
        clock.lap("network")
        answers, surrogate = answer_loss(self.task, log_p, queries, rows.repeat(count))
        clock.lap("logic")
        terms, labels = ensemble_terms(log_p, count), looking.label_loss()
        fabric.backward(surrogate + labels - self._gain(terms))
        optimizer.step()
        total = float(answers + labels.detach() - self._gain(terms).detach())
        named = {name: float(value.detach()) for name, value in terms._asdict().items()}
        clock.lap("network")
        return {"loss": total, "answers": float(answers), **named}

    def measure(self, losses: dict[str, float]) -> tuple[dict[str, Any], tuple[float, ...]]:
        found, terms = validate_members(self.task, self.live, self.splits.validation, self.device)
        line: dict[str, Any] = {"train_loss": losses["loss"]}
        line |= {f"validation_{name}": value for name, value in found.items()}
        line["terms"] = {name: value for name, value in losses.items() if name != "loss"}
        # Where all answers are right, what is trained decides, or members that do not disagree yet would be kept.
        return line, (found["answer_accuracy"], float(self._gain(terms)) - found["members_loss"])

    def _gain(self, terms: Terms) -> Tensor:
        return self.ensemble.disagreement * terms.disagreement + self.ensemble.entropy * terms.entropy


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
    """The terms of members' log-probabilities, as :func:`perceive_members` returns them."""
    found = []
    for block in log_p.values():
        apart = block.unflatten(0, (members, -1))
        own = entropy(apart).mean()
        # The mean of KL(p_m || p̄) over members is H(p̄) less the mean of H(p_m).
        found.append(torch.stack([entropy(log_average(apart)).mean() - own, own]))
    disagreement, mean_entropy = torch.stack(found).mean(0)
    return Terms(disagreement, mean_entropy)


def perceive_members(
    task: Task,
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    queries: Queries,
    rows: Tensor,
    device: torch.device,
    members: int,
) -> dict[str, Tensor]:
    """What each member makes of ``rows`` of ``queries``, as :func:`~nesy_gedi.training.evaluation.perceive`.

    Args:
        networks: name -> images (n, ...) to log-probabilities (n, M K), member by member.

    Returns:
        network -> (M batch, slots of that network, K): all rows by the first member, then all by the second ...
    """
    seen = perceive(task, networks, queries, rows, device)
    return {name: block.unflatten(2, (members, -1)).movedim(2, 0).flatten(0, 1) for name, block in seen.items()}


def validate_members(
    task: Task, live: nn.ModuleDict, queries: Queries, device: torch.device
) -> tuple[dict[str, float], Terms]:
    """What answers alone can tell of an ensemble, whose answer is the average of its models' answers.

    Returns:
        ``loss``, mean negative log-likelihood in nats, and ``answer_accuracy`` of the ensemble's answer;
        ``members_loss``, that of a single model's on average; and the terms.
    """
    count = task.recipe.ensemble.members
    total, right = torch.zeros(4, dtype=torch.float64), 0
    for rows, log_p in _batches(task, live, queries, device):
        target = queries.answers[rows].to(device)
        with torch.no_grad():
            answers = task.reasoner(task.observe(log_p, queries.observed[rows].repeat(count, 1)))
            losses = nll(log_average(answers.unflatten(0, (count, -1))), target), nll(answers, target.repeat(count))
            means = torch.stack([*losses, *ensemble_terms(log_p, count)])
        total += means.cpu().double() * len(rows)
        right += int(_right(task, log_p, queries, rows).sum())
    loss, members_loss, disagreement, own = total / len(queries)
    found = {
        "loss": float(loss),
        "answer_accuracy": right / len(queries),
        "members_loss": float(members_loss),
        "disagreement": float(disagreement),
    }
    return found, Terms(disagreement, own)


def measure_run(
    task: Task, networks: nn.ModuleDict, queries: Queries, fabric: Fabric, clock: Clock | None = None
) -> dict[str, Any]:
    """All metrics, as :func:`~nesy_gedi.training.evaluation.measure`: of an ensemble, those of concepts are of its average,
    and its answer is the average of its models' answers.

    Answers that are computed from the average instead would be wrong where the program asks how symbols go together: of two
    models of which each reads a bit as the other's opposite, both get every xor right, and their average bit none.
    """
    found = measure(task, networks, queries, fabric.device, clock)
    if task.recipe.ensemble.members == 1:
        return found
    live = _live(networks, fabric)

    def rows_right(asked: Queries) -> Tensor:
        looks = _batches(task, live, asked, fabric.device)
        return torch.cat([_right(task, log_p, asked, rows) for rows, log_p in looks])

    found["answer_accuracy"] = _share(rows_right(queries))
    if (outside := queries.outside) is not None:
        right = rows_right(outside.queries)
        found["outside"]["answer_accuracy"] = _share(right)
        if found["outside"]["seen_answers"] is not None:
            found["outside"]["seen_answers"]["answer_accuracy"] = _share(right[outside.seen_answer])
    return found


def _share(right: Tensor) -> float:
    return int(right.sum()) / len(right)


def _right(task: Task, log_p: Mapping[str, Tensor], queries: Queries, rows: Tensor) -> Tensor:
    """Whether the ensemble's answers are, (batch,) bool."""
    best, values = task.predict(log_p, members=task.recipe.ensemble.members)
    return (best.cpu() == queries.answers[rows]) & (values.cpu() == queries.observed[rows]).all(1)


def _batches(
    task: Task, live: nn.ModuleDict, queries: Queries, device: torch.device
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    live.eval()
    count = task.recipe.ensemble.members
    for rows in torch.arange(len(queries)).split(EVALUATION_BATCH):
        with torch.no_grad():  # not around yield: that would switch it off for the caller
            log_p = perceive_members(task, _LookingAsMembers(live, {}, count), queries, rows, device, count)
        yield rows, log_p


def _live(networks: nn.ModuleDict, fabric: Fabric) -> nn.ModuleDict:
    """The networks, wrapped by the fabric, once more as :class:`Members` in the same precision."""
    return nn.ModuleDict(
        {name: fabric.setup_module(Members(cast("Perception", each.module))) for name, each in networks.items()}
    )


class _LookingAsMembers(Looking):
    """Networks whose members look at the images of queries and at labelled images in one pass, returning (n, M K).

    Args:
        live: name -> images to (M, n, K).
        members: M.
    """

    def __init__(self, live: nn.ModuleDict, labelled: Mapping[str, Labelled], members: int) -> None:
        super().__init__(live, labelled)
        self.members = members

    def __getitem__(self, name: str) -> Callable[[Tensor], Tensor]:
        def run(images: Tensor) -> Tensor:
            told = self.labelled.get(name)
            if told is None:
                return self.look(name, images)
            told = told.some()
            log_p = self.look(name, torch.cat([images, told.images]))
            apart = log_p[len(images) :].unflatten(1, (self.members, -1))
            self.losses.append(nll(apart.flatten(0, 1), told.symbols.repeat_interleave(self.members)))
            return log_p[: len(images)]

        return run

    def look(self, name: str, images: Tensor) -> Tensor:
        return super().look(name, images).movedim(0, 1).flatten(1)
