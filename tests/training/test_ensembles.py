"""Ensembles that disagree: what a step minimises, what is refused, and what becomes of what answers leave open."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from numbered_images import Misreads, numbered
from small_pretraining import pretrain_small
from small_runs import ADDITION, NOISY, SLIPPING, SMALL, addition, once, tensors, train_small, untimed
from torch import Tensor, nn

from nesy_gedi.data import Augmentation, ImageSet, ImageSplits, Outside, Queries, augment
from nesy_gedi.errors import Interrupted, RecipeError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.ensembles import EnsembleEncoder, EnsembleHead
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training.adoption import adopt_pretrained
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.ensembles import EnsembleWork, ensemble_terms, measure_run
from nesy_gedi.training.evaluation import measure
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.planning import plan
from nesy_gedi.training.recipe import EnsembleRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, dry_run, evaluate, train

MEMBERS = 3
ENSEMBLE = replace(SMALL, ensemble=EnsembleRecipe(MEMBERS, disagreement=0.7, entropy=0.2))
SHAPE = (1, 8, 8)
XOR = """
nn(bit_net, [X], B, [0, 1]) :: bit(X, B).
xor(X, Y, Z) :- bit(X, A), bit(Y, B), Z is (A + B) mod 2.
"""


def log(probabilities: Any) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def perception(task: Task, name: str = "digit_net") -> Perception:
    made = make_perceptions(task, SHAPE)[name]
    assert isinstance(made, Perception)
    return made


# -- the terms ---------------------------------------------------------------------------------------------------------


def test_members_that_are_sure_of_different_symbols() -> None:
    found = ensemble_terms({"net": log([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])}, 2)
    assert float(found.disagreement) == pytest.approx(math.log(2))
    assert float(found.entropy) == 0.0


def test_members_that_agree() -> None:
    found = ensemble_terms({"net": log([[[0.5, 0.5]], [[0.5, 0.5]]])}, 2)
    assert float(found.disagreement) == pytest.approx(0.0, abs=1e-12)
    assert float(found.entropy) == pytest.approx(math.log(2))


def test_terms_are_means_over_members_images_and_networks() -> None:
    """Written out with Kullback and Leibler's sum, for two networks of different domains and numbers of slots."""
    torch.manual_seed(0)
    given = {"one": torch.randn(2, 4, 3, 5).double().log_softmax(3), "other": torch.randn(2, 4, 1, 2).double()}
    given["other"] = given["other"].log_softmax(3)
    disagreement, entropy = [], []
    for block in given.values():
        p = block.exp()
        average = p.mean(0)
        rows = list(p.flatten(1, 2).unbind(0))
        kl = [(own * (own / average.flatten(0, 1)).log()).sum(1) for own in rows]
        disagreement.append(torch.stack(kl).mean())
        entropy.append(torch.stack([-(own * own.log()).sum(1) for own in rows]).mean())
    found = ensemble_terms({name: block.flatten(0, 1) for name, block in given.items()}, 2)
    assert float(found.disagreement) == pytest.approx(float(torch.stack(disagreement).mean()))
    assert float(found.entropy) == pytest.approx(float(torch.stack(entropy).mean()))


def test_gradient_of_the_terms() -> None:
    log_p = torch.randn(6, 2, 3, dtype=torch.float64).log_softmax(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(ensemble_terms({"net": x}, 3)), log_p)


def test_zeros_have_finite_gradients() -> None:
    log_p = log([[[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]]).requires_grad_()
    found = ensemble_terms({"net": log_p}, 2)
    (found.disagreement + found.entropy).backward()
    assert log_p.grad is not None
    assert bool(log_p.grad.isfinite().all())
    # The average is 3/4, 1/4, 0.
    assert float(found.disagreement.detach()) == pytest.approx(
        (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    )


# -- a step ------------------------------------------------------------------------------------------------------------


def by_hand(task: Task, networks: nn.ModuleDict, queries: Queries, rows: Tensor, told: tuple[Tensor, Tensor]) -> Tensor:
    """The loss of one network ``digit_net``, member by member, all in one pass as the batch statistics need it."""
    network = networks["digit_net"]
    index = queries.index[rows]
    images = queries.images.images[index.flatten()]
    log_p = []
    for encoder, head in zip(network.encoder.members, network.head.members, strict=True):
        alone = Perception(encoder, head, network.domain, mean=network.mean, std=network.std)
        log_p.append(alone(torch.cat([images, told[0]])))
    shown = len(images)
    average = torch.stack(log_p).exp().mean(0)[:shown]
    what, total = task.recipe.ensemble, torch.zeros(())
    for own in log_p:
        seen = {"digit_net": own[:shown].view(*index.shape, -1)}
        loss = task.reasoner.nll(task.observe(seen, queries.observed[rows]), queries.answers[rows])
        if len(told[1]):
            loss = loss - own[shown:].gather(1, told[1][:, None]).mean()
        p = own[:shown].exp()
        kl = (p * (own[:shown] - average.log())).sum(1).mean()
        entropy = -(p * own[:shown]).sum(1).mean()
        total = total + loss - what.disagreement * kl - what.entropy * entropy
    return total / len(log_p)


@pytest.mark.parametrize("labels", [(), ("3=2", "7=1")])
@pytest.mark.parametrize("text", [ADDITION, SLIPPING])
def test_the_loss_of_a_step_and_its_gradient(
    text: str, labels: tuple[str, ...], digits: ImageSplits, fabric: Fabric
) -> None:
    recipe = replace(ENSEMBLE, networks={"digit_net": NetworkRecipe(features=16, labels=labels)})
    task = Task(addition(text), recipe)
    splits = task.queries(digits)
    labelled = read_labels(task, splits.pool)
    networks = make_perceptions(task, SHAPE, digits.train.images)
    wrapped = nn.ModuleDict({name: fabric.setup_module(each) for name, each in networks.items()})
    work = EnsembleWork(task, wrapped, splits, fabric, labelled)
    rows = torch.tensor([0, 3, 4, 9, 11])
    told = labelled.get("digit_net")
    shown = (digits.train.images[:0], torch.zeros(0).long()) if told is None else (told.images, told.symbols)
    expected = by_hand(task, networks, splits.train, rows, shown)
    parameters = list(work.parameters())
    gradients = torch.autograd.grad(expected, parameters)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(parameters, lr=0.0))
    found = work.step(rows, optimizer, fabric, Clock(), 0.0)
    assert found["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    dry = dry_run(addition(text), recipe, device="cpu")
    rows = torch.arange(recipe.training.batch_size)
    expected = by_hand(task, make_perceptions(task, SHAPE, digits.train.images), splits.train, rows, shown)
    assert dry["first_loss"] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_all_members_see_the_same_views(digits: ImageSplits, fabric: Fabric) -> None:
    views = replace(ENSEMBLE, training=replace(ENSEMBLE.training, augmentation=Augmentation(rotation=40.0)))
    task = Task(addition(), views)
    splits = task.queries(digits)
    networks = make_perceptions(task, SHAPE, digits.train.images)
    rows = torch.arange(5)
    torch.manual_seed(5)
    turned = augment(splits.train.images.images[splits.train.index[rows].flatten()], views.training.augmentation)
    images = ImageSet((turned * 255.0).round().byte(), splits.train.images.subset(range(len(turned))).labels)
    index = torch.arange(len(turned)).view(len(rows), -1)
    queries = Queries(images, index, splits.train.answers[rows], splits.train.observed[rows])
    none = (turned[:0], torch.zeros(0).long())
    expected = float(by_hand(task, networks, queries, rows, none).detach())
    wrapped = nn.ModuleDict({name: fabric.setup_module(each) for name, each in networks.items()})
    work = EnsembleWork(task, wrapped, splits, fabric, {})
    optimizer = fabric.setup_optimizers(torch.optim.SGD(list(work.parameters()), lr=0.0))
    torch.manual_seed(5)
    assert work.step(rows, optimizer, fabric, Clock(), 0.0)["loss"] == pytest.approx(expected, rel=1e-2)


# -- networks ----------------------------------------------------------------------------------------------------------


def test_the_seed_decides_the_weights_of_every_member() -> None:
    one, again = (perception(Task(addition(), ENSEMBLE)).state_dict() for _ in range(2))
    other = perception(Task(addition(), replace(ENSEMBLE, seed=4))).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    weights = [name for name in one if name.endswith("weight") and one[name].dim() > 1]
    assert len(weights) == MEMBERS * 4  # two convolutions, a projection and a head
    assert not any(torch.equal(one[name], other[name]) for name in weights)


def test_the_first_member_begins_as_the_network_without_an_ensemble() -> None:
    single, ensemble = (perception(Task(addition(), recipe)) for recipe in (SMALL, ENSEMBLE))
    assert isinstance(single.head, nn.Linear)
    assert isinstance(ensemble.head, EnsembleHead)
    assert isinstance(ensemble.encoder, EnsembleEncoder)
    for alone, members in ((single.encoder, ensemble.encoder.members), (single.head, ensemble.head.members)):
        first, second = (list(member.parameters()) for member in members[:2])
        assert all(torch.equal(one, other) for one, other in zip(alone.parameters(), first, strict=True))
        assert not torch.equal(first[0], second[0])


def test_members_begin_from_a_pretraining(tmp_path: Path, digits: ImageSplits) -> None:
    pretrained = pretrain_small(tmp_path / "pretrained")
    recipe = replace(ENSEMBLE, networks={"digit_net": NetworkRecipe(encoder=str(pretrained.run.path))})
    task = Task(addition(), adopt_pretrained(recipe))
    network = make_perceptions(task, SHAPE, digits.train.images)["digit_net"]
    expected = pretrained.perception.encoder.state_dict()
    for member in network.encoder.members:
        assert all(torch.equal(tensor, expected[name]) for name, tensor in member.state_dict().items())
    heads = [head.weight for head in network.head.members]
    assert not torch.equal(heads[0], heads[1])
    trained = train_small(tmp_path / "run", replace(recipe, training=replace(SMALL.training, epochs=1)))
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == trained.document["metrics"]


# -- what is refused ---------------------------------------------------------------------------------------------------


def planned(recipe: Recipe, digits: ImageSplits, text: str = ADDITION) -> Recipe:
    task = Task(addition(text), recipe)
    return plan(task, task.queries(digits))


@pytest.mark.parametrize("method", ["cotraining", "clusters", "assignment"])
def test_other_methods_are_refused(method: str, digits: ImageSplits) -> None:
    with pytest.raises(RecipeError, match=f"from answers alone, not by {method}") as caught:
        planned(replace(ENSEMBLE, method=method), digits)
    assert caught.value.where == "ensemble.members"
    assert 'method = "answers"' in str(caught.value.hint)


def test_an_ensemble_is_trained_on_answers_where_the_method_is_open(digits: ImageSplits) -> None:
    few = replace(ENSEMBLE, method="auto", networks={})
    assert planned(replace(few, ensemble=EnsembleRecipe()), digits).method == "clusters"
    found = planned(few, digits)
    assert found.method == "answers"
    assert planned(found, digits) == found
    with pytest.raises(RecipeError, match="not by cotraining"):
        planned(replace(few, cotraining=replace(few.cotraining, objective="simclr")), digits)


@pytest.mark.parametrize(
    "network",
    [
        NetworkRecipe(head="none", features=10),
        NetworkRecipe(head="clusters", weights="somewhere"),
        NetworkRecipe(head="prototypes", weights="somewhere"),
        NetworkRecipe(output="probabilities"),
    ],
)
def test_members_without_linear_heads_are_refused(network: NetworkRecipe, digits: ImageSplits) -> None:
    recipe = replace(ENSEMBLE, networks={"digit_net": network})
    assert planned(replace(recipe, ensemble=EnsembleRecipe()), digits).method == "answers"
    with pytest.raises(RecipeError, match="linear heads of their own") as caught:
        planned(recipe, digits)
    assert caught.value.where == "networks.digit_net"


def test_nothing_is_left_of_a_run_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        train_small(tmp_path / "run", replace(ENSEMBLE, method="cotraining"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("members", 0, "positive, not 0"),
        ("members", -2, "positive, not -2"),
        ("disagreement", -0.5, "zero or more, not -0.5"),
        ("entropy", -0.1, "zero or more, not -0.1"),
        ("entropy", math.nan, "zero or more, not nan"),
    ],
)
def test_impossible_values(key: str, value: float, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, overrides={f"ensemble.{key}": value})
    assert caught.value.message == f"ensemble.{key} must be {message}"


def test_half_a_member_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"ensemble\.members"):
        load_recipe(None, overrides={"ensemble.members": 1.5})


ONE_ENCODER = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))


def one_encoder() -> nn.Module:
    return ONE_ENCODER


def test_a_factory_that_makes_one_encoder_is_refused() -> None:
    recipe = replace(ENSEMBLE, networks={"digit_net": NetworkRecipe(encoder=f"{__name__}:one_encoder")})
    with pytest.raises(UsageError, match="the same module each time") as caught:
        make_perceptions(Task(addition(), recipe), SHAPE, trusted=("digit_net",))
    assert caught.value.where == "network digit_net"


# -- answers of an ensemble --------------------------------------------------------------------------------------------


class Readings(nn.Module):
    """Stands for the head of an ensemble whose m-th member reads the m-th of several maps, with certainty; its encoder
    hands the images on."""

    def __init__(self, maps: list[list[int]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(Misreads, maps))

    def log_probabilities(self, features: Tensor) -> Tensor:
        return torch.stack([member(features.view(-1, 1, 2, 2)) for member in self.members])

    def forward(self, features: Tensor) -> Tensor:
        return self.log_probabilities(features).exp().mean(0).log()


class Pixels(Perception):
    """Reads pixels as they are."""

    def _standardised(self, images: Tensor, number: int) -> Tensor:
        return images.float()


def reads(task: Task, name: str, maps: list[list[int]], fabric: Fabric) -> nn.ModuleDict:
    network = Pixels(nn.Flatten(), Readings(maps), task.program.networks[name], image_shape=(1, 2, 2))
    return nn.ModuleDict({name: fabric.setup_module(network)})


def test_opposite_readings_of_bits_answer_every_xor(fabric: Fabric) -> None:
    task = Task(Program(XOR), Recipe(query="xor(X, Y, Z)", ensemble=EnsembleRecipe(members=2)))
    images = numbered(torch.tensor([0, 1, 1, 0]).repeat(5), names=("0", "1"))
    queries = task.label(images, torch.tensor([[0, 1], [2, 5], [4, 7], [9, 12]]), 0)
    assert queries.answers.unique().tolist() == [0, 1]
    both = reads(task, "bit_net", [[0, 1], [1, 0]], fabric)
    found = measure_run(task, both, queries, fabric)
    assert found["answer_accuracy"] == 1.0
    assert found["concept_entropy"] == pytest.approx(math.log(2))
    assert measure(task, both, queries, fabric.device)["answer_accuracy"] == 0.5  # what is asked of the average alone
    work = EnsembleWork(task, both, Splits(queries, queries, queries), fabric, {})
    line, rank = work.measure({"loss": -1.0, "answers": 0.5, "disagreement": 0.25, "entropy": 0.125})
    assert line["terms"] == {"answers": 0.5, "disagreement": 0.25, "entropy": 0.125}
    assert line["train_loss"] == -1.0
    expected = {"loss": 0.0, "answer_accuracy": 1.0, "members_loss": 0.0, "disagreement": math.log(2)}
    assert {key: line[f"validation_{key}"] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert rank == pytest.approx((1.0, EnsembleRecipe.disagreement * math.log(2)))


def test_an_ensemble_is_measured_by_one_look(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(Program(XOR), Recipe(query="xor(X, Y, Z)", ensemble=EnsembleRecipe(members=2)))
    queries = task.label(numbered(torch.tensor([0, 1] * 4), names=("0", "1")), torch.tensor([[0, 1], [2, 5]]), 0)
    looks: list[int] = []

    def look(head: Readings, features: Tensor) -> Tensor:
        looks.append(len(features))
        return torch.stack([member(features.view(-1, 1, 2, 2)) for member in head.members])

    monkeypatch.setattr(Readings, "log_probabilities", look)
    measure_run(task, reads(task, "bit_net", [[0, 1], [1, 0]], fabric), queries, fabric)
    assert looks == [4]


def test_an_ensemble_answers_with_its_average(fabric: Fabric) -> None:
    """Two of three members are sure of one answer; that the third is right does not help."""
    task = Task(addition(), replace(SMALL, ensemble=EnsembleRecipe(members=3)))
    images = numbered(torch.arange(10).repeat(2))
    queries = task.label(images, torch.tensor([[0, 1], [2, 3]]), 0)
    right, swapped = list(range(10)), [9, *range(1, 9), 0]
    found = measure_run(task, reads(task, "digit_net", [right, swapped, swapped], fabric), queries, fabric)
    assert found["answer_accuracy"] == 0.5  # 0 + 1 is nine and one for most
    found = measure_run(task, reads(task, "digit_net", [right, right, swapped], fabric), queries, fabric)
    assert found["answer_accuracy"] == 1.0


def test_answers_outside_the_support_are_the_ensembles_too(fabric: Fabric) -> None:
    task = Task(Program(XOR), Recipe(query="xor(X, Y, Z)", ensemble=EnsembleRecipe(members=2)))
    images = numbered(torch.tensor([0, 1]).repeat(10), names=("0", "1"))
    inside, beyond = (
        task.label(images, torch.tensor(pairs), 0) for pairs in ([[0, 1], [2, 4]], [[1, 3], [6, 7], [9, 8]])
    )
    queries = replace(inside, outside=Outside(beyond, 3, torch.tensor([False, True, True])))
    found = measure_run(task, reads(task, "bit_net", [[0, 1], [1, 0]], fabric), queries, fabric)
    assert found["outside"]["answer_accuracy"] == found["outside"]["seen_answers"]["answer_accuracy"] == 1.0
    found = measure_run(task, reads(task, "bit_net", [[0, 0], [0, 0]], fabric), queries, fabric)  # all answers are 0
    assert found["answer_accuracy"] == 0.5
    assert found["outside"]["answer_accuracy"] == pytest.approx(1 / 3)
    assert found["outside"]["seen_answers"]["answer_accuracy"] == 0.0


def test_observed_values_are_predicted_by_all_members() -> None:
    """Members that are sure of 3 + 4 or of 6 + 9: what most of them say."""
    text = """
    nn(digit_net, [X], D, [0..9]) :: digit(X, D).
    nn(told_net, [T], D, [0..18]) :: told(T, D).
    sum(X, Y, T) :- digit(X, A), digit(Y, B), S is A + B, told(T, S).
    """
    task = Task(Program(text), Recipe(query="sum(X, Y, T)", networks={"told_net": NetworkRecipe(observed=True)}))

    def sure(*digits: int) -> Tensor:
        return nn.functional.one_hot(torch.tensor([digits]), 10).double().log()

    def told(*members: Tensor) -> int:
        _, values = task.predict({"digit_net": torch.cat(members)}, members=len(members))
        assert values.shape == (1, 1)
        return int(values)

    first, second = sure(3, 4), sure(6, 9)
    assert (told(first), told(second)) == (7, 15)
    assert told(first, second, first) == 7
    assert told(first, second, second) == 15


# -- runs --------------------------------------------------------------------------------------------------------------

STOPPED = replace(NOISY, ensemble=EnsembleRecipe(2))


def train_stopped(out: Path | None, **arguments: Any) -> Trained:
    return train_small(out, STOPPED, SLIPPING, **arguments)


@pytest.mark.parametrize("number", [2, 7])
def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(tmp_path: Path, number: int) -> None:
    through = train_stopped(tmp_path / "through")
    with pytest.raises(Interrupted):
        train_stopped(tmp_path / "run", stop=once(number))
    resumed = train_stopped(None, resume=tmp_path / "run")
    for which in ("last", "best"):
        one, other = tensors(resumed.run, which), tensors(through.run, which)
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert untimed(resumed.run.read_metrics()) == untimed(through.run.read_metrics())
    assert untimed(resumed.document) == untimed(through.document)


@pytest.fixture(scope="module")
def bits(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Trained]:
    """Runs of the program xor with a single network and with an ensemble, by the number of members."""
    folder, found = tmp_path_factory.mktemp("bits"), find_program("xor")
    overrides: dict[str, Any] = {
        "method": "answers",
        "training.epochs": 6,
        "data.train": 120,
        "networks.bit_net.width": 8,
    }
    program = Program.load(found.path)
    return {
        members: train(
            program,
            load_recipe(found.recipe, overrides=overrides | {"ensemble.members": members}),
            device="cpu",
            out=folder / str(members),
        )
        for members in (1, 4)
    }


def test_members_read_bits_in_both_ways_and_the_average_is_unsure(bits: dict[int, Trained]) -> None:
    """Xor has two optimal readings; a single network is sure of one of them."""
    single, ensemble = bits[1].document["metrics"], bits[4].document["metrics"]
    assert single["answer_accuracy"] > 0.9
    assert ensemble["answer_accuracy"] > 0.9
    assert single["concept_entropy"] < 0.35
    assert ensemble["concept_entropy"] > 0.55  # of at most log 2 = 0.69
    head, images = bits[4].networks["bit_net"].head, bits[4].queries.images
    with torch.no_grad():
        seen = head.log_probabilities(bits[4].networks["bit_net"].features(images.images)).argmax(2)
    right = (seen == bits[4].task.symbols("bit_net", images)).float().mean(1)
    assert float(right.min()) < 0.1
    assert float(right.max()) > 0.9


def test_a_run_says_what_its_members_do(bits: dict[int, Trained]) -> None:
    lines = bits[4].run.read_metrics()
    assert all(set(line["terms"]) == {"answers", "disagreement", "entropy"} for line in lines)
    assert lines[-1]["validation_disagreement"] > 0.3  # of at most log 2; before the first step it is near zero
    assert "terms" not in bits[1].run.read_metrics()[0]


@pytest.mark.parametrize("members", [1, 4])
def test_a_run_is_measured_again_as_it_was(bits: dict[int, Trained], members: int) -> None:
    again = evaluate(bits[members].run.path, device="cpu")
    assert again.document["metrics"] == bits[members].document["metrics"]
    assert again.document["best_epoch"] == bits[members].document["best_epoch"]
